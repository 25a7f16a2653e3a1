"""The store's own connections are made as the app makes its own, whatever the app has arranged."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import event

from tests.support.databases import database_url
from tests.support.sql_apps import KINDS, Site, SQLApps, new_schema, revokes

SERVERS = ("postgresql", "mariadb")


@pytest.fixture
def schema(sql_app: SQLApps) -> Iterator[str]:
    with new_schema(sql_app) as name:
        yield name


class Line(sqlite3.Connection):
    """A connection that counts its kind."""

    opened = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        type(self).opened += 1


def connects(site: Site) -> None:
    """Let the store open a connection, and nothing else."""
    with site.app.app_context():
        site.db.engine.dispose()
        assert not site.authx.is_revoked(site.authx.create_access_token("ann"))
        site.authx.revoke_session("s")


def test_connect_arguments_are_the_app_s(sql_app: SQLApps) -> None:
    class Mine(Line):
        opened = 0

    options = {"connect_args": {"factory": Mine}}
    site = sql_app("sqlite", SQLALCHEMY_ENGINE_OPTIONS=options)
    before = Mine.opened
    connects(site)
    assert Mine.opened > before


def test_options_given_to_flask_sqlalchemy_are_the_app_s(sql_app: SQLApps) -> None:
    class Mine(Line):
        opened = 0

    db = SQLAlchemy(engine_options={"connect_args": {"factory": Mine}})
    site = sql_app("sqlite", db=db)
    before = Mine.opened
    connects(site)
    assert Mine.opened > before


@pytest.mark.parametrize("options", [{}, {"poolclass": sa.NullPool}])
def test_a_creator_is_the_app_s(sql_app: SQLApps, options: dict[str, Any]) -> None:
    """A creator of SQLite's has connections that only their own thread may use, as by default."""

    class Mine(Line):
        opened = 0

    path = sql_app.folder / "test.db"
    options = {**options, "creator": lambda: sqlite3.connect(path, factory=Mine)}
    site = sql_app("sqlite", SQLALCHEMY_ENGINE_OPTIONS=options)
    before = Mine.opened
    connects(site)
    assert Mine.opened > before
    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(revokes, [site] * 20))


@pytest.mark.parametrize("kind", SERVERS)
def test_a_creator_alone_knows_the_server(sql_app: SQLApps, kind: str) -> None:
    url = sa.make_url(database_url(kind, sql_app.folder))
    engine = sa.create_engine(url)
    arguments = engine.dialect.create_connect_args(url)[1]
    assert engine.dialect.dbapi is not None
    connect: Callable[..., Any] = engine.dialect.dbapi.connect
    options = {"creator": lambda: connect(**arguments)}
    nowhere = url.set(host="nowhere.invalid").render_as_string(hide_password=False)
    site = sql_app(nowhere, SQLALCHEMY_ENGINE_OPTIONS=options)
    assert revokes(site)
    engine.dispose()


def enter(app: Flask, db: SQLAlchemy) -> None:
    """Give the user's name at the last moment, as a cloud's short-lived passwords are given."""

    def name_user(_d: Any, _r: Any, _a: Any, arguments: dict[str, Any]) -> None:
        arguments["user"] = "root"

    with app.app_context():
        event.listen(db.engine, "do_connect", name_user)


@pytest.mark.parametrize("kind", SERVERS)
@pytest.mark.parametrize("late", [False, True], ids=["before", "late"])
def test_a_do_connect_listener_is_heard(sql_app: SQLApps, kind: str, late: bool) -> None:
    url = sa.make_url(database_url(kind, sql_app.folder))
    if url.username != "root" or url.password:
        pytest.skip("this server's user is another, or has a password")
    unknown = url.set(username="nobody_at_all").render_as_string(hide_password=False)
    site = sql_app(unknown, before=None if late else enter, tables=not late)
    if late:
        enter(site.app, site.db)
        with site.app.app_context():
            site.db.create_all()
    assert revokes(site)


@pytest.mark.parametrize("late", [False, True], ids=["before", "late"])
def test_a_connect_listener_is_heard(sql_app: SQLApps, schema: str, late: bool) -> None:
    def listen(app: Flask, db: SQLAlchemy) -> None:
        with app.app_context():

            @event.listens_for(db.engine, "connect")
            def _(line: Any, _: Any) -> None:
                line.execute(f"SET search_path TO {schema}")
                line.commit()

    site = sql_app("postgresql", before=None if late else listen, tables=not late)
    if late:
        listen(site.app, site.db)
        with site.app.app_context():
            site.db.create_all()
    assert revokes(site)
    counted = site.outside(f"SELECT count(*) FROM {schema}.authx_blocklist WHERE kind <> 3")
    assert counted == [(1,)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pool", [sa.NullPool, sa.QueuePool, sa.StaticPool])
def test_any_pool_will_do(sql_app: SQLApps, kind: str, pool: type[sa.Pool]) -> None:
    site = sql_app(kind, SQLALCHEMY_ENGINE_OPTIONS={"poolclass": pool})
    assert revokes(site)
    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(revokes, [site] * 8))


@pytest.mark.parametrize("kind", KINDS)
def test_disposing_of_the_app_s_engine_is_no_hindrance(sql_app: SQLApps, kind: str) -> None:
    site = sql_app(kind)
    for _ in range(2):
        assert revokes(site)
        with site.app.app_context():
            site.write(uuid.uuid4().hex)
            site.db.session.commit()
            site.db.engine.dispose()
    assert len(site.committed()) == 2
