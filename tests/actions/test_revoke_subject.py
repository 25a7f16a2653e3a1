"""Which sessions a revocation of a user revokes, and which begin after it: DESIGN "Revocation"."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

import pytest
from flask import Flask
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_authx import AuthX, MemoryBlocklist, Token
from tests.support import NOW, Clock
from tests.support.answers import OK, outcome
from tests.support.properties import fixed
from tests.support.spy_store import SpyStore, decoded, login, new_token, spied, store_app, works


def microseconds(seconds: float) -> int:
    """As a store dates them."""
    return int(seconds * 10**6)


def moved(seconds: float, **config: Any) -> tuple[Flask, AuthX, Clock]:
    clock = Clock(NOW + seconds)
    app, authx = store_app(SpyStore(), clock, **config)
    return app, authx, clock


@pytest.mark.parametrize("fraction", [0.0, 0.001, 0.5, 0.999])
def test_a_session_in_the_same_second_as_the_revocation_is_valid(fraction: float) -> None:
    """USERS 39, SECURITY A.5 105"""
    app, authx, clock = moved(fraction)
    before, before_refresh, _ = login(app, authx)
    with app.app_context():
        authx.revoke_subject("ann")
    after, after_refresh, _ = login(app, authx)
    assert not works(app, before)
    assert not works(app, before_refresh, "/refresh")
    assert works(app, after)
    assert works(app, after_refresh, "/refresh")
    # A microsecond after the cut-off, though the clock stands still; all else is dated as it is.
    began = microseconds(clock.now + 10) + 1
    assert decoded(app, authx, after).parsed.began == began
    assert decoded(app, authx, after).auth_time == began // 10**6
    assert decoded(app, authx, after).iat == int(clock.now)


def test_an_access_or_a_refresh_token_alone_is_a_session_too() -> None:
    app, authx, _ = moved(0)
    with app.app_context():
        authx.revoke_subject("ann")
        access, refresh = authx.create_access_token("ann"), authx.create_refresh_token("ann")
    assert works(app, access)
    assert works(app, refresh, "/refresh")


def test_a_new_session_costs_one_look_up_of_its_own_user() -> None:
    """DESIGN: it reads the cut-offs of the subject and the scope in one round trip."""
    app, authx, store = spied()
    with app.app_context():
        authx.revoke_subject("bob")
        store.calls.clear()
        token = authx.create_token_pair("ann").access_token
    assert store.calls == ["find_dated"]
    assert len(store.asked[-1]) == 2
    assert decoded(app, authx, token).parsed.began == microseconds(NOW)


@pytest.mark.parametrize("verbs", ["s", "a", "ssa", "sas", "aas", "sssa", "sasasa"])
@pytest.mark.parametrize("store", [SpyStore, MemoryBlocklist])
@pytest.mark.parametrize("used", [True, False], ids=["used", "new"])
def test_several_revocations_in_one_instant_with_sessions_between_them(
    verbs: str, store: Any, used: bool
) -> None:
    """Of the subject, and of all subjects, also in a store that was marked in that instant."""
    clock = Clock(NOW + 0.5)
    kept = store(clock=clock)
    app, authx = store_app(kept, clock)
    if isinstance(kept, SpyStore) and not used:
        kept.marks.clear()
    tokens: list[str] = []
    for verb in verbs * 3:
        tokens.append(login(app, authx)[0])
        assert works(app, tokens[-1])
        with app.app_context():
            if verb == "s":
                authx.revoke_subject("ann")
            else:
                authx.revoke_all()
        assert [works(app, token) for token in tokens] == [False] * len(tokens)
    assert works(app, login(app, authx)[0])


def test_sessions_are_dated_no_further_ahead_by_each_revocation() -> None:
    """The cut-off is reckoned from the moment of the revocation, not from the cut-off before it."""
    app, authx, clock = moved(0)
    for _ in range(20):
        with app.app_context():
            authx.revoke_subject("ann")
            authx.revoke_all()
        ahead = decoded(app, authx, login(app, authx)[0]).parsed.began - microseconds(clock.now)
        assert 10 * 10**6 < ahead <= 10 * 10**6 + 20
        clock.advance(0.25)


def test_an_emptied_store_ends_all_sessions_whatever_its_clock_says_now() -> None:
    store, clock = SpyStore(), Clock()
    app, authx = store_app(store, CLOCK_SKEW=0)
    store.clock = clock
    token, _, _ = login(app, authx)
    for seconds in (1, -3600, 7200):
        store.marks.clear()
        clock.advance(seconds)
        assert not works(app, token)
        token, _, _ = login(app, authx)
        assert works(app, token)


def test_a_changed_keep_takes_effect_in_the_same_instant() -> None:
    app, authx, _ = moved(0)
    first, _, first_sid = login(app, authx)
    second, _, _ = login(app, authx)
    with app.app_context():
        authx.revoke_subject("ann", keep=first_sid)
    assert [works(app, first), works(app, second)] == [True, False]
    third, _, third_sid = login(app, authx)
    with app.app_context():
        authx.revoke_subject("ann", keep=third_sid)
    assert [works(app, first), works(app, third)] == [False, True]
    with app.app_context():
        authx.revoke_subject("ann")
    assert not works(app, third)


def test_one_session_can_be_kept() -> None:
    """SECURITY A.11 199, USERS 41: a password change."""
    app, authx, _ = moved(0)
    kept, kept_refresh, sid = login(app, authx)
    other, other_refresh, _ = login(app, authx)
    with app.app_context():
        authx.revoke_subject("ann", keep=sid)
        again = authx.create_access_token("ann", login=decoded(app, authx, kept_refresh))
    assert works(app, kept)
    assert works(app, kept_refresh, "/refresh")
    assert works(app, again)
    assert not works(app, other)
    assert not works(app, other_refresh, "/refresh")


def test_the_current_session_is_kept_in_a_view() -> None:
    app, authx, _ = moved(0)

    @app.post("/password")
    @authx.token_required
    def password() -> str:
        from flask_authx import current_token

        authx.revoke_subject(current_token.sub, keep=current_token.sid, reason="new password")
        return ""

    mine, _, _ = login(app, authx)
    other, _, _ = login(app, authx)
    headers = {"Authorization": f"Bearer {mine}"}
    assert outcome(app.test_client().post("/password", headers=headers)) == OK
    assert works(app, mine)
    assert not works(app, other)


def test_a_session_may_be_kept_again_and_again() -> None:
    app, authx, clock = moved(0)
    kept, _, sid = login(app, authx)
    for seconds in (0, 0, 1, 500):
        clock.advance(seconds)
        other, _, _ = login(app, authx)
        with app.app_context():
            authx.revoke_subject("ann", keep=sid)
        assert works(app, kept)
        assert not works(app, other)


def test_keeping_another_session_revives_none() -> None:
    """DESIGN: writing an entry never makes a refused token valid again."""
    app, authx, clock = moved(0)
    first, _, first_sid = login(app, authx)
    second, _, second_sid = login(app, authx)
    for keep, alive in (
        (first_sid, [True, False]),
        (second_sid, [False, False]),
        (first_sid, [False, False]),
        (None, [False, False]),
        (second_sid, [False, False]),
        ("unknown", [False, False]),
    ):
        with app.app_context():
            authx.revoke_subject("ann", keep=keep)
        assert [works(app, first), works(app, second)] == alive
        clock.advance(0.3)
    third, _, sid = login(app, authx)
    with app.app_context():
        authx.revoke_subject("ann", keep=sid)
    assert works(app, third)


def test_a_kept_session_is_revoked_by_its_own_entry() -> None:
    app, authx, _ = moved(0)
    token, _, sid = login(app, authx)
    with app.app_context():
        authx.revoke_subject("ann", keep=sid)
        authx.revoke_session(sid)
        authx.revoke_subject("ann", keep=sid)
    assert not works(app, token)


def test_a_session_of_another_user_is_not_kept_by_its_sid() -> None:
    app, authx, _ = moved(0)
    token, _, _ = login(app, authx, "ann")
    other, _, other_sid = login(app, authx, "bob")
    with app.app_context():
        authx.revoke_subject("ann", keep=other_sid)
    assert not works(app, token)
    assert works(app, other)


# Whatever the order of events


@dataclass
class Alive:
    """A session as it should be, and all its tokens, of which some have been revoked alone."""

    uid: str
    sid: str
    seed: Token
    revoked: bool = False
    tokens: dict[str, tuple[Token, bool]] = field(default_factory=dict[str, tuple[Token, bool]])


#: The seconds since the last step, the deviation of the machine's clock in seconds, and that of the
#: store's in parts of the skew.
Times: TypeAlias = tuple[float, float, float]
#: What happens, on which machine, to whom, to which session, and when.
Step: TypeAlias = tuple[str, int, str, int, Times]


class World:
    """Two machines, a store with a clock of its own, and what is true.

    The clocks of the machines differ from the time by up to an hour, jump and run backwards. That
    of the store is ahead of the time by at most the skew, and is set back, as by a fail-over. The
    apps and the store serve all examples: each example has users of its own.
    """

    def __init__(self, make: Any, skew: int) -> None:
        self.skew = skew
        self.now = NOW
        self.clocks, self.stores_clock = (Clock(), Clock()), Clock()
        store = make(clock=self.stores_clock)
        self.machines = [store_app(store, clock, CLOCK_SKEW=skew) for clock in self.clocks]
        if isinstance(store, SpyStore):
            store.clock = self.stores_clock
        self.sessions: list[Alive] = []
        self.example = 0

    def run(self, steps: list[Step]) -> None:
        self.example += 1
        self.sessions.clear()
        for step in steps:
            self.step(*step)
            self.check(steps)
        # At the end as text, which is decoded anew.
        self.check(steps, as_text=True)

    def step(self, verb: str, machine: int, user: str, number: int, times: Times) -> None:
        app, authx = self.machines[machine]
        uid = f"{user}-{self.example}"
        seconds, deviation, stores_deviation = times
        self.now += seconds
        self.clocks[machine].now = self.now + deviation
        self.stores_clock.now = self.now + stores_deviation * self.skew
        one = self.sessions[number % len(self.sessions)] if self.sessions else None
        with app.app_context():
            if verb == "create":
                # By no clock does it expire, so that its session can go on.
                raw = authx.create_access_token(uid, expiry=86400)
                token = authx.decode_token(raw)
                self.sessions.append(Alive(uid, token.sid, token, tokens={raw: (token, True)}))
            elif verb == "subject":
                authx.revoke_subject(uid)
                self.revoke(uid, None)
            elif verb == "all":
                authx.revoke_all()
                for each in self.sessions:
                    each.revoked = True
            elif one is None:
                return
            elif verb == "refresh":
                raw = authx.create_access_token(one.uid, login=one.seed)
                one.tokens[raw] = (authx.decode_token(raw), True)
            elif verb == "token":
                raw = [*one.tokens][number % len(one.tokens)]
                authx.revoke_token(one.tokens[raw][0])
                one.tokens[raw] = (one.tokens[raw][0], False)
            elif verb == "session":
                authx.revoke_session(one.sid)
                one.revoked = True
            else:
                authx.revoke_subject(uid, keep=one.sid)
                self.revoke(uid, one.sid)

    def revoke(self, uid: str, keep: str | None) -> None:
        for one in self.sessions:
            if one.uid == uid and one.sid != keep:
                one.revoked = True

    def check(self, steps: list[Step], *, as_text: bool = False) -> None:
        for number, (app, authx) in enumerate(self.machines):
            with app.app_context():
                for one in self.sessions:
                    for raw, (token, valid) in one.tokens.items():
                        if as_text:
                            self.clocks[number].now = token.iat
                        found = authx.is_revoked(raw if as_text else token)
                        assert found is (one.revoked or not valid), (
                            f"machine {number} says {found} of {token} after {steps}"
                        )


verbs = ["create", "create", "create", "refresh", "token", "session", "subject", "keep", "all"]
# An entry outlives its tokens by an hour: no example takes longer.
steps = st.lists(
    st.tuples(
        st.sampled_from(verbs),
        st.sampled_from([0, 1]),
        st.sampled_from(["ann", "ann", "bob"]),
        st.integers(0, 7),
        st.tuples(
            st.sampled_from([0, 0, 0, 0.4, 1, 2.5, 250]),
            st.sampled_from([0, 0, 0.4, -2, 2, -3600, 3600]),
            st.sampled_from([0, 0.5, 1]),
        ),
    ),
    max_size=14,
)


@pytest.mark.parametrize("make", [SpyStore, MemoryBlocklist], ids=["spy", "memory"])
@pytest.mark.parametrize("skew", [0, 1, 3])
@pytest.mark.parametrize("examples", [40, pytest.param(200, marks=pytest.mark.slow)])
def test_sessions_from_before_are_revoked_and_later_ones_valid_on_all_machines(
    make: Any, skew: int, examples: int
) -> None:
    """Each session that was opened before a revocation is revoked, each after it is valid.

    Whatever the clocks of the machines, and if that of the store is set back by the skew.
    """
    world = World(make, skew)
    settings(fixed, max_examples=examples)(given(steps)(world.run))()


def test_a_clock_that_is_set_back_further_revives_none_and_locks_none_out() -> None:
    app, authx, clock = moved(0, CLOCK_SKEW=2)
    before, _, _ = login(app, authx)
    with app.app_context():
        authx.revoke_subject("ann")
    clock.advance(-5)
    after, said = new_token(app, authx)
    assert not works(app, before)
    assert works(app, after)
    assert said.parsed.began == microseconds(NOW + 2) + 1
    with app.app_context():
        authx.revoke_subject("ann")
    assert not works(app, after)
    assert works(app, login(app, authx)[0])
