from __future__ import annotations

import contextlib
import gc
import sqlite3
import threading
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from flask_authx.stores.base import StoreBusyError, StoreError
from flask_authx.stores.circuit_breaker import CircuitBreaker
from flask_authx.stores.sql.connections import Connections, StoreConnection
from tests.support.waiting import until


class Stop(BaseException):
    """Ends whatever runs, as Ctrl-C or a greenlet's timeout does."""


class Opened:
    """Makes the connections of an engine and keeps them, to see what becomes of them."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.made: list[sqlite3.Connection] = []

    def __call__(self) -> sqlite3.Connection:
        made = sqlite3.connect(self.file, check_same_thread=False)
        self.made.append(made)
        return made

    def open(self) -> list[sqlite3.Connection]:
        """Those that have not been closed."""
        found: list[sqlite3.Connection] = []
        for one in self.made:
            with contextlib.suppress(sqlite3.ProgrammingError):
                one.execute("SELECT 1").close()
                found.append(one)
        return found


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    made = Opened(tmp_path / "test.db")
    yield made
    for one in made.made:
        one.close()


@pytest.fixture
def engine(opened: Opened) -> sa.Engine:
    return sa.create_engine(f"sqlite:///{opened.file}", creator=opened)


def number(connection: StoreConnection) -> int:
    [(found,)] = connection.fetch("SELECT 42", ())
    return int(found)


def doing(statement: str) -> Callable[[StoreConnection], object]:
    return lambda connection: connection.sqlalchemy.exec_driver_sql(statement)


def raising(error: BaseException) -> Callable[[StoreConnection], object]:
    def work(connection: StoreConnection) -> object:
        number(connection)
        raise error

    return work


@contextlib.contextmanager
def in_use(connections: Connections) -> Generator[None]:
    """Another thread is at work on a connection."""
    started, ended = threading.Event(), threading.Event()

    def work(connection: StoreConnection) -> bool:
        started.set()
        return ended.wait(30)

    with ThreadPoolExecutor(1) as pool:
        busy = pool.submit(connections.run, work)
        try:
            assert started.wait(30)
            yield
        finally:
            ended.set()
        assert busy.result(30)


def test_a_connection_is_used_again(engine: sa.Engine, opened: Opened) -> None:
    connections = Connections(engine, 5)
    assert [connections.run(number) for _ in range(3)] == [42] * 3
    assert len(opened.made) == 1


def test_each_statement_is_committed(engine: sa.Engine, opened: Opened) -> None:
    connections = Connections(engine, 5)
    connections.run(doing("CREATE TABLE t (x)"))
    connections.run(doing("INSERT INTO t VALUES (1)"))
    with contextlib.closing(sqlite3.connect(opened.file)) as other:
        assert other.execute("SELECT x FROM t").fetchall() == [(1,)]


def test_there_are_never_more_than_may_be(engine: sa.Engine, opened: Opened) -> None:
    connections, all_in_use = Connections(engine, 30, size=3), threading.Barrier(3)

    def with_two_others(connection: StoreConnection) -> int:
        all_in_use.wait(30)
        return number(connection)

    with ThreadPoolExecutor(12) as pool:
        assert [*pool.map(connections.run, [with_two_others] * 60)] == [42] * 60
    assert len(opened.made) == len(opened.open()) == 3


def test_a_call_that_finds_all_in_use_is_refused_in_time(engine: sa.Engine) -> None:
    connections = Connections(engine, 0.05, size=1)
    with in_use(connections):
        begun = time.monotonic()
        with pytest.raises(StoreBusyError):
            connections.run(number)
        assert 0.04 < time.monotonic() - begun < 5
    assert connections.run(number) == 42


def test_that_all_are_in_use_is_no_failure_for_others(engine: sa.Engine) -> None:
    connections, breaker = Connections(engine, 0.05, size=1), CircuitBreaker("the store")
    with in_use(connections), pytest.raises(StoreBusyError):
        breaker.call(connections.run, number)
    assert breaker.call(connections.run, number) == 42


@pytest.mark.parametrize("is_open", [True, False], ids=["open", "first"])
def test_a_lock_that_is_not_given_up_is_no_failure_either(
    engine: sa.Engine, opened: Opened, *, is_open: bool
) -> None:
    connections, breaker = Connections(engine, 0.05), CircuitBreaker("the store")
    with contextlib.closing(sqlite3.connect(opened.file, isolation_level=None)) as other:
        other.execute("CREATE TABLE t (x)")
        if is_open:
            connections.run(lambda connection: connection.fetch("SELECT x FROM t", ()))
        other.execute("BEGIN EXCLUSIVE")
        write = doing("INSERT INTO t VALUES (1)")

        begun = time.monotonic()
        with pytest.raises(StoreBusyError):
            breaker.call(connections.run, write)
        # The driver's own patience is five seconds.
        assert time.monotonic() - begun < 3
        other.execute("COMMIT")
        breaker.call(connections.run, write)
        assert other.execute("SELECT x FROM t").fetchall() == [(1,)]


@pytest.mark.parametrize("fetch", [True, False], ids=["fetch", "execute"])
def test_an_error_of_the_database_leaves_the_connection_in_use(
    engine: sa.Engine, opened: Opened, *, fetch: bool
) -> None:
    connections, query = Connections(engine, 5), "SELECT x FROM nowhere"
    for _ in range(3):
        with pytest.raises(OperationalError):
            connections.run(
                (lambda connection: connection.fetch(query, ())) if fetch else doing(query)
            )
    assert connections.run(number) == 42
    assert len(opened.made) == 1


def test_an_error_does_not_show_what_was_asked_for(engine: sa.Engine) -> None:
    connections = Connections(engine, 5)
    with pytest.raises(OperationalError) as caught:
        connections.run(
            lambda connection: connection.fetch("SELECT x FROM nowhere WHERE x = ?", ("secret",))
        )
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("error", [Stop(), KeyboardInterrupt(), ValueError()])
def test_any_other_error_of_a_call_closes_its_connection(
    engine: sa.Engine, opened: Opened, error: BaseException
) -> None:
    connections = Connections(engine, 0.05, size=1)
    for turn in range(1, 4):
        with pytest.raises(type(error)):
            connections.run(raising(error))
        assert len(opened.made) == turn
        assert opened.open() == []
    # And its place is free.
    assert connections.run(number) == 42


def test_closing_closes_what_is_idle_and_more_may_follow(engine: sa.Engine, opened: Opened) -> None:
    connections = Connections(engine, 5)
    connections.run(number)
    connections.close()
    assert opened.open() == []
    assert connections.run(number) == 42
    assert opened.open() == opened.made[1:]


def test_unused_connections_are_closed(engine: sa.Engine, opened: Opened) -> None:
    connections = Connections(engine, 5)
    connections.run(number)
    assert len(opened.open()) == 1
    del connections
    gc.collect()
    assert opened.open() == []


def test_the_apps_pool_is_neither_used_nor_touched(engine: sa.Engine, opened: Opened) -> None:
    with engine.connect() as connection:
        connections = Connections(engine, 5)
        assert connections.run(number) == 42
        assert len(opened.made) == 2
        engine.dispose()
        assert connections.run(number) == 42
        assert connection.exec_driver_sql("SELECT 42").scalar() == 42
    assert len(opened.made) == 2


def test_maintenance_has_a_connection_of_its_own(engine: sa.Engine, opened: Opened) -> None:
    connections = Connections(engine, 0.05, size=1)
    with in_use(connections), connections.maintenance() as run:
        assert [run(number), run(number)] == [42, 42]
        assert len(opened.made) == 2
    assert opened.open() == opened.made[:1]


def test_maintenance_that_fails_closes_its_connection(engine: sa.Engine, opened: Opened) -> None:
    connections = Connections(engine, 5)
    with pytest.raises(Stop), connections.maintenance() as run:
        run(raising(Stop()))
    assert opened.open() == []


def test_a_database_in_memory_is_kept_after_each_error() -> None:
    connections = Connections(sa.create_engine("sqlite://"), 5)
    assert connections.in_memory
    connections.run(doing("CREATE TABLE t (x)"))
    connections.run(doing("INSERT INTO t VALUES (1)"))

    def rows(connection: StoreConnection) -> list[int]:
        return [row[0] for row in connection.fetch("SELECT x FROM t", ())]

    for error in (Stop(), KeyboardInterrupt(), ValueError()):
        with pytest.raises(type(error)):
            connections.run(raising(error))
        assert connections.run(rows) == [1]
    connections.close()
    assert connections.run(rows) == [1]
    with connections.maintenance() as run:
        assert run(rows) == [1]
    with ThreadPoolExecutor(4) as pool:
        assert [*pool.map(connections.run, [rows] * 20)] == [[1]] * 20


class Gate:
    """Makes an engine's connections, or rather never does before it is opened."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.knocks = 0

    def __call__(self) -> sqlite3.Connection:
        self.knocks += 1
        self.opened.wait(30)
        raise sqlite3.OperationalError("too late")


def test_attempts_to_connect_are_given_up_and_do_not_pile_up() -> None:
    gate = Gate()
    # Connects in a thread, as for every server; the driver itself is never reached.
    engine = sa.create_engine("postgresql+psycopg://", creator=gate)
    connections = Connections(engine, 0.1, size=20)

    def attempt(_: int) -> None:
        with pytest.raises(StoreError, match="too long"):
            connections.run(number)

    with ThreadPoolExecutor(20) as pool:
        assert [*pool.map(attempt, range(20))] == [None] * 20
    # One more is made, and then none for some time.
    attempt(20)
    for _ in range(5):
        with pytest.raises(StoreError, match="still waiting"):
            connections.run(number)
    assert gate.knocks == 21
    gate.opened.set()

    def connects_again() -> bool:
        # The driver's own words, now that an attempt gets as far as that.
        with pytest.raises((StoreError, sqlite3.OperationalError)):
            connections.run(number)
        return gate.knocks > 21

    until(connects_again)
