"""What every store promises about entries that have expired: they go, and no others do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, Event

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_authx import Blocklist, Entry, Kind
from flask_authx.stores.sql.revocations import SQLAlchemyBlocklist
from tests.stores.test_store_contract import EVERY, SQL, later, new_key, opened, sql_store
from tests.support.databases import database_url
from tests.support.properties import fixed

#: Stores that don't let entries go by themselves.
PRUNED = ("memory", *SQL)
#: A moment of the tests: those stores go by what they are told.
T = 1_000_000


def total(store: Blocklist) -> int:
    return sum(sum(numbers) for numbers in store.count([]).values())


def fill(store: Blocklist, expiries: Sequence[int]) -> dict[bytes, int]:
    """Add entries that expire then."""
    made = {new_key(): expires for expires in expiries}
    for key, expires in made.items():
        store.add(Entry(key, Kind.TOKEN, expires))
    return made


def left(store: Blocklist, made: Mapping[bytes, int]) -> list[int]:
    """When those expire that are still found."""
    return sorted(expires for key, expires in made.items() if store.find([key]))


def removed_by_prune(store: Blocklist, before: int) -> int:
    shares, removed = [0.0], 0
    for batch in store.prune(before):
        shares.append(batch.share)
        removed += batch.removed
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    return removed


@pytest.mark.parametrize("kind", EVERY)
def test_entries_are_counted_by_kind_and_by_when_they_expire(kind: str, tmp_path: Path) -> None:
    now, hour = later(0), 3600
    bounds = [now + hour, now + 2 * hour]
    with opened(kind, tmp_path) as store:
        assert {one: [*found] for one, found in store.count(bounds).items()} == {
            one: [0, 0, 0] for one in Kind
        }
        for place, entry_kind in enumerate(Kind):
            for number, minutes in enumerate((30, 90, 150)):
                for _ in range((place + 1) * (number + 1)):
                    store.add(Entry(new_key(), entry_kind, now + minutes * 60))
        counts = {one: [*found] for one, found in store.count(bounds).items()}
        assert counts == {
            Kind.TOKEN: [1, 2, 3],
            Kind.SESSION: [2, 4, 6],
            Kind.SUBJECT: [3, 6, 9],
        }
        assert {one: [*found] for one, found in store.count([]).items()} == {
            Kind.TOKEN: [6],
            Kind.SESSION: [12],
            Kind.SUBJECT: [18],
        }


@pytest.mark.parametrize("kind", PRUNED)
def test_a_bound_is_the_first_moment_that_is_not_before_it(kind: str, tmp_path: Path) -> None:
    with opened(kind, tmp_path) as store:
        fill(store, [T - 1, T, T + 1])
        assert [*store.count([T])[Kind.TOKEN]] == [1, 2]
        assert [*store.count([T, T + 1, T + 9])[Kind.TOKEN]] == [1, 1, 1, 0]


@pytest.mark.parametrize("kind", EVERY)
def test_a_prune_removes_nothing_that_has_not_expired(kind: str, tmp_path: Path) -> None:
    """SECURITY 225"""
    with opened(kind, tmp_path) as store:
        assert removed_by_prune(store, later(0)) == 0
        made = fill(store, [later(60), later(3600), later(30 * 86400)])
        assert removed_by_prune(store, later(0)) == 0
        assert len(left(store, made)) == 3


@pytest.mark.parametrize("kind", PRUNED)
def test_a_prune_removes_exactly_what_expired_before_the_moment(kind: str, tmp_path: Path) -> None:
    """SECURITY 225"""
    with opened(kind, tmp_path) as store:

        @given(st.lists(st.integers(T - 3, T + 3), max_size=12), st.integers(T - 4, T + 4))
        @settings(fixed, max_examples=15)
        def check(expiries: list[int], before: int) -> None:
            made = fill(store, expiries)
            assert removed_by_prune(store, before) == sum(one < before for one in expiries)
            assert left(store, made) == sorted(one for one in expiries if one >= before)
            assert removed_by_prune(store, before) == 0
            removed_by_prune(store, T + 9)
            assert total(store) == 0

        check()


@pytest.mark.parametrize("kind", PRUNED)
def test_an_entry_that_was_added_again_stays_until_its_later_expiry(
    kind: str, tmp_path: Path
) -> None:
    with opened(kind, tmp_path) as store:
        for expiries in ([T, T + 50], [T + 50, T], [T, T + 50, T], [T, T, T + 50]):
            key = new_key()
            for expires in expiries:
                store.add(Entry(key, Kind.TOKEN, expires))
            for before in (T + 1, T + 50):
                store.sweep(before, 1000)
                assert removed_by_prune(store, before) == 0
                assert store.find([key])
            assert removed_by_prune(store, T + 51) == 1
            assert not store.find([key])


@pytest.mark.parametrize("kind", [kind for kind in SQL if kind != "sqlite-memory"])
def test_many_entries_are_pruned_in_batches(kind: str, tmp_path: Path) -> None:
    engine = sa.create_engine(database_url(kind, tmp_path), poolclass=sa.NullPool)
    with sql_store(engine) as store:
        live = [new_key() for _ in range(600)]
        rows = [(new_key(), T) for _ in range(11_400)] + [(key, T + 99) for key in live]
        insert = sa.insert(store.table)
        with engine.begin() as connection:
            connection.execute(
                insert,
                [{"key": key, "kind": 0, "expires_at": expires} for key, expires in rows],
            )
        batches = [*store.prune(T + 1)]
        assert len(batches) >= 3
        assert sum(batch.removed for batch in batches) == 11_400
        shares = [batch.share for batch in batches]
        assert shares == sorted(shares)
        assert all(0 < share < 1 for share in shares[:-1])
        assert shares[-1] == 1
        assert total(store) == 600
        assert all(store.find([key]) for key in live[::20])


@pytest.mark.parametrize("kind", PRUNED)
def test_a_sweep_looks_at_no_more_than_its_limit(kind: str, tmp_path: Path) -> None:
    with opened(kind, tmp_path) as store:
        fill(store, [T] * 40)
        before = total(store)
        for limit in (1, 3, 7):
            removed = store.sweep(T + 1, limit)
            assert 0 <= removed <= limit
            assert total(store) == before - removed
            before -= removed


@pytest.mark.parametrize("kind", PRUNED)
def test_sweeps_remove_all_that_expired_and_only_that(kind: str, tmp_path: Path) -> None:
    with opened(kind, tmp_path) as store:
        made = fill(store, [*([T] * 20), *([T + 1] * 20), *([T + 99] * 20)])
        removed = 0
        # Where it looks is drawn by lot: a thousandth of this many misses would be bad luck.
        for _ in range(3000):
            removed += store.sweep(T + 1, 10)
            if removed == 20:
                break
        assert removed == 20
        assert left(store, made) == [*([T + 1] * 20), *([T + 99] * 20)]
        assert store.sweep(T + 1, 100) == 0


@pytest.mark.parametrize("kind", EVERY)
def test_a_prune_beside_traffic_loses_nothing(kind: str, tmp_path: Path) -> None:
    """SECURITY 225"""
    threads, done, together = 4, Event(), Barrier(5)
    shared = new_key()
    moment = later(0) - 1000
    # Redis takes nothing that has expired.
    old = moment - 1 if kind in PRUNED else moment + 2000
    with opened(kind, tmp_path) as store, ThreadPoolExecutor(threads + 1) as pool:

        def work() -> int:
            together.wait(60)
            for number in range(40):
                key = new_key()
                # One that has expired, and is revoked again for longer beside the prune.
                store.add(Entry(key, Kind.TOKEN, old))
                store.add(Entry(key, Kind.TOKEN, later()))
                store.add(Entry(shared, Kind.SESSION, old if number % 2 else later()))
                # Nothing lives any longer in it, so it may be gone at any time.
                store.add(Entry(new_key(), Kind.TOKEN, old))
                assert store.find([key])
                kept.append(key)
                assert all(store.find([one]) for one in kept[-8:])
            return len(kept)

        def prune() -> int:
            removed = 0
            together.wait(60)
            while not done.is_set():
                removed += removed_by_prune(store, moment) + store.sweep(moment, 50)
            return removed + removed_by_prune(store, moment)

        kept: list[bytes] = []
        pruning = pool.submit(prune)
        try:
            for working in [pool.submit(work) for _ in range(threads)]:
                working.result(120)
        finally:
            done.set()
        removed = pruning.result(120)
        assert len(kept) == threads * 40
        assert all(store.find([key]) for key in [*kept, shared])
        if kind in PRUNED:
            assert removed >= threads * 40
            assert total(store) == threads * 40 + 1


@pytest.mark.parametrize("kind", SQL)
def test_a_prune_may_be_left_half_way(kind: str, tmp_path: Path) -> None:
    with opened(kind, tmp_path) as store:
        assert isinstance(store, SQLAlchemyBlocklist)
        made = fill(store, [T, T + 9])
        batches = store.prune(T + 1)
        assert next(batches).removed == 1
        del batches
        assert left(store, made) == [T + 9]
        assert total(store) == 1
