"""The blueprint's log-out, for browsers and for apps."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from flask_authx import AuthX, Entry, session_revoked
from flask_authx.stores.base import StoreBusyError
from tests.support import OTHER_SECRET, Clock, bearer, parts
from tests.support.answers import (
    ACCESS_COOKIE,
    COMPANION,
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
    refresh_cookies,
)
from tests.support.browsers import (
    ACCESS_CSRF,
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
from tests.support.session_sites import heard
from tests.support.spy_store import SpyStore
from tests.support.waiting import until


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


# While the store fails

BUSY = StoreBusyError("all its connections stayed in use")
#: Without cookies.
APP = ["headers", "json"]


@dataclass(eq=False)
class Setup:
    """A browser that has a session, and the stores."""

    app: Flask
    authx: AuthX
    blocklist: SpyStore
    sessions: FrailSessions
    client: FlaskClient
    tokens: dict[str, Any]

    def refreshes(self) -> bool:
        """Whether a copy of the refresh token works, which gives it back if it does."""
        token = self.tokens["refresh_token"]
        response = ask(self.app, "POST", "/auth/refresh", headers=bearer(token))
        return response.status_code == 200


def setup(**config: Any) -> Setup:
    clock, blocklist = Clock(), SpyStore()
    sessions = FrailSessions(clock)
    stores = {"sessions": sessions, "blocklist": blocklist}
    app, authx = browser_app(clock=clock, stores=stores, **config)
    client = app.test_client()
    if app.config["JWT_TOKEN_LOCATION"] == APP:
        with app.app_context():
            return Setup(app, authx, blocklist, sessions, client, authx.login("ann").to_dict())
    return Setup(app, authx, blocklist, sessions, client, sign_in(client))


def goes_on(response: TestResponse) -> bool:
    """Whether a response says that the log-out failed, and may be sent again."""
    assert outcome(response) == FAULT
    assert is_private(response)
    assert response.headers["Retry-After"] == "1"
    said: str = response.get_json()["msg"]
    return said.startswith("The session goes on")


@pytest.mark.parametrize("failing", [{"add"}, {"add", "find"}])
def test_a_log_out_that_could_not_be_written_can_be_sent_again(failing: set[str]) -> None:
    """SECURITY A.18 318"""
    here = setup()
    here.blocklist.error, here.blocklist.failing = BUSY, frozenset(failing)
    response = here.client.post("/auth/logout", headers=csrf(here.client))
    assert goes_on(response)
    assert ACCESS_COOKIE in cookies_in(response)
    # The page reads the value anew, from the cookie of the access token.
    assert kept_by(here.client) == COOKIES - {ACCESS_COOKIE}
    assert goes_on(here.client.post("/auth/logout", headers=csrf(here.client)))
    assert kept_by(here.client) == COOKIES - {ACCESS_COOKIE}
    here.blocklist.error = None
    assert here.refreshes()
    last = here.client.post("/auth/logout", headers=csrf(here.client))
    assert outcome(last) == Outcome(204)
    assert kept_by(here.client) == set()
    assert not here.refreshes()


def test_a_page_may_send_a_log_out_again_with_the_value_that_it_has() -> None:
    """A form holds the CSRF value of the access cookie, which may have expired since."""
    here = setup()
    value = csrf(here.client)
    here.blocklist.error = BUSY
    assert goes_on(here.client.post("/auth/logout", headers=value))
    here.client.delete_cookie(ACCESS_COOKIE)
    here.client.delete_cookie(ACCESS_CSRF)
    here.blocklist.error = None
    assert outcome(here.client.post("/auth/logout", headers=value)) == Outcome(204)
    assert not here.refreshes()


@pytest.mark.parametrize("name", [ACCESS_COOKIE, REFRESH_COOKIE])
def test_the_only_cookie_of_a_failed_log_out_stays(name: str) -> None:
    here = setup()
    other, path = {ACCESS_COOKIE: (REFRESH_COOKIE, "/auth"), REFRESH_COOKIE: (ACCESS_COOKIE, "/")}[
        name
    ]
    here.client.delete_cookie(other, path=path)
    here.blocklist.error = BUSY
    value = csrf(here.client, ACCESS_CSRF if name == ACCESS_COOKIE else REFRESH_CSRF)
    assert goes_on(here.client.post("/auth/logout", headers=value))
    assert name in kept_by(here.client)
    here.blocklist.error = None
    assert outcome(here.client.post("/auth/logout", headers=value)) == Outcome(204)
    assert not here.refreshes()


@pytest.mark.parametrize("locations", [APP, [*APP, "cookies"]])
def test_a_failed_log_out_of_an_app_says_so_too(locations: list[str]) -> None:
    here = setup(TOKEN_LOCATION=locations)
    here.blocklist.error = BUSY
    for headers, body in (
        (bearer(here.tokens["access_token"]), None),
        ({}, {"refresh_token": here.tokens["refresh_token"]}),
    ):
        response = ask(here.app, "POST", "/auth/logout", headers=headers, json=body)
        assert goes_on(response)
        assert cookies_in(response) == {}
    here.blocklist.error = None
    assert here.refreshes()


def test_a_failed_log_out_by_a_header_keeps_the_cookies_of_another_session() -> None:
    here = setup()
    bob = sign_in(here.app.test_client(), "bob")
    headers = bearer(here.tokens["access_token"]) | cookie(*refresh_cookies(bob["refresh_token"]))
    here.blocklist.error = BUSY
    response = ask(here.app, "POST", "/auth/logout", headers=headers)
    assert goes_on(response)
    assert cookies_in(response) == {}


def test_a_failed_log_out_of_two_sessions_keeps_both_cookies() -> None:
    here = setup(COOKIE_CSRF_PROTECT=False)
    bob = sign_in(here.app.test_client(), "bob")
    mixed = cookie(
        (ACCESS_COOKIE, here.tokens["access_token"]), *refresh_cookies(bob["refresh_token"])
    )
    here.blocklist.error = BUSY
    response = ask(here.app, "POST", "/auth/logout", headers=mixed)
    assert goes_on(response)
    assert cookies_in(response) == {}
    here.blocklist.error = None
    assert outcome(ask(here.app, "POST", "/auth/logout", headers=mixed)) == Outcome(204)
    assert lists(here.app, here.authx, "ann", "bob") == [0, 0]


class FailsFirst(SpyStore):
    """Fails at the first writes, each of which takes as long as is set."""

    def __init__(self, number: int, lasts: float = 0) -> None:
        super().__init__(error=BUSY, failing=frozenset({"add"}))
        self.number = number
        self.lasts = lasts

    def add(self, entry: Entry, /) -> None:
        due = time.monotonic() + self.lasts
        until(lambda: time.monotonic() >= due)
        try:
            super().add(entry)
        finally:
            if self.calls.count("add") == self.number:
                self.error = None


def test_a_session_is_revoked_although_another_one_can_not_be() -> None:
    clock = Clock()
    stores = {"sessions": FrailSessions(clock), "blocklist": FailsFirst(2)}
    app, authx = browser_app(clock=clock, stores=stores, COOKIE_CSRF_PROTECT=False)
    ann, bob = sign_in(app.test_client(), "ann"), sign_in(app.test_client(), "bob")
    mixed = cookie((ACCESS_COOKIE, ann["access_token"]), *refresh_cookies(bob["refresh_token"]))
    assert goes_on(ask(app, "POST", "/auth/logout", headers=mixed))
    assert lists(app, authx, "ann", "bob") == [1, 0]
    assert outcome(ask(app, "POST", "/auth/logout", headers=mixed)) == Outcome(204)
    assert lists(app, authx, "ann", "bob") == [0, 0]


@pytest.mark.parametrize("lasts", [0, 0.011])
def test_a_log_out_is_tried_twice_within_the_time_of_the_store(lasts: float) -> None:
    clock, blocklist = Clock(), FailsFirst(1, lasts)
    stores = {"sessions": FrailSessions(clock), "blocklist": blocklist}
    limit = 0.01 if lasts else 30
    app, authx = browser_app(clock=clock, stores=stores, STORE_TIMEOUT=limit)
    client = browser(app)
    with heard(session_revoked) as revoked:
        response = client.post("/auth/logout", headers=csrf(client))
    if lasts:
        assert goes_on(response)
        assert (blocklist.calls.count("add"), revoked.times) == (1, [])
    else:
        assert outcome(response) == Outcome(204)
        assert (blocklist.calls.count("add"), len(revoked.times)) == (2, 1)
        assert lists(app, authx, "ann") == [0]


def test_a_revocation_in_force_removes_all_cookies_whatever_else_fails() -> None:
    """There is nothing to send again: the session has ended."""
    here = setup()
    here.sessions.frail.error, here.sessions.frail.failing = BUSY, frozenset({"end"})
    response = here.client.post("/auth/logout", headers=csrf(here.client))
    assert not goes_on(response)
    assert response.get_json()["msg"].startswith("The revocation is in force")
    assert kept_by(here.client) == set()
    here.sessions.frail.error = None
    assert not here.refreshes()


def test_a_session_that_could_not_revoke_itself_can_try_again() -> None:
    """The view of the list needs the access token."""
    here = setup()
    sid = parts(here.tokens["access_token"])[1]["sid"]
    here.blocklist.error, here.blocklist.failing = BUSY, frozenset({"add"})
    response = here.client.delete(f"/auth/sessions/{sid}", headers=csrf(here.client))
    assert goes_on(response)
    assert kept_by(here.client) == COOKIES
    here.blocklist.error = None
    again = here.client.delete(f"/auth/sessions/{sid}", headers=csrf(here.client))
    assert outcome(again) == Outcome(204)
    assert kept_by(here.client) == set()
    assert not here.refreshes()


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
    mixed = cookie((ACCESS_COOKIE, ann["access_token"]), *refresh_cookies(bob["refresh_token"]))
    response = ask(app, "POST", "/auth/logout", headers=mixed)
    assert (response.status_code, {*cookies_in(response)}) == (
        204,
        {ACCESS_COOKIE, REFRESH_COOKIE, COMPANION},
    )
    assert lists(app, authx, "ann", "bob") == [0, 0]


def test_doubled_cookies_are_no_obstacle_to_a_log_out() -> None:
    app, authx = browser_app()
    ann = sign_in(app.test_client(), "ann")
    twice = f"{ACCESS_COOKIE}=a; {ACCESS_COOKIE}=b"
    refresh = cookie(*refresh_cookies(ann["refresh_token"]))["Cookie"]
    headers = {"Cookie": f"{twice}; {refresh}", **csrf_of(ann["refresh_token"])}
    assert outcome(ask(app, "POST", "/auth/logout", headers=headers)) == Outcome(204)
    assert lists(app, authx, "ann") == [0]
    # Where they are all that there is, they are at least forgotten.
    response = ask(app, "POST", "/auth/logout", headers={"Cookie": twice})
    assert (response.status_code, {*cookies_in(response)}) == (400, COOKIES)


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
