"""The blueprint: logging in, refreshing and logging out, for browsers and for apps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from werkzeug.test import TestResponse

from tests.support import OTHER_SECRET, Clock, bearer, parts, reforge
from tests.support.answers import (
    ACCESS_COOKIE,
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
)
from tests.support.browsers import (
    ACCESS_CSRF,
    METHODS,
    REFRESH_CSRF,
    FrailSessions,
    browser,
    browser_app,
    cookies_in,
    csrf,
    kept_by,
    sign_in,
)
from tests.support.spy_store import SpyStore

PAIR = {"access_token", "refresh_token", "token_type", "expires_in", "refresh_expires_in"}
EXPIRED: Outcome = Outcome(401, "TokenExpiredError")
ALL = {ACCESS_COOKIE, ACCESS_CSRF, REFRESH_COOKIE, REFRESH_CSRF}


def is_private(response: TestResponse) -> bool:
    """Whether no cache keeps the answer (RFC 6749 section 5.1)."""
    return "no-store" in response.headers["Cache-Control"]


# Refreshing


def test_a_browser_gets_new_cookies_and_no_token_in_the_body() -> None:
    """What a script can't read it can't lose."""
    app, _ = browser_app()
    client = app.test_client()
    before = sign_in(client)
    response = client.post("/auth/refresh", headers=csrf(client, REFRESH_CSRF))
    assert response.get_json() == {"expires_in": 900, "refresh_expires_in": 20 * 86400}
    found = cookies_in(response)
    assert found.keys() == ALL
    assert found[REFRESH_COOKIE].value != before["refresh_token"]
    assert parts(found[REFRESH_COOKIE].value)[1]["gen"] == 1
    assert "Path=/auth" in found[REFRESH_COOKIE].attributes
    assert is_private(response)
    assert client.post("/guarded", headers=csrf(client)).status_code == 200
    assert client.post("/auth/refresh", headers=csrf(client, REFRESH_CSRF)).status_code == 200


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
    """A browser's script that sends a token of its own is answered in kind."""
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
        lambda tokens: {"headers": cookie((REFRESH_COOKIE, tokens["refresh_token"]))},
        NO_CSRF,
    ),
    "the access token's CSRF value": (
        lambda tokens: {
            "headers": {
                **cookie((REFRESH_COOKIE, tokens["refresh_token"])),
                "X-CSRF-TOKEN": parts(tokens["access_token"])[1]["csrf"],
            }
        },
        CSRF,
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_refused_refresh_consumes_nothing_and_clears_no_cookie(what: str) -> None:
    """USERS 56, SECURITY A.13 247: another tab may have won a race."""
    app, _ = browser_app()
    tokens = sign_in(app.test_client())
    kwargs, expected = REFUSED[what]
    response = ask(app, "POST", "/auth/refresh", **kwargs(tokens))
    assert outcome(response) == expected
    assert cookies_in(response) == {}
    assert is_private(response)
    assert outcome(ask(app, "POST", "/auth/refresh", headers=bearer(tokens["refresh_token"]))) == OK


def test_a_reused_token_ends_the_login_and_clears_no_cookie() -> None:
    clock = Clock()
    app, _ = browser_app(clock=clock)
    client = app.test_client()
    stolen = sign_in(client)["refresh_token"]
    for _ in range(2):
        assert client.post("/auth/refresh", headers=csrf(client, REFRESH_CSRF)).status_code == 200
        clock.advance(100)
    response = ask(app, "POST", "/auth/refresh", headers=bearer(stolen))
    assert outcome(response) == REVOKED
    response = client.post("/auth/refresh", headers=csrf(client, REFRESH_CSRF))
    assert outcome(response) == REVOKED
    assert cookies_in(response) == {}
    assert outcome(client.get("/guarded")) == REVOKED


def test_a_store_that_fails_is_a_503_and_the_token_stays_good() -> None:
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
    assert kept_by(client) == ALL
    assert is_private(response)


@pytest.mark.parametrize("path", ["/auth/refresh", "/auth/logout", "/auth/login"])
def test_what_changes_something_answers_to_post_alone(path: str) -> None:
    """SECURITY A.18 319: any page can make a browser send a GET."""
    app, _ = browser_app(authenticate=lambda: "ann")
    client = browser(app)
    for method in (*METHODS, "HEAD"):
        if method != "POST":
            assert client.open(path, method=method).status_code == 405
    assert kept_by(client) == ALL
    assert client.get("/guarded").status_code == 200


# Logging out


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
    assert cookies_in(response).keys() == ALL
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
    assert cookies_in(response).keys() == ALL
    assert is_private(response)
