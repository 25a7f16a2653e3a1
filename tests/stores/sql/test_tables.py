"""The tables of revocations and of the audit trail, as the app's own tools see them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.exc import IntegrityError
from sqlalchemy.schema import CreateTable

from flask_authx import AuthX
from flask_authx.stores.sql.tables import audit_table, blocklist_table, sessions_table
from tests.stores.contract import SQL, new_key
from tests.stores.sites import add_views, site
from tests.stores.sites import log_in as login
from tests.stores.sites import outcome_of as answer
from tests.support import SECRET, access_token
from tests.support.answers import OK, REVOKED
from tests.support.databases import database_url

SERVERS = [kind for kind in SQL if kind != "sqlite-memory"]


def app_with(**config: Any) -> tuple[Flask, AuthX, SQLAlchemy]:
    app = Flask("tests")
    app.config.from_mapping(JWT_SECRET_KEY=SECRET, JWT_STORE_TIMEOUT=10)
    app.config.from_mapping(config)
    db = SQLAlchemy(app)
    return app, AuthX(app), db


#: Of each table: what defines it, its primary key, and the columns that may be empty.
TABLES: dict[str, tuple[Callable[[sa.MetaData], sa.Table], list[str], set[str]]] = {
    "authx_blocklist": (blocklist_table, ["key"], {"cutoff", "keep_after", "keep"}),
    "authx_sessions": (
        sessions_table,
        ["subject", "key"],
        {"epoch", "user_agent", "address", "name"},
    ),
    "authx_audit": (audit_table, ["id"], {"actor", "keep", "reason"}),
}


@pytest.mark.parametrize("kind", SERVERS)
def test_the_tables_in_the_database_are_those_that_are_declared(kind: str, tmp_path: Path) -> None:
    """Issue 3: a normal model table: Flask-Migrate compares just this"""
    url = database_url(kind, tmp_path)
    settings = {"JWT_BLOCKLIST": "sqlalchemy://", "JWT_SESSIONS": True, "JWT_AUDIT": "30d"}
    site({**settings, "SQLALCHEMY_DATABASE_URI": url})
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    seen = sa.inspect(engine)
    for name, (define, key, empty) in TABLES.items():
        declared = define(sa.MetaData())
        columns = {one["name"]: one for one in seen.get_columns(name)}
        assert [*columns] == [column.name for column in declared.columns]
        for column in declared.columns:
            assert columns[column.name]["nullable"] is bool(column.nullable)
        assert {column for column, one in columns.items() if one["nullable"]} == empty
        assert seen.get_pk_constraint(name)["constrained_columns"] == key
    # Keys are hashes: any further index would cost more than it gives.
    assert seen.get_indexes("authx_blocklist") == []
    engine.dispose()


def test_the_tables_are_in_the_metadata_of_the_bind_that_is_named(tmp_path: Path) -> None:
    """Issue 3: bind keys work"""
    default, other = (f"sqlite:///{tmp_path / name}.db" for name in ("default", "other"))
    app, authx, db = app_with(
        JWT_BLOCKLIST="sqlalchemy://other",
        SQLALCHEMY_DATABASE_URI=default,
        SQLALCHEMY_BINDS={"other": other},
    )
    add_views(app, authx)
    assert "authx_blocklist" in db.metadatas["other"].tables
    assert "authx_blocklist" not in db.metadata.tables
    with app.app_context():
        db.create_all()
        names = {key: sa.inspect(db.engines[key]).get_table_names() for key in (None, "other")}
        for engine in db.engines.values():
            engine.dispose()
    assert names == {None: [], "other": ["authx_blocklist"]}
    token = access_token(app, authx)
    assert answer(app, token) == OK
    with app.app_context():
        authx.revoke_token(token)
    assert answer(app, token) == REVOKED


def test_the_table_of_the_audit_trail_is_there_only_where_it_is_asked_for(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'app.db'}"
    settings = {"JWT_BLOCKLIST": "sqlalchemy://", "SQLALCHEMY_DATABASE_URI": url}
    _, _, without = app_with(**settings)
    _, _, audited = app_with(**settings, JWT_AUDIT=86400)
    assert {*without.metadata.tables} == {"authx_blocklist"}
    assert {*audited.metadata.tables} == {"authx_blocklist", "authx_audit"}


@pytest.mark.parametrize("make", [blocklist_table, audit_table])
@pytest.mark.parametrize("schema", [None, "auth"])
def test_two_apps_may_share_a_metadata(make: Any, schema: str | None) -> None:
    metadata = sa.MetaData(schema=schema)
    assert make(metadata) is make(metadata)
    assert len(metadata.tables) == 1


def test_two_apps_may_share_a_flask_sqlalchemy(tmp_path: Path) -> None:
    db = SQLAlchemy()
    apps: list[tuple[Flask, AuthX]] = []
    for _ in range(2):
        app = Flask("tests")
        app.config.from_mapping(
            JWT_SECRET_KEY=SECRET,
            JWT_STORE_TIMEOUT=10,
            JWT_BLOCKLIST="sqlalchemy://",
            SQLALCHEMY_DATABASE_URI=f"sqlite:///{tmp_path / 'app.db'}",
        )
        db.init_app(app)
        apps.append((app, AuthX(app)))
        add_views(*apps[-1])
    with apps[0][0].app_context():
        db.create_all()
        db.engine.dispose()
    token = access_token(*apps[0])
    with apps[0][0].app_context():
        apps[0][1].revoke_token(token)
    assert [answer(app, token) for app, _ in apps] == [REVOKED, REVOKED]


@pytest.mark.parametrize(
    ("dialect", "key", "end"),
    [
        (sqlite, "BLOB", "WITHOUT ROWID"),
        (postgresql, "BYTEA", ")"),
        (mysql, "BINARY(16)", ")"),
    ],
)
def test_a_row_is_small_in_every_database(dialect: Any, key: str, end: str) -> None:
    """No text, and a key that is its own index."""
    made = str(
        CreateTable(blocklist_table(sa.MetaData())).compile(dialect=dialect.dialect())
    ).strip()
    assert f"{key} NOT NULL" in made
    assert "PRIMARY KEY" in made
    assert made.endswith(end)
    assert "TEXT" not in made
    assert "CHAR" not in made


@pytest.mark.parametrize("kind", SERVERS)
def test_rows_hold_hashes_and_times_and_nothing_that_names_anybody(
    kind: str, tmp_path: Path
) -> None:
    """SECURITY A.12 227: a dump holds no usable tokens, and no names"""
    url = database_url(kind, tmp_path)
    app, authx = site({"JWT_BLOCKLIST": "sqlalchemy://", "SQLALCHEMY_DATABASE_URI": url})
    token, sid = login(app, authx, "ann@example.com")
    with app.app_context():
        jti = authx.decode_token(token).jti
        authx.revoke_token(token)
        authx.revoke_session(sid)
        authx.revoke_subject("ann@example.com", keep=sid)
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    table = blocklist_table(sa.MetaData())
    with engine.connect() as connection:
        rows = connection.execute(sa.select(table).order_by(table.c.kind)).mappings().all()
    engine.dispose()
    # The last is the mark of the scope.
    assert [row["kind"] for row in rows] == [0, 1, 2, 3]
    for row in rows:
        assert len(row["key"]) == 16
        assert not {type(value) for value in row.values()} - {bytes, int, type(None)}
        for secret in (jti, sid, "ann", *token.split(".")):
            assert secret.encode() not in row["key"] + (row["keep"] or b"")
    # What is kept is named by the key of its own entry.
    assert rows[2]["keep"] == rows[1]["key"]


@pytest.mark.parametrize("kind", SERVERS)
def test_a_key_written_twice_is_stored_once(kind: str, tmp_path: Path) -> None:
    """SECURITY A.12 216: the database itself sees to it"""
    engine = sa.create_engine(database_url(kind, tmp_path), poolclass=sa.NullPool)
    table = blocklist_table(sa.MetaData())
    table.create(engine, checkfirst=True)
    row = {"key": new_key(), "kind": 0, "expires_at": 5}
    with engine.begin() as connection:
        connection.execute(sa.insert(table), row)
    with pytest.raises(IntegrityError), engine.begin() as connection:
        connection.execute(sa.insert(table), row)
    engine.dispose()
