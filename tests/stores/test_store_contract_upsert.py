"""Two revocations under one key, in every store: as ``Cutoff.then`` says, and nobody is let in."""

from __future__ import annotations

import functools
import random
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, Event

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_authx import Blocklist, Cutoff, Entry, Kind
from tests.stores.test_store_contract import ALL, EVERY, found, later, new_key, opened, plain
from tests.support.properties import fixed

LOGINS = [bytes([number]) * 16 for number in range(3)]
moments = st.integers(0, 8)
#: To which of two users, what, and until when it is kept: in one of three hours.
adds = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.builds(Cutoff, moments, st.none() | st.sampled_from(LOGINS)),
        st.integers(0, 2),
    ),
    min_size=1,
    max_size=8,
)
HOUR = 3600


def refused(cutoff: Cutoff) -> set[tuple[int, bytes]]:
    """Every login that is over, among all that could matter here."""
    return {
        (auth_time, login)
        for auth_time in range(60)
        for login in LOGINS
        if cutoff.covers(auth_time, login)
    }


@pytest.mark.parametrize("kind", EVERY)
def test_what_is_added_again_is_what_python_makes_of_both(kind: str, tmp_path: Path) -> None:
    """DESIGN 4: the upsert rule, the same everywhere; the later expiry counts"""
    with opened(kind, tmp_path) as store:
        now = later(0)
        bounds = [now + HOUR * 2, now + HOUR * 3, now + HOUR * 4]
        # Counting looks at all that was ever added, so it is done for all examples together.
        expiries = [0] * 4

        @given(adds)
        @settings(fixed, max_examples=25)
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


#: Two revocations of all of a user's logins, and who is refused of: those that began by the first
#: cut-off, between, and after the second; for the first kept login, the second one, and any other.
PAIRS: dict[str, tuple[Cutoff, Cutoff, dict[bytes, list[bool]]]] = {
    "keep, then none": (
        Cutoff(10, LOGINS[0]),
        Cutoff(20),
        {login: [True, True, False] for login in LOGINS},
    ),
    "none, then keep": (
        Cutoff(10),
        Cutoff(20, LOGINS[0]),
        {
            LOGINS[0]: [True, False, False],
            LOGINS[1]: [True, True, False],
            LOGINS[2]: [True, True, False],
        },
    ),
    "keep one, then another": (
        Cutoff(10, LOGINS[0]),
        Cutoff(20, LOGINS[1]),
        {
            LOGINS[0]: [True, True, False],
            LOGINS[1]: [True, False, False],
            LOGINS[2]: [True, True, False],
        },
    ),
    "keep the same twice": (
        Cutoff(10, LOGINS[0]),
        Cutoff(20, LOGINS[0]),
        {
            LOGINS[0]: [False, False, False],
            LOGINS[1]: [True, True, False],
            LOGINS[2]: [True, True, False],
        },
    ),
}


@pytest.mark.parametrize("kind", EVERY)
@pytest.mark.parametrize("pair", PAIRS)
def test_who_is_refused_after_two_revocations(kind: str, pair: str, tmp_path: Path) -> None:
    first, second, expected = PAIRS[pair]
    key = new_key()
    with opened(kind, tmp_path) as store:
        for cutoff in (first, second):
            store.add(Entry(key, Kind.SUBJECT, later(), cutoff))
        (both,) = store.find([key])
    assert {who: [both.covers(at, who) for at in (10, 15, 21)] for who in LOGINS} == expected


@pytest.mark.parametrize("kind", EVERY)
def test_a_login_dated_just_after_a_cutoff_is_ended_by_the_next(kind: str, tmp_path: Path) -> None:
    """DESIGN 4: a login right after "log out everywhere" lives, until the next one"""
    key = new_key()
    with opened(kind, tmp_path) as store:
        auth_time = 100
        for _ in range(5):
            # All in the same second, by the revoker's clock.
            store.add(Entry(key, Kind.SUBJECT, later(), Cutoff(100)))
            (cutoff,) = store.find([key])
            assert cutoff.covers(auth_time, LOGINS[0])
            auth_time = cutoff.until + 1
            assert not cutoff.covers(auth_time, LOGINS[0])


@pytest.mark.parametrize("kind", EVERY)
def test_a_token_or_a_login_may_be_revoked_again(kind: str, tmp_path: Path) -> None:
    """SECURITY 216, 226"""
    with opened(kind, tmp_path) as store:
        for entry_kind in (Kind.TOKEN, Kind.SESSION):
            key = new_key()
            for seconds in (100, 7200, 100):
                store.add(Entry(key, entry_kind, later(seconds)))
                assert found(store, key) == [plain(ALL)]
            assert [*store.count([later()])[entry_kind]] == [0, 1]


@pytest.mark.parametrize("kind", EVERY)
def test_a_cutoff_over_all_time_stays_so(kind: str, tmp_path: Path) -> None:
    """Blocklist.add: Cutoff.then says what becomes of both"""
    key = new_key()
    with opened(kind, tmp_path) as store:
        store.add(Entry(key, Kind.SUBJECT, later(), ALL))
        store.add(Entry(key, Kind.SUBJECT, later(), Cutoff(5, LOGINS[0])))
        (cutoff,) = store.find([key])
    assert cutoff.until == ALL.until
    assert refused(cutoff) == refused(ALL)


@pytest.mark.parametrize("kind", EVERY)
def test_eight_threads_may_revoke_the_same_user_at_once(kind: str, tmp_path: Path) -> None:
    """SECURITY 216"""
    key, threads, rounds = new_key(), 8, 5
    draw = random.Random(1)
    cutoffs = [
        [Cutoff(draw.randrange(9), draw.choice([None, *LOGINS])) for _ in range(rounds)]
        for _ in range(threads)
    ]
    together, done = Barrier(threads + 1), Event()
    with opened(kind, tmp_path) as store, ThreadPoolExecutor(threads + 1) as pool:

        def revoke(mine: list[Cutoff]) -> None:
            together.wait(60)
            for cutoff in mine:
                store.add(Entry(key, Kind.SUBJECT, later(), cutoff))

        def look() -> None:
            together.wait(60)
            before: set[tuple[int, bytes]] = set()
            while not done.is_set():
                before = assert_nobody_came_back(store, key, before)

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
        assert refused(cutoff) <= refused(last)


def assert_nobody_came_back(
    store: Blocklist, key: bytes, before: set[tuple[int, bytes]]
) -> set[tuple[int, bytes]]:
    now: set[tuple[int, bytes]] = set()
    for cutoff in store.find([key, new_key()]):
        now |= refused(cutoff)
    assert before <= now
    return now


@pytest.mark.parametrize("kind", EVERY)
def test_eight_threads_may_revoke_the_same_token_at_once(kind: str, tmp_path: Path) -> None:
    """SECURITY 216"""
    keys = [new_key() for _ in range(10)]
    together = Barrier(8)
    with opened(kind, tmp_path) as store, ThreadPoolExecutor(8) as pool:

        def revoke(number: int) -> None:
            together.wait(60)
            for key in keys:
                store.add(Entry(key, Kind.TOKEN, later(3600 + number)))

        for revoking in [pool.submit(revoke, number) for number in range(8)]:
            revoking.result(60)
        assert all(found(store, key) == [plain(ALL)] for key in keys)
        assert sum(store.count([])[Kind.TOKEN]) == len(keys)
