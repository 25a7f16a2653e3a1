"""Automatic renewal of an access cookie: when it is not done, and that the response is intact."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, Response, abort
from flask.testing import FlaskClient

from flask_authx import AuthX, current_token
from flask_authx.stores.circuit_breaker import CircuitBreaker
from flask_authx.stores.lookup_keys import LookupKeys
from tests.support import NOW, Clock, make_app
from tests.support.answers import (
    ACCESS_COOKIE,
    COMPANION,
    OK,
    REFRESH_COOKIE,
    Outcome,
    ask,
    companion_of,
    cookie,
    outcome,
)
from tests.support.browsers import (
    FrailSessions,
    browser,
    cookies_in,
    csrf,
    sign_in,
)
from tests.support.renewal import DELTA, DUE, add, claims_of, is_renewed, renewed, renewing_app
from tests.support.spy_store import SpyStore, said


class Setup:
    """An app whose stores can be made to fail, and a browser whose token is near its end."""

    def __init__(self, **config: Any) -> None:
        self.clock = Clock()
        self.blocklist = SpyStore()
        self.sessions = FrailSessions(self.clock)
        stores = {"blocklist": self.blocklist, "sessions": self.sessions}
        self.app: Flask
        self.authx: AuthX
        self.app, self.authx = renewing_app(self.clock, stores=stores, **config)

    def near_the_end(self) -> FlaskClient:
        client = browser(self.app)
        self.clock.advance(DUE)
        return client

    def add(self, rule: str, view: Callable[[], Any], **demand: Any) -> None:
        add(self.app, rule, self.authx.token_required(**demand)(view))

    def last_seen(self) -> list[float]:
        with self.app.app_context():
            return [one.last_seen - NOW for one in self.authx.sessions("ann")]


@pytest.fixture
def setup() -> Setup:
    return Setup()


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 500, 503])
def test_an_error_renews_nothing(status: int, setup: Setup) -> None:
    """SECURITY A.15 294"""
    setup.add("/returned", lambda: ("", status))
    setup.add("/aborted", lambda: abort(status))
    client = setup.near_the_end()
    for path in ("/returned", "/aborted"):
        response = client.get(path)
        assert response.status_code == status
        assert cookies_in(response) == {}
    assert is_renewed(client)


def test_a_view_that_fails_renews_nothing(setup: Setup) -> None:
    def fail() -> str:
        raise LookupError

    setup.app.testing = False
    setup.add("/failing", fail)
    response = setup.near_the_end().get("/failing")
    assert response.status_code == 500
    assert cookies_in(response) == {}


@pytest.mark.parametrize("half", ["unset_cookies", "unset_access_cookies"])
def test_nothing_comes_after_an_unset(half: str, setup: Setup) -> None:
    """SECURITY A.15 294, USERS 69: a renewal that brought the cookie back would undo a log-out."""

    def leave() -> Response:
        response = Response()
        getattr(setup.authx, half)(response)
        return response

    setup.add("/leave", leave)
    response = setup.near_the_end().get("/leave")
    assert cookies_in(response)[ACCESS_COOKIE].value == ""


def test_nothing_comes_after_an_unset_in_a_hook(setup: Setup) -> None:
    @setup.app.after_request
    def leave(response: Response) -> Response:
        if not cookies_in(response):
            setup.authx.unset_cookies(response)
        return response

    response = setup.near_the_end().get("/guarded")
    assert cookies_in(response)[ACCESS_COOKIE].value == ""


def test_what_the_view_has_set_itself_stays(setup: Setup) -> None:
    def prove() -> Response:
        response = Response()
        setup.authx.set_access_cookies(response, setup.authx.reauthenticate("ann"))
        return response

    setup.add("/prove", prove)
    response = setup.near_the_end().get("/prove")
    assert claims_of(renewed(response))["fresh"] is True


def test_an_unset_refresh_cookie_does_not_prevent_the_renewal(
    setup: Setup,
) -> None:
    def forget() -> Response:
        response = Response()
        setup.authx.unset_refresh_cookies(response)
        return response

    setup.add("/forget", forget)
    response = setup.near_the_end().get("/forget")
    assert cookies_in(response)[REFRESH_COOKIE].value == ""
    assert renewed(response)


def test_a_log_out_in_the_same_response_wins(setup: Setup) -> None:
    """Also one that leaves the cookie where it is."""

    def leave() -> str:
        setup.authx.logout()
        return "out"

    setup.add("/leave", leave)
    client = setup.near_the_end()
    response = client.post("/leave", headers=csrf(client))
    assert (response.status_code, response.text) == (200, "out")
    assert cookies_in(response) == {}


@pytest.mark.parametrize("path", ["/auth/logout", "/auth/sessions/{sid}"])
def test_a_log_out_by_the_blueprint_wins(path: str, setup: Setup) -> None:
    client = setup.near_the_end()
    with setup.app.app_context():
        (session,) = setup.authx.sessions("ann")
    method = "POST" if path == "/auth/logout" else "DELETE"
    response = client.open(path.format(sid=session.sid), method=method, headers=csrf(client))
    assert outcome(response) == Outcome(204)
    assert {cookie.value for cookie in cookies_in(response).values()} == {""}


REVOCATIONS: dict[str, Callable[[AuthX], None]] = {
    "token": lambda authx: authx.revoke_token(),
    "session": lambda authx: authx.revoke_session(current_token.sid),
    "user": lambda authx: authx.revoke_subject(current_token.sub),
}


def revoking(setup: Setup, what: str) -> Callable[[], str]:
    """A view that revokes."""

    def view() -> str:
        REVOCATIONS[what](setup.authx)
        return "done"

    return view


@pytest.mark.parametrize("what", REVOCATIONS)
def test_what_is_revoked_during_the_view_is_not_renewed(what: str, setup: Setup) -> None:
    """SECURITY A.10 179: the guard has asked before that; it is asked again after it."""
    setup.add("/view", revoking(setup, what))
    response = setup.near_the_end().get("/view")
    assert (response.status_code, cookies_in(response)) == (200, {})


@pytest.mark.parametrize("what", REVOCATIONS)
def test_a_view_that_does_not_ask_renews_nothing_that_is_revoked(what: str, setup: Setup) -> None:
    setup.add("/view", revoking(setup, what))
    setup.add("/fast", lambda: "fast", check_revocation=False)
    client = setup.near_the_end()
    client.get("/view")
    response = client.get("/fast")
    assert (response.text, cookies_in(response)) == ("fast", {})


def test_a_view_that_does_not_ask_renews_what_is_not_revoked(setup: Setup) -> None:
    setup.add("/fast", lambda: "fast", check_revocation=False)
    assert is_renewed(setup.near_the_end(), "/fast")


def test_a_callback_is_asked_as_well(setup: Setup) -> None:
    asked: list[str] = []

    @setup.authx.token_blocklist
    def is_revoked(token: str) -> bool:
        asked.append(token)
        return len(asked) > 1

    response = setup.near_the_end().get("/guarded")
    assert (response.status_code, cookies_in(response)) == (200, {})
    assert len(asked) == 2
    assert asked[0] == asked[1]


# Stores that fail, and rows that are removed


@pytest.mark.parametrize("config", [{}, {"BLOCKLIST_ON_ERROR": "accept"}])
def test_while_the_store_of_revocations_fails_nothing_is_renewed(config: dict[str, Any]) -> None:
    """Leniency is about a token that is at hand and ends soon, not about new ones."""
    setup = Setup(**config)
    demand = {} if config else {"check_revocation": False}
    setup.add("/view", lambda: "seen", **demand)
    client = setup.near_the_end()
    setup.blocklist.error = ConnectionError("down")
    if config:
        # A call that fails may have met a slow answer.
        refused = [client.get("/view").status_code for _ in range(CircuitBreaker.IN_A_ROW - 1)]
        assert {*refused} == {503}
    response = client.get("/view")
    assert (response.status_code, response.text) == (200, "seen")
    assert cookies_in(response) == {}


@pytest.mark.parametrize("failing", ["get", "move"])
def test_while_the_store_of_sessions_fails_nothing_is_renewed(failing: str, setup: Setup) -> None:
    setup.add("/view", lambda: "seen")
    client = setup.near_the_end()
    setup.sessions.frail.error = ConnectionError("down")
    setup.sessions.frail.failing = frozenset({failing})
    response = client.get("/view")
    assert (response.status_code, response.text) == (200, "seen")
    assert cookies_in(response) == {}


def test_a_session_without_its_row_is_not_renewed(setup: Setup) -> None:
    client = setup.near_the_end()
    with setup.app.app_context():
        [row] = setup.authx.sessions("ann")
    keys = LookupKeys(None, "authx")
    assert setup.sessions.end(keys.session(row.sid))
    response = client.get("/guarded")
    assert (response.status_code, cookies_in(response)) == (200, {})


def test_no_access_token_outlives_the_idle_end_of_its_session() -> None:
    setup = Setup(REFRESH_TOKEN_EXPIRES=500, REFRESH_GRACE=10)
    response = setup.near_the_end().get("/guarded")
    assert (response.status_code, cookies_in(response)) == (401, {})


def test_what_is_not_renewed_is_not_seen_to_be_in_use(setup: Setup) -> None:
    setup.add("/error", lambda: ("", 400))
    client = setup.near_the_end()
    client.get("/error")
    assert setup.last_seen() == [0]
    client.get("/guarded")
    assert setup.last_seen() == [DUE]


# The app's callbacks


def test_a_token_of_a_deleted_user_is_not_renewed(
    setup: Setup, caplog: pytest.LogCaptureFixture
) -> None:
    users: dict[str, str] = {"ann": "Ann"}
    setup.authx.set_subject_getter(users.get)
    client = setup.near_the_end()
    assert is_renewed(client)
    setup.clock.advance(DUE)
    users.clear()
    response = client.get("/guarded")
    assert (response.status_code, cookies_in(response)) == (200, {})
    assert said(caplog, logging.WARNING) == []
    # Nothing else happens to the session: that is for a refresh to find out.
    assert setup.last_seen() == [DUE]


@pytest.mark.parametrize("which", ["user", "async user", "claims", "too many claims"])
def test_a_callback_that_fails_is_logged_and_the_response_is_intact(
    which: str, setup: Setup, caplog: pytest.LogCaptureFixture
) -> None:
    client = setup.near_the_end()

    def fail(uid: str) -> dict[str, Any]:
        if which == "too many claims":
            return {"x": "y" * 4000}
        raise LookupError(f"the app's own words about {uid}")

    async def fail_async(uid: str) -> dict[str, Any]:
        return fail(uid)

    if "user" in which:
        setup.authx.set_subject_getter(fail_async if "async" in which else fail)
    else:
        setup.authx.set_callback_additional_claims(fail)
    response = client.get("/guarded")
    assert outcome(response) == OK
    assert response.get_json()["sub"] == "ann"
    assert cookies_in(response) == {}
    (line,) = said(caplog, logging.ERROR)
    assert line.startswith("a token could not be renewed")
    assert "Error:\n  File " in line
    # SECURITY A.16 334: the callbacks have the token's claims.
    assert "the app's own words" not in caplog.text
    assert [one.exc_info for one in caplog.records if one.levelno == logging.ERROR] == [None]


# Cookies of another host


def renews(setup: Setup, *jar: tuple[str, str]) -> bool:
    """Whether a request with these cookies is accepted, and its response sets any."""
    response = ask(setup.app, "GET", "/guarded", headers=cookie(*jar))
    assert outcome(response) == OK
    return cookies_in(response) != {}


def test_a_cookie_that_another_host_may_have_set_is_renewed_beside_the_companion_alone() -> None:
    """Else the visitor would stay in the account of whoever has set it."""
    setup = Setup(ACCESS_COOKIE_NAME="access_token_cookie")
    client = setup.app.test_client()
    mine, other = (sign_in(client, uid)["access_token"] for uid in ("ann", "eve"))
    setup.clock.advance(DUE)
    planted = ("access_token_cookie", mine)
    assert not renews(setup, planted)
    assert not renews(setup, planted, (COMPANION, companion_of(other)))
    assert renews(setup, planted, (COMPANION, companion_of(mine)))


def test_a_browser_that_is_logged_in_renews_under_any_name() -> None:
    setup = Setup(ACCESS_COOKIE_NAME="access_token_cookie")
    response = setup.near_the_end().get("/guarded")
    assert cookies_in(response)["access_token_cookie"].value.startswith("ey")


@pytest.mark.parametrize(
    ("name", "config"),
    [
        (ACCESS_COOKIE, {}),
        ("a", {"ACCESS_COOKIE_NAME": "a", "COOKIE_DOMAIN": "example.org"}),
        ("a", {"ACCESS_COOKIE_NAME": "a", "COOKIE_SECURE": False}),
    ],
)
def test_where_no_other_host_can_set_it_or_no_companion_is_there_it_is_renewed_alone(
    name: str, config: dict[str, Any]
) -> None:
    setup = Setup(**config)
    mine = sign_in(setup.app.test_client())["access_token"]
    setup.clock.advance(DUE)
    assert renews(setup, (name, mine))


def test_an_app_without_sessions_renews_an_access_cookie_alone() -> None:
    """It may set no other cookie, as with other extensions."""
    config: dict[str, Any] = {"TOKEN_LOCATION": "cookies", "ACCESS_COOKIE_NAME": "a"}
    clock = Clock()
    app, authx = make_app(
        clock=clock, BLOCKLIST="memory://", IMPLICIT_REFRESH_DELTATIME=DELTA, **config
    )
    with app.app_context():
        mine = authx.create_access_token("ann")
    clock.advance(DUE)
    response = ask(app, "GET", "/guarded", headers=cookie(("a", mine)))
    assert cookies_in(response)["a"].value.startswith("ey")
