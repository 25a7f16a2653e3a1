"""The contract of a store of revocations in every backend: cut-offs, adding again, counting.

What it shares with a store of sessions is in ``test_row_contract``.
"""

from __future__ import annotations

import functools
import random
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import permutations
from pathlib import Path
from threading import Barrier, Event

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_authx import Blocklist, Cutoff, Entry, Kind
from tests.stores.contract import (
    ALL,
    EVERY,
    MOMENT,
    PRUNED,
    SIDS,
    found,
    later,
    new_key,
    opened,
    plain,
    race,
    refused,
)
from tests.support.corpus import check_all
from tests.support.properties import fixed

in_every_backend = pytest.mark.parametrize("backend", EVERY)

HOUR = 3600
moments = st.integers(0, 8)
#: To which of two users, what, and in which of three hours it expires.
adds = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.builds(Cutoff, moments, st.none() | st.sampled_from(SIDS)),
        st.integers(0, 2),
    ),
    min_size=1,
    max_size=8,
)


@pytest.fixture
def store(backend: str, tmp_path: Path) -> Iterator[Blocklist]:
    with opened(backend, tmp_path) as made:
        yield made


#: One of each that a revocation may add.
ENTRIES = {
    "a token": (Kind.TOKEN, ALL),
    "a session": (Kind.SESSION, ALL),
    "a user": (Kind.SUBJECT, Cutoff(1_800_000_000)),
    "all sessions but one": (Kind.SUBJECT, Cutoff(1_800_000_000, bytes(range(16)))),
}


@in_every_backend
def test_an_entry_is_found_as_it_was_added_and_no_other_is(store: Blocklist) -> None:
    def check(entry: tuple[Kind, Cutoff]) -> None:
        key, (kind, cutoff) = new_key(), entry
        for number in (1, 2, 3):
            assert found(store, *(new_key() for _ in range(number))) == []
        store.add(Entry(key, kind, later(), cutoff))
        assert found(store, key) == [plain(cutoff)]
        (one,) = store.find([key])
        assert {type(one.until), type(one.keep_after)} == {int}
        assert one.keep is None or type(one.keep) is bytes
        assert found(store, new_key()) == []

    check_all(ENTRIES, check)


@in_every_backend
def test_one_to_three_keys_are_looked_up_together(store: Blocklist) -> None:
    """DESIGN 4: one lookup of three keys answers everything"""
    token, session, subject, unknown = (new_key() for _ in range(4))
    cutoff = Cutoff(1_800_000_000, session)
    cutoffs = {token: ALL, session: Cutoff(7), subject: cutoff}
    store.add(Entry(token, Kind.TOKEN, later()))
    store.add(Entry(session, Kind.SUBJECT, later(), Cutoff(7)))
    store.add(Entry(subject, Kind.SUBJECT, later(), cutoff))
    for number in (1, 2, 3):
        for keys in permutations([token, session, subject, unknown], number):
            expected = [plain(cutoffs[key]) for key in keys if key in cutoffs]
            assert found(store, *keys) == sorted(expected, key=repr)


@in_every_backend
def test_a_moment_is_kept_to_the_second(store: Blocklist) -> None:
    """SECURITY A.4 73: no time overflows anything"""

    def check(until: int) -> None:
        key, keep = new_key(), new_key()
        store.add(Entry(key, Kind.SUBJECT, 253_402_300_799, Cutoff(until, keep)))
        assert found(store, key) == [(until, keep, -1)]
        store.add(Entry(key, Kind.SUBJECT, 253_402_300_799, Cutoff(until)))
        assert found(store, key) == [(until + 1, None, None)]

    check_all({str(one): one for one in (0, 1, 2**31, 2**32, 253_402_300_799, 2**53 - 1)}, check)


@in_every_backend
def test_a_cutoff_that_is_found_covers_what_the_added_one_does(store: Blocklist) -> None:
    key, kept, other = (new_key() for _ in range(3))
    store.add(Entry(key, Kind.SUBJECT, later(), Cutoff(100, kept)))
    (cutoff,) = store.find([key])
    covered = [cutoff.covers(auth_time, sid) for sid in (kept, other) for auth_time in (100, 101)]
    assert covered == [False, False, True, False]


@in_every_backend
def test_entries_are_counted_by_kind_and_by_expiry(store: Blocklist) -> None:
    now = later(0)
    bounds = [now + HOUR, now + 2 * HOUR]
    assert {kind: [*counts] for kind, counts in store.count(bounds).items()} == {
        kind: [0, 0, 0] for kind in Kind
    }
    for place, kind in enumerate(Kind):
        for number, minutes in enumerate((30, 90, 150)):
            for _ in range((place + 1) * (number + 1)):
                store.add(Entry(new_key(), kind, now + minutes * 60))
    assert {kind: [*counts] for kind, counts in store.count(bounds).items()} == {
        Kind.TOKEN: [1, 2, 3],
        Kind.SESSION: [2, 4, 6],
        Kind.SUBJECT: [3, 6, 9],
    }
    assert {kind: [*counts] for kind, counts in store.count([]).items()} == {
        Kind.TOKEN: [6],
        Kind.SESSION: [12],
        Kind.SUBJECT: [18],
    }


@pytest.mark.parametrize("backend", PRUNED)
def test_an_entry_that_expires_at_a_bound_is_counted_after_it(store: Blocklist) -> None:
    for expires in (MOMENT - 1, MOMENT, MOMENT + 1):
        store.add(Entry(new_key(), Kind.TOKEN, expires))
    assert [*store.count([MOMENT])[Kind.TOKEN]] == [1, 2]
    assert [*store.count([MOMENT, MOMENT + 1, MOMENT + 9])[Kind.TOKEN]] == [1, 1, 1, 0]


@in_every_backend
def test_entries_added_again_are_what_python_makes_of_them(store: Blocklist) -> None:
    """DESIGN 4: the upsert rule, the same everywhere; the later expiry counts"""
    now = later(0)
    bounds = [now + HOUR * 2, now + HOUR * 3, now + HOUR * 4]
    # A count covers all that was ever added, so it is kept for all examples together.
    expiries = [0] * 4

    @given(adds)
    @settings(fixed, max_examples=15)
    def check(history: list[tuple[int, Cutoff, int]]) -> None:
        keys = [new_key(), new_key()]
        ours: dict[int, list[Cutoff]] = defaultdict(list)
        last: dict[int, int] = defaultdict(int)
        for who, cutoff, hour in history:
            store.add(Entry(keys[who], Kind.SUBJECT, now + HOUR * (hour + 1) + 60, cutoff))
            ours[who].append(cutoff)
            last[who] = max(last[who], hour)
            expected = functools.reduce(Cutoff.then, ours[who])
            assert found(store, keys[who]) == [plain(expected)]
        for hour in last.values():
            expiries[hour] += 1
        assert [*store.count(bounds)[Kind.SUBJECT]] == expiries

    check()


#: Two revocations of all of a user's sessions, and what both refuse: sessions that began by the
#: first cut-off, between, and after the second; the first one kept, the second one, and any other.
PAIRS: dict[str, tuple[Cutoff, Cutoff, dict[bytes, list[bool]]]] = {
    "keep, then none": (
        Cutoff(10, SIDS[0]),
        Cutoff(20),
        {sid: [True, True, False] for sid in SIDS},
    ),
    "none, then keep": (
        Cutoff(10),
        Cutoff(20, SIDS[0]),
        {
            SIDS[0]: [True, False, False],
            SIDS[1]: [True, True, False],
            SIDS[2]: [True, True, False],
        },
    ),
    "keep one, then another": (
        Cutoff(10, SIDS[0]),
        Cutoff(20, SIDS[1]),
        {
            SIDS[0]: [True, True, False],
            SIDS[1]: [True, False, False],
            SIDS[2]: [True, True, False],
        },
    ),
    "keep the same twice": (
        Cutoff(10, SIDS[0]),
        Cutoff(20, SIDS[0]),
        {
            SIDS[0]: [False, False, False],
            SIDS[1]: [True, True, False],
            SIDS[2]: [True, True, False],
        },
    ),
}


@in_every_backend
def test_what_is_refused_after_two_revocations(store: Blocklist) -> None:
    def check(pair: tuple[Cutoff, Cutoff, dict[bytes, list[bool]]]) -> None:
        key, (first, second, expected) = new_key(), pair
        for cutoff in (first, second):
            store.add(Entry(key, Kind.SUBJECT, later(), cutoff))
        (both,) = store.find([key])
        assert {sid: [both.covers(at, sid) for at in (10, 15, 21)] for sid in SIDS} == expected

    check_all(PAIRS, check)


@in_every_backend
def test_a_session_dated_just_after_a_cutoff_is_revoked_by_the_next(store: Blocklist) -> None:
    """DESIGN 4: a session right after "log out everywhere" lives, until the next one"""
    key = new_key()
    auth_time = 100
    for _ in range(5):
        # All in the same second, by the revoker's clock.
        store.add(Entry(key, Kind.SUBJECT, later(), Cutoff(100)))
        (cutoff,) = store.find([key])
        assert cutoff.covers(auth_time, SIDS[0])
        auth_time = cutoff.until + 1
        assert not cutoff.covers(auth_time, SIDS[0])


@in_every_backend
def test_a_token_or_a_session_may_be_revoked_again(store: Blocklist) -> None:
    """SECURITY A.12 216, 226"""
    for kind in (Kind.TOKEN, Kind.SESSION):
        key = new_key()
        for seconds in (100, 7200, 100):
            store.add(Entry(key, kind, later(seconds)))
            assert found(store, key) == [plain(ALL)]
        assert [*store.count([later()])[kind]] == [0, 1]


@in_every_backend
def test_a_cutoff_over_all_time_stays_so(store: Blocklist) -> None:
    """Blocklist.add: Cutoff.then says what becomes of both"""
    key = new_key()
    store.add(Entry(key, Kind.SUBJECT, later(), ALL))
    store.add(Entry(key, Kind.SUBJECT, later(), Cutoff(5, SIDS[0])))
    (cutoff,) = store.find([key])
    assert cutoff.until == ALL.until
    assert refused(cutoff) == refused(ALL)


@in_every_backend
def test_eight_threads_may_revoke_the_same_user_at_once(store: Blocklist) -> None:
    """SECURITY A.12 216"""
    key, threads, rounds = new_key(), 8, 5
    draw = random.Random(1)
    cutoffs = [
        [Cutoff(draw.randrange(9), draw.choice([None, *SIDS])) for _ in range(rounds)]
        for _ in range(threads)
    ]
    together, done = Barrier(threads + 1), Event()

    def revoke(mine: list[Cutoff]) -> None:
        together.wait(60)
        for cutoff in mine:
            store.add(Entry(key, Kind.SUBJECT, later(), cutoff))

    def look() -> None:
        together.wait(60)
        before: set[tuple[int, bytes]] = set()
        while not done.is_set():
            now: set[tuple[int, bytes]] = set()
            for cutoff in store.find([key, new_key()]):
                now |= refused(cutoff)
            assert before <= now, f"no longer refused: {before - now}"
            before = now

    with ThreadPoolExecutor(threads + 1) as pool:
        looking = pool.submit(look)
        try:
            for revoking in [pool.submit(revoke, mine) for mine in cutoffs]:
                revoking.result(60)
        finally:
            done.set()
        looking.result(60)
    (last,) = store.find([key])
    # Each one after another has moved it on.
    assert last.until >= threads * rounds - 1
    for cutoff in (one for mine in cutoffs for one in mine):
        assert refused(cutoff) <= refused(last), f"{cutoff} refuses more than {last}"


@in_every_backend
def test_eight_threads_may_revoke_the_same_token_at_once(store: Blocklist) -> None:
    """SECURITY A.12 216"""
    keys = [new_key() for _ in range(10)]

    def revoke(number: int) -> None:
        for key in keys:
            store.add(Entry(key, Kind.TOKEN, later(3600 + number)))

    race(revoke)
    assert [found(store, key) for key in keys] == [[plain(ALL)]] * len(keys)
    assert sum(store.count([])[Kind.TOKEN]) == len(keys)
