"""Logins in an SQL database: the table, transactions of the store's own, and what it refuses."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateTable

from flask_authx import BadConfigurationError, StoreBusyError
from flask_authx.stores.base import StoreError, UncommittedWritesError
from flask_authx.stores.circuit_breaker import CircuitBreaker
from flask_authx.stores.session_store import NewSession
from flask_authx.stores.sql.revocations import SQLAlchemyBlocklist
from flask_authx.stores.sql.sessions import SQLAlchemySessions
from flask_authx.stores.sql.tables import sessions_table
from flask_authx.stores.sql.uncommitted_writes import Transaction
from tests.stores.contract import SQL, new_key, undated, visit
from tests.stores.contract import new_session as login
from tests.stores.contract import sql_sessions as sql_store
from tests.support.databases import database_url

SERVERS = ("postgresql", "psycopg2", "mariadb")
LASTING = ("sqlite", *SERVERS)


@contextlib.contextmanager
def engine_for(kind: str, folder: Path, **options: Any) -> Generator[sa.Engine]:
    """An app's engine."""
    engine = sa.create_engine(database_url(kind, folder), poolclass=sa.NullPool, **options)
    yield engine
    engine.dispose()


@pytest.mark.parametrize("kind", LASTING)
def test_the_table_in_the_database_is_the_one_that_is_declared(kind: str, tmp_path: Path) -> None:
    declared = sessions_table(sa.MetaData())
    with engine_for(kind, tmp_path) as engine, sql_store(engine):
        seen = sa.inspect(engine)
        columns = {one["name"]: one for one in seen.get_columns("authx_sessions")}
        assert [*columns] == [column.name for column in declared.columns]
        for column in declared.columns:
            assert columns[column.name]["nullable"] is bool(column.nullable)
        primary = seen.get_pk_constraint("authx_sessions")["constrained_columns"]
        assert primary == ["subject", "key"]
        (unique,) = seen.get_unique_constraints("authx_sessions")
        assert unique["column_names"] == ["key"]


@pytest.mark.parametrize(
    ("dialect", "key", "end"),
    [
        (sqlite, "BLOB", "WITHOUT ROWID"),
        (postgresql, "BYTEA", ")"),
        (mysql, "BINARY(16)", "CHARSET=utf8mb4"),
    ],
)
def test_a_table_takes_any_script_and_is_found_by_hashes(dialect: Any, key: str, end: str) -> None:
    made = CreateTable(sessions_table(sa.MetaData())).compile(dialect=dialect.dialect())
    text = str(made).strip()
    assert text.count(f"{key} NOT NULL") == 2
    assert text.endswith(end)


@pytest.mark.parametrize("schema", [None, "auth"])
def test_two_apps_may_share_a_metadata(schema: str | None) -> None:
    metadata = sa.MetaData(schema=schema)
    assert sessions_table(metadata) is sessions_table(metadata)
    with contextlib.closing(SQLAlchemySessions(sa.create_engine("sqlite://"))) as own:
        assert own.table.metadata is not metadata


@pytest.mark.parametrize(
    ("column", "path"),
    [("subject", "USING PRIMARY KEY (subject=?)"), ("key", "(key=?)")],
)
def test_a_list_and_a_row_are_found_by_an_index(column: str, path: str, tmp_path: Path) -> None:
    """Issue 4: with a million sessions both stay flat"""
    with engine_for("sqlite", tmp_path) as engine, sql_store(engine) as store:
        query = sa.select(store.table.c.sid).where(store.table.c[column] == new_key())
        with engine.connect() as connection:
            text = str(query.compile(dialect=engine.dialect))
            plan = str(connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", (new_key(),)).all())
        assert "SEARCH" in plan
        assert path in plan


@pytest.mark.parametrize("kind", LASTING)
def test_what_has_returned_is_committed_whatever_becomes_of_the_app_s_work(
    kind: str, tmp_path: Path
) -> None:
    """DESIGN rule 3"""
    key, subject, session = new_key(), new_key(), login()
    with engine_for(kind, tmp_path) as engine, sql_store(engine) as store:
        with engine.connect() as connection:
            # The app has only read so far.
            connection.execute(sa.select(store.table.c.key)).all()
            connection.rollback()
            store.open(key, subject, session)
            assert store.move(key, 0, moved := visit(1))
            connection.rollback()
        row = sa.select(store.table.c.generation).where(store.table.c.key == key)
        with engine.connect() as connection:
            assert connection.execute(row).scalar_one() == 1
        assert undated(store.get(key)) == undated(replace(session, visit=moved))


MOVED = visit(1)
Call = Callable[[SQLAlchemySessions, bytes], object]
WRITES: dict[str, Call] = {
    "open": lambda store, key: store.open(key, key, login()),
    "move": lambda store, key: store.move(key, 0, MOVED),
    "rename": lambda store, key: store.rename(key, "x"),
    "end": lambda store, key: store.end(key),
}


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("far", [Transaction.OPEN, Transaction.WRITING])
def test_the_app_s_own_writes_in_the_file_are_an_error_that_says_so(
    write: str, far: Transaction, tmp_path: Path
) -> None:
    """A sign-up that logs in before it commits"""
    key, session = new_key(), login()
    here = Transaction.NONE
    with engine_for("sqlite", tmp_path) as engine, sql_store(engine):
        store = SQLAlchemySessions(engine, timeout=0.05, own_writes=lambda: here)
        store.open(key, key, session)
        with engine.begin() as connection:
            connection.exec_driver_sql("DELETE FROM authx_sessions WHERE 1 = 0")
            here = far
            with pytest.raises(UncommittedWritesError, match=r"commit\(\) before login\(\) and"):
                WRITES[write](store, key)
            # Asking needs no lock.
            assert undated(store.get(key)) == undated(session)
            assert [*map(undated, store.of(key))] == [undated(session)]
        here = Transaction.NONE
        assert undated(store.get(key)) == undated(session)
        WRITES[write](store, key)
        store.close()


#: What they make of a row.
OUTCOMES: dict[str, Callable[[NewSession], NewSession | None]] = {
    "move": lambda session: replace(session, visit=MOVED),
    "rename": lambda session: replace(session, name="x"),
    "end": lambda session: None,
}


@pytest.mark.parametrize("write", OUTCOMES)
@pytest.mark.parametrize("kind", LASTING)
def test_a_locked_row_makes_no_call_wait(kind: str, write: str, tmp_path: Path) -> None:
    """DESIGN rule 14: nothing blocks for ever"""
    key, session = new_key(), login()
    after = OUTCOMES[write](session)
    with engine_for(kind, tmp_path) as engine, sql_store(engine) as patient:
        store = SQLAlchemySessions(engine, timeout=0.1)
        patient.open(key, key, session)
        locking = sa.update(store.table).where(store.table.c.key == key).values(name="lock")
        with engine.connect() as connection:
            connection.execute(locking)
            # Else it would wait for ever here, for this very thread.
            with pytest.raises((StoreError, DBAPIError)):
                WRITES[write](store, key)
            connection.rollback()
        # A server that got the lock just after we gave up has done it all the same.
        assert undated(patient.get(key)) in (undated(session), undated(after))
        WRITES[write](patient, key)
        assert undated(patient.get(key)) == undated(after)
        store.close()


@pytest.mark.parametrize("dialect", ["mariadb", "mysql"])
def test_rows_count_that_match_even_if_the_app_connects_without_that_flag(
    dialect: str, tmp_path: Path
) -> None:
    """MariaDB: its own count is that of the rows that differ now"""
    url = sa.make_url(database_url("mariadb", tmp_path)).set(drivername=f"{dialect}+pymysql")
    plain = sa.create_engine(url)
    arguments = {**plain.dialect.create_connect_args(url)[1]}
    arguments.pop("client_flag")
    assert plain.dialect.dbapi is not None
    connect: Callable[..., Any] = plain.dialect.dbapi.connect
    key, session = new_key(), login(name="telephone", visit=visit(user_agent=None, address="a"))
    engine = sa.create_engine(url, poolclass=sa.NullPool, creator=lambda: connect(**arguments))
    assert engine.dialect.name == dialect
    with sql_store(engine) as store:
        store.open(key, key, session)
        store.open(key, key, session)
        assert store.move(key, 0, session.visit) is True
        assert store.rename(key, "telephone") is True
        assert store.move(key, 1, session.visit) is False
        assert store.move(new_key(), 0, session.visit) is False
        assert store.rename(new_key(), "telephone") is False
        assert store.move(key, 0, visit(1)) is True
        assert store.move(key, 0, visit(1)) is False
        assert store.end(key) is True
        assert store.end(key) is False
    engine.dispose()
    plain.dispose()


#: What a client may send and not every database holds.
UNFIT = {
    "a lone surrogate": ("\ud800", ("sqlite", "sqlite-memory", *SERVERS)),
    "NUL": ("a\0b", ("postgresql", "psycopg2")),
    "too long": ("x" * 256, SERVERS),
}


@pytest.mark.parametrize(
    ("what", "kind"), [(what, kind) for what, (_, kinds) in UNFIT.items() for kind in kinds]
)
def test_a_text_that_can_t_be_held_is_no_failure_of_the_store(
    what: str, kind: str, tmp_path: Path
) -> None:
    """Else one client could keep all others waiting"""
    text, _ = UNFIT[what]
    key, session = new_key(), login()
    with engine_for(kind, tmp_path) as engine, sql_store(engine) as store:
        breaker = CircuitBreaker("the store", lambda: 0.0)
        for bad in (login(name=text), login(visit=visit(user_agent=text))):
            with pytest.raises(StoreBusyError):
                breaker.call(store.open, key, key, bad)
        assert store.get(key) is None
        breaker.call(store.open, key, key, session)
        with pytest.raises(StoreBusyError):
            breaker.call(store.move, key, 0, visit(1, address=text))
        with pytest.raises(StoreBusyError):
            breaker.call(store.rename, key, text)
        assert undated(breaker.call(store.get, key)) == undated(session)


def test_an_app_s_translation_of_schemas_is_heard(tmp_path: Path) -> None:
    with engine_for("postgresql", tmp_path) as engine:
        with engine.begin() as connection:
            connection.exec_driver_sql("DROP SCHEMA IF EXISTS logins CASCADE")
            connection.exec_driver_sql("CREATE SCHEMA logins")
        translated = engine.execution_options(schema_translate_map={None: "logins"})
        with sql_store(translated) as store:
            store.open(key := new_key(), key, session := login())
            assert undated(store.get(key)) == undated(session)
            assert [*map(undated, store.of(key))] == [undated(session)]
        with engine.begin() as connection:
            rows = connection.exec_driver_sql("SELECT sid FROM logins.authx_sessions").all()
            connection.exec_driver_sql("DROP SCHEMA logins CASCADE")
        assert [tuple(row) for row in rows] == [(session.sid,)]


@pytest.mark.parametrize("kind", SQL)
def test_connections_that_were_closed_are_opened_again(kind: str, tmp_path: Path) -> None:
    key, session = new_key(), login()
    with engine_for(kind, tmp_path) as engine, sql_store(engine) as store:
        store.open(key, key, session)
        for _ in range(3):
            store.close()
            assert undated(store.get(key)) == undated(session)


def test_a_database_that_isn_t_known_is_refused() -> None:
    engine = sa.create_engine("mssql+pymssql://", module=sqlite3)
    for store, what in ((SQLAlchemySessions, "sessions are"), (SQLAlchemyBlocklist, "revocations")):
        with pytest.raises(BadConfigurationError, match=what):
            store(engine)
