"""What the tests of failing stores share: servers that are made to fail, and apps that use them."""

from __future__ import annotations

import atexit
import contextlib
import functools
import socket
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
from tests.support.databases import private_server
from tests.support.servers.private import Server
from tests.support.waiting import until

T = TypeVar("T")

SQL = ("postgresql", "mariadb")
KINDS = (*SQL, "redis")
#: Of PostgreSQL.
DRIVERS = ("psycopg", "psycopg2")

#: Seconds. What is promised is 0.25 on an open connection, 2 for the first one, and recovery at
#: most a second after the server is back; the rest is for a machine that has more to do, and less
#: than a call takes that nothing ends.
ON_OPEN = 2.0
ON_FIRST = 6.0
AT_ONCE = 0.2
RECOVERY = 10.0

PASSWORD = "4-pass-word-of-the-store"

#: As few connections as the tests can do with, so that they are soon used up.
FEW = {
    "postgresql": ["max_connections=16"],
    "mariadb": ["--max-connections=16"],
    "redis": f"--maxclients 16 --user app on >{PASSWORD} ~* &* +@all".split(),
}


@functools.cache
def _shared(kind: str) -> Server:
    """The server of this kind that this process makes fail; stopped when the process ends."""
    stack = contextlib.ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(private_server(kind, *FEW[kind]))


def shared(kind: str) -> Server:
    """The server of this kind that this process makes fail: running and without a table or key.

    Whatever an earlier test has left it in is repaired, but for its configuration.
    """
    server = _shared(kind)
    server.repair()
    with administration(server) as run:
        hang_up_on_all(server, run)
        run("FLUSHALL" if kind == "redis" else "DROP TABLE IF EXISTS authx_blocklist")
        if kind == "mariadb":
            run(f"CREATE OR REPLACE USER app@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'")
            run("GRANT ALL ON test.* TO app@'127.0.0.1'")
        elif kind == "redis":
            run(f"ACL SETUSER app resetpass >{PASSWORD}")
    return server


def failing(kind: str) -> pytest.MarkDecorator:
    """A mark: the tests that share a server run in one process."""
    return pytest.mark.xdist_group(f"failing {'postgresql' if kind in DRIVERS else kind}")


def app_url(server: Server, driver: str = "psycopg") -> str:
    """The URL that an app uses, with a password that the server asks for, or at least accepts.

    In MariaDB it is a user who may not do everything, as ``root`` may.
    """
    if kind_of(server) == "redis":
        return server.url.replace("redis://", f"redis://app:{PASSWORD}@")
    user = "app" if kind_of(server) == "mariadb" else "root"
    url = server.url.replace("root@", f"{user}:{PASSWORD}@")
    return url.replace("+psycopg:", f"+{driver}:")


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
    """An app whose view keeps the subjects it was called for."""

    app: Flask
    authx: AuthX
    db: SQLAlchemy | None
    passed: list[str] = field(default_factory=list[str])

    def token(self, uid: str = "ann") -> str:
        """An access token of a new session, soon: the first one writes the mark of the scope."""
        made: list[str] = []

        def begun() -> bool:
            with contextlib.suppress(StoreUnavailableError):
                made.append(access_token(self.app, self.authx, uid))
            return bool(made)

        until(begun, timeout=RECOVERY, what="a session")
        return made[0]

    def refresh_token(self, uid: str = "ann") -> str:
        return refresh_token(self.app, self.authx, uid)

    def ask(self, token: str, path: str = "/guarded") -> TestResponse:
        return ask(self.app, path=path, headers=bearer(token))

    def outcome(self, token: str) -> Outcome:
        return outcome(self.ask(token))

    def revoke(self, token: str) -> None:
        """Revoke it, soon: a busy machine, or a store that has just failed, may need some time."""

        def written() -> bool:
            with self.app.app_context(), contextlib.suppress(StoreUnavailableError):
                self.authx.revoke_token(token)
                return True
            return False

        until(written, timeout=RECOVERY, what="a revocation")


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
    result = work()
    return result, time.monotonic() - begun


def note(what: str, *seconds: float) -> None:
    """Show figures beside a test's result (``pytest -rP``)."""
    print(f"{what}:", *(f"{one * 1000:.0f} ms" for one in seconds))


def is_refused(response: TestResponse) -> None:
    """It is the 503 that says when to come again."""
    assert outcome(response) == FAULT
    assert response.headers["Retry-After"] == "1", "Retry-After of a 503"


def refuses(made: Site, token: str, within: float, what: str = "503") -> None:
    """A request is refused in time, those right after it at once, and the view sees none."""
    passed = len(made.passed)
    response, seconds = timed(lambda: made.ask(token))
    later = [timed(lambda: made.ask(token)) for _ in range(9)]
    median = statistics.median(took for _, took in later)
    note(what, seconds, median)
    for one in (response, *(one for one, _ in later)):
        is_refused(one)
    assert seconds < within, f"{what}: the first 503 took {seconds} s, not {within}"
    assert median < AT_ONCE, f"{what}: later 503s took {median} s, not {AT_ONCE}"
    assert made.passed[passed:] == [], f"{what}: the view was called"


def unavailable_within(
    made: Site, seconds: float, work: Callable[[AuthX], object], what: str = "work"
) -> None:
    """What the app asks for fails in time, with the error that makes a 503."""

    def attempt() -> object:
        with made.app.app_context():
            try:
                return work(made.authx)
            except StoreUnavailableError as error:
                return error

    result, took = timed(attempt)
    note(f"{what}, StoreUnavailableError", took)
    assert isinstance(result, StoreUnavailableError), f"{what}: {result!r}"
    assert took < seconds, f"{what}: it took {took} s to fail, not {seconds}"


def recovers(made: Site, token: str, revoked: str | None = None) -> None:
    """The same app soon accepts a valid token again, and refuses a revoked one."""

    def accepted() -> bool:
        last = made.outcome(token)
        if last != OK:
            assert last == FAULT
        return last == OK

    _, seconds = timed(lambda: until(accepted, timeout=RECOVERY, what="a 200 after the failure"))
    note("recovered after", seconds)
    if revoked is not None:
        assert made.outcome(revoked) == REVOKED


def writes_again(made: Site, token: str) -> None:
    """The same app soon revokes a token, which is then refused."""
    made.revoke(token)
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


@contextlib.contextmanager
def full_port() -> Generator[int]:
    """A port where no connection is opened, since its queue is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        port: int = listener.getsockname()[1]
        for _ in range(3):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", port))
        yield port
