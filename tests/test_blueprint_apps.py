"""How the blueprint goes together with the rest of an app."""

from __future__ import annotations

import json

import pytest
from click.testing import Result
from flask import Blueprint, Flask

from flask_authx import AuthX, BadConfigurationError
from flask_authx.cli import authx as group
from tests.support import OTHER_SECRET, SECRET, Clock, bearer
from tests.support.answers import ACCESS_COOKIE, MISSING, OK, Outcome, ask, outcome
from tests.support.browsers import (
    REFRESH_CSRF,
    browser_app,
    cookies_in,
    csrf,
    plain_app,
)

FROM_HERE = {"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost"}


def test_a_protected_app_leaves_its_views_to_themselves() -> None:
    app, _ = browser_app(authenticate=lambda: "ann", PROTECT_ALL=True)
    app.add_url_rule("/unmarked", "unmarked", lambda: "")
    assert outcome(ask(app, path="/unmarked")) == MISSING
    client = app.test_client()
    assert outcome(client.post("/auth/login", headers=FROM_HERE)) == OK
    assert outcome(client.get("/auth/sessions")) == OK
    assert outcome(client.post("/auth/refresh", headers=csrf(client, REFRESH_CSRF))) == OK
    assert outcome(client.post("/auth/logout", headers=csrf(client))) == Outcome(204)
    assert outcome(ask(app, path="/auth/sessions")) == MISSING


def test_a_protected_blueprint_around_it_leaves_its_views_to_themselves() -> None:
    app, authx = plain_app(home=None, BLOCKLIST="memory://", SESSIONS=True)
    outer = Blueprint("outer", __name__, url_prefix="/api")
    outer.add_url_rule("/view", "view", lambda: "")
    outer.register_blueprint(authx.blueprint(authenticate=lambda: "ann"))
    authx.protect(outer)
    app.register_blueprint(outer)
    assert outcome(ask(app, path="/api/view")) == MISSING
    client = app.test_client()
    assert outcome(client.post("/api/auth/login", headers=FROM_HERE)) == OK
    assert outcome(client.post("/api/auth/logout", headers=csrf(client))) == Outcome(204)


def test_without_a_store_of_sessions_it_is_an_error_at_start_up() -> None:
    app, authx = plain_app(home=None)
    app.register_blueprint(authx.blueprint())
    with pytest.raises(BadConfigurationError, match="JWT_SESSIONS"):
        app.test_client().get("/auth/sessions")


def two() -> Flask:
    """An app with two objects, each with a blueprint and cookies of its own."""
    app, _ = browser_app(authenticate=lambda: "ann")
    names = {"ACCESS_COOKIE_NAME", "REFRESH_COOKIE_NAME"} | {
        f"{which}_CSRF_COOKIE_NAME" for which in ("ACCESS", "REFRESH")
    }
    app.config.from_mapping({f"ADMIN_JWT_{name}": f"admin_{name.lower()}" for name in names})
    app.config.from_mapping(
        ADMIN_JWT_SECRET_KEY=OTHER_SECRET,
        ADMIN_JWT_TOKEN_LOCATION=["headers", "cookies"],
        ADMIN_JWT_BLOCKLIST="memory://",
        ADMIN_JWT_SESSIONS=True,
    )
    admin = AuthX(app, name="admin", clock=Clock())
    app.register_blueprint(admin.blueprint("/admin/auth", authenticate=lambda: "root"))
    return app


def test_two_objects_have_a_blueprint_each() -> None:
    """USERS 91"""
    app = two()
    client = app.test_client()
    for path, name in (("/auth", ACCESS_COOKIE), ("/admin/auth", "admin_access_cookie_name")):
        response = client.post(f"{path}/login", headers=FROM_HERE)
        assert len([one for one in cookies_in(response) if one == name]) == 1
        paths = {part for one in cookies_in(response).values() for part in one.attributes}
        assert f"Path={path}" in paths
    (own,) = client.get("/auth/sessions").get_json()["sessions"]
    (other,) = client.get("/admin/auth/sessions").get_json()["sessions"]
    assert own["sid"] != other["sid"]
    assert outcome(client.post("/auth/logout", headers=csrf(client))) == Outcome(204)
    assert outcome(client.get("/auth/sessions")) == MISSING
    assert outcome(client.get("/admin/auth/sessions")) == OK


def test_a_token_of_one_opens_nothing_of_the_other() -> None:
    app = two()
    token = ask(app, "POST", "/auth/login").get_json()["access_token"]
    assert outcome(ask(app, path="/auth/sessions", headers=bearer(token))) == OK
    assert ask(app, path="/admin/auth/sessions", headers=bearer(token)).status_code == 401


def test_one_object_serves_two_apps() -> None:
    """DESIGN 5.7"""
    authx = AuthX(clock=Clock())
    blueprint = authx.blueprint(authenticate=lambda: "ann")
    apps: list[Flask] = []
    for secret in (SECRET, OTHER_SECRET):
        app = Flask("tests")
        app.config.from_mapping(JWT_SECRET_KEY=secret, JWT_BLOCKLIST="memory://", JWT_SESSIONS=True)
        authx.init_app(app)
        app.register_blueprint(blueprint)
        apps.append(app)
    token = ask(apps[0], "POST", "/auth/login").get_json()["access_token"]
    responses = [ask(app, path="/auth/sessions", headers=bearer(token)) for app in apps]
    assert [response.status_code for response in responses] == [200, 401]


def run(app: Flask, *arguments: str) -> Result:
    return app.test_cli_runner().invoke(group, ["routes", *arguments])


def test_the_routes_say_who_guards_its_views() -> None:
    """None of them counts as unguarded."""
    app, _ = browser_app(authenticate=lambda: "ann")
    found = json.loads(run(app, "--json").stdout)["routes"]
    by_rule = {
        (route["rule"], method): route
        for route in found
        if route["endpoint"].startswith("authx.")
        for method in route["methods"]
    }
    who = {key: {guard["by"] for guard in route["guards"]} for key, route in by_rule.items()}
    assert who == {
        ("/auth/login", "POST"): {"view"},
        ("/auth/logout", "POST"): {"AuthX blueprint"},
        ("/auth/refresh", "POST"): {"AuthX blueprint"},
        ("/auth/sessions", "GET"): {"view"},
        ("/auth/sessions", "DELETE"): {"view"},
        ("/auth/sessions/<sid>", "DELETE"): {"view"},
    }
    assert not any(route["unguarded"] for route in by_rule.values())
    assert "/auth" not in run(app, "--unguarded").stdout
    assert "/auth/refresh" in run(app).stdout


def test_views_that_an_app_adds_to_the_blueprint_are_guarded_like_others() -> None:
    """Its own are public where they must be; nothing else is."""
    app = Flask("tests")
    app.config.from_mapping(
        JWT_SECRET_KEY=SECRET, JWT_PROTECT_ALL=True, JWT_SESSIONS=True, JWT_BLOCKLIST="memory://"
    )
    authx = AuthX(app, clock=Clock())
    blueprint = authx.blueprint()
    blueprint.add_url_rule("/secret", "secret", lambda: "in")
    app.register_blueprint(blueprint)
    assert ask(app, path="/auth/secret").status_code == 401
    assert outcome(ask(app, "POST", "/auth/logout")) == Outcome(204)


# Several blueprints


def test_two_blueprints_on_one_path_are_refused() -> None:
    app = Flask("tests")
    app.testing = True
    for prefix, secret in (("JWT_", SECRET), ("ADMIN_JWT_", SECRET[::-1])):
        app.config[f"{prefix}SECRET_KEY"] = secret
        app.config[f"{prefix}SESSIONS"] = True
        app.config[f"{prefix}BLOCKLIST"] = "memory://"
    authx, admin = AuthX(app), AuthX(app, name="admin")
    app.register_blueprint(authx.blueprint())
    app.register_blueprint(admin.blueprint())
    with pytest.raises(BadConfigurationError, match="url_prefix"):
        ask(app)


def test_blueprints_on_other_hosts_or_several_paths_are_fine() -> None:
    app = Flask("tests", subdomain_matching=True)
    app.testing = True
    app.config["SERVER_NAME"] = "example.org"
    for prefix, secret in (("JWT_", SECRET), ("ADMIN_JWT_", SECRET[::-1])):
        app.config[f"{prefix}SECRET_KEY"] = secret
        app.config[f"{prefix}SESSIONS"] = True
        app.config[f"{prefix}BLOCKLIST"] = "memory://"
        app.config[f"{prefix}ENCODE_ISSUER"] = "https://example.org"
    authx, admin = AuthX(app, clock=Clock()), AuthX(app, name="admin", clock=Clock())
    for version in ("v1", "v2"):
        outer = Blueprint(version, __name__, url_prefix=f"/{version}")
        outer.register_blueprint(authx.blueprint())
        app.register_blueprint(outer, subdomain="www")
    app.register_blueprint(admin.blueprint("/v1/auth"), subdomain="admin")
    assert ask(app, base_url="http://www.example.org").status_code == 404


@pytest.mark.parametrize(
    "scopes",
    [("users", "users"), (None, "authx"), ("admin", None)],
    ids=["both", "the name of the other", "the name of the next"],
)
@pytest.mark.parametrize("issuer", [None, "https://example.org"])
def test_two_objects_have_no_scope_in_common(
    scopes: tuple[str | None, str | None], issuer: str | None
) -> None:
    """However their stores are spelled: they may be one all the same."""
    stores = ("redis://127.0.0.1:6379/15", "redis://localhost/15")
    with pytest.raises(BadConfigurationError, match="ADMIN_JWT_STORE_SCOPE"):
        two_objects(stores, scopes, (issuer, issuer))


@pytest.mark.parametrize(
    ("scopes", "issuers"),
    [
        ((None, None), (None, None)),
        ((None, None), ("https://a.example", "https://a.example")),
        (("users", "admins"), (None, None)),
        (("users", "users"), ("https://a.example", "https://b.example")),
        (("users", "users"), (None, "https://b.example")),
    ],
)
def test_two_objects_with_scopes_of_their_own_share_a_store(
    scopes: tuple[str | None, str | None], issuers: tuple[str | None, str | None]
) -> None:
    url = "redis://127.0.0.1:6379/15"
    app = two_objects((url, url), scopes, issuers)
    assert len(app.extensions["authx"]) == 2


def two_objects(
    stores: tuple[str, str],
    scopes: tuple[str | None, str | None],
    issuers: tuple[str | None, str | None],
) -> Flask:
    """An app with two objects, and these settings of the one and the other."""
    app = Flask("tests")
    prefixes, secrets = ("JWT_", "ADMIN_JWT_"), (SECRET, SECRET[::-1])
    for prefix, secret, store, scope, issuer in zip(
        prefixes, secrets, stores, scopes, issuers, strict=True
    ):
        app.config[f"{prefix}SECRET_KEY"] = secret
        app.config[f"{prefix}BLOCKLIST"] = store
        app.config[f"{prefix}STORE_SCOPE"] = scope
        app.config[f"{prefix}ENCODE_ISSUER"] = issuer
    AuthX(app)
    AuthX(app, name="admin")
    return app
