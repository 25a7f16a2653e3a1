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
    """How many logins each user has."""
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
    assert client.post("/auth/logout", headers=csrf(client, REFRESH_CSRF)).status_code == 204
    with app.app_context():
        assert authx.sessions("ann") == []


def test_a_page_that_is_older_than_the_access_cookie_can_still_log_out() -> None:
    """Its form holds the CSRF value of the access token, of the same login."""
    app, authx = browser_app()
    client, other = browser(app), browser(app)
    value, others = csrf(client), csrf(other)
    client.delete_cookie(ACCESS_COOKIE)
    assert outcome(client.post("/auth/logout", headers=others)) == CSRF
    assert outcome(client.post("/auth/refresh", headers=value)) == CSRF
    assert client.post("/auth/logout", headers=value).status_code == 204
    with app.app_context():
        assert len(authx.sessions("ann")) == 1


@pytest.mark.parametrize("query", ["", "?token=no.such.token"])
def test_a_form_of_another_site_makes_no_browser_forget_its_login(query: str) -> None:
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
    app, authx = browser_app()
    token = sign_in(app.test_client())[name]
    kwargs: dict[str, Any] = {"json": {name: token}} if way == "json" else {}
    headers = bearer(token) if way == "headers" else {}
    response = ask(app, "POST", "/auth/logout", headers=headers, **kwargs)
    assert response.status_code == 204
    with app.app_context():
        assert authx.sessions("ann") == []


def test_whoever_has_no_token_is_logged_out_already() -> None:
    app, _ = browser_app()
    response = ask(app, "POST", "/auth/logout")
    assert response.status_code == 204
    assert {one.value for one in cookies_in(response).values()} == {""}


def test_a_token_that_is_no_good_is_forgotten() -> None:
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
def test_a_forged_request_logs_nobody_out_and_clears_nothing(
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


def test_while_the_store_fails_the_browser_forgets_and_is_told() -> None:
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


def test_a_log_out_takes_nothing_back_that_goes_on() -> None:
    """A header's token is ended; the login of the cookies beside it is another one."""
    app, authx = browser_app()
    ann, bob = sign_in(app.test_client(), "ann"), sign_in(app.test_client(), "bob")
    headers = {**bearer(ann["access_token"]), **cookie((ACCESS_COOKIE, bob["access_token"]))}
    response = ask(app, "POST", "/auth/logout", headers=headers)
    assert (response.status_code, cookies_in(response)) == (204, {})
    assert lists(app, authx, "ann", "bob") == [0, 1]


def test_a_log_out_ends_both_logins_of_mixed_cookies_if_it_may() -> None:
    """What is taken back must be over, or a copy of it lives on."""
    app, authx = browser_app(COOKIE_CSRF_PROTECT=False)
    ann, bob = sign_in(app.test_client(), "ann"), sign_in(app.test_client(), "bob")
    mixed = cookie((ACCESS_COOKIE, ann["access_token"]), (REFRESH_COOKIE, bob["refresh_token"]))
    response = ask(app, "POST", "/auth/logout", headers=mixed)
    assert (response.status_code, len(cookies_in(response))) == (204, 2)
    assert lists(app, authx, "ann", "bob") == [0, 0]


def test_doubled_cookies_keep_nobody_from_logging_out() -> None:
    app, authx = browser_app()
    ann = sign_in(app.test_client(), "ann")
    twice = f"{ACCESS_COOKIE}=a; {ACCESS_COOKIE}=b"
    refresh = cookie((REFRESH_COOKIE, ann["refresh_token"]))["Cookie"]
    headers = {"Cookie": f"{twice}; {refresh}", **csrf_of(ann["refresh_token"])}
    assert ask(app, "POST", "/auth/logout", headers=headers).status_code == 204
    assert lists(app, authx, "ann") == [0]
    # Where they are all that there is, they are at least forgotten.
    response = ask(app, "POST", "/auth/logout", headers={"Cookie": twice})
    assert (response.status_code, len(cookies_in(response))) == (400, 4)


def test_a_bad_header_of_another_origin_is_told_what_it_is() -> None:
    app, _ = browser_app()
    headers = {**bearer("a.b.c"), "Origin": "https://spa.example"}
    assert outcome(ask(app, "POST", "/auth/logout", headers=headers)) == (401, "JWTDecodeError")


# Without cookies


@pytest.mark.parametrize("way", ["logout", "own", "others"])
def test_an_app_without_cookies_ends_logins_just_so(way: str) -> None:
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
    assert ask(app, headers=bearer(left.access_token)).status_code == 200
    assert lists(app, authx, "ann") == [1]
