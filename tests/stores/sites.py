"""Apps on stores of every kind, by their settings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from flask import Flask
from flask_sqlalchemy import SQLAlchemy

from flask_authx import AuthX, current_token
from tests.stores.contract import cluster_url
from tests.support import SECRET, access_token, bearer
from tests.support.answers import Outcome, ask, outcome
from tests.support.databases import app_on, settings_for

#: The stores whose entries another app sees.
SHARED = ("sqlite", "postgresql", "psycopg2", "mariadb", "redis")


def settings_of(kind: str, folder: Path) -> dict[str, Any]:
    """The settings of an app with a store of this kind."""
    if kind == "cluster":
        return {"JWT_BLOCKLIST": cluster_url()}
    return settings_for(kind, folder)


def add_views(app: Flask, authx: AuthX) -> None:
    """A guarded view, and one that asks for its token again and again."""

    @app.get("/guarded")
    @authx.token_required
    def guarded() -> str:
        return current_token.sub

    @app.get("/nested")
    @authx.token_required
    @authx.optional_token
    @authx.token_required
    def nested() -> dict[str, str]:
        again: Callable[[], str] = authx.token_required(lambda: current_token.sub)
        return {"sub": again()}

    authx.protect(app)


def site(settings: dict[str, Any], **kwargs: Any) -> tuple[Flask, AuthX]:
    """An app with the views above, on tables made anew."""
    app, authx = app_on(settings, **kwargs)
    add_views(app, authx)
    if "sqlalchemy" in app.extensions:
        # The app's own connections made the tables; the store closes only its own.
        with app.app_context():
            for engine in app.extensions["sqlalchemy"].engines.values():
                engine.dispose()
    return app, authx


def joined(settings: dict[str, Any]) -> tuple[Flask, AuthX]:
    """Another app with connections of its own, on the tables that are there."""
    app = Flask("tests")
    app.config.from_mapping(JWT_SECRET_KEY=SECRET, JWT_STORE_TIMEOUT=10)
    app.config.from_mapping(settings)
    if "SQLALCHEMY_DATABASE_URI" in settings:
        SQLAlchemy(app)
    authx = AuthX(app)
    add_views(app, authx)
    return app, authx


def log_in(app: Flask, authx: AuthX, uid: str = "ann") -> tuple[str, str]:
    """A new session: its access token and its sid."""
    token = access_token(app, authx, uid)
    with app.app_context():
        return token, authx.decode_token(token).sid


def outcome_of(app: Flask, token: str, path: str = "/guarded") -> Outcome:
    """The outcome of a request with a token in its header."""
    return outcome(ask(app, path=path, headers=bearer(token)))
