"""SQLite beside other writers, and in memory, where a database belongs to one connection."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa
from flask import appcontext_pushed

from flask_authx import StoreUnavailableError
from tests.support import access_token, bearer
from tests.support.answers import FAULT, OK, ask, outcome
from tests.support.spy_store import works
from tests.support.sql_apps import Site, SQLApps

MODES = ("wal", "delete")


@pytest.fixture
def site(sql_app: SQLApps) -> Site:
    return sql_app("sqlite")


# What others are writing


@contextlib.contextmanager
def locked(site: Site, how: str = "IMMEDIATE") -> Generator[sqlite3.Connection]:
    """Another process, as far as SQLite is concerned, that writes."""
    path = sa.make_url(site.url).database
    assert path is not None
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    with contextlib.closing(other):
        other.execute(f"BEGIN {how}")
        other.execute("INSERT INTO note (text) VALUES ('theirs')")
        yield other
        if other.in_transaction:
            other.rollback()


@pytest.mark.parametrize("mode", MODES)
def test_a_lock_of_another_costs_that_revocation_only(sql_app: SQLApps, mode: str) -> None:
    site = sql_app("sqlite", JWT_STORE_TIMEOUT=0.25)
    site.outside(f"PRAGMA journal_mode = {mode}")
    token = access_token(site.app, site.authx)
    with site.app.app_context():
        with locked(site):
            for _ in range(2):
                began = time.monotonic()
                with pytest.raises(StoreUnavailableError):
                    site.authx.revoke_token(token)
                # Each waits: the store has not failed.
                assert time.monotonic() - began > 0.2
                # And goes on being asked.
                assert outcome(ask(site.app, headers=bearer(token))) == OK
        site.authx.revoke_token(token)
    assert not works(site.app, token)
    assert site.committed() == []


def test_a_locked_out_reader_is_one_answer(sql_app: SQLApps) -> None:
    site = sql_app("sqlite", JWT_STORE_TIMEOUT=0.05)
    site.outside("PRAGMA journal_mode = DELETE")
    token = access_token(site.app, site.authx)
    with locked(site, "EXCLUSIVE"):
        response = ask(site.app, headers=bearer(token))
        assert (outcome(response), response.headers["Retry-After"].isdigit()) == (FAULT, True)
    # Without the pause that follows a failure.
    assert outcome(ask(site.app, headers=bearer(token))) == OK


@pytest.mark.parametrize("mode", MODES)
def test_a_lock_that_is_given_up_in_time_is_waited_for(site: Site, mode: str) -> None:
    site.outside(f"PRAGMA journal_mode = {mode}")
    with site.app.app_context(), locked(site) as other:
        timer = threading.Timer(0.2, other.commit)
        timer.start()
        site.authx.revoke_session("s")
        timer.join()
    assert (site.committed(), site.entries()) == (["theirs"], 1)


@pytest.mark.parametrize("patience", [10, 0.05])
def test_writes_of_another_thread_s_session_are_waited_for(
    sql_app: SQLApps, patience: float
) -> None:
    site = sql_app("sqlite", JWT_STORE_TIMEOUT=patience)
    wrote, go_on = threading.Event(), threading.Event()

    def write() -> None:
        with site.app.app_context():
            site.write("theirs")
            wrote.set()
            assert go_on.wait(60)
            site.db.session.commit()

    with ThreadPoolExecutor(1) as pool, site.app.app_context():
        other = pool.submit(write)
        try:
            assert wrote.wait(60)
            # So that this thread has a session, too.
            assert site.db.session.scalars(sa.select(site.Note)).all() == []
            if patience == 10:
                threading.Timer(0.2, go_on.set).start()
                site.authx.revoke_session("s")
            else:
                with pytest.raises(StoreUnavailableError):
                    site.authx.revoke_session("s")
        finally:
            go_on.set()
        other.result(60)
        assert (site.committed(), site.entries()) == (["theirs"], int(patience == 10))


# What the check doesn't do


def test_neither_a_session_nor_a_context_is_made(site: Site) -> None:
    has: list[bool] = []
    pushed: list[Any] = []

    @site.app.post("/note")
    @site.authx.token_required
    def view() -> str:
        site.authx.revoke_token()
        has.append(site.db.session.registry.has())
        return ""

    def push(sender: Any, **_: Any) -> None:
        pushed.append(sender)

    token = access_token(site.app, site.authx)
    with appcontext_pushed.connected_to(push, site.app):
        assert ask(site.app, "POST", "/note", headers=bearer(token)).status_code == 200
    assert (has, len(pushed)) == ([False], 1)


# In memory


IN_MEMORY = (
    "sqlite://",
    "sqlite:///:memory:",
    "sqlite:///file:m?mode=memory&cache=shared&uri=true",
)


@pytest.mark.parametrize("url", IN_MEMORY)
def test_in_memory_the_store_is_a_database_of_its_own(sql_app: SQLApps, url: str) -> None:
    options = {"poolclass": sa.StaticPool, "connect_args": {"check_same_thread": False}}
    site = sql_app(url, SQLALCHEMY_ENGINE_OPTIONS=options)
    session = site.db.session
    first, second = (access_token(site.app, site.authx, uid) for uid in ("ann", "bob"))
    with site.app.app_context():
        site.write("kept")
        session.commit()
        site.write("lost")
        site.authx.revoke_token(first)
        assert site.authx.is_revoked(first)
        session.rollback()
        assert session.scalars(sa.select(site.Note.text)).all() == ["kept"]
        assert session.scalar(sa.text("SELECT count(*) FROM authx_blocklist")) == 0
        session.remove()
        site.db.drop_all()
        site.db.engine.dispose()
        site.authx.revoke_token(second)
    assert not works(site.app, first)
    assert not works(site.app, second)


def test_in_memory_all_threads_see_a_revocation(sql_app: SQLApps) -> None:
    site = sql_app("sqlite://")
    tokens = [access_token(site.app, site.authx, f"ann{number}") for number in range(24)]

    def revoke(token: str) -> bool:
        with site.app.app_context():
            site.authx.revoke_token(token)
            return site.authx.is_revoked(token)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(revoke, tokens))
    assert not any(works(site.app, token) for token in tokens)
