"""The stores in memory: expired rows are removed as others are added, and leave nothing."""

from __future__ import annotations

import tracemalloc
from concurrent.futures import ThreadPoolExecutor

from flask_authx import Blocklist, Cutoff, Entry, Kind, MemoryBlocklist
from flask_authx.stores.memory import MemorySessions
from tests.stores.contract import new_key, new_session, visit
from tests.support import NOW, Clock, access_token
from tests.support.databases import app_on

T = int(NOW)


def size(store: Blocklist) -> int:
    return sum(sum(numbers) for numbers in store.count([]).values())


def test_expired_entries_are_removed_as_others_are_added() -> None:
    """SECURITY A.12 218: bounded"""
    clock = Clock()
    store = MemoryBlocklist(clock)
    sizes: list[int] = []
    for _ in range(3000):
        store.add(Entry(new_key(), Kind.TOKEN, int(clock()) + 100))
        clock.advance(1)
        sizes.append(size(store))
    # Those of the last hundred seconds, and the one that the next call removes.
    assert max(sizes) <= 103


def test_entries_of_the_same_key_do_not_pile_up() -> None:
    """SECURITY A.6 114, A.12 218: bounded"""
    clock = Clock()
    store = MemoryBlocklist(clock)
    key = new_key()

    def add(number: int) -> None:
        for _ in range(number):
            store.add(Entry(key, Kind.SUBJECT, int(clock()) + 100, Cutoff(T)))
            clock.advance(1)

    add(2000)
    tracemalloc.start()
    add(5000)
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size(store) == 1
    assert grown < 50_000


def test_a_key_that_is_revoked_over_and_over_takes_no_memory() -> None:
    """SECURITY A.12 218: bounded. Any user can, as by DELETE /auth/sessions."""
    store = MemoryBlocklist(lambda: T)
    keys = [new_key() for _ in range(3)]

    def revoke(number: int) -> None:
        for turn in range(number):
            for key in keys:
                store.add(Entry(key, Kind.SUBJECT, T + 10**6 + turn, Cutoff(T)))

    revoke(10)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        revoke(2000)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # An item for each would be a hundred times that.
    assert after - before < 20_000
    assert sum(batch.removed for batch in store.prune(T + 10**6)) == 0
    assert sum(batch.removed for batch in store.prune(T + 10**7)) == 3
    assert size(store) == 0


def test_an_entry_is_kept_until_the_latest_expiry_it_was_added_with() -> None:
    clock = Clock()
    store = MemoryBlocklist(clock)
    key = new_key()
    for expires in (T + 10, T + 100, T + 50):
        store.add(Entry(key, Kind.TOKEN, expires))
    for seconds in (11, 51, 100):
        clock.now = T + seconds
        for _ in range(5):
            store.add(Entry(new_key(), Kind.TOKEN, T + 1000))
        assert store.find([key])
    clock.now = T + 101
    for _ in range(5):
        store.add(Entry(new_key(), Kind.TOKEN, T + 1000))
    assert not store.find([key])


def test_an_entry_that_has_expired_is_not_kept_for_long() -> None:
    clock = Clock()
    store = MemoryBlocklist(clock)
    store.add(Entry(new_key(), Kind.TOKEN, T - 5))
    assert size(store) == 0


def test_a_prune_goes_by_the_moment_it_is_told() -> None:
    for expires, removed in ((T - 1, 1), (T, 0)):
        store = MemoryBlocklist(lambda: 0.0)
        store.add(Entry(new_key(), Kind.TOKEN, expires))
        assert [(one.removed, one.share) for one in store.prune(T)] == [(removed, 1.0)]


def test_an_app_removes_what_has_expired_by_its_own_clock() -> None:
    clock = Clock()
    store = MemoryBlocklist(clock)
    app, authx = app_on({}, blocklist=store, clock=clock)
    for _ in range(300):
        token = access_token(app, authx)
        with app.app_context():
            authx.revoke_token(token)
        clock.advance(60)
    # Each is kept for the 15 minutes of its token, the leeway and the margin.
    assert 15 <= size(store) <= 20


def test_threads_count_and_find_while_others_add() -> None:
    clock = Clock()
    store = MemoryBlocklist(clock)

    def add(number: int) -> None:
        for turn in range(500):
            key = new_key()
            store.add(Entry(key, Kind.TOKEN, T + turn % 7))
            clock.now = T + turn % 5
            store.sweep(int(clock()), 3)
            store.find([key])

    def look(number: int) -> None:
        for _ in range(100):
            assert size(store) >= 0
            assert sum(batch.removed for batch in store.prune(T)) >= 0

    with ThreadPoolExecutor(6) as pool:
        jobs = [pool.submit(work, number) for number in range(3) for work in (add, look)]
        for job in jobs:
            job.result(60)
    assert sum(batch.removed for batch in store.prune(T + 99)) >= 0
    assert size(store) == 0


def open_until(store: MemorySessions, expires: int) -> bytes:
    """Open a session that expires then unless it is refreshed; return its key and its subject's."""
    key = new_key()
    store.open(key, key, new_session(visit=visit(0, expires)))
    return key


def test_expired_sessions_are_removed_as_others_are_opened() -> None:
    now = float(T)
    store = MemorySessions(lambda: now)
    old = [open_until(store, T + 10) for _ in range(10)]
    assert all(store.get(key) for key in old)
    now = T + 11.5
    new = [open_until(store, T + 60) for _ in range(5)]
    assert not any(store.get(key) for key in old)
    assert not any(store.of(key) for key in old)
    assert all(store.get(key) for key in new)


def test_a_refreshed_session_stays_until_its_new_expiry() -> None:
    now = float(T)
    store = MemorySessions(lambda: now)
    later, sooner = open_until(store, T + 10), open_until(store, T + 99)
    assert store.move(later, 0, visit(1, T + 99))
    assert store.move(sooner, 0, visit(1, T + 10))
    now = T + 11.5
    open_until(store, T + 60)
    assert store.get(later)
    assert not store.get(sooner)
    now = T + 100.5
    for _ in range(3):
        open_until(store, T + 200)
    assert not store.get(later)


def test_a_session_that_expires_now_has_not_expired() -> None:
    now = float(T)
    store = MemorySessions(lambda: now)
    key = open_until(store, T + 10)
    now = T + 10.9
    open_until(store, T + 60)
    assert store.get(key)


def test_sessions_that_were_ended_take_no_memory() -> None:
    store = MemorySessions(lambda: T)
    stay = [open_until(store, T + 99) for _ in range(20)]
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(2000):
            assert store.end(open_until(store, T + 99))
        for generation in range(2000):
            # Each time earlier than before.
            assert store.move(stay[0], generation, visit(generation + 1, T + 9999 - generation))
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # An entry for each would be several times that.
    assert after - before < 100_000
    assert sum(batch.removed for batch in store.prune(T + 9999)) == 20
