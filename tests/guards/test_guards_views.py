"""Guards on every kind of view that Flask knows: USERS 85, 88, 94, SECURITY A.15."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import pytest
from flask import Blueprint, Flask, Response, stream_with_context
from flask.views import MethodView, View

from flask_authx import AuthX, current_token
from tests.support import access_token, bearer, make_app
from tests.support.answers import INVALID, MISSING, OK, Outcome, Spy, ask, outcome


@pytest.fixture
def served() -> tuple[Flask, AuthX, dict[str, str]]:
    app, authx = make_app()
    return app, authx, bearer(access_token(app, authx))


def test_a_guard_keeps_the_views_name_doc_and_arguments(
    served: tuple[Flask, AuthX, dict[str, str]],
) -> None:
    app, authx, headers = served

    def item(number: int, *, colour: str = "red") -> str:
        """An item."""
        return f"{number} {colour}"

    guarded = authx.token_required(item)
    assert (guarded.__name__, guarded.__doc__) == ("item", "An item.")
    app.add_url_rule("/<int:number>/<colour>", view_func=guarded)
    assert "item" in app.view_functions
    assert ask(app, path="/5/blue", headers=headers).text == "5 blue"


def test_methods_of_a_view_class_are_guarded_one_by_one(
    served: tuple[Flask, AuthX, dict[str, str]],
) -> None:
    """USERS 85"""
    app, authx, headers = served

    class Item(MethodView):
        def get(self) -> str:
            return "open"

        @authx.token_required
        def post(self) -> str:
            return current_token.sub

        @authx.scopes_required("delete")
        def delete(self) -> str:
            return "gone"

    app.add_url_rule("/item", view_func=Item.as_view("item"))
    assert ask(app, path="/item").text == "open"
    assert outcome(ask(app, "POST", "/item")) == MISSING
    assert ask(app, "POST", "/item", headers=headers).text == "ann"
    assert outcome(ask(app, "DELETE", "/item", headers=headers)) == Outcome(
        403, "InsufficientScopeError"
    )


def test_the_decorators_of_a_view_class_guard_all_its_methods(
    served: tuple[Flask, AuthX, dict[str, str]],
) -> None:
    """USERS 85"""
    app, authx, headers = served

    class Item(MethodView):
        decorators: ClassVar[list[Any]] = [authx.token_required]

        def get(self) -> str:
            return current_token.sub

        def post(self) -> str:
            return current_token.sub

    class Page(View):
        decorators: ClassVar[list[Any]] = [authx.token_required(fresh=False)]

        def dispatch_request(self) -> str:
            return current_token.sub

    app.add_url_rule("/item", view_func=Item.as_view("item"))
    app.add_url_rule("/page", view_func=Page.as_view("page"))
    for method, path in (("GET", "/item"), ("POST", "/item"), ("GET", "/page")):
        assert outcome(ask(app, method, path)) == MISSING
        assert ask(app, method, path, headers=headers).text == "ann"


def test_views_of_nested_blueprints_are_guarded(
    served: tuple[Flask, AuthX, dict[str, str]],
) -> None:
    """USERS 85"""
    app, authx, headers = served
    outer, inner = Blueprint("outer", __name__), Blueprint("inner", __name__)

    @inner.get("/view")
    @authx.token_required
    def view() -> str:
        return current_token.sub

    outer.register_blueprint(inner, url_prefix="/inner")
    app.register_blueprint(outer, url_prefix="/outer")
    assert outcome(ask(app, path="/outer/inner/view")) == MISSING
    assert ask(app, path="/outer/inner/view", headers=headers).text == "ann"


def test_a_stream_is_guarded_before_its_first_byte_and_keeps_the_identity(
    served: tuple[Flask, AuthX, dict[str, str]],
) -> None:
    """USERS 94, SECURITY A.15 290"""
    app, authx, headers = served
    started: list[str] = []

    def lines(count: int) -> Iterator[str]:
        started.append("")
        for number in range(count):
            yield f"{number} {current_token.sub}\n"

    @app.get("/stream")
    @authx.token_required
    def stream() -> Response:
        return Response(stream_with_context(lines(3)))

    @app.get("/decorated")
    @authx.token_required
    @stream_with_context
    def decorated() -> Iterator[str]:
        yield from lines(3)

    for path in ("/stream", "/decorated"):
        assert outcome(ask(app, path=path)) == MISSING
        assert started == []
        assert ask(app, path=path, headers=headers).text == "0 ann\n1 ann\n2 ann\n"
        started.clear()


def test_a_view_that_is_a_generator_is_guarded_when_it_is_called(
    served: tuple[Flask, AuthX, dict[str, str]],
) -> None:
    """SECURITY A.15 290"""
    app, authx, headers = served

    @app.get("/generator")
    @authx.token_required
    def generator() -> Iterator[str]:
        yield "one "
        yield "two"

    assert outcome(ask(app, path="/generator")) == MISSING
    assert ask(app, path="/generator", headers=headers).text == "one two"


def test_other_decorators_may_stand_above_and_below(
    served: tuple[Flask, AuthX, dict[str, str]],
) -> None:
    app, authx, headers = served

    def shouting(view: Callable[..., str]) -> Callable[..., str]:
        @functools.wraps(view)
        def wrapper(*args: Any, **kwargs: Any) -> str:
            return view(*args, **kwargs).upper()

        return wrapper

    @app.get("/loud")
    @shouting
    @authx.token_required
    @shouting
    def loud() -> str:
        return current_token.sub

    assert outcome(ask(app, path="/loud")) == MISSING
    assert ask(app, path="/loud", headers=headers).text == "ANN"


def test_callables_that_are_no_plain_functions_can_be_guarded(
    served: tuple[Flask, AuthX, dict[str, str]],
) -> None:
    app, authx, headers = served

    class Views:
        def method(self) -> str:
            return current_token.sub

        def __call__(self) -> str:
            return current_token.sub

    views = Views()
    app.add_url_rule("/method", "method", authx.token_required(views.method))
    app.add_url_rule("/partial", "partial", authx.token_required(functools.partial(views)))
    app.add_url_rule("/object", "object", authx.token_required(views))
    for path in ("/method", "/partial", "/object"):
        assert outcome(ask(app, path=path)) == MISSING
        assert ask(app, path=path, headers=headers).text == "ann"


def test_a_real_preflight_passes_without_running_the_view(
    served: tuple[Flask, AuthX, dict[str, str]],
) -> None:
    """USERS 88, SECURITY A.15 285"""
    app, authx, _ = served
    authx.protect(app)
    headers = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
    response = ask(app, "OPTIONS", headers=headers)
    assert outcome(response) == OK
    assert "POST" in response.headers["Allow"]
    assert response.text == ""


def test_a_view_that_handles_options_itself_is_guarded(
    served: tuple[Flask, AuthX, dict[str, str]],
) -> None:
    """USERS 88, SECURITY A.15 285"""
    app, authx, headers = served

    @app.route("/own", methods=["GET", "OPTIONS"])
    @authx.token_required
    def own() -> str:
        return current_token.sub

    class Item(MethodView):
        @authx.token_required
        def options(self) -> str:
            return current_token.sub

    app.add_url_rule("/item", view_func=Item.as_view("item"))
    preflight = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
    for path in ("/own", "/item"):
        assert outcome(ask(app, "OPTIONS", path)) == MISSING
        assert outcome(ask(app, "OPTIONS", path, headers=preflight)) == MISSING
        assert ask(app, "OPTIONS", path, headers=headers).text == "ann"


def test_head_is_guarded_as_get_is(served: tuple[Flask, AuthX, dict[str, str]]) -> None:
    """SECURITY A.15 286"""
    app, _, headers = served
    response = ask(app, "HEAD")
    assert outcome(response) == Outcome(401)
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="api"'
    assert response.data == b""
    response = ask(app, "HEAD", headers=headers)
    assert outcome(response) == OK
    assert response.data == b""


def test_other_methods_are_guarded_like_any(
    served: tuple[Flask, AuthX, dict[str, str]],
) -> None:
    """SECURITY A.15 287"""
    app, authx, headers = served

    @app.route("/other", methods=["TRACE", "BREW"])
    @authx.token_required
    def other() -> str:
        return current_token.sub

    for method in ("TRACE", "BREW"):
        assert outcome(ask(app, method, "/other")) == MISSING
        assert ask(app, method, "/other", headers=headers).text == "ann"
    lower = {"REQUEST_METHOD": "get"}
    assert outcome(ask(app, environ_overrides=lower)) == MISSING
    assert outcome(ask(app, environ_overrides=lower, headers=headers)) == OK


def test_a_refused_view_does_not_run_and_asks_for_no_user(
    served: tuple[Flask, AuthX, dict[str, str]],
) -> None:
    app, authx, headers = served
    ran: list[str] = []
    users = authx.set_subject_getter(Spy("Ann"))

    @app.get("/run")
    @authx.token_required
    def run() -> str:
        ran.append("")
        return ""

    assert outcome(ask(app, path="/run")) == MISSING
    assert outcome(ask(app, path="/run", headers=bearer("x.y.z"))) == INVALID
    assert ran == []
    ask(app, path="/run", headers=headers)
    assert ran == [""]
    assert users.asked == []
