"""What listens to the waits for a connection can't do the calls any harm."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from flask_authx.stores.base import reports_wait, wait_listeners
from flask_authx.stores.redis.server import RedisServer
from flask_authx.stores.redis.urls import client_for
from flask_authx.stores.sql.connections import Connections
from tests.stores.sql.test_connections import number
from tests.support.databases import redis_url
from tests.support.failing import at_once

Listeners = dict[object, Callable[[str, float], None]]

#: Twice as many calls at the same moment as there may be connections.
CONNECTIONS, CALLS = 2, 4


@pytest.fixture
def listeners(
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Listeners]:
    """Those of the process, without what other tests have left."""
    before = wait_listeners.copy()
    wait_listeners.clear()
    yield wait_listeners
    wait_listeners.clear()
    wait_listeners.update(before)


def sql_call(folder: Path) -> Callable[[], object]:
    engine = sa.create_engine(f"sqlite:///{folder / 'test.db'}")
    connections = Connections(engine, 10, CONNECTIONS)
    return lambda: connections.run(number)


def redis_call(_: Path) -> Callable[[], object]:
    store = RedisServer(client_for(redis_url(), 10, CONNECTIONS), "the test")
    return lambda: store.call("PING")


@pytest.mark.parametrize("kind", [sql_call, redis_call])
def test_a_listener_that_raises_costs_no_connection(
    kind: Callable[[Path], Callable[[], object]],
    tmp_path: Path,
    listeners: Listeners,
    caplog: pytest.LogCaptureFixture,
) -> None:
    told, error = list[str](), RuntimeError("with a secret")

    def fail(name: str, seconds: float) -> None:
        told.append(name)
        raise error

    call, others = kind(tmp_path), list[str]()
    listeners["failing"] = fail
    listeners["other"] = lambda name, seconds: others.append(name)
    first = call()
    together = threading.Barrier(CALLS)

    def ask(_: int) -> None:
        together.wait(60)
        for _ in range(20):
            assert call() == first

    at_once(CALLS, ask)
    # More often than there are connections: each would have been lost.
    while len(told) <= CONNECTIONS:
        at_once(CALLS, ask)
    assert others == told
    lines = [one for one in caplog.records if one.name == "flask_authx"]
    assert {one.levelno for one in lines} == {logging.ERROR}
    assert "raised RuntimeError" in lines[0].getMessage()
    assert "secret" not in caplog.text


def test_listeners_may_come_while_others_are_told(
    listeners: Listeners,
) -> None:
    numbers = itertools.count()

    def ignore(name: str, seconds: float) -> None:
        assert seconds >= 0, name

    def add(name: str, seconds: float) -> None:
        ignore(name, seconds)
        listeners[next(numbers)] = ignore

    listeners["adding"] = add
    wait = reports_wait("sql")(lambda: 42)
    assert [wait(), wait()] == [42, 42]
    assert len(listeners) == 3
