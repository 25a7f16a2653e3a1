"""A revocation is committed by itself, whether the app's own transaction is or not."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError, IntegrityError, PendingRollbackError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from tests.stores.contract import race
from tests.support import access_token, bearer
from tests.support.answers import REVOKED, Outcome, ask, outcome
from tests.support.spy_store import login
from tests.support.sql_apps import KINDS, Site, SQLApps

SERVERS = ("postgresql", "mariadb")
LEVELS = ("REPEATABLE READ", "SERIALIZABLE")


def all_ways(site: Site, prefix: str) -> Iterator[tuple[str, Callable[[], None]]]:
    """A token for each way to revoke it, and that way."""
    authx = site.authx
    one, _, _ = login(site.app, authx, f"{prefix}1")
    yield one, lambda: authx.revoke_token(one)
    two, _, sid = login(site.app, authx, f"{prefix}2")
    yield two, lambda: authx.revoke_session(sid)
    three, _, _ = login(site.app, authx, f"{prefix}3")
    yield three, lambda: authx.revoke_subject(f"{prefix}3")


def outcome_of(site: Site, token: str, method: str = "GET", path: str = "/guarded") -> Outcome:
    return outcome(ask(site.app, method, path, headers=bearer(token)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_view_that_raises_after_revoking_has_revoked(sql_app: SQLApps, kind: str) -> None:
    """SECURITY A.12 215"""
    site = sql_app(kind)

    @site.app.post("/fail/<way>")
    @site.authx.token_required
    def fail(way: str) -> str:
        if way == "token":
            site.authx.revoke_token(reason="before an error")
        else:
            site.authx.logout()
        site.write("lost")
        raise ZeroDivisionError

    for way in ("token", "logout"):
        token = access_token(site.app, site.authx)
        assert outcome_of(site, token, "POST", f"/fail/{way}") == Outcome(500)
        assert outcome_of(site, token) == REVOKED
    assert site.committed() == []


@pytest.mark.parametrize("kind", SERVERS)
@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_uncommitted_writes_are_neither_committed_nor_rolled_back(
    sql_app: SQLApps, kind: str, end: str
) -> None:
    """USERS 48"""
    site = sql_app(kind)
    session = site.db.session
    for number, (token, revoke) in enumerate(all_ways(site, "ann")):
        kept = site.committed()
        with site.app.app_context():
            site.write(f"{number} before")
            revoke()
            assert site.committed() == kept
            site.write(f"{number} after")
            assert session.scalar(sa.select(sa.func.count(site.Note.id))) == len(kept) + 2
            getattr(session, end)()
        added = [f"{number} after", f"{number} before"] if end == "commit" else []
        assert site.committed() == kept + added
        assert outcome_of(site, token) == REVOKED


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_unwritten_work_stays_unwritten(sql_app: SQLApps, kind: str, end: str) -> None:
    """USERS 48"""
    site = sql_app(kind)
    session = site.db.session
    statements: list[str] = []
    with site.app.app_context():

        @event.listens_for(site.db.engine, "before_cursor_execute")
        def _(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
            statements.append(statement)

    for number, (token, revoke) in enumerate(all_ways(site, "ann")):
        kept = site.committed()
        with site.app.app_context():
            note = site.Note(text=f"{number}")
            session.add(note)
            revoke()
            assert [*session.new] == [note]
            assert statements == []
            getattr(session, end)()
        statements.clear()
        assert site.committed() == kept + ([f"{number}"] if end == "commit" else [])
        assert outcome_of(site, token) == REVOKED


@pytest.mark.parametrize("kind", SERVERS)
@pytest.mark.parametrize("level", LEVELS)
def test_an_older_transaction_sees_a_revocation_of_another_app(
    sql_app: SQLApps, kind: str, level: str
) -> None:
    """SECURITY A.12 217"""
    site = sql_app(kind)
    elsewhere = sql_app(kind, tables=False)
    table = site.db.metadata.tables["authx_blocklist"]
    # Without the mark of the scope. Under SERIALIZABLE, MariaDB locks what has been read, so the
    # app reads another table there.
    seen = sa.select(sa.func.count()).select_from(site.Note.__table__)
    if level == "REPEATABLE READ":
        seen = sa.select(sa.func.count()).select_from(table).where(table.c.kind != 3)
    tokens = [*all_ways(elsewhere, "ann")]
    with site.app.app_context():
        session = site.db.session
        session.connection(execution_options={"isolation_level": level})
        assert session.scalar(seen) == 0
        for token, revoke in tokens:
            assert not site.authx.is_revoked(token)
            with elsewhere.app.app_context():
                revoke()
            assert site.authx.is_revoked(token)
            # A request within this context has the very session.
            assert outcome_of(site, token) == REVOKED
        assert session.scalar(seen) == 0
        session.rollback()
        assert site.entries() == 3


def test_an_older_sqlite_snapshot_sees_a_revocation_of_another_app(
    sql_app: SQLApps,
) -> None:
    """SECURITY A.12 217"""
    site = sql_app("sqlite")
    site.outside("PRAGMA journal_mode = WAL")
    elsewhere = sql_app(site.url, tables=False)
    tokens = [*all_ways(elsewhere, "ann")]
    count = sa.text("SELECT count(*) FROM authx_blocklist WHERE kind <> 3")
    with site.app.app_context():
        site.db.session.execute(sa.text("BEGIN"))
        assert site.db.session.scalar(count) == 0
        for token, revoke in tokens:
            with elsewhere.app.app_context():
                revoke()
            assert site.authx.is_revoked(token)
        assert site.db.session.scalar(count) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_revocation_beside_a_failed_transaction(sql_app: SQLApps, kind: str) -> None:
    site = sql_app(kind)
    session = site.db.session
    with site.app.app_context():
        site.write("taken")
        session.commit()
    for number, (token, revoke) in enumerate(all_ways(site, "ann")):
        with site.app.app_context():
            session.add(site.Note(text="taken"))
            with pytest.raises(IntegrityError):
                session.flush()
            revoke()
            # It has failed as before, and is rolled back as it would have been.
            with pytest.raises(PendingRollbackError):
                session.execute(sa.text("SELECT 1"))
            session.rollback()
            site.write(f"{number}")
            session.commit()
        assert outcome_of(site, token) == REVOKED
    assert site.committed() == ["0", "1", "2", "taken"]


@pytest.mark.parametrize("kind", SERVERS)
def test_a_revocation_after_a_failed_statement(sql_app: SQLApps, kind: str) -> None:
    site = sql_app(kind)
    with site.app.app_context():
        site.write("lost")
        with pytest.raises(DBAPIError):
            site.db.session.execute(sa.text("SELECT nothing FROM nowhere"))
        site.authx.revoke_session("s")
        site.db.session.rollback()
    assert (site.committed(), site.entries()) == ([], 1)


@pytest.mark.parametrize("kind", SERVERS)
def test_a_revocation_inside_a_savepoint(sql_app: SQLApps, kind: str) -> None:
    site = sql_app(kind)
    session = site.db.session
    for token, revoke in all_ways(site, "ann"):
        with site.app.app_context():
            site.write(f"outer {token[-9:]}")
            with contextlib.suppress(ZeroDivisionError), session.begin_nested():
                site.write("inner")
                revoke()
                raise ZeroDivisionError
            session.commit()
        assert outcome_of(site, token) == REVOKED
    assert [text[:5] for text in site.committed()] == ["outer"] * 3


@pytest.mark.parametrize("kind", SERVERS)
def test_the_app_s_pool_is_not_waited_for(sql_app: SQLApps, kind: str) -> None:
    options = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 0.01}
    site = sql_app(kind, SQLALCHEMY_ENGINE_OPTIONS=options)
    tokens = [*all_ways(site, "ann")]
    with site.app.app_context():
        with site.db.engine.connect(), pytest.raises(PoolTimeoutError):
            site.db.engine.connect()
        with site.db.engine.connect():
            for token, revoke in tokens:
                revoke()
                assert site.authx.is_revoked(token)


#: How a server may have been told to isolate by default.
STRICT = {
    "postgresql": {"options": "-c default_transaction_isolation=serializable"},
    "mariadb": {"init_command": "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE"},
}


@pytest.mark.parametrize("kind", [*KINDS, "postgresql strict", "mariadb strict"])
def test_revoking_at_the_same_moment_revokes_once(sql_app: SQLApps, kind: str) -> None:
    """SECURITY A.12 216"""
    kind, _, strict = kind.partition(" ")
    options = {"connect_args": STRICT[kind]} if strict else {}
    site = sql_app(kind, SQLALCHEMY_ENGINE_OPTIONS=options)
    for round_ in range(3):
        for token, revoke in all_ways(site, f"ann{round_}"):

            def work(_: int, revoke: Callable[[], None] = revoke) -> None:
                with site.app.app_context():
                    revoke()
                    revoke()

            race(work, 8)
            assert outcome_of(site, token) == REVOKED
    assert site.entries() == 9
