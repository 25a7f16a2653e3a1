"""The stores in memory: expired rows are removed as others are added, and leave nothing."""

from __future__ import annotations

import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import pytest

from flask_authx import Blocklist, Entry, Kind, MemoryBlocklist
from flask_authx.stores.memory import MemorySessions
from tests.stores.contract import found, new_key, new_session, visit
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
        store.add(Entry(new_key(), Kind.TOKEN, 100))
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
            store.add(Entry(key, Kind.SUBJECT, 100, 0))
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
    clock = Clock()
    store = MemoryBlocklist(clock)
    keys = [new_key() for _ in range(3)]

    def revoke(number: int) -> None:
        for turn in range(number):
            for key in keys:
                store.add(Entry(key, Kind.SUBJECT, 10**6 + turn, 0))

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
    for seconds, removed in ((10**6, 0), (10**7, 3)):
        clock.now = T + seconds
        assert sum(batch.removed for batch in store.prune()) == removed
    assert size(store) == 0


def test_an_entry_is_kept_until_the_latest_expiry_it_was_added_with() -> None:
    clock = Clock()
    store = MemoryBlocklist(clock)
    key = new_key()
    for lifetime in (10, 100, 50):
        store.add(Entry(key, Kind.TOKEN, lifetime))
    for seconds in (11, 51, 100):
        clock.now = T + seconds
        for _ in range(5):
            store.add(Entry(new_key(), Kind.TOKEN, 1000))
        assert found(store, key)
    clock.now = T + 101
    for _ in range(5):
        store.add(Entry(new_key(), Kind.TOKEN, 1000))
    assert not found(store, key)


def test_an_entry_that_never_expires_stays() -> None:
    clock = Clock()
    store = MemoryBlocklist(clock)
    scope, subject = new_key(), new_key()
    store.add_if_absent(Entry(scope, Kind.SCOPE, None, 0))
    for lifetime in (100, None, 100):
        store.add(Entry(subject, Kind.SUBJECT, lifetime, 0))
    clock.now = 1e12
    for _ in range(5):
        store.add(Entry(new_key(), Kind.TOKEN, 1000))
    assert sum(batch.removed for batch in store.prune()) == 0
    assert len(found(store, scope, subject)) == 2


def test_an_entry_that_has_expired_is_not_kept_for_long() -> None:
    clock = Clock()
    store = MemoryBlocklist(clock)
    store.add(Entry(new_key(), Kind.TOKEN, -5))
    assert size(store) == 0


def test_a_prune_goes_by_the_clock_of_the_store() -> None:
    for seconds, removed in ((61, 1), (60, 0), (-60, 0)):
        clock = Clock()
        store = MemoryBlocklist(clock)
        store.add(Entry(new_key(), Kind.TOKEN, 60))
        clock.advance(seconds)
        assert [(one.removed, one.share) for one in store.prune()] == [(removed, 1.0)]


def test_the_default_clock_is_looked_up_when_it_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Issue 13: freezegun, mock.patch("time.time") and time-machine move it"""
    store, sessions = MemoryBlocklist(), MemorySessions()
    monkeypatch.setattr(time, "time", lambda: NOW)
    assert store.find_dated([new_key()]).now == NOW * 1_000_000
    key = open_for(sessions, 10)
    monkeypatch.setattr(time, "time", lambda: NOW + 8)
    row = sessions.get(key)
    assert row is not None
    assert (row.now, row.left) == (NOW + 8, 2)


def test_an_app_removes_what_has_expired_by_its_own_clock() -> None:
    clock = Clock()
    store = MemoryBlocklist(clock)
    app, authx = app_on({}, blocklist=store, clock=clock)
    for _ in range(300):
        token = access_token(app, authx)
        with app.app_context():
            authx.revoke_token(token)
        clock.advance(60)
    # Each is kept for the 15 minutes of its token, the leeway and the hour's margin.
    assert 75 <= size(store) <= 80


def test_threads_count_and_find_while_others_add() -> None:
    clock = Clock()
    store = MemoryBlocklist(clock)

    def add(number: int) -> None:
        for turn in range(500):
            key = new_key()
            store.add(Entry(key, Kind.TOKEN, turn % 7))
            clock.now = T + turn % 5
            store.sweep(3)
            store.find([key])

    def look(number: int) -> None:
        for _ in range(100):
            assert size(store) >= 0
            assert sum(batch.removed for batch in store.prune()) >= 0

    with ThreadPoolExecutor(6) as pool:
        jobs = [pool.submit(work, number) for number in range(3) for work in (add, look)]
        for job in jobs:
            job.result(60)
    clock.now = T + 99
    assert sum(batch.removed for batch in store.prune()) >= 0
    assert size(store) == 0


def open_for(store: MemorySessions, idle: int) -> bytes:
    """Open a session that expires then unless it is refreshed; return its key and its subject's."""
    key = new_key()
    store.open(key, key, new_session(visit=visit(0, idle)))
    return key


def test_expired_sessions_are_removed_as_others_are_opened() -> None:
    clock = Clock()
    store = MemorySessions(clock)
    old = [open_for(store, 10) for _ in range(10)]
    assert all(store.get(key) for key in old)
    clock.advance(11.5)
    new = [open_for(store, 60) for _ in range(5)]
    assert not any(store.get(key) for key in old)
    assert not any(store.of(key) for key in old)
    assert all(store.get(key) for key in new)


def test_a_refreshed_session_stays_until_its_new_expiry() -> None:
    clock = Clock()
    store = MemorySessions(clock)
    later, sooner = open_for(store, 10), open_for(store, 99)
    assert store.move(later, 0, visit(1, 99))
    assert store.move(sooner, 0, visit(1, 10))
    clock.now = T + 11.5
    open_for(store, 60)
    assert store.get(later)
    assert not store.get(sooner)
    clock.now = T + 100.5
    for _ in range(3):
        open_for(store, 200)
    assert not store.get(later)


def test_a_session_that_expires_now_has_not_expired() -> None:
    clock = Clock()
    store = MemorySessions(clock)
    key = open_for(store, 10)
    clock.advance(10.9)
    open_for(store, 60)
    assert store.get(key)


def test_sessions_that_were_ended_take_no_memory() -> None:
    clock = Clock()
    store = MemorySessions(clock)
    stay = [open_for(store, 99) for _ in range(20)]
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(2000):
            assert store.end(open_for(store, 99))
        for generation in range(2000):
            # Each time earlier than before.
            assert store.move(stay[0], generation, visit(generation + 1, 9999 - generation))
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # An entry for each would be several times that.
    assert after - before < 100_000
    clock.advance(9999)
    assert sum(batch.removed for batch in store.prune()) == 20
