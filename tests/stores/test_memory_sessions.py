"""Logins in memory: those that have expired go as others come, and nothing is left of them."""

from __future__ import annotations

import tracemalloc

from flask_authx.stores.memory import MemorySessions
from tests.stores.test_session_store_contract import login, visit
from tests.stores.test_store_contract import new_key

#: A moment of the tests.
T = 1_000_000


def until(store: MemorySessions, expires: int) -> bytes:
    """The key, and the subject's, of a login that ends then unless it is refreshed."""
    key = new_key()
    store.open(key, key, login(visit=visit(0, expires)))
    return key


def test_those_that_have_expired_are_removed_as_others_are_opened() -> None:
    now = float(T)
    store = MemorySessions(lambda: now)
    old = [until(store, T + 10) for _ in range(10)]
    assert all(store.get(key) for key in old)
    now = T + 11.5
    new = [until(store, T + 60) for _ in range(5)]
    assert not any(store.get(key) for key in old)
    assert not any(store.of(key) for key in old)
    assert all(store.get(key) for key in new)


def test_one_that_was_refreshed_stays_until_its_new_end() -> None:
    now = float(T)
    store = MemorySessions(lambda: now)
    later, sooner = until(store, T + 10), until(store, T + 99)
    assert store.move(later, 0, visit(1, T + 99))
    assert store.move(sooner, 0, visit(1, T + 10))
    now = T + 11.5
    until(store, T + 60)
    assert store.get(later)
    assert not store.get(sooner)
    now = T + 100.5
    for _ in range(3):
        until(store, T + 200)
    assert not store.get(later)


def test_one_that_expires_now_has_not_expired() -> None:
    now = float(T)
    store = MemorySessions(lambda: now)
    key = until(store, T + 10)
    now = T + 10.9
    until(store, T + 60)
    assert store.get(key)


def test_logins_that_were_ended_take_no_memory() -> None:
    store = MemorySessions(lambda: T)
    stay = [until(store, T + 99) for _ in range(20)]
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(5000):
            assert store.end(until(store, T + 99))
        for generation in range(5000):
            # Each time earlier than before.
            assert store.move(stay[0], generation, visit(generation + 1, T + 9999 - generation))
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # An entry for each would be more than a megabyte.
    assert after - before < 100_000
    assert sum(batch.removed for batch in store.prune(T + 9999)) == 20
