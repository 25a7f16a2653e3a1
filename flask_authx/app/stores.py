"""From settings to stores: what ``JWT_BLOCKLIST`` names, opened for one app."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from flask import Flask, has_app_context

from flask_authx.enums import OnError
from flask_authx.errors import BadConfigurationError
from flask_authx.http.callbacks import Callbacks
from flask_authx.sessions.rotation import Sessions
from flask_authx.settings.options import Settings
from flask_authx.stores.blocklist import Blocklist
from flask_authx.stores.lookup_keys import LookupKeys
from flask_authx.stores.session_store import SessionStore

if TYPE_CHECKING:
    from flask_sqlalchemy import SQLAlchemy
    from sqlalchemy import Engine

    from flask_authx.stores.sql.trail import AuditTrail


#: The URLs of a Redis.
REDIS_SCHEMES = (
    "redis",
    "rediss",
    "unix",
    "redis+sentinel",
    "rediss+sentinel",
    "redis+cluster",
    "rediss+cluster",
)
#: Seconds since 1970-01-01 UTC.
Clock: TypeAlias = Callable[[], float]


def open_blocklist(
    app: Flask, callbacks: Callbacks, settings: Settings, clock: Clock
) -> Blocklist | None:
    """The app's store of revocations; ``None`` if it has none.

    :raises BadConfigurationError: with what is wrong, and the setting's name.
    """
    setting = f"{settings.prefix}BLOCKLIST"
    store: Blocklist | None = callbacks.blocklist
    if store is not None and settings.blocklist is not None:
        raise BadConfigurationError(
            f"{setting}: AuthX was given a store as well (blocklist=): choose one."
        )
    if store is not None:
        _check(store, "blocklist", "Blocklist", _BLOCKLIST)
    if settings.blocklist is not None:
        store = _open(app, settings.blocklist, settings, clock)
    if store is None and settings.blocklist_on_error is OnError.ACCEPT:
        raise BadConfigurationError(
            f"{setting}_ON_ERROR is about a store, and there is none: set {setting}, or "
            "remove it. A callback that fails is always a 503."
        )
    return store


def open_sessions(
    app: Flask, callbacks: Callbacks, settings: Settings, clock: Clock
) -> Sessions | None:
    """The stored sessions; ``None`` if the settings want none.

    :raises BadConfigurationError: with what is wrong, and the setting's name.
    """
    setting = f"{settings.prefix}SESSIONS"
    store = callbacks.sessions
    if store is None and not settings.sessions:
        idle = [
            f"{settings.prefix}{name} is about sessions that are kept in a store: set {setting} to "
            "True, or remove it."
            for name in settings.unused_session_settings()
        ]
        if idle:
            raise BadConfigurationError(idle)
        return None
    if settings.blocklist is None and callbacks.blocklist is None:
        raise BadConfigurationError(
            f"{setting}: refresh tokens are rotated, and what ends a stolen one is a revocation: "
            f"set {settings.prefix}BLOCKLIST, or give AuthX a store (blocklist=)."
        )
    if store is not None:
        _check(store, "sessions", "SessionStore", _SESSION_STORE)
    elif settings.blocklist is None:
        raise BadConfigurationError(
            f"{setting}: AuthX was given a store of revocations (blocklist=): give it a "
            "session store as well (sessions=)."
        )
    else:
        store = _open_session_store(app, settings.blocklist, settings, clock)
    return Sessions(store, settings, LookupKeys(settings.issuer, callbacks.name), clock)


def _open_session_store(app: Flask, url: str, settings: Settings, clock: Clock) -> SessionStore:
    """The session store beside the store of revocations, whose URL has been checked."""
    scheme, rest = _parts(url)
    if scheme == "memory":
        from flask_authx.stores.memory import MemorySessions

        return MemorySessions(clock)
    if scheme != "sqlalchemy":
        from flask_authx.stores.redis.sessions import RedisSessions
        from flask_authx.stores.redis.urls import client_for

        return RedisSessions(client_for(url, settings.store_timeout))
    setting = f"{settings.prefix}BLOCKLIST"
    bind_key = _bind_key(rest, setting)
    db = _flask_sqlalchemy(app, setting)
    from flask_authx.stores.sql.own_writes import uncommitted_writes
    from flask_authx.stores.sql.sessions import SQLAlchemySessions

    engine = _engine(app, db, bind_key, setting)
    return SQLAlchemySessions(
        engine,
        metadata=db.metadatas[bind_key],
        timeout=settings.store_timeout,
        own_writes=uncommitted_writes(db.session, engine, has_app_context),
    )


def open_trail(app: Flask, callbacks: Callbacks, settings: Settings) -> AuditTrail | None:
    """The app's audit trail; ``None`` if the settings want none.

    It is in the database of the revocations, if that is one of Flask-SQLAlchemy's, else in the
    default one.

    :raises BadConfigurationError: if there is no such database.
    """
    if settings.audit is None:
        return None
    setting = f"{settings.prefix}AUDIT"
    if settings.blocklist is None and callbacks.blocklist is None:
        raise BadConfigurationError(
            f"{setting} is about revocations that are written to a store, and there is none: set "
            f"{settings.prefix}BLOCKLIST, or remove it."
        )
    db = _flask_sqlalchemy(app, setting)
    from flask_authx.stores.sql.own_writes import uncommitted_writes
    from flask_authx.stores.sql.tables import audit_table
    from flask_authx.stores.sql.trail import AuditTrail

    scheme, rest = _parts(settings.blocklist or "")
    bind_key = _bind_key(rest, setting) if scheme == "sqlalchemy" else None
    engine = _engine(app, db, bind_key, setting)
    return AuditTrail(
        engine,
        audit_table(db.metadatas[bind_key]),
        timeout=settings.store_timeout,
        own_writes=uncommitted_writes(db.session, engine, has_app_context),
    )


def _open(app: Flask, url: str, settings: Settings, clock: Clock) -> Blocklist:
    setting, (scheme, rest) = f"{settings.prefix}BLOCKLIST", _parts(url)
    if scheme == "memory":
        if rest:
            raise BadConfigurationError(f"{setting}: nothing comes after memory://.")
        from flask_authx.stores.memory import MemoryBlocklist

        return MemoryBlocklist(clock)
    if scheme == "sqlalchemy":
        return _open_sqlalchemy(app, rest, settings)
    if scheme in REDIS_SCHEMES:
        return _open_redis(url, settings)
    if scheme.partition("+")[0] in ("sqlite", "postgresql", "postgres", "mysql", "mariadb"):
        raise BadConfigurationError(
            f"{setting}: set SQLALCHEMY_DATABASE_URI to the database's URL, and {setting} to "
            "sqlalchemy://."
        )
    raise BadConfigurationError(
        f"{setting}: there is no store for {scheme[:20]!r}: choose from memory, sqlalchemy, "
        f"{', '.join(REDIS_SCHEMES)}."
    )


#: What a store must have.
_BLOCKLIST = ("per_process", "find", "add", "sweep", "prune", "count", "risks")
_SESSION_STORE = (
    "per_process",
    "open",
    "get",
    "move",
    "rename",
    "end",
    "of",
    "sweep",
    "prune",
    "risks",
)


def _check(store: object, parameter: str, protocol: str, members: tuple[str, ...]) -> None:
    """Refuse what is no store now, and not at the first request."""
    if isinstance(store, str):
        raise BadConfigurationError(
            f"{parameter}= takes a store, such as RedisBlocklist(client): a URL goes into the "
            "setting BLOCKLIST."
        )
    for name in members:
        if isinstance(store, type) or not hasattr(store, name):
            raise BadConfigurationError(
                f"{parameter}= takes a store, and {store!r:.60} has no {name}: see {protocol}."
            )


def _open_redis(url: str, settings: Settings) -> Blocklist:
    setting = f"{settings.prefix}BLOCKLIST"
    if importlib.util.find_spec("redis") is None:
        raise BadConfigurationError(
            f"{setting} needs the package redis: pip install flask-authx[redis]"
        )
    from flask_authx.stores.redis.revocations import RedisBlocklist
    from flask_authx.stores.redis.urls import client_for

    try:
        return RedisBlocklist(client_for(url, settings.store_timeout))
    except ValueError as error:
        raise BadConfigurationError(f"{setting}: {error}.") from None


def _open_sqlalchemy(app: Flask, rest: str, settings: Settings) -> Blocklist:
    setting = f"{settings.prefix}BLOCKLIST"
    bind_key = _bind_key(rest, setting)
    db = _flask_sqlalchemy(app, setting)
    from flask_authx.stores.sql.own_writes import uncommitted_writes
    from flask_authx.stores.sql.revocations import SQLAlchemyBlocklist

    engine = _engine(app, db, bind_key, setting)
    return SQLAlchemyBlocklist(
        engine,
        metadata=db.metadatas[bind_key],
        timeout=settings.store_timeout,
        own_writes=uncommitted_writes(db.session, engine, has_app_context),
    )


def _parts(url: str) -> tuple[str, str]:
    """The scheme of a store's URL, and the rest."""
    scheme, _, rest = url.partition("://")
    return scheme, rest.strip("/")


def _bind_key(rest: str, setting: str) -> str | None:
    if not re.fullmatch(r"[\w.-]*", rest):
        # Not quoted: a database's URL holds a password.
        raise BadConfigurationError(
            f"{setting}: after sqlalchemy:// comes nothing or a bind key. The URL of a database "
            "belongs into SQLALCHEMY_DATABASE_URI or SQLALCHEMY_BINDS."
        )
    return rest or None


def _flask_sqlalchemy(app: Flask, setting: str) -> SQLAlchemy:
    if importlib.util.find_spec("flask_sqlalchemy") is None:
        raise BadConfigurationError(
            f"{setting} needs Flask-SQLAlchemy: pip install flask-authx[sqlalchemy]"
        )
    db: SQLAlchemy | None = app.extensions.get("sqlalchemy")
    if db is None:
        raise BadConfigurationError(
            f"{setting} needs the app's Flask-SQLAlchemy, which is not set up yet: call "
            "db.init_app(app) before authx.init_app(app)."
        )
    return db


def _engine(app: Flask, db: SQLAlchemy, bind_key: str | None, setting: str) -> Engine:
    with app.app_context():
        engines = db.engines
    if bind_key not in engines:
        what = (
            "there is no SQLALCHEMY_DATABASE_URI"
            if bind_key is None
            else f"there is no bind {bind_key!r} in SQLALCHEMY_BINDS"
        )
        raise BadConfigurationError(f"{setting}: {what}.")
    return engines[bind_key]
