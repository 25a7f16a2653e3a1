"""The servers that tests talk to: those on this machine's standard ports, or others by URL.

A test that needs a server which doesn't answer skips and says so; it fails instead where
``AUTHX_REQUIRE_SERVERS`` is set. Each test process has databases of its own, so that test runs
can be side by side.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import uuid
from collections.abc import Generator
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

import pytest
import redis
import sqlalchemy as sa
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.exc import OperationalError

from flask_authx import AuthX
from tests.support import SECRET
from tests.support.servers.private import Server, mariadb, postgresql, program, redis_server
from tests.support.servers.reserved import reserve

#: The variable that names each server, and where it is looked for without.
SERVERS = {
    "postgresql": ("TEST_POSTGRES_URL", "postgresql+psycopg://root@127.0.0.1:5432/test"),
    "mariadb": ("TEST_MARIADB_URL", "mariadb+pymysql://root@127.0.0.1:3306/test"),
    "redis": ("TEST_REDIS_URL", "redis://127.0.0.1:6379/0"),
}
#: The databases of a Redis server that are for tests; the lower ones are left to other uses.
REDIS_DATABASES = range(8, 16)
#: Every store that the same promises hold for.
STORES = ("memory", "sqlite", "sqlite-memory", "postgresql", "psycopg2", "mariadb", "redis")
#: Those whose entries other processes see.
SHARED = ("sqlite", "postgresql", "mariadb", "redis")


def unavailable(kind: str, error: Exception) -> NoReturn:
    """Skip, or fail where the servers must be there."""
    variable, _ = SERVERS[kind]
    what = f"no {kind} answers ({type(error).__name__}): start it, or name one in {variable}"
    if os.environ.get("AUTHX_REQUIRE_SERVERS"):
        pytest.fail(what)
    pytest.skip(what)


@contextlib.contextmanager
def private_server(kind: str, *options: str) -> Generator[Server]:
    """A server of a test's own; skips, or fails where it must be there, if it isn't installed."""
    needed = {"postgresql": "postgres", "mariadb": "mariadbd", "redis": "redis-server"}[kind]
    if program(needed) is None:
        unavailable(kind, FileNotFoundError(needed))
    start = {"postgresql": postgresql, "mariadb": mariadb, "redis": redis_server}[kind]
    with start(*options) as server:
        yield server


def server_url(kind: str) -> str:
    """The URL of a server, whether it answers or not."""
    variable, default = SERVERS[kind]
    return os.environ.get(variable) or default


@functools.cache
def _database(kind: str) -> str | OperationalError:
    """A new database on a server, dropped at the end of this process; or why there is none."""
    name = f"authx_{uuid.uuid4().hex[:12]}"
    url = sa.make_url(server_url(kind))
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {name}")
    except OperationalError as error:
        return error

    def drop() -> None:
        force = " WITH (FORCE)" if kind == "postgresql" else ""
        with engine.connect() as connection:
            connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {name}{force}")

    atexit.register(drop)
    return url.set(database=name).render_as_string(hide_password=False)


def database_url(kind: str, folder: Path) -> str:
    """The URL of a database for SQLAlchemy: a new file, or this process's own on a server."""
    if kind == "sqlite":
        return f"sqlite:///{folder / 'test.db'}"
    if kind == "sqlite-memory":
        return "sqlite://"
    found = _database("postgresql" if kind == "psycopg2" else kind)
    if isinstance(found, OperationalError):
        unavailable("postgresql" if kind == "psycopg2" else kind, found)
    return found.replace("+psycopg:", "+psycopg2:") if kind == "psycopg2" else found


@functools.cache
def redis_database(url: str, *, or_private: bool) -> str:
    """The URL of a database on this Redis server that only this process uses.

    :param or_private: start a private server if all databases for tests are in use, in place of
        failing. Not for a server that was named for this run: it is the one to be tested.
    """
    with _client(url) as client:
        # One server may have several addresses.
        run_id: str = client.info("server")["run_id"]
    number = reserve(f"redis {run_id}", len(REDIS_DATABASES))
    if number is not None:
        return urlsplit(url)._replace(path=f"/{REDIS_DATABASES[number]}").geturl()
    if not or_private or program("redis-server") is None:
        pytest.fail(
            f"all {len(REDIS_DATABASES)} Redis databases for tests are in use by other processes: "
            "use fewer workers (-n), or name another server in TEST_REDIS_URL"
        )
    private = contextlib.ExitStack()
    atexit.register(private.close)
    return private.enter_context(redis_server()).url


def redis_url() -> str:
    """The URL of a Redis database that only this process uses, without entries."""
    variable, _ = SERVERS["redis"]
    try:
        url = redis_database(server_url("redis"), or_private=not os.environ.get(variable))
        with _client(url) as client:
            for key in client.scan_iter(match="authx:*", count=1000):
                client.delete(key)
    except redis.RedisError as error:
        unavailable("redis", error)
    return url


def _client(url: str) -> Any:
    # Many of its commands have no types.
    untyped: Any = redis.Redis
    return untyped.from_url(url, socket_timeout=10, socket_connect_timeout=2, decode_responses=True)


def settings_for(kind: str, folder: Path) -> dict[str, Any]:
    """The settings with which an app keeps its revocations in such a store."""
    if kind == "memory":
        return {"JWT_BLOCKLIST": "memory://"}
    if kind == "redis":
        return {"JWT_BLOCKLIST": redis_url()}
    return {
        "JWT_BLOCKLIST": "sqlalchemy://",
        "SQLALCHEMY_DATABASE_URI": database_url(kind, folder),
    }


def app_on(settings: dict[str, Any], **kwargs: Any) -> tuple[Flask, AuthX]:
    """An app with ``AuthX`` and these settings, its tables made anew.

    A slow machine is no fault here: the store may take its time unless a test says otherwise.

    :param kwargs: for :class:`AuthX`.
    """
    app = Flask("tests")
    app.config.from_mapping(JWT_SECRET_KEY=SECRET, JWT_STORE_TIMEOUT=10)
    app.config.from_mapping(settings)
    db = SQLAlchemy(app) if "SQLALCHEMY_DATABASE_URI" in app.config else None
    authx = AuthX(app, **kwargs)
    if db is not None:
        with app.app_context():
            db.drop_all()
            db.create_all()
            # Nothing is left in the app's pool for the garbage collector to complain about.
            for engine in db.engines.values():
                if engine.url.database:
                    engine.dispose()
    return app, authx
