"""What the tests of automatic renewal share: an app that renews, and what a response renews."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from flask_authx import AuthX
from tests.support import Clock, parts
from tests.support.answers import ACCESS_COOKIE
from tests.support.browsers import METHODS, browser_app, cookies_in, csrf

#: How long access tokens live here, and how long before their end they are renewed. All in seconds.
LIFETIME, DELTA = 900, 300
DUE = LIFETIME - DELTA


def renewing_app(clock: Clock, **config: Any) -> tuple[Flask, AuthX]:
    """An app that renews access cookies in their last five minutes."""
    settings: dict[str, Any] = {"IMPLICIT_REFRESH_DELTATIME": DELTA, **config}
    return browser_app(clock=clock, **settings)


def add(app: Flask, rule: str, view: Callable[..., Any]) -> None:
    """Route a view, with any method."""
    app.add_url_rule(rule, rule, view, methods=METHODS)


def renewed(response: TestResponse) -> str | None:
    """The access token that a response sets, if it sets one."""
    cookie = cookies_in(response).get(ACCESS_COOKIE)
    return None if cookie is None or not cookie.value else cookie.value


def is_renewed(client: FlaskClient, path: str = "/guarded", method: str = "GET") -> bool:
    """Whether a request that succeeds renews the token."""
    response = client.open(path, method=method, headers=csrf(client))
    assert response.status_code == 200
    return renewed(response) is not None


def claims_of(token: str | None) -> dict[str, Any]:
    """What a token says, unverified."""
    assert token is not None
    return parts(token)[1]
