"""Which connections to an SQL database are asked again: none that is old, cut off or broken."""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask, current_app
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError

from flask_authx import Entry, Kind
from flask_authx.stores.base import MAX_AGE
from flask_authx.stores.sql.connections import Connections, StoreConnection
from tests.stores.contract import ALL, HOUR, found, new_key, plain, sql_store
from tests.stores.sql.test_connections import number
from tests.support.databases import database_url
from tests.support.waiting import later_by, until

DRIVERS = ("postgresql", "psycopg2")


@contextlib.contextmanager
def engine_on(kind: str, folder: Path) -> Generator[sa.Engine]:
    """A database of this process."""
    engine = sa.create_engine(database_url(kind, folder), poolclass=sa.NullPool)
    try:
        yield engine
    finally:
        engine.dispose()


def run(engine: sa.Engine, statement: str) -> None:
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        connection.exec_driver_sql(statement)


@pytest.mark.parametrize("kind", ["sqlite", "sqlite-memory"])
def test_a_connection_is_not_used_longer_than_a_minute(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name of a server may lead to another one by now; what is in memory is nowhere else."""
    files = [tmp_path / "old.db", tmp_path / "new.db"]
    for place, file in enumerate(files):
        with contextlib.closing(sqlite3.connect(file)) as line:
            line.execute(f"CREATE TABLE t AS SELECT {place} AS x")
    leads_to = files[0]

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(leads_to, check_same_thread=False)

    def asked(connection: StoreConnection) -> int:
        [(found,)] = connection.fetch("SELECT x FROM t", ())
        return int(found)

    if kind == "sqlite":
        engine = sa.create_engine("sqlite:///a-name", creator=connect, poolclass=sa.NullPool)
    else:
        engine = sa.create_engine("sqlite://")
    connections = Connections(engine, 5)
    if kind == "sqlite-memory":
        connections.run(
            lambda connection: connection.sqlalchemy.exec_driver_sql("CREATE TABLE t (x)")
        )
        connections.run(
            lambda connection: connection.sqlalchemy.exec_driver_sql("INSERT INTO t VALUES (0)")
        )
    assert connections.run(asked) == 0
    leads_to = files[1]
    assert connections.run(asked) == 0
    with later_by(monkeypatch, MAX_AGE - 5):
        assert connections.run(asked) == 0
    with later_by(monkeypatch, MAX_AGE + 1):
        assert connections.run(asked) == (1 if kind == "sqlite" else 0)
    connections.close()


@pytest.mark.parametrize("kind", [*DRIVERS, "mariadb"])
def test_a_result_that_came_as_the_line_was_cut_breaks_no_later_call(
    kind: str, tmp_path: Path
) -> None:
    with engine_on(kind, tmp_path) as engine:
        connections = Connections(engine, 0.5)
        assert connections.run(number) == 42

        def late(connection: StoreConnection) -> int:
            result = number(connection)
            until(lambda: connection.timed_out, timeout=60)
            return result

        assert connections.run(late) == 42
        assert [connections.run(number) for _ in range(3)] == [42] * 3
        connections.close()


@pytest.mark.parametrize("kind", DRIVERS)
def test_a_server_that_takes_writes_again_gets_them(kind: str, tmp_path: Path) -> None:
    """A connection may stay read-only when the server isn't any more, or never lead to the new."""
    with engine_on(kind, tmp_path) as engine, sql_store(engine) as store:
        # What changes this must be able to write.
        options = {"options": "-c default_transaction_read_only=off"}
        admin = sa.create_engine(engine.url, poolclass=sa.NullPool, connect_args=options)
        setting = f"ALTER DATABASE {engine.url.database} SET default_transaction_read_only"
        run(admin, f"{setting} = on")
        try:
            key = new_key()
            store.close()
            assert found(store, key) == []
            with pytest.raises(DBAPIError, match="read-only"):
                store.add(Entry(key, Kind.TOKEN, HOUR))
        finally:
            run(admin, f"{setting} = off")
        store.add(Entry(key, Kind.TOKEN, HOUR))
        assert found(store, key) == [plain(ALL)]


def test_a_table_that_was_changed_is_a_failure_once(tmp_path: Path) -> None:
    """Statements that the server has prepared fail from then on."""
    with engine_on("postgresql", tmp_path) as engine, sql_store(engine) as store:
        for _ in range(8):
            assert found(store, new_key()) == []
        alter = "ALTER TABLE authx_blocklist ALTER COLUMN cutoff TYPE"
        run(engine, f"{alter} numeric")
        try:
            with contextlib.suppress(DBAPIError):
                found(store, new_key())
            assert [found(store, new_key()) for _ in range(3)] == [[]] * 3
        finally:
            # Other tests of this process have the same table.
            run(engine, f"{alter} bigint")


@pytest.mark.parametrize("how", ["do_connect", "connect"])
def test_connecting_may_ask_for_the_current_app(how: str, tmp_path: Path) -> None:
    """A password that lasts minutes comes from the app's own code."""
    app, asked = Flask("an_app"), list[str]()
    with engine_on("postgresql", tmp_path) as engine:

        @event.listens_for(engine, how)
        def ask(*_: Any) -> None:
            asked.append(current_app.name)

        connections = Connections(engine, 10)
        with app.app_context():
            assert connections.run(number) == 42
        assert set(asked) == {"an_app"}
        connections.close()


def tied(file: Path) -> Callable[[], sqlite3.Connection]:
    """Makes connections that only the thread that has made them may use."""
    return lambda: sqlite3.connect(file)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_connections_that_are_tied_to_their_threads_are_waited_for(tmp_path: Path) -> None:
    engine = sa.create_engine(
        "sqlite:///a-file", creator=tied(tmp_path / "test.db"), poolclass=sa.NullPool
    )
    connections = Connections(engine, 30, size=1)
    numbers = itertools.count()

    def slow(connection: StoreConnection) -> int:
        next(numbers)
        # Each statement lets other threads run.
        return max(number(connection) for _ in range(50))

    with ThreadPoolExecutor(6) as pool:
        assert [*pool.map(connections.run, [slow] * 60)] == [42] * 60
    assert next(numbers) >= 60
    connections.close()
