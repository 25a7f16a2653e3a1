"""The contract of both kinds of store, revocations and sessions, in every backend: keyed rows."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from threading import Barrier, Event
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_authx import Risk
from flask_authx.stores.sql.revocations import SQLAlchemyBlocklist
from flask_authx.stores.sql.sessions import SQLAlchemySessions
from tests.stores.contract import (
    EVERY,
    KEYS,
    KINDS,
    MOMENT,
    PRUNED,
    SQL,
    RevocationRows,
    Rows,
    SessionRows,
    later,
    new_key,
    new_session,
    opened_rows,
    race,
    removed_by_prune,
    sql_sessions,
    sql_store,
    visit,
)
from tests.support.databases import SHARED, database_url
from tests.support.properties import fixed
from tests.support.waiting import until

pytestmark = pytest.mark.parametrize("kind", KINDS)
in_every_backend = pytest.mark.parametrize("backend", EVERY)
in_pruned_ones = pytest.mark.parametrize("backend", PRUNED)
in_sql = pytest.mark.parametrize("backend", SQL)
#: Those with a table that a second connection sees.
in_tables = pytest.mark.parametrize("backend", [one for one in SQL if one != "sqlite-memory"])


def at_length(backends: Sequence[Any]) -> pytest.MarkDecorator:
    """Tests that write thousands of rows: on a server they take seconds, and are slow."""
    slow = [one for one in backends if isinstance(one, str) and one not in {"memory", "sqlite"}]
    marked = [pytest.param(one, marks=pytest.mark.slow) if one in slow else one for one in backends]
    return pytest.mark.parametrize("backend", marked)


T = MOMENT
THREADS = 16


@pytest.fixture
def rows(kind: str, backend: str, tmp_path: Path) -> Iterator[Rows]:
    with opened_rows(kind, backend, tmp_path) as made:
        yield made


def sql_of(rows: Rows) -> SQLAlchemyBlocklist | SQLAlchemySessions:
    assert isinstance(rows.store, SQLAlchemyBlocklist | SQLAlchemySessions)
    return rows.store


@in_every_backend
def test_any_bytes_are_a_key(rows: Rows) -> None:
    for number, key in enumerate(KEYS):
        assert not rows.held(key), f"{key!r} is found before it was added"
        rows.add(key, later(), number)
    numbers = {key: rows.number(key) for key in KEYS}
    assert numbers == {key: number for number, key in enumerate(KEYS)}


@in_every_backend
def test_a_store_tells_who_sees_its_rows_and_how_it_may_lose_them(rows: Rows, backend: str) -> None:
    assert rows.store.per_process is (backend not in (*SHARED, "psycopg2", "cluster"))
    risks = [*rows.store.risks()]
    for risk in risks:
        assert isinstance(risk, Risk)
        assert risk.problem.endswith("."), risk
        assert risk.fix.endswith("."), risk
        if isinstance(rows, SessionRows):
            assert "revocation" not in risk.problem
    if rows.store.per_process:
        assert "memory" in " ".join(risk.problem for risk in risks)


@in_every_backend
def test_a_prune_removes_nothing_that_has_not_expired(rows: Rows) -> None:
    """SECURITY A.12 225"""
    assert removed_by_prune(rows.store, later(0)) == 0
    made = rows.fill([later(60), later(3600), later(30 * 86400)])
    assert removed_by_prune(rows.store, later(0)) == 0
    assert rows.store.sweep(later(0), 1000) == 0
    assert rows.left(made) == sorted(made.values())


@in_pruned_ones
def test_a_prune_removes_exactly_what_expired_before_the_moment(rows: Rows) -> None:
    """SECURITY A.12 225"""
    made = rows.fill([*range(T - 3, T + 4), T, T])
    there = sorted(made.values())
    for before in range(T - 4, T + 6):
        left = [one for one in there if one >= before]
        assert removed_by_prune(rows.store, before) == len(there) - len(left), f"before {before}"
        assert rows.left(made) == left
        assert removed_by_prune(rows.store, before) == 0
        there = left
    assert there == []


@pytest.mark.parametrize("backend", ["memory", "sqlite-memory"])
def test_a_prune_removes_exactly_what_expired_of_any_rows(rows: Rows) -> None:
    """SECURITY A.12 225: random rows, where a write is cheap; the backends share one statement"""

    @given(st.lists(st.integers(T - 3, T + 3), max_size=12), st.integers(T - 4, T + 4))
    @settings(fixed, max_examples=15)
    def check(expiries: list[int], before: int) -> None:
        made = rows.fill(expiries)
        assert removed_by_prune(rows.store, before) == sum(one < before for one in expiries)
        assert rows.left(made) == sorted(one for one in expiries if one >= before)
        assert removed_by_prune(rows.store, before) == 0
        removed_by_prune(rows.store, T + 9)
        assert rows.left(made) == []

    check()


@in_pruned_ones
def test_the_expiry_that_counts_is_the_latest_or_that_of_the_last_refresh(rows: Rows) -> None:
    for first, *others in rows.histories:
        key = new_key()
        rows.add(key, first)
        for expires in others:
            assert rows.prolong(key, expires)
            assert rows.store.sweep(min(T + 1, expires), 1000) == 0
        for before in (T + 1, T + 50):
            assert rows.store.sweep(before, 1000) == 0
            assert removed_by_prune(rows.store, before) == 0
            assert rows.held(key), f"{first}, {others}: missing at {before}"
        assert removed_by_prune(rows.store, T + 51) == 1
        assert rows.left({key: T + 50}) == []
        if isinstance(rows, SessionRows):
            assert rows.prolong(key, T + 99) is False


def columns(kind: str, key: bytes, expires: int) -> dict[str, Any]:
    """A row of a table."""
    if kind == "revocations":
        return {"key": key, "kind": 0, "expires_at": expires}
    made = asdict(new_session(visit=visit(0, expires)))
    made |= made.pop("visit") | {"key": key, "subject": new_key()}
    return made | {"expires_at": made.pop("expires")}


@at_length([one for one in SQL if one != "sqlite-memory"])
def test_many_rows_are_pruned_in_batches(
    rows: Rows, kind: str, backend: str, tmp_path: Path
) -> None:
    live = {new_key(): T + 99 for _ in range(600)}
    inserted = {new_key(): T for _ in range(9_600)} | live
    engine = sa.create_engine(database_url(backend, tmp_path), poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.execute(
            sa.insert(sql_of(rows).table),
            [columns(kind, key, expires) for key, expires in inserted.items()],
        )
    batches = [*rows.store.prune(T + 1)]
    assert len(batches) >= 3
    assert sum(batch.removed for batch in batches) == 9_600
    shares = [batch.share for batch in batches]
    assert shares == sorted(shares)
    assert all(0 < share < 1 for share in shares[:-1]), shares
    assert shares[-1] == 1
    with engine.connect() as connection:
        keys = connection.execute(sa.select(sql_of(rows).table.c.key)).scalars()
        assert {*map(bytes, keys)} == {*live}
    assert all(rows.held(key) for key in [*live][::60])
    if isinstance(rows, RevocationRows):
        assert rows.total() == 600


@in_sql
def test_a_prune_may_be_left_half_way(rows: Rows) -> None:
    made = rows.fill([T, T + 9])
    batches = sql_of(rows).prune(T + 1)
    assert next(batches).removed == 1
    del batches
    assert rows.left(made) == [T + 9]


@in_pruned_ones
def test_a_sweep_examines_no_more_rows_than_its_limit(rows: Rows) -> None:
    made = rows.fill([T] * 24)
    before = 24
    for limit in (1, 3, 7):
        removed = rows.store.sweep(T + 1, limit)
        assert 0 <= removed <= limit
        assert len(rows.left(made)) == before - removed
        before -= removed


@in_pruned_ones
def test_sweeps_remove_all_that_has_expired_and_nothing_else(rows: Rows) -> None:
    made = rows.fill([*([T] * 10), *([T + 1] * 10), *([T + 99] * 10)])
    removed = 0
    # Where it looks is random: this many misses have a chance of less than one in a thousand.
    for _ in range(3000):
        removed += rows.store.sweep(T + 1, 10)
        if removed == 10:
            break
    assert removed == 10
    assert rows.left(made) == [*([T + 1] * 10), *([T + 99] * 10)]
    assert rows.store.sweep(T + 1, 100) == 0


@at_length(EVERY)
def test_a_prune_beside_writes_removes_no_row_that_was_prolonged(
    rows: Rows, kind: str, backend: str
) -> None:
    """SECURITY A.12 225, A.18 324"""
    threads, turns = 4, 25
    moment = later(0) - 1000
    # Redis stores nothing that has expired.
    old = moment - 1 if backend in PRUNED else moment + 2000
    kept: list[bytes] = []
    writing, shared = Event(), new_key()
    together = Barrier(threads + 1)

    def write() -> None:
        together.wait(60)
        for turn in range(turns):
            key = new_key()
            rows.add(key, old)
            # At the last moment; a session's row may be gone by then, and stays so.
            if rows.prolong(key, later()):
                kept.append(key)
                assert rows.held(key), "the prune has removed a row that was prolonged"
            # All of them write to one row. The first who opens a session decides on its expiry.
            rows.add(shared, old if turn % 2 and kind == "revocations" else later())
            # Nothing prolongs this one.
            rows.add(new_key(), old)
            latest = kept[-3:]
            assert rows.held(*latest) == len(latest)

    def prune() -> int:
        removed = 0
        together.wait(60)
        while not writing.is_set():
            removed += removed_by_prune(rows.store, moment) + rows.store.sweep(moment, 50)
        return removed + removed_by_prune(rows.store, moment)

    with ThreadPoolExecutor(threads + 1) as pool:
        pruning = pool.submit(prune)
        try:
            for job in [pool.submit(write) for _ in range(threads)]:
                job.result(120)
        finally:
            writing.set()
        removed = pruning.result(120)
    written = threads * turns
    assert sum(map(rows.held, [*kept, shared])) == len(kept) + 1
    if isinstance(rows, RevocationRows):
        assert len(kept) == written
        # What is left: those, and the one that all wrote to.
        assert backend not in PRUNED or (removed >= written and rows.total() == written + 1)
    else:
        assert backend not in PRUNED or removed == 2 * written - len(kept)


@in_every_backend
def test_sixteen_threads_look_up_while_one_adds(rows: Rows) -> None:
    """SECURITY A.12 219: what was added before a look-up began is found by it"""
    added: list[bytes] = []
    missing = new_key()

    def work(number: int) -> None:
        if number == THREADS:
            for _ in range(60):
                key = new_key()
                rows.add(key, later())
                added.append(key)
        else:
            for _ in range(30):
                latest = added[-2:]
                assert rows.held(*latest, missing) == len(latest)

    race(work, THREADS + 1)


@in_sql
def test_connections_that_were_closed_are_opened_again(rows: Rows) -> None:
    key = new_key()
    rows.add(key, later(), 7)
    for _ in range(3):
        sql_of(rows).close()
        assert rows.number(key) == 7


def open_files(path: Path) -> set[int]:
    """The descriptors of this process that are this file."""
    found: set[int] = set()
    for link in Path("/proc/self/fd").iterdir():
        try:
            if link.readlink() == path:
                found.add(int(link.name))
        except FileNotFoundError:
            # The descriptor of this listing itself.
            continue
    return found


def server_connections(url: sa.URL) -> set[int]:
    """The connections to a database that its server lists."""
    query = (
        "SELECT pid FROM pg_stat_activity WHERE datname = :name AND pid <> pg_backend_pid()"
        if url.get_backend_name() == "postgresql"
        else "SELECT id FROM information_schema.processlist "
        "WHERE db = :name AND id <> connection_id()"
    )
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        return {*connection.execute(sa.text(query), {"name": url.database}).scalars()}


@contextlib.contextmanager
def sql_rows(kind: str, engine: sa.Engine) -> Generator[Rows]:
    if kind == "revocations":
        with sql_store(engine) as revocations:
            yield RevocationRows(revocations)
    else:
        with sql_sessions(engine) as sessions:
            yield SessionRows(sessions)


@pytest.mark.parametrize("backend", ["postgresql", "psycopg2", "mariadb"])
def test_connections_that_the_server_has_closed_are_replaced_at_once(
    kind: str, backend: str, tmp_path: Path
) -> None:
    url = sa.make_url(database_url(backend, tmp_path))
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with sql_rows(kind, engine) as rows:
        before = server_connections(url)
        rows.add(KEYS[0], later(), 1)
        for _ in range(2):
            hang_up(url, server_connections(url) - before)
            assert rows.number(KEYS[0]) == 1


def hang_up(url: sa.URL, numbers: set[int]) -> None:
    """Let the server close these connections."""
    assert numbers
    statement = "SELECT pg_terminate_backend" if url.get_backend_name() == "postgresql" else "KILL"
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        for number in numbers:
            connection.exec_driver_sql(f"{statement} ({number})")
    until(lambda: not server_connections(url) & numbers, what="connections that are closed")


@in_tables
def test_a_store_holds_at_most_five_connections(kind: str, backend: str, tmp_path: Path) -> None:
    """Issue 3: the store's engine is its own, and few connections do"""
    url = sa.make_url(database_url(backend, tmp_path))
    listed: Callable[[], set[int]] = (
        (lambda: open_files(tmp_path / "test.db"))
        if backend == "sqlite"
        else (lambda: server_connections(url))
    )
    # The app's pool is as small as can be, and in use all the time.
    engine = sa.create_engine(url, pool_size=1, max_overflow=0, pool_timeout=1)
    with sql_rows(kind, engine) as rows, engine.connect():
        before = listed()

        def look(number: int) -> int:
            most = 0
            for turn in range(20):
                assert rows.held(new_key()) == 0
                if number == 0 and turn % 5 == 4:
                    most = max(most, len(listed() - before))
            return most

        during = max(race(look, THREADS))
        # They are held open, so what is there now is all that there were.
        assert 1 <= len(listed() - before) <= 5
        assert 1 <= during <= 5
        sql_of(rows).close()
        until(lambda: not listed() - before, what="a store without connections")
