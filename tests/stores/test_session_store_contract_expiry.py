"""What every store of logins promises about those that have expired: they go, and no others do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, Event

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_authx.stores.session_store import Session, SessionStore
from flask_authx.stores.sql.sessions import SQLAlchemySessions
from tests.stores.test_session_store_contract import login, opened, visit
from tests.stores.test_store_contract import EVERY, SQL, later, new_key
from tests.support.properties import fixed

#: Stores that don't let rows go by themselves.
PRUNED = ("memory", *SQL)
#: A moment of the tests: those stores go by what they are told.
T = 1_000_000


def until(expires: int) -> Session:
    """A login that ends then unless it is refreshed."""
    return login(ends=expires + T, visit=visit(0, expires))


def fill(store: SessionStore, expiries: Sequence[int]) -> dict[bytes, int]:
    """Open logins that expire then."""
    made = {new_key(): expires for expires in expiries}
    for key, expires in made.items():
        store.open(key, key, until(expires))
    return made


def left(store: SessionStore, made: Mapping[bytes, int]) -> list[int]:
    """When those were to expire that are still there."""
    there = [key for key in made if store.get(key) is not None]
    assert there == [key for key in made if store.of(key)]
    return sorted(made[key] for key in there)


def removed_by_prune(store: SessionStore, before: int) -> int:
    shares, removed = [0.0], 0
    for batch in store.prune(before):
        shares.append(batch.share)
        removed += batch.removed
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    return removed


@pytest.mark.parametrize("kind", EVERY)
def test_a_prune_removes_nothing_that_has_not_expired(kind: str, tmp_path: Path) -> None:
    """SECURITY 225"""
    with opened(kind, tmp_path) as store:
        assert removed_by_prune(store, later(0)) == 0
        made = fill(store, [later(60), later(3600), later(30 * 86400)])
        assert removed_by_prune(store, later(0)) == 0
        assert store.sweep(later(0), 1000) == 0
        assert len(left(store, made)) == 3


@pytest.mark.parametrize("kind", PRUNED)
def test_a_prune_removes_exactly_what_expired_before_the_moment(kind: str, tmp_path: Path) -> None:
    with opened(kind, tmp_path) as store:

        @given(st.lists(st.integers(T - 3, T + 3), max_size=12), st.integers(T - 4, T + 4))
        @settings(fixed, max_examples=15)
        def check(expiries: list[int], before: int) -> None:
            made = fill(store, expiries)
            assert removed_by_prune(store, before) == sum(one < before for one in expiries)
            assert left(store, made) == sorted(one for one in expiries if one >= before)
            assert removed_by_prune(store, before) == 0
            removed_by_prune(store, T + 9)
            assert left(store, made) == []

        check()


@pytest.mark.parametrize("kind", PRUNED)
def test_the_expiry_of_the_last_refresh_counts(kind: str, tmp_path: Path) -> None:
    """Whether it is a later one or, since the settings have changed, an earlier one"""
    with opened(kind, tmp_path) as store:
        for first, *others in ([T, T + 50], [T + 90, T + 50], [T, T + 90, T + 20, T + 50]):
            key = new_key()
            store.open(key, key, until(first))
            for generation, expires in enumerate(others):
                assert store.move(key, generation, visit(generation + 1, expires))
                assert store.sweep(min(T + 1, expires), 1000) == 0
            assert store.rename(key, "telephone")
            for before in (T + 1, T + 50):
                assert store.sweep(before, 1000) == 0
                assert removed_by_prune(store, before) == 0
                assert store.get(key) is not None
            assert removed_by_prune(store, T + 51) == 1
            assert store.get(key) is None
            assert [*store.of(key)] == []
            assert not store.move(key, len(others), visit(9, T + 99))


@pytest.mark.parametrize("kind", PRUNED)
def test_a_row_that_was_ended_is_not_removed_again(kind: str, tmp_path: Path) -> None:
    with opened(kind, tmp_path) as store:
        one, two = fill(store, [T, T])
        assert store.end(one)
        assert removed_by_prune(store, T + 1) == 1
        assert not store.end(two)
        # Both keys are new again.
        for key in (one, two):
            store.open(key, key, until(T + 9))
        assert removed_by_prune(store, T + 1) == 0
        assert all(store.get(key) for key in (one, two))


@pytest.mark.parametrize("kind", PRUNED)
def test_a_sweep_looks_at_no_more_than_its_limit(kind: str, tmp_path: Path) -> None:
    with opened(kind, tmp_path) as store:
        made = fill(store, [T] * 40)
        before = 40
        for limit in (1, 3, 7):
            removed = store.sweep(T + 1, limit)
            assert 0 <= removed <= limit
            assert len(left(store, made)) == before - removed
            before -= removed


@pytest.mark.parametrize("kind", PRUNED)
def test_sweeps_remove_all_that_expired_and_only_that(kind: str, tmp_path: Path) -> None:
    with opened(kind, tmp_path) as store:
        made = fill(store, [*([T] * 10), *([T + 1] * 10), *([T + 99] * 10)])
        removed = 0
        # Where it looks is drawn by lot: a thousandth of this many misses would be bad luck.
        for _ in range(3000):
            removed += store.sweep(T + 1, 10)
            if removed == 10:
                break
        assert removed == 10
        assert left(store, made) == [*([T + 1] * 10), *([T + 99] * 10)]
        assert store.sweep(T + 1, 100) == 0


@pytest.mark.parametrize("kind", PRUNED)
def test_a_prune_beside_refreshes_ends_no_login_that_was_refreshed(
    kind: str, tmp_path: Path
) -> None:
    """SECURITY 225"""
    threads, done, together = 4, Event(), Barrier(5)
    alive: list[bytes] = []
    with opened(kind, tmp_path) as store, ThreadPoolExecutor(threads + 1) as pool:

        def work() -> None:
            together.wait(60)
            for _ in range(40):
                key = new_key()
                store.open(key, key, until(T))
                # At the last moment, or too late.
                if store.move(key, 0, visit(1, T + 99)):
                    alive.append(key)
                assert all(store.get(one) for one in alive[-8:])

        def prune() -> int:
            removed = 0
            together.wait(60)
            while not done.is_set():
                removed += removed_by_prune(store, T + 1) + store.sweep(T + 1, 50)
            return removed + removed_by_prune(store, T + 1)

        pruning = pool.submit(prune)
        try:
            for working in [pool.submit(work) for _ in range(threads)]:
                working.result(120)
        finally:
            done.set()
        assert pruning.result(120) == threads * 40 - len(alive)
        assert all(store.get(key) for key in alive)


@pytest.mark.parametrize("kind", SQL)
def test_a_prune_may_be_left_half_way(kind: str, tmp_path: Path) -> None:
    with opened(kind, tmp_path) as store:
        assert isinstance(store, SQLAlchemySessions)
        made = fill(store, [T, T + 9])
        batches = store.prune(T + 1)
        assert next(batches).removed == 1
        del batches
        assert left(store, made) == [T + 9]


@pytest.mark.parametrize("kind", PRUNED)
def test_sweeps_get_past_the_many_rows_of_one_subject(kind: str, tmp_path: Path) -> None:
    """However its rows lie: what has expired among them doesn't stay for those that haven't."""
    with opened(kind, tmp_path) as store:
        subject = new_key()
        for number in range(120):
            ends = later(3600) if number % 6 == 0 else T - 1
            store.open(new_key(), subject, until(ends))
        for _ in range(400):
            store.sweep(T, 10)
        assert sum(one.expires < T for one in store.of(subject)) < 20
