"""The table is one of the app's own, and the store connects as the app does."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask
from flask_sqlalchemy import SQLAlchemy

from flask_authx import AuthX, BadConfigurationError, SQLAlchemyBlocklist
from tests.support import OTHER_SECRET, SECRET, access_token, make_app
from tests.support.databases import database_url
from tests.support.spy_store import login, works
from tests.support.sql_apps import KINDS, NAMED, SQLApps, new_schema, revokes, rows

SERVERS = ("postgresql", "mariadb")


# The table


@pytest.mark.parametrize("kind", KINDS)
def test_the_table_is_a_model_table(sql_app: SQLApps, kind: str) -> None:
    site = sql_app(kind)
    with site.app.app_context():
        assert "authx_blocklist" in site.db.metadata.tables
        inspector = sa.inspect(site.db.engine)
        tables = set(inspector.get_table_names())
        # No setting has asked for an audit trail.
        assert ("authx_blocklist" in tables, "authx_audit" in tables) == (True, False)
        columns = {column["name"]: column for column in inspector.get_columns("authx_blocklist")}
        assert [*columns] == ["key", "expires_at", "kind", "cutoff", "keep_after", "keep"]
        assert not any(isinstance(column["type"], sa.String) for column in columns.values())
        key = inspector.get_pk_constraint("authx_blocklist")["constrained_columns"]
        assert (key, inspector.get_indexes("authx_blocklist")) == (["key"], [])
        site.db.drop_all()
        assert "authx_blocklist" not in sa.inspect(site.db.engine).get_table_names()


@pytest.mark.parametrize("kind", KINDS)
def test_no_row_holds_what_was_revoked(sql_app: SQLApps, kind: str) -> None:
    """SECURITY A.12 227"""
    site = sql_app(kind)
    token, refresh, sid = login(site.app, site.authx, "ann")
    with site.app.app_context():
        jti = site.authx.decode_token(token).jti
        site.authx.revoke_token(token)
        site.authx.revoke_session(sid)
        site.authx.revoke_subject("ann", keep=sid)
    stored = repr(site.outside("SELECT * FROM authx_blocklist"))
    assert site.entries() == 3
    for secret in (token, refresh, sid, jti, "ann"):
        assert secret not in stored


def test_the_mysql_dialect_talks_to_mariadb_too(sql_app: SQLApps) -> None:
    url = database_url("mariadb", sql_app.folder).replace("mariadb+", "mysql+")
    site = sql_app(url)
    assert revokes(site)
    assert revokes(site)


def test_two_apps_share_one_flask_sqlalchemy(sql_app: SQLApps) -> None:
    db, authx = SQLAlchemy(), AuthX()
    one, same = (sql_app("sqlite", db=db, authx=authx, tables=first) for first in (True, False))
    other = sql_app(f"sqlite:///{sql_app.folder / 'other.db'}", db=db, authx=authx)
    # The keys and the names are the same, and so is the database of two of them. What the other
    # knows nothing of is refused there.
    token, elsewhere = access_token(one.app, authx), access_token(other.app, authx)
    assert [works(site.app, token) for site in (one, same, other)] == [True, True, False]
    assert [works(site.app, elsewhere) for site in (one, same, other)] == [False, False, True]
    with one.app.app_context():
        authx.revoke_token(token)
        authx.revoke_token(elsewhere)
    assert [works(site.app, token) for site in (one, same, other)] == [False] * 3
    assert works(other.app, elsewhere)
    assert revokes(other)
    # One app's uncommitted writes are none of the other's.
    with one.app.app_context():
        one.write("new")
        with other.app.app_context():
            authx.revoke_session("s")
        with pytest.raises(RuntimeError, match="commit"):
            authx.revoke_session("s")


@pytest.mark.parametrize("kind", KINDS)
def test_two_names_share_the_table_and_no_entry(sql_app: SQLApps, kind: str) -> None:
    admin: list[AuthX] = []

    def add_admin(app: Flask, db: SQLAlchemy) -> None:
        admin.append(AuthX(app, name="admin", ids=lambda: "the-same"))

    site = sql_app(
        kind,
        before=add_admin,
        authx=AuthX(ids=lambda: "the-same"),
        ADMIN_JWT_SECRET_KEY=OTHER_SECRET,
        ADMIN_JWT_BLOCKLIST="sqlalchemy://",
        ADMIN_JWT_STORE_TIMEOUT=10,
    )
    with site.app.app_context():
        users, admins = site.authx, admin[0]
        of_user, of_admin = users.create_access_token("ann"), admins.create_access_token("ann")
        admins.revoke_token(of_admin)
        assert (users.is_revoked(of_user), admins.is_revoked(of_admin)) == (False, True)
        users.revoke_subject("ann")
        users.revoke_session("the-same")
        admins.revoke_subject("bob")
        assert site.entries() == 4


@pytest.mark.parametrize("kind", KINDS)
def test_a_naming_convention_is_kept_to(sql_app: SQLApps, kind: str) -> None:
    site = sql_app(
        kind, db=SQLAlchemy(metadata=sa.MetaData(naming_convention=NAMED)), JWT_AUDIT="365d"
    )
    assert revokes(site)
    with site.app.app_context():
        inspector = sa.inspect(site.db.engine)
        indexes = [index["name"] for index in inspector.get_indexes("authx_audit")]
        assert indexes == ["ix_of_authx_audit_at"]
        if kind != "mariadb":
            key = inspector.get_pk_constraint("authx_blocklist")
            assert key["name"] == "pk_of_authx_blocklist"


@pytest.fixture
def schema(sql_app: SQLApps) -> Iterator[str]:
    with new_schema(sql_app) as name:
        yield name


@pytest.mark.parametrize("how", ["metadata", "translated"])
def test_the_app_s_schema_is_the_table_s(sql_app: SQLApps, schema: str, how: str) -> None:
    metadata, options = sa.MetaData(), {}
    if how == "metadata":
        metadata = sa.MetaData(schema=schema)
    else:
        options = {"execution_options": {"schema_translate_map": {None: schema}}}
    # The second app of the same metadata finds the table in it.
    db = SQLAlchemy(metadata=metadata)
    site, again = (
        sql_app("postgresql", db=db, JWT_AUDIT="365d", SQLALCHEMY_ENGINE_OPTIONS=options)
        for _ in range(2)
    )
    assert revokes(site)
    assert revokes(again)
    for table in ("authx_blocklist", "authx_audit"):
        # Two of tokens, and the mark of the scope, which isn't recorded.
        number = 3 if table == "authx_blocklist" else 2
        assert site.outside(f"SELECT count(*) FROM {schema}.{table}") == [(number,)]


# Without Flask-SQLAlchemy


@pytest.mark.parametrize("kind", KINDS)
def test_an_engine_is_enough(tmp_path: Path, kind: str) -> None:
    url = database_url(kind, tmp_path)
    engine = sa.create_engine(url)
    store = SQLAlchemyBlocklist(engine, timeout=10)
    store.table.drop(engine, checkfirst=True)
    store.table.create(engine)
    app = Flask("tests")
    app.config["JWT_SECRET_KEY"] = SECRET
    authx = AuthX(app, blocklist=store)
    token = access_token(app, authx)
    with app.app_context():
        for _ in range(2):
            authx.revoke_token(token)
            assert authx.is_revoked(token)
            store.close()
    assert rows(url, "SELECT count(*) FROM authx_blocklist WHERE kind <> 3") == [(1,)]
    engine.dispose()


def test_a_database_that_is_none_of_ours_is_refused_at_once() -> None:
    engine = sa.create_engine("mssql+pymssql://", module=sqlite3)
    with pytest.raises(BadConfigurationError, match="mssql"):
        SQLAlchemyBlocklist(engine)


def test_a_store_and_a_setting_are_one_too_many(sql_app: SQLApps) -> None:
    app, _ = make_app()
    store = SQLAlchemyBlocklist(sa.create_engine("sqlite://"))
    app.config["MORE_JWT_SECRET_KEY"] = OTHER_SECRET
    app.config["MORE_JWT_BLOCKLIST"] = "memory://"
    with pytest.raises(BadConfigurationError, match=r"MORE_JWT_BLOCKLIST.*choose one"):
        AuthX(app, name="more", blocklist=store)
