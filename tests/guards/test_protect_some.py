"""Apps of which a rule covers a part, or in which one object has a rule and another has none."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
from flask import Blueprint, Flask, g, request
from flask.views import MethodView

from flask_authx import AuthX, token_accepted
from tests.support import OTHER_SECRET, SECRET, Clock, access_token, bearer, make_app
from tests.support.answers import FAULT, MISSING, OK, Outcome, ask, blueprint, outcome, who

restful: Any = importlib.import_module("flask_restful")

View = Callable[..., Any]
NO_SCOPE = Outcome(403, "InsufficientScopeError")


def keeping() -> Callable[[View], View]:
    """A cache that forgets nothing, and has only the path in its keys."""
    kept: dict[str, Any] = {}

    def decorate(view: View) -> View:
        @functools.wraps(view)
        def answer(*args: Any, **kwargs: Any) -> Any:
            if request.path not in kept:
                kept[request.path] = view(*args, **kwargs)
            return kept[request.path]

        return answer

    return decorate


# Two objects, of which one has no rule


@pytest.mark.parametrize("order", ["the one with a rule first", "last"])
@pytest.mark.parametrize("how", ["setting", "app", "blueprint", "outer blueprint"])
def test_a_cache_opens_the_guard_of_an_object_without_a_rule_to_nobody(
    how: str, order: str
) -> None:
    app = Flask("tests")
    app.config.from_mapping(SHOP_JWT_SECRET_KEY=SECRET, STAFF_JWT_SECRET_KEY=OTHER_SECRET)
    app.config["SHOP_JWT_PROTECT_ALL"] = how == "setting"
    shop, staff = (AuthX(name=name, clock=Clock()) for name in ("shop", "staff"))
    for one in (shop, staff) if order != "last" else (staff, shop):
        one.init_app(app)
    outer, inner = blueprint("outer"), blueprint("inner")
    cached = keeping()

    @inner.get("/page")
    @cached
    @staff.token_required
    def page() -> str:
        return f"the page of {who()}"

    @inner.get("/scoped")
    @shop.public
    @cached
    @staff.scopes_required("root")
    def scoped() -> str:
        return f"the page of {who()}"

    if how == "app":
        shop.protect(app)
    elif how != "setting":
        shop.protect(inner if how == "blueprint" else outer)
    shop.public(page)
    outer.register_blueprint(inner)
    app.register_blueprint(outer)
    root = bearer(access_token(app, staff, "root", scopes=["root"]))
    clerk = bearer(access_token(app, staff, "clerk"))
    for path in ("/outer/inner/page", "/outer/inner/scoped"):
        assert outcome(ask(app, path=path)) == MISSING
        assert ask(app, path=path, headers=root).text == "the page of root"
        assert outcome(ask(app, path=path)) == MISSING
    assert outcome(ask(app, path="/outer/inner/scoped", headers=clerk)) == NO_SCOPE


@pytest.mark.parametrize("how", ["setting", "blueprint"])
def test_what_one_object_protects_the_guards_of_all_are_asked_for_first(how: str) -> None:
    app, authx = make_app()
    app.config.from_mapping(
        ADMIN_JWT_SECRET_KEY=OTHER_SECRET, ADMIN_JWT_PROTECT_ALL=how == "setting"
    )
    admin = AuthX(app, name="admin", clock=Clock())
    seen: list[str] = []
    app.before_request(lambda: seen.append(request.path))
    for name in ("inside", "outside"):
        bp = blueprint(name)
        bp.add_url_rule("/own", "own", authx.token_required(who))
        if how == "blueprint" and name == "inside":
            admin.protect(bp)
        app.register_blueprint(bp)
    for name in ("inside", "outside"):
        headers = bearer(access_token(app, admin))
        assert ask(app, path=f"/{name}/own", headers=headers).status_code == 401
    assert seen == (["/outside/own"] if how == "blueprint" else [])


def test_a_rule_of_another_object_comes_too_late_as_well() -> None:
    """Whether an object keeps its hook depends on the rules of all: none changes afterwards."""
    app, _ = make_app()
    app.config["ADMIN_JWT_SECRET_KEY"] = OTHER_SECRET
    app.before_request(lambda: "closed for today")
    admin = AuthX(app, name="admin", clock=Clock())
    assert ask(app).text == "closed for today"
    with pytest.raises(RuntimeError, match="already responded"):
        admin.protect(app)


def test_without_a_rule_no_object_keeps_its_hook() -> None:
    app, _ = make_app()
    app.config["ADMIN_JWT_SECRET_KEY"] = OTHER_SECRET
    AuthX(app, name="admin", clock=Clock())
    ask(app)
    assert app.before_request_funcs[None] == []


# A protected blueprint beside others, and callbacks that need the app's own hooks


def with_tenants(setup: Callable[[Flask, AuthX, Blueprint], None]) -> tuple[Flask, AuthX]:
    """An app with a protected blueprint, whose revocation callback needs ``g.tenant``."""
    app, authx = make_app()
    protected, shop = blueprint("protected"), blueprint("shop")
    authx.protect(protected)

    def choose_tenant() -> None:
        g.tenant = "ours"

    @authx.set_callback_token_blocklist
    def revoked(raw: str) -> bool:
        return bool(g.tenant != "ours")

    app.before_request(choose_tenant)
    setup(app, authx, shop)
    app.register_blueprint(protected)
    app.register_blueprint(shop)
    return app, authx


def plain(app: Flask, authx: AuthX, shop: Blueprint) -> None:
    shop.add_url_rule("/own", "own", authx.token_required(who))


def of_the_app(app: Flask, authx: AuthX, shop: Blueprint) -> None:
    app.add_url_rule("/shop/own", "own", authx.token_required(who))


def method(app: Flask, authx: AuthX, shop: Blueprint) -> None:
    class Own(MethodView):
        @authx.token_required
        def get(self) -> str:
            return who()

        @keeping()
        @authx.token_required
        def post(self) -> str:
            return who()

    shop.add_url_rule("/own", view_func=Own.as_view("own"))


def whole_class(app: Flask, authx: AuthX, shop: Blueprint) -> None:
    class Own(MethodView):
        decorators: ClassVar[list[Any]] = [keeping(), authx.token_required]

        def get(self) -> str:
            return who()

    shop.add_url_rule("/own", view_func=Own.as_view("own"))


def resource(app: Flask, authx: AuthX, shop: Blueprint) -> None:
    def get(self: object) -> str:
        return who()

    made = type("Own", (restful.Resource,), {"get": authx.token_required(get)})
    restful.Api(shop).add_resource(made, "/own")


@pytest.mark.parametrize("setup", [plain, of_the_app, method, whole_class, resource])
def test_a_guard_outside_the_protected_blueprint_comes_after_the_apps_hooks(
    setup: Callable[[Flask, AuthX, Blueprint], None],
) -> None:
    app, authx = with_tenants(setup)
    headers = bearer(access_token(app, authx))
    accepted: list[object] = []

    def count(sender: object, **_: object) -> None:
        accepted.append(sender)

    with token_accepted.connected_to(count, app):
        response = ask(app, path="/shop/own", headers=headers)
    assert (response.status_code, response.text.strip().strip('"')) == (200, "ann")
    assert accepted == [app]
    assert outcome(ask(app, path="/shop/own")) == MISSING
    # Inside of it the check comes first.
    assert outcome(ask(app, path="/protected/view", headers=headers)) == FAULT


def test_with_a_decorator_around_it_the_guard_is_asked_first() -> None:
    def setup(app: Flask, authx: AuthX, shop: Blueprint) -> None:
        shop.add_url_rule("/own", "own", keeping()(authx.token_required(who)))

    app, authx = with_tenants(setup)
    headers = bearer(access_token(app, authx))
    assert outcome(ask(app, path="/shop/own", headers=headers)) == FAULT


def test_which_guards_are_asked_first_is_told_apart_by_method() -> None:
    app, authx = with_tenants(method)
    headers = bearer(access_token(app, authx))
    assert outcome(ask(app, path="/shop/own", headers=headers)) == OK
    assert outcome(ask(app, "POST", "/shop/own", headers=headers)) == FAULT
    assert outcome(ask(app, "POST", "/shop/own")) == MISSING


def test_a_hook_from_before_init_app_runs_before_the_check() -> None:
    app, authx = Flask("tests"), AuthX(clock=Clock())
    app.config.from_mapping(JWT_SECRET_KEY=OTHER_SECRET, JWT_PROTECT_ALL=True)

    @app.before_request
    def choose_tenant() -> None:
        g.tenant = "ours"

    @authx.set_callback_token_blocklist
    def revoked(raw: str) -> bool:
        return bool(g.tenant != "ours")

    authx.init_app(app)
    app.add_url_rule("/view", "view", who)
    assert ask(app, path="/view", headers=bearer(access_token(app, authx))).text == "ann"
