"""Runs each section of docs/works-with.md with the library that it is about."""

from __future__ import annotations

import asyncio
import http.client
import importlib
import importlib.util
import json
import os
import shlex
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask, render_template_string, request
from flask.testing import FlaskClient
from werkzeug.exceptions import HTTPException
from werkzeug.test import TestResponse

from flask_authx import AuthX, AuthXException, current_token
from tests.docs.support import blocks, headings, section, section_text
from tests.stores.sql.test_migrate import run_flask
from tests.support import ROOT, SECRET, access_token, bearer
from tests.support.answers import (
    INVALID,
    MISSING,
    NO_CSRF,
    OK,
    Outcome,
    ask,
    outcome,
)
from tests.support.browsers import COOKIES
from tests.support.cli import run
from tests.support.servers.running import serving

PAGE = "works-with"
ANN = {"name": "ann", "password": "correct horse"}

# Some ship no types; as values of type Any they infect nothing.
restful: Any = importlib.import_module("flask_restful")
restx: Any = importlib.import_module("flask_restx")
caching: Any = importlib.import_module("flask_caching")
limiting: Any = importlib.import_module("flask_limiter")
socketio: Any = importlib.import_module("flask_socketio")
flask_sock: Any = importlib.import_module("flask_sock")
websocket: Any = importlib.import_module("simple_websocket")
flask_admin: Any = importlib.import_module("flask_admin")
asgi_testing: Any = importlib.import_module("asgiref.testing")


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLASK_SECRET_KEY", f"flask-{SECRET}")
    monkeypatch.setenv("FLASK_JWT_STORE_TIMEOUT", "10")


def holder(names: SimpleNamespace, uid: str = "ann", **kwargs: Any) -> dict[str, str]:
    """The header of a user's access token."""
    return bearer(access_token(names.app, names.authx, uid, **kwargs))


def new_app(**config: Any) -> Flask:
    """An app with a secret, before ``AuthX`` is set up on it."""
    app = Flask("tests")
    app.config.from_mapping(JWT_SECRET_KEY=SECRET, **config)
    return app


def handled(error: Exception) -> tuple[str, int]:
    """An error handler of an app."""
    return "handled", 401


def failing(token: str) -> bool:
    """A revocation callback that fails."""
    raise OSError


def refusals(app: Flask, path: str, method: str = "GET", **kwargs: Any) -> None:
    """Errors keep their status, their JSON and their challenge."""
    missing = ask(app, method, path, **kwargs)
    assert outcome(missing) == MISSING
    assert missing.headers.getlist("WWW-Authenticate") == ['Bearer realm="api"']
    invalid = ask(app, method, path, headers=bearer("a.b.c"), **kwargs)
    assert outcome(invalid) == INVALID
    assert 'error="invalid_token"' in invalid.headers["WWW-Authenticate"]


WITH_CODE = [one for one in headings(PAGE) if blocks(section_text(PAGE, one), "python")]


@pytest.mark.parametrize("heading", WITH_CODE)
def test_every_section_is_a_program_of_its_own(heading: str) -> None:
    with section(PAGE, heading) as names:
        assert isinstance(names.app, Flask)
        assert ask(names.app, path="/no-such-page").status_code in {401, 404}


# APIs


def test_flask_restful() -> None:
    with section(PAGE, "Flask-RESTful") as names:
        # It is not called.
        names.app.register_error_handler(AuthXException, handled)
        refusals(names.app, "/profile")
        assert ask(names.app, path="/profile", headers=holder(names)).json == {"user": "ann"}


@pytest.mark.parametrize("all_protected", [False, True])
def test_flask_restful_s_method_decorators_are_seen(all_protected: bool) -> None:
    app = new_app(JWT_PROTECT_ALL=all_protected)
    authx = AuthX(app)

    def get(self: object) -> dict[str, str]:
        return {"user": current_token.sub}

    members = {"method_decorators": [authx.refresh_token_required], "get": get}
    restful.Api(app).add_resource(type("Renew", (restful.Resource,), members), "/renew")
    with app.app_context():
        token = authx.create_refresh_token("ann")
    assert outcome(ask(app, path="/renew", headers=bearer(token))) == OK
    assert outcome(ask(app, path="/renew")) == MISSING
    assert "/renew" not in run(app, "routes", "--unguarded").stdout


def test_flask_restx() -> None:
    with section(PAGE, "Flask-RESTX") as names:
        for path in ("/", "/swagger.json", "/swaggerui/swagger-ui.css"):
            with closing(ask(names.app, path=path)) as response:
                assert response.status_code == 200
        refusals(names.app, "/profile")
        spec: Any = ask(names.app, path="/swagger.json").json
        assert spec["security"] == [{"bearer": []}]
        assert ask(names.app, path="/profile", headers=holder(names)).json == {"user": "ann"}


def test_flask_restx_sends_the_body_of_the_error() -> None:
    app = new_app(JWT_PROTECT_ALL=True, JWT_ERROR_MESSAGE_KEY="message")
    AuthX(app)
    app.register_error_handler(AuthXException, handled)
    api = restx.Api(app)

    def other(error: Exception) -> tuple[dict[str, str], int]:
        return {"message": "no"}, 401

    def get(self: object) -> dict[str, str]:
        return {}

    api.errorhandler(AuthXException)(other)
    api.add_resource(type("Guarded", (restx.Resource,), {"get": get}), "/guarded")
    refused = ask(app, path="/guarded")
    assert refused.json == {"message": "A token is required", "error_type": "MissingTokenError"}
    # Unlike its documentation, unless that is public.
    assert outcome(ask(app, path="/swagger.json")) == MISSING


def test_flask_restx_on_a_blueprint() -> None:
    app = Flask("tests")
    blueprint = importlib.import_module("flask").Blueprint("api", "tests")
    restx.Api(blueprint)
    app.register_blueprint(blueprint)
    assert {"api.doc", "api.specs"} <= app.view_functions.keys()


def test_flask_smorest() -> None:
    with section(PAGE, "flask-smorest") as names:
        spec: Any = ask(names.app, path="/openapi.json").json
        assert spec["paths"]["/notes"]["post"]["security"] == [{"bearer": []}]
        assert ask(names.app, path="/docs").status_code == 200
        refusals(names.app, "/notes", "POST", json={})
        writer = holder(names, scopes=["notes:write"])
        assert ask(names.app, "POST", "/notes", json={}, headers=writer).status_code == 422
        written = ask(names.app, "POST", "/notes", json={"text": "x"}, headers=writer)
        assert written.json == {"user": "ann", "text": "x"}


def test_apiflask() -> None:
    with section(PAGE, "APIFlask") as names:
        spec: Any = ask(names.app, path="/openapi.json").json
        assert spec["paths"]["/notes"]["post"]["security"] == [{"bearer": []}]
        assert spec["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
        assert ask(names.app, path="/docs").status_code == 200
        refusals(names.app, "/notes", "POST", json={})
        writer = holder(names, scopes=["notes:write"])
        assert ask(names.app, "POST", "/notes", json={}, headers=writer).status_code == 422
        written = ask(names.app, "POST", "/notes", json={"text": "x"}, headers=writer)
        assert written.json == {"user": "ann", "text": "x"}


@pytest.mark.parametrize("heading", ["flask-smorest", "APIFlask"])
def test_a_handler_of_the_app_is_called(heading: str) -> None:
    with section(PAGE, heading) as names:
        names.app.register_error_handler(AuthXException, handled)
        response = ask(names.app, "POST", "/notes", json={})
        assert (response.status_code, response.text) == (401, "handled")


@pytest.mark.parametrize("heading", ["flask-smorest", "APIFlask"])
def test_documentation_needs_a_token_unless_it_is_public(
    heading: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def public(self: AuthX, target: object) -> object:
        return target

    monkeypatch.setattr(AuthX, "public", public)
    with section(PAGE, heading) as names:
        assert outcome(ask(names.app, path="/openapi.json")) == MISSING
        assert outcome(ask(names.app, path="/docs")) == MISSING


# Browsers


def test_flask_cors() -> None:
    with section(PAGE, "Flask-CORS") as names:
        client = names.app.test_client()
        page = {"Origin": names.PAGE}
        preflight = client.options(
            "/notes",
            headers={
                **page,
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "X-CSRF-TOKEN",
            },
        )
        assert preflight.status_code == 200
        assert preflight.headers["Access-Control-Allow-Origin"] == names.PAGE
        assert preflight.headers["Access-Control-Allow-Credentials"] == "true"
        assert preflight.headers["Access-Control-Allow-Headers"] == "X-CSRF-TOKEN"
        refused = client.get("/csrf", headers=page)
        assert outcome(refused) == MISSING
        assert refused.headers["Access-Control-Allow-Origin"] == names.PAGE
        exposed = refused.headers["Access-Control-Expose-Headers"]
        assert {one.strip() for one in exposed.split(",")} == {"WWW-Authenticate", "Retry-After"}

        elsewhere = client.post("/auth/login", json=ANN, headers={"Origin": "https://evil.test"})
        assert outcome(elsewhere) == Outcome(403, "CrossOriginError")
        assert "Access-Control-Allow-Origin" not in elsewhere.headers
        logged_in = client.post("/auth/login", json=ANN, headers=page)
        assert outcome(logged_in) == OK
        cookies = logged_in.headers.getlist("Set-Cookie")
        assert {one.partition("=")[0] for one in cookies} == COOKIES
        assert all("SameSite=None" in one and "Secure" in one for one in cookies)
        assert outcome(client.post("/notes", headers=page)) == NO_CSRF
        csrf: Any = client.get("/csrf", headers=page).json
        written = client.post("/notes", headers={**page, "X-CSRF-TOKEN": csrf["csrf"]})
        assert written.json == {"user": "ann"}
        refresh_csrf: Any = client.get("/auth/csrf", headers=page).json
        headers = {**page, "X-CSRF-TOKEN": refresh_csrf["csrf"]}
        assert outcome(client.post("/auth/refresh", headers=headers)) == OK
        stolen = client.get("/csrf", headers={"Origin": "https://evil.test"})
        assert "Access-Control-Allow-Origin" not in stolen.headers


def test_a_preflight_passes_where_every_view_needs_a_token(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FLASK_JWT_PROTECT_ALL", "true")
    with section(PAGE, "Flask-CORS") as names:
        headers = {"Origin": names.PAGE, "Access-Control-Request-Method": "POST"}
        assert ask(names.app, "OPTIONS", "/notes", headers=headers).status_code == 200


def fields(text: str) -> dict[str, str]:
    """The hidden fields of a form."""
    soup: Any = importlib.import_module("bs4").BeautifulSoup(text, "html.parser")
    return {one["name"]: one["value"] for one in soup.find_all("input", type="hidden")}


def test_flask_wtf() -> None:
    with section(PAGE, "Flask-WTF") as names:
        client: FlaskClient = names.app.test_client()
        assert client.post("/login", data=ANN).status_code == 400
        form = fields(client.get("/login").text)
        assert form.keys() == {"csrf_token"}
        assert client.post("/login", data={**form, **ANN}).location == "/notes"
        both = fields(client.get("/notes").text)
        assert both.keys() == {"csrf_token", "authx_csrf"}
        assert outcome(client.post("/notes", data=both)) == OK
        assert client.post("/notes", data={"authx_csrf": both["authx_csrf"]}).status_code == 400
        assert outcome(client.post("/notes", data={"csrf_token": both["csrf_token"]})) == NO_CSRF
        script = {"X-CSRFToken": both["csrf_token"], "X-CSRF-TOKEN": both["authx_csrf"]}
        assert outcome(client.post("/api/notes")) == NO_CSRF
        only_ours = {"X-CSRF-TOKEN": both["authx_csrf"]}
        assert client.post("/api/notes", headers=only_ours).json == {"user": "ann"}
        assert outcome(client.post("/notes", headers=script)) == OK
        assert outcome(client.post("/auth/logout", headers=only_ours)) == Outcome(204)


# Limits and caches


def statuses(response_of: Callable[[], TestResponse], times: int) -> list[int]:
    return [response_of().status_code for _ in range(times)]


def test_flask_limiter_by_user_and_tighter_for_log_in_and_refresh() -> None:
    with section(PAGE, "Flask-Limiter") as names:
        ann, bob = holder(names), holder(names, "bob")
        seen = statuses(lambda: ask(names.app, path="/notes", headers=ann), 101)
        assert seen == [200] * 100 + [429]
        assert ask(names.app, path="/notes", headers=bob).json == {"user": "bob"}
        # Those whom the guard refuses are counted by their address.
        seen = statuses(lambda: ask(names.app, path="/notes"), 50)
        seen += statuses(lambda: ask(names.app, path="/notes", headers=bearer("x.y.z")), 51)
        assert seen == [401] * 100 + [429]
        names.limiter.reset()

        wrong = {**ANN, "password": "x"}
        seen = statuses(lambda: ask(names.app, "POST", "/login", json=wrong), 6)
        assert seen == [401] * 5 + [429]
        names.limiter.reset()
        pair: Any = ask(names.app, "POST", "/login", json=ANN).json
        headers = bearer(pair["refresh_token"])
        seen = statuses(lambda: ask(names.app, "POST", "/auth/refresh", headers=headers), 11)
        assert seen == [200] * 10 + [429]


def test_flask_limiter_while_the_store_fails() -> None:
    """The limit is that of the address, and nobody passes the guard."""
    with section(PAGE, "Flask-Limiter") as names:
        headers = [holder(names, uid) for uid in ("ann", "bob")]
        names.authx.token_blocklist(failing)
        seen = [
            ask(names.app, path="/notes", headers=headers[n % 2]).status_code for n in range(101)
        ]
        assert seen == [503] * 100 + [429]


@pytest.mark.parametrize("ignores", [True, False])
def test_flask_limiter_takes_a_503_of_the_key_for_one_of_its_storage(ignores: bool) -> None:
    app = new_app()
    authx = AuthX(app)
    authx.token_blocklist(failing)
    limiting.Limiter(
        lambda: str(authx.identify(optional=True, on_error="ignore" if ignores else "raise")),
        app=app,
        default_limits=["1 per hour"],
        storage_uri="memory://",
        swallow_errors=True,
    )
    app.add_url_rule("/open", "open", lambda: "")
    headers = bearer(access_token(app, authx))
    seen = statuses(lambda: ask(app, path="/open", headers=headers), 2)
    assert seen == ([200, 429] if ignores else [200, 200])


def limited(key: Callable[[], str], *, guard_first: bool) -> tuple[Flask, AuthX]:
    """An app with a limit of one request, whose guard is on the view or comes first."""
    app = new_app(JWT_PROTECT_ALL=guard_first)
    authx = AuthX(app)
    limiting.Limiter(key, app=app, default_limits=["1 per hour"], storage_uri="memory://")
    app.add_url_rule("/guarded", "guarded", authx.token_required(lambda: current_token.sub))
    app.add_url_rule("/open", "open", lambda: "")
    return app, authx


def test_flask_limiter_s_default_limits_come_before_a_guard_on_the_view() -> None:
    def user() -> str:
        return current_token.sub if current_token else request.remote_addr or ""

    app, authx = limited(user, guard_first=False)
    asked = [
        ask(app, headers=bearer(access_token(app, authx, one))).status_code
        for one in ("ann", "bob")
    ]
    assert asked == [200, 429]
    app, authx = limited(user, guard_first=True)
    asked = [
        ask(app, path="/open", headers=bearer(access_token(app, authx, one))).status_code
        for one in ("ann", "bob")
    ]
    assert asked == [200, 200]


def test_flask_limiter_with_a_key_that_needs_a_token_is_a_500() -> None:
    app, _ = limited(lambda: current_token.sub, guard_first=False)
    assert ask(app, path="/open").status_code == 500


def test_flask_babel() -> None:
    with section(PAGE, "Flask-Babel") as names:
        german = holder(names, data={"locale": "de"})
        french = {"Accept-Language": "fr"}
        assert ask(names.app, headers=german | french, path="/").json == {"locale": "de"}
        assert ask(names.app, headers=holder(names) | french, path="/").json == {"locale": "fr"}
        assert ask(names.app, headers=bearer("x.y.z") | french, path="/").json == {"locale": "fr"}
        response = ask(names.app, path="/")
        assert response.json == {"locale": "en"}
        assert "authorization" in {name.lower() for name in response.vary}
        with names.app.app_context():
            assert str(names.get_locale()) == "en"
        names.authx.token_blocklist(failing)
        assert ask(names.app, headers=german | french, path="/").json == {"locale": "fr"}


def test_flask_caching_below_the_guard() -> None:
    with section(PAGE, "Flask-Caching") as names:
        for path, shown in (("/profile", "{}"), ("/notes", "a note of {}")):
            for user in ("ann", "bob", "ann"):
                response = ask(names.app, path=path, headers=holder(names, user))
                assert f'"{shown.format(user)}"' in response.text
            assert outcome(ask(names.app, path=path)) == MISSING
        assert names.cache.get("ann /profile?") == {"user": "ann"}


@pytest.mark.parametrize("above", [True, False])
def test_flask_caching_in_the_wrong_place_leaks(above: bool) -> None:
    """Above the guard to any client; below it, without a key for each user, to the next user."""
    app = new_app(CACHE_TYPE="SimpleCache")
    authx = AuthX(app)
    cached = caching.Cache(app).cached(timeout=60)

    def view() -> str:
        return current_token.sub

    guarded: Any = (
        cached(authx.token_required(view)) if above else authx.token_required(cached(view))
    )
    app.add_url_rule("/guarded", "guarded", guarded)
    anns, bobs = (bearer(access_token(app, authx, one)) for one in ("ann", "bob"))
    assert ask(app, headers=anns).text == "ann"
    assert ask(app, headers=bobs).text == "ann"
    anonymous = ask(app)
    assert anonymous.status_code == (200 if above else 401)
    assert (anonymous.text == "ann") is above


# Admin pages


def set_up_babel(app: Flask) -> None:
    """Where Flask-Babel is installed, Flask-Admin renders no page of an app without it."""
    if importlib.util.find_spec("flask_babel") is not None:
        importlib.import_module("flask_babel").Babel(app)


def admin_client(names: SimpleNamespace, **kwargs: Any) -> tuple[FlaskClient, str]:
    """A browser with the cookie of a user, and the CSRF value of the token."""
    set_up_babel(names.app)
    client: FlaskClient = names.app.test_client()
    token = access_token(names.app, names.authx, **kwargs)
    client.set_cookie("__Host-access_token", token, secure=True)
    with names.app.app_context():
        return client, names.authx.decode_token(token).csrf


def test_flask_admin_with_tokens() -> None:
    with section(PAGE, "Flask-Admin") as names:
        client, csrf = admin_client(names, scopes=["admin"])
        https = {"base_url": "https://localhost"}
        assert client.get("/admin/", **https).status_code == 200
        form = client.get("/admin/note/new/", **https)
        assert f'value="{csrf}"' in form.text
        refused = client.post("/admin/note/new/", data={"text": "x"}, **https)
        assert refused.location == "/login"
        sent = {"text": "first", "csrf_token": csrf}
        assert client.post("/admin/note/new/", data=sent, **https).location == "/admin/note/"
        listed = client.get("/admin/note/", **https)
        assert "first" in listed.text
        assert "cookie" in {name.lower() for name in listed.vary}
        assert f'value="{csrf}"' in listed.text
        deleted = {"id": "1", "csrf_token": csrf}
        client.post("/admin/note/delete/", data=deleted, **https)
        assert "first" not in client.get("/admin/note/", **https).text
        plain = names.app.test_client()
        held = access_token(names.app, names.authx, scopes=["notes"])
        plain.set_cookie("__Host-access_token", held, secure=True)
        for other in (names.app.test_client(), plain):
            assert other.get("/admin/", **https).location == "/login"
            assert other.get("/admin/note/", **https).location == "/login"
            assert other.post("/admin/note/new/", data=sent, **https).location == "/login"


def test_flask_admin_asks_the_callback_once_a_page() -> None:
    with section(PAGE, "Flask-Admin") as names:
        asked: list[str] = []

        def is_revoked(token: str) -> bool:
            asked.append(token)
            return False

        names.authx.token_blocklist(is_revoked)
        client, _ = admin_client(names, scopes=["admin"])
        assert client.get("/admin/note/", base_url="https://localhost").status_code == 200
        assert len(asked) == 1


def test_flask_login_and_flask_admin() -> None:
    with section(PAGE, "Flask-Login and Flask-Admin") as names:
        app: Flask = names.app
        set_up_babel(app)
        assert ask(app, path="/admin/").location == "/login"
        assert ask(app, path="/admin/", headers=holder(names)).location == "/login"
        refusals(app, "/api/profile")
        assert ask(app, path="/api/profile", headers=holder(names)).json == {"user": "ann"}
        seen: dict[str, int] = {}
        for user in ("ann", "bob"):
            client = app.test_client()
            with client.session_transaction() as session:
                session["_user_id"] = user
            seen[user] = client.get("/admin/").status_code
            assert outcome(client.get("/api/profile")) == MISSING
        assert seen == {"ann": 200, "bob": 302}
        with app.test_request_context():
            assert render_template_string("{{ current_user.is_anonymous }}") == "True"


@pytest.mark.parametrize("public", [None, "admin", "report"])
def test_flask_admin_where_every_view_needs_a_token(public: str | None) -> None:
    app = new_app(JWT_PROTECT_ALL=True)
    authx = AuthX(app)

    def index(self: object) -> str:
        return "report"

    members = {"index": flask_admin.expose("/")(index)}
    report: Any = type("Report", (flask_admin.BaseView,), members)
    set_up_babel(app)
    flask_admin.Admin(app).add_view(report(endpoint="report"))
    if public is not None:
        authx.public(app.blueprints[public])
    seen = {name: ask(app, path=path).status_code for name, path in ADMIN_PAGES.items()}
    assert seen == {name: 200 if name == public else 401 for name in ADMIN_PAGES}


ADMIN_PAGES = {"admin": "/admin/", "report": "/admin/report/"}


# WebSockets


def test_flask_socketio() -> None:
    with section(PAGE, "Flask-SocketIO") as names:
        token = access_token(names.app, names.authx)

        def connect(auth: Any) -> Any:
            return names.socketio.test_client(names.app, auth=auth)

        for auth in (None, {}, {"token": "a.b.c"}, {"token": 1}):
            assert not connect(auth).is_connected()
        client = connect({"token": token})
        assert client.is_connected()
        client.emit("note", "x")
        assert client.get_received() == [
            {"name": "saved", "args": [{"user": "ann", "text": "x"}], "namespace": "/"}
        ]
        with names.app.app_context():
            names.authx.revoke_token(token)
        assert client.is_connected()
        client.emit("note", "y")
        received = client.queue
        assert [one["args"] for one in received] == [["RevokedTokenError"]]
        assert not client.is_connected()


def test_flask_socketio_tells_a_refused_client_why() -> None:
    with section(PAGE, "Flask-SocketIO") as names, serving(names.app) as port:
        url = f"http://127.0.0.1:{port}/socket.io/?EIO=4&transport=polling"

        def send(address: str, body: bytes | None = None) -> str:
            with urllib.request.urlopen(address, body, timeout=10) as response:
                return str(response.read(), "utf-8")

        own = f"{url}&sid={json.loads(send(url)[1:])['sid']}"
        send(own, b'40{"token":"a.b.c"}')
        assert send(own) == '44{"message":"JWTDecodeError"}'


def test_a_guard_on_a_handler_of_flask_socketio_checks_the_handshake_each_time() -> None:
    app = new_app(SECRET_KEY=SECRET, JWT_BLOCKLIST="memory://")
    authx = AuthX(app)
    server = socketio.SocketIO(app, async_mode="threading")

    def note(text: str) -> str:
        return f"{current_token.sub}: {text}"

    server.on("note")(authx.token_required(note))
    token = access_token(app, authx)
    client = server.test_client(app, headers=bearer(token))
    assert client.emit("note", "x", callback=True) == "ann: x"
    with app.app_context():
        authx.revoke_token(token)
    with pytest.raises(HTTPException) as caught:
        client.emit("note", "y", callback=True)
    assert type(caught.value).__name__ == "RevokedTokenError"
    assert not client.is_connected()
    # A token in ``auth`` is not seen.
    other = server.test_client(app, auth={"token": access_token(app, authx)})
    with pytest.raises(HTTPException) as caught:
        other.emit("note", "z", callback=True)
    assert type(caught.value).__name__ == "MissingTokenError"


def test_flask_socketio_accepts_pages_of_its_own_origin_only() -> None:
    with section(PAGE, "Flask-SocketIO") as names:
        asked = [
            ask(names.app, path="/socket.io/?EIO=4&transport=polling", headers={"Origin": origin})
            for origin in ("http://localhost", "https://evil.test")
        ]
        assert [response.status_code for response in asked] == [200, 400]


def handshake(port: int, path: str, headers: dict[str, str]) -> int:
    """The status of the response to a handshake."""
    ask_for = {
        **headers,
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request("GET", path, headers=ask_for)
        return connection.getresponse().status


@pytest.mark.slow
def test_flask_sock() -> None:
    with section(PAGE, "flask-sock") as names, serving(names.app) as port:
        assert handshake(port, "/echo", {}) == 401
        token = access_token(names.app, names.authx)
        client = websocket.Client.connect(f"ws://127.0.0.1:{port}/echo", headers=bearer(token))
        client.send("x")
        assert client.receive(timeout=30) == "ann: x"
        with names.app.app_context():
            names.authx.revoke_token(token)
        client.send("y")
        with pytest.raises(websocket.ConnectionClosed) as caught:
            client.receive(timeout=30)
        assert (caught.value.reason, caught.value.message) == (1008, "RevokedTokenError")


@pytest.mark.slow
def test_a_guard_on_a_function_of_flask_sock_comes_after_the_handshake() -> None:
    app = new_app()
    authx = AuthX(app)

    def echo(ws: Any) -> None:
        ws.send(current_token.sub)

    flask_sock.Sock(app).route("/echo")(authx.token_required(echo))
    with serving(app) as port:
        assert handshake(port, "/echo", {}) == 101
        client = websocket.Client.connect(f"ws://127.0.0.1:{port}/echo")
        with pytest.raises(websocket.ConnectionClosed):
            client.receive(timeout=30)


# Tasks


def test_celery() -> None:
    with section(PAGE, "Celery") as names:
        names.celery.conf.task_always_eager = True
        done: list[Any] = []

        def keep(result: Any, **_: Any) -> None:
            done.append(result)

        signals: Any = importlib.import_module("celery.signals")
        signals.task_success.connect(keep, weak=False)
        refusals(names.app, "/reports", "POST")
        writer = holder(names, scopes=["reports:write"])
        assert ask(names.app, "POST", "/reports", headers=writer).status_code == 202
        assert done == ["report for ann"]
        assert names.report.delay("bob").get() == "report for bob"


def test_celery_s_eager_mode_hides_that_a_worker_has_no_token() -> None:
    with section(PAGE, "Celery") as names:
        names.celery.conf.task_always_eager = True

        def whose() -> bool:
            return bool(current_token)

        task = names.celery.task(whose)
        names.app.add_url_rule(
            "/eager", "eager", names.authx.token_required(lambda: {"seen": task.delay().get()})
        )
        assert ask(names.app, path="/eager", headers=holder(names)).json == {"seen": True}
        assert task.delay().get() is False


# Migrations, servers


@pytest.mark.slow
def test_flask_migrate(tmp_path: Path) -> None:
    text = section_text(PAGE, "Flask-Migrate")
    (tmp_path / "app.py").write_text("".join(blocks(text, "python")), "utf-8")
    url = f"sqlite:///{tmp_path / 'app.db'}"
    settings = {"SQLALCHEMY_DATABASE_URI": url, "JWT_SECRET_KEY": SECRET}
    commands = [shlex.split(line) for line in blocks(text, "sh")[0].splitlines()]
    assert [command[:2] for command in commands] == [["flask", "db"]] * 3
    for command in commands:
        run_flask(tmp_path, *command[1:], **settings)
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    assert {"authx_blocklist", "authx_sessions"} <= set(sa.inspect(engine).get_table_names())


def gunicorn_commands() -> list[str]:
    return blocks(section_text(PAGE, "gunicorn and gevent"), "sh")[0].splitlines()


@contextmanager
def run_gunicorn(command: str, folder: Path, *, configured: bool = True) -> Generator[int]:
    """A command of the page on a free port, with the app of the page."""
    code, configuration = blocks(section_text(PAGE, "gunicorn and gevent"), "python")
    (folder / "app.py").write_text(code, "utf-8")
    if configured and "gevent" in command:
        (folder / "gunicorn.conf.py").write_text(configuration, "utf-8")
    program, *arguments = shlex.split(command)
    assert program == "gunicorn"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (
        socket.create_server(("127.0.0.1", 0), backlog=128) as listener,
        (folder / "log").open("w") as log,
    ):
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "gunicorn", "--no-control-socket"),
                *("--bind", f"fd://{listener.fileno()}", *arguments),
            ],
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=log,
            pass_fds=[listener.fileno()],
        )
        try:
            yield listener.getsockname()[1]
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def send(port: int, method: str, path: str, token: str | None = None, body: Any = None) -> Any:
    """The status and the JSON of a response, on a connection of its own."""
    headers = {} if token is None else bearer(token)
    content = None if body is None else json.dumps(body)
    if body is not None:
        headers["Content-Type"] = "application/json"
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request(method, path, content, headers)
        response = connection.getresponse()
        text = response.read()
        return response.status, json.loads(text) if text else None


@pytest.mark.slow
@pytest.mark.parametrize("command", gunicorn_commands())
def test_gunicorn(command: str, tmp_path: Path) -> None:
    assert "--preload" in command
    with run_gunicorn(command, tmp_path) as port:
        for _ in range(3):
            status, pair = send(port, "POST", "/auth/login", body=ANN)
            assert status == 200, (tmp_path / "log").read_text()
            seen = [send(port, "GET", "/profile", pair["access_token"]) for _ in range(10)]
            assert seen == [(200, {"user": "ann"})] * 10
            status, new = send(port, "POST", "/auth/refresh", pair["refresh_token"])
            assert status == 200
            assert send(port, "POST", "/auth/logout", new["access_token"])[0] == 204
            for token in (pair["access_token"], new["access_token"]):
                seen = [send(port, "GET", "/profile", token)[0] for _ in range(10)]
                assert seen == [401] * 10
    log = (tmp_path / "log").read_text()
    assert "Error" not in log
    assert "Warning" not in log


@pytest.mark.slow
def test_gevent_warns_of_an_app_that_was_loaded_before_it(tmp_path: Path) -> None:
    command = gunicorn_commands()[1]
    with run_gunicorn(command, tmp_path, configured=False) as port:
        assert send(port, "GET", "/profile")[0] == 401
    assert "MonkeyPatchWarning" in (tmp_path / "log").read_text()


async def ask_asgi(app: Any, path: str, headers: dict[str, str]) -> tuple[int, Any]:
    """The status and the JSON of a response of an ASGI app."""
    communicator = asgi_testing.ApplicationCommunicator(
        app,
        {
            "type": "http",
            "http_version": "1.1",
            "method": "GET",
            "path": path,
            "query_string": b"",
            "headers": [(name.lower().encode(), one.encode()) for name, one in headers.items()],
        },
    )
    await communicator.send_input({"type": "http.request", "body": b""})
    start = await communicator.receive_output(30)
    body = b""
    while True:
        part = await communicator.receive_output(30)
        body += part.get("body", b"")
        if not part.get("more_body"):
            return start["status"], json.loads(body)


def test_asgi() -> None:
    with section(PAGE, "ASGI servers") as names:
        threads: set[int] = set()
        names.app.before_request(lambda: threads.add(threading.get_ident()))
        users = ["ann", "bob"] * 4
        tokens = [holder(names, user) for user in users]

        async def together() -> list[tuple[int, Any]]:
            calls = (ask_asgi(names.asgi_app, "/profile", one) for one in [{}, *tokens])
            return await asyncio.gather(*calls)

        first, *others = asyncio.run(together())
        assert (first[0], first[1]["error_type"]) == MISSING
        assert others == [(200, {"user": user, "name": user}) for user in users]
        assert len(threads) == 1


def test_asgi_serves_no_websockets() -> None:
    async def receive() -> dict[str, str]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        raise AssertionError(f"it answers with {message}")

    with (
        section(PAGE, "ASGI servers") as names,
        pytest.raises(ValueError, match="non-HTTP scope"),
    ):
        asyncio.run(names.asgi_app({"type": "websocket"}, receive, send))


# The others


def test_basic_credentials_of_flask_httpauth_are_no_token() -> None:
    app = new_app()
    authx = AuthX(app)
    basic: Any = importlib.import_module("flask_httpauth").HTTPBasicAuth()

    def verify(name: str, password: str) -> str:
        return name

    basic.verify_password(verify)
    app.add_url_rule("/guarded", "guarded", authx.token_required(lambda: current_token.sub))
    app.add_url_rule("/basic", "basic", basic.login_required(basic.current_user))
    headers = {"Authorization": "Basic YW5uOng="}
    assert outcome(ask(app, headers=headers)) == MISSING
    assert ask(app, path="/basic", headers=headers).text == "ann"
