"""The response to a refused request: the same in every mode, unless the app has its own handler."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest
from flask import Blueprint, Flask
from flask.testing import FlaskClient
from werkzeug.exceptions import HTTPException, Unauthorized

from flask_authx import (
    AuthX,
    AuthXException,
    ErrorType,
    LoginFailedError,
    MissingTokenError,
    RevokedTokenError,
    SessionNotFoundError,
    TokenError,
)
from tests.support import NOW, SECRET, Clock, access_token, bearer, make_app, reforge, refresh_token
from tests.support.answers import MISSING, Outcome, outcome

#: The status that each error type has.
STATUS = {
    **dict.fromkeys(ErrorType, 401),
    ErrorType.INSUFFICIENT_SCOPE: 403,
    ErrorType.CLAIMS_REFUSED: 403,
    ErrorType.MISSING_CSRF_TOKEN: 403,
    ErrorType.CSRF: 403,
    ErrorType.CROSS_ORIGIN: 403,
    ErrorType.SESSION_NOT_FOUND: 404,
    ErrorType.MALFORMED_REQUEST: 400,
    ErrorType.STORE_UNAVAILABLE: 503,
}
#: Nothing is wrong with the credential, so there is nothing to challenge.
UNCHALLENGED = {
    *(ErrorType.MISSING_CSRF_TOKEN, ErrorType.CSRF, ErrorType.CROSS_ORIGIN),
    *(ErrorType.SESSION_NOT_FOUND, ErrorType.STORE_UNAVAILABLE),
}


def breaking_app() -> tuple[Flask, dict[ErrorType, dict[str, Any]]]:
    """An app, and a request for each error that a request can meet."""
    app, authx = make_app(TOKEN_LOCATION=["headers", "cookies"])

    def revoked(token: str, claims: dict[str, Any]) -> bool:
        if claims["sub"] == "unlucky":
            raise OSError("the disk is gone")
        return bool(claims["sub"] == "gone")

    authx.set_callback_token_blocklist(revoked)

    @authx.set_callback_verify_claims
    def check(claims: dict[str, Any]) -> bool:
        return bool(claims["sub"] != "guest")

    @app.get("/scoped")
    @authx.scopes_required("admin:users")
    def scoped() -> str:
        return "scoped"

    @app.get("/fresh")
    @authx.fresh_token_required
    def fresh() -> str:
        return "fresh"

    @app.get("/refresh")
    @authx.refresh_token_required
    def refresh() -> str:
        return "refresh"

    @app.post("/login")
    def login() -> str:
        authx.check_origin()
        raise LoginFailedError

    @app.delete("/sessions/other")
    def end() -> str:
        raise SessionNotFoundError

    valid = access_token(app, authx)
    expired = reforge(valid, iat=int(NOW) - 900, nbf=int(NOW) - 900, exp=int(NOW) - 60)
    unlucky = access_token(app, authx, "unlucky")
    cookie = {"Cookie": f"__Host-access_token={valid}"}
    requests: dict[str, dict[str, Any]] = {
        "MissingTokenError": {"path": "/guarded"},
        "JWTDecodeError": {"path": "/guarded", "headers": bearer("a.b.c")},
        "TokenExpiredError": {"path": "/guarded", "headers": bearer(expired)},
        "RevokedTokenError": {
            "path": "/guarded",
            "headers": bearer(access_token(app, authx, "gone")),
        },
        "AccessTokenRequiredError": {
            "path": "/guarded",
            "headers": bearer(refresh_token(app, authx)),
        },
        "RefreshTokenRequiredError": {"path": "/refresh", "headers": bearer(valid)},
        "FreshTokenRequiredError": {"path": "/fresh", "headers": bearer(valid)},
        "InsufficientScopeError": {"path": "/scoped", "headers": bearer(valid)},
        "ClaimsRefusedError": {
            "path": "/guarded",
            "headers": bearer(access_token(app, authx, "guest")),
        },
        "MissingCSRFTokenError": {"path": "/guarded", "method": "POST", "headers": cookie},
        "CSRFError": {
            "path": "/guarded",
            "method": "POST",
            "headers": {**cookie, "X-CSRF-TOKEN": "forged"},
        },
        "CrossOriginError": {
            "path": "/login",
            "method": "POST",
            "headers": {"Sec-Fetch-Site": "cross-site"},
        },
        "LoginFailedError": {"path": "/login", "method": "POST"},
        "SessionNotFoundError": {"path": "/sessions/other", "method": "DELETE"},
        "MalformedRequestError": {"path": "/guarded", "headers": {"Authorization": "Bearer"}},
        "StoreUnavailableError": {"path": "/guarded", "headers": bearer(unlucky)},
    }
    return app, {ErrorType(name): request for name, request in requests.items()}


@pytest.mark.parametrize(
    ("debug", "testing", "propagate"),
    list(itertools.product([False, True], [False, True], [None, False, True])),
)
def test_the_response_does_not_depend_on_the_mode_of_the_app(
    debug: bool, testing: bool, propagate: bool | None
) -> None:
    """USERS 74 and 75; SECURITY A.16 307."""
    app, requests = breaking_app()
    app.debug, app.testing = debug, testing
    app.config["PROPAGATE_EXCEPTIONS"] = propagate
    client = app.test_client(use_cookies=False)
    for error_type, request in requests.items():
        response = client.open(**request)
        body = response.get_json()
        assert (error_type, response.status_code) == (body["error_type"], STATUS[error_type])
        assert set(body) == {"msg", "error_type"}
        assert response.headers["Cache-Control"] == "no-store"
        assert ("WWW-Authenticate" in response.headers) is (error_type not in UNCHALLENGED)


def test_a_request_can_meet_every_error_type() -> None:
    _, requests = breaking_app()
    assert set(requests) == set(ErrorType)


# The app's own handlers


def teapot(error: Exception) -> tuple[str, int]:
    return f"handled {type(error).__name__}", 418


def everything(token: str) -> bool:
    return True


def answers(client: FlaskClient, token: str | None = None) -> tuple[int, str]:
    response = client.get("/guarded", headers=bearer(token) if token else {})
    return response.status_code, response.get_data(as_text=True)


@pytest.mark.parametrize("key", [401, Unauthorized, MissingTokenError, TokenError, AuthXException])
@pytest.mark.parametrize("early", [True, False], ids=["before init_app", "after init_app"])
def test_the_apps_own_handler_answers(key: Any, early: bool) -> None:
    """USERS 77; SECURITY A.15 292."""
    app = Flask("tests")
    app.config["JWT_SECRET_KEY"] = SECRET
    authx = AuthX(clock=Clock())

    @app.get("/guarded")
    @authx.token_required
    def guarded() -> str:
        return "in"

    steps: list[Callable[[], object]] = [
        lambda: app.register_error_handler(key, teapot),
        lambda: authx.init_app(app),
    ]
    for step in steps if early else reversed(steps):
        step()
    assert answers(app.test_client()) == (418, "handled MissingTokenError")


def test_a_handler_for_one_error_leaves_the_others_alone() -> None:
    """USERS 77."""
    app, authx = make_app()
    authx.token_blocklist(everything)
    app.register_error_handler(RevokedTokenError, teapot)
    client = app.test_client()
    assert answers(client, access_token(app, authx)) == (418, "handled RevokedTokenError")
    assert answers(client)[0] == 401
    assert json.loads(answers(client)[1])["error_type"] == "MissingTokenError"


@pytest.mark.parametrize("key", [401, HTTPException, MissingTokenError, AuthXException])
def test_a_blueprints_handler_answers_for_its_views(key: Any) -> None:
    """USERS 77."""
    app, authx = make_app()
    blueprint = Blueprint("inner", "tests", url_prefix="/inner")
    blueprint.register_error_handler(key, teapot)

    @blueprint.get("/guarded")
    @authx.token_required
    def guarded() -> str:
        return "in"

    app.register_blueprint(blueprint)
    client = app.test_client()
    assert outcome(client.get("/inner/guarded")) == Outcome(418)
    assert outcome(client.get("/guarded")) == MISSING


def test_a_handler_for_all_of_werkzeugs_errors_does_not_take_body_and_challenge_away() -> None:
    """USERS 77: API frameworks register one, and RFC 6750 wants the challenge."""
    app, _ = make_app()
    app.register_error_handler(HTTPException, teapot)
    client = app.test_client()
    assert client.get("/guarded").headers["WWW-Authenticate"] == 'Bearer realm="api"'
    assert outcome(client.get("/nowhere")) == Outcome(418)
