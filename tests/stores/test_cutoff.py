"""A second revocation under the same key: what the first refuses stays refused."""

from __future__ import annotations

import functools

from hypothesis import given
from hypothesis import strategies as st

from flask_authx import Cutoff, Entry, Kind
from tests.stores.contract import ALL, SIDS, new_key, refused
from tests.support.properties import fixed

FOREVER = Cutoff().until
T = 1_800_000_000_123_456
SUBJECT = b"s" * 16

moments = st.integers(0, 12)
sids = st.sampled_from(SIDS)
#: As revocations are written: only the store knows whether the kept session is revoked already.
written = st.builds(Cutoff, moments | st.just(FOREVER), st.none() | sids)
histories = st.lists(written, min_size=1, max_size=6)


def folded(history: list[Cutoff]) -> Cutoff:
    return functools.reduce(Cutoff.then, history)


@given(histories, written)
@fixed
def test_a_refused_session_is_refused_after_any_further_revocation(
    history: list[Cutoff], later: Cutoff
) -> None:
    """DESIGN 4: never makes a refused token valid again"""
    before = folded(history)
    assert refused(before) <= refused(before.then(later))


@given(histories, written)
@fixed
def test_a_further_revocation_refuses_all_that_it_would_refuse_alone(
    history: list[Cutoff], later: Cutoff
) -> None:
    assert refused(later) <= refused(folded(history).then(later))


@given(histories, written)
@fixed
def test_the_moment_moves_on_by_a_microsecond_at_least(
    history: list[Cutoff], later: Cutoff
) -> None:
    """DESIGN 4: never lowers an earlier t"""
    before = folded(history)
    after = before.then(later)
    assert after.until == min(max(later.until, before.until + 1), FOREVER)


@given(histories, moments, sids)
@fixed
def test_only_the_session_kept_last_can_be_spared(
    history: list[Cutoff], until: int, keep: bytes
) -> None:
    after = folded(history).then(Cutoff(until, keep))
    for began in range(min(after.until, 20) + 1):
        for sid in set(SIDS) - {keep}:
            assert after.covers(began, sid)


@given(moments, sids)
@fixed
def test_a_first_revocation_spares_the_kept_session_whenever_it_began(
    until: int, keep: bytes
) -> None:
    cutoff = Cutoff(until, keep)
    for began in range(20):
        assert not cutoff.covers(began, keep)
        for other in set(SIDS) - {keep}:
            assert cutoff.covers(began, other) is (began <= until)


def test_an_entry_is_dated_when_it_is_added() -> None:
    """Issue 13: callers pass durations"""
    key = new_key()
    for now in (0, 5, T):
        assert Entry(key, Kind.TOKEN, 60).cutoff_at(now) == ALL
        for ahead in (-3, 0, 10_000_000):
            for keep in (None, *SIDS):
                entry = Entry(key, Kind.SUBJECT, 60, ahead, keep)
                assert entry.cutoff_at(now) == Cutoff(now + ahead, keep, -1)


@given(st.lists(st.tuples(st.booleans(), st.none() | sids), min_size=1, max_size=12))
@fixed
def test_a_log_in_lives_until_the_next_revocation_though_the_clock_stands_still(
    story: list[tuple[bool, bytes | None]],
) -> None:
    """Issue 13: everywhere, log-in, everywhere in one instant ends that session, and none drifts"""
    skew = 10_000_000
    cutoff: Cutoff | None = None
    #: The sessions that have begun, and whether each is to live.
    began: dict[bytes, int] = {}
    alive: set[bytes] = set()
    revocations = 0
    for logs_in, sid in story:
        if logs_in and sid is not None:
            began[sid] = T if cutoff is None else max(T, cutoff.until + 1)
            alive.add(sid)
        else:
            added = Entry(SUBJECT, Kind.SUBJECT, 60, skew, sid).cutoff_at(T)
            cutoff = added if cutoff is None else cutoff.then(added)
            alive &= {sid}
            assert cutoff.until == T + skew + revocations
            revocations += 1
        for one, moment in began.items():
            assert (cutoff is None or not cutoff.covers(moment, one)) is (one in alive)


def test_a_session_dated_just_after_a_cutoff_is_revoked_by_the_next_of_the_same_moment() -> None:
    first = Cutoff(100)
    assert not first.covers(101, SIDS[0])
    second = first.then(Cutoff(100))
    assert second.covers(101, SIDS[0])
    assert not second.covers(102, SIDS[0])


def test_a_session_opened_after_all_were_revoked_can_be_kept() -> None:
    after = Cutoff(100).then(Cutoff(200, SIDS[0]))
    assert after.covers(100, SIDS[0])
    assert not after.covers(101, SIDS[0])
    assert after.covers(200, SIDS[1])


def test_a_kept_session_is_revoked_once_none_is_kept() -> None:
    after = Cutoff(100, SIDS[0]).then(Cutoff(100))
    assert after.covers(50, SIDS[0])
    # And it stays so if it is kept again.
    again = after.then(Cutoff(100, SIDS[0]))
    assert again.covers(50, SIDS[0])


def test_a_kept_session_is_revoked_once_another_is_kept() -> None:
    after = Cutoff(100, SIDS[0]).then(Cutoff(200, SIDS[1]))
    assert after.covers(50, SIDS[0])
    # The other one was refused by the first if it began before.
    assert after.covers(100, SIDS[1])
    assert not after.covers(101, SIDS[1])


def test_a_session_kept_twice_stays_valid() -> None:
    after = Cutoff(100, SIDS[0]).then(Cutoff(200, SIDS[0]))
    assert not after.covers(50, SIDS[0])
    assert after.covers(200, SIDS[1])


def test_the_cutoff_of_a_token_or_a_session_stays_over_all_time() -> None:
    assert refused(Cutoff()) == refused(Cutoff().then(Cutoff())) == refused(Cutoff(FOREVER))
    assert Cutoff().then(Cutoff()).until == FOREVER
    assert Cutoff().covers(FOREVER - 1, SIDS[0])
