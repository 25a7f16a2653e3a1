"""Changing the key: the previous one's tokens are accepted, and a kid selects one key only."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from flask import Flask

from flask_authx import BadConfigurationError
from tests.support import (
    NOW,
    OTHER_SECRET,
    SECRET,
    Clock,
    access_token,
    bearer,
    ed25519_key,
    make_app,
    parts,
    private_key_for,
    public_pem,
    reforge,
    rsa_key,
)
from tests.support.answers import INVALID, OK, Outcome, ask, outcome
from tests.support.codecs import claims_of, header_of, make_codec, refused, token_of

CHANGES = [
    "secret",
    "secret, kids given",
    "RSA to another RSA",
    "secret to Ed25519",
    "ES256 to PS256",
]


def settings_of(change: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The settings of an app before and after its key was changed."""
    changes: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "secret": (
            {"SECRET_KEY": SECRET},
            {"SECRET_KEY": OTHER_SECRET, "PREVIOUS_SECRET_KEY": SECRET},
        ),
        "secret, kids given": (
            {"SECRET_KEY": SECRET, "KEY_ID": "K1"},
            {
                "SECRET_KEY": OTHER_SECRET,
                "KEY_ID": "K2",
                "PREVIOUS_SECRET_KEY": SECRET,
                "PREVIOUS_KEY_ID": "K1",
            },
        ),
        "RSA to another RSA": (
            {"ALGORITHM": "RS256", "PRIVATE_KEY": rsa_key(2048)},
            {
                "ALGORITHM": "RS256",
                "PRIVATE_KEY": rsa_key(3072),
                "PREVIOUS_PUBLIC_KEY": public_pem(rsa_key(2048)),
            },
        ),
        "secret to Ed25519": (
            {"SECRET_KEY": SECRET},
            {
                "ALGORITHM": "EdDSA",
                "PRIVATE_KEY": private_key_for("EdDSA"),
                "PREVIOUS_SECRET_KEY": SECRET,
                "PREVIOUS_ALGORITHM": "HS256",
            },
        ),
        "ES256 to PS256": (
            {"ALGORITHM": "ES256", "PRIVATE_KEY": private_key_for("ES256")},
            {
                "ALGORITHM": "PS256",
                "PRIVATE_KEY": rsa_key(),
                "PREVIOUS_PUBLIC_KEY": private_key_for("ES256").public_key(),
                "PREVIOUS_ALGORITHM": "ES256",
            },
        ),
    }
    return changes[change]


def response_to(app: Flask, token: str) -> Outcome:
    return outcome(ask(app, headers=bearer(token)))


@pytest.mark.parametrize("change", CHANGES)
def test_tokens_of_the_previous_key_are_accepted_and_new_ones_use_the_new_key(change: str) -> None:
    """USERS 99, SECURITY A.14 259."""
    before, after = (make_app(**config) for config in settings_of(change))
    old, new = access_token(*before), access_token(*after)
    assert parts(old)[0]["kid"] != parts(new)[0]["kid"]
    assert response_to(after[0], old) == OK
    assert response_to(after[0], new) == OK
    assert response_to(before[0], new) == INVALID


def test_processes_with_either_key_accept_each_others_tokens_while_a_key_is_changed() -> None:
    """SECURITY A.14 263: the new key is the previous one first, then the two are swapped."""
    apps = [
        make_app(SECRET_KEY=SECRET, PREVIOUS_SECRET_KEY=OTHER_SECRET),
        make_app(SECRET_KEY=OTHER_SECRET, PREVIOUS_SECRET_KEY=SECRET),
    ]
    tokens = [access_token(*pair) for pair in apps]
    assert parts(tokens[0])[0]["kid"] != parts(tokens[1])[0]["kid"]
    for app, _ in apps:
        assert [response_to(app, token) for token in tokens] == [OK, OK]


def test_without_the_previous_key_its_tokens_are_refused() -> None:
    """SECURITY A.14 260, 261: whatever their dates."""
    old = access_token(*make_app(SECRET_KEY=SECRET))
    app, _ = make_app(SECRET_KEY=OTHER_SECRET)
    assert response_to(app, old) == INVALID


@pytest.mark.parametrize("change", CHANGES)
def test_an_expired_token_of_either_key_is_called_expired(change: str) -> None:
    """USERS 32: a further key doesn't turn it into an invalid signature."""
    clock = Clock()
    before, after = (make_app(clock=clock, **config) for config in settings_of(change))
    tokens = [access_token(*pair, expiry=timedelta(minutes=5)) for pair in (before, after)]
    clock.advance(3600)
    for token in tokens:
        assert response_to(after[0], token) == Outcome(401, "TokenExpiredError")


def test_the_kid_of_one_key_with_the_signature_of_the_other_is_refused() -> None:
    """SECURITY A.14 262: nothing is tried in turn."""
    codec = make_codec(**settings_of("secret, kids given")[1])
    for kid, secret in (("K1", SECRET), ("K2", OTHER_SECRET)):
        assert codec.decode(token_of(codec, header=header_of(codec, kid=kid), secret=secret), NOW)
    for kid, secret in (("K2", SECRET), ("K1", OTHER_SECRET)):
        swapped = token_of(codec, header=header_of(codec, kid=kid), secret=secret)
        refused(codec, swapped)


def test_a_token_without_kid_means_the_only_key_there_is() -> None:
    """SECURITY A.2 33."""
    app, authx = make_app()
    bare = reforge(access_token(app, authx), header={"kid": ...})
    assert response_to(app, bare) == OK


@pytest.mark.parametrize("secret", [SECRET, OTHER_SECRET])
def test_a_token_without_kid_is_refused_when_there_are_two_keys(secret: str) -> None:
    """SECURITY A.2 33."""
    codec = make_codec(**settings_of("secret, kids given")[1])
    refused(codec, token_of(codec, claims_of(), header_of(codec, kid=...), secret))


def test_a_token_of_another_library_without_kid_is_tried_with_the_previous_key() -> None:
    """DESIGN 4, "Keys": it is tried with the one key that is marked for that."""
    config = {**settings_of("secret, kids given")[1], "ACCEPT_UNTYPED": True}
    codec = make_codec(**config)
    header = {"alg": "HS256", "typ": "JWT"}
    assert codec.decode(token_of(codec, claims_of(), header, SECRET), NOW)
    refused(codec, token_of(codec, claims_of(), header, OTHER_SECRET))


def test_the_algorithm_belongs_to_the_key_and_not_to_the_app() -> None:
    """SECURITY A.1 12: HS256 is allowed here, but not for the current key."""
    codec = make_codec(
        ALGORITHM="HS384",
        SECRET_KEY=OTHER_SECRET,
        KEY_ID="K2",
        PREVIOUS_SECRET_KEY=SECRET,
        PREVIOUS_KEY_ID="K1",
        PREVIOUS_ALGORITHM="HS256",
    )
    header = {"typ": "at+jwt", "alg": "HS256", "kid": "K1"}
    assert codec.decode(token_of(codec, header=header), NOW).sub == "ann"
    refused(codec, token_of(codec, header={**header, "kid": "K2"}, secret=OTHER_SECRET))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        pytest.param(
            {"SECRET_KEY": SECRET, "PREVIOUS_SECRET_KEY": SECRET},
            r"^JWT_PREVIOUS_\*: .* same kid: remove the previous one",
            id="the same secret twice",
        ),
        pytest.param(
            {
                "SECRET_KEY": SECRET,
                "PREVIOUS_SECRET_KEY": OTHER_SECRET,
                "KEY_ID": "k",
                "PREVIOUS_KEY_ID": "k",
            },
            r"^JWT_PREVIOUS_\*: .* same kid: .* give each its own kid",
            id="the same kid twice",
        ),
        pytest.param(
            {"SECRET_KEY": SECRET, "PREVIOUS_KEY_ID": "k"},
            "JWT_PREVIOUS_KEY_ID is set without a previous key",
            id="a kid alone",
        ),
        pytest.param(
            {"SECRET_KEY": SECRET, "PREVIOUS_ALGORITHM": "RS256"},
            "^JWT_PREVIOUS_ALGORITHM .*is set without a previous key",
            id="an algorithm alone",
        ),
        pytest.param(
            {
                "SECRET_KEY": SECRET,
                "PREVIOUS_SECRET_KEY": OTHER_SECRET,
                "PREVIOUS_PUBLIC_KEY": public_pem(ed25519_key()),
            },
            "^JWT_PREVIOUS_SECRET_KEY and JWT_PREVIOUS_PUBLIC_KEY are both set: keep one",
            id="both kinds",
        ),
        pytest.param(
            {"SECRET_KEY": SECRET, "PREVIOUS_PUBLIC_KEY": public_pem(ed25519_key())},
            "^JWT_PREVIOUS_ALGORITHM is HS256, which does not fit the previous key: set it",
            id="a public key for HS256",
        ),
        pytest.param(
            {
                "SECRET_KEY": SECRET,
                "PREVIOUS_SECRET_KEY": OTHER_SECRET,
                "PREVIOUS_ALGORITHM": "ES256",
            },
            "^JWT_PREVIOUS_ALGORITHM is ES256, which does not fit the previous key: set it",
            id="a secret for ES256",
        ),
        pytest.param(
            {"SECRET_KEY": SECRET, "PREVIOUS_SECRET_KEY": "short"},
            "^JWT_PREVIOUS_SECRET_KEY: it is 5 bytes long and HS256 needs 32 ",
            id="a short secret",
        ),
    ],
)
def test_a_previous_key_that_cannot_be_is_refused_with_its_setting(
    config: dict[str, Any], message: str
) -> None:
    """SECURITY A.14 251, 256."""
    with pytest.raises(BadConfigurationError, match=message):
        make_codec(**config)
