"""Opening the stores of one app, which ``JWT_BLOCKLIST`` names or ``AuthX`` was given."""

from __future__ import annotations

import importlib.util
import re
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from flask import Flask, has_app_context

from flask_authx.enums import OnError
from flask_authx.errors import BadConfigurationError
from flask_authx.http.callbacks import Callbacks
from flask_authx.sessions.revocations import AuditTrail
from flask_authx.sessions.rotation import Sessions
from flask_authx.settings.options import Settings
from flask_authx.stores.blocklist import Blocklist
from flask_authx.stores.circuit_breaker import Observer
from flask_authx.stores.lookup_keys import LookupKeys
from flask_authx.stores.session_store import SessionStore

if TYPE_CHECKING:
    from flask_sqlalchemy import SQLAlchemy
    from sqlalchemy import Engine, MetaData

    from flask_authx.stores.redis.server import Client, RedisServer
    from flask_authx.stores.sql.uncommitted_writes import OwnWrites


#: The schemes of Redis URLs.
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
#: The Redis servers of each app by URL, timeout and number of connections.
_redis_servers: weakref.WeakKeyDictionary[Flask, dict[tuple[str, float, int], RedisServer]] = (
    weakref.WeakKeyDictionary()
)


def open_blocklist(
    app: Flask, callbacks: Callbacks, settings: Settings, clock: Clock
) -> Blocklist | None:
    """The app's store of revocations; ``None`` if it has none.

    :raises BadConfigurationError: with the problem and the setting's name.
    """
    setting = f"{settings.prefix}BLOCKLIST"
    store: Blocklist | None = callbacks.blocklist
    if store is not None and settings.blocklist is not None:
        raise BadConfigurationError(
            f"{setting}: AuthX was given a store as well (blocklist=): choose one."
        )
    if store is not None:
        _check_store(store, setting, "blocklist", _BLOCKLIST_MEMBERS)
    if settings.blocklist is not None:
        store = _open_blocklist(app, settings.blocklist, settings, clock)
    if store is None and settings.blocklist_on_error is OnError.ACCEPT:
        raise BadConfigurationError(
            f"{setting}_ON_ERROR has no effect without a store: set {setting}, or remove it. If a "
            "callback fails, the response is always a 503."
        )
    return store


def open_sessions(
    app: Flask, callbacks: Callbacks, settings: Settings, clock: Clock, observer: Observer
) -> Sessions | None:
    """The stored sessions; ``None`` if sessions are not stored.

    :raises BadConfigurationError: with the problem and the setting's name.
    """
    setting = f"{settings.prefix}SESSIONS"
    store = callbacks.sessions
    if store is None and not settings.sessions:
        problems = [
            f"{settings.prefix}{name} has no effect, since sessions are not stored: set {setting} "
            "to True, or remove it."
            for name in settings.unused_session_settings()
        ]
        if problems:
            raise BadConfigurationError(problems)
        return None
    if settings.blocklist is None and callbacks.blocklist is None:
        raise BadConfigurationError(
            f"{setting}: reuse of a refresh token revokes its session, and there is no store of "
            f"revocations: set {settings.prefix}BLOCKLIST, or give AuthX a store (blocklist=)."
        )
    if store is not None:
        setting = f"{settings.prefix}BLOCKLIST"
        _check_store(store, setting, "sessions", _SESSION_STORE_MEMBERS)
    elif settings.blocklist is None:
        raise BadConfigurationError(
            f"{setting}: AuthX was given a store of revocations (blocklist=): give it a "
            "session store as well (sessions=)."
        )
    else:
        store = _open_session_store(app, settings.blocklist, settings, clock)
    lookup_keys = LookupKeys(settings.issuer, settings.scope_name(callbacks.name))
    return Sessions(store, settings, lookup_keys, observer=observer)


def _open_session_store(app: Flask, url: str, settings: Settings, clock: Clock) -> SessionStore:
    """The session store beside the store of revocations, whose URL has been checked."""
    scheme, rest = _split_url(url)
    if scheme == "memory":
        from flask_authx.stores.memory import MemorySessions

        return MemorySessions(clock)
    if scheme != "sqlalchemy":
        from flask_authx.stores.redis.sessions import RedisSessions

        return RedisSessions(_redis_client(app, url, settings))
    database = _database(app, rest, f"{settings.prefix}BLOCKLIST")
    from flask_authx.stores.sql.sessions import SQLAlchemySessions

    return SQLAlchemySessions(
        database.engine,
        metadata=database.metadata,
        timeout=settings.store_timeout,
        connections=settings.store_connections,
        own_writes=database.own_writes,
        clock=clock,
    )


def open_trail(
    app: Flask, callbacks: Callbacks, settings: Settings, clock: Clock, observer: Observer
) -> AuditTrail | None:
    """The app's audit trail; ``None`` if there is none.

    It is in the database of the revocations if that is one of Flask-SQLAlchemy's, else in the
    default one.

    :raises BadConfigurationError: if there is no such database.
    """
    if settings.audit is None:
        return None
    setting = f"{settings.prefix}AUDIT"
    if settings.blocklist is None and callbacks.blocklist is None:
        raise BadConfigurationError(
            f"{setting} has no effect without a store of revocations: set "
            f"{settings.prefix}BLOCKLIST, or remove it."
        )
    scheme, rest = _split_url(settings.blocklist or "")
    database = _database(app, rest if scheme == "sqlalchemy" else "", setting)
    from flask_authx.stores.sql.audit_trail import SQLAuditTrail
    from flask_authx.stores.sql.tables import audit_table

    return SQLAuditTrail(
        database.engine,
        audit_table(database.metadata),
        timeout=settings.store_timeout,
        connections=settings.store_connections,
        own_writes=database.own_writes,
        clock=clock,
        observer=observer,
    )


def _open_blocklist(app: Flask, url: str, settings: Settings, clock: Clock) -> Blocklist:
    setting = f"{settings.prefix}BLOCKLIST"
    scheme, rest = _split_url(url)
    if scheme == "memory":
        if rest:
            raise BadConfigurationError(f"{setting}: nothing comes after memory://.")
        from flask_authx.stores.memory import MemoryBlocklist

        return MemoryBlocklist(clock)
    if scheme == "sqlalchemy":
        return _open_sqlalchemy(app, rest, settings, clock)
    if scheme in REDIS_SCHEMES:
        return _open_redis(app, url, settings)
    if scheme.partition("+")[0] in ("sqlite", "postgresql", "postgres", "mysql", "mariadb"):
        raise BadConfigurationError(
            f"{setting}: set SQLALCHEMY_DATABASE_URI to the database's URL, and {setting} to "
            "sqlalchemy://."
        )
    raise BadConfigurationError(
        f"{setting}: there is no store for {scheme[:20]!r}: choose from memory, sqlalchemy, "
        f"{', '.join(REDIS_SCHEMES)}."
    )


#: The attributes that a store must have.
_BLOCKLIST_MEMBERS = (
    "per_process",
    "find",
    "find_dated",
    "add",
    "add_if_absent",
    "sweep",
    "prune",
    "count",
    "risks",
)
_SESSION_STORE_MEMBERS = (
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


def _check_store(store: object, setting: str, parameter: str, members: tuple[str, ...]) -> None:
    """Refuse an object that is not a store now, and not at the first request."""
    if isinstance(store, str):
        raise BadConfigurationError(
            f"{parameter}= takes a store, such as RedisBlocklist(client): a URL goes into the "
            f"setting {setting}."
        )
    protocol = "Blocklist" if parameter == "blocklist" else "SessionStore"
    for name in members:
        if isinstance(store, type) or not hasattr(store, name):
            raise BadConfigurationError(
                f"{parameter}= takes a store, and {store!r:.60} has no {name}: see {protocol}."
            )


def _open_redis(app: Flask, url: str, settings: Settings) -> Blocklist:
    setting = f"{settings.prefix}BLOCKLIST"
    try:
        importlib.import_module("redis")
        # A folder named redis can be imported, too, but has no client.
        from flask_authx.stores.redis.revocations import RedisBlocklist
    except ImportError:
        raise BadConfigurationError(
            f"{setting} needs the package redis: pip install flask-authx[redis]"
        ) from None
    try:
        return RedisBlocklist(_redis_client(app, url, settings))
    except ValueError as error:
        raise BadConfigurationError(f"{setting}: {error}.") from None


def _redis_client(app: Flask, url: str, settings: Settings) -> Callable[[], Client]:
    """A function that gives the client of a URL: one, so that an app's stores share connections.

    :raises ValueError: if the URL is invalid.
    """
    from flask_authx.stores.redis.server import RedisServer
    from flask_authx.stores.redis.urls import client_for

    servers = _redis_servers.setdefault(app, {})
    key = (url, settings.store_timeout, settings.store_connections)
    if key not in servers:
        client = client_for(*key, prefix=settings.prefix)
        servers[key] = RedisServer(client, f"{settings.prefix}BLOCKLIST")
    server = servers[key]
    return lambda: server.client


def _open_sqlalchemy(app: Flask, rest: str, settings: Settings, clock: Clock) -> Blocklist:
    database = _database(app, rest, f"{settings.prefix}BLOCKLIST")
    from flask_authx.stores.sql.revocations import SQLAlchemyBlocklist

    return SQLAlchemyBlocklist(
        database.engine,
        metadata=database.metadata,
        timeout=settings.store_timeout,
        connections=settings.store_connections,
        own_writes=database.own_writes,
        clock=clock,
    )


class _Database(NamedTuple):
    """A database of the app's Flask-SQLAlchemy."""

    engine: Engine
    metadata: MetaData
    own_writes: OwnWrites | None


def _database(app: Flask, rest: str, setting: str) -> _Database:
    """The database that ``sqlalchemy://`` names, or the default one.

    :param rest: the URL without its scheme: a bind key, or empty.
    :raises BadConfigurationError: if there is no such database.
    """
    bind_key = _bind_key(rest, setting)
    db = _flask_sqlalchemy(app, setting)
    from flask_authx.stores.sql.uncommitted_writes import uncommitted_writes

    engine = _engine(app, db, bind_key, setting)
    own_writes = uncommitted_writes(db.session, engine, has_app_context)
    return _Database(engine, db.metadatas[bind_key], own_writes)


def _split_url(url: str) -> tuple[str, str]:
    """The scheme of a store's URL, and the rest."""
    scheme, _, rest = url.partition("://")
    return scheme, rest.strip("/")


def _bind_key(rest: str, setting: str) -> str | None:
    if not re.fullmatch(r"[\w.-]*", rest):
        # The URL is not quoted: that of a database holds a password.
        raise BadConfigurationError(
            f"{setting}: after sqlalchemy:// comes nothing or a bind key. The URL of a database "
            "belongs in SQLALCHEMY_DATABASE_URI or SQLALCHEMY_BINDS."
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
        missing = "SQLALCHEMY_DATABASE_URI"
        if bind_key is not None:
            missing = f"bind {bind_key!r} in SQLALCHEMY_BINDS"
        raise BadConfigurationError(f"{setting}: there is no {missing}.")
    from flask_authx.stores.sql.connecting import driver_problem

    problem = driver_problem(engines[bind_key])
    if problem is not None:
        raise BadConfigurationError(f"{setting}: {problem}.")
    return engines[bind_key]
