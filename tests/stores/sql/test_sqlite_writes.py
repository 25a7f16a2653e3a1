"""SQLite has one writer at a time: revoking beside the caller's own uncommitted writes."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from flask_authx import session_revoked, subject_revoked, token_revoked
from flask_authx.stores.base import UncommittedWritesError
from tests.support import access_token, bearer
from tests.support.answers import ask
from tests.support.spy_store import login, works
from tests.support.sql_apps import Site, SQLApps

FIX = r"db\.session\.commit\(\) before .* SQLALCHEMY_BINDS.*sqlalchemy://its_bind_key"
MODES = ("wal", "delete")


@pytest.fixture
def site(sql_app: SQLApps) -> Site:
    return sql_app("sqlite")


# What is uncommitted in the session


def write_in_a_savepoint(site: Site) -> None:
    """SQLite keeps the lock that this has taken."""
    with contextlib.suppress(ZeroDivisionError), site.db.session.begin_nested():
        site.write("new")
        raise ZeroDivisionError


WRITES: dict[str, Callable[[Site], object]] = {
    "flush": lambda site: site.write("new"),
    "insert": lambda site: site.db.session.execute(sa.insert(site.Note).values(text="new")),
    "update": lambda site: site.db.session.execute(sa.update(site.Note).values(text="new")),
    "delete": lambda site: site.db.session.execute(sa.delete(site.Note)),
    "rolled back to a savepoint": write_in_a_savepoint,
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("write", WRITES)
def test_revoking_beside_uncommitted_writes_is_an_error_at_once(
    site: Site, write: str, mode: str
) -> None:
    site.outside(f"PRAGMA journal_mode = {mode}")
    token, _, sid = login(site.app, site.authx, "ann")
    with site.app.app_context():
        site.write("old")
        site.db.session.commit()
    heard: list[Any] = []

    def hear(sender: Any, **said: Any) -> None:
        heard.append(said)

    signals = (token_revoked, session_revoked, subject_revoked)
    with site.app.app_context(), contextlib.ExitStack() as stack:
        for signal in signals:
            stack.enter_context(signal.connected_to(hear, site.app))
        WRITES[write](site)
        began = time.monotonic()
        for revoke, argument in (
            (site.authx.revoke_token, token),
            (site.authx.revoke_session, sid),
            (site.authx.revoke_subject, "ann"),
        ):
            with pytest.raises(RuntimeError, match=FIX):
                revoke(argument)
        # Waiting would take ten seconds each.
        assert time.monotonic() - began < 5
        assert heard == []
        assert not site.authx.is_revoked(token)
        assert (site.committed(), site.entries()) == (["old"], 0)
        # The session is as it was, and the fix is one.
        after = set(site.db.session.scalars(sa.select(site.Note.text)))
        site.db.session.commit()
        assert set(site.committed()) == after
        site.authx.revoke_token(token)
    assert not works(site.app, token)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "statement", ["UPDATE note SET text = 'new' WHERE id = 99", "BEGIN IMMEDIATE"]
)
def test_a_lock_without_changes_is_the_same_error(
    sql_app: SQLApps, statement: str, mode: str
) -> None:
    site = sql_app("sqlite", JWT_STORE_TIMEOUT=0.05)
    site.outside(f"PRAGMA journal_mode = {mode}")
    token = access_token(site.app, site.authx)
    with site.app.app_context():
        site.db.session.execute(sa.text(statement))
        with pytest.raises(RuntimeError, match=FIX):
            site.authx.revoke_token(token)
        site.db.session.rollback()
        assert site.entries() == 0
        site.authx.revoke_token(token)
    assert not works(site.app, token)


def test_an_app_s_own_view_gets_the_error(site: Site) -> None:
    @site.app.post("/password")
    @site.authx.token_required
    def password() -> str:
        site.write("new")
        site.authx.logout()
        return ""

    site.app.testing = True
    token = access_token(site.app, site.authx)
    with pytest.raises(RuntimeError, match=FIX):
        ask(site.app, "POST", "/password", headers=bearer(token))
    assert works(site.app, token)
    assert (site.committed(), site.entries()) == ([], 0)


def read(site: Site) -> None:
    assert site.db.session.scalars(sa.select(site.Note)).all() == []


def hold_unwritten(site: Site) -> None:
    site.db.session.add(site.Note(text="unwritten"))


def roll_back(site: Site) -> None:
    site.write("rolled back")
    site.db.session.rollback()


def commit(site: Site) -> None:
    site.write("kept")
    site.db.session.commit()
    read_all = site.db.session.scalars(sa.select(site.Note.text)).all()
    assert read_all == ["kept"]


def remove(site: Site) -> None:
    site.write("rolled back")
    site.db.session.remove()
    read(site)


def close(site: Site) -> None:
    site.write("rolled back")
    site.db.session.close()


def cut_off(site: Site) -> None:
    site.write("rolled back")
    site.db.session().invalidate()


def read_in_a_savepoint(site: Site) -> None:
    site.db.session.begin_nested()
    read(site)


HARMLESS = (read, hold_unwritten, roll_back, commit, remove, close, cut_off, read_in_a_savepoint)


@pytest.mark.parametrize("prepare", HARMLESS)
def test_without_uncommitted_writes_revoking_works(
    site: Site, prepare: Callable[[Site], None]
) -> None:
    site.outside("PRAGMA journal_mode = WAL")
    with site.app.app_context():
        prepare(site)
        site.authx.revoke_session("s")
        assert site.entries() == 1


def begin_nothing(line: sqlite3.Connection, _: object) -> None:
    line.isolation_level = None


def begin(line: sa.Connection) -> None:
    line.exec_driver_sql("BEGIN")


@pytest.mark.parametrize("prepare", HARMLESS)
def test_with_explicit_transactions_too(sql_app: SQLApps, prepare: Callable[[Site], None]) -> None:
    def begin_explicitly(app: Any, db: Any) -> None:
        # SQLAlchemy's recipe for savepoints that work with pysqlite.
        with app.app_context():
            event.listen(db.engine, "connect", begin_nothing)
            event.listen(db.engine, "begin", begin)

    site = sql_app("sqlite", before=begin_explicitly)
    test_without_uncommitted_writes_revoking_works(site, prepare)
    with site.app.app_context():
        site.db.session.begin_nested()
        site.write("new")
        with pytest.raises(RuntimeError, match=FIX):
            site.authx.revoke_session("s2")


def test_writes_of_another_context_of_the_thread_are_over_with_it(site: Site) -> None:
    with site.app.app_context():
        site.write("rolled back")
    with site.app.app_context():
        site.authx.revoke_session("s")
    assert (site.committed(), site.entries()) == ([], 1)


def test_after_a_new_session_writes_count_anew(site: Site) -> None:
    with site.app.app_context():
        remove(site)
        site.write("new")
        with pytest.raises(RuntimeError, match=FIX):
            site.authx.revoke_session("s")


# Which file it is


def spelled(folder: Path, how: str) -> str:
    """The same file, or another one."""
    (folder / "sub").mkdir()
    if how == "a link":
        (folder / "linked.db").symlink_to(folder / "test.db")
    return {
        "relative": "sqlite:///test.db",
        "absolute": f"sqlite:///{folder / 'test.db'}",
        "upwards": f"sqlite:///{folder}/sub/../test.db",
        "relative, upwards": "sqlite:///sub/../test.db",
        "a link": f"sqlite:///{folder / 'linked.db'}",
        "a URI": f"sqlite:///file:{folder / 'test.db'}?uri=true",
        "another": f"sqlite:///{folder / 'other.db'}",
        "another of that name": f"sqlite:///{folder / 'sub' / 'test.db'}",
    }[how]


SAME = ("relative", "absolute", "upwards", "relative, upwards", "a link", "a URI")


@pytest.mark.parametrize("turned", [False, True], ids=["bind", "turned"])
@pytest.mark.parametrize("how", SAME)
def test_the_file_is_known_by_any_of_its_names(sql_app: SQLApps, how: str, turned: bool) -> None:
    urls = [f"sqlite:///{sql_app.folder / 'test.db'}", spelled(sql_app.folder, how)]
    main, bind = reversed(urls) if turned else urls
    site = sql_app(main, SQLALCHEMY_BINDS={"auth": bind}, JWT_BLOCKLIST="sqlalchemy://auth")
    with site.app.app_context():
        site.write("new")
        with pytest.raises(RuntimeError, match=FIX):
            site.authx.revoke_session("s")
        site.db.session.commit()
        site.authx.revoke_session("s")


@pytest.mark.parametrize("how", ["another", "another of that name"])
def test_writes_to_another_file_are_no_hindrance(sql_app: SQLApps, how: str) -> None:
    bind = spelled(sql_app.folder, how)
    site = sql_app("sqlite", SQLALCHEMY_BINDS={"auth": bind}, JWT_BLOCKLIST="sqlalchemy://auth")
    with site.app.app_context():
        site.write("new")
        site.authx.revoke_session("s")
        assert site.committed() == []
        site.db.session.commit()
    assert site.committed() == ["new"]


def test_a_second_engine_of_the_file_hides_nothing(sql_app: SQLApps) -> None:
    url = f"sqlite:///{sql_app.folder / 'test.db'}"
    site = sql_app(url, SQLALCHEMY_BINDS={"again": url})
    with site.app.app_context():
        site.write("new")
        again = {"bind": site.db.engines["again"]}
        site.db.session.execute(sa.text("SELECT 1"), bind_arguments=again)
        with pytest.raises(RuntimeError, match=FIX):
            site.authx.revoke_session("s")


def test_a_look_up_beside_uncommitted_writes_refuses_where_the_scope_is_missing(site: Site) -> None:
    """What it would write revokes all older sessions, so it refuses them without writing."""
    token, _, _ = login(site.app, site.authx, "ann")
    with site.app.app_context(), site.db.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM authx_blocklist")
    with site.app.app_context():
        site.write("new")
        assert site.authx.is_revoked(token)
        with pytest.raises(UncommittedWritesError, match=FIX):
            site.authx.create_access_token("ann")
        site.db.session.rollback()
        assert not site.authx.is_revoked(site.authx.create_access_token("ann"))
        assert site.authx.is_revoked(token)
