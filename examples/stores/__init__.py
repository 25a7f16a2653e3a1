"""Revocation on any store: of a token, a session, or all sessions of a user.

Run it with ``python -m examples.stores --store URL``, or serve ``create_app()`` with any WSGI
server. ``flask --app examples.stores authx`` has commands for it, with ``FLASK_STORE`` as
the URL and ``FLASK_INSTANCE`` as the folder of the files.
"""

from __future__ import annotations

import os
import re
import secrets
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn, cast
from urllib.parse import urlsplit

import sqlalchemy as sa
from click import ClickException
from flask import Blueprint, Flask, abort, jsonify, make_response, request
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.exc import SQLAlchemyError

from flask_authx import AuthX, current_token

authx = AuthX()
db = SQLAlchemy()
api = Blueprint("api", __name__)

DEFAULT = "sqlite:///stores.db"
#: The defaults: the URL of the store, and the folder of SQLite files and of the secrets.
STORE = os.environ.get("FLASK_STORE") or DEFAULT
INSTANCE = os.environ.get("FLASK_INSTANCE") or None
#: The usual schemes of databases, and the driver for each in requirements/demo.txt.
DRIVERS = {
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql",
}


@api.post("/login/<name>")
@authx.public
def login(name: str) -> dict[str, Any]:
    # A real app checks a password here. If it is wrong: raise LoginFailedError, a 401 in JSON.
    try:
        return authx.create_token_pair(name).to_dict()
    except ValueError:
        refuse(400, "the name must have 1 to 255 characters, and not only spaces")


@api.post("/refresh")
@authx.refresh_token_required
def refresh() -> dict[str, str]:
    return {"access_token": authx.create_access_token(current_token.sub, login=current_token)}


@api.get("/profile")
@authx.token_required
def profile() -> dict[str, str]:
    return {"name": current_token.sub, "session": current_token.sid}


@api.post("/logout")
@authx.public
def logout() -> dict[str, str]:
    # Without a guard: a log-out with an expired token, or with none, succeeds, too.
    authx.logout()
    return {"msg": "You are logged out"}


@api.post("/logout-everywhere")
@authx.token_required
def logout_everywhere() -> dict[str, str]:
    authx.revoke_subject(current_token.sub, reason="logged out everywhere")
    return {"msg": "You are logged out everywhere"}


@api.post("/password")
@authx.token_required
def change_password() -> dict[str, str]:
    # A real app commits the new password first. After that, the old one opens no new session.
    authx.revoke_subject(current_token.sub, keep=current_token.sid, reason="password changed")
    return {"msg": "All your other sessions are revoked"}


@api.delete("/sessions/<sid>")
@authx.token_required
def end_session(sid: str) -> dict[str, str]:
    # Check that the session belongs to the user. Without JWT_SESSIONS there is no list of a user's
    # sessions, so this app accepts the session of the request only.
    if sid != current_token.sid:
        refuse(404, "you have no such session; POST /logout-everywhere revokes all of yours")
    authx.revoke_session(sid)
    return {"msg": "The session is revoked"}


@api.post("/admin/revoke/<name>")
@authx.token_required
def revoke_user(name: str) -> dict[str, str]:
    admins_only()
    body: object = request.get_json(silent=True)
    reason: object = cast(dict[str, Any], body).get("reason") if isinstance(body, dict) else None
    if not isinstance(reason, str) or not reason.strip():
        message = 'send {"reason": "..."}, with the header Content-Type: application/json'
        refuse(400, message)
    try:
        authx.revoke_subject(name, reason=reason)
    except ValueError as error:
        refuse(400, str(error))
    return {"msg": f"All sessions of {name} are revoked"}


@api.get("/admin/revocations")
@authx.token_required
def revocations() -> list[dict[str, Any]]:
    admins_only()
    trail = db.metadata.tables.get("authx_audit")
    if trail is None:
        refuse(404, "there is no audit trail: it needs an SQL database")
    latest = sa.select(trail).order_by(trail.c.id.desc()).limit(100)
    return [dict(row) for row in db.session.execute(latest).mappings()]


def admins_only() -> None:
    if current_token.sub != "admin":
        refuse(403, "only the user admin may do this")


def refuse(status: int, message: str) -> NoReturn:
    abort(make_response(jsonify(msg=message), status))


def create_app(store: str = STORE, instance_path: str | None = INSTANCE) -> Flask:
    """The app. Each setting can come from the environment: ``FLASK_JWT_AUDIT`` and so on.

    :param store: the URL of the store.
    :param instance_path: the folder of SQLite files and of the secrets; by default Flask's.
    :raises ClickException: if the database can't be used. ``flask`` shows its message alone.
    """
    folder = None if instance_path is None else str(Path(instance_path).resolve())
    app = Flask(__name__, instance_path=folder)
    app.config.from_mapping(settings_for(store))
    app.config.from_prefixed_env()
    try:
        set_up(app, store)
    except (SQLAlchemyError, ValueError) as error:
        raise ClickException(f"The database can't be used:\n{error}") from None
    app.register_blueprint(api)
    return app


def set_up(app: Flask, store: str) -> None:
    in_sql = "SQLALCHEMY_DATABASE_URI" in app.config
    if in_sql:
        db.init_app(app)
    if app.config.keys().isdisjoint({"JWT_SECRET_KEY", "JWT_PRIVATE_KEY"}):
        app.config["JWT_SECRET_KEY"] = secret_for(app, store, renew=in_sql and is_new(app))
    authx.init_app(app)
    if in_sql:
        make_tables(app)


def settings_for(store: str) -> dict[str, Any]:
    """The settings for a store. A database is used with Flask-SQLAlchemy and an audit trail."""
    scheme, colon, rest = store.partition(":")
    if scheme.partition("+")[0] not in {"sqlite", *DRIVERS}:
        return {"JWT_BLOCKLIST": store}
    return {
        "SQLALCHEMY_DATABASE_URI": DRIVERS.get(scheme, scheme) + colon + rest,
        "JWT_BLOCKLIST": "sqlalchemy://",
        "JWT_AUDIT": timedelta(days=365),
    }


def is_new(app: Flask) -> bool:
    with app.app_context():
        return not sa.inspect(db.engine).has_table("authx_blocklist")


def make_tables(app: Flask) -> None:
    # A real app has migrations, which include these tables.
    with app.app_context():
        db.create_all()
        if db.engine.dialect.name == "sqlite":
            # Write-ahead logging: readers don't wait for a writer. The file keeps this mode.
            with db.engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA journal_mode=WAL")


def secret_for(app: Flask, store: str, *, renew: bool) -> Path | str:
    """A secret that is created once for each store, so that tokens stay valid after a restart.

    Each store has its own secret. A token that one store has revoked is therefore invalid with
    another store, with a new one, and with the memory of another process.
    """
    secret, url = secrets.token_urlsafe(32), urlsplit(store)
    if url.scheme == "memory":
        return secret
    where = re.sub(r"[^\w.]+", "-", f"{url.scheme}-{url.netloc.rpartition('@')[2]}{url.path}")
    path = Path(app.instance_path, f"{where}.secret")
    if renew and path.exists():
        app.logger.warning("The store is new or was lost: all users must log in again.")
        path.unlink()
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(secret)
    return path
