"""The blueprint's refresh, for browsers and for apps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support import Clock, bearer, parts, reforge
from tests.support.answers import (
    CSRF,
    FAULT,
    INVALID,
    MALFORMED,
    MISSING,
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
    COOKIES,
    METHODS,
    PAIR,
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
from tests.support.corpus import check_all
from tests.support.spy_store import SpyStore

EXPIRED: Outcome = Outcome(401, "TokenExpiredError")


def test_a_browser_gets_new_cookies_and_no_token_in_the_body() -> None:
    """SECURITY A.16 305. What a script can't read it can't lose."""
    app, _ = browser_app()
    client = app.test_client()
    before = sign_in(client)
    response = client.post("/auth/refresh", headers=csrf(client, REFRESH_CSRF))
    assert response.get_json() == {"expires_in": 900, "refresh_expires_in": 20 * 86400}
    found = cookies_in(response)
    assert found.keys() == COOKIES
    assert found[REFRESH_COOKIE].value != before["refresh_token"]
    assert parts(found[REFRESH_COOKIE].value)[1]["gen"] == 1
    assert "Path=/auth" in found[REFRESH_COOKIE].attributes
    assert is_private(response)
    assert outcome(client.post("/guarded", headers=csrf(client))) == OK
    assert outcome(client.post("/auth/refresh", headers=csrf(client, REFRESH_CSRF))) == OK


@pytest.mark.parametrize("way", ["json", "headers"])
def test_an_app_gets_json_and_no_cookies(way: str) -> None:
    app, _ = browser_app()
    token = sign_in(app.test_client())["refresh_token"]
    sent: dict[str, Any] = {
        "json": {"json": {"refresh_token": token}},
        "headers": {"headers": bearer(token)},
    }
    response = ask(app, "POST", "/auth/refresh", **sent[way])
    body = response.get_json()
    assert (response.status_code, body.keys()) == (200, PAIR)
    assert cookies_in(response) == {}
    assert is_private(response)
    assert outcome(ask(app, headers=bearer(body["access_token"]))) == OK


def test_what_is_named_for_it_goes_before_what_comes_by_itself() -> None:
    """A browser's script that sends a token of its own gets tokens in the body."""
    app, _ = browser_app()
    client = browser(app)
    token = sign_in(app.test_client(), "bob")["refresh_token"]
    response = client.post("/auth/refresh", json={"refresh_token": token})
    assert parts(response.get_json()["access_token"])[1]["sub"] == "bob"
    assert cookies_in(response) == {}


def test_an_app_that_always_sends_its_access_token_can_refresh() -> None:
    app, _ = browser_app()
    tokens = sign_in(app.test_client())
    body = {"refresh_token": tokens["refresh_token"]}
    headers = bearer(tokens["access_token"])
    response = ask(app, "POST", "/auth/refresh", headers=headers, json=body)
    assert response.get_json().keys() == PAIR


REFUSED: dict[str, tuple[Callable[[dict[str, Any]], dict[str, Any]], Outcome]] = {
    "nothing": (lambda tokens: {}, MISSING),
    "an access token": (
        lambda tokens: {"headers": bearer(tokens["access_token"])},
        Outcome(401, "RefreshTokenRequiredError"),
    ),
    "garbage": (lambda tokens: {"json": {"refresh_token": "x.y.z"}}, INVALID),
    "no text": (lambda tokens: {"json": {"refresh_token": 1}}, INVALID),
    "no JSON": (lambda tokens: {"data": "{", "content_type": "application/json"}, MALFORMED),
    "expired": (
        lambda tokens: {"headers": bearer(reforge(tokens["refresh_token"], iat=1, nbf=1, exp=2))},
        EXPIRED,
    ),
    "no CSRF value": (
        lambda tokens: {"headers": cookie(*refresh_cookies(tokens["refresh_token"]))},
        NO_CSRF,
    ),
    "the access token's CSRF value": (
        lambda tokens: {
            "headers": {
                **cookie(*refresh_cookies(tokens["refresh_token"])),
                "X-CSRF-TOKEN": parts(tokens["access_token"])[1]["csrf"],
            }
        },
        CSRF,
    ),
}


def test_a_refused_refresh_consumes_nothing_and_clears_no_cookie() -> None:
    """USERS 56, SECURITY A.13 247: another tab may have won a race."""

    def check(case: tuple[Callable[[dict[str, Any]], dict[str, Any]], Outcome]) -> None:
        kwargs, expected = case
        app, _ = browser_app()
        tokens = sign_in(app.test_client())
        response = ask(app, "POST", "/auth/refresh", **kwargs(tokens))
        assert outcome(response) == expected
        assert cookies_in(response) == {}
        assert is_private(response)
        assert (
            outcome(ask(app, "POST", "/auth/refresh", headers=bearer(tokens["refresh_token"])))
            == OK
        )

    check_all(REFUSED, check)


def test_a_reused_token_revokes_the_session_whose_cookies_the_next_refresh_removes() -> None:
    clock = Clock()
    app, _ = browser_app(clock=clock)
    client = app.test_client()
    reused = sign_in(client)["refresh_token"]
    for _ in range(2):
        assert outcome(client.post("/auth/refresh", headers=csrf(client, REFRESH_CSRF))) == OK
        clock.advance(100)
    response = ask(app, "POST", "/auth/refresh", headers=bearer(reused))
    assert outcome(response) == REVOKED
    assert cookies_in(response) == {}
    assert outcome(client.get("/guarded")) == REVOKED
    response = client.post("/auth/refresh", headers=csrf(client, REFRESH_CSRF))
    assert outcome(response) == REVOKED
    assert kept_by(client) == set()


def test_a_store_that_fails_is_a_503_and_the_cookies_stay() -> None:
    clock = Clock()
    sessions, blocklist = FrailSessions(clock), SpyStore()
    stores = {"sessions": sessions, "blocklist": blocklist}
    app, _ = browser_app(clock=clock, stores=stores)
    client = browser(app)
    sessions.frail.error = ConnectionError("down")
    sessions.frail.failing = frozenset({"move"})
    response = client.post("/auth/refresh", headers=csrf(client, REFRESH_CSRF))
    assert outcome(response) == FAULT
    assert response.headers["Retry-After"] == "1"
    assert cookies_in(response) == {}
    assert kept_by(client) == COOKIES
    assert is_private(response)


@pytest.mark.parametrize("path", ["/auth/refresh", "/auth/logout", "/auth/login"])
def test_views_that_change_something_take_post_alone(path: str) -> None:
    """SECURITY A.18 319: any page can make a browser send a GET."""
    app, _ = browser_app(authenticate=lambda: "ann")
    client = browser(app)
    for method in (*METHODS, "HEAD"):
        if method != "POST":
            assert outcome(client.open(path, method=method)) == Outcome(405)
    assert kept_by(client) == COOKIES
    assert outcome(client.get("/guarded")) == OK
