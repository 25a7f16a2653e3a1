"""Connections to a database server that grow old: replaced beside the calls, and used no more."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from flask_authx.stores.base import MAX_AGE, RENEW_AGE
from flask_authx.stores.sql import pool
from flask_authx.stores.sql.connections import Connections
from tests.stores.sql.servers import Server, at_once, user_with
from tests.stores.sql.test_connections import in_use
from tests.support.waiting import later_by, until

#: Seconds after which a connection is old, but not too old.
OLD = (RENEW_AGE + MAX_AGE) / 2


def test_an_old_connection_is_replaced_where_there_is_room_for_its_successor(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And used on where there is not: the server has just answered that it is there."""
    with user_with(server, 1) as (url, limit_to):
        connections = server.connections(url=url)
        pid = connections.run(server.pid)
        # Too old at first, and refused again and again for minutes.
        for minutes in (1, 2, 3):
            with later_by(monkeypatch, minutes * (MAX_AGE - 1) + 2):
                assert [connections.run(server.pid) for _ in range(3)] == [pid] * 3
                until(lambda: not connecting())
        limit_to(2)
        with later_by(monkeypatch, 4 * MAX_AGE - 2):
            until(lambda: connections.run(server.pid) != pid)
            new = connections.run(server.pid)
            until(lambda: server.are_open(pid, new) == [False, True])
        connections.close()
        until(lambda: server.are_open(new) == [False])


#: The threads that other tests have left: an attempt to connect may hang.
others: set[threading.Thread] = set()


@pytest.fixture(autouse=True)
def note_others() -> Iterator[None]:
    others.update(threading.enumerate())
    yield
    others.clear()


def connecting() -> list[str]:
    mine = {*threading.enumerate()} - others
    return [one.name for one in mine if one.name == "authx-connect"]


class Door:
    """What opens a connection waits here, until it is let in."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine, self.knocks = engine, 0
        self._open = threading.Event()
        self._open.set()
        event.listen(engine, "do_connect", self._wait)

    @contextlib.contextmanager
    def closed(self) -> Generator[None]:
        self._open.clear()
        try:
            yield
        finally:
            self._open.set()

    def _wait(self, *_: object) -> None:
        self.knocks += 1
        assert self._open.wait(60)


@pytest.fixture
def door(server: Server) -> Iterator[tuple[Connections, Door]]:
    engine = sa.create_engine(server.url)
    door, connections = Door(engine), Connections(engine, 30, 3)
    yield connections, door
    connections.close()
    until(lambda: not connecting())


def test_calls_go_on_while_the_successor_of_an_old_connection_is_opened(
    server: Server, door: tuple[Connections, Door], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No call pays for a handshake, or for one that takes longer than a call may."""
    connections, entry = door
    pid = connections.run(server.pid)
    with later_by(monkeypatch, RENEW_AGE - 1):
        assert [connections.run(server.pid) for _ in range(3)] == [pid] * 3
        assert entry.knocks == 1
    with later_by(monkeypatch, OLD):
        with entry.closed():
            for _ in range(5):
                assert connections.run(server.pid) == pid
                until(lambda: entry.knocks == 2)
            assert server.are_open(pid) == [True]
        until(lambda: server.are_open(pid) == [False])
        new = connections.run(server.pid)
    with entry.closed(), later_by(monkeypatch, MAX_AGE + 5):
        # Nothing waits at the door.
        assert connections.run(server.pid) == new != pid
    assert entry.knocks == 2


def test_a_call_returns_a_connection_whose_successor_is_open(
    server: Server, door: tuple[Connections, Door], monkeypatch: pytest.MonkeyPatch
) -> None:
    connections, entry = door
    pid = connections.run(server.pid)
    with later_by(monkeypatch, OLD):
        with in_use(connections):
            until(lambda: entry.knocks == 2 and not connecting())
            new = connections.run(server.pid)
            assert server.are_open(pid, new) == [True, True]
        # Without a further call.
        until(lambda: server.are_open(pid) == [False])
        assert connections.run(server.pid) == new != pid
        assert entry.knocks == 2


def test_connections_are_replaced_one_by_one_and_are_no_more_than_before(
    server: Server, door: tuple[Connections, Door], monkeypatch: pytest.MonkeyPatch
) -> None:
    connections, entry = door
    # They are all in use, however late it is.
    monkeypatch.setattr(pool, "UNUSED", 10 * MAX_AGE)
    first = at_once(connections, 3, server.pid)
    assert len(first) == 3
    with later_by(monkeypatch, OLD):
        with entry.closed():
            assert at_once(connections, 3, server.pid) == first
            until(lambda: entry.knocks == 4)
        until(lambda: not first & at_once(connections, 3, server.pid))
        assert len(at_once(connections, 3, server.pid)) == 3
        until(lambda: server.are_open(*first) == [False] * 3)
    assert entry.knocks == 6


def test_none_of_several_calls_uses_a_connection_that_is_too_old(
    server: Server, door: tuple[Connections, Door], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether one of them tries to open a successor or not: to open it takes too long."""
    _, entry = door
    connections = Connections(entry.engine, 2, 3)
    monkeypatch.setattr(pool, "UNUSED", 10 * MAX_AGE)
    first = at_once(connections, 3, server.pid)
    assert len(first) == 3
    with later_by(monkeypatch, MAX_AGE + 1):
        with entry.closed(), ThreadPoolExecutor(3) as threads:
            calls = [threads.submit(connections.run, server.pid) for _ in range(3)]
            assert {str(one.exception(60)) for one in calls} == {"connecting took too long"}
        monkeypatch.undo()
    with later_by(monkeypatch, MAX_AGE + 1):
        # What was opened late is used nevertheless, and what it replaces is closed.
        until(lambda: not connecting())
        assert connections.run(server.pid) not in first
        until(lambda: server.are_open(*first) == [False] * 3)
    connections.close()


@pytest.mark.parametrize("age", [OLD, MAX_AGE + 1], ids=["old", "too old"])
def test_threads_that_cannot_be_started_cost_no_call_before_a_connection_is_too_old(
    age: float, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    connections = server.connections()
    pid = connections.run(server.pid)

    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with later_by(monkeypatch, age):
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", start)
            if age == OLD:
                assert connections.run(server.pid) == pid
            else:
                with pytest.raises(RuntimeError, match="new thread"):
                    connections.run(server.pid)
        # After the pause that follows.
        until(lambda: connections.run(server.pid) != pid)
    connections.close()
