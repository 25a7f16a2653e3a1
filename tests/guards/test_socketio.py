"""Guards on the handlers of Flask-SocketIO, and apps that are protected as a whole beside it."""

from __future__ import annotations

import asyncio
import functools
import importlib
import json
import subprocess
import sys
import urllib.request
import warnings
from typing import Any

import pytest
from flask import Flask

from flask_authx import AuthX, AuthXException, BadConfigurationError, current_token
from tests.support import OTHER_SECRET, ROOT, access_token, bearer, make_app
from tests.support.answers import MISSING, OK, ask, blueprint, outcome, who
from tests.support.servers.running import serving

# Ships no types.
socketio: Any = importlib.import_module("flask_socketio")


def served(**config: Any) -> tuple[Flask, AuthX, Any]:
    app, authx = make_app(**config)
    app.config["SECRET_KEY"] = OTHER_SECRET
    return app, authx, socketio.SocketIO(app, async_mode="threading")


def nothing(*_: object) -> None:
    """A handler that does nothing."""


def hears(server: Any, client: Any, namespace: str = "/") -> bool:
    """Whether a client receives what is sent to all of a namespace."""
    server.emit("news", "for members", namespace=namespace)
    return any(one["name"] == "news" for one in client.queue)


@pytest.mark.parametrize("lenient", [False, True])
def test_a_client_that_the_guard_of_connect_refuses_is_not_connected(lenient: bool) -> None:
    app, authx, server = served(BLOCKLIST="memory://")
    ran: list[str] = []
    if lenient:
        # Flask-SocketIO takes an exception that this handles for no refusal.
        server.on_error_default(nothing)

    def connect(auth: object) -> None:
        ran.append(current_token.sub)

    server.on("connect")(authx.token_required(connect))
    token, revoked = access_token(app, authx), access_token(app, authx)
    with app.app_context():
        authx.revoke_token(revoked)
    for headers in ({}, bearer("a.b.c"), bearer(revoked)):
        client = server.test_client(app, headers=headers)
        assert (client.is_connected(), hears(server, client), ran) == (False, False, [])
    client = server.test_client(app, headers=bearer(token))
    assert (client.is_connected(), hears(server, client), ran) == (True, True, ["ann"])


def test_a_class_of_handlers_is_guarded_as_well() -> None:
    app, authx, server = served()

    class Chat(socketio.Namespace):  # type: ignore[misc]  # Flask-SocketIO ships no types
        @authx.scopes_required("chat")
        def on_connect(self, auth: object = None) -> None:
            pass

    server.on_namespace(Chat("/chat"))
    for scopes, expected in (((), False), (("chat",), True)):
        headers = bearer(access_token(app, authx, scopes=scopes))
        client = server.test_client(app, namespace="/chat", headers=headers)
        assert client.is_connected("/chat") is expected
        assert hears(server, client, "/chat") is expected


def test_a_client_whose_token_a_later_event_does_not_accept_is_disconnected() -> None:
    app, authx, server = served(BLOCKLIST="memory://")
    server.on("connect")(nothing)

    def note(text: str) -> str:
        return f"{who()}: {text}"

    server.on("note")(authx.token_required(note))
    token = access_token(app, authx)
    client, stranger = server.test_client(app, headers=bearer(token)), server.test_client(app)
    assert client.emit("note", "x", callback=True) == "ann: x"
    with app.app_context():
        authx.revoke_token(token)
    for one in (client, stranger):
        assert hears(server, one)
        with pytest.raises(AuthXException):
            one.emit("note", "y", callback=True)
        assert not one.is_connected()
        one.queue.clear()
        assert not hears(server, one)


def told(error: AuthXException) -> str:
    return error.error_type.value


def test_a_client_that_lacks_a_scope_stays_and_the_error_handler_can_tell_it() -> None:
    app, authx, server = served()
    server.on("connect")(authx.token_required(nothing))
    server.on_error()(told)
    server.on("note")(authx.scopes_required("write")("{}".format))
    client = server.test_client(app, headers=bearer(access_token(app, authx)))
    assert client.emit("note", "x", callback=True) == "InsufficientScopeError"
    assert client.is_connected()
    writer = server.test_client(app, headers=bearer(access_token(app, authx, scopes=["write"])))
    assert writer.emit("note", "x", callback=True) == "x"


def test_requests_by_http_are_refused_as_without_it() -> None:
    app, authx, _ = served()
    assert outcome(ask(app)) == MISSING
    assert outcome(ask(app, headers=bearer(access_token(app, authx)))) == OK


def test_the_client_of_a_real_server_is_told_why_and_is_in_no_room() -> None:
    app, authx, server = served()
    server.on("connect")(authx.token_required(nothing))
    token = access_token(app, authx)
    with serving(app) as port:
        url = f"http://127.0.0.1:{port}/socket.io/?EIO=4&transport=polling"

        def send(address: str, headers: dict[str, str], body: bytes | None = None) -> str:
            request = urllib.request.Request(address, body, headers)
            with urllib.request.urlopen(request, timeout=10) as response:
                return str(response.read(), "utf-8")

        def connect(headers: dict[str, str]) -> str:
            own = f"{url}&sid={json.loads(send(url, headers)[1:])['sid']}"
            send(own, headers, b"40")
            return send(own, headers)

        assert connect({}) == '44{"message":"MissingTokenError"}'
        assert [*server.server.manager.get_participants("/", None)] == []
        assert connect(bearer(token)).startswith('40{"sid":')
        assert len([*server.server.manager.get_participants("/", None)]) == 1


def warned(app: Flask) -> list[str]:
    """The warnings of the first request that are about Flask-SocketIO."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ask(app)
    return [text for one in caught if "Flask-SocketIO" in (text := str(one.message))]


def test_an_app_that_is_protected_as_a_whole_is_warned() -> None:
    for how in ("setting", "protect"):
        app, authx, server = served(PROTECT_ALL=how == "setting")
        if how == "protect":
            authx.protect(app)
        server.on("connect")(nothing)
        [text] = warned(app)
        assert "JWT_PROTECT_ALL" in text
        assert warned(app) == []


@pytest.mark.parametrize("handlers", ["none", "no connect", "another namespace", "class"])
def test_an_app_whose_handlers_let_anybody_in_is_warned(handlers: str) -> None:
    app, authx, server = served(PROTECT_ALL=True)
    if handlers != "none":
        server.on("note")(authx.token_required(who))
    if handlers in ("another namespace", "class"):
        server.on("connect")(authx.token_required(who))
    if handlers == "another namespace":
        server.on("note", namespace="/other")(who)
    if handlers == "class":
        server.on_namespace(socketio.Namespace("/other"))
    assert len(warned(app)) == 1


def test_one_handler_of_all_namespaces_is_enough() -> None:
    app, authx, server = served(PROTECT_ALL=True)
    server.on("connect", namespace="*")(authx.token_required(who))
    server.on("note", namespace="/other")(who)
    assert warned(app) == []


def test_an_app_that_has_taken_care_of_it_is_not_warned() -> None:
    app, authx, server = served(PROTECT_ALL=True)
    server.on("connect")(authx.token_required(who))
    server.on("connect", namespace="/own")(authx.public(nothing))
    server.on("note", namespace="/own")(who)

    class Chat(socketio.Namespace):  # type: ignore[misc]  # Flask-SocketIO ships no types
        on_connect = authx.scopes_required("chat")(nothing)

    server.on_namespace(Chat("/chat"))
    assert warned(app) == []


async def waits(*_: object) -> None:
    """An async handler: Flask-SocketIO calls it, and does not await it."""


@pytest.mark.parametrize("protected", [False, True])
@pytest.mark.parametrize("how", ["connect", "event", "all namespaces", "class"])
def test_a_guard_on_an_async_handler_is_refused_at_the_start(how: str, protected: bool) -> None:
    app, authx, server = served(PROTECT_ALL=protected)
    app.testing = True
    guarded = authx.token_required(waits)
    event, namespace = "connect", "/"
    if how == "connect":
        server.on("connect")(guarded)
    elif how == "event":
        event = "note"
        server.on("note")(guarded)
    elif how == "all namespaces":
        namespace = "*"
        server.on("connect", namespace="*")(guarded)
    else:
        namespace = "/chat"
        members = {"on_connect": guarded}
        server.on_namespace(type("Chat", (socketio.Namespace,), members)("/chat"))
    with pytest.raises(BadConfigurationError) as raised:
        ask(app)
    [problem] = raised.value.problems
    for word in (repr(event), repr(namespace), "async def", "plain function"):
        assert word in problem


def test_an_async_handler_without_a_guard_is_the_apps_own_affair() -> None:
    app, _, server = served()
    server.on("connect")(waits)
    server.on("note")(waits)
    assert warned(app) == []
    assert outcome(ask(app)) == MISSING


def test_a_guard_around_what_runs_an_async_handler_works() -> None:
    app, authx, server = served(PROTECT_ALL=True)

    @functools.wraps(waits)
    def connect(auth: object) -> None:
        asyncio.run(waits(auth))

    server.on("connect")(authx.token_required(connect))
    assert warned(app) == []
    assert not server.test_client(app).is_connected()
    assert server.test_client(app, headers=bearer(access_token(app, authx))).is_connected()


def test_an_async_connect_handler_takes_care_of_nothing() -> None:
    app, authx, server = served(PROTECT_ALL=True)

    async def connect(auth: object) -> None:
        """It would verify the token."""

    server.on("connect")(authx.public(connect))
    assert len(warned(app)) == 1


@pytest.mark.parametrize("setting", ["DEBUG", "TESTING", None])
def test_no_warning_in_development_or_without_protection(setting: str | None) -> None:
    app, authx, _ = served(PROTECT_ALL=setting is not None)
    if setting is None:
        authx.protect(blueprint("api"))
    else:
        app.config[setting] = True
    assert warned(app) == []


@pytest.mark.slow
def test_an_app_without_it_does_not_load_it() -> None:
    code = (
        "import sys; from tests.support import make_app; from tests.support.answers import ask\n"
        "app, _ = make_app(PROTECT_ALL=True)\n"
        "assert ask(app).status_code == 401\n"
        "print([name for name in sys.modules if 'socketio' in name])"
    )
    command = [sys.executable, "-c", code]
    assert subprocess.check_output(command, cwd=ROOT, text=True, timeout=60) == "[]\n"
