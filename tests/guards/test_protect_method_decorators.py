"""Guards in the ``method_decorators`` of Flask-RESTful and Flask-RESTX, which apply them late."""

from __future__ import annotations

import functools
import importlib
import json
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
from flask import Flask
from flask.views import MethodView

from flask_authx import AuthX, token_accepted
from tests.support import access_token, bearer, make_app, refresh_token
from tests.support.answers import MISSING, OK, Outcome, ask, outcome, who
from tests.support.cli import run

restful: Any = importlib.import_module("flask_restful")
restx: Any = importlib.import_module("flask_restx")

FRAMEWORKS = [restful, restx]
NO_SCOPE = Outcome(403, "InsufficientScopeError")
NOT_REFRESH = Outcome(401, "RefreshTokenRequiredError")
View = Callable[..., Any]


def skipping(view: View) -> View:
    """A decorator that never calls what it wraps, as a cache that is full."""

    @functools.wraps(view)
    def answer(*args: Any, **kwargs: Any) -> str:
        return f"kept, {who()}"

    return answer


def tidying(view: View) -> View:
    """A decorator that calls what it wraps."""

    @functools.wraps(view)
    def answer(*args: Any, **kwargs: Any) -> Any:
        return view(*args, **kwargs)

    return answer


def say(self: object) -> str:
    return who()


def add(framework: Any, app: Flask, decorators: Any, **members: Any) -> None:
    """A resource at ``/thing``, with these methods."""
    options = {"doc": False} if framework is restx else {}
    methods = members or {"get": say}
    made = type("Thing", (framework.Resource,), {"method_decorators": decorators, **methods})
    framework.Api(app, **options).add_resource(made, "/thing")


def thing(app: Flask, method: str = "GET", token: str | None = None) -> Outcome:
    return outcome(ask(app, method, "/thing", headers={} if token is None else bearer(token)))


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_cache_around_them_opens_the_resource_to_nobody(framework: Any) -> None:
    app, authx = make_app(PROTECT_ALL=True)
    add(framework, app, [authx.scopes_required("admin"), skipping])
    assert thing(app) == MISSING
    assert thing(app, token=access_token(app, authx)) == NO_SCOPE
    assert thing(app, token=access_token(app, authx, scopes=["admin"])) == OK
    assert thing(app, "HEAD", access_token(app, authx))[0] == 403


SPELLINGS: dict[str, Callable[[AuthX], View]] = {
    "bare": lambda authx: authx.refresh_token_required,
    "called": lambda authx: authx.token_required(type="refresh"),
    "partial": lambda authx: functools.partial(authx.token_required, type="refresh"),
}


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("around", [False, True])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_they_win_over_the_rule_of_the_app(spelling: str, around: bool, framework: Any) -> None:
    app, authx = make_app(PROTECT_ALL=True)
    guard = SPELLINGS[spelling](authx)
    add(framework, app, [guard, skipping] if around else [guard])
    accepted: list[object] = []

    def count(sender: object, **_: object) -> None:
        accepted.append(sender)

    assert thing(app) == MISSING
    assert thing(app, token=access_token(app, authx)) == NOT_REFRESH
    with token_accepted.connected_to(count, app):
        assert thing(app, token=refresh_token(app, authx)) == OK
    assert accepted == [app]


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_guards_of_the_methods_are_asked_as_well(framework: Any) -> None:
    app, authx = make_app(PROTECT_ALL=True)
    put = authx.scopes_required("write")(say)
    add(framework, app, [authx.scopes_required("read"), skipping], get=say, put=put)
    reader = access_token(app, authx, scopes=["read"])
    writer = access_token(app, authx, scopes=["write"])
    both = access_token(app, authx, scopes=["read", "write"])
    assert [thing(app, token=one) for one in (reader, writer, both)] == [OK, NO_SCOPE, OK]
    assert [thing(app, "PUT", one) for one in (reader, writer, both)] == [NO_SCOPE, NO_SCOPE, OK]


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_public_opens_the_resource(framework: Any) -> None:
    app, authx = make_app(PROTECT_ALL=True)

    def get(self: object) -> str:
        return who()

    add(framework, app, [authx.public], get=get)
    assert thing(app) == OK


def test_those_of_a_method_are_for_this_method() -> None:
    app, authx = make_app(PROTECT_ALL=True)
    decorators = {"get": [authx.scopes_required("admin"), skipping]}
    add(restful, app, decorators, get=say, put=say)
    token = access_token(app, authx)
    admin = access_token(app, authx, scopes=["admin"])
    assert thing(app) == thing(app, "PUT") == MISSING
    assert [thing(app, token=token), thing(app, "PUT", token)] == [NO_SCOPE, OK]
    assert [thing(app, token=admin), thing(app, "PUT", admin)] == [OK, OK]
    # Flask-RESTful calls ``get`` for it, and none of these decorators.
    assert [thing(app, "HEAD", one)[0] for one in (token, admin)] == [403, 200]


def test_a_method_of_its_own_for_head_has_its_own() -> None:
    app, authx = make_app(PROTECT_ALL=True)
    decorators = {"get": [authx.scopes_required("admin")], "head": [authx.scopes_required("look")]}
    add(restful, app, decorators, get=say, head=say)
    looks = access_token(app, authx, scopes=["look"])
    assert [thing(app, method, looks)[0] for method in ("GET", "HEAD")] == [403, 200]


def test_the_attribute_means_nothing_to_other_classes() -> None:
    app, authx = make_app(PROTECT_ALL=True)

    class Thing(MethodView):
        method_decorators: ClassVar[list[Any]] = [authx.public]

        def get(self) -> str:
            return who()

    app.add_url_rule("/thing", view_func=Thing.as_view("thing"))
    assert thing(app) == MISSING


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_they_are_in_the_table_of_routes_with_what_is_around_them(framework: Any) -> None:
    app, authx = make_app()
    around = functools.partial(skipping)
    add(framework, app, [tidying, authx.scopes_required("admin"), around], get=say)
    found = json.loads(run(app, "routes", "--json").stdout)["routes"]
    routes = {route["rule"]: route for route in found}
    [guard] = routes["/thing"]["guards"]
    assert (guard["by"], guard["scopes"]) == ("view", ["admin"])
    assert routes["/thing"]["around_guards"] == [f"{__name__}.skipping"]
    assert routes["/thing"]["unguarded"] is False
