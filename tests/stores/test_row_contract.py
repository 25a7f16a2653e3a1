"""The contract of both kinds of store, revocations and sessions, in every backend: keyed rows."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, Event
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_authx import Risk
from flask_authx.stores.base import MAX_CONNECTIONS
from flask_authx.stores.sql.revocations import SQLAlchemyBlocklist
from flask_authx.stores.sql.sessions import SQLAlchemySessions
from tests.stores.contract import (
    CLOCKED,
    EVERY,
    HOUR,
    KEYS,
    KINDS,
    PRUNED,
    SQL,
    RevocationRows,
    Rows,
    SessionRows,
    new_key,
    new_session,
    opened_rows,
    race,
    removed_by_prune,
    sql_sessions,
    sql_store,
    undated,
)
from tests.support.databases import SHARED, database_url
from tests.support.properties import fixed
from tests.support.waiting import until

pytestmark = pytest.mark.parametrize("kind", KINDS)
in_every_backend = pytest.mark.parametrize("backend", EVERY)
in_pruned_ones = pytest.mark.parametrize("backend", PRUNED)
#: Those where a test sets the clock, so that it can say what happens at a moment.
in_clocked_ones = pytest.mark.parametrize("backend", CLOCKED)
in_sql = pytest.mark.parametrize("backend", SQL)
#: Those with a table that a second connection sees.
in_tables = pytest.mark.parametrize("backend", [one for one in SQL if one != "sqlite-memory"])


def at_length(backends: Sequence[Any]) -> pytest.MarkDecorator:
    """Tests that write thousands of rows: on a server they take seconds, and are slow."""
    slow = [one for one in backends if isinstance(one, str) and one not in {"memory", "sqlite"}]
    marked = [pytest.param(one, marks=pytest.mark.slow) if one in slow else one for one in backends]
    return pytest.mark.parametrize("backend", marked)


THREADS = 16


@pytest.fixture
def rows(kind: str, backend: str, tmp_path: Path) -> Iterator[Rows]:
    with opened_rows(kind, backend, tmp_path) as made:
        yield made


def advance(rows: Rows, seconds: int) -> None:
    assert rows.clock is not None
    rows.clock.advance(seconds)


def sql_of(rows: Rows) -> SQLAlchemyBlocklist | SQLAlchemySessions:
    assert isinstance(rows.store, SQLAlchemyBlocklist | SQLAlchemySessions)
    return rows.store


@in_every_backend
def test_any_bytes_are_a_key(rows: Rows) -> None:
    for number, key in enumerate(KEYS):
        assert not rows.held(key), f"{key!r} is found before it was added"
        rows.add(key, HOUR, number)
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
    assert removed_by_prune(rows.store) == 0
    made = rows.fill([60, HOUR, 30 * 86400])
    assert removed_by_prune(rows.store) == 0
    assert rows.store.sweep(1000) == 0
    assert rows.left(made) == sorted(made.values())


@in_pruned_ones
def test_a_prune_removes_all_that_has_expired(rows: Rows) -> None:
    """SECURITY A.12 225: by the clock of the store, whoever's that is"""
    made = rows.fill([-HOUR, -2, -1, -1, 60, HOUR])
    assert removed_by_prune(rows.store) == 4
    assert rows.left(made) == [60, HOUR]
    assert removed_by_prune(rows.store) == 0


@in_clocked_ones
def test_a_prune_removes_exactly_what_expired_before_the_moment(rows: Rows) -> None:
    """SECURITY A.12 225"""
    made = rows.fill([*range(-3, 4), 0, 0])
    there = sorted(made.values())
    advance(rows, -4)
    for now in range(-4, 6):
        left = [one for one in there if one >= now]
        assert removed_by_prune(rows.store) == len(there) - len(left), f"at {now}"
        assert rows.left(made) == left
        assert removed_by_prune(rows.store) == 0
        there = left
        advance(rows, 1)
    assert there == []


@pytest.mark.parametrize("backend", ["memory", "sqlite-memory"])
def test_a_prune_removes_exactly_what_expired_of_any_rows(rows: Rows) -> None:
    """SECURITY A.12 225: random rows, where a write is cheap; the backends share one statement"""

    @given(st.lists(st.integers(-3, 4), max_size=12))
    @settings(fixed, max_examples=15)
    def check(lifetimes: list[int]) -> None:
        made = rows.fill(lifetimes)
        assert removed_by_prune(rows.store) == sum(one < 0 for one in lifetimes)
        assert rows.left(made) == sorted(one for one in lifetimes if one >= 0)
        assert removed_by_prune(rows.store) == 0
        advance(rows, 9)
        removed_by_prune(rows.store)
        assert rows.left(made) == []

    check()


@in_clocked_ones
def test_the_expiry_that_counts_is_the_latest_or_that_of_the_last_refresh(rows: Rows) -> None:
    for first, *others in rows.histories:
        key = new_key()
        rows.add(key, first)
        for lifetime in others:
            assert rows.prolong(key, lifetime)
            assert rows.store.sweep(1000) == 0
        for seconds in (1, 49):
            advance(rows, seconds)
            assert rows.store.sweep(1000) == 0
            assert removed_by_prune(rows.store) == 0
            assert rows.held(key), f"{first}, {others}: missing after {seconds} s"
        advance(rows, 1)
        assert removed_by_prune(rows.store) == 1
        assert rows.left({key: 50}) == []
        if isinstance(rows, SessionRows):
            assert rows.prolong(key, 99) is False


@pytest.mark.parametrize("backend", [one for one in PRUNED if one not in CLOCKED])
def test_a_server_keeps_the_expiry_that_counts(rows: Rows) -> None:
    for first, *others in rows.histories:
        key = new_key()
        # 50 stands for an hour, and what is set to 0 has expired.
        rows.add(key, 72 * first - 1)
        for lifetime in others:
            assert rows.prolong(key, 72 * lifetime - 1)
        assert rows.store.sweep(1000) == 0
        assert removed_by_prune(rows.store) == 0
        assert rows.held(key), f"{first}, {others}"


def columns(kind: str, key: bytes, expires: int) -> dict[str, Any]:
    """A row of a table."""
    row: dict[str, Any] = {"key": key, "expires_at": expires}
    if kind == "revocations":
        return row | {"kind": 0}
    dates = dict.fromkeys(("rotated_at", "last_seen", "ends"), expires)
    return row | dates | (undated(new_session()) or {}) | {"subject": new_key()}


@at_length([one for one in SQL if one != "sqlite-memory"])
def test_many_rows_are_pruned_in_batches(
    rows: Rows, kind: str, backend: str, tmp_path: Path
) -> None:
    now = int(time.time() if rows.clock is None else rows.clock())
    live = {new_key(): now + HOUR for _ in range(600)}
    inserted = {new_key(): now - HOUR for _ in range(9_600)} | live
    engine = sa.create_engine(database_url(backend, tmp_path), poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.execute(
            sa.insert(sql_of(rows).table),
            [columns(kind, key, expires) for key, expires in inserted.items()],
        )
    batches = [*rows.store.prune()]
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
    made = rows.fill([-1, HOUR])
    batches = sql_of(rows).prune()
    assert next(batches).removed == 1
    del batches
    assert rows.left(made) == [HOUR]


@in_pruned_ones
def test_a_sweep_examines_no_more_rows_than_its_limit(rows: Rows) -> None:
    made = rows.fill([-1] * 24)
    before = 24
    for limit in (1, 3, 7):
        removed = rows.store.sweep(limit)
        assert 0 <= removed <= limit
        assert len(rows.left(made)) == before - removed
        before -= removed


@in_pruned_ones
def test_sweeps_remove_all_that_has_expired_and_nothing_else(rows: Rows) -> None:
    made = rows.fill([*([-1] * 10), *([HOUR] * 10), *([2 * HOUR] * 10)])
    removed = 0
    # Where it looks is random: this many misses have a chance of less than one in a thousand.
    for _ in range(3000):
        removed += rows.store.sweep(10)
        if removed == 10:
            break
    assert removed == 10
    assert rows.left(made) == [*([HOUR] * 10), *([2 * HOUR] * 10)]
    assert rows.store.sweep(100) == 0


@at_length(EVERY)
def test_a_prune_beside_writes_removes_no_row_that_was_prolonged(
    rows: Rows, kind: str, backend: str
) -> None:
    """SECURITY A.12 225, A.18 324"""
    threads, turns = 4, 25
    # Redis stores nothing that has expired.
    old = -1 if backend in PRUNED else 1000
    kept: list[bytes] = []
    expired: list[bytes] = []
    writing, shared = Event(), new_key()
    together = Barrier(threads + 1)

    def write() -> None:
        together.wait(60)
        for turn in range(turns):
            key = new_key()
            rows.add(key, old)
            # At the last moment; a session's row may be gone by then, and stays so.
            if rows.prolong(key, HOUR):
                kept.append(key)
                assert rows.held(key), "the prune has removed a row that was prolonged"
            # All of them write to one row. The first who opens a session decides on its expiry.
            rows.add(shared, old if turn % 2 and kind == "revocations" else HOUR)
            # Nothing prolongs this one.
            expired.append(new_key())
            rows.add(expired[-1], old)
            latest = kept[-3:]
            assert rows.held(*latest) == len(latest)

    def prune() -> int:
        removed = 0
        together.wait(60)
        while not writing.is_set():
            removed += removed_by_prune(rows.store) + rows.store.sweep(50)
        return removed + removed_by_prune(rows.store)

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
    assert backend not in PRUNED or not any(map(rows.held, expired))
    if isinstance(rows, RevocationRows):
        assert len(kept) == written
        # What is left: those, and the one that all wrote to.
        assert backend not in PRUNED or rows.total() == written + 1
    # The store in memory removes some by itself.
    if backend in SQL:
        assert removed >= written
        assert kind == "revocations" or removed == 2 * written - len(kept)


@in_every_backend
def test_sixteen_threads_look_up_while_one_adds(rows: Rows) -> None:
    """SECURITY A.12 219: what was added before a look-up began is found by it"""
    added: list[bytes] = []
    missing = new_key()

    def work(number: int) -> None:
        if number == THREADS:
            for _ in range(60):
                key = new_key()
                rows.add(key, HOUR)
                added.append(key)
        else:
            for _ in range(30):
                latest = added[-2:]
                assert rows.held(*latest, missing) == len(latest)

    race(work, THREADS + 1)


@in_sql
def test_connections_that_were_closed_are_opened_again(rows: Rows) -> None:
    key = new_key()
    rows.add(key, HOUR, 7)
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
        rows.add(KEYS[0], HOUR, 1)
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
def test_a_store_holds_few_connections(kind: str, backend: str, tmp_path: Path) -> None:
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
        assert 1 <= len(listed() - before) <= MAX_CONNECTIONS
        assert 1 <= during <= MAX_CONNECTIONS
        sql_of(rows).close()
        until(lambda: not listed() - before, what="a store without connections")
