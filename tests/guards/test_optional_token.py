"""What an optional guard does with a cookie that is no good: the visitor is a guest."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask

from flask_authx import AuthX, current_user
from tests.support import NOW, Clock, access_token, bearer, make_app, reforge, refresh_token
from tests.support.answers import (
    ACCESS_COOKIE,
    FAULT,
    MALFORMED,
    NO_CSRF,
    OK,
    REVOKED,
    Outcome,
    Spy,
    ask,
    cookie,
    outcome,
    refresh_cookies,
    who,
)
from tests.support.session_sites import site
from tests.support.spy_store import SpyStore, store_app

EXPIRED = Outcome(401, "TokenExpiredError")
NOT_FRESH = Outcome(401, "FreshTokenRequiredError")
GUEST = {"sub": None}


def with_cookies(**config: Any) -> tuple[Flask, AuthX, SpyStore]:
    store = SpyStore()
    app, authx = store_app(store, TOKEN_LOCATION="headers,cookies", **config)
    return app, authx, store


def test_a_cookie_that_expired_makes_a_guest_and_a_header_is_refused() -> None:
    app, authx, _ = with_cookies()
    old = reforge(access_token(app, authx), iat=NOW - 900, nbf=NOW - 900, exp=NOW - 300)
    response = ask(app, path="/optional", headers=cookie((ACCESS_COOKIE, old)))
    assert response.json == GUEST
    assert not response.headers.getlist("Set-Cookie")
    assert {name.lower() for name in response.vary} == {"authorization", "cookie"}
    assert outcome(ask(app, path="/optional", headers=bearer(old))) == EXPIRED
    assert outcome(ask(app, headers=cookie((ACCESS_COOKIE, old)))) == EXPIRED


@pytest.mark.parametrize("token", ["x.y.z", "", "nonsense", "refresh"])
def test_any_401_of_a_cookie_makes_a_guest(token: str) -> None:
    app, authx, _ = with_cookies()
    if token == "refresh":
        token = refresh_token(app, authx)
    assert ask(app, path="/optional", headers=cookie((ACCESS_COOKIE, token))).json == GUEST


def test_a_session_that_was_ended_elsewhere() -> None:
    app, authx, _ = with_cookies()
    token = access_token(app, authx)
    sent = cookie((ACCESS_COOKIE, token))
    assert ask(app, path="/optional", headers=sent).json == {"sub": "ann"}
    with app.app_context():
        authx.revoke_subject("ann")
    assert ask(app, path="/optional", headers=sent).json == GUEST
    assert outcome(ask(app, path="/optional", headers=bearer(token))) == REVOKED
    # An explicit token is not replaced by a cookie, nor by nobody.
    assert outcome(ask(app, path="/optional", headers={**sent, **bearer("x.y.z")}))[0] == 401


def test_a_400_a_403_and_a_503_stay() -> None:
    app, authx, store = with_cookies()
    token = access_token(app, authx)
    sent = cookie((ACCESS_COOKIE, token))
    two = cookie((ACCESS_COOKIE, token), (ACCESS_COOKIE, "x.y.z"))
    assert outcome(ask(app, path="/optional", headers=two)) == MALFORMED
    assert outcome(ask(app, "POST", "/optional", headers=sent)) == NO_CSRF
    store.error = ConnectionError("down")
    assert outcome(ask(app, path="/optional", headers=sent)) == FAULT


def test_under_a_rule_too() -> None:
    app, _ = make_app(TOKEN_LOCATION="headers,cookies", PROTECT_ALL=True)
    assert ask(app, path="/optional", headers=cookie((ACCESS_COOKIE, "x.y.z"))).json == GUEST


def test_ignoring_is_about_tokens_that_were_sent_on_purpose() -> None:
    app, authx = make_app(TOKEN_LOCATION="headers,cookies")
    app.add_url_rule("/teaser", "teaser", authx.optional_token(on_invalid="ignore")(who))
    for path, status in (("/optional", 401), ("/teaser", 200)):
        assert ask(app, path=path, headers=bearer("x.y.z")).status_code == status
        assert ask(app, path=path, headers=cookie((ACCESS_COOKIE, "x.y.z"))).status_code == 200


def test_a_stolen_refresh_cookie_still_ends_its_session() -> None:
    made = site(REFRESH_GRACE=0, TOKEN_LOCATION="headers,cookies", COOKIE_CSRF_PROTECT=False)
    view = made.authx.optional_token(type="refresh")(who)
    made.app.add_url_rule("/session", "session", view)
    first = made.log_in()
    second = made.renew(first.refresh_token)
    assert ask(made.app, path="/session", headers=bearer(second.refresh_token)).text == "ann"
    jar = cookie(*refresh_cookies(first.refresh_token))
    replaced = ask(made.app, path="/session", headers=jar)
    assert (replaced.status_code, replaced.text) == (200, "nobody")
    assert not made.accepts(second)


def test_a_fresh_token_or_none() -> None:
    clock = Clock()
    app, authx = make_app(clock=clock, TOKEN_LOCATION="headers,cookies")
    app.add_url_rule("/fresh", "fresh", authx.optional_token(fresh=True)(who))
    app.add_url_rule("/recent", "recent", authx.optional_token(fresh=True, max_age=60)(who))
    stale, fresh = access_token(app, authx), access_token(app, authx, fresh=True)

    def asked(path: str, token: str) -> tuple[Any, str]:
        sent = ask(app, path=path, headers=bearer(token))
        return outcome(sent), ask(app, path=path, headers=cookie((ACCESS_COOKIE, token))).text

    assert ask(app, path="/fresh").text == "nobody"
    assert asked("/fresh", fresh) == (OK, "ann")
    assert asked("/fresh", stale) == (NOT_FRESH, "nobody")
    assert asked("/recent", fresh) == (OK, "ann")
    clock.advance(200)
    assert asked("/recent", fresh) == (NOT_FRESH, "nobody")
    assert asked("/fresh", fresh) == (OK, "ann")


def test_a_deleted_user_is_a_guest_with_a_cookie() -> None:
    app, authx = make_app(TOKEN_LOCATION="headers,cookies")
    loaded = Spy("Ann")
    authx.set_subject_getter(loaded)
    user = authx.optional_token(user=True)(lambda: str(current_user or "guest"))
    app.add_url_rule("/user", "user", user)
    token = access_token(app, authx)
    for headers in (cookie((ACCESS_COOKIE, token)), bearer(token)):
        loaded.asked.clear()
        assert ask(app, path="/user", headers=headers).text == "Ann"
        assert loaded.asked == ["ann"]
    loaded.answer = None
    assert ask(app, path="/user", headers=cookie((ACCESS_COOKIE, token))).text == "guest"
    assert ask(app, path="/user", headers=bearer(token)).status_code == 401
