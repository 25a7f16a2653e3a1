"""The blueprint's log-out, for browsers and for apps."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask

from flask_authx import AuthX
from tests.support import OTHER_SECRET, Clock, bearer
from tests.support.answers import (
    ACCESS_COOKIE,
    CSRF,
    FAULT,
    INVALID,
    NO_CSRF,
    OK,
    REFRESH_COOKIE,
    REVOKED,
    Outcome,
    ask,
    cookie,
    outcome,
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
    is_private,
    kept_by,
    sign_in,
)
from tests.support.spy_store import SpyStore


def lists(app: Flask, authx: AuthX, *uids: str) -> list[int]:
    """How many sessions each user has."""
    with app.app_context():
        return [len(authx.sessions(uid)) for uid in uids]


@pytest.mark.parametrize("after", [0, 100_000])
def test_a_browser_logs_out_even_with_an_expired_access_token(after: int) -> None:
    """USERS 68: what is left in the refresh token ends as well."""
    clock = Clock()
    app, authx = browser_app(clock=clock)
    client = app.test_client()
    tokens = sign_in(client)
    clock.advance(after)
    response = client.post("/auth/logout", headers=csrf(client))
    assert (response.status_code, response.data) == (204, b"")
    assert cookies_in(response).keys() == COOKIES
    assert kept_by(client) == set()
    assert is_private(response)
    assert outcome(ask(app, "POST", "/auth/refresh", headers=bearer(tokens["refresh_token"]))) == (
        REVOKED
    )
    with app.app_context():
        assert authx.sessions("ann") == []


def test_a_browser_logs_out_by_its_refresh_cookie_alone() -> None:
    app, authx = browser_app()
    client = browser(app)
    client.delete_cookie(ACCESS_COOKIE)
    wrong = {"X-CSRF-TOKEN": "x" * 22}
    assert outcome(client.post("/auth/logout", headers=wrong)) == CSRF
    assert outcome(client.post("/auth/logout", headers=csrf(client, REFRESH_CSRF))) == Outcome(204)
    with app.app_context():
        assert authx.sessions("ann") == []


def test_a_page_that_is_older_than_the_access_cookie_can_still_log_out() -> None:
    """Its form holds the CSRF value of the access token, of the same session."""
    app, authx = browser_app()
    client, other = browser(app), browser(app)
    value, others = csrf(client), csrf(other)
    client.delete_cookie(ACCESS_COOKIE)
    assert outcome(client.post("/auth/logout", headers=others)) == CSRF
    assert outcome(client.post("/auth/refresh", headers=value)) == CSRF
    assert outcome(client.post("/auth/logout", headers=value)) == Outcome(204)
    with app.app_context():
        assert len(authx.sessions("ann")) == 1


@pytest.mark.parametrize("query", ["", "?token=no.such.token"])
def test_a_form_of_another_site_makes_no_browser_forget_its_session(query: str) -> None:
    """SECURITY A.10 181: it comes without cookies, so there is no value to check."""
    app, _ = browser_app(TOKEN_LOCATION=["cookies", "query"])
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}):
        response = ask(app, "POST", f"/auth/logout{query}", headers=headers)
        assert response.status_code == 403
        assert outcome(response)[1] == "CrossOriginError"
        assert cookies_in(response) == {}


@pytest.mark.parametrize("name", ["access_token", "refresh_token"])
@pytest.mark.parametrize("way", ["json", "headers"])
def test_an_app_logs_out_by_either_token(name: str, way: str) -> None:
    """SECURITY A.13 245"""
    app, authx = browser_app()
    token = sign_in(app.test_client())[name]
    kwargs: dict[str, Any] = {"json": {name: token}} if way == "json" else {}
    headers = bearer(token) if way == "headers" else {}
    response = ask(app, "POST", "/auth/logout", headers=headers, **kwargs)
    assert outcome(response) == Outcome(204)
    with app.app_context():
        assert authx.sessions("ann") == []


def test_a_request_without_a_token_is_logged_out_already() -> None:
    app, _ = browser_app()
    response = ask(app, "POST", "/auth/logout")
    assert outcome(response) == Outcome(204)
    assert {one.value for one in cookies_in(response).values()} == {""}


def test_cookies_with_invalid_tokens_are_removed() -> None:
    """As after a change of keys: it would be in the way of the next log-in."""
    app, _ = browser_app()
    other, _ = browser_app(SECRET_KEY=OTHER_SECRET)
    client = browser(app)
    strange = sign_in(other.test_client())
    client.set_cookie(ACCESS_COOKIE, strange["access_token"])
    client.set_cookie(REFRESH_COOKIE, strange["refresh_token"], path="/auth")
    response = client.post("/auth/logout", headers=csrf(client))
    assert outcome(response) == INVALID
    assert kept_by(client) == set()


@pytest.mark.parametrize(("headers", "expected"), [({}, NO_CSRF), ({"X-CSRF-TOKEN": "x"}, CSRF)])
def test_a_forged_request_revokes_and_clears_nothing(
    headers: dict[str, str], expected: Outcome
) -> None:
    """SECURITY A.10 181"""
    clock = Clock()
    app, authx = browser_app(clock=clock)
    client = browser(app)
    for after in (0, 1000):
        # The second time with an access token that has expired.
        clock.advance(after)
        response = client.post("/auth/logout", headers=headers)
        assert outcome(response) == expected
        assert cookies_in(response) == {}
        assert is_private(response)
    with app.app_context():
        assert len(authx.sessions("ann")) == 1


def test_while_the_store_fails_cookies_are_removed_and_the_response_is_503() -> None:
    """SECURITY A.18 318"""
    blocklist = SpyStore()
    clock = Clock()
    stores = {"sessions": FrailSessions(clock), "blocklist": blocklist}
    app, _ = browser_app(clock=clock, stores=stores)
    client = browser(app)
    blocklist.error = ConnectionError("down")
    response = client.post("/auth/logout", headers=csrf(client))
    assert outcome(response) == FAULT
    assert "may not have been written" in response.get_json()["msg"]
    assert kept_by(client) == set()
    assert is_private(response)


def test_a_handler_of_the_app_words_the_refusal_of_a_log_out() -> None:
    app, _ = browser_app()

    @app.errorhandler(401)
    def refused(error: Exception) -> tuple[str, int]:
        return "own words", 401

    response = ask(app, "POST", "/auth/logout", headers=bearer("x.y.z"))
    assert (response.status_code, response.text) == (401, "own words")
    assert cookies_in(response).keys() == COOKIES
    assert is_private(response)


# Cookies of two sessions, and doubled ones


def test_a_log_out_by_a_header_keeps_the_cookies_of_another_session() -> None:
    """The header's session is revoked; the cookies beside it belong to another one."""
    app, authx = browser_app()
    ann, bob = sign_in(app.test_client(), "ann"), sign_in(app.test_client(), "bob")
    headers = {**bearer(ann["access_token"]), **cookie((ACCESS_COOKIE, bob["access_token"]))}
    response = ask(app, "POST", "/auth/logout", headers=headers)
    assert (response.status_code, cookies_in(response)) == (204, {})
    assert lists(app, authx, "ann", "bob") == [0, 1]


def test_without_csrf_checks_a_log_out_revokes_both_sessions_of_mixed_cookies() -> None:
    """A removed cookie's token must be revoked, or a copy of it stays valid."""
    app, authx = browser_app(COOKIE_CSRF_PROTECT=False)
    ann, bob = sign_in(app.test_client(), "ann"), sign_in(app.test_client(), "bob")
    mixed = cookie((ACCESS_COOKIE, ann["access_token"]), (REFRESH_COOKIE, bob["refresh_token"]))
    response = ask(app, "POST", "/auth/logout", headers=mixed)
    assert (response.status_code, len(cookies_in(response))) == (204, 2)
    assert lists(app, authx, "ann", "bob") == [0, 0]


def test_doubled_cookies_are_no_obstacle_to_a_log_out() -> None:
    app, authx = browser_app()
    ann = sign_in(app.test_client(), "ann")
    twice = f"{ACCESS_COOKIE}=a; {ACCESS_COOKIE}=b"
    refresh = cookie((REFRESH_COOKIE, ann["refresh_token"]))["Cookie"]
    headers = {"Cookie": f"{twice}; {refresh}", **csrf_of(ann["refresh_token"])}
    assert outcome(ask(app, "POST", "/auth/logout", headers=headers)) == Outcome(204)
    assert lists(app, authx, "ann") == [0]
    # Where they are all that there is, they are at least forgotten.
    response = ask(app, "POST", "/auth/logout", headers={"Cookie": twice})
    assert (response.status_code, len(cookies_in(response))) == (400, 4)


def test_an_invalid_header_of_another_origin_is_refused_as_invalid() -> None:
    app, _ = browser_app()
    headers = {**bearer("a.b.c"), "Origin": "https://spa.example"}
    assert outcome(ask(app, "POST", "/auth/logout", headers=headers)) == Outcome(
        401, "JWTDecodeError"
    )


# Without cookies


@pytest.mark.parametrize("way", ["logout", "own", "others"])
def test_an_app_without_cookies_revokes_sessions_too(way: str) -> None:
    app, authx = browser_app(TOKEN_LOCATION="headers")
    with app.app_context():
        here, there = authx.login("ann"), authx.login("ann")
        sid = authx.decode_token(here.access_token).sid
    method, path = {
        "logout": ("POST", "/auth/logout"),
        "own": ("DELETE", f"/auth/sessions/{sid}"),
        "others": ("DELETE", "/auth/sessions"),
    }[way]
    response = ask(app, method, path, headers=bearer(here.access_token))
    assert (response.status_code, cookies_in(response)) == (204, {})
    ended, left = (there, here) if way == "others" else (here, there)
    assert ask(app, headers=bearer(ended.access_token)).status_code == 401
    assert outcome(ask(app, headers=bearer(left.access_token))) == OK
    assert lists(app, authx, "ann") == [1]
