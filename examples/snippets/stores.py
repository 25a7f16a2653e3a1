"""docs/stores.rst: stores of revocations, and how apps come by them."""

import logging
import time
from collections.abc import Sequence
from typing import Any

import redis
from flask import Flask
from flask_sqlalchemy import SQLAlchemy

from flask_authx import AuthX, Cutoff, MemoryBlocklist, RedisBlocklist

log = logging.getLogger("stores")

# [factory]
db = SQLAlchemy()
authx = AuthX()


def create_app(config: dict[str, Any]) -> Flask:
    app = Flask(__name__)
    app.config["JWT_BLOCKLIST"] = "sqlalchemy://"
    app.config.from_mapping(config)
    db.init_app(app)  # before authx, which adds its table to the app's
    authx.init_app(app)
    return app


# [tables]
def create_tables(app: Flask) -> None:
    with app.app_context():
        db.create_all()


# [bind]
def with_a_bind(config: dict[str, Any], uri: str) -> Flask:
    """Revocations in another database, or in the same one by a way of their own."""
    return create_app(
        {
            **config,
            "SQLALCHEMY_BINDS": {"authx": uri},
            "JWT_BLOCKLIST": "sqlalchemy://authx",
        }
    )


# [wal]
def use_wal(app: Flask) -> None:
    """Once is enough: the file remembers it."""
    with app.app_context(), db.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA journal_mode = WAL")


# [client]
def with_a_client(config: dict[str, Any], password: str) -> Flask:
    client = redis.Redis(
        host="redis.internal",
        password=password,
        socket_timeout=0.25,
        socket_connect_timeout=1.5,
    )
    app = Flask(__name__)
    app.config.from_mapping(config)
    AuthX(app, blocklist=RedisBlocklist(client))
    return app


# [own]
class WatchedBlocklist(MemoryBlocklist):
    """A store that says when it was slow."""

    def find(self, keys: Sequence[bytes], /) -> Sequence[Cutoff]:
        started = time.perf_counter()
        try:
            return super().find(keys)
        finally:
            if (taken := time.perf_counter() - started) > 0.05:
                log.warning("a look-up of revocations took %.3f s", taken)


# [use]
def with_own_store(config: dict[str, Any]) -> tuple[Flask, AuthX]:
    app = Flask(__name__)
    app.config.from_mapping(config)
    return app, AuthX(app, blocklist=WatchedBlocklist())
