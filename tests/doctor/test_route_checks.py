"""What ``flask authx doctor`` says of views that are cached, of shared issuers and of Socket.IO."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any

from flask import Flask

from flask_authx import AuthX
from tests.support import OTHER_SECRET, SECRET, make_app

from .support import entries

caching: Any = importlib.import_module("flask_caching")
socketio: Any = importlib.import_module("flask_socketio")


def problems(app: Flask, check: str) -> list[tuple[str | None, str | None]]:
    """Level and problem of what a check has found."""
    found = [entry for entry in entries(app) if entry["check"] == check]
    assert found, f"there is no check {check!r}"
    return [(entry["level"], entry["problem"]) for entry in found if entry["level"] != "ok"]


def timed(view: Callable[..., str]) -> Callable[..., str]:
    """A decorator as an app has its own."""

    @functools.wraps(view)
    def measured() -> str:
        return view()

    return measured


def test_functions_around_guards_are_named_once() -> None:
    app, authx = make_app()
    app.config["CACHE_TYPE"] = "SimpleCache"
    cache = caching.Cache(app)
    assert problems(app, "functions around guards") == []
    for number in range(2):
        view = timed(cache.cached(timeout=60)(authx.token_required(lambda: "")))
        app.add_url_rule(f"/{number}", str(number), view)
    app.add_url_rule("/open", "open", timed(lambda: ""))
    [(level, problem)] = problems(app, "functions around guards")
    assert level == "hint"
    assert f"are flask_caching.Cache.cached, {__name__}.timed. A cache" in str(problem)


def two_objects(**config: Any) -> Flask:
    app = Flask("tests")
    app.config.from_mapping(JWT_SECRET_KEY=SECRET, ADMIN_JWT_SECRET_KEY=OTHER_SECRET, **config)
    AuthX(app)
    AuthX(app, name="admin")
    return app


def test_two_objects_with_one_issuer_are_found() -> None:
    ours, theirs = "https://a.example", "https://b.example"
    for issuers in (
        {"JWT_ENCODE_ISSUER": ours, "ADMIN_JWT_ENCODE_ISSUER": ours},
        {"JWT_ENCODE_ISSUER": ours, "ADMIN_JWT_DECODE_ISSUER": ours},
    ):
        [(level, problem)] = problems(two_objects(**issuers), "shared issuer")
        assert level == "hint"
        assert "authx, admin have the same issuer" in str(problem)
    for issuers in (
        {},
        {"JWT_ENCODE_ISSUER": ours},
        {"JWT_ENCODE_ISSUER": ours, "ADMIN_JWT_ENCODE_ISSUER": theirs},
    ):
        assert problems(two_objects(**issuers), "shared issuer") == []


def test_socketio_in_an_app_that_is_protected_as_a_whole() -> None:
    app, authx = make_app(PROTECT_ALL=True)
    app.config["SECRET_KEY"] = OTHER_SECRET
    assert problems(app, "Flask-SocketIO") == []
    server = socketio.SocketIO(app, async_mode="threading")
    [(level, problem)] = problems(app, "Flask-SocketIO")
    assert level == "warning"
    assert "anybody can connect" in str(problem)
    server.on("connect")(authx.token_required(two_objects))
    assert problems(app, "Flask-SocketIO") == []
