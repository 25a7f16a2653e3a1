"""The blueprint's list of sessions: one's own, and each of them can be revoked."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask

from flask_authx import AuthX, session_revoked, subject_revoked
from tests.support import NOW, Clock, bearer, parts
from tests.support.answers import (
    ACCESS_COOKIE,
    CSRF,
    FAULT,
    MISSING,
    NO_CSRF,
    OK,
    REFRESH_COOKIE,
    REVOKED,
    Outcome,
    ask,
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
    is_private,
    kept_by,
    sign_in,
)
from tests.support.spy_store import SpyStore

NOT_FOUND: Outcome = Outcome(404, "SessionNotFoundError")


SHOWN = {
    *("sid", "name", "created", "last_seen", "expires", "ends"),
    *("user_agent", "address", "current"),
}


def new_login(app: Flask, uid: str = "ann", **kwargs: Any) -> tuple[dict[str, Any], str]:
    """The tokens of a new session on a device of its own, and its sid."""
    tokens = sign_in(app.test_client(), uid, **kwargs)
    return tokens, parts(tokens["access_token"])[1]["sid"]


def listed(app: Flask, token: str) -> list[dict[str, Any]]:
    response = ask(app, path="/auth/sessions", headers=bearer(token))
    assert outcome(response) == OK
    assert is_private(response)
    found: list[dict[str, Any]] = response.get_json()["sessions"]
    return found


def frail() -> tuple[Flask, AuthX, SpyStore, FrailSessions]:
    """An app whose stores can be made to fail."""
    clock = Clock()
    blocklist, sessions = SpyStore(), FrailSessions(clock)
    stores = {"blocklist": blocklist, "sessions": sessions}
    return *browser_app(clock=clock, stores=stores), blocklist, sessions


# The list


def test_the_list_holds_all_of_one_s_own_the_latest_first() -> None:
    clock = Clock()
    app, _ = browser_app(clock=clock)
    first, first_sid = new_login(app, name="the old phone")
    new_login(app, "bob")
    clock.advance(60)
    second, second_sid = new_login(app)
    assert [one["sid"] for one in listed(app, first["access_token"])] == [second_sid, first_sid]
    shown = listed(app, second["access_token"])
    assert [(one["sid"], one["current"]) for one in shown] == [
        (second_sid, True),
        (first_sid, False),
    ]
    assert shown[1] == {
        "sid": first_sid,
        "name": "the old phone",
        "created": NOW,
        "last_seen": NOW,
        "expires": NOW + 20 * 86400,
        "ends": NOW + 90 * 86400,
        "user_agent": None,
        "address": None,
        "current": False,
    }
    assert all(one.keys() == SHOWN for one in shown)


def test_a_refresh_is_seen_in_the_list() -> None:
    clock = Clock()
    app, _ = browser_app(clock=clock, SESSION_DETAILS=["user_agent", "address"])
    client = browser(app)
    clock.advance(500)
    headers = {**csrf(client, REFRESH_CSRF), "User-Agent": "a browser"}
    assert outcome(client.post("/auth/refresh", headers=headers)) == OK
    (shown,) = client.get("/auth/sessions").get_json()["sessions"]
    assert (shown["created"], shown["last_seen"]) == (NOW, NOW + 500)
    assert (shown["user_agent"], shown["address"]) == ("a browser", "127.0.0.1")


def test_a_browser_reads_the_list_without_a_csrf_value() -> None:
    app, _ = browser_app()
    response = browser(app).get("/auth/sessions")
    assert outcome(response) == OK
    assert "Cookie" in response.vary
    assert cookies_in(response) == {}


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/auth/sessions"), ("DELETE", "/auth/sessions"), ("DELETE", "/auth/sessions/x")],
)
def test_all_views_need_a_valid_access_token(method: str, path: str) -> None:
    app, authx = browser_app()
    tokens, sid = new_login(app)
    response = ask(app, method, path)
    assert outcome(response) == MISSING
    assert is_private(response)
    headers = bearer(tokens["refresh_token"])
    assert outcome(ask(app, method, path, headers=headers)) == Outcome(
        401, "AccessTokenRequiredError"
    )
    with app.app_context():
        authx.revoke_session(sid)
    headers = bearer(tokens["access_token"])
    response = ask(app, method, path, headers=headers)
    assert outcome(response) == REVOKED
    assert is_private(response)


@pytest.mark.parametrize("path", ["/auth/sessions", "/auth/sessions/x"])
def test_other_methods_are_not_allowed(path: str) -> None:
    app, _ = browser_app()
    headers = bearer(new_login(app)[0]["access_token"])
    for method in ("POST", "PUT", "PATCH"):
        assert outcome(ask(app, method, path, headers=headers)) == Outcome(405)


# Ending one


def test_a_user_revokes_another_session() -> None:
    app, _ = browser_app()
    here, _ = new_login(app)
    there, sid = new_login(app)
    headers = bearer(here["access_token"])
    response = ask(app, "DELETE", f"/auth/sessions/{sid}", headers=headers)
    assert (response.status_code, response.data) == (204, b"")
    assert cookies_in(response) == {}
    assert is_private(response)
    assert outcome(ask(app, headers=bearer(there["access_token"]))) == REVOKED
    refused = ask(app, "POST", "/auth/refresh", json={"refresh_token": there["refresh_token"]})
    assert outcome(refused) == REVOKED
    assert outcome(ask(app, headers=headers)) == OK
    assert len(listed(app, here["access_token"])) == 1
    # It is removed, and so it is not found any more.
    assert outcome(ask(app, "DELETE", f"/auth/sessions/{sid}", headers=headers)) == NOT_FOUND


def test_a_user_revokes_the_current_session_and_its_cookies_are_removed() -> None:
    app, _ = browser_app()
    client = app.test_client()
    sid = parts(sign_in(client)["access_token"])[1]["sid"]
    response = client.delete(f"/auth/sessions/{sid}", headers=csrf(client))
    assert outcome(response) == Outcome(204)
    assert cookies_in(response).keys() == COOKIES
    assert kept_by(client) == set()


def test_another_users_session_is_not_found_whether_it_exists_or_not() -> None:
    """The response does not tell which sessions exist, and none is revoked."""
    app, _ = browser_app()
    mine, _ = new_login(app)
    others, sid = new_login(app, "bob")
    headers = bearer(mine["access_token"])
    responses = [
        ask(app, "DELETE", f"/auth/sessions/{one}", headers=headers)
        for one in (sid, "A" * 22, "x", "x" * 300, "%20", "%00", "%F0%9F%98%80", "%ED%A0%80", "..")
    ]
    assert {outcome(response) for response in responses} == {NOT_FOUND}
    assert len({response.data for response in responses}) == 1
    assert all(is_private(response) for response in responses)
    assert outcome(ask(app, headers=bearer(others["access_token"]))) == OK


def test_an_expired_session_is_not_found() -> None:
    clock = Clock()
    app, _ = browser_app(clock=clock, REFRESH_TOKEN_EXPIRES=1000)
    _, sid = new_login(app)
    clock.advance(1000)
    here, _ = new_login(app)
    headers = bearer(here["access_token"])
    assert outcome(ask(app, "DELETE", f"/auth/sessions/{sid}", headers=headers)) == NOT_FOUND


@pytest.mark.parametrize("path", ["/auth/sessions", "/auth/sessions/{sid}"])
def test_a_browser_needs_its_csrf_value_to_end_any(path: str) -> None:
    app, _ = browser_app()
    client = browser(app)
    other, sid = new_login(app)
    for headers, expected in (({}, NO_CSRF), ({"X-CSRF-TOKEN": "x"}, CSRF)):
        response = client.delete(path.format(sid=sid), headers=headers)
        assert outcome(response) == expected
        assert cookies_in(response) == {}
        assert is_private(response)
    assert outcome(ask(app, headers=bearer(other["access_token"]))) == OK
    assert outcome(client.delete(path.format(sid=sid), headers=csrf(client))) == Outcome(204)
    assert outcome(ask(app, headers=bearer(other["access_token"]))) == REVOKED
    assert outcome(client.get("/guarded")) == OK


# Ending all others


def test_all_other_sessions_are_revoked_and_this_one_goes_on() -> None:
    app, _ = browser_app()
    others = [new_login(app)[0] for _ in range(3)]
    bob, _ = new_login(app, "bob")
    here, sid = new_login(app)
    response = ask(app, "DELETE", "/auth/sessions", headers=bearer(here["access_token"]))
    assert (response.status_code, response.data) == (204, b"")
    assert cookies_in(response) == {}
    assert is_private(response)
    for tokens in others:
        assert outcome(ask(app, headers=bearer(tokens["access_token"]))) == REVOKED
        refused = ask(app, "POST", "/auth/refresh", headers=bearer(tokens["refresh_token"]))
        assert outcome(refused) == REVOKED
    assert outcome(ask(app, headers=bearer(bob["access_token"]))) == OK
    assert [one["sid"] for one in listed(app, here["access_token"])] == [sid]
    refreshed = ask(app, "POST", "/auth/refresh", headers=bearer(here["refresh_token"]))
    assert outcome(refreshed) == OK


def test_the_signals_say_who_asked_for_it() -> None:
    app, _ = browser_app()
    here, mine = new_login(app)
    _, sid = new_login(app)
    heard: list[dict[str, Any]] = []

    def receiver(sender: object, **kwargs: Any) -> None:
        heard.append(kwargs)

    for signal in (session_revoked, subject_revoked):
        signal.connect(receiver, app)
    headers = bearer(here["access_token"])
    ask(app, "DELETE", f"/auth/sessions/{sid}", headers=headers)
    ask(app, "DELETE", "/auth/sessions", headers=headers)
    ask(app, "POST", "/auth/logout", headers=headers)
    assert [(one.get("sid"), one.get("keep"), one["actor"]) for one in heard] == [
        (sid, None, "user:ann"),
        (None, mine, "user:ann"),
        (mine, None, "user:ann"),
    ]


# Stores that fail


REQUESTS = [
    ("GET", "/auth/sessions", "of"),
    ("DELETE", "/auth/sessions/{sid}", "get"),
    ("DELETE", "/auth/sessions/{sid}", "end"),
]


@pytest.mark.parametrize(("method", "path", "failing"), REQUESTS)
def test_while_the_store_of_sessions_fails_the_response_is_503(
    method: str, path: str, failing: str
) -> None:
    app, _, _, sessions = frail()
    client = browser(app)
    _, sid = new_login(app)
    sessions.frail.error = ConnectionError("down")
    sessions.frail.failing = frozenset({failing})
    response = client.open(path.format(sid=sid), method=method, headers=csrf(client))
    assert outcome(response) == FAULT
    assert cookies_in(response) == {}
    assert is_private(response)


@pytest.mark.parametrize("path", ["/auth/sessions", "/auth/sessions/{sid}"])
def test_while_revocations_can_not_be_written_the_response_is_503(path: str) -> None:
    app, _, blocklist, _ = frail()
    client = browser(app)
    other, sid = new_login(app)
    blocklist.error, blocklist.failing = ConnectionError("down"), frozenset({"add"})
    response = client.delete(path.format(sid=sid), headers=csrf(client))
    assert outcome(response) == FAULT
    assert "may not have been written" in response.get_json()["msg"]
    assert is_private(response)
    assert kept_by(client) >= {ACCESS_COOKIE, REFRESH_COOKIE}
    assert outcome(ask(app, headers=bearer(other["access_token"]))) == OK


# A token of no session


def test_a_token_of_no_kept_session_can_not_revoke_any() -> None:
    app, authx = browser_app()
    sign_in(app.test_client())
    with app.app_context():
        token = authx.create_access_token("ann", scopes=["feed:read"])
    headers = {"Authorization": f"Bearer {token}"}
    for method in ("GET", "DELETE"):
        response = ask(app, method, "/auth/sessions", headers=headers)
        assert outcome(response) == Outcome(404, "SessionNotFoundError")
    with app.app_context():
        assert len(authx.sessions("ann")) == 1
