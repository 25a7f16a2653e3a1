"""The blueprint's log-in."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask, abort, request

from flask_authx import AuthX, session_revoked
from tests.support import Clock, parts
from tests.support.answers import ACCESS_COOKIE, FAULT, OK, Outcome, ask, outcome
from tests.support.browsers import (
    COOKIES,
    LOCAL,
    PAIR,
    FrailSessions,
    browser_app,
    cookies_in,
    csrf,
    is_private,
)
from tests.support.session_sites import heard
from tests.support.spy_store import SpyStore

FAILED: Outcome = Outcome(401, "LoginFailedError")


CROSS: Outcome = Outcome(403, "CrossOriginError")


FROM_HERE = {"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost"}


PASSWORDS = {"ann": "a", "bob": "b"}


def check() -> str | None:
    """A check of a name and a password, such as an app has."""
    body: dict[str, str] = request.get_json()
    name = body.get("name", "")
    return name if PASSWORDS.get(name) == body.get("password") else None


async def check_async() -> str | None:
    return check()


RIGHT = {"name": "ann", "password": "a"}


WRONG = {"name": "ann", "password": "x"}


@pytest.mark.parametrize("authenticate", [check, check_async])
def test_an_app_gets_tokens_and_a_browser_cookies(authenticate: Any) -> None:
    """SECURITY A.16 305. Browsers say where they come from, and scripts can't keep them from it."""
    app, _ = browser_app(authenticate=authenticate)
    response = ask(app, "POST", "/auth/login", json=RIGHT)
    assert (response.status_code, response.get_json().keys()) == (200, PAIR)
    assert cookies_in(response) == {}
    assert is_private(response)
    for headers in (FROM_HERE, {"Sec-Fetch-Site": "none"}, {"Origin": "http://localhost"}):
        response = ask(app, "POST", "/auth/login", json=RIGHT, headers=headers)
        assert response.get_json() == {"expires_in": 900, "refresh_expires_in": 20 * 86400}
        assert cookies_in(response).keys() == COOKIES
        assert is_private(response)


def test_the_session_is_kept_and_its_token_fresh() -> None:
    app, authx = browser_app(authenticate=check)
    token = ask(app, "POST", "/auth/login", json=RIGHT).get_json()["access_token"]
    claims = parts(token)[1]
    assert (claims["sub"], claims["fresh"]) == ("ann", True)
    with app.app_context():
        assert [session.sid for session in authx.sessions("ann")] == [claims["sid"]]


@pytest.mark.parametrize("authenticate", [check, check_async, lambda: None])
def test_a_refused_user_learns_nothing_else(authenticate: Any) -> None:
    """SECURITY A.18 321"""
    app, authx = browser_app(authenticate=authenticate)
    for headers in ({}, FROM_HERE):
        response = ask(app, "POST", "/auth/login", json=WRONG, headers=headers)
        assert outcome(response) == FAILED
        assert response.headers["WWW-Authenticate"] == 'Bearer realm="api"'
        assert cookies_in(response) == {}
        assert is_private(response)
    with app.app_context():
        assert authx.sessions("ann") == []


def test_a_uid_may_be_a_number_and_zero_is_one() -> None:
    app, _ = browser_app(authenticate=lambda: 0)
    token = ask(app, "POST", "/auth/login").get_json()["access_token"]
    assert parts(token)[1]["sub"] == "0"


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://sub.localhost"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
    ],
)
def test_another_site_logs_no_user_in(headers: dict[str, str]) -> None:
    """Nor is the password checked: an attacker could guess it through other users' browsers."""
    asked: list[str] = []

    def authenticate() -> str:
        asked.append("asked")
        return "mallory"

    app, _ = browser_app(authenticate=authenticate)
    response = ask(app, "POST", "/auth/login", headers=headers)
    assert outcome(response) == CROSS
    assert cookies_in(response) == {}
    assert asked == []
    app, _ = browser_app(
        authenticate=authenticate, TRUSTED_ORIGINS=["https://evil.example", "http://sub.localhost"]
    )
    expected = OK if headers.get("Origin", "null") != "null" else CROSS
    assert outcome(ask(app, "POST", "/auth/login", headers=headers)) == expected


def test_an_app_that_takes_no_cookies_leaves_that_to_cors() -> None:
    app, _ = browser_app(authenticate=lambda: "ann", TOKEN_LOCATION=["headers", "json"])
    headers = {"Sec-Fetch-Site": "cross-site", "Origin": "https://spa.example"}
    response = ask(app, "POST", "/auth/login", headers=headers)
    assert response.get_json().keys() == PAIR
    assert cookies_in(response) == {}


def test_an_app_that_takes_cookies_alone_always_sets_them() -> None:
    app, _ = browser_app(authenticate=lambda: "ann", TOKEN_LOCATION="cookies")
    response = ask(app, "POST", "/auth/login")
    assert ACCESS_COOKIE in cookies_in(response)


def test_what_the_app_s_check_raises_is_the_app_s() -> None:
    def too_often() -> str:
        abort(429)

    app, _ = browser_app(authenticate=too_often)
    response = ask(app, "POST", "/auth/login")
    assert response.status_code == 429
    assert is_private(response)


def test_without_a_check_there_is_no_log_in() -> None:
    app, _ = browser_app()
    assert ask(app, "POST", "/auth/login").status_code == 404


def test_while_the_store_of_revocations_fails_no_session_is_opened() -> None:
    clock = Clock()
    stores = {
        "blocklist": SpyStore(error=ConnectionError("down")),
        "sessions": FrailSessions(clock),
    }
    app, _ = browser_app(clock=clock, stores=stores, authenticate=lambda: "ann")
    response = ask(app, "POST", "/auth/login", headers=FROM_HERE)
    assert outcome(response) == FAULT
    assert cookies_in(response) == {}
    assert is_private(response)


# A log-in in a browser that has cookies


BROWSER = {"Origin": LOCAL}


def logging_in(**config: Any) -> tuple[Flask, AuthX]:
    """An app that accepts every uid without a password."""
    return browser_app(authenticate=lambda: request.get_json()["uid"], **config)


def log_in(client: Any, uid: str = "ann") -> Any:
    return client.post("/auth/login", json={"uid": uid}, base_url=LOCAL, headers=BROWSER)


@pytest.mark.parametrize("second", ["ann", "bob"])
def test_a_log_in_revokes_the_session_whose_cookies_it_overwrites(second: str) -> None:
    """SECURITY A.8 148, A.18 322; ASVS 7.2.4."""
    app, authx = logging_in()
    client, other = app.test_client(), app.test_client()
    assert log_in(other).status_code == log_in(client).status_code == 200
    assert outcome(log_in(client, second)) == OK
    with app.app_context():
        counts = [len(authx.sessions(uid)) for uid in ("ann", "bob")]
    assert counts == ([2, 0] if second == "ann" else [1, 1])


def test_an_app_that_logs_in_again_keeps_its_session() -> None:
    """It says itself what it keeps: nothing of its is overwritten."""
    app, authx = logging_in()
    for _ in range(2):
        assert outcome(app.test_client().post("/auth/login", json={"uid": "ann"})) == OK
    with app.app_context():
        assert len(authx.sessions("ann")) == 2


def test_what_does_not_fit_into_cookies_consumes_nothing() -> None:
    app, authx = logging_in()
    client = app.test_client()
    assert outcome(log_in(client)) == OK
    claims: dict[str, Any] = {"big": "x" * 4000}

    @authx.set_callback_additional_claims
    def grown(uid: str) -> dict[str, Any]:
        return claims

    app.testing = False
    value = csrf(client, "csrf_refresh_token")
    assert client.post("/auth/refresh", base_url=LOCAL, headers=value).status_code == 500
    assert log_in(client, "bob").status_code == 500
    with app.app_context():
        assert [one.generation for one in authx.sessions("ann")] == [0]
        assert authx.sessions("bob") == []
    claims.clear()
    assert outcome(client.post("/auth/refresh", base_url=LOCAL, headers=value)) == OK


@pytest.mark.parametrize("result", [False, None])
def test_a_callback_that_returns_false_refuses(result: Any) -> None:
    app, _ = browser_app(authenticate=lambda: result)
    response = ask(app, "POST", "/auth/login")
    assert outcome(response) == Outcome(401, "LoginFailedError")


@pytest.mark.parametrize("result", [True, 1.5, object()])
def test_what_is_no_uid_is_an_error_that_names_the_callback(result: Any) -> None:
    app, _ = browser_app(authenticate=lambda: result)
    with pytest.raises(TypeError, match="authenticate="):
        ask(app, "POST", "/auth/login")


def lists(app: Flask, authx: AuthX, *uids: str) -> list[int]:
    """How many sessions each user has."""
    with app.app_context():
        return [len(authx.sessions(uid)) for uid in uids]


def test_a_session_that_is_replaced_costs_no_other_one() -> None:
    app, authx = logging_in(MAX_SESSIONS=2)
    phone, laptop = app.test_client(), app.test_client()
    for client in (phone, laptop, laptop, laptop):
        assert outcome(log_in(client)) == OK
    assert outcome(phone.get("/guarded", base_url=LOCAL)) == OK
    assert lists(app, authx, "ann") == [2]


def test_a_revoked_session_is_not_revoked_by_the_next_one() -> None:
    app, authx = logging_in()
    client = app.test_client()
    log_in(client)
    with app.app_context():
        authx.revoke_subject("ann")
    with heard(session_revoked) as revoked:
        assert outcome(log_in(client)) == OK
    assert revoked.times == []


def test_a_receiver_that_fails_does_not_prevent_the_log_in() -> None:
    app, authx = logging_in()
    client = app.test_client()
    log_in(client)

    actors: list[str] = []

    def fail(sender: Any, **keywords: Any) -> None:
        actors.append(keywords["actor"])
        raise OSError("mail is down")

    with session_revoked.connected_to(fail):
        response = log_in(client)
    assert (response.status_code, {*cookies_in(response)}) == (200, COOKIES)
    assert lists(app, authx, "ann") == [1]
    assert actors == ["user:ann"]
