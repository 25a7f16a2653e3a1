"""Which connection a call gets, and when: calls wait, and connections come, age and go."""

from __future__ import annotations

import contextlib
import itertools
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from flask_authx.stores.base import MAX_AGE, WAIT_LIMIT, StoreBusyError, StoreError
from flask_authx.stores.sql.connections import Connections, StoreConnection
from flask_authx.stores.sql.pool import UNUSED
from tests.stores.sql.servers import Server, at_once, user_with
from tests.stores.sql.test_connections import Stop, in_use, number
from tests.support.databases import database_url
from tests.support.waiting import later_by, until


def is_waiting(thread: threading.Thread) -> bool:
    """Whether a thread waits for another, as the innermost thing that it does."""
    frames: dict[int, FrameType] = getattr(sys, "_current_frames")()  # noqa: B009 - documented
    frame = frames.get(thread.ident or 0)
    return frame is not None and frame.f_code.co_filename == threading.__file__


@contextlib.contextmanager
def waiting(work: Callable[[], Any]) -> Generator[list[Any]]:
    """A thread that has to wait; its result, or its error, is in the list at the end."""
    outcome: list[Any] = []

    def attempt() -> None:
        try:
            outcome.append(work())
        except Exception as error:  # noqa: BLE001 - the result of some tests
            outcome.append(error)

    thread = threading.Thread(target=attempt)
    thread.start()
    until(lambda: is_waiting(thread))
    yield outcome
    thread.join(60)


@pytest.fixture
def sqlite(tmp_path: Path) -> sa.Engine:
    return sa.create_engine(f"sqlite:///{tmp_path / 'test.db'}")


# Waiting


def test_a_call_waits_longer_than_its_timeout_for_a_connection(sqlite: sa.Engine) -> None:
    """A process with many threads is no failing store."""
    connections = Connections(sqlite, 0.05, size=1)
    with contextlib.ExitStack() as stack:
        holder = stack.enter_context(contextlib.ExitStack())
        holder.enter_context(in_use(connections))
        outcome = stack.enter_context(waiting(lambda: connections.run(number)))
        # Twenty times its timeout.
        threading.Event().wait(1)
        assert outcome == []
        holder.close()
    assert outcome == [42]


def test_a_wait_has_a_limit_and_is_no_failure(sqlite: sa.Engine) -> None:
    connections = Connections(sqlite, 0.05, size=1)
    with in_use(connections):
        began = time.monotonic()
        with pytest.raises(StoreBusyError, match="in use"):
            connections.run(number)
        assert time.monotonic() - began > WAIT_LIMIT - 0.1
    assert connections.run(number) == 42


def test_those_that_wait_get_their_turn(sqlite: sa.Engine) -> None:
    """A thread that asks again and again leaves none of the others without a connection."""
    connections, calls = Connections(sqlite, 30, size=1), itertools.count()

    with contextlib.ExitStack() as stack:

        def begin(_: StoreConnection) -> None:
            outcomes.extend(
                stack.enter_context(waiting(lambda: connections.run(number))) for _ in range(3)
            )

        outcomes: list[list[Any]] = []
        connections.run(begin)
        while not all(outcomes):
            connections.run(number)
            next(calls)
    assert outcomes == [[42]] * 3
    # One for each, and some for threads that have what they waited for and don't run yet.
    assert next(calls) < 1000


@pytest.mark.parametrize("served", [False, True], ids=["waiting", "served"])
def test_a_wait_that_is_broken_off_loses_no_connection(sqlite: sa.Engine, *, served: bool) -> None:
    """By a signal, as a worker's own timeout is, or a greenlet's."""
    connections = Connections(sqlite, 30, size=1)
    holder = contextlib.ExitStack()

    def stop(*_: object) -> None:
        if served:
            # This thread has the connection, and has not noticed.
            holder.close()
        raise Stop

    before = signal.signal(signal.SIGALRM, stop)
    try:
        with holder:
            holder.enter_context(in_use(connections))
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            with pytest.raises(Stop):
                connections.run(number)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert connections.run(number) == 42


def sleeping(connection: StoreConnection) -> None:
    """A call that the server leaves without a response for longer than any timeout here."""
    execute = connection.sqlalchemy.exec_driver_sql
    if connection.sqlalchemy.dialect.name == "postgresql":
        execute("SET statement_timeout = 0")
        execute("SELECT pg_sleep(60)")
    else:
        execute("SET max_statement_time = 0")
        execute("SELECT SLEEP(60)")


def test_to_wait_for_a_store_that_answers_nothing_is_its_failure(server: Server) -> None:
    connections = server.connections(timeout=0.5, size=1)
    assert connections.run(number) == 42
    with ThreadPoolExecutor(1) as pool:
        started = threading.Event()

        def hang(connection: StoreConnection) -> None:
            started.set()
            sleeping(connection)

        hanging = pool.submit(connections.run, hang)
        assert started.wait(30)
        began = time.monotonic()
        with pytest.raises(StoreError, match="answered no call") as caught:
            connections.run(number)
        assert not isinstance(caught.value, StoreBusyError)
        # It ends with the call that hangs.
        assert time.monotonic() - began < WAIT_LIMIT
        with pytest.raises(StoreError, match="in time"):
            hanging.result(60)
    assert connections.run(number) == 42
    connections.close()


# Late responses


def test_a_timeout_closes_its_own_connection_only(server: Server) -> None:
    connections = server.connections(timeout=0.5)
    pids = at_once(connections, 3, server.pid)
    own: list[int] = []

    def hang(connection: StoreConnection) -> None:
        own.append(server.pid(connection))
        sleeping(connection)

    with pytest.raises(StoreError, match="did not respond in time"):
        connections.run(hang)
    others = pids - {*own}
    assert len(others) == 2
    assert at_once(connections, 2, server.pid) == others
    connections.close()


def test_a_response_that_has_arrived_is_read_however_late(tmp_path: Path) -> None:
    """The process had no CPU in which to read it."""
    engine = sa.create_engine(database_url("postgresql", tmp_path))
    connections = Connections(engine, 0.2)

    def late(connection: StoreConnection) -> tuple[int, int]:
        driver: Any = connection.sqlalchemy.connection.dbapi_connection
        driver.pgconn.send_query(b"SELECT pg_backend_pid()")
        # Five times its timeout.
        threading.Event().wait(1)
        result = driver.pgconn.get_result()
        assert driver.pgconn.get_result() is None
        return int(result.get_value(0, 0)), int(connection.timed_out)

    pid, timed_out = connections.run(late)
    assert not timed_out
    assert connections.run(Server("postgresql", "", print).pid) == pid
    connections.close()


# Servers that go away, and those that are full


def test_a_connection_that_the_server_ends_takes_the_idle_ones_with_it(server: Server) -> None:
    """No call pays for it: the work runs once more on a new connection."""
    connections = server.connections()
    pids = at_once(connections, 3, server.pid)
    last = connections.run(server.pid)
    server.end(last)
    assert connections.run(server.pid) not in pids
    until(lambda: server.are_open(*pids) == [False] * 3)
    connections.close()


def test_a_server_without_room_for_one_more_costs_no_call(server: Server) -> None:
    with user_with(server, 1) as (url, _):
        connections = server.connections(url=url)
        pid = connections.run(server.pid)
        with contextlib.ExitStack() as stack:
            holder = stack.enter_context(contextlib.ExitStack())
            holder.enter_context(in_use(connections))
            outcomes = [
                stack.enter_context(waiting(lambda: connections.run(server.pid))) for _ in range(3)
            ]
            holder.close()
        assert outcomes == [[pid]] * 3
        connections.close()
        until(lambda: server.are_open(pid) == [False])


def test_where_no_successor_can_be_opened_an_old_connection_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its server may be one that a fail-over has left behind."""
    reachable = True

    def connect() -> sqlite3.Connection:
        if not reachable:
            raise sqlite3.OperationalError("unable to open")
        return sqlite3.connect(tmp_path / "test.db", check_same_thread=False)

    engine = sa.create_engine("sqlite:///a-name", creator=connect, poolclass=sa.NullPool)
    connections = Connections(engine, 5)
    assert connections.run(number) == 42
    reachable = False
    with later_by(monkeypatch, MAX_AGE + 1):
        for _ in range(2):
            with pytest.raises(OperationalError, match="unable to open"):
                connections.run(number)
        reachable = True
        assert connections.run(number) == 42
    connections.close()


def test_connections_that_are_not_used_are_closed_but_for_one(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    connections = server.connections(timeout=0.5)
    pids = at_once(connections, 4, server.pid)
    assert len(pids) == 4
    last = connections.run(server.pid)
    others = pids - {last}
    assert server.are_open(*others) == [True] * 3
    with later_by(monkeypatch, UNUSED + 1):
        until(lambda: server.are_open(*others) == [False] * 3)
        assert connections.run(server.pid) == last
    connections.close()


def test_stores_of_one_engine_share_their_connections(server: Server) -> None:
    engine = sa.create_engine(server.url)
    first = Connections.shared(engine, 5, 4)
    assert Connections.shared(engine, 5, 4) is first
    assert Connections.shared(engine, 6, 4) is not first
    assert Connections.shared(engine, 5, 5) is not first
    assert Connections.shared(sa.create_engine(server.url), 5, 4) is not first
