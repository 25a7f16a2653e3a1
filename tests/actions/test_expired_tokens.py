"""``decode_token(allow_expired=True)``: what may be done with an expired token, and what not."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Response

from flask_authx import (
    JWTDecodeError,
    TokenExpiredError,
    TokenInvalidIssuerError,
    current_token,
)
from tests.support import (
    OTHER_SECRET,
    Clock,
    access_token,
    bearer,
    make_app,
    reforge,
    refresh_token,
)
from tests.support.answers import REVOKED, ask, outcome
from tests.support.session_sites import site
from tests.support.spy_store import SpyStore, store_app


def test_it_says_whether_it_has_expired() -> None:
    clock = Clock()
    app, authx = make_app(clock=clock)
    tokens = [access_token(app, authx), refresh_token(app, authx)]
    with app.app_context():
        for raw in tokens:
            assert authx.decode_token(raw, allow_expired=True).expired is False
            token = authx.decode_token(raw)
            assert token.expired is False
            # After the leeway of ten seconds, and no second earlier.
            clock.now = token.exp + 9
            assert authx.decode_token(raw, allow_expired=True).expired is False
            clock.now = token.exp + 10
            expired = authx.decode_token(raw, allow_expired=True)
            assert (expired.expired, expired.sub, expired.sid) == (True, "ann", token.sid)
            with pytest.raises(TokenExpiredError):
                authx.decode_token(raw)
            clock.now = token.iat


def test_nothing_else_is_forgiven() -> None:
    clock = Clock()
    app, authx = make_app(clock=clock, ENCODE_ISSUER="me", DECODE_ISSUER="me")
    raw = access_token(app, authx)
    clock.advance(86400)
    with app.app_context():
        assert authx.decode_token(raw, allow_expired=True).expired
        with pytest.raises(TokenInvalidIssuerError):
            authx.decode_token(reforge(raw, iss="other"), allow_expired=True)
        for invalid in (raw[:-2], "x.y.z", reforge(raw, sub=""), reforge(raw, exp=...)):
            with pytest.raises(JWTDecodeError):
                authx.decode_token(invalid, allow_expired=True)
        other, foreign = make_app(clock=Clock(), SECRET_KEY=OTHER_SECRET)
        with pytest.raises(JWTDecodeError):
            authx.decode_token(access_token(other, foreign), allow_expired=True)


def test_it_opens_nothing() -> None:
    here = site(TOKEN_LOCATION="headers,cookies", REFRESH_COOKIE_PATH="/")
    pair = here.log_in()
    here.clock.advance(3600)
    authx = here.authx
    with here.app.test_request_context(headers=bearer(pair.access_token)):
        token = authx.decode_token(pair.access_token, allow_expired=True)
        assert token.expired
        assert not current_token
        with pytest.raises(TokenExpiredError) as caught:
            authx.create_access_token("ann", login=token)
        assert caught.value.reason != caught.value.message
        with pytest.raises(RuntimeError, match="no session to confirm"):
            authx.reauthenticate("ann")
        response = Response()
        with pytest.raises(ValueError, match="expired"):
            authx.set_access_cookies(response, pair.access_token)
        loose: Any = authx.set_access_cookies
        with pytest.raises(TypeError, match="must be text"):
            loose(response, token)
        assert not response.headers.getlist("Set-Cookie")


def test_no_refresh_token_follows_an_expired_one() -> None:
    clock = Clock()
    app, authx = make_app(clock=clock)
    raw = refresh_token(app, authx)
    clock.advance(10**7)
    with app.app_context():
        token = authx.decode_token(raw, allow_expired=True)
        for create in (authx.create_refresh_token, authx.create_access_token):
            with pytest.raises(TokenExpiredError):
                create("ann", login=token)


@pytest.mark.parametrize("allow_expired", [False, True])
def test_one_that_was_kept_until_it_had_expired_has_no_successor(allow_expired: bool) -> None:
    clock = Clock()
    app, authx = make_app(clock=clock)
    for raw in (access_token(app, authx), refresh_token(app, authx)):
        with app.app_context():
            token = authx.decode_token(raw, allow_expired=allow_expired)
            for create in (authx.create_refresh_token, authx.create_access_token):
                # After the leeway of ten seconds, and no second earlier.
                clock.now = token.exp + 9
                assert authx.decode_token(create("ann", login=token)).sid == token.sid
                clock.now = token.exp + 10
                with pytest.raises(TokenExpiredError):
                    create("ann", login=token)
            clock.now = token.iat


def test_its_session_can_be_revoked() -> None:
    here = site()
    pair = here.log_in()
    second = here.renew(pair.refresh_token)
    here.clock.advance(3600)
    with here.app.app_context():
        token = here.authx.decode_token(pair.access_token, allow_expired=True)
        assert here.authx.is_revoked(token) is False
        here.authx.revoke_session(token.sid)
        assert here.authx.is_revoked(token) is True
    assert outcome(here.ask(second.refresh_token)) == REVOKED


def test_an_expired_refresh_token_is_revoked_with_its_session() -> None:
    here = site(REFRESH_TOKEN_EXPIRES=3600, SESSION_LIFETIME=10**6)
    pair = here.log_in()
    here.clock.advance(3500)
    second = here.renew(pair.refresh_token)
    here.clock.advance(200)
    with here.app.app_context():
        here.authx.revoke_token(here.authx.decode_token(pair.refresh_token, allow_expired=True))
    assert outcome(here.ask(second.refresh_token)) == REVOKED


def test_one_that_expired_long_ago_is_not_written() -> None:
    store, clock = SpyStore(), Clock()
    app, authx = store_app(store, clock)
    raw = access_token(app, authx)
    clock.advance(86400)
    store.added.clear()
    with app.app_context():
        authx.revoke_token(authx.decode_token(raw, allow_expired=True))
        authx.revoke_token(raw)
    assert store.added == []


def test_a_guard_accepts_none() -> None:
    clock = Clock()
    app, authx = make_app(clock=clock)
    raw = access_token(app, authx)
    clock.advance(86400)

    @app.get("/mixed")
    def mixed() -> Any:
        found = authx.get_token_from_request(optional=False)
        assert authx.decode_token(found, allow_expired=True).expired
        # Not even one that has been decoded in the same request.
        return authx.identify().sub

    assert outcome(ask(app, path="/mixed", headers=bearer(raw))) == (401, "TokenExpiredError")
