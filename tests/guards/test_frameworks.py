"""The same responses under the frameworks that catch HTTP errors themselves (USERS 76)."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import pytest
from apiflask import APIFlask
from flask import Flask
from flask.views import MethodView

from flask_authx import AuthX, RevokedTokenError, current_token
from tests.support import SECRET, Clock, access_token, bearer, reforge
from tests.support.answers import MISSING, OK, outcome

# These three ship no types; as values of type Any they infect nothing.
restful: Any = importlib.import_module("flask_restful")
restx: Any = importlib.import_module("flask_restx")
smorest: Any = importlib.import_module("flask_smorest")

Methods = dict[str, Callable[..., Any]]


def flask_app(methods: Methods) -> Flask:
    app = Flask("tests")
    view: type[MethodView] = type("Guarded", (MethodView,), dict(methods))
    app.add_url_rule("/guarded", view_func=view.as_view("guarded"))
    return app


def restful_app(methods: Methods) -> Flask:
    app = Flask("tests")
    restful.Api(app).add_resource(type("Guarded", (restful.Resource,), dict(methods)), "/guarded")
    return app


def restx_app(methods: Methods) -> Flask:
    app = Flask("tests")
    restx.Api(app).add_resource(type("Guarded", (restx.Resource,), dict(methods)), "/guarded")
    return app


def smorest_app(methods: Methods) -> Flask:
    app = Flask("tests")
    app.config.from_mapping(API_TITLE="tests", API_VERSION="v1", OPENAPI_VERSION="3.0.2")
    blueprint = smorest.Blueprint("inner", "tests")
    blueprint.route("/guarded")(type("Guarded", (MethodView,), dict(methods)))
    smorest.Api(app).register_blueprint(blueprint)
    return app


def apiflask_app(methods: Methods) -> Flask:
    app = APIFlask("tests")
    view: type[MethodView] = type("Guarded", (MethodView,), dict(methods))
    app.add_url_rule("/guarded", view_func=view.as_view("guarded"))
    return app


MAKERS = [restful_app, restx_app, smorest_app, apiflask_app]
#: What a framework may make of an error depends on these.
MODES: list[dict[str, Any]] = [
    {},
    {"DEBUG": True},
    {"TESTING": True},
    {"PROPAGATE_EXCEPTIONS": True},
    {"PROPAGATE_EXCEPTIONS": False, "TESTING": True},
]


def assemble(make: Callable[[Methods], Flask], **config: Any) -> tuple[Flask, AuthX]:
    """The same resource under any framework: its methods are guarded, not its class."""
    authx = AuthX(clock=Clock())

    @authx.token_required
    def get(self: object) -> dict[str, str]:
        return {"sub": current_token.sub}

    @authx.access_token_required
    def post(self: object) -> dict[str, str]:
        return {"sub": current_token.sub}

    @authx.scopes_required("admin:users")
    def put(self: object) -> dict[str, str]:
        return {"sub": current_token.sub}

    app = make({"get": get, "post": post, "put": put})
    app.config.from_mapping(JWT_SECRET_KEY=SECRET, JWT_TOKEN_LOCATION="headers,cookies", **config)
    authx.init_app(app)

    @authx.token_blocklist
    def revoked(token: str, claims: dict[str, Any]) -> bool:
        if claims["sub"] == "unlucky":
            raise OSError("the disk is gone")
        return bool(claims["sub"] == "gone")

    return app, authx


def refused_requests(app: Flask, authx: AuthX) -> dict[str, dict[str, Any]]:
    """A request for each kind of refusal, by the status and the error type that it gets."""
    valid = access_token(app, authx)
    expired = reforge(valid, iat=100, nbf=100, auth_time=100, exp=200)
    gone, unlucky = (access_token(app, authx, uid) for uid in ("gone", "unlucky"))
    cookie = {"Cookie": f"__Host-access_token={valid}"}
    return {
        "401 MissingTokenError": {},
        "401 JWTDecodeError": {"headers": bearer("a.b.c")},
        "401 TokenExpiredError": {"headers": bearer(expired)},
        "401 RevokedTokenError": {"headers": bearer(gone)},
        "400 MalformedRequestError": {"headers": {"Authorization": "Bearer"}},
        "403 InsufficientScopeError": {"method": "PUT", "headers": bearer(valid)},
        "403 MissingCSRFTokenError": {"method": "POST", "headers": cookie},
        "403 CSRFError": {"method": "POST", "headers": {**cookie, "X-CSRF-TOKEN": "forged"}},
        "503 StoreUnavailableError": {"headers": bearer(unlucky)},
    }


def seen(app: Flask, request: dict[str, Any]) -> dict[str, Any]:
    """All that a client may act on."""
    response = app.test_client(use_cookies=False).open("/guarded", **request)
    names = ("WWW-Authenticate", "Cache-Control", "Retry-After", "Content-Type")
    return {
        "status": response.status_code,
        "body": response.get_json(),
        **{name: response.headers.getlist(name) for name in names},
    }


@pytest.mark.parametrize("mode", MODES, ids=str)
@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
def test_a_refusal_is_the_same_as_under_plain_flask(
    make: Callable[[Methods], Flask], mode: dict[str, Any]
) -> None:
    """USERS 75 and 76."""
    app, authx = assemble(make, **mode)
    plain, _ = assemble(flask_app, **mode)
    for name, request in refused_requests(app, authx).items():
        answer = seen(app, request)
        assert f"{answer['status']} {answer['body']['error_type']}" == name
        assert answer == seen(plain, request)


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
def test_a_valid_token_gets_to_the_resource(make: Callable[[Methods], Flask]) -> None:
    app, authx = assemble(make)
    response = app.test_client().get("/guarded", headers=bearer(access_token(app, authx)))
    assert outcome(response) == OK
    assert response.get_json() == {"sub": "ann"}


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
def test_a_whole_app_can_be_protected(make: Callable[[Methods], Flask]) -> None:
    """USERS 76 and 86: an error of the before_request hook takes the same way out."""

    def get(self: object) -> dict[str, str]:
        return {"sub": "everybody"}

    app = make({"get": get})
    app.config.from_mapping(JWT_SECRET_KEY=SECRET, JWT_PROTECT_ALL=True)
    authx = AuthX(app, clock=Clock())
    response = app.test_client().get("/guarded")
    assert outcome(response) == MISSING
    assert response.get_json()["error_type"] == "MissingTokenError"
    assert response.headers.getlist("WWW-Authenticate") == ['Bearer realm="api"']
    allowed = app.test_client().get("/guarded", headers=bearer(access_token(app, authx)))
    assert allowed.get_json() == {"sub": "everybody"}


@pytest.mark.parametrize("make", [smorest_app, apiflask_app], ids=lambda make: make.__name__)
def test_the_apps_own_handler_answers(make: Callable[[Methods], Flask]) -> None:
    """USERS 77: those two leave error handling to Flask."""
    app, authx = assemble(make)

    def handle(error: Exception) -> tuple[dict[str, str], int]:
        return {"error": "log in again"}, 401

    app.register_error_handler(RevokedTokenError, handle)
    token = access_token(app, authx, "gone")
    response = app.test_client().get("/guarded", headers=bearer(token))
    assert response.get_json() == {"error": "log in again"}
