"""What is in a new token, and which tokens can not be created."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from flask import Flask

from flask_authx import AuthX, BadConfigurationError, Token
from tests.support import (
    NOW,
    SECRET,
    Clock,
    access_token,
    bearer,
    ed25519_key,
    make_app,
    parts,
    private_pem,
    public_pem,
    refresh_token,
)
from tests.support.corpus import by_repr, check_all

COMMON = {"sub", "iat", "nbf", "exp", "jti", "sid", "auth_time", "auth_us", "type", "fresh"}


def claims_of(token: str) -> dict[str, Any]:
    return parts(token)[1]


@pytest.mark.parametrize(
    ("create", "type_", "typ", "life"),
    [(access_token, "access", "at+jwt", 900), (refresh_token, "refresh", "rt+jwt", 20 * 86400)],
)
def test_a_token_has_these_claims_and_no_others(
    create: Callable[..., str], type_: str, typ: str, life: int
) -> None:
    """DESIGN 4; RFC 9068 section 2; SECURITY A.19 10."""
    app, authx = make_app()
    header, claims, _ = parts(create(app, authx))
    assert set(header) == {"alg", "kid", "typ"}
    assert (header["alg"], header["typ"]) == ("HS256", typ)
    assert set(claims) == COMMON
    assert claims["sub"] == "ann"
    assert claims["type"] == type_
    assert claims["fresh"] is False
    assert claims["iat"] == claims["nbf"] == claims["auth_time"] == int(NOW)
    assert claims["auth_us"] == 0
    assert claims["exp"] == int(NOW) + life
    assert type(claims["exp"]) is int


def test_times_are_whole_seconds_whatever_the_clock_says() -> None:
    clock = Clock(NOW + 0.75)
    app, authx = make_app(clock=clock)
    claims = claims_of(access_token(app, authx))
    assert [type(claims[name]) for name in ("iat", "nbf", "exp", "auth_time")] == [int] * 4
    assert claims["iat"] == claims["auth_time"] == int(NOW)
    # The fraction of a second by which sessions are ordered is a claim of its own.
    assert (type(claims["auth_us"]), claims["auth_us"]) == (int, 750_000)


def test_a_kid_is_given_or_derived_and_does_not_show_the_secret() -> None:
    app, authx = make_app(SECRET_KEY=SECRET, KEY_ID="2027-01")
    assert parts(access_token(app, authx))[0]["kid"] == "2027-01"
    app, authx = make_app()
    kid = parts(access_token(app, authx))[0]["kid"]
    assert kid == parts(refresh_token(app, authx))[0]["kid"]
    assert len(kid) >= 16
    assert kid not in SECRET


def test_an_id_has_128_random_bits() -> None:
    """SECURITY A.16 310: ASVS 7.2.3."""
    app, authx = make_app()
    claims = [claims_of(access_token(app, authx)) for _ in range(50)]
    ids = [claim[name] for claim in claims for name in ("jti", "sid")]
    assert len(set(ids)) == 100
    assert all(len(base64.urlsafe_b64decode(one + "==")) == 16 for one in ids)
    # Every bit varies: none is a clock's or a counter's.
    numbers = [int.from_bytes(base64.urlsafe_b64decode(one + "==")) for one in ids]
    for bit in range(128):
        assert len({number >> bit & 1 for number in numbers}) == 2


def test_the_tokens_of_a_pair_are_one_session() -> None:
    app, authx = make_app()
    with app.app_context():
        pair = authx.create_token_pair(
            "ann",
            fresh=True,
            access_expiry=60,
            refresh_expiry=timedelta(days=1),
            access_scopes=["read"],
            refresh_scopes=["refresh"],
            data={"org": "acme"},
        )
        other = authx.create_token_pair("ann")
    access, refresh = claims_of(pair.access_token), claims_of(pair.refresh_token)
    assert access["sid"] == refresh["sid"] != claims_of(other.access_token)["sid"]
    assert access["jti"] != refresh["jti"]
    assert access["auth_time"] == refresh["auth_time"]
    assert (access["type"], refresh["type"]) == ("access", "refresh")
    # A refresh token is no sign of a log-in: what it buys is not fresh.
    assert (access["fresh"], refresh["fresh"]) == (True, False)
    assert (access["scope"], refresh["scope"]) == ("read", "refresh")
    assert access["org"] == refresh["org"] == "acme"
    assert (pair.expires_in, pair.refresh_expires_in) == (60, 86400)
    assert access["exp"] - access["iat"] == 60


# Who it is for

UUIDS = UUID("12345678-1234-5678-1234-567812345678")


def test_the_sub_of_a_token_is_text() -> None:
    """USERS 27."""
    app, authx = make_app()

    def check(case: tuple[Any, str]) -> None:
        uid, sub = case
        token = access_token(app, authx, uid)
        assert claims_of(token)["sub"] == sub
        response = app.test_client().get("/guarded", headers=bearer(token))
        assert response.get_json() == {"sub": sub}

    check_all(
        by_repr(
            [
                ("ann", "ann"),
                (7, "7"),
                (0, "0"),
                (-1, "-1"),
                (UUIDS, str(UUIDS)),
                ("Zoë 🐍", "Zoë 🐍"),
            ]
        ),
        check,
    )


def test_a_uid_of_another_type_is_refused() -> None:
    """USERS 28."""
    app, authx = make_app()

    def check(uid: Any) -> None:
        for create in (access_token, refresh_token):
            with pytest.raises(TypeError, match="uid must be a str, an int or a UUID"):
                create(app, authx, uid)

    check_all(
        by_repr([None, True, False, 1.5, b"ann", {"id": 1}, ["ann"], object()]),
        check,
    )


def test_a_uid_that_no_token_could_hold_is_refused() -> None:
    """USERS 28."""
    app, authx = make_app()

    def check(uid: str) -> None:
        with pytest.raises(ValueError, match="uid must not be"):
            access_token(app, authx, uid)

    check_all(by_repr(["", " ", "\t\n", "a\0b", "a" * 256, "\ud800"]), check)


# How long it lives


def test_an_expiry_is_a_lifetime_or_a_moment() -> None:
    app, authx = make_app()

    def check(case: tuple[Any, int]) -> None:
        expiry, life = case
        claims = claims_of(access_token(app, authx, expiry=expiry))
        assert claims["exp"] - claims["iat"] == life

    check_all(
        by_repr(
            [
                (60, 60),
                (1, 1),
                (30 * 86400, 30 * 86400),
                (timedelta(minutes=5), 300),
                (timedelta(seconds=1.9), 1),
                (datetime.fromtimestamp(NOW, UTC) + timedelta(hours=1), 3600),
                (datetime.fromtimestamp(NOW + 90.5, UTC), 90),
            ]
        ),
        check,
    )


def test_an_expiry_out_of_bounds_is_refused() -> None:
    app, authx = make_app()

    def check(expiry: Any) -> None:
        with pytest.raises(ValueError, match="JWT_MAX_TOKEN_LIFETIME"):
            access_token(app, authx, expiry=expiry)

    check_all(
        by_repr(
            [
                0,
                -1,
                30 * 86400 + 1,
                timedelta(0),
                timedelta(seconds=0.5),
                timedelta(days=-1),
                timedelta(days=31),
                timedelta.max,
                datetime.fromtimestamp(NOW, UTC),
                datetime.fromtimestamp(NOW - 60, UTC),
                datetime.max.replace(tzinfo=UTC),
            ]
        ),
        check,
    )


def test_a_moment_without_a_time_zone_is_refused() -> None:
    """SECURITY A.5 104"""
    app, authx = make_app()
    naive = datetime.fromtimestamp(NOW + 60, UTC).replace(tzinfo=None)
    with pytest.raises(ValueError, match="has no time zone"):
        access_token(app, authx, expiry=naive)


def test_an_expiry_of_another_type_is_refused() -> None:
    app, authx = make_app()

    def check(expiry: Any) -> None:
        with pytest.raises(TypeError, match="expiry must be"):
            access_token(app, authx, expiry=expiry)

    check_all(by_repr([True, False, 60.0, "60", "1h", [60]]), check)


# The CSRF value


def test_a_token_has_a_csrf_value_only_if_cookies_are_on() -> None:
    for locations, has in (("headers", False), ("cookies", True), ("headers,cookies", True)):
        app, authx = make_app(TOKEN_LOCATION=locations)
        for create in (access_token, refresh_token):
            assert ("csrf" in claims_of(create(app, authx))) is has


def test_a_csrf_value_differs_by_session_and_type() -> None:
    """DESIGN 4: forms that are open in other tabs survive a refresh."""
    app, authx = make_app(TOKEN_LOCATION="cookies")
    with app.app_context():
        pair = authx.create_token_pair("ann")
        session = authx.decode_token(pair.refresh_token)
        renewed = authx.create_access_token("ann", login=session)
        other = authx.create_access_token("ann")
    access, refresh = claims_of(pair.access_token), claims_of(pair.refresh_token)
    assert claims_of(renewed)["csrf"] == access["csrf"]
    assert len({access["csrf"], refresh["csrf"], claims_of(other)["csrf"]}) == 3
    # The value is derived from what a page may show, so it must not be that.
    assert access["csrf"] not in (access["sid"], access["jti"])
    assert len(access["csrf"]) >= 22


def test_a_csrf_value_can_not_be_made_without_the_key() -> None:
    values: set[str] = set()
    for key in (SECRET, SECRET[::-1]):
        app = Flask("tests")
        app.config.from_mapping(JWT_SECRET_KEY=key, JWT_TOKEN_LOCATION="cookies")
        authx = AuthX(app, clock=Clock(), ids=lambda: "the-same-id")
        values.add(claims_of(access_token(app, authx))["csrf"])
    assert len(values) == 2


# A session that goes on


def decoded(app: Flask, authx: AuthX, token: str) -> Token:
    with app.app_context():
        return authx.decode_token(token)


def test_a_continued_session_keeps_its_sid_and_when_it_began() -> None:
    """DESIGN 4: a refresh that races a log-out creates a token of the old session."""
    clock = Clock()
    app, authx = make_app(clock=clock)
    session = decoded(app, authx, refresh_token(app, authx, "7"))
    clock.advance(3600)
    with app.app_context():
        tokens = [
            create(7, login=session)
            for create in (authx.create_access_token, authx.create_refresh_token)
        ]
    for claims in map(claims_of, tokens):
        assert claims["sid"] == session.sid
        assert claims["auth_time"] == int(NOW)
        assert claims["iat"] == int(NOW) + 3600
        assert claims["jti"] != session.jti


def test_a_continued_session_of_another_user_is_refused() -> None:
    app, authx = make_app()
    session = decoded(app, authx, refresh_token(app, authx, "bob"))
    with pytest.raises(ValueError, match="another user"):
        access_token(app, authx, "ann", login=session)


# The rest


def test_only_a_private_key_creates_tokens() -> None:
    for locations in ("headers", "cookies"):
        app, authx = make_app(
            ALGORITHM="EdDSA", PUBLIC_KEY=public_pem(ed25519_key()), TOKEN_LOCATION=locations
        )
        with pytest.raises((RuntimeError, BadConfigurationError), match="JWT_PRIVATE_KEY"):
            access_token(app, authx)
    app, authx = make_app(ALGORITHM="EdDSA", PRIVATE_KEY=private_pem(ed25519_key()))
    assert parts(access_token(app, authx))[0]["alg"] == "EdDSA"


def test_a_response_with_new_tokens_is_kept_by_no_cache() -> None:
    """RFC 6749 section 5.1."""
    app, authx = make_app()

    @app.post("/login")
    def login() -> dict[str, Any]:
        return authx.create_token_pair("ann").to_dict()

    @app.get("/other")
    def other() -> str:
        return "out"

    client = app.test_client()
    assert client.post("/login").headers["Cache-Control"] == "no-store"
    assert "Cache-Control" not in client.get("/other").headers


def test_an_id_generator_that_makes_junk_is_refused() -> None:
    def check(junk: Any) -> None:
        app = Flask("tests")
        app.config["JWT_SECRET_KEY"] = SECRET
        authx = AuthX(app, ids=lambda: junk)
        with pytest.raises((TypeError, ValueError)):
            access_token(app, authx)

    check_all(
        by_repr(["", "a b", "a/b", "ü", "a" * 256, "a\n", 5, None, b"abc"]),
        check,
    )
