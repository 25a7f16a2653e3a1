"""What the tests of failing stores share: servers to be maltreated, and an app to watch meanwhile.

There is no test in here.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest
import redis
import sqlalchemy as sa
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from werkzeug.test import TestResponse

from flask_authx import AuthX, StoreUnavailableError, current_token
from tests.support import SECRET, access_token, bearer, refresh_token
from tests.support.answers import FAULT, OK, REVOKED, Outcome, ask, outcome
from tests.support.servers.private import Server, mariadb, postgresql, program, redis_server

T = TypeVar("T")

SQL = ("postgresql", "mariadb")
KINDS = (*SQL, "redis")
_PROGRAMS = {"postgresql": "postgres", "mariadb": "mariadbd", "redis": "redis-server"}

#: Seconds. What is promised is 0.25 on an open connection, 2 for the first one, and recovery at
#: most a second after the server is back; the rest is for a machine that has more to do.
ON_OPEN = 0.75
ON_FIRST = 2.0
AT_ONCE = 0.05
RECOVERY = 3.0


@contextlib.contextmanager
def private(kind: str, *options: str) -> Generator[Server]:
    """A server of a test's own; skips, or fails where it must be there, if it isn't installed."""
    if program(_PROGRAMS[kind]) is None:
        what = f"{_PROGRAMS[kind]} is not installed"
        if os.environ.get("AUTHX_REQUIRE_SERVERS"):
            pytest.fail(what)
        pytest.skip(what)
    make = {"postgresql": postgresql, "mariadb": mariadb, "redis": redis_server}[kind]
    with make(*options) as server:
        yield server


def kind_of(server: Server) -> str:
    """One of :data:`KINDS`."""
    return server.url.partition(":")[0].partition("+")[0]


def port_of(server: Server) -> int:
    """The port it listens on."""
    port = sa.make_url(server.url).port
    assert port is not None
    return port


@dataclass
class Site:
    """An app whose view keeps whom it was called for."""

    app: Flask
    authx: AuthX
    db: SQLAlchemy | None
    passed: list[str] = field(default_factory=list[str])

    def token(self, uid: str = "ann") -> str:
        return access_token(self.app, self.authx, uid)

    def refresh_token(self, uid: str = "ann") -> str:
        return refresh_token(self.app, self.authx, uid)

    def ask(self, token: str, path: str = "/guarded") -> TestResponse:
        return ask(self.app, path=path, headers=bearer(token))

    def outcome(self, token: str) -> Outcome:
        return outcome(self.ask(token))

    def revoke(self, token: str) -> None:
        with self.app.app_context():
            self.authx.revoke_token(token)


@contextlib.contextmanager
def site(url: str, *, tables: bool = True, **config: Any) -> Generator[Site]:
    """An app that keeps its revocations there; the settings are given with their ``JWT_``.

    :param tables: whether to create them.
    """
    app = Flask("tests")
    app.config.from_mapping(JWT_SECRET_KEY=SECRET, JWT_BLOCKLIST=url)
    db: SQLAlchemy | None = None
    if "+" in url.partition(":")[0]:
        app.config.from_mapping(JWT_BLOCKLIST="sqlalchemy://", SQLALCHEMY_DATABASE_URI=url)
        app.config.from_mapping(config)
        db = SQLAlchemy(app)
    app.config.from_mapping(config)
    authx = AuthX(app)
    made = Site(app, authx, db)

    def view() -> str:
        made.passed.append(current_token.sub)
        return "passed"

    app.add_url_rule("/guarded", "guarded", authx.token_required(view))
    app.add_url_rule("/refresh", "refresh", authx.refresh_token_required(view))
    with app.app_context():
        if db is not None and tables:
            db.create_all()
            db.engine.dispose()
    try:
        yield made
    finally:
        if db is not None:
            with app.app_context():
                db.engine.dispose()


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """What it returns, and how long it took."""
    begun = time.monotonic()
    answer = work()
    return answer, time.monotonic() - begun


def note(what: str, *seconds: float) -> None:
    """Show figures beside a test's result (``pytest -rP``)."""
    print(f"{what}:", *(f"{one * 1000:.0f} ms" for one in seconds))


def is_fault(response: TestResponse) -> bool:
    """Whether it is the 503 that says when to come again."""
    return outcome(response) == FAULT and response.headers["Retry-After"] == "1"


def refuses(made: Site, token: str, within: float, what: str = "503") -> None:
    """A request is refused in time, those right after it at once, and the view sees none."""
    passed = len(made.passed)
    response, seconds = timed(lambda: made.ask(token))
    later = [timed(lambda: made.ask(token)) for _ in range(9)]
    note(what, seconds, statistics.median(took for _, took in later))
    assert is_fault(response)
    assert seconds < within
    assert all(is_fault(one) for one, _ in later)
    assert statistics.median(took for _, took in later) < AT_ONCE
    assert len(made.passed) == passed


def unavailable_within(made: Site, seconds: float, work: Callable[[AuthX], object]) -> None:
    """What the app asks for fails in time, with the error that makes a 503."""

    def attempt() -> None:
        with made.app.app_context(), pytest.raises(StoreUnavailableError):
            work(made.authx)

    _, took = timed(attempt)
    note("StoreUnavailableError", took)
    assert took < seconds


def recovers(made: Site, token: str, revoked: str | None = None) -> None:
    """The same app soon accepts a good token again, and refuses a revoked one."""
    begun = time.monotonic()
    while (last := made.outcome(token)) != OK:
        assert last == FAULT
        assert time.monotonic() - begun < RECOVERY
        time.sleep(0.02)
    note("recovered after", time.monotonic() - begun)
    if revoked is not None:
        assert made.outcome(revoked) == REVOKED


def writes_again(made: Site, token: str) -> None:
    """The same app soon revokes a token, which is then refused."""
    begun = time.monotonic()
    while True:
        try:
            made.revoke(token)
        except StoreUnavailableError:
            assert time.monotonic() - begun < RECOVERY
            time.sleep(0.02)
        else:
            break
    assert made.outcome(token) == REVOKED


def at_once(number: int, work: Callable[[int], T]) -> list[T]:
    """What as many threads get, all of them started together."""
    with ThreadPoolExecutor(number) as pool:
        return [*pool.map(work, range(number))]


@contextlib.contextmanager
def administration(server: Server) -> Generator[Callable[[str], Any]]:
    """Runs a statement or a command on a connection that stays open."""
    if kind_of(server) == "redis":
        # Many of its commands have no types.
        client: Any = redis.Redis(port=port_of(server), decode_responses=True, max_connections=1)
        client.ping()
        with client:
            yield lambda command: client.execute_command(*command.split(" "))
        return
    engine = sa.create_engine(server.url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:

        def run(statement: str) -> Any:
            result = connection.exec_driver_sql(statement)
            return result.all() if result.returns_rows else None

        yield run


def hang_up_on_all(server: Server, run: Callable[[str], Any]) -> None:
    """Close all connections but that of the administration."""
    if kind_of(server) == "postgresql":
        run(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
    elif kind_of(server) == "mariadb":
        listing = run(
            "SELECT id FROM information_schema.processlist "
            "WHERE id <> connection_id() AND command <> 'Daemon'"
        )
        for (number,) in listing:
            run(f"KILL {number}")
    else:
        run("CLIENT KILL TYPE normal SKIPME yes")
