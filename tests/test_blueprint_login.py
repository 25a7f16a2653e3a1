"""The blueprint's log-in, and how the blueprint goes together with the rest of an app."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import Result
from flask import Blueprint, Flask, abort, request

from flask_authx import AuthX, BadConfigurationError
from flask_authx.cli import authx as group
from tests.support import OTHER_SECRET, SECRET, Clock, bearer, parts
from tests.support.answers import (
    ACCESS_COOKIE,
    FAULT,
    MISSING,
    OK,
    REFRESH_COOKIE,
    Outcome,
    ask,
    outcome,
)
from tests.support.browsers import (
    ACCESS_CSRF,
    REFRESH_CSRF,
    FrailSessions,
    browser_app,
    cookies_in,
    csrf,
    plain_app,
)
from tests.support.spy_store import SpyStore
from tests.test_blueprint import PAIR, is_private

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


GOOD = {"name": "ann", "password": "a"}
BAD = {"name": "ann", "password": "x"}


@pytest.mark.parametrize("authenticate", [check, check_async])
def test_an_app_gets_tokens_and_a_browser_cookies(authenticate: Any) -> None:
    """Browsers say where they come from, and scripts can't keep them from it."""
    app, _ = browser_app(authenticate=authenticate)
    response = ask(app, "POST", "/auth/login", json=GOOD)
    assert (response.status_code, response.get_json().keys()) == (200, PAIR)
    assert cookies_in(response) == {}
    assert is_private(response)
    for headers in (FROM_HERE, {"Sec-Fetch-Site": "none"}, {"Origin": "http://localhost"}):
        response = ask(app, "POST", "/auth/login", json=GOOD, headers=headers)
        assert response.get_json() == {"expires_in": 900, "refresh_expires_in": 20 * 86400}
        names = {ACCESS_COOKIE, ACCESS_CSRF, REFRESH_COOKIE, REFRESH_CSRF}
        assert cookies_in(response).keys() == names
        assert is_private(response)


def test_the_login_is_a_fresh_one_and_is_kept() -> None:
    app, authx = browser_app(authenticate=check)
    token = ask(app, "POST", "/auth/login", json=GOOD).get_json()["access_token"]
    claims = parts(token)[1]
    assert (claims["sub"], claims["fresh"]) == ("ann", True)
    with app.app_context():
        assert [login.sid for login in authx.sessions("ann")] == [claims["sid"]]


@pytest.mark.parametrize("authenticate", [check, check_async, lambda: None])
def test_who_is_refused_learns_nothing_else(authenticate: Any) -> None:
    app, authx = browser_app(authenticate=authenticate)
    for headers in ({}, FROM_HERE):
        response = ask(app, "POST", "/auth/login", json=BAD, headers=headers)
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
def test_another_site_logs_nobody_in(headers: dict[str, str]) -> None:
    """Nor is the password checked: that would be a way to guess through other people's browsers."""
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


def test_an_app_that_takes_cookies_alone_sets_them_for_anybody() -> None:
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


# In an app


def test_a_protected_app_leaves_its_views_to_themselves() -> None:
    app, _ = browser_app(authenticate=lambda: "ann", PROTECT_ALL=True)
    app.add_url_rule("/unmarked", "unmarked", lambda: "")
    assert outcome(ask(app, path="/unmarked")) == MISSING
    client = app.test_client()
    assert client.post("/auth/login", headers=FROM_HERE).status_code == 200
    assert client.get("/auth/sessions").status_code == 200
    assert client.post("/auth/refresh", headers=csrf(client, REFRESH_CSRF)).status_code == 200
    assert client.post("/auth/logout", headers=csrf(client)).status_code == 204
    assert outcome(ask(app, path="/auth/sessions")) == MISSING


def test_so_does_a_protected_blueprint_around_it() -> None:
    app, authx = plain_app(home=None, BLOCKLIST="memory://", SESSIONS=True)
    outer = Blueprint("outer", __name__, url_prefix="/api")
    outer.add_url_rule("/view", "view", lambda: "")
    outer.register_blueprint(authx.blueprint(authenticate=lambda: "ann"))
    authx.protect(outer)
    app.register_blueprint(outer)
    assert outcome(ask(app, path="/api/view")) == MISSING
    client = app.test_client()
    assert client.post("/api/auth/login", headers=FROM_HERE).status_code == 200
    assert client.post("/api/auth/logout", headers=csrf(client)).status_code == 204


def test_without_kept_logins_it_is_an_error_at_start_up() -> None:
    app, authx = plain_app(home=None)
    app.register_blueprint(authx.blueprint())
    with pytest.raises(BadConfigurationError, match="JWT_SESSIONS"):
        app.test_client().get("/auth/sessions")


def two() -> Flask:
    """An app with two objects, each with a blueprint and cookies of its own."""
    app, _ = browser_app(authenticate=lambda: "ann")
    names = {"ACCESS_COOKIE_NAME", "REFRESH_COOKIE_NAME"} | {
        f"{which}_CSRF_COOKIE_NAME" for which in ("ACCESS", "REFRESH")
    }
    app.config.from_mapping({f"ADMIN_JWT_{name}": f"admin_{name.lower()}" for name in names})
    app.config.from_mapping(
        ADMIN_JWT_SECRET_KEY=OTHER_SECRET,
        ADMIN_JWT_TOKEN_LOCATION=["headers", "cookies"],
        ADMIN_JWT_BLOCKLIST="memory://",
        ADMIN_JWT_SESSIONS=True,
    )
    admin = AuthX(app, name="admin", clock=Clock())
    app.register_blueprint(admin.blueprint("/admin/auth", authenticate=lambda: "root"))
    return app


def test_two_objects_have_a_blueprint_each() -> None:
    """USERS 91"""
    app = two()
    client = app.test_client()
    for path, name in (("/auth", ACCESS_COOKIE), ("/admin/auth", "admin_access_cookie_name")):
        response = client.post(f"{path}/login", headers=FROM_HERE)
        assert len([one for one in cookies_in(response) if one == name]) == 1
        paths = {part for one in cookies_in(response).values() for part in one.attributes}
        assert f"Path={path}" in paths
    (own,) = client.get("/auth/sessions").get_json()["sessions"]
    (other,) = client.get("/admin/auth/sessions").get_json()["sessions"]
    assert own["sid"] != other["sid"]
    assert client.post("/auth/logout", headers=csrf(client)).status_code == 204
    assert outcome(client.get("/auth/sessions")) == MISSING
    assert client.get("/admin/auth/sessions").status_code == 200


def test_a_token_of_one_opens_nothing_of_the_other() -> None:
    app = two()
    token = ask(app, "POST", "/auth/login").get_json()["access_token"]
    assert ask(app, path="/auth/sessions", headers=bearer(token)).status_code == 200
    assert ask(app, path="/admin/auth/sessions", headers=bearer(token)).status_code == 401


def test_one_object_serves_two_apps() -> None:
    """DESIGN 5.7"""
    authx = AuthX(clock=Clock())
    blueprint = authx.blueprint(authenticate=lambda: "ann")
    apps: list[Flask] = []
    for secret in (SECRET, OTHER_SECRET):
        app = Flask("tests")
        app.config.from_mapping(JWT_SECRET_KEY=secret, JWT_BLOCKLIST="memory://", JWT_SESSIONS=True)
        authx.init_app(app)
        app.register_blueprint(blueprint)
        apps.append(app)
    token = ask(apps[0], "POST", "/auth/login").get_json()["access_token"]
    answers = [ask(app, path="/auth/sessions", headers=bearer(token)) for app in apps]
    assert [answer.status_code for answer in answers] == [200, 401]


def run(app: Flask, *arguments: str) -> Result:
    return app.test_cli_runner().invoke(group, ["routes", *arguments])


def test_the_routes_say_who_guards_its_views() -> None:
    """None of them counts as one that somebody has forgotten."""
    app, _ = browser_app(authenticate=lambda: "ann")
    found = json.loads(run(app, "--json").stdout)["routes"]
    by_rule = {
        (route["rule"], method): route
        for route in found
        if route["endpoint"].startswith("authx.")
        for method in route["methods"]
    }
    who = {key: {guard["by"] for guard in route["guards"]} for key, route in by_rule.items()}
    assert who == {
        ("/auth/login", "POST"): {"AuthX blueprint"},
        ("/auth/logout", "POST"): {"AuthX blueprint"},
        ("/auth/refresh", "POST"): {"AuthX blueprint"},
        ("/auth/sessions", "GET"): {"view"},
        ("/auth/sessions", "DELETE"): {"view"},
        ("/auth/sessions/<sid>", "DELETE"): {"view"},
    }
    assert not any(route["unguarded"] for route in by_rule.values())
    assert "/auth" not in run(app, "--unguarded").stdout
    assert "/auth/refresh" in run(app).stdout


def test_a_store_of_revocations_that_fails_opens_no_login() -> None:
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
