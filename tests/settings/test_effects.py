"""Each setting of keys, tokens and responses changes what the app does, one test a setting."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import jwt
import pytest
from flask import Flask

from flask_authx import AuthX, BadConfigurationError
from tests.support import (
    NOW,
    OTHER_SECRET,
    SECRET,
    Clock,
    access_token,
    bearer,
    ed25519_key,
    forge,
    make_app,
    parts,
    private_pem,
    public_pem,
    reforge,
    refresh_token,
)
from tests.support.answers import INVALID, MISSING, OK, Outcome, ask, outcome

EXPIRED = Outcome(401, "TokenExpiredError")


def app_with(**config: Any) -> tuple[Flask, AuthX]:
    config.setdefault("SECRET_KEY", SECRET)
    return make_app(**config)


def response_to(app: Flask, token: str = "") -> Outcome:
    """The response of ``/guarded``."""
    return outcome(ask(app, headers=bearer(token) if token else {}))


def early(app: Flask, authx: AuthX, clock: Clock, ahead: int) -> str:
    """A token of a machine whose clock is ahead."""
    clock.advance(ahead)
    token = access_token(app, authx)
    clock.advance(-ahead)
    return token


def life(token: str) -> int:
    claims = parts(token)[1]
    return int(claims["exp"] - claims["iat"])


# Keys


def test_setting_algorithm() -> None:
    assert parts(access_token(*app_with()))[0]["alg"] == "HS256"
    assert parts(access_token(*app_with(ALGORITHM="HS512")))[0]["alg"] == "HS512"


def test_setting_decode_algorithms() -> None:
    app_with(DECODE_ALGORITHMS=["HS256"])
    with pytest.raises(BadConfigurationError, match="JWT_DECODE_ALGORITHMS"):
        app_with(DECODE_ALGORITHMS=["HS256", "HS512"])


def test_setting_secret_key() -> None:
    token = access_token(*app_with())
    assert response_to(app_with()[0], token) == OK
    assert response_to(app_with(SECRET_KEY=OTHER_SECRET)[0], token) == INVALID


def test_setting_private_key() -> None:
    key = ed25519_key()
    app, authx = make_app(ALGORITHM="EdDSA", PRIVATE_KEY=private_pem(key))
    assert response_to(app, access_token(app, authx)) == OK
    with pytest.raises((RuntimeError, BadConfigurationError), match="PRIVATE_KEY"):
        access_token(*make_app(ALGORITHM="EdDSA", PUBLIC_KEY=public_pem(key)))


def test_setting_public_key() -> None:
    token = access_token(*make_app(ALGORITHM="EdDSA", PRIVATE_KEY=private_pem(ed25519_key())))
    app, _ = make_app(ALGORITHM="EdDSA", PUBLIC_KEY=public_pem(ed25519_key()))
    assert response_to(app, token) == OK


def test_setting_key_id() -> None:
    assert parts(access_token(*app_with(KEY_ID="a")))[0]["kid"] == "a"
    assert parts(access_token(*app_with(KEY_ID="b")))[0]["kid"] == "b"


def test_setting_previous_secret_key() -> None:
    old = access_token(*app_with(SECRET_KEY=OTHER_SECRET))
    assert response_to(app_with()[0], old) == INVALID
    assert response_to(app_with(PREVIOUS_SECRET_KEY=OTHER_SECRET)[0], old) == OK


def test_setting_previous_public_key() -> None:
    old = access_token(*make_app(ALGORITHM="EdDSA", PRIVATE_KEY=private_pem(ed25519_key())))
    public = public_pem(ed25519_key())
    assert response_to(app_with()[0], old) == INVALID
    app, _ = app_with(PREVIOUS_PUBLIC_KEY=public, PREVIOUS_ALGORITHM="EdDSA")
    assert response_to(app, old) == OK


def test_setting_previous_algorithm() -> None:
    old = access_token(*app_with(SECRET_KEY=OTHER_SECRET, ALGORITHM="HS384"))
    assert response_to(app_with(PREVIOUS_SECRET_KEY=OTHER_SECRET)[0], old) == INVALID
    app, _ = app_with(PREVIOUS_SECRET_KEY=OTHER_SECRET, PREVIOUS_ALGORITHM="HS384")
    assert response_to(app, old) == OK


def test_setting_previous_key_id() -> None:
    old = access_token(*app_with(SECRET_KEY=OTHER_SECRET, KEY_ID="old"))
    assert response_to(app_with(PREVIOUS_SECRET_KEY=OTHER_SECRET)[0], old) == INVALID
    app, _ = app_with(PREVIOUS_SECRET_KEY=OTHER_SECRET, PREVIOUS_KEY_ID="old")
    assert response_to(app, old) == OK


# Tokens that are created and accepted


def test_setting_previous_weak_until() -> None:
    keys: dict[str, Any] = {
        "SECRET_KEY": OTHER_SECRET,
        "PREVIOUS_SECRET_KEY": "short",
        "PREVIOUS_KEY_ID": "old",
    }
    with pytest.raises(BadConfigurationError, match="set JWT_PREVIOUS_WEAK_UNTIL"):
        make_app(**keys)
    claims = parts(access_token(*app_with()))[1]
    old = forge({"alg": "HS256", "kid": "old", "typ": "at+jwt"}, claims, "short")
    # The clock says 2027-01-15.
    assert response_to(make_app(**keys, PREVIOUS_WEAK_UNTIL="2027-01-20")[0], old) == OK
    assert response_to(make_app(**keys, PREVIOUS_WEAK_UNTIL="2027-01-14")[0], old) == INVALID


def test_setting_access_token_expires() -> None:
    assert life(access_token(*app_with(ACCESS_TOKEN_EXPIRES=60))) == 60
    assert life(access_token(*app_with(ACCESS_TOKEN_EXPIRES=timedelta(hours=1)))) == 3600


def test_setting_refresh_token_expires() -> None:
    assert life(refresh_token(*app_with(REFRESH_TOKEN_EXPIRES=60))) == 60
    assert life(refresh_token(*app_with(REFRESH_TOKEN_EXPIRES="2d"))) == 172800


def test_setting_max_token_lifetime() -> None:
    token = access_token(*app_with(), expiry=86400)
    app, authx = app_with(MAX_TOKEN_LIFETIME=3600, REFRESH_TOKEN_EXPIRES=3600)
    assert response_to(app_with()[0], token) == OK
    assert response_to(app, token) == INVALID
    with pytest.raises(ValueError, match="MAX_TOKEN_LIFETIME"):
        access_token(app, authx, expiry=86400)


def test_setting_decode_leeway() -> None:
    for leeway, late, expected in ((0, 0, EXPIRED), (60, 59, OK), (60, 60, EXPIRED), (10, -1, OK)):
        clock = Clock()
        app, authx = make_app(SECRET_KEY=SECRET, DECODE_LEEWAY=leeway, clock=clock)
        token = access_token(app, authx)
        clock.advance(900 + late)
        assert response_to(app, token) == expected
        # And from a machine whose clock is ahead.
        assert response_to(app, early(app, authx, clock, leeway)) == OK
        assert response_to(app, early(app, authx, clock, leeway + 1)) == INVALID


def test_setting_encode_nbf() -> None:
    assert parts(access_token(*app_with()))[1]["nbf"] == int(NOW)
    assert "nbf" not in parts(access_token(*app_with(ENCODE_NBF=False)))[1]


def test_setting_encode_issuer() -> None:
    assert "iss" not in parts(access_token(*app_with()))[1]
    app, authx = app_with(ENCODE_ISSUER="https://us")
    token = access_token(app, authx)
    assert parts(token)[1]["iss"] == "https://us"
    assert response_to(app, token) == OK
    assert response_to(app, reforge(token, iss="https://them")) == INVALID


def test_setting_decode_issuer() -> None:
    app, authx = app_with(DECODE_ISSUER="https://us")
    token = access_token(app, authx)
    assert response_to(app, token) == INVALID
    assert response_to(app, reforge(token, iss="https://us")) == OK


def test_setting_encode_audience() -> None:
    assert "aud" not in parts(access_token(*app_with()))[1]
    app, authx = app_with(ENCODE_AUDIENCE="api,admin")
    token = access_token(app, authx)
    assert parts(token)[1]["aud"] == ["api", "admin"]
    assert response_to(app, token) == OK


def test_setting_decode_audience() -> None:
    token = access_token(*app_with(), audience="api")
    assert response_to(app_with()[0], token) == INVALID
    assert response_to(app_with(DECODE_AUDIENCE=["api", "admin"])[0], token) == OK
    assert response_to(app_with(DECODE_AUDIENCE="admin")[0], token) == INVALID


def test_setting_identity_claim() -> None:
    app, authx = app_with(IDENTITY_CLAIM="user")
    token = access_token(app, authx)
    assert parts(token)[1]["user"] == "ann"
    assert "sub" not in parts(token)[1]
    assert app.test_client().get("/guarded", headers=bearer(token)).get_json() == {"sub": "ann"}
    assert response_to(app_with()[0], token) == INVALID


def test_setting_accept_untyped() -> None:
    foreign = reforge(access_token(*app_with()), header={"typ": "JWT"}, sid=..., auth_time=...)
    assert response_to(app_with()[0], foreign) == INVALID
    assert response_to(app_with(ACCEPT_UNTYPED=True)[0], foreign) == OK


def test_setting_max_token_length() -> None:
    token = access_token(*app_with(), data={"x": "y" * 1000})
    assert response_to(app_with()[0], token) == OK
    assert response_to(app_with(MAX_TOKEN_LENGTH=1000)[0], token) == INVALID


def test_setting_cache_size() -> None:
    verify = jwt.PyJWS.decode
    calls: list[str] = []

    def counted(self: jwt.PyJWS, token: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append(token)
        return verify(self, token, *args, **kwargs)

    for size, expected in ((0, 3), (1024 * 1024, 1)):
        app, authx = app_with(CACHE_SIZE=size)
        token = access_token(app, authx)
        calls.clear()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(jwt.PyJWS, "decode", counted)
            for _ in range(3):
                assert response_to(app, token) == OK
        assert len(calls) == expected


# Responses


def test_setting_error_message_key() -> None:
    app, _ = app_with(ERROR_MESSAGE_KEY="detail")
    assert "detail" in app.test_client().get("/guarded").get_json()


def test_setting_realm() -> None:
    app, _ = app_with(REALM="archive")
    challenge = app.test_client().get("/guarded").headers["WWW-Authenticate"]
    assert challenge == 'Bearer realm="archive"'


def test_setting_protect_all() -> None:
    for everything, expected in ((False, OK), (True, MISSING)):
        app, _ = app_with(PROTECT_ALL=everything)
        app.add_url_rule("/open", "open", lambda: "in")
        assert outcome(ask(app, path="/open")) == expected


def test_setting_revocation_required() -> None:
    app, authx = app_with(REVOCATION_REQUIRED=True)
    app.testing = True
    with pytest.raises(BadConfigurationError, match="JWT_REVOCATION_REQUIRED"):
        response_to(app)

    @authx.token_blocklist
    def revoked(token: str) -> bool:
        return False

    assert response_to(app, access_token(app, authx)) == OK
