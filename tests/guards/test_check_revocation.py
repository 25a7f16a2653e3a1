"""``check_revocation=False``: a view that spares the question. USERS 46."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from flask import Blueprint, Flask

from flask_authx import AuthX, BadConfigurationError, current_token
from flask_authx.cli import authx as group
from tests.support import OTHER_SECRET, access_token, bearer, forge, parts, reforge, refresh_token
from tests.support.answers import INVALID, MISSING, OK, REVOKED, Spy, ask, outcome
from tests.support.spy_store import SpyStore, spied

Decorate = Callable[[AuthX], Any]
DECORATORS: dict[str, Decorate] = {
    "token_required": lambda authx: authx.token_required(check_revocation=False),
    "optional_token": lambda authx: authx.optional_token(check_revocation=False),
    "access_token_required": lambda authx: authx.access_token_required(check_revocation=False),
    "fresh_token_required": lambda authx: authx.fresh_token_required(check_revocation=False),
    "scopes_required": lambda authx: authx.scopes_required("a", check_revocation=False),
}


def view() -> Callable[[], str]:
    """A new one each time, since it is remembered which functions were guarded."""
    return lambda: current_token.sub if current_token else "nobody"


def revoked_token(app: Flask, authx: AuthX) -> str:
    token = access_token(app, authx, fresh=True, scopes=["a"])
    with app.app_context():
        authx.revoke_token(token)
    return token


def app_of(decorate: Decorate | None) -> tuple[Flask, AuthX, SpyStore, Spy]:
    """An app with a view ``/x`` that isn't checked, by its decorator or by the app's rule."""
    app, authx, store = spied()
    asked = authx.token_blocklist(Spy(True))
    if decorate is None:
        blueprint = Blueprint("unchecked", __name__)
        blueprint.add_url_rule("/x", "x", view())
        authx.protect(blueprint, check_revocation=False, fresh=True, scopes=["a"])
        app.register_blueprint(blueprint)
    else:
        app.add_url_rule("/x", "x", decorate(authx)(view()))
    return app, authx, store, asked


BY_ALL = pytest.mark.parametrize("decorate", [*DECORATORS.values(), None])


@BY_ALL
def test_no_store_is_asked_and_a_revoked_token_passes(decorate: Decorate | None) -> None:
    app, authx, store, asked = app_of(decorate)
    token = revoked_token(app, authx)
    store.calls.clear()
    response = ask(app, path="/x", headers=bearer(token))
    assert outcome(response) == OK
    assert response.text == "ann"
    assert (store.calls, asked.asked) == ([], [])
    assert outcome(ask(app, headers=bearer(token))) == REVOKED
    assert (store.calls, asked.asked) == (["find"], [])


@BY_ALL
def test_it_works_while_the_store_is_down(decorate: Decorate | None) -> None:
    app, authx, store, _ = app_of(decorate)
    token = revoked_token(app, authx)
    store.error = ConnectionError("down")
    assert outcome(ask(app, path="/x", headers=bearer(token))) == OK


@BY_ALL
def test_all_else_is_checked(decorate: Decorate | None) -> None:
    app, authx, _, _ = app_of(decorate)
    token = access_token(app, authx, fresh=True, scopes=["a"])
    header, claims, _ = parts(token)
    for invalid, expected in (
        (forge(header, claims, OTHER_SECRET), INVALID),
        (reforge(token, iat=1, nbf=1, exp=2), (401, "TokenExpiredError")),
        (refresh_token(app, authx), (401, "AccessTokenRequiredError")),
    ):
        assert outcome(ask(app, path="/x", headers=bearer(invalid))) == expected
    is_optional = decorate is DECORATORS["optional_token"]
    assert outcome(ask(app, path="/x")) == (OK if is_optional else MISSING)


@pytest.mark.parametrize("inside", [False, True])
def test_a_nested_guard_that_checks_still_does(inside: bool) -> None:
    app, authx, store = spied()
    guards: list[Any] = [authx.token_required(check_revocation=False), authx.token_required]
    guarded: Any = view()
    for guard in guards if inside else reversed(guards):
        guarded = guard(guarded)
    app.add_url_rule("/x", "x", guarded)
    valid, revoked = access_token(app, authx), revoked_token(app, authx)
    store.calls.clear()
    assert outcome(ask(app, path="/x", headers=bearer(valid))) == OK
    assert outcome(ask(app, path="/x", headers=bearer(revoked))) == REVOKED
    assert store.calls == ["find"] * 2


def test_a_view_that_checks_is_checked_in_an_app_that_does_not() -> None:
    app, authx, _ = spied()
    authx.protect(app, check_revocation=False)
    app.add_url_rule("/x", "x", view())
    app.add_url_rule("/y", "y", authx.token_required(view()))
    headers = bearer(revoked_token(app, authx))
    assert outcome(ask(app, path="/x", headers=headers)) == OK
    assert outcome(ask(app, path="/y", headers=headers)) == REVOKED


def test_a_view_can_ask_for_itself() -> None:
    app, authx, _ = spied()

    @app.get("/x")
    @authx.token_required(check_revocation=False)
    def mine() -> str:
        return str(authx.is_revoked(current_token))

    assert ask(app, path="/x", headers=bearer(revoked_token(app, authx))).text == "True"
    assert ask(app, path="/x", headers=bearer(access_token(app, authx))).text == "False"


def test_a_refresh_token_never_goes_unchecked() -> None:
    """It creates others. The error comes when the view is defined."""
    app, authx, _ = spied()
    blueprint = Blueprint("b", __name__)
    define: list[Callable[[], object]] = [
        lambda: authx.token_required(type="refresh", check_revocation=False),
        lambda: authx.optional_token(type="refresh", check_revocation=False),
        lambda: authx.protect(app, type="refresh", check_revocation=False),
        lambda: authx.protect(blueprint, type="refresh", check_revocation=False),
    ]
    for attempt in define:
        with pytest.raises(BadConfigurationError, match="check_revocation=False with a refresh"):
            attempt()
    app.register_blueprint(blueprint)
    # Nothing of it has stayed.
    app.add_url_rule("/x", "x", lambda: "open")
    assert ask(app, path="/x").text == "open"
    untyped: Any = authx
    with pytest.raises(TypeError, match="check_revocation"):
        untyped.refresh_token_required(check_revocation=False)


def test_it_is_listed() -> None:
    """USERS 46"""
    app, authx, _ = spied()
    for name, decorate in DECORATORS.items():
        app.add_url_rule(f"/{name}", name, decorate(authx)(view()))
    runner = app.test_cli_runner()
    table = runner.invoke(group, ["routes"]).stdout
    assert table.count("revocation not") == len(DECORATORS)
    routes = json.loads(runner.invoke(group, ["routes", "--json"]).stdout)["routes"]
    checks = {
        route["endpoint"]: [guard["check_revocation"] for guard in route["guards"]]
        for route in routes
        if route["endpoint"] in {*DECORATORS, "guarded", "refresh"}
    }
    expected: dict[str, list[bool]] = {name: [False] for name in DECORATORS}
    assert checks == {**expected, "guarded": [True], "refresh": [True]}


def test_an_app_wide_rule_is_listed_with_each_of_its_routes() -> None:
    app, authx, _ = spied()
    authx.protect(app, check_revocation=False)
    app.add_url_rule("/x", "x", view())
    table = app.test_cli_runner().invoke(group, ["routes"]).stdout
    # A longer text goes on in the next line.
    assert "/x GET app: access token, revocation not checked" in " ".join(table.split())
