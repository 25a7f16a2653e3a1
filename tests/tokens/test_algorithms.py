"""Every algorithm end to end, keys in every form they may have, and the kid of a key."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from flask import Flask

from flask_authx import AuthX, BadConfigurationError
from tests.support import (
    SECRET,
    access_token,
    b64,
    bearer,
    make_app,
    parts,
    private_key_for,
    private_pem,
    public_pem,
    refresh_token,
    unb64,
)
from tests.support.answers import INVALID, OK, Outcome, ask, outcome
from tests.support.codecs import make_codec
from tests.support.corpus import by_repr, check_all

SYMMETRIC = ["HS256", "HS384", "HS512"]
ASYMMETRIC = [
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA"),
]


def app_with(algorithm: str, **config: Any) -> tuple[Flask, AuthX]:
    """An app with a key of the algorithm, unless one is given."""
    if not config:
        if algorithm in SYMMETRIC:
            config = {"SECRET_KEY": SECRET}
        else:
            config = {"PRIVATE_KEY": private_key_for(algorithm)}
    return make_app(ALGORITHM=algorithm, **config)


def guarded(app: Flask, token: str) -> Outcome:
    return outcome(ask(app, headers=bearer(token)))


def test_tokens_are_created_and_accepted() -> None:
    def check(algorithm: str) -> None:
        app, authx = app_with(algorithm)
        token = access_token(app, authx)
        header, claims, _ = parts(token)
        assert header["alg"] == algorithm
        assert claims["sub"] == "ann"
        response = ask(app, headers=bearer(token))
        assert (response.status_code, response.json) == (200, {"sub": "ann"})

    check_all(by_repr(SYMMETRIC + ASYMMETRIC), check)


def test_a_changed_token_is_refused() -> None:
    """SECURITY A.3 49, 58."""

    def check(algorithm: str) -> None:
        app, authx = app_with(algorithm)
        token = access_token(app, authx)
        header, payload, signature = token.split(".")
        claims = json.loads(unb64(payload))
        flipped = bytearray(unb64(signature))
        flipped[len(flipped) // 2] ^= 1
        other = access_token(app, authx, "bob").split(".")[2]
        for changed in (
            f"{header}.{b64(json.dumps({**claims, 'sub': 'root'}).encode())}.{signature}",
            f"{header}.{b64(json.dumps(claims, indent=1).encode())}.{signature}",
            f"{header}.{payload}.{b64(bytes(flipped))}",
            f"{header}.{payload}.{other}",
            f"{header}.{payload}.{signature[:-2]}",
            f"{header}.{payload}.",
        ):
            assert guarded(app, changed) == INVALID
        assert guarded(app, token) == OK

    check_all(by_repr(SYMMETRIC + ASYMMETRIC), check)


def test_a_token_of_another_key_of_the_same_name_is_refused() -> None:
    rsa_of_another = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def check(algorithm: str) -> None:
        own = private_key_for(algorithm)
        app, _ = app_with(algorithm, PRIVATE_KEY=own, KEY_ID="k")
        foreign: Any
        if isinstance(own, rsa.RSAPrivateKey):
            foreign = rsa_of_another
        elif isinstance(own, ec.EllipticCurvePrivateKey):
            foreign = ec.generate_private_key(own.curve)
        else:
            foreign = ed25519.Ed25519PrivateKey.generate()
        other = app_with(algorithm, PRIVATE_KEY=foreign, KEY_ID="k")
        assert guarded(app, access_token(*other)) == INVALID

    check_all(by_repr(ASYMMETRIC), check)


FORMS = ["text", "bytes", "path", "object"]


def test_keys_come_as_text_bytes_path_or_object(tmp_path: Path) -> None:
    def spelled(form: str, pem: str, whole: Any) -> Any:
        if form == "path":
            path = tmp_path / f"{len([*tmp_path.iterdir()])}.pem"
            path.write_text(pem)
            return path
        return {"text": pem, "bytes": pem.encode(), "object": whole}[form]

    def check(case: tuple[str, str]) -> None:
        algorithm, form = case
        key = private_key_for(algorithm)
        private = spelled(form, private_pem(key), key)
        public = spelled(form, public_pem(key), key.public_key())
        signer = app_with(algorithm, PRIVATE_KEY=private)
        both, _ = app_with(algorithm, PRIVATE_KEY=private, PUBLIC_KEY=public)
        verifier, _ = app_with(algorithm, PUBLIC_KEY=public)
        token = access_token(*signer)
        for app in (signer[0], both, verifier):
            assert guarded(app, token) == OK

    algorithms = ("RS256", "PS512", "ES256", "ES384", "ES512", "EdDSA")
    check_all(by_repr(itertools.product(algorithms, FORMS)), check)


@pytest.mark.parametrize("form", ["text", "bytes", "path"])
def test_a_secret_comes_as_text_bytes_or_path(form: str, tmp_path: Path) -> None:
    path = tmp_path / "secret"
    # The line end is the editor's, not the secret's.
    path.write_bytes(SECRET.encode() + b"\r\n")
    secret = {"text": SECRET, "bytes": SECRET.encode(), "path": path}[form]
    plain, _ = app_with("HS256", SECRET_KEY=SECRET)
    assert guarded(plain, access_token(*app_with("HS256", SECRET_KEY=secret))) == OK


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_an_app_with_a_public_key_only_creates_no_tokens(algorithm: str) -> None:
    app, authx = app_with(algorithm, PUBLIC_KEY=public_pem(private_key_for(algorithm)))
    for create in (access_token, refresh_token):
        with pytest.raises(BadConfigurationError, match=r"only a public key.*set JWT_PRIVATE_KEY"):
            create(app, authx)


def test_an_app_with_a_public_key_only_creates_no_tokens_with_cookies_on() -> None:
    app, authx = app_with(
        "EdDSA",
        PUBLIC_KEY=public_pem(private_key_for("EdDSA")),
        TOKEN_LOCATION=["headers", "cookies"],
    )
    with pytest.raises(BadConfigurationError, match=r"only a public key.*set JWT_PRIVATE_KEY"):
        access_token(app, authx)


def thumbprint(members: dict[str, str]) -> str:
    """RFC 7638 section 3, written a second time."""
    pairs = ",".join(f'"{name}":"{members[name]}"' for name in sorted(members))
    return b64(hashlib.sha256(("{" + pairs + "}").encode()).digest())


def test_the_kid_of_a_public_key_is_the_thumbprint_of_the_rfc() -> None:
    """The example of RFC 7638 section 3.1."""
    n = (
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWK"
        "RXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMic"
        "AtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3"
        "XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
    )
    numbers = rsa.RSAPublicNumbers(e=65537, n=int.from_bytes(unb64(n), "big"))
    codec = make_codec(ALGORITHM="RS256", PUBLIC_KEY=numbers.public_key())
    assert codec.keys.current.kid == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
    assert codec.keys.current.kid == thumbprint({"e": "AQAB", "kty": "RSA", "n": n})


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "ES512", "EdDSA"])
def test_tokens_name_their_key_by_its_thumbprint(algorithm: str) -> None:
    key = private_key_for(algorithm)
    if algorithm == "EdDSA":
        x = b64(key.public_key().public_bytes_raw())
        members = {"kty": "OKP", "crv": "Ed25519", "x": x}
    else:
        # Coordinates have the curve's full length (RFC 7518 section 6.2.1.2).
        size = (key.curve.key_size + 7) // 8
        point = key.public_key().public_numbers()
        x, y = (b64(value.to_bytes(size, "big")) for value in (point.x, point.y))
        members = {"kty": "EC", "crv": f"P-{key.curve.key_size}", "x": x, "y": y}
    assert parts(access_token(*app_with(algorithm)))[0]["kid"] == thumbprint(members)


def test_the_kid_of_a_secret_is_stable_and_tells_nothing_of_it() -> None:
    kid = parts(access_token(*app_with("HS256")))[0]["kid"]
    assert kid == parts(access_token(*app_with("HS256")))[0]["kid"]
    digests = {hashlib.new(name, SECRET.encode()).digest() for name in ("md5", "sha1", "sha256")}
    assert all(unb64(kid) != digest[: len(unb64(kid))] for digest in digests)
    assert base64.b64encode(SECRET.encode()).decode() not in kid


@pytest.mark.parametrize("algorithm", ["HS256", "EdDSA"])
def test_a_given_kid_is_used(algorithm: str) -> None:
    key: dict[str, Any] = {"SECRET_KEY": SECRET}
    if algorithm == "EdDSA":
        key = {"PRIVATE_KEY": private_key_for(algorithm)}
    app, authx = app_with(algorithm, **key, KEY_ID="2027-01")
    token = access_token(app, authx)
    assert parts(token)[0]["kid"] == "2027-01"
    assert guarded(app, token) == OK
