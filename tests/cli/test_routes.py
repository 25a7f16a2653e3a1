"""``flask authx routes``: every rule and what guards it."""

from __future__ import annotations

import functools
import importlib
import json
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
from flask import Blueprint, Flask
from flask.views import MethodView
from werkzeug.routing import Rule

from flask_authx import AuthX
from tests.support import OTHER_SECRET, SECRET
from tests.support.cli import flask, run

# These ship no types.
caching: Any = importlib.import_module("flask_caching")
restful: Any = importlib.import_module("flask_restful")
restx: Any = importlib.import_module("flask_restx")


def new_app(**config: Any) -> tuple[Flask, AuthX]:
    app = Flask("tests", static_folder=None)
    app.config.from_mapping({"JWT_SECRET_KEY": SECRET, **config})
    return app, AuthX(app)


def view() -> Callable[[], str]:
    """A new view, since the audit remembers which functions were guarded."""
    return lambda: ""


def listed(app: Flask, *arguments: str) -> list[tuple[str, str, str]]:
    """Rule, methods and guards of each line of the table."""
    lines = run(app, "routes", *arguments).stdout.splitlines()
    at = lines[0].index("Methods"), lines[0].index("Guarded by")
    return [
        (line[: at[0]].strip(), line[at[0] : at[1]].strip(), line[at[1] :].strip())
        for line in lines[1:]
    ]


def guards(app: Flask, rule: str = "/x") -> dict[str, str]:
    """Of one rule: what guards which methods."""
    return {methods: who for path, methods, who in listed(app) if path == rule}


def test_an_unguarded_view_is_called_so() -> None:
    app, _ = new_app()
    app.add_url_rule("/x", "x", view(), methods=["GET", "POST"])
    assert guards(app) == {"GET POST": "no guard"}


def test_a_guard_is_shown_with_what_it_asks() -> None:
    app, authx = new_app()
    rules = {
        "/access": authx.token_required(view()),
        "/refresh": authx.refresh_token_required(view()),
        "/fresh": authx.fresh_token_required(view()),
        "/scope": authx.scopes_required("a")(view()),
        "/all": authx.scopes_required("a", "b")(view()),
        "/any": authx.scopes_required("a", "b", all_required=False)(view()),
        "/optional": authx.optional_token(view()),
        "/ignore": authx.optional_token(on_invalid="ignore")(view()),
        "/json": authx.token_required(locations=["json", "cookies"])(view()),
        "/user": authx.token_required(user=True)(view()),
        "/open": authx.public(view()),
    }
    for rule, guarded in rules.items():
        app.add_url_rule(rule, rule, guarded)
    assert {rule: who for rule, _, who in listed(app)} == {
        "/user": "view: access token, its user exists",
        "/access": "view: access token",
        "/refresh": "view: refresh token",
        "/fresh": "view: access token, fresh",
        "/scope": "view: access token, scope a",
        "/all": "view: access token, scope a and b",
        "/any": "view: access token, scope a or b",
        "/optional": "view: access token, optional",
        "/ignore": "view: access token, optional, invalid ones ignored",
        "/json": "view: access token, in cookies or json",
        "/open": "public (view)",
    }


def test_blueprint_app_and_setting_are_told_apart() -> None:
    """USERS 46: what guards a view, or doesn't, is in the audit listing."""
    app, authx = new_app()
    for name in ("guarded", "open", "plain"):
        blueprint = Blueprint(name, __name__, url_prefix=f"/{name}", static_folder=".")
        blueprint.add_url_rule("/x", "x", view())
        if name == "guarded":
            authx.protect(blueprint, type="refresh")
        elif name == "open":
            authx.public(blueprint)
        app.register_blueprint(blueprint)
    authx.protect(app)
    assert guards(app, "/guarded/x") == {"GET": "blueprint guarded: refresh token"}
    assert guards(app, "/open/x") == {"GET": "public (blueprint open)"}
    assert guards(app, "/plain/x") == {"GET": "app: access token"}
    static = [route for route in listed(app) if route[0].endswith("<path:filename>")]
    assert {who for _, _, who in static} == {"static files"}


def test_protect_all_is_named_as_the_setting() -> None:
    app, _ = new_app(JWT_PROTECT_ALL=True)
    app.add_url_rule("/x", "x", view())
    assert guards(app) == {"GET": "JWT_PROTECT_ALL: access token"}


def test_methods_of_a_class_are_told_apart() -> None:
    app, authx = new_app()

    class Things(MethodView):
        def get(self) -> str:
            return ""

        @authx.fresh_token_required
        def post(self) -> str:
            return ""

        @authx.fresh_token_required
        def delete(self) -> str:
            return ""

    app.add_url_rule("/x", "x", Things.as_view("things"))
    assert guards(app) == {"GET": "no guard", "DELETE POST": "view: access token, fresh"}


def test_a_method_that_the_class_does_not_name_is_shown_with_its_guard() -> None:
    app, authx = new_app(JWT_PROTECT_ALL=True)

    class Things(MethodView):
        @authx.public
        def get(self) -> str:
            return ""

    app.add_url_rule("/x", view_func=Things.as_view("things"), methods=["GET", "DELETE"])
    assert guards(app) == {"GET": "public (view)", "DELETE": "JWT_PROTECT_ALL: access token"}


def test_a_head_of_its_own_is_shown_and_that_of_get_is_not() -> None:
    app, authx = new_app()

    class Things(MethodView):
        @authx.token_required
        def get(self) -> str:
            return ""

        def head(self) -> str:
            return ""

    app.add_url_rule("/x", "x", Things.as_view("things"))
    assert guards(app) == {"GET": "view: access token", "HEAD": "no guard"}


def test_only_a_view_that_answers_options_itself_shows_it() -> None:
    app, _ = new_app()
    app.add_url_rule("/x", "x", view(), methods=["OPTIONS"])
    app.add_url_rule("/y", "y", view())
    assert guards(app, "/x") == {"OPTIONS": "no guard"}
    assert guards(app, "/y") == {"GET": "no guard"}


def test_a_rule_without_a_view_is_left_out() -> None:
    app, _ = new_app()
    app.url_map.add(Rule("/x", endpoint="nothing"))
    assert listed(app) == []


def test_a_host_stands_before_its_rule() -> None:
    app = Flask("tests", static_folder=None, host_matching=True)
    app.config["JWT_SECRET_KEY"] = SECRET
    AuthX(app)
    app.add_url_rule("/x", "x", view(), host="api.example")
    assert [rule for rule, _, _ in listed(app)] == ["api.example/x"]


def test_all_objects_count_and_one_can_be_chosen() -> None:
    """USERS 91: two named instances in one app."""
    app, authx = new_app(ADMIN_JWT_SECRET_KEY=OTHER_SECRET)
    admin = AuthX(app, name="admin")
    app.add_url_rule("/x", "x", admin.token_required(view()))
    app.add_url_rule("/y", "y", authx.token_required(view()))
    app.add_url_rule("/z", "z", authx.public(view()))
    assert listed(app) == [
        ("/x", "GET", "view: access token [admin]"),
        ("/y", "GET", "view: access token [authx]"),
        ("/z", "GET", "public (view) [authx]"),
    ]
    assert run(app, "routes", "--unguarded").code == 0
    assert [rule for rule, _, _ in listed(app, "--unguarded", "--name", "admin")] == ["/y", "/z"]


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    app, _ = new_app()
    done = run(app, "routes", "--name", "admin")
    assert done.code == 2
    assert "it has authx" in done.stderr


def test_unguarded_lists_what_has_neither_guard_nor_mark_and_fails() -> None:
    app, authx = new_app()
    app.add_url_rule("/forgotten", "forgotten", view())
    app.add_url_rule("/guarded", "guarded", authx.optional_token(view()))
    app.add_url_rule("/open", "open", authx.public(view()))
    done = run(app, "routes", "--unguarded")
    assert done.code == 1
    assert [rule for rule, _, _ in listed(app, "--unguarded")] == ["/forgotten"]
    assert run(app, "routes").code == 0


def test_unguarded_is_content_when_everything_has_a_guard() -> None:
    app, authx = new_app()
    app.add_url_rule("/x", "x", authx.token_required(view()))
    done = run(app, "routes", "--unguarded")
    assert (done.code, listed(app, "--unguarded")) == (0, [])


def test_json_holds_the_demand_in_full() -> None:
    app, authx = new_app()
    app.add_url_rule("/x", "x", authx.scopes_required("a", locations="json")(view()))
    app.add_url_rule("/y", "y", view())
    asked = {
        "instance": "authx",
        "by": "view",
        "type": "access",
        "fresh": False,
        "max_age": None,
        "scopes": ["a"],
        "all_scopes": True,
        "optional": False,
        "on_invalid": "error",
        "locations": ["json"],
        "check_revocation": True,
        "user": False,
    }
    no_guard = {"instance": "authx", "by": "no guard"}
    assert json.loads(run(app, "routes", "--json").stdout) == {
        "problems": [],
        "routes": [
            {
                "rule": f"/{name}",
                "endpoint": name,
                "methods": ["GET"],
                "unguarded": unguarded,
                "guards": [guard],
                "around_guards": [],
            }
            for name, unguarded, guard in (("x", False, asked), ("y", True, no_guard))
        ],
    }


def log(view: Callable[..., str]) -> Callable[..., str]:
    """A decorator as an app has its own."""

    @functools.wraps(view)
    def logged(*args: Any) -> str:
        return view(*args)

    return logged


HERE = f"{__name__}.log"


def test_what_is_around_a_guard_is_shown() -> None:
    app, authx = new_app(CACHE_TYPE="SimpleCache")
    cached: Any = caching.Cache(app).cached(timeout=60)
    guard = authx.token_required
    rules: dict[str, Callable[..., str]] = {
        "/above": log(cached(guard(view()))),
        "/below": guard(log(cached(view()))),
        "/between": guard(log(guard(view()))),
        "/built-in": functools.lru_cache(guard(view())),
        "/method": functools.partial(log(Pages(guard).page), "x"),
        "/other": log(view()),
        "/twice": log(log(guard(view()))),
    }
    for rule, function in rules.items():
        app.add_url_rule(rule, rule, function)
    found = json.loads(run(app, "routes", "--json").stdout)["routes"]
    assert {route["rule"]: route["around_guards"] for route in found} == {
        "/above": [HERE, "flask_caching.Cache.cached"],
        "/below": [],
        "/between": [HERE],
        "/built-in": ["functools._lru_cache_wrapper"],
        "/method": [HERE],
        "/other": [],
        "/twice": [HERE],
    }
    table = " ".join(run(app, "routes").stdout.split())
    assert f"/above GET view: access token; inside {HERE}, flask_caching.Cache.cached" in table
    assert "/below GET view: access token /between" in table


class Pages:
    def __init__(self, guard: Callable[..., Any]) -> None:
        self.page = types.MethodType(guard(one_page), self)


def one_page(owner: object, name: str = "") -> str:
    return name


def test_what_is_around_the_guards_of_a_class_is_shown_by_method() -> None:
    app, authx = new_app()

    class Things(MethodView):
        def get(self) -> str:
            return ""

        @authx.token_required
        def put(self) -> str:
            return ""

        @log
        @authx.token_required
        def post(self) -> str:
            return ""

    class Logged(Things):
        decorators: ClassVar[list[Any]] = [log]

    app.add_url_rule("/x", view_func=Things.as_view("things"))
    app.add_url_rule("/y", view_func=Logged.as_view("logged"))
    assert around(app) == {
        ("/x", "GET"): [],
        ("/x", "PUT"): [],
        ("/x", "POST"): [HERE],
        ("/y", "GET"): [],
        ("/y", "POST PUT"): [HERE],
    }


def around(app: Flask) -> dict[tuple[str, str], list[str]]:
    """By rule and methods: what is around the guards."""
    found = json.loads(run(app, "routes", "--json").stdout)["routes"]
    return {(route["rule"], " ".join(route["methods"])): route["around_guards"] for route in found}


def test_what_frameworks_put_around_every_resource_is_not_shown() -> None:
    app, authx = new_app()
    for number, framework in enumerate((restful, restx)):
        api = framework.Api(Blueprint(f"b{number}", __name__, url_prefix=f"/{number}"))
        methods = {"get": authx.token_required(one_page)}
        api.add_resource(type("Thing", (framework.Resource,), methods), "/x")
        app.register_blueprint(api.blueprint)
    assert not any(around(app).values())


def test_an_open_log_in_is_public() -> None:
    app, authx = new_app(JWT_BLOCKLIST="memory://", JWT_SESSIONS=True)
    app.register_blueprint(authx.blueprint(authenticate=lambda: "ann", ready=True))
    app.add_url_rule("/sign-in", "sign-in", authx.public(view()), methods=["POST"])
    found = {rule: who for rule, _, who in listed(app) if rule != "/auth/sessions"}
    assert found == {
        "/auth/login": "public (view)",
        "/auth/logout": "AuthX blueprint",
        "/auth/ready": "public (view)",
        "/auth/refresh": "AuthX blueprint",
        "/auth/sessions/<sid>": "view: access token",
        "/sign-in": "public (view)",
    }
    assert not any(around(app).values())


@pytest.mark.parametrize("rules", [["/x"], ["/x", "/a/rule/of/quite/some/<string:length>/it/is"]])
def test_the_table_fits_80_columns(rules: list[str]) -> None:
    app, authx = new_app()
    guarded = authx.scopes_required("users:read", "users:write", "admin:users", locations="json")
    for rule in rules:
        app.add_url_rule(rule, rule, guarded(view()), methods=["GET", "POST", "PUT", "DELETE"])
    lines = run(app, "routes").stdout.splitlines()
    assert max(map(len, lines)) <= 80
    for word in (*rules, "DELETE GET POST PUT", "users:write", "admin:users,"):
        assert any(word in line for line in lines)


@pytest.mark.parametrize(
    "arguments", [(), ("--unguarded",), ("--json",), ("--unguarded", "--json")]
)
def test_a_misplaced_guard_is_an_error_in_each_form(arguments: tuple[str, ...]) -> None:
    """USERS 84: a guard above ``@route`` is detected."""
    app, authx = new_app(ADMIN_JWT_SECRET_KEY=OTHER_SECRET)
    AuthX(app, name="admin")
    unguarded = view()
    app.add_url_rule("/x", "x", unguarded)
    authx.token_required(unguarded)
    done = run(app, "routes", *arguments)
    assert done.code == 1
    assert done.output.count("protects nothing") == 1
    assert ("protects nothing" in done.stdout) is ("--json" in arguments)


def test_an_app_without_authx_is_told_of_init_app() -> None:
    done = run(Flask("tests"), "routes")
    assert done.code == 1
    assert "init_app" in done.stderr
    assert "Traceback" not in done.output


APP = """
from flask import Flask
from flask_authx import AuthX

def create_app():
    app = Flask(__name__, static_folder=None)
    app.config["JWT_SECRET_KEY"] = {secret!r}
    authx = AuthX(app)

    @app.get("/profile")
    @authx.token_required
    def profile():
        return ""

    return app
"""


@pytest.mark.slow
def test_routes_as_a_user_types_it(tmp_path: Path) -> None:
    (tmp_path / "service.py").write_text(APP.format(secret=SECRET))
    done = flask(tmp_path, "--app", "service", "authx", "routes")
    assert done.code == 0, done.stderr
    assert done.stdout.split("\n")[1].split() == ["/profile", "GET", "view:", "access", "token"]


@pytest.mark.slow
def test_an_app_that_can_not_be_set_up_says_why_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "service.py").write_text(APP.format(secret="short"))
    done = flask(tmp_path, "--app", "service", "authx", "routes")
    assert done.code == 1
    assert "Error: JWT_SECRET_KEY" in done.stderr
    assert "Traceback" not in done.stderr
