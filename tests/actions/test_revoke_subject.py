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


def moved(seconds: float) -> tuple[Flask, AuthX, Clock]:
    clock = Clock(NOW + seconds)
    app, authx = store_app(SpyStore(), clock)
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
    # Later than the cut-off, though the clock stands still; all else is dated as it is.
    assert decoded(app, authx, after).auth_time == int(clock.now) + 2
    assert decoded(app, authx, after).iat == int(clock.now)


def test_an_access_or_a_refresh_token_alone_is_a_session_too() -> None:
    app, authx, _ = moved(0)
    with app.app_context():
        authx.revoke_subject("ann")
        access, refresh = authx.create_access_token("ann"), authx.create_refresh_token("ann")
    assert works(app, access)
    assert works(app, refresh, "/refresh")


def test_a_new_session_costs_one_look_up_of_its_own_user() -> None:
    """DESIGN: it reads the subject's cut-off in one round trip."""
    app, authx, store = spied()
    with app.app_context():
        authx.revoke_subject("bob")
        store.calls.clear()
        token = authx.create_token_pair("ann").access_token
    assert store.calls == ["find"]
    assert len(store.asked[-1]) == 1
    assert decoded(app, authx, token).auth_time == int(NOW)


def test_several_revocations_in_one_second_with_sessions_between_them() -> None:
    app, authx, _ = moved(0.5)
    tokens: list[str] = []
    for _ in range(5):
        tokens.append(login(app, authx)[0])
        with app.app_context():
            authx.revoke_subject("ann")
        assert [works(app, token) for token in tokens] == [False] * len(tokens)
    assert works(app, login(app, authx)[0])


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


Step: TypeAlias = tuple[str, int, str, int, float]


class World:
    """Two machines whose clocks differ by as much as is allowed, one store, and what is true.

    The apps and the store serve all examples: each example has users of its own.
    """

    def __init__(self, store: Any, skew: int) -> None:
        self.skew = skew
        self.clocks = (Clock(), Clock())
        self.machines = [store_app(store, clock, CLOCK_SKEW=skew) for clock in self.clocks]
        self.sessions: list[Alive] = []
        self.example = 0

    def run(self, steps: list[Step]) -> None:
        self.example += 1
        self.sessions.clear()
        first, second = self.clocks
        first.now, second.now = NOW + 0.25, NOW + 0.25 + self.skew
        for step in steps:
            self.step(*step)
            self.check(steps)
        # At the end as text, which is decoded anew.
        self.check(steps, as_text=True)

    def step(self, verb: str, machine: int, user: str, number: int, seconds: float) -> None:
        app, authx = self.machines[machine]
        uid = f"{user}-{self.example}"
        for clock in self.clocks:
            clock.advance(seconds)
        one = self.sessions[number % len(self.sessions)] if self.sessions else None
        with app.app_context():
            if verb == "create":
                raw = authx.create_access_token(uid)
                token = authx.decode_token(raw)
                self.sessions.append(Alive(uid, token.sid, token, tokens={raw: (token, True)}))
            elif verb == "subject":
                authx.revoke_subject(uid)
                self.revoke(uid, None)
            elif one is None:
                return
            elif verb == "refresh":
                raw = authx.create_access_token(one.uid, login=one.seed)
                one.tokens[raw] = (authx.decode_token(raw), True)
            elif verb == "token":
                raw = [*one.tokens][number % len(one.tokens)]
                authx.revoke_token(raw)
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
                        found = authx.is_revoked(raw if as_text else token)
                        assert found is (one.revoked or not valid), (
                            f"machine {number} says {found} of {token} after {steps}"
                        )


steps = st.lists(
    st.tuples(
        st.sampled_from(["create", "create", "refresh", "token", "session", "subject", "keep"]),
        st.sampled_from([0, 1]),
        st.sampled_from(["ann", "ann", "bob"]),
        st.integers(0, 7),
        st.sampled_from([0, 0, 0, 0.4, 1, 2.5]),
    ),
    max_size=14,
)


@pytest.mark.parametrize(
    "make", [SpyStore, lambda: MemoryBlocklist(Clock())], ids=["spy", "memory"]
)
@pytest.mark.parametrize("skew", [0, 1, 3])
@pytest.mark.parametrize("examples", [40, pytest.param(200, marks=pytest.mark.slow)])
def test_sessions_from_before_are_revoked_and_later_ones_valid_on_all_machines(
    make: Any, skew: int, examples: int
) -> None:
    """Each session that was opened before a revocation is revoked, each after it is valid.

    A step on the one machine and the next on the other moves the clock by the skew, either way.
    """
    world = World(make(), skew)
    settings(fixed, max_examples=examples)(given(steps)(world.run))()


def test_a_clock_that_is_set_back_further_revives_none_and_locks_none_out() -> None:
    app, authx, clock = moved(0)
    before, _, _ = login(app, authx)
    with app.app_context():
        authx.revoke_subject("ann")
    clock.advance(-5)
    after, said = new_token(app, authx)
    assert not works(app, before)
    assert works(app, after)
    assert said.auth_time == int(NOW) + 2
    with app.app_context():
        authx.revoke_subject("ann")
    assert not works(app, after)
    assert works(app, login(app, authx)[0])
