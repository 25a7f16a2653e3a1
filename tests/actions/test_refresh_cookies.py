"""After which refusals a refresh unsets the cookies, and after which it leaves them alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, Response
from flask.testing import FlaskClient

from flask_authx import AuthX, RevokedTokenError
from tests.support import Clock, bearer, reforge
from tests.support.answers import (
    ACCESS_COOKIE,
    COMPANION,
    FAULT,
    INVALID,
    OK,
    REFRESH_COOKIE,
    REVOKED,
    Outcome,
    ask,
    cookie,
    outcome,
    refresh_cookies,
)
from tests.support.browsers import (
    COOKIES,
    REFRESH_CSRF,
    FrailSessions,
    browser,
    browser_app,
    cookies_in,
    csrf,
    csrf_of,
    kept_by,
    sign_in,
)
from tests.support.spy_store import SpyStore

EXPIRED = Outcome(401, "TokenExpiredError")
DAY = 86400


def refresh(client: FlaskClient) -> Any:
    return client.post("/auth/refresh", headers=csrf(client, REFRESH_CSRF))


def revoked_subject(app: Flask, authx: AuthX, clock: Clock) -> None:
    with app.app_context():
        authx.revoke_subject("ann")


def revoked_session(app: Flask, authx: AuthX, clock: Clock) -> None:
    with app.app_context():
        authx.revoke_session(authx.sessions("ann")[0].sid)


def expired(app: Flask, authx: AuthX, clock: Clock) -> None:
    clock.advance(20 * DAY + 100)


def deleted_user(app: Flask, authx: AuthX, clock: Clock) -> None:
    def none(uid: str) -> None:
        return None

    authx.set_callback_get_model_instance(none)


ENDED: dict[str, tuple[Callable[[Flask, AuthX, Clock], None], Outcome]] = {
    "the user's sessions are revoked": (revoked_subject, REVOKED),
    "the session is revoked": (revoked_session, REVOKED),
    "the session has expired": (expired, EXPIRED),
    "the user is deleted": (deleted_user, INVALID),
}


@pytest.mark.parametrize("kind", ENDED)
def test_the_cookies_of_an_ended_session_are_unset(kind: str) -> None:
    clock = Clock()
    app, authx = browser_app(clock=clock)
    client = browser(app)
    end, expected = ENDED[kind]
    end(app, authx, clock)
    assert outcome(refresh(client)) == expected
    assert kept_by(client) == set()


@pytest.mark.parametrize("kind", [kind for kind in ENDED if kind != "the user is deleted"])
def test_only_where_the_browser_has_the_companion(kind: str) -> None:
    """Else a neighbouring host logs visitors out with a token of an ended session."""
    clock = Clock()
    app, authx = browser_app(clock=clock)
    raw = sign_in(app.test_client())["refresh_token"]
    ENDED[kind][0](app, authx, clock)
    response = ask(
        app, "POST", "/auth/refresh", headers=cookie((REFRESH_COOKIE, raw)) | csrf_of(raw)
    )
    assert response.status_code == 401
    assert cookies_in(response) == {}


def test_an_expired_token_of_an_active_session_unsets_nothing() -> None:
    """Another tab has just refreshed, and the cookies are already those of the next tokens."""
    clock = Clock()
    app, _ = browser_app(clock=clock)
    client = app.test_client()
    old = sign_in(client)["refresh_token"]
    clock.advance(20 * DAY - 1)
    assert outcome(refresh(client)) == OK
    clock.advance(20)
    jar = cookie(*refresh_cookies(old)) | csrf_of(old)
    response = ask(app, "POST", "/auth/refresh", headers=jar)
    assert outcome(response) == EXPIRED
    assert cookies_in(response) == {}
    assert outcome(refresh(client)) == OK


def test_an_expired_token_unsets_nothing_while_the_store_fails() -> None:
    clock = Clock()
    sessions = FrailSessions(clock)
    app, _ = browser_app(clock=clock, stores={"sessions": sessions, "blocklist": SpyStore()})
    client = browser(app)
    clock.advance(21 * DAY)
    sessions.frail.error = ConnectionError("down")
    assert outcome(refresh(client)) == EXPIRED
    assert kept_by(client) == COOKIES


def test_a_theft_that_could_not_be_recorded_unsets_nothing() -> None:
    clock = Clock()
    blocklist = SpyStore()
    stores = {"sessions": FrailSessions(clock), "blocklist": blocklist}
    app, _ = browser_app(clock=clock, stores=stores)
    client = app.test_client()
    old = sign_in(client)["refresh_token"]
    for _ in range(2):
        assert outcome(refresh(client)) == OK
        clock.advance(100)
    jar = cookie(*refresh_cookies(old)) | csrf_of(old)
    blocklist.error, blocklist.failing = ConnectionError("down"), frozenset({"add"})
    response = ask(app, "POST", "/auth/refresh", headers=jar)
    assert outcome(response) == FAULT
    assert cookies_in(response) == {}
    blocklist.error = None
    response = ask(app, "POST", "/auth/refresh", headers=jar)
    assert outcome(response) == REVOKED
    assert cookies_in(response).keys() == COOKIES


@pytest.mark.parametrize("place", ["header", "json"])
def test_the_cookies_beside_a_token_from_elsewhere_stay(place: str) -> None:
    app, authx = browser_app()
    client = browser(app)
    other = sign_in(app.test_client(), "bob")
    with app.app_context():
        authx.revoke_subject("bob")
    raw = other["refresh_token"]
    if place == "json":
        response = client.post("/auth/refresh", json={"refresh_token": raw})
    else:
        client.delete_cookie(REFRESH_COOKIE, path="/auth")
        response = client.post("/auth/refresh", headers=bearer(raw))
    assert outcome(response) == REVOKED
    assert cookies_in(response) == {}


def test_a_forged_cookie_unsets_nothing() -> None:
    app, _ = browser_app()
    raw = sign_in(app.test_client())["refresh_token"]
    headers = cookie((REFRESH_COOKIE, raw[:-4]), refresh_cookies(raw)[1]) | csrf_of(raw)
    response = ask(app, "POST", "/auth/refresh", headers=headers)
    assert outcome(response) == INVALID
    assert cookies_in(response) == {}
    headers = cookie(*refresh_cookies(reforge(raw, gen=7))) | csrf_of(raw)
    assert outcome(ask(app, "POST", "/auth/refresh", headers=headers)) == REVOKED


def test_a_view_of_the_app_gets_the_same_and_its_own_cookies_win() -> None:
    app, authx = browser_app()

    @app.post("/auth/own")
    @authx.public
    def own() -> Response:
        authx.refresh()
        return Response()

    @app.post("/auth/again")
    @authx.public
    def again() -> Response:
        response = Response()
        try:
            authx.refresh()
        except RevokedTokenError:
            authx.set_cookies(response, authx.login("bob"))
        return response

    for path, left in (("/auth/again", COOKIES), ("/auth/own", set[str]())):
        client = browser(app)
        with app.app_context():
            authx.revoke_subject("ann")
        client.post(path, headers=csrf(client, REFRESH_CSRF))
        assert kept_by(client) == left
        if left:
            assert client.get("/guarded").get_json()["sub"] == "bob"
            assert {ACCESS_COOKIE, COMPANION} < left
