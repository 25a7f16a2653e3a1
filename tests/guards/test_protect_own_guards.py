"""In a protected app the hook asks a view's own guards, whatever decorator is around them."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, ClassVar

import pytest
from flask import Flask, Response, make_response, request
from flask.views import MethodView, View

from flask_authx import AuthX, current_token, current_user, token_accepted, token_refused
from tests.support import OTHER_SECRET, Clock, access_token, bearer, make_app, refresh_token
from tests.support.answers import (
    INVALID,
    MISSING,
    OK,
    REVOKED,
    AsyncSpy,
    Outcome,
    Spy,
    ask,
    blueprint,
    outcome,
    who,
)

caching: Any = importlib.import_module("flask_caching")
NO_SCOPE = Outcome(403, "InsufficientScopeError")
NOT_FRESH = Outcome(401, "FreshTokenRequiredError")

View_ = Callable[..., Any]


def skipping(view: View_) -> View_:
    """A decorator that never calls what it wraps, as a cache that is full."""

    @functools.wraps(view)
    def answer(*args: Any, **kwargs: Any) -> str:
        return f"kept, {who()}"

    return answer


@contextmanager
def counted(app: Flask) -> Generator[dict[str, int]]:
    """How often a token is said to be accepted and refused."""
    counts = {"accepted": 0, "refused": 0}

    def accepted(sender: Any, **extra: Any) -> None:
        counts["accepted"] += 1

    def refused(sender: Any, **extra: Any) -> None:
        counts["refused"] += 1

    with token_accepted.connected_to(accepted, app), token_refused.connected_to(refused, app):
        yield counts


@pytest.mark.parametrize("how", ["setting", "app", "blueprint", "another blueprint"])
def test_a_cache_opens_a_guarded_view_to_nobody(how: str) -> None:
    app, authx = make_app(PROTECT_ALL=how == "setting")
    app.config["CACHE_TYPE"] = "SimpleCache"
    cached: Any = caching.Cache(app).cached
    bp = blueprint("bp")

    @authx.token_required
    def page() -> str:
        return f"the page of {current_token.sub}"

    bp.add_url_rule("/page", "page", cached(timeout=60)(page))
    if how == "app":
        authx.protect(app)
    elif how == "blueprint":
        authx.protect(bp)
    elif how == "another blueprint":
        other = blueprint("other")
        authx.protect(other)
        app.register_blueprint(other)
    app.register_blueprint(bp)
    headers = bearer(access_token(app, authx))
    assert outcome(ask(app, path="/bp/page")) == MISSING
    assert ask(app, path="/bp/page", headers=headers).text == "the page of ann"
    for method in ("GET", "HEAD"):
        assert ask(app, method, "/bp/page").status_code == 401
    assert outcome(ask(app, path="/bp/page", headers=bearer("a.b.c"))) == INVALID
    assert outcome(ask(app, path="/bp/page", headers=headers)) == OK


def test_a_cache_above_the_guard_can_have_the_user_in_its_key() -> None:
    app, authx = make_app(PROTECT_ALL=True)
    app.config["CACHE_TYPE"] = "SimpleCache"
    cached: Any = caching.Cache(app).cached
    ran: list[str] = []

    def by_user(*args: Any, **kwargs: Any) -> str:
        return f"{current_token.sub} {request.full_path}"

    @authx.token_required
    def page() -> str:
        ran.append(current_token.sub)
        return current_token.sub

    app.add_url_rule("/page", "page", cached(timeout=60, make_cache_key=by_user)(page))
    for name in ("ann", "bob", "ann", "bob"):
        assert ask(app, path="/page", headers=bearer(access_token(app, authx, name))).text == name
    assert ran == ["ann", "bob"]


def test_all_guards_of_a_view_are_asked() -> None:
    app, authx = make_app(PROTECT_ALL=True)
    guards = (authx.scopes_required("a"), authx.optional_token, authx.fresh_token_required)
    view: View_ = who
    for guard in guards:
        view = skipping(guard(view))
    app.add_url_rule("/view", "view", view)
    for token, expected in (
        (access_token(app, authx), NOT_FRESH),
        (access_token(app, authx, scopes=["a"]), NOT_FRESH),
        (access_token(app, authx, fresh=True), NO_SCOPE),
        (access_token(app, authx, fresh=True, scopes=["a"]), OK),
    ):
        assert outcome(ask(app, path="/view", headers=bearer(token))) == expected
    assert outcome(ask(app, path="/view")) == MISSING


def test_an_optional_guard_is_asked_and_lets_visitors_pass() -> None:
    app, authx = make_app(PROTECT_ALL=True)
    optional = authx.optional_token
    app.add_url_rule("/strict", "strict", skipping(optional(lambda: "")))
    ignoring = optional(on_invalid="ignore")
    app.add_url_rule("/ignore", "ignore", skipping(ignoring(lambda: "")))
    headers = bearer(access_token(app, authx))
    for path, invalid in (("/strict", INVALID), ("/ignore", OK)):
        assert ask(app, path=path).text == "kept, nobody"
        assert ask(app, path=path, headers=headers).text == "kept, ann"
        response = ask(app, path=path, headers=bearer("a.b.c"))
        assert outcome(response) == invalid
        assert "ann" not in response.text


def test_the_guards_of_a_class_are_asked_by_method() -> None:
    app, authx = make_app(PROTECT_ALL=True)

    class Items(MethodView):
        decorators: ClassVar[list[Any]] = [authx.token_required, skipping]

        def get(self) -> str:
            return who()

        @skipping
        @authx.scopes_required("write")
        def put(self) -> str:
            return who()

        @skipping
        @authx.fresh_token_required
        @skipping
        def delete(self) -> str:
            return who()

    app.add_url_rule("/items", view_func=Items.as_view("items"))
    plain = access_token(app, authx)
    cases: list[tuple[str, Outcome | None, dict[str, Any]]] = [
        ("GET", None, {}),
        ("HEAD", None, {}),
        ("PUT", NO_SCOPE, {"scopes": ["write"]}),
        ("DELETE", NOT_FRESH, {"fresh": True}),
    ]
    for method, refused, passes in cases:
        assert ask(app, method, "/items").status_code == 401
        if refused is not None:
            assert outcome(ask(app, method, "/items", headers=bearer(plain))) == refused
        token = access_token(app, authx, **passes)
        assert outcome(ask(app, method, "/items", headers=bearer(token))) == OK


def test_a_method_that_no_function_is_named_for_has_the_guards_of_the_class() -> None:
    app, authx = make_app(PROTECT_ALL=True)

    class Page(View):
        @skipping
        @authx.refresh_token_required
        def dispatch_request(self) -> str:
            return who()

    app.add_url_rule("/page", view_func=Page.as_view("page"), methods=["GET", "POST"])
    for method in ("GET", "POST"):
        assert outcome(ask(app, method, "/page")) == MISSING
        assert outcome(
            ask(app, method, "/page", headers=bearer(access_token(app, authx)))
        ) == Outcome(401, "RefreshTokenRequiredError")
        headers = bearer(refresh_token(app, authx))
        assert outcome(ask(app, method, "/page", headers=headers)) == OK


def test_a_request_is_checked_and_announced_once() -> None:
    app, authx = make_app(PROTECT_ALL=True)
    asked = authx.token_blocklist(Spy())
    same = authx.token_required(fresh=True)

    def rule() -> str:
        return who()

    def inside() -> str:
        return authx.token_required(who)()

    views: dict[str, View_] = {
        "bare": authx.token_required(who),
        "equal": authx.token_required(authx.access_token_required(who)),
        "twice": same(same(who)),
        "maybe": authx.optional_token(who),
        "rule": rule,
        "inside": inside,
        "different": authx.token_required(authx.fresh_token_required(who)),
    }
    for name, view in views.items():
        app.add_url_rule(f"/{name}", name, view)
    headers = bearer(access_token(app, authx, fresh=True))
    for name in views:
        asked.asked.clear()
        with counted(app) as counts:
            assert ask(app, path=f"/{name}", headers=headers).text == "ann"
            ask(app, path=f"/{name}", headers=bearer("a.b.c"))
        assert (name, counts, len(asked.asked)) == (name, {"accepted": 1, "refused": 1}, 1)


def test_an_invalid_token_that_is_ignored_is_announced_once() -> None:
    app, authx = make_app(PROTECT_ALL=True)
    app.add_url_rule("/view", "view", authx.optional_token(on_invalid="ignore")(who))
    with counted(app) as counts:
        assert ask(app, path="/view", headers=bearer("a.b.c")).text == "nobody"
    assert counts == {"accepted": 0, "refused": 1}


def test_each_guard_sets_the_identity_that_it_has_checked() -> None:
    app, authx = make_app(PROTECT_ALL=True, TOKEN_LOCATION="headers,query")
    seen: list[str] = []

    def looking(view: View_) -> View_:
        @functools.wraps(view)
        def look() -> Any:
            seen.append(who())
            return view()

        return look

    view = looking(authx.optional_token(locations="json")(looking(who)))
    view = looking(authx.token_required(locations="query")(view))
    view = authx.token_required(locations="headers")(view)
    app.add_url_rule("/view", "view", view)
    headers = bearer(access_token(app, authx, "ann"))
    query = {"token": access_token(app, authx, "bob")}
    assert ask(app, path="/view", headers=headers, query_string=query).text == "nobody"
    assert seen == ["ann", "bob", "nobody"]


def test_a_guard_of_another_object_sets_its_own_identity() -> None:
    app, authx = make_app(PROTECT_ALL=True)
    app.config.from_mapping(
        ADMIN_JWT_SECRET_KEY=OTHER_SECRET,
        ADMIN_JWT_PROTECT_ALL=True,
        ADMIN_JWT_TOKEN_LOCATION="query",
    )
    admin = AuthX(app, name="admin", clock=Clock())

    @app.get("/view")
    @authx.token_required
    def view() -> str:
        return who()

    query = {"token": access_token(app, admin, "boss")}
    headers = bearer(access_token(app, authx, "ann"))
    assert ask(app, path="/view", headers=headers, query_string=query).text == "ann"
    assert outcome(ask(app, path="/view", headers=headers)) == MISSING


def test_a_guard_that_requires_more_is_asked_although_the_hook_has_checked() -> None:
    app, authx = make_app(PROTECT_ALL=True)

    def fresh() -> str:
        return authx.fresh_token_required(who)()

    app.add_url_rule("/fresh", "fresh", fresh)
    assert outcome(ask(app, path="/fresh", headers=bearer(access_token(app, authx)))) == NOT_FRESH


@pytest.mark.parametrize("outer", [False, True])
def test_a_request_inside_a_request_is_checked_for_itself(outer: bool) -> None:
    app, authx = make_app(PROTECT_ALL=True)

    @app.get("/inner")
    @authx.token_required
    def inner() -> str:
        return who()

    @app.get("/outer")
    @authx.token_required
    def view() -> Response:
        answers = [
            ask(app, path="/inner", headers=headers)
            for headers in ({}, bearer(bob), bearer("a.b.c"))
        ]
        return make_response([who(), *(str(one.status_code) for one in answers), answers[1].text])

    bob = access_token(app, authx, "bob")
    headers = bearer(access_token(app, authx))

    def asked() -> Any:
        return ask(app, path="/outer", headers=headers).json

    if outer:
        with app.app_context():
            found = [asked(), outcome(ask(app, path="/inner"))]
    else:
        found = [asked(), outcome(ask(app, path="/inner"))]
    assert found == [["ann", "401", "200", "401", "bob"], MISSING]


def test_a_guard_that_requires_the_user_loads_it_once_and_before_the_view() -> None:
    app, authx = make_app(PROTECT_ALL=True)
    load = Spy("the user")
    authx.set_callback_get_model_instance(load)
    guard = authx.token_required(user=True)

    def view() -> str:
        return f"{current_user}"

    app.add_url_rule("/view", "view", authx.optional_token(guard(view)))
    app.add_url_rule("/kept", "kept", skipping(guard(view)))
    headers = bearer(access_token(app, authx))
    assert ask(app, path="/view", headers=headers).text == "the user"
    assert load.asked == ["ann"]
    load.answer = None
    for path in ("/view", "/kept"):
        assert outcome(ask(app, path=path, headers=headers)) == INVALID


def test_what_identify_has_found_replaces_no_guard() -> None:
    app, authx = make_app(PROTECT_ALL=True)
    found: list[str | None] = []

    def look() -> None:
        token = authx.identify(optional=True, locations="query")
        found.append(token.sub if token else None)

    app.before_request(look)
    app.add_url_rule("/view", "view", authx.token_required(who))
    query = {"token": access_token(app, authx, "bob")}
    headers = bearer(access_token(app, authx, "ann"))
    assert outcome(ask(app, path="/view", query_string=query)) == MISSING
    assert ask(app, path="/view", headers=headers, query_string=query).text == "ann"
    assert found == ["bob"]


def test_an_async_guard_whose_callback_is_async() -> None:
    app, authx = make_app(PROTECT_ALL=True)
    asked = authx.token_blocklist(AsyncSpy())

    @authx.token_required
    async def view() -> str:
        return who()

    app.add_url_rule("/view", "view", view)
    app.add_url_rule("/kept", "kept", skipping(authx.token_required(view)))
    headers = bearer(access_token(app, authx))
    with counted(app) as counts:
        assert ask(app, path="/view", headers=headers).text == "ann"
    assert (len(asked.asked), counts["accepted"]) == (1, 1)
    assert ask(app, path="/kept", headers=headers).text == "kept, ann"
    asked.answer = True
    for path in ("/view", "/kept"):
        assert outcome(ask(app, path=path, headers=headers)) == REVOKED
        assert outcome(ask(app, path=path)) == MISSING


def test_options_and_public_views_stay_open() -> None:
    app, authx = make_app(PROTECT_ALL=True)
    app.add_url_rule("/view", "view", skipping(authx.token_required(who)))
    app.add_url_rule("/open", "open", skipping(authx.public(lambda: "")))
    handles = skipping(authx.token_required(lambda: ""))
    app.add_url_rule("/own", "own", handles, methods=["GET", "OPTIONS"])
    assert outcome(ask(app, "OPTIONS", "/view")) == OK
    assert outcome(ask(app, path="/open")) == OK
    assert outcome(ask(app, "OPTIONS", "/own")) == MISSING


def test_public_opens_no_guard() -> None:
    """It exempts a view from the rule of the app, and not from a guard of its own."""
    app, authx = make_app(PROTECT_ALL=True)
    app.add_url_rule("/view", "view", authx.public(skipping(authx.token_required(who))))
    assert outcome(ask(app, path="/view")) == MISSING


def test_without_a_rule_nothing_is_asked_before_the_view() -> None:
    app, authx = make_app()
    app.add_url_rule("/view", "view", skipping(authx.token_required(who)))
    assert ask(app, path="/view").text == "kept, nobody"
    assert app.before_request_funcs[None] == []
