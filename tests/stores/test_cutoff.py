"""What a second revocation under the same key makes of the first: nobody gets back in."""

from __future__ import annotations

import functools

from hypothesis import given
from hypothesis import strategies as st

from flask_authx import Cutoff
from tests.support.properties import fixed

#: More than one may be kept in turn, few enough that they meet again.
LOGINS = [bytes([number]) * 16 for number in range(3)]
FOREVER = Cutoff().until

moments = st.integers(0, 12)
logins = st.sampled_from(LOGINS)
#: As revocations are written: whether the kept login is over already, only the store knows.
written = st.builds(Cutoff, moments | st.just(FOREVER), st.none() | logins)
histories = st.lists(written, min_size=1, max_size=6)


def folded(history: list[Cutoff]) -> Cutoff:
    return functools.reduce(Cutoff.then, history)


def refused(cutoff: Cutoff) -> set[tuple[int, bytes]]:
    """Every login that is over, among all that could matter here."""
    return {
        (auth_time, login)
        for auth_time in range(20)
        for login in LOGINS
        if cutoff.covers(auth_time, login)
    }


@given(histories, written)
@fixed
def test_a_refused_login_is_refused_after_any_further_revocation(
    history: list[Cutoff], later: Cutoff
) -> None:
    """DESIGN 4: never makes a refused token good again"""
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


@given(histories, moments, logins)
@fixed
def test_only_the_login_kept_last_can_be_spared(
    history: list[Cutoff], until: int, keep: bytes
) -> None:
    after = folded(history).then(Cutoff(until, keep))
    for auth_time in range(min(after.until, 20) + 1):
        for login in set(LOGINS) - {keep}:
            assert after.covers(auth_time, login)


@given(moments, logins)
@fixed
def test_a_first_revocation_spares_the_kept_login_whenever_it_began(
    until: int, keep: bytes
) -> None:
    cutoff = Cutoff(until, keep)
    for auth_time in range(20):
        assert not cutoff.covers(auth_time, keep)
        for other in set(LOGINS) - {keep}:
            assert cutoff.covers(auth_time, other) is (auth_time <= until)


def test_a_login_dated_just_after_a_cutoff_is_ended_by_the_next_of_the_same_second() -> None:
    first = Cutoff(100)
    assert not first.covers(101, LOGINS[0])
    second = first.then(Cutoff(100))
    assert second.covers(101, LOGINS[0])
    assert not second.covers(102, LOGINS[0])


def test_the_login_that_opened_after_all_were_ended_can_be_kept() -> None:
    after = Cutoff(100).then(Cutoff(200, LOGINS[0]))
    assert after.covers(100, LOGINS[0])
    assert not after.covers(101, LOGINS[0])
    assert after.covers(200, LOGINS[1])


def test_a_kept_login_is_over_once_nobody_is_kept() -> None:
    after = Cutoff(100, LOGINS[0]).then(Cutoff(100))
    assert after.covers(50, LOGINS[0])
    # And it stays so if it is kept again.
    again = after.then(Cutoff(100, LOGINS[0]))
    assert again.covers(50, LOGINS[0])


def test_a_kept_login_is_over_once_another_is_kept() -> None:
    after = Cutoff(100, LOGINS[0]).then(Cutoff(200, LOGINS[1]))
    assert after.covers(50, LOGINS[0])
    # The other one was refused by the first if it began before.
    assert after.covers(100, LOGINS[1])
    assert not after.covers(101, LOGINS[1])


def test_a_login_kept_twice_goes_on() -> None:
    after = Cutoff(100, LOGINS[0]).then(Cutoff(200, LOGINS[0]))
    assert not after.covers(50, LOGINS[0])
    assert after.covers(200, LOGINS[1])


def test_the_cutoff_of_a_token_or_a_login_stays_over_all_of_them() -> None:
    assert refused(Cutoff()) == refused(Cutoff().then(Cutoff())) == refused(Cutoff(FOREVER))
    assert Cutoff().then(Cutoff()).until == FOREVER
    assert Cutoff().covers(FOREVER - 1, LOGINS[0])
