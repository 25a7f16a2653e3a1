"""Ways around a guard that are no way around it, and views that are unlike other views."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import pytest
from flask import Blueprint, Flask, request
from flask.views import View

from flask_authx import (
    AuthX,
    BadConfigurationError,
    InsufficientScopeError,
    RevokedTokenError,
    current_token,
)
from flask_authx.doctor.report import examine
from tests.support import SECRET, Clock, access_token, bearer, make_app
from tests.support.answers import INVALID, MISSING, OK, REVOKED, Outcome, outcome


def never(token: str) -> bool:
    return False


def always(token: str) -> bool:
    return True


def nobody(uid: str) -> None:
    return None


def file(**names: str) -> str:
    return "secret"


def test_nothing_passes_on_the_verdict_of_another_token() -> None:
    """DESIGN 5.1: even if the request changes while the callback is asked.

    A sync view waits for the callback within the check, so the token stays the one that was found.
    An async view awaits it and makes the check again, with the token that is there then.
    """
    app, authx = make_app()
    valid, revoked = access_token(app, authx), access_token(app, authx)
    asked: list[str] = []

    @authx.set_callback_token_blocklist
    async def is_revoked(token: str) -> bool:
        asked.append(token)
        request.environ["HTTP_AUTHORIZATION"] = f"Bearer {revoked}"
        return token == revoked

    seen: list[str] = []

    @app.get("/sync")
    @authx.token_required
    def in_sync() -> str:
        seen.append(current_token.jti)
        return ""

    @app.get("/async")
    @authx.token_required
    async def in_async() -> str:
        seen.append(current_token.jti)
        return ""

    assert outcome(app.test_client().get("/sync", headers=bearer(valid))) == OK
    assert asked == [valid]
    with app.app_context():
        assert seen == [authx.decode_token(valid).jti]
    assert outcome(app.test_client().get("/async", headers=bearer(valid))) == REVOKED
    assert asked == [valid, valid, revoked]
    assert len(seen) == 1


def test_an_error_after_an_awaited_result_has_no_token_in_its_context() -> None:
    """SECURITY A.16 296."""
    app, authx = make_app()
    token = access_token(app, authx)
    errors: list[RevokedTokenError] = []

    @authx.set_callback_token_blocklist
    async def is_revoked(token: str) -> bool:
        return True

    @app.errorhandler(RevokedTokenError)
    def keep(error: RevokedTokenError) -> tuple[str, int]:
        errors.append(error)
        return "", 401

    assert outcome(app.test_client().get("/guarded", headers=bearer(token))) == Outcome(401)
    assert errors[0].__context__ is errors[0].__cause__ is None


def test_a_token_is_verified_once_a_request_without_the_cache_too() -> None:
    """DESIGN 2: the hook never verifies a request twice. The clock is read at each verification."""
    app = Flask("tests")
    app.config["JWT_SECRET_KEY"] = SECRET
    app.config["JWT_CACHE_SIZE"] = 0
    app.config["JWT_PROTECT_ALL"] = True
    read: list[float] = []

    def clock() -> float:
        read.append(1_800_000_000.0)
        return read[-1]

    authx = AuthX(app, clock=clock)

    @authx.fresh_token_required
    @authx.token_required
    def inner() -> str:
        return "in"

    @app.get("/open")
    def view() -> str:
        return inner()

    headers = bearer(access_token(app, authx, fresh=True))
    read.clear()
    assert app.test_client().get("/open", headers=headers).text == "in"
    assert len(read) == 1


def test_looking_for_problems_does_not_end_the_set_up() -> None:
    app, authx = make_app()
    examine(app)
    late = Blueprint("late", __name__)
    late.add_url_rule("/late", "view", lambda: "secret")
    authx.protect(late)
    app.register_blueprint(late)
    assert outcome(app.test_client().get("/late")) == MISSING


def test_a_guarded_function_named_like_a_method_guards_no_plain_view() -> None:
    app, authx = make_app(PROTECT_ALL=True)

    class Plain(View):
        @authx.token_required
        def get(self) -> str:
            return "guarded"

        def dispatch_request(self) -> str:
            return "secret"

    app.add_url_rule("/plain", view_func=Plain.as_view("plain"), methods=["GET"])
    assert outcome(app.test_client().get("/plain")) == MISSING


@dataclass
class Unhashable:
    text: str = "secret"

    def __call__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Equal:
    text: str = "secret"

    def __call__(self) -> str:
        return self.text


def test_callable_objects_are_views_like_others() -> None:
    app, authx = make_app(PROTECT_ALL=True)
    app.add_url_rule("/bare", "bare", view_func=Unhashable())
    app.add_url_rule("/own", "own", view_func=authx.optional_token(Unhashable()))
    app.add_url_rule("/equal", "equal", view_func=Equal())
    with pytest.raises(TypeError, match="view function"):
        authx.public(Equal())
    client = app.test_client()
    assert [client.get(path).status_code for path in ("/bare", "/own", "/equal")] == [401, 200, 401]


class Controller:
    def view(self) -> str:
        return "secret"


@pytest.mark.parametrize("view", [Controller().view, functools.partial(str, "secret")])
def test_bound_methods_and_partials_are_views_like_others(view: Any) -> None:
    app, authx = make_app(PROTECT_ALL=True)
    app.add_url_rule("/own", "own", view_func=authx.optional_token(view))
    app.add_url_rule("/bare", "bare", view_func=view)
    client = app.test_client()
    assert [client.get(path).status_code for path in ("/own", "/bare")] == [200, 401]


def test_a_guard_above_the_route_of_a_bound_method_is_found() -> None:
    """SECURITY A.15 288."""
    app, authx = make_app()
    authx.token_required(app.route("/bound", endpoint="bound")(Controller().view))
    app.testing = True
    with pytest.raises(BadConfigurationError, match="protects nothing"):
        app.test_client().get("/bound")


def test_a_guard_above_a_before_request_hook_is_found() -> None:
    """DESIGN 5.12."""
    app, authx = make_app()

    @authx.token_required
    @app.before_request
    def everything() -> None: ...

    app.testing = True
    with pytest.raises(BadConfigurationError, match="before_request hook"):
        app.test_client().get("/optional")


def test_a_view_that_replaces_a_public_one_is_asked_about_anew() -> None:
    app, authx = make_app(PROTECT_ALL=True)
    app.add_url_rule("/x", "x", view_func=authx.public(lambda: "open"))
    client = app.test_client()
    assert client.get("/x").text == "open"
    app.view_functions["x"] = lambda: "secret"
    assert outcome(client.get("/x")) == MISSING


def test_a_view_in_the_place_of_static_files_is_a_view() -> None:
    app, _ = make_app(PROTECT_ALL=True)
    app.view_functions["static"] = file
    assert outcome(app.test_client().get("/static/x")) == MISSING


def test_what_one_app_knows_of_a_request_is_not_another_apps() -> None:
    """USERS 90, with one key and one request for both."""
    first, authx = make_app()
    second, other = make_app()
    authx.set_callback_token_blocklist(never)
    other.set_callback_token_blocklist(always)

    @other.token_required
    def inner() -> str:
        return "secret"

    @first.get("/outer")
    @authx.token_required
    def outer() -> str:
        with second.app_context():
            return inner()

    headers = bearer(access_token(first, authx))
    assert outcome(first.test_client().get("/outer", headers=headers)) == REVOKED


def test_the_body_is_not_read_for_the_csrf_value_of_a_forged_token() -> None:
    """DESIGN 5.1: a forger costs nothing."""
    app, _ = make_app(TOKEN_LOCATION="cookies", CSRF_CHECK_FORM=True)
    client = app.test_client()
    client.set_cookie("__Host-access_token", "x.y.z")

    class Body:
        def read(self, size: int = -1) -> bytes:
            raise AssertionError("the body was read")

    response = client.post(
        "/guarded",
        content_type="application/x-www-form-urlencoded",
        environ_overrides={"wsgi.input": Body(), "CONTENT_LENGTH": "99"},
    )
    assert outcome(response) == INVALID


def test_scopes_from_outside_can_not_break_the_challenge() -> None:
    """SECURITY A.16 299."""
    app, _ = make_app()

    @app.get("/own")
    def own() -> str:
        raise InsufficientScopeError(['a"b\r\nX: y', "users:read"])

    response = app.test_client().get("/own")
    assert outcome(response) == Outcome(403, "InsufficientScopeError")
    assert response.headers["WWW-Authenticate"].endswith('scope="users:read"')


def test_an_error_that_the_app_raises_has_the_apps_words() -> None:
    app, _ = make_app(ERROR_MESSAGE_KEY="message", REALM="shop")

    @app.get("/own")
    def own() -> str:
        raise RevokedTokenError

    response = app.test_client().get("/own")
    assert response.get_json()["message"] == "The token has been revoked"
    assert 'realm="shop"' in response.headers["WWW-Authenticate"]


def test_the_page_of_an_unknown_users_error_finds_no_user() -> None:
    """USERS 97: an error page with ``current_user`` in it is what everybody writes."""
    app, authx = make_app(clock=Clock())
    authx.set_subject_getter(nobody)

    @app.get("/me")
    @authx.token_required
    def me() -> str:
        return str(authx.get_current_subject())

    @app.errorhandler(401)
    def page(error: Exception) -> tuple[str, int]:
        return app.jinja_env.from_string("{% if current_user %}hi{% else %}bye{% endif %}").render(
            **names()
        ), 401

    def names() -> dict[str, Any]:
        context: dict[str, Any] = {}
        app.update_template_context(context)
        return context

    response = app.test_client().get("/me", headers=bearer(access_token(app, authx)))
    assert outcome(response) == Outcome(401)
    assert response.text == "bye"


def test_a_path_as_text_is_no_secret(tmp_path: Any) -> None:
    """A secret that can be guessed: who knows the server knows its paths."""
    path = tmp_path / ("secret-of-the-app" * 3)
    path.write_text(SECRET)
    with pytest.raises(BadConfigurationError, match=r"use pathlib\.Path"):
        make_app(SECRET_KEY=str(path))


def test_a_setting_of_a_peer_is_not_taken_for_a_mistyped_one() -> None:
    """Flask-JWT-Extended looks for a token's claims in a header of this name."""
    with pytest.raises(BadConfigurationError) as refusal:
        make_app(BLACKLIST_ENABLED=True)
    [problem] = refusal.value.problems
    assert problem.startswith("JWT_BLACKLIST_ENABLED is not a setting of Flask-AuthX: remove it")
