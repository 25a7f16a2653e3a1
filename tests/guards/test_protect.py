"""A whole app or blueprint protected in one line, and what is public in it: USERS 86, 87."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Blueprint, Flask
from flask.views import MethodView
from werkzeug.routing import Rule

from flask_authx import AuthX, BadConfigurationError, current_token
from tests.support import SECRET, Clock, access_token, bearer, make_app, refresh_token
from tests.support.answers import (
    INVALID,
    MISSING,
    OK,
    Outcome,
    Spy,
    ask,
    blueprint,
    is_open,
    outcome,
    who,
)


@pytest.mark.parametrize("how", ["protect", "setting"])
def test_a_whole_app_is_protected(how: str) -> None:
    app, authx = make_app(PROTECT_ALL=how == "setting")
    app.add_url_rule("/view", view_func=who)
    app.register_blueprint(blueprint("bp", authx))
    if how == "protect":
        authx.protect(app)
    headers = bearer(access_token(app, authx))
    for path in ("/view", "/bp/view"):
        assert not is_open(app, path)
        assert ask(app, path=path, headers=headers).text == "ann"
    assert is_open(app, "/bp/public")
    assert is_open(app, "/optional")


def test_a_blueprints_protection_is_its_own_only() -> None:
    """USERS 86"""
    app, authx = make_app()
    app.add_url_rule("/view", view_func=who)
    one, other = blueprint("one", authx), blueprint("other")
    authx.protect(one)
    app.register_blueprint(one)
    app.register_blueprint(other)
    assert is_open(app, "/view")
    assert is_open(app, "/other/view")
    assert is_open(app, "/one/public")
    assert not is_open(app, "/one/view")
    assert ask(app, path="/one/view", headers=bearer(access_token(app, authx))).text == "ann"


def test_nested_blueprints_are_covered_and_the_inner_rule_wins() -> None:
    app, authx = make_app()
    outer, plain, refreshing, public = (
        blueprint(name) for name in ("outer", "plain", "refreshing", "public")
    )
    deep = blueprint("deep")
    authx.protect(outer)
    authx.protect(refreshing, type="refresh")
    authx.public(public)
    public.register_blueprint(deep)
    for inner in (plain, refreshing, public):
        outer.register_blueprint(inner)
    app.register_blueprint(outer)
    access, refresh = bearer(access_token(app, authx)), bearer(refresh_token(app, authx))
    assert not is_open(app, "/outer/view")
    assert not is_open(app, "/outer/plain/view")
    assert ask(app, path="/outer/plain/view", headers=access).text == "ann"
    assert ask(app, path="/outer/refreshing/view", headers=refresh).text == "ann"
    assert outcome(ask(app, path="/outer/refreshing/view", headers=access)) == Outcome(
        401, "RefreshTokenRequiredError"
    )
    assert is_open(app, "/outer/public/view")
    assert is_open(app, "/outer/public/deep/view")


def test_a_blueprints_rule_wins_over_the_apps() -> None:
    app, authx = make_app(PROTECT_ALL=True)
    open_one, strict = blueprint("open"), blueprint("strict")
    authx.public(open_one)
    authx.protect(strict, scopes=["admin"], fresh=True, locations="headers")
    app.register_blueprint(open_one)
    app.register_blueprint(strict)
    assert is_open(app, "/open/view")
    for token, expected in (
        (access_token(app, authx), Outcome(401, "FreshTokenRequiredError")),
        (access_token(app, authx, fresh=True), Outcome(403, "InsufficientScopeError")),
        (access_token(app, authx, fresh=True, scopes=["admin"]), OK),
    ):
        assert outcome(ask(app, path="/strict/view", headers=bearer(token))) == expected


def test_a_views_own_guard_wins_over_its_blueprints() -> None:
    app, authx = make_app()
    bp = blueprint("bp")
    authx.protect(bp, scopes=["a"])

    @bp.post("/refresh")
    @authx.refresh_token_required
    def refresh() -> str:
        return current_token.type

    @bp.get("/optional")
    @authx.optional_token
    def optional() -> str:
        return who()

    app.register_blueprint(bp)
    headers = bearer(refresh_token(app, authx))
    assert ask(app, "POST", "/bp/refresh", headers=headers).text == "refresh"
    assert ask(app, path="/bp/optional").text == "nobody"
    assert not is_open(app, "/bp/view")


def test_what_has_no_view_gets_the_response_of_flask() -> None:
    """USERS 87, SECURITY A.15 285, 291: 404, 405 and OPTIONS are Flask's."""
    app, _ = make_app(PROTECT_ALL=True)
    app.add_url_rule("/folder/", "folder", who)
    assert outcome(ask(app, path="/unknown")) == Outcome(404)
    assert outcome(ask(app, "DELETE", "/folder/")) == Outcome(405)
    assert outcome(ask(app, path="/folder")) == Outcome(308)
    assert outcome(ask(app, "OPTIONS", "/folder/")) == OK
    head = ask(app, "HEAD", "/folder/")
    assert outcome(head) == Outcome(401)
    assert head.data == b""


def test_a_view_that_handles_options_itself_is_protected() -> None:
    """USERS 88"""
    app, _ = make_app(PROTECT_ALL=True)
    app.add_url_rule("/own", "own", who, methods=["GET", "OPTIONS"])
    assert not is_open(app, "/own", "OPTIONS")


Step = Callable[[Flask, AuthX, Blueprint], Any]
STEPS: dict[str, Step] = {
    "protect": lambda app, authx, bp: authx.protect(bp),
    "init_app": lambda app, authx, bp: authx.init_app(app),
    "register": lambda app, authx, bp: app.register_blueprint(bp),
}


@pytest.mark.parametrize(
    "order",
    [
        ("protect", "init_app", "register"),
        ("protect", "register", "init_app"),
        ("init_app", "protect", "register"),
        ("init_app", "register", "protect"),
        ("register", "protect", "init_app"),
        ("register", "init_app", "protect"),
    ],
)
def test_the_order_of_set_up_does_not_matter(order: tuple[str, ...]) -> None:
    app, authx, bp = Flask(__name__), AuthX(clock=Clock()), blueprint("bp")
    app.config["JWT_SECRET_KEY"] = SECRET
    for step in order:
        STEPS[step](app, authx, bp)
    assert not is_open(app, "/bp/view")
    assert ask(app, path="/bp/view", headers=bearer(access_token(app, authx))).text == "ann"


def test_the_options_method_of_a_view_class_is_protected() -> None:
    app, _ = make_app(PROTECT_ALL=True)

    class Item(MethodView):
        def options(self) -> str:
            return who()

    app.add_url_rule("/item", view_func=Item.as_view("item"))
    assert not is_open(app, "/item", "OPTIONS")


def test_one_blueprint_on_two_apps() -> None:
    bp, authx = blueprint("bp"), AuthX(clock=Clock())
    apps: list[Flask] = []
    for number in range(2):
        app = Flask(f"app{number}")
        app.config["JWT_SECRET_KEY"] = SECRET[number:] + "x" * number
        authx.init_app(app)
        app.register_blueprint(bp, url_prefix=f"/at{number}")
        apps.append(app)
    authx.protect(bp)
    tokens = [bearer(access_token(app, authx)) for app in apps]
    for number, app in enumerate(apps):
        path = f"/at{number}/view"
        assert not is_open(app, path)
        assert ask(app, path=path, headers=tokens[number]).text == "ann"
        assert outcome(ask(app, path=path, headers=tokens[1 - number])) == INVALID


def test_two_objects_may_each_protect_a_blueprint() -> None:
    app, authx = make_app()
    app.config["ADMIN_JWT_SECRET_KEY"] = SECRET[::-1]
    admin = AuthX(app, name="admin", clock=Clock())
    both = blueprint("both")
    authx.protect(both)
    admin.protect(both, locations="query")
    app.register_blueprint(both)
    user, boss = access_token(app, authx, "ann"), access_token(app, admin, "boss")
    for headers, query, expected in (
        (bearer(user), {}, MISSING),
        ({}, {"token": boss}, MISSING),
        (bearer(user), {"token": boss}, OK),
        (bearer(boss), {"token": user}, INVALID),
    ):
        response = ask(app, path="/both/view", headers=headers, query_string=query)
        assert outcome(response) == expected


def test_the_hook_and_nested_guards_ask_once() -> None:
    app, authx = make_app(PROTECT_ALL=True)
    spy = authx.token_blocklist(Spy())
    bp = blueprint("bp")
    authx.protect(bp)

    @bp.get("/nested")
    @authx.token_required
    @authx.token_required
    def nested() -> str:
        return who()

    app.register_blueprint(bp)
    headers = bearer(access_token(app, authx))
    for path in ("/bp/view", "/bp/nested"):
        spy.asked.clear()
        assert ask(app, path=path, headers=headers).text == "ann"
        assert len(spy.asked) == 1


def test_the_apps_own_hooks_come_after_the_check() -> None:
    app, authx = make_app(PROTECT_ALL=True)
    seen: list[str] = []
    app.before_request(lambda: seen.append(who()))
    app.add_url_rule("/view", "view", who)
    assert not is_open(app, "/view")
    assert seen == []
    ask(app, path="/view", headers=bearer(access_token(app, authx)))
    assert seen == ["ann"]


def test_a_view_that_came_after_the_first_request_is_protected_as_well() -> None:
    """USERS 87: new routes are closed unless they are opened."""
    app, authx = make_app()
    authx.protect(app)
    assert outcome(ask(app)) == MISSING
    app.url_map.add(Rule("/late", endpoint="late", methods=["GET"]))
    app.view_functions["late"] = who
    assert not is_open(app, "/late")
    assert ask(app, path="/late", headers=bearer(access_token(app, authx))).text == "ann"


def test_protection_that_comes_after_the_first_request_is_never_silently_void() -> None:
    app, authx = make_app()
    late = blueprint("late")
    app.register_blueprint(late)
    assert is_open(app, "/late/view")
    try:
        authx.protect(late)
    except (RuntimeError, AssertionError, BadConfigurationError):
        # As Flask itself does it: too late, and said so.
        return
    assert not is_open(app, "/late/view")
