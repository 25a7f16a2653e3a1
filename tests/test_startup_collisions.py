"""Several AuthX objects on one app share neither names nor keys nor cookies: USERS 91, 92."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask

from flask_authx import AuthX, BadConfigurationError
from tests.support import SECRET, Clock, access_token, bearer, make_app
from tests.support.answers import INVALID, OK, ask, outcome


def two_names(**config: Any) -> tuple[Flask, AuthX, AuthX]:
    app, authx = make_app(TOKEN_LOCATION=["headers", "cookies"])
    settings = {
        "SECRET_KEY": SECRET[::-1],
        "TOKEN_LOCATION": ["headers", "cookies"],
        "ACCESS_COOKIE_NAME": "admin_access",
        "REFRESH_COOKIE_NAME": "admin_refresh",
        "ACCESS_CSRF_COOKIE_NAME": "admin_csrf_access",
        "REFRESH_CSRF_COOKIE_NAME": "admin_csrf_refresh",
        **config,
    }
    for name, value in settings.items():
        app.config[f"ADMIN_JWT_{name}"] = value
    return app, authx, AuthX(app, name="admin", clock=Clock())


def test_two_objects_of_different_names_share_an_app() -> None:
    """USERS 91"""
    app, authx, admin = two_names()
    app.add_url_rule("/admin", "admin", admin.token_required(lambda: "in"))
    user, boss = access_token(app, authx), access_token(app, admin)
    for path, token, expected in (
        ("/guarded", user, OK),
        ("/guarded", boss, INVALID),
        ("/admin", boss, OK),
        ("/admin", user, INVALID),
    ):
        assert outcome(ask(app, path=path, headers=bearer(token))) == expected


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"SECRET_KEY": SECRET}, "a key is also one of 'authx'"),
        ({"PREVIOUS_SECRET_KEY": SECRET}, "a key is also one of 'authx'"),
        ({"ACCESS_COOKIE_NAME": "__Host-access_token"}, "__Host-access_token"),
        ({"REFRESH_COOKIE_NAME": "__Secure-refresh_token"}, "__Secure-refresh_token"),
        ({"ACCESS_CSRF_COOKIE_NAME": "csrf_access_token"}, "csrf_access_token"),
        ({"ACCESS_CSRF_COOKIE_NAME": "__Host-authx_session"}, "__Host-authx_session"),
    ],
)
def test_two_objects_share_no_keys_and_no_cookies(config: dict[str, str], message: str) -> None:
    """USERS 91"""
    with pytest.raises(BadConfigurationError, match=message):
        two_names(**config)


def test_a_second_object_of_the_same_name_and_a_second_init_app_are_refused() -> None:
    """USERS 91, 92"""
    app, authx = make_app()
    for second in (lambda: authx.init_app(app), lambda: AuthX(app)):
        with pytest.raises(BadConfigurationError, match="already has an AuthX object named"):
            second()


def test_a_refused_object_leaves_no_trace() -> None:
    app, _ = make_app()
    app.config["ADMIN_JWT_SECRET_KEY"] = "short"
    with pytest.raises(BadConfigurationError):
        AuthX(app, name="admin")
    app.config["ADMIN_JWT_SECRET_KEY"] = SECRET[::-1]
    admin = AuthX(app, name="admin", clock=Clock())
    assert access_token(app, admin)
