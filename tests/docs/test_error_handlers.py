"""Runs the code of docs/errors.md: the handler of a class, and each recipe for a whole format."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
from flask import Flask

from flask_authx import AuthX, TokenExpiredError
from tests.docs.support import headings, section
from tests.support import SECRET, access_token, bearer, reforge
from tests.support.answers import OK, ask, outcome, who

RECIPES = [heading for heading in headings("errors") if heading.startswith("Your own format")]
#: What a framework may make of an error depends on these.
MODES: list[dict[str, Any]] = [
    {},
    {"DEBUG": True},
    {"TESTING": True},
    {"PROPAGATE_EXCEPTIONS": True},
]
HEADERS = ("WWW-Authenticate", "Cache-Control", "Retry-After", "Allow", "Vary")


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLASK_JWT_SECRET_KEY", SECRET)


def test_a_response_of_the_apps_own() -> None:
    with section("errors", "Your own response") as names:
        token = access_token(names.app, names.authx, expiry=1)
        response = names.app.test_client().get("/profile", headers=bearer(token))
        assert outcome(response) == OK
        expired = names.on_expired(TokenExpiredError())
        with names.app.test_request_context():
            response = names.app.make_response(expired)
    assert response.get_json() == {"msg": "please refresh", "error_type": "TokenExpiredError"}
    assert response.headers["WWW-Authenticate"].startswith(
        'Bearer realm="api", error="invalid_token"'
    )
    assert response.headers.getlist("Content-Type") == ["application/json"]


def test_there_is_a_recipe_for_each_framework() -> None:
    frameworks = ("Flask-RESTful", "Flask-RESTX", "flask-smorest", "APIFlask")
    expected = ["Your own format", *(f"Your own format with {one}" for one in frameworks)]
    assert expected == RECIPES


def prepared(app: Flask, authx: AuthX) -> dict[str, dict[str, Any]]:
    """A request for each kind of error, by the status and the type that it gets."""

    @authx.set_callback_token_blocklist
    def revoked(token: str, claims: dict[str, Any]) -> bool:
        if claims["sub"] == "unlucky":
            raise OSError("the disk is gone")
        return bool(claims["sub"] == "gone")

    valid = access_token(app, authx)
    gone, unlucky = (access_token(app, authx, uid) for uid in ("gone", "unlucky"))
    expired = reforge(valid, iat=100, nbf=100, auth_time=100, exp=200)
    return {
        "401 MissingTokenError": {},
        "401 JWTDecodeError": {"headers": bearer("a.b.c")},
        "401 TokenExpiredError": {"headers": bearer(expired)},
        "401 RevokedTokenError": {"headers": bearer(gone)},
        "400 MalformedRequestError": {"headers": {"Authorization": "Bearer"}},
        "503 StoreUnavailableError": {"headers": bearer(unlucky)},
        "405 None": {"method": "DELETE", "headers": bearer(valid)},
        "404 None": {"path": "/nowhere", "headers": bearer(valid)},
    }


def unformatted() -> tuple[Flask, AuthX]:
    """An app without a format of its own."""
    app = Flask("tests")
    app.config["JWT_SECRET_KEY"] = SECRET
    authx = AuthX(app)
    app.add_url_rule("/profile", "profile", authx.token_required(who))
    return app, authx


@pytest.mark.parametrize("mode", MODES, ids=str)
@pytest.mark.parametrize("heading", RECIPES)
def test_a_recipe_formats_every_error_and_keeps_its_headers(
    heading: str, mode: dict[str, Any]
) -> None:
    """USERS 76 and 77."""
    plain, its_authx = unformatted()
    prepared(plain, its_authx)
    with section("errors", heading) as names:
        names.app.config.from_mapping(mode)
        for name, request in prepared(names.app, names.authx).items():
            response = ask(names.app, **{"path": "/profile", **request})
            assert response.headers.getlist("Content-Type") == ["application/json"]
            body: Any = response.get_json()
            assert [*body] == ["error"]
            error = body["error"]
            assert f"{response.status_code} {error.get('type')}" == name
            assert error["code"] == response.status_code
            expected = ask(plain, **{"path": "/profile", **request})
            kept = {one: expected.headers.getlist(one) for one in HEADERS}
            # What each framework says of the methods of a resource is its own affair.
            found = {one: response.headers.getlist(one) for one in HEADERS}
            assert bool(kept.pop("Allow")) is bool(found.pop("Allow"))
            assert found == kept
            if "type" in error:
                plain_body: Any = expected.get_json()
                assert error["detail"] == plain_body["msg"]
        token = access_token(names.app, names.authx)
        allowed = ask(names.app, path="/profile", headers=bearer(token))
        assert allowed.get_json() == {"user": "ann"}


@pytest.mark.parametrize("mode", MODES, ids=str)
@pytest.mark.parametrize("framework", ["flask_restful", "flask_restx"])
def test_a_recipe_keeps_what_abort_and_a_parser_say(framework: str, mode: dict[str, Any]) -> None:
    module: Any = importlib.import_module(framework)
    reqparse: Any = importlib.import_module(f"{framework}.reqparse")
    heading = {"flask_restful": "Flask-RESTful", "flask_restx": "Flask-RESTX"}[framework]
    with section("errors", f"Your own format with {heading}") as names:
        names.app.config.from_mapping(mode)
        parser = reqparse.RequestParser(bundle_errors=True)
        parser.add_argument("size", type=int, required=True, help="a number", location="args")

        class Order(module.Resource):  # type: ignore[misc]  # the module is untyped
            def get(self) -> Any:
                parser.parse_args()

            def post(self) -> None:
                module.abort(409, message="sold out", left=0)

            def delete(self) -> None:
                raise LookupError("no handler")

        names.api.add_resource(Order, "/orders")
        error = ask(names.app, path="/orders?size=x").get_json()["error"]
        fields = error["errors"] if framework == "flask_restx" else error["message"]
        assert (error["code"], [*fields]) == (400, ["size"])
        assert "a number" in str(error)
        response = ask(names.app, "POST", path="/orders")
        assert response.status_code == 409
        assert response.get_json()["error"] == {
            **response.get_json()["error"],
            "code": 409,
            "title": "Conflict",
            "message": "sold out",
            "left": 0,
        }
        # Of our own errors, only what the recipe names.
        body = ask(names.app, path="/profile").get_json()["error"]
        assert {*body} == {"code", "title", "detail", "type"}
        if not mode:
            # In the others, Flask raises the exception again.
            response = ask(names.app, "DELETE", path="/orders")
            assert response.status_code == 500
            assert [*response.get_json()] == ["message"]
