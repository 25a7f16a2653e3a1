"""What is found at the first request: guards that guard nothing, and unfit settings (USERS 84)."""

from __future__ import annotations

import functools
import gc
from collections.abc import Callable
from typing import Any, cast

import pytest
from flask import Blueprint, Flask

from flask_authx import AuthX, BadConfigurationError
from tests.support import SECRET, access_token, bearer, make_app
from tests.support.answers import MISSING, OK, Spy, ask, outcome


def wrapping(view: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(view)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return view(*args, **kwargs)

    return wrapper


def refusal(app: Flask) -> str:
    """What the app's first request, whatever it asks for, is refused with."""
    app.testing = True
    with pytest.raises(BadConfigurationError) as raised:
        ask(app, path="/unknown")
    with pytest.raises(BadConfigurationError):
        ask(app)
    return str(raised.value)


def test_a_guard_above_the_route_is_refused() -> None:
    """USERS 84, SECURITY A.15 288"""
    app, authx = make_app()

    @authx.token_required
    @app.get("/profile")
    def profile() -> str:
        return "secret"

    message = refusal(app)
    assert "profile" in message
    assert "@app.route" in message
    app.testing = False
    response = ask(app, path="/profile")
    assert (response.status_code, "secret" in response.text) == (500, False)


MISPLACED: list[Callable[[AuthX], Callable[..., Any]]] = [
    lambda authx: authx.token_required(fresh=True),
    lambda authx: authx.optional_token,
    lambda authx: authx.scopes_required("a"),
    lambda authx: authx.refresh_token_required(),
]


@pytest.mark.parametrize("decorate", MISPLACED)
def test_every_guard_above_the_route_is_refused(
    decorate: Callable[[AuthX], Callable[..., Any]],
) -> None:
    app, authx = make_app()

    def view() -> str:
        return ""

    decorate(authx)(app.get("/view")(view))
    assert "view" in refusal(app)


def test_it_is_refused_when_the_guarded_function_was_discarded() -> None:
    """In a factory the name goes out of scope, and the wrapper with it."""

    def create_app() -> Flask:
        app, authx = make_app()

        @authx.token_required
        @app.get("/profile")
        def profile() -> str:
            return ""

        return app

    app = create_app()
    gc.collect()
    assert "profile" in refusal(app)


def test_it_is_refused_on_a_blueprint_and_with_other_decorators_between() -> None:
    app, authx = make_app()
    bp = Blueprint("bp", __name__)

    @authx.token_required
    @wrapping
    @bp.get("/between")
    def between() -> str:
        return ""

    @authx.token_required
    @bp.get("/wrapped")
    @wrapping
    def wrapped() -> str:
        return ""

    @authx.token_required
    @bp.get("/async")
    async def waiting() -> str:
        return ""

    app.register_blueprint(bp)
    message = refusal(app)
    for name in ("between", "wrapped", "waiting"):
        assert name in message


def test_decorators_above_a_guard_are_fine() -> None:
    app, authx = make_app()

    @app.get("/fine")
    @wrapping
    @authx.token_required
    @wrapping
    def fine() -> dict[str, str]:
        return {}

    assert outcome(ask(app, path="/fine")) == MISSING
    assert outcome(ask(app, path="/fine", headers=bearer(access_token(app, authx)))) == OK


def test_a_function_may_be_served_with_and_without_a_guard_on_purpose() -> None:
    app, authx = make_app()

    def shared() -> dict[str, str]:
        return {}

    app.add_url_rule("/open", "open", shared)
    app.add_url_rule("/closed", "closed", authx.token_required(shared))
    assert outcome(ask(app, path="/open")) == OK
    assert outcome(ask(app, path="/closed")) == MISSING


def test_the_guard_of_another_view_changes_nothing() -> None:
    app, authx = make_app()

    @app.get("/right")
    @authx.token_required
    def right() -> str:
        return ""

    @authx.token_required
    @app.get("/misplaced")
    def misplaced() -> str:
        return ""

    message = refusal(app)
    assert "misplaced" in message
    assert "right" not in message


def test_the_route_of_another_app_changes_nothing() -> None:
    first, authx = make_app()
    second = Flask("second")
    second.config["JWT_SECRET_KEY"] = SECRET[::-1]
    authx.init_app(second)

    def view() -> str:
        return ""

    first.add_url_rule("/view", view_func=view)
    second.add_url_rule("/view", view_func=authx.token_required(view))
    assert outcome(ask(second, path="/view")) == MISSING
    assert "view" in refusal(first)


def test_the_guard_of_another_apps_object_is_ignored() -> None:
    first, first_authx = make_app()
    second, _ = make_app()

    def shared() -> dict[str, str]:
        return {}

    first.add_url_rule("/view", view_func=first_authx.token_required(shared))
    second.add_url_rule("/view", view_func=shared)
    assert outcome(ask(first, path="/view")) == MISSING
    assert outcome(ask(second, path="/view")) == OK


def test_two_views_of_one_name_are_told_apart() -> None:
    app, authx = make_app()

    def make(number: int) -> Callable[[], dict[str, int]]:
        def view() -> dict[str, int]:
            return {"number": number}

        return view

    app.add_url_rule("/1", "one", make(1))
    app.add_url_rule("/2", "two", authx.token_required(make(2)))
    assert ask(app, path="/1").json == {"number": 1}
    assert outcome(ask(app, path="/2")) == MISSING


def test_an_app_that_needs_a_revocation_callback_does_not_serve_without() -> None:
    """SECURITY A.12 207, USERS 50"""
    app, _ = make_app(REVOCATION_REQUIRED=True)
    assert "JWT_REVOCATION_REQUIRED" in refusal(app)
    app, authx = make_app(REVOCATION_REQUIRED=True)
    authx.token_blocklist(Spy())
    assert outcome(ask(app)) == MISSING


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("JWT_SECRET_KEY", "x" * 64),
        ("JWT_ACCESS_TOKEN_EXPIRES", 5),
        ("JWT_TYPO", 1),
        ("JWT_TOKEN_LOCATION", None),
    ],
)
def test_a_setting_that_came_too_late_is_refused(key: str, value: Any) -> None:
    """USERS 92, SECURITY A.15 284, rule 6"""
    app, _ = make_app(TOKEN_LOCATION=["headers"])
    if value is None:
        del app.config[key]
    else:
        app.config[key] = value
    message = refusal(app)
    assert key in message
    assert "init_app" in message
    assert SECRET not in message


def test_a_list_that_was_changed_in_place_is_noticed() -> None:
    app, _ = make_app(TOKEN_LOCATION=["headers"])
    cast(list[str], app.config["JWT_TOKEN_LOCATION"]).append("query")
    assert "JWT_TOKEN_LOCATION" in refusal(app)


def test_settings_of_others_may_change() -> None:
    app, _ = make_app()
    app.config["OTHER"] = 1
    app.config["ADMIN_JWT_SECRET_KEY"] = "x"
    assert outcome(ask(app)) == MISSING


def test_all_problems_are_told_at_once() -> None:
    app, authx = make_app(REVOCATION_REQUIRED=True)
    app.config["JWT_ALGORITHM"] = "HS512"
    authx.token_required(app.get("/view")(lambda: ""))
    message = refusal(app)
    for part in ("JWT_REVOCATION_REQUIRED", "JWT_ALGORITHM", "@app.route"):
        assert part in message
