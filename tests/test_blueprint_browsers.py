"""What one browser's cookies are to each other: two logins in it, planted ones, oversized ones."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask, request

from flask_authx import AuthX, BadConfigurationError
from tests.support import SECRET, Clock, parts
from tests.support.answers import ACCESS_COOKIE, REFRESH_COOKIE, ask, cookie, outcome
from tests.support.browsers import LOCAL, browser_app, cookies_in, csrf, sign_in

BROWSER = {"Origin": LOCAL}


def logging_in(**config: Any) -> tuple[Flask, AuthX]:
    """An app that takes everybody for whom they say they are."""
    return browser_app(authenticate=lambda: request.get_json()["uid"], **config)


def log_in(client: Any, uid: str = "ann") -> Any:
    return client.post("/auth/login", json={"uid": uid}, base_url=LOCAL, headers=BROWSER)


@pytest.mark.parametrize("second", ["ann", "bob"])
def test_a_log_in_ends_the_login_whose_cookies_it_overwrites(second: str) -> None:
    """SECURITY A.8 148; ASVS 7.2.4."""
    app, authx = logging_in()
    client, other = app.test_client(), app.test_client()
    assert log_in(other).status_code == log_in(client).status_code == 200
    assert log_in(client, second).status_code == 200
    with app.app_context():
        counts = [len(authx.sessions(uid)) for uid in ("ann", "bob")]
    assert counts == ([2, 0] if second == "ann" else [1, 1])


def test_an_app_that_logs_in_again_keeps_its_login() -> None:
    """It says itself what it keeps: nothing of its is overwritten."""
    app, authx = logging_in()
    for _ in range(2):
        assert app.test_client().post("/auth/login", json={"uid": "ann"}).status_code == 200
    with app.app_context():
        assert len(authx.sessions("ann")) == 2


def test_a_refresh_cookie_beside_the_access_cookie_of_another_login_is_refused() -> None:
    """SECURITY A.8 140: a neighbouring host can plant one, with its CSRF value."""
    app, authx = browser_app()
    mine, planted = sign_in(app.test_client(), "ann"), sign_in(app.test_client(), "eve")
    value = parts(planted["refresh_token"])[1]["csrf"]
    headers = cookie(
        (ACCESS_COOKIE, mine["access_token"]), (REFRESH_COOKIE, planted["refresh_token"])
    )
    response = ask(app, "POST", "/auth/refresh", headers={**headers, "X-CSRF-TOKEN": value})
    assert outcome(response) == (401, "JWTDecodeError")
    assert cookies_in(response) == {}
    # Nor does a second access cookie help, which nobody knows whose it is.
    headers["Cookie"] += f"; {ACCESS_COOKIE}=x"
    response = ask(app, "POST", "/auth/refresh", headers={**headers, "X-CSRF-TOKEN": value})
    assert response.status_code == 400
    with app.app_context():
        assert [one.generation for one in authx.sessions("eve")] == [0]


def test_what_does_not_fit_into_cookies_consumes_nothing() -> None:
    app, authx = logging_in()
    client = app.test_client()
    assert log_in(client).status_code == 200
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
    assert client.post("/auth/refresh", base_url=LOCAL, headers=value).status_code == 200


@pytest.mark.parametrize("answer", [False, None])
def test_nobody_is_logged_in_as_false(answer: Any) -> None:
    app, _ = browser_app(authenticate=lambda: answer)
    response = ask(app, "POST", "/auth/login")
    assert outcome(response) == (401, "LoginFailedError")


@pytest.mark.parametrize("answer", [True, 1.5, object()])
def test_what_is_no_uid_is_an_error_that_names_the_callback(answer: Any) -> None:
    app, _ = browser_app(authenticate=lambda: answer)
    with pytest.raises(TypeError, match="authenticate="):
        ask(app, "POST", "/auth/login")


def test_a_token_beside_the_kept_logins_does_not_rule_over_them() -> None:
    app, authx = browser_app()
    sign_in(app.test_client())
    with app.app_context():
        token = authx.create_access_token("ann", scopes=["feed:read"])
    headers = {"Authorization": f"Bearer {token}"}
    for method in ("GET", "DELETE"):
        response = ask(app, method, "/auth/sessions", headers=headers)
        assert outcome(response) == (404, "SessionNotFoundError")
    with app.app_context():
        assert len(authx.sessions("ann")) == 1


def test_views_that_an_app_adds_to_the_blueprint_are_guarded_like_others() -> None:
    """Its own are public where they must be; nothing else is."""
    app = Flask("tests")
    app.config.from_mapping(
        JWT_SECRET_KEY=SECRET, JWT_PROTECT_ALL=True, JWT_SESSIONS=True, JWT_BLOCKLIST="memory://"
    )
    authx = AuthX(app, clock=Clock())
    blueprint = authx.blueprint()
    blueprint.add_url_rule("/secret", "secret", lambda: "in")
    app.register_blueprint(blueprint)
    assert ask(app, path="/auth/secret").status_code == 401
    assert ask(app, "POST", "/auth/logout").status_code == 204


def test_two_blueprints_on_one_path_are_refused() -> None:
    app = Flask("tests")
    app.testing = True
    for prefix, secret in (("JWT_", SECRET), ("ADMIN_JWT_", SECRET[::-1])):
        app.config[f"{prefix}SECRET_KEY"] = secret
        app.config[f"{prefix}SESSIONS"] = True
        app.config[f"{prefix}BLOCKLIST"] = "memory://"
    authx, admin = AuthX(app), AuthX(app, name="admin")
    app.register_blueprint(authx.blueprint())
    app.register_blueprint(admin.blueprint())
    with pytest.raises(BadConfigurationError, match="url_prefix"):
        ask(app)
