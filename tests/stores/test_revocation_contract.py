"""The contract of a store of revocations in every backend: cut-offs, their dates, counting.

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
    CLOCKED,
    EVERY,
    HOUR,
    SIDS,
    cutoff_of,
    found,
    last_refused,
    new_key,
    now_of,
    opened,
    plain,
    race,
    server_time,
)
from tests.support import NOW, Clock
from tests.support.corpus import check_all
from tests.support.properties import fixed

in_every_backend = pytest.mark.parametrize("backend", EVERY)

T = int(NOW * 1_000_000)
#: A hundred years, in microseconds.
CENTURY = 36_500 * 86_400 * 1_000_000
#: To which of two users, what, and in which of three hours it expires.
adds = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.integers(-3, 3) | st.sampled_from([-CENTURY, 10_000_000]),
        st.none() | st.sampled_from(SIDS),
        st.integers(0, 2),
    ),
    min_size=1,
    max_size=8,
)


@pytest.fixture
def store(backend: str, tmp_path: Path) -> Iterator[Blocklist]:
    with opened(backend, tmp_path) as made:
        yield made


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def clocked(backend: str, tmp_path: Path, clock: Clock) -> Iterator[Blocklist]:
    """A store whose clock a test sets."""
    with opened(backend, tmp_path, clock=clock) as made:
        yield made


def add(
    store: Blocklist, key: bytes, ahead: int, keep: bytes | None = None, lifetime: int = HOUR
) -> Cutoff:
    """Add the entry of a subject, and see that what was there and it became what they must."""
    (old,) = store.find([key])
    before = now_of(store)
    store.add(Entry(key, Kind.SUBJECT, lifetime, ahead, keep))
    after = now_of(store)
    new = cutoff_of(store, key)
    # If the clock stands still, as in a store without a server, this is one moment.
    bounds = [Cutoff(moment + ahead, keep) for moment in (before, after)]
    if old is not None:
        bounds = [old.then(bound) for bound in bounds]
    assert bounds[0].until <= new.until <= bounds[1].until
    assert plain(new)[1:] == plain(bounds[0])[1:]
    return new


#: One of each that a revocation may add.
ENTRIES = {
    "a token": (Kind.TOKEN, None, None),
    "a session": (Kind.SESSION, None, None),
    "a user": (Kind.SUBJECT, 10_000_000, None),
    "a user, exactly until then": (Kind.SUBJECT, 0, None),
    "a user, until a moment that has passed": (Kind.SUBJECT, -1, None),
    "all sessions but one": (Kind.SUBJECT, 10_000_000, bytes(range(16))),
    "a scope": (Kind.SCOPE, 10_000_000, None),
    "a scope that trusts what is older": (Kind.SCOPE, -CENTURY, None),
    "a user, for ever": (Kind.SUBJECT, None, None),
    "a scope, for ever": (Kind.SCOPE, None, None),
}


@in_every_backend
def test_an_entry_is_found_as_it_was_added_and_no_other_is(store: Blocklist) -> None:
    def check(entry: tuple[Kind, int | None, bytes | None]) -> None:
        key, (kind, ahead, keep) = new_key(), entry
        for number in range(1, 9):
            assert [*store.find([new_key() for _ in range(number)])] == [None] * number
        before = now_of(store)
        store.add(Entry(key, kind, HOUR, ahead, keep))
        after = now_of(store)
        one = cutoff_of(store, key)
        if ahead is None:
            assert plain(one) == plain(ALL)
        else:
            assert before + ahead <= one.until <= after + ahead
            assert (one.keep, one.keep_after) == (keep, -1)
        assert {type(one.until), type(one.keep_after)} == {int}
        assert one.keep is None or type(one.keep) is bytes
        assert found(store, new_key()) == []

    check_all(ENTRIES, check)


@in_every_backend
def test_up_to_eight_keys_are_looked_up_together(store: Blocklist) -> None:
    """DESIGN 4: one look-up answers everything: what is found stands where its key stood"""
    keys = token, session, subject, scope, unknown = [new_key() for _ in range(5)]
    store.add(Entry(token, Kind.TOKEN, HOUR))
    store.add(Entry(session, Kind.SUBJECT, HOUR, -7))
    store.add(Entry(subject, Kind.SUBJECT, HOUR, 10, session))
    store.add(Entry(scope, Kind.SCOPE, None, -CENTURY))
    one_by_one = {key: store.find([key])[0] for key in keys}
    assert one_by_one[unknown] is None
    assert len({*one_by_one.values()}) == 5
    for number in (1, 2, 3, 4):
        for asked in permutations(keys, number):
            expected = [one_by_one[key] for key in asked]
            assert [*store.find(asked)] == expected
            assert [*store.find_dated(asked).cutoffs] == expected
    for number in (5, 6, 7, 8):
        places = [*keys, new_key(), new_key(), new_key()][:number]
        for asked in (tuple(places), tuple(places[::-1])):
            assert [*store.find(asked)] == [one_by_one.get(key) for key in asked]
    assert [*store.find([token, token])] == [one_by_one[token]] * 2


@in_every_backend
def test_a_store_tells_the_time_of_its_own_clock(
    store: Blocklist, backend: str, tmp_path: Path
) -> None:
    """Issue 13: stores date"""
    keys = [new_key() for _ in range(4)]

    def look() -> None:
        before = server_time(backend, tmp_path)
        times = [store.find_dated(keys[:number]).now for number in (1, 2, 3, 4)]
        after = server_time(backend, tmp_path)
        assert {type(time) for time in times} == {int}
        # Where there is no server, the clock of the fixture stands still.
        bounds = (before or T, *times, after or T)
        assert [*bounds] == sorted(bounds)

    look()
    for key in keys:
        add(store, key, 10_000_000)
    look()


@pytest.mark.parametrize("backend", CLOCKED)
def test_a_store_without_a_server_goes_by_the_clock_that_it_was_given(
    clocked: Blocklist, clock: Clock
) -> None:
    key, kept = new_key(), new_key()
    for now, ahead, expected in (
        (NOW + 0.000_001, 0, T + 1),
        (NOW + 0.5, 3, T + 500_003),
        # It grows though the clock has been set back.
        (NOW - 3600, 3, T + 500_004),
        (NOW - 3600, 3_600_500_010, T + 500_010),
    ):
        clock.now = now
        assert clocked.find_dated([new_key()]).now == pytest.approx(now * 1e6, abs=1)
        clocked.add(Entry(key, Kind.SUBJECT, HOUR, ahead, kept))
        assert cutoff_of(clocked, key).until == pytest.approx(expected, abs=1)


@in_every_backend
def test_a_session_that_begins_now_is_revoked_by_what_is_added_next(store: Blocklist) -> None:
    """Blocklist.find_dated: no later than an entry that is added afterwards"""
    for ahead in (0, 10_000_000):
        for _ in range(20):
            key = new_key()
            dated = store.find_dated([key, new_key()])
            assert [*dated.cutoffs] == [None, None]
            store.add(Entry(key, Kind.SUBJECT, HOUR, ahead))
            assert cutoff_of(store, key).covers(dated.now, SIDS[0])


@in_every_backend
def test_a_moment_is_kept_to_the_microsecond(store: Blocklist) -> None:
    """SECURITY A.4 73: no time overflows anything"""

    def check(ahead: int) -> None:
        key, keep = new_key(), new_key()
        for lifetime in (200 * 365 * 86_400, HOUR, None):
            add(store, key, ahead, keep, lifetime or HOUR)
            until = cutoff_of(store, key).until
            # Each is a microsecond later than the last, however far ahead that was.
            store.add(Entry(key, Kind.SUBJECT, lifetime, ahead - 3_600_000_000))
            assert found(store, key) == [(until + 1, None, None)]

    aheads = (0, 1, -1, 2**31, 2**32, CENTURY, -CENTURY, 2**53 - T - 2 * CENTURY)
    check_all({str(one): one for one in aheads}, check)


@in_every_backend
def test_a_cutoff_that_is_found_covers_what_the_added_one_does(store: Blocklist) -> None:
    key, kept, other = (new_key() for _ in range(3))
    cutoff = add(store, key, 100, kept)
    moments = (cutoff.until, cutoff.until + 1)
    covered = [cutoff.covers(began, sid) for sid in (kept, other) for began in moments]
    assert covered == [False, False, True, False]


@in_every_backend
def test_an_entry_is_added_only_where_there_is_none(store: Blocklist) -> None:
    """Issue 13: the mark of a scope is its birth, whoever writes it again"""
    key = new_key()
    before = now_of(store)
    first = store.add_if_absent(Entry(key, Kind.SCOPE, None, 10_000_000))
    assert before + 10_000_000 <= first.until <= now_of(store) + 10_000_000
    for entry in (
        Entry(key, Kind.SCOPE, None, -CENTURY),
        Entry(key, Kind.SCOPE, HOUR, CENTURY),
        Entry(key, Kind.SUBJECT, -HOUR, CENTURY, new_key()),
        Entry(key, Kind.TOKEN, HOUR),
    ):
        assert plain(store.add_if_absent(entry)) == plain(first)
        assert found(store, key) == [plain(first)]
        assert {kind: sum(numbers) for kind, numbers in store.count([]).items()} == {
            **dict.fromkeys(Kind, 0),
            Kind.SCOPE: 1,
        }
    # It is an entry as any other.
    assert plain(add(store, key, 20_000_000)) > plain(first)
    assert plain(store.add_if_absent(Entry(key, Kind.SCOPE, None, 0))) == found(store, key)[0]


@in_every_backend
def test_what_is_added_where_there_is_none_is_what_add_adds(store: Blocklist) -> None:
    keep = new_key()
    for kind, ahead, kept in (
        (Kind.TOKEN, None, None),
        (Kind.SESSION, None, None),
        (Kind.SUBJECT, 10_000_000, None),
        (Kind.SUBJECT, 10_000_000, keep),
        (Kind.SCOPE, -CENTURY, None),
    ):
        key = new_key()
        before = now_of(store)
        cutoff = store.add_if_absent(Entry(key, kind, HOUR, ahead, kept))
        after = now_of(store)
        assert found(store, key) == [plain(cutoff)]
        assert cutoff.keep == kept
        if ahead is None:
            assert plain(cutoff) == plain(ALL)
        else:
            assert before + ahead <= cutoff.until <= after + ahead
    counts = store.count([HOUR - 600, HOUR + 600])
    assert {kind: [*numbers] for kind, numbers in counts.items()} == {
        kind: [0, 2 if kind is Kind.SUBJECT else 1, 0] for kind in Kind
    }


@in_every_backend
def test_of_threads_that_add_an_entry_where_there_is_none_one_does(store: Blocklist) -> None:
    """Blocklist.add_if_absent: all return the cut-off of the one that was added"""
    for _ in range(5):
        key = new_key()
        entries = [Entry(key, Kind.SCOPE, None, number * 1000) for number in range(8)]
        cutoffs = [*map(plain, race(functools.partial(add_one, store, entries)))]
        assert cutoffs == found(store, key) * 8


def add_one(store: Blocklist, entries: list[Entry], number: int) -> Cutoff:
    return store.add_if_absent(entries[number])


@in_every_backend
def test_entries_are_counted_by_kind_and_by_expiry(store: Blocklist) -> None:
    bounds = [HOUR, 2 * HOUR]
    assert {kind: [*counts] for kind, counts in store.count(bounds).items()} == {
        kind: [0, 0, 0] for kind in Kind
    }
    for place, kind in enumerate(Kind):
        for number, lifetime in enumerate((HOUR // 2, 3 * HOUR // 2, None)):
            for _ in range((place + 1) * (number + 1)):
                ahead = 0 if kind in (Kind.SUBJECT, Kind.SCOPE) else None
                store.add(Entry(new_key(), kind, lifetime, ahead))
    assert {kind: [*counts] for kind, counts in store.count(bounds).items()} == {
        Kind.TOKEN: [1, 2, 3],
        Kind.SESSION: [2, 4, 6],
        Kind.SUBJECT: [3, 6, 9],
        Kind.SCOPE: [4, 8, 12],
    }
    assert {kind: [*counts] for kind, counts in store.count([]).items()} == {
        Kind.TOKEN: [6],
        Kind.SESSION: [12],
        Kind.SUBJECT: [18],
        Kind.SCOPE: [24],
    }


@pytest.mark.parametrize("backend", CLOCKED)
def test_an_entry_that_expires_at_a_bound_is_counted_after_it(
    clocked: Blocklist, clock: Clock
) -> None:
    for lifetime in (99, 100, 101):
        clocked.add(Entry(new_key(), Kind.TOKEN, lifetime))
    assert [*clocked.count([100])[Kind.TOKEN]] == [1, 2]
    assert [*clocked.count([100, 101, 109])[Kind.TOKEN]] == [1, 1, 1, 0]
    clock.advance(60)
    assert [*clocked.count([40])[Kind.TOKEN]] == [1, 2]
    clock.advance(-120)
    assert [*clocked.count([160])[Kind.TOKEN]] == [1, 2]


@in_every_backend
def test_entries_added_again_are_what_python_makes_of_them(store: Blocklist) -> None:
    """DESIGN 4: the upsert rule, the same everywhere; the later expiry counts"""
    bounds = [HOUR * 2, HOUR * 3, HOUR * 4]
    # A count covers all that was ever added, so it is kept for all examples together.
    expiries = [0] * 4

    @given(adds)
    @settings(fixed, max_examples=15)
    def check(history: list[tuple[int, int, bytes | None, int]]) -> None:
        keys = [new_key(), new_key()]
        last: dict[int, int] = defaultdict(int)
        for who, ahead, keep, hour in history:
            add(store, keys[who], ahead, keep, HOUR * (hour + 1) + 60)
            last[who] = max(last[who], hour)
        for hour in last.values():
            expiries[hour] += 1
        assert [*store.count(bounds)[Kind.SUBJECT]] == expiries

    check()


@in_every_backend
def test_an_entry_that_never_expires_stays_so(store: Blocklist) -> None:
    for lifetimes in ((None, HOUR), (HOUR, None), (None, None)):
        key = new_key()
        for lifetime in lifetimes:
            store.add(Entry(key, Kind.SCOPE, lifetime, 0))
    assert [*store.count([300 * 365 * 86_400])[Kind.SCOPE]] == [0, 3]
    assert [*store.prune()][-1].removed == 0


#: Two revocations of all of a user's sessions, and what both refuse: sessions that began by the
#: first cut-off, between, and after the second; the first one kept, the second one, and any other.
PAIRS: dict[str, tuple[bytes | None, bytes | None, dict[bytes, list[bool]]]] = {
    "keep, then none": (
        SIDS[0],
        None,
        {sid: [True, True, False] for sid in SIDS},
    ),
    "none, then keep": (
        None,
        SIDS[0],
        {
            SIDS[0]: [True, False, False],
            SIDS[1]: [True, True, False],
            SIDS[2]: [True, True, False],
        },
    ),
    "keep one, then another": (
        SIDS[0],
        SIDS[1],
        {
            SIDS[0]: [True, True, False],
            SIDS[1]: [True, False, False],
            SIDS[2]: [True, True, False],
        },
    ),
    "keep the same twice": (
        SIDS[0],
        SIDS[0],
        {
            SIDS[0]: [False, False, False],
            SIDS[1]: [True, True, False],
            SIDS[2]: [True, True, False],
        },
    ),
}


@in_every_backend
def test_what_is_refused_after_two_revocations(store: Blocklist) -> None:
    def check(pair: tuple[bytes | None, bytes | None, dict[bytes, list[bool]]]) -> None:
        kept_first, kept_then, expected = pair
        # A minute later; at once, which is a microsecond later at least; and by a clock that was
        # set back.
        for aheads in ((-60_000_000, 0), (0, 0), (0, -60_000_000)):
            key = new_key()
            first = add(store, key, aheads[0], kept_first)
            both = add(store, key, aheads[1], kept_then)
            assert both.until > first.until
            moments = (first.until, both.until, both.until + 1)
            refused = {sid: [both.covers(at, sid) for at in moments] for sid in SIDS}
            assert refused == expected

    check_all(PAIRS, check)


@in_every_backend
def test_a_session_dated_just_after_a_cutoff_is_revoked_by_the_next(store: Blocklist) -> None:
    """DESIGN 4: a session right after "log out everywhere" lives, until the next one"""
    key = new_key()
    began = now_of(store)
    for _ in range(5):
        cutoff = add(store, key, 10_000_000)
        assert cutoff.covers(began, SIDS[0])
        began = cutoff.until + 1
        assert not cutoff.covers(began, SIDS[0])


@pytest.mark.parametrize("backend", CLOCKED)
def test_cutoffs_of_one_moment_do_not_drift(clocked: Blocklist) -> None:
    """Issue 13: max(now + skew, t + 1 us): a hundred of them are a hundred microseconds"""
    key = new_key()
    for number in range(100):
        assert add(clocked, key, 10_000_000).until == T + 10_000_000 + number


@in_every_backend
def test_a_token_or_a_session_may_be_revoked_again(store: Blocklist) -> None:
    """SECURITY A.12 216, 226"""
    for kind in (Kind.TOKEN, Kind.SESSION):
        key = new_key()
        for seconds in (100, 2 * HOUR, 100):
            store.add(Entry(key, kind, seconds))
            assert found(store, key) == [plain(ALL)]
        assert [*store.count([HOUR])[kind]] == [0, 1]


@in_every_backend
def test_a_cutoff_over_all_time_stays_so(store: Blocklist) -> None:
    """Blocklist.add: Cutoff.then says what becomes of both"""
    for kinds in ((Kind.SUBJECT, Kind.SUBJECT), (Kind.SESSION, Kind.SUBJECT)):
        key = new_key()
        store.add(Entry(key, kinds[0], HOUR))
        store.add(Entry(key, kinds[1], HOUR, 5, SIDS[0]))
        cutoff = cutoff_of(store, key)
        assert cutoff.until == ALL.until
        assert {*last_refused(cutoff).values()} == {ALL.until}


@in_every_backend
def test_eight_threads_may_revoke_the_same_user_at_once(store: Blocklist) -> None:
    """SECURITY A.12 216"""
    key, threads, rounds = new_key(), 8, 5
    draw = random.Random(1)
    revocations = [
        [(draw.randrange(9), draw.choice([None, *SIDS])) for _ in range(rounds)]
        for _ in range(threads)
    ]
    together, done = Barrier(threads + 1), Event()
    begun = now_of(store)

    def revoke(mine: list[tuple[int, bytes | None]]) -> None:
        together.wait(60)
        for ahead, keep in mine:
            began = now_of(store) + ahead
            store.add(Entry(key, Kind.SUBJECT, HOUR, ahead, keep))
            cutoff = cutoff_of(store, key)
            assert all(cutoff.covers(began, sid) for sid in SIDS if sid != keep)

    def look() -> None:
        together.wait(60)
        before = dict.fromkeys(SIDS, -1)
        while not done.is_set():
            for cutoff in store.find([key, new_key()]):
                if cutoff is not None:
                    now = last_refused(cutoff)
                    revived = [sid for sid in SIDS if now[sid] < before[sid]]
                    assert not revived, f"no longer refused: {before}, {now}"
                    before = now

    with ThreadPoolExecutor(threads + 1) as pool:
        looking = pool.submit(look)
        try:
            for revoking in [pool.submit(revoke, mine) for mine in revocations]:
                revoking.result(60)
        finally:
            done.set()
        looking.result(60)
    # Each one after another has moved it on.
    assert cutoff_of(store, key).until >= begun + threads * rounds - 1


@in_every_backend
def test_eight_threads_may_revoke_the_same_token_at_once(store: Blocklist) -> None:
    """SECURITY A.12 216"""
    keys = [new_key() for _ in range(10)]

    def revoke(number: int) -> None:
        for key in keys:
            store.add(Entry(key, Kind.TOKEN, HOUR + number))

    race(revoke)
    assert [found(store, key) for key in keys] == [[plain(ALL)]] * len(keys)
    assert sum(store.count([])[Kind.TOKEN]) == len(keys)
