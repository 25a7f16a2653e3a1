"""A second revocation under the same key: what the first refuses stays refused."""

from __future__ import annotations

import functools

from hypothesis import given
from hypothesis import strategies as st

from flask_authx import Cutoff
from tests.stores.contract import SIDS, refused
from tests.support.properties import fixed

FOREVER = Cutoff().until

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
def test_the_moment_moves_on_by_a_second_at_least(history: list[Cutoff], later: Cutoff) -> None:
    """DESIGN 4: never lowers an earlier t"""
    before = folded(history)
    after = before.then(later)
    assert after.until >= later.until
    assert after.until > before.until or after.until == before.until == FOREVER
    assert after.until <= FOREVER


@given(histories, moments, sids)
@fixed
def test_only_the_session_kept_last_can_be_spared(
    history: list[Cutoff], until: int, keep: bytes
) -> None:
    after = folded(history).then(Cutoff(until, keep))
    for auth_time in range(min(after.until, 20) + 1):
        for sid in set(SIDS) - {keep}:
            assert after.covers(auth_time, sid)


@given(moments, sids)
@fixed
def test_a_first_revocation_spares_the_kept_session_whenever_it_began(
    until: int, keep: bytes
) -> None:
    cutoff = Cutoff(until, keep)
    for auth_time in range(20):
        assert not cutoff.covers(auth_time, keep)
        for other in set(SIDS) - {keep}:
            assert cutoff.covers(auth_time, other) is (auth_time <= until)


def test_a_session_dated_just_after_a_cutoff_is_revoked_by_the_next_of_the_same_second() -> None:
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
