"""Logins that can be ended, on any store: one token, one login, all of a user's.

Run it with ``python -m examples.stores --store URL``, or serve ``create_app()`` with any WSGI
server. ``flask --app examples.stores authx`` has commands for it; there ``FLASK_STORE`` is the URL,
and ``FLASK_INSTANCE`` the folder of its files.
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
#: Where revocations are kept, and the folder of its files, unless something else is asked for.
STORE = os.environ.get("FLASK_STORE") or DEFAULT
INSTANCE = os.environ.get("FLASK_INSTANCE") or None
#: How databases are usually written, and the driver that requirements/demo.txt has for each.
DRIVERS = {
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql",
}


@api.post("/login/<name>")
@authx.public
def login(name: str) -> dict[str, Any]:
    # A real app checks a password here.
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
    return {"name": current_token.sub, "login": current_token.sid}


@api.post("/logout")
@authx.public
def logout() -> dict[str, str]:
    # Without a guard: an expired token is good enough to log out with, and so is none at all.
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
    # A real app stores the new password here, and commits: only then does no old one log in again.
    authx.revoke_subject(current_token.sub, keep=current_token.sid, reason="password changed")
    return {"msg": "All your other logins have ended"}


@api.delete("/logins/<sid>")
@authx.token_required
def end_login(sid: str) -> dict[str, str]:
    # Whoever names a login must be shown to own it. This app keeps no list of anybody's logins, so
    # the only one that it knows to be the user's is the one that asks.
    if sid != current_token.sid:
        refuse(404, "you have no such login; POST /logout-everywhere ends all of yours")
    authx.revoke_session(sid)
    return {"msg": "That login has ended"}


@api.post("/admin/revoke/<name>")
@authx.token_required
def revoke_user(name: str) -> dict[str, str]:
    admins_only()
    body: object = request.get_json(silent=True)
    reason: object = cast(dict[str, Any], body).get("reason") if isinstance(body, dict) else None
    if not isinstance(reason, str) or not reason.strip():
        refuse(400, 'say why: {"reason": "..."}, with the header Content-Type: application/json')
    try:
        authx.revoke_subject(name, reason=reason)
    except ValueError as error:
        refuse(400, str(error))
    return {"msg": f"All logins of {name} have ended"}


@api.get("/admin/revocations")
@authx.token_required
def revocations() -> list[dict[str, Any]]:
    admins_only()
    trail = db.metadata.tables.get("authx_audit")
    if trail is None:
        refuse(404, "nothing is written down: the audit trail needs an SQL database")
    latest = sa.select(trail).order_by(trail.c.id.desc()).limit(100)
    return [dict(row) for row in db.session.execute(latest).mappings()]


def admins_only() -> None:
    if current_token.sub != "admin":
        refuse(403, "this is for the user admin")


def refuse(status: int, message: str) -> NoReturn:
    abort(make_response(jsonify(msg=message), status))


def create_app(store: str = STORE, instance_path: str | None = INSTANCE) -> Flask:
    """The app. Each setting can come from the environment: ``FLASK_JWT_AUDIT`` and so on.

    :param store: where revocations are kept.
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
    """A database is reached through Flask-SQLAlchemy, and keeps an audit trail, too."""
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
    # A real app has migrations; they see these tables as any other.
    with app.app_context():
        db.create_all()
        if db.engine.dialect.name == "sqlite":
            # Then nobody who reads waits for somebody who writes. The file remembers it.
            with db.engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA journal_mode=WAL")


def secret_for(app: Flask, store: str, *, renew: bool) -> Path | str:
    """A secret that is made once for each store, so that tokens outlive a restart.

    No token that was revoked may come back in a store that doesn't know of it: another one, a new
    one, the memory of another process. None of its tokens is signed with their secrets.
    """
    secret, url = secrets.token_urlsafe(32), urlsplit(store)
    if url.scheme == "memory":
        return secret
    where = re.sub(r"[^\w.]+", "-", f"{url.scheme}-{url.netloc.rpartition('@')[2]}{url.path}")
    path = Path(app.instance_path, f"{where}.secret")
    if renew and path.exists():
        app.logger.warning("The store is new or was lost: everybody must log in again.")
        path.unlink()
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(secret)
    return path
