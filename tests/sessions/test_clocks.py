"""Machines whose clocks differ by up to an hour, jump and run backwards, on one store.

A store has one clock. So no revocation is lost and no owner of a session is taken for a thief,
whatever the machines' clocks say. By these a token may be too old or too new for a machine. Nor is
an owner taken for a thief if the store of sessions is restored to an earlier state.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, TypeAlias

import pytest
from flask import Flask
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_authx import (
    AuthX,
    AuthXException,
    Cutoff,
    Dated,
    Entry,
    Kind,
    MemoryBlocklist,
    ReusedTokenError,
    RevokedTokenError,
    TokenError,
    TokenPair,
)
from flask_authx.app.state import states
from flask_authx.stores.lookup_keys import LookupKeys
from tests.support import NOW, SECRET, Clock, bearer
from tests.support.answers import ask
from tests.support.properties import fixed, in_two_sizes
from tests.support.session_sites import RestoredSessions
from tests.support.spy_store import login, spied, works

#: Seconds between two clocks, at most.
MOST = 3600
MACHINES, USERS = 3, 2
IDLE = 2000
SETTINGS = {
    "JWT_SECRET_KEY": SECRET,
    "JWT_ACCESS_TOKEN_EXPIRES": 300,
    "JWT_REFRESH_TOKEN_EXPIRES": IDLE,
    "JWT_MAX_TOKEN_LIFETIME": IDLE,
    "JWT_SESSION_LIFETIME": 2 * IDLE,
    "JWT_REFRESH_GRACE": 60,
}


class SharedBlocklist(MemoryBlocklist):
    """A store that several processes share, as far as the package can tell."""

    per_process = False

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.clock = clock


@dataclass
class Client:
    """A session's owner, and whether it was revoked before this moment."""

    uid: str
    sid: str
    pair: TokenPair
    revoked: bool = False
    sent: list[str] = field(default_factory=list[str])

    def takes(self, pair: TokenPair) -> None:
        self.pair = pair
        self.sent = [*self.sent[-4:], pair.access_token, pair.refresh_token]


class World:
    """Three machines with clocks of their own, and a store with one."""

    def __init__(self, **config: Any) -> None:
        self.config = config
        self.clock = Clock(NOW)
        self.offsets: list[float] = [0] * MACHINES
        self.entries = SharedBlocklist(self.clock)
        self.rows = RestoredSessions(self.clock)
        #: The rows after each step.
        self.states = [self.rows.saved()]
        self.clients: list[Client] = []
        self.machines = [self._machine(number) for number in range(MACHINES)]

    def _machine(self, number: int) -> tuple[Flask, AuthX]:
        app = Flask(f"machine {number}")
        app.config.from_mapping(SETTINGS, **self.config)

        def clock() -> float:
            return self.clock() + self.offsets[number]

        return app, AuthX(app, blocklist=self.entries, sessions=self.rows, clock=clock)

    def login(self, machine: int, user: int, _: int) -> None:
        app, authx = self.machines[machine]
        with app.app_context():
            pair = authx.login(f"u{user}")
            token = authx.verify_token(pair.access_token)
        client = Client(f"u{user}", token.sid, pair)
        client.takes(pair)
        self.clients.append(client)

    def refresh(self, machine: int, _: int, number: int) -> None:
        """Two tabs refresh at once on two machines, and the client takes what comes last."""
        if not self.clients:
            return
        client = self.clients[number % len(self.clients)]
        sent = client.pair.refresh_token
        for one in (machine, number % MACHINES):
            app, authx = self.machines[one]
            try:
                with app.app_context():
                    pair = authx.refresh(sent)
            except ReusedTokenError:
                pytest.fail("an owner was taken for a thief")
            except TokenError:
                continue
            assert not client.revoked, "a revoked session was refreshed"
            client.takes(pair)

    def revoke_session(self, machine: int, _: int, number: int) -> None:
        if self.clients:
            client = self.clients[number % len(self.clients)]
            app, authx = self.machines[machine]
            with app.app_context():
                authx.revoke_session(client.sid)
            client.revoked = True

    def revoke_subject(self, machine: int, user: int, number: int) -> None:
        """All sessions of a user, but one every other time."""
        theirs = [client for client in self.clients if client.uid == f"u{user}"]
        kept = theirs[number % len(theirs)] if theirs and number % 2 else None
        app, authx = self.machines[machine]
        with app.app_context():
            authx.revoke_subject(f"u{user}", keep=kept.sid if kept else None)
        for client in theirs:
            client.revoked |= client is not kept

    def revoke_all(self, machine: int, _: int, __: int) -> None:
        app, authx = self.machines[machine]
        with app.app_context():
            authx.revoke_all()
        for client in self.clients:
            client.revoked = True

    def jump(self, machine: int, _: int, number: int) -> None:
        self.offsets[machine] = number % (MOST + 1) - MOST // 2

    def wait(self, _: int, __: int, number: int) -> None:
        self.clock.advance(number % (IDLE // 2))

    def prune(self, _: int, __: int, ___: int) -> None:
        assert [batch.share for store in (self.entries, self.rows) for batch in store.prune()]

    def fall_back(self, _: int, __: int, number: int) -> None:
        """The rows are as they were up to three steps ago: a fail-over has lost the rest."""
        self.rows.restore(self.states[-1 - number % min(4, len(self.states))])

    def check(self) -> None:
        """No machine accepts a token of a revoked session."""
        self.states.append(self.rows.saved())
        for client in self.clients:
            if client.revoked:
                for raw, kind in zip(client.sent, ("access", "refresh") * 3, strict=False):
                    assert not any(self.accepts(one, raw, kind) for one in range(MACHINES))

    def accepts(self, machine: int, raw: str, kind: str) -> bool:
        app, authx = self.machines[machine]
        try:
            with app.app_context():
                authx.verify_token(raw, type="refresh" if kind == "refresh" else "access")
        except AuthXException:
            return False
        return True


Step: TypeAlias = Callable[[World, int, int, int], None]
STEPS: list[Step] = [
    World.login,
    World.login,
    World.refresh,
    World.refresh,
    World.revoke_session,
    World.revoke_subject,
    World.jump,
    World.jump,
    World.wait,
    World.prune,
    World.revoke_all,
]
#: Without anything that ends a session.
STEPS_BACK: list[Step] = [World.login, World.refresh, World.fall_back, World.jump, World.wait]


@in_two_sizes
@pytest.mark.parametrize(
    "among", [STEPS, STEPS_BACK, [*STEPS, World.fall_back]], ids=["sound", "falls back", "both"]
)
def test_no_revocation_is_lost_and_no_owner_is_taken_for_a_thief(
    among: list[Step], examples: int
) -> None:
    steps = st.tuples(
        st.sampled_from(among),
        st.integers(0, MACHINES - 1),
        st.integers(0, USERS - 1),
        st.integers(0, 10**4),
    )

    @given(st.lists(steps, min_size=5, max_size=30))
    @settings(fixed, max_examples=examples)
    def check(history: list[tuple[Step, int, int, int]]) -> None:
        world = World()
        for step, machine, user, number in history:
            step(world, machine, user, number)
            world.check()

    check()


def test_everywhere_log_in_everywhere_in_one_instant_ends_that_session() -> None:
    world = World()
    app, authx = world.machines[0]
    starts: list[int] = []
    with app.app_context():
        for _ in range(5):
            pair = authx.login("ann")
            starts.append(authx.verify_token(pair.access_token).parsed.began)
            authx.revoke_subject("ann")
            with pytest.raises(RevokedTokenError):
                authx.verify_token(pair.access_token)
    # Each is dated a microsecond after the one before: nothing drifts.
    assert [later - earlier for earlier, later in pairwise(starts[1:])] == [1, 1, 1]
    assert starts[1] - starts[0] == 10 * 10**6 + 1


def test_a_changed_keep_takes_effect_in_one_instant() -> None:
    world = World()
    app, authx = world.machines[0]
    with app.app_context():
        first, second = (authx.login("ann").access_token for _ in range(2))
        authx.revoke_subject("ann", keep=authx.decode_token(first).sid)
        third = authx.login("ann").access_token
        authx.revoke_subject("ann", keep=authx.decode_token(third).sid)
        lives = [not authx.is_revoked(one) for one in (first, second, third)]
    assert lives == [False, False, True]


def test_an_entry_outlives_its_token_on_a_machine_that_is_an_hour_behind() -> None:
    world = World()
    world.offsets = [MOST // 2, -MOST // 2, 0]
    (ahead, revoker), (behind, other), _ = world.machines
    with behind.app_context():
        raw = other.create_access_token("ann")
    with ahead.app_context():
        # It has expired there long ago.
        revoker.revoke_token(raw)
    world.clock.advance(300 + 9)
    assert [batch.removed for batch in world.entries.prune()] == [0]
    assert not world.accepts(1, raw, "access")


@pytest.mark.parametrize(("ahead", "which"), [(11, "ahead of"), (-11, "behind"), (10, None)])
def test_a_machine_whose_clock_differs_by_more_than_the_leeway_is_named_in_the_log(
    ahead: int, which: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    world = World()
    world.offsets[0] = ahead
    app, authx = world.machines[0]
    with app.app_context():
        for _ in range(3):
            authx.login("ann")
    told = [one.getMessage() for one in caplog.records if "clock" in one.getMessage()]
    if which is None:
        assert told == []
    else:
        assert told == [
            f"the clock of this machine is 11 s {which} that of the blocklist: set both by NTP"
        ]


def test_the_time_that_a_call_takes_is_no_difference(caplog: pytest.LogCaptureFixture) -> None:
    """Without a leeway, too"""
    world = World(JWT_DECODE_LEEWAY=0)
    world.offsets[0] = 0.2
    app, authx = world.machines[0]
    with app.app_context():
        authx.login("ann")
    assert "clock" not in caplog.text


def test_a_store_that_was_emptied_ends_all_sessions_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """SECURITY A.12: a store that has lost its revocations is not believed"""
    world = World()
    app, authx = world.machines[0]
    with app.app_context():
        pair = authx.login("ann")
        assert not authx.is_revoked(pair.access_token)
        caplog.clear()
        world.entries.__init__(world.clock)  # type: ignore[misc]  # as if it had restarted
        world.clock.advance(1)
        with caplog.at_level(logging.WARNING):
            assert authx.is_revoked(pair.access_token)
        assert "no entry of the scope 'authx'" in caplog.text
        again = authx.login("ann")
        assert not authx.is_revoked(again.access_token)


def service(store: SharedBlocklist, **config: Any) -> tuple[Flask, AuthX]:
    """One of the apps that share a store, on a machine whose clock is the store's."""
    app = Flask("service")
    app.config.from_mapping(JWT_SECRET_KEY=SECRET, **config)
    return app, AuthX(app, blocklist=store, clock=store.clock)


def test_a_session_of_another_issuer_can_go_on() -> None:
    """Its next token is the app's own, in whose scope there is another epoch."""
    clock = Clock(NOW)
    store = SharedBlocklist(clock)

    (theirs, issuer), (app, authx) = service(store, JWT_ENCODE_ISSUER="them"), service(store)
    with app.app_context():
        authx.create_access_token("bob")
    clock.advance(60)
    with theirs.app_context():
        raw = issuer.create_access_token("ann")
    with app.app_context():
        assert not authx.is_revoked(raw)
        again = authx.create_access_token("ann", login=authx.decode_token(raw))
        assert not authx.is_revoked(again)
        authx.revoke_all()
        assert authx.is_revoked(again)


def test_a_revocation_of_all_of_another_issuer_counts() -> None:
    """An app without an issuer asks in the scope of the token's issuer, too."""
    clock = Clock(NOW)
    store = SharedBlocklist(clock)
    (theirs, issuer), (app, authx) = service(store, JWT_ENCODE_ISSUER="them"), service(store)
    with app.app_context():
        authx.create_access_token("bob")
    clock.advance(60)
    with theirs.app_context():
        raw = issuer.create_access_token("ann")
        clock.advance(60)
        issuer.revoke_all()
        later = issuer.create_access_token("ann")
    with app.app_context():
        assert authx.is_revoked(raw)
        assert not authx.is_revoked(later)


def test_a_store_that_is_added_to_a_running_app_can_trust_older_sessions() -> None:
    world = World()
    plain = Flask("plain")
    plain.config.from_mapping(JWT_SECRET_KEY=SECRET)
    before = AuthX(plain, clock=world.clock)
    with plain.app_context():
        raw = before.create_access_token("ann")
    app, authx = world.machines[0]
    with app.app_context():
        revocations = states(app)["authx"].revocations
        assert revocations is not None
        revocations.mark(trust_older=True)
        assert not authx.is_revoked(raw)
        authx.revoke_all()
        assert authx.is_revoked(raw)


class TwoServers(SharedBlocklist):
    """Keeps the entry of the scope on a server whose clock is ahead."""

    scope: bytes

    def find_dated(self, keys: Sequence[bytes], /) -> Dated:
        dated = super().find_dated(keys)
        ahead = 500 * 10**6 if keys[0] == self.scope else 0
        return Dated(dated.now + ahead, dated.cutoffs)


def test_what_is_left_of_a_session_is_counted_by_the_server_that_has_dated_it() -> None:
    """In a Cluster the subject's server dates its sessions."""
    store = TwoServers(Clock(NOW))
    store.scope = LookupKeys(None, "authx").scope
    app, authx = service(store)
    with app.app_context():
        token = authx.decode_token(authx.create_access_token("ann"))
        revocations = states(app)["authx"].revocations
        assert revocations is not None
        assert store.find_dated([store.scope]).now != store.find_dated([bytes(16)]).now
        assert revocations.left(token, 1000) == 1000
        store.clock.advance(100)
        assert revocations.left(token, 1000) == 900


def test_cutoffs_of_one_instant_grow_by_a_microsecond() -> None:
    store = SharedBlocklist(Clock(NOW))
    for number in range(3):
        store.add(Entry(bytes(16), Kind.SUBJECT, 60, 5))
        assert store.find([bytes(16)]) == [Cutoff(int(NOW) * 10**6 + 5 + number)]


def test_a_service_with_a_store_and_a_scope_of_its_own_accepts_what_another_has_opened() -> None:
    one, other = World(), World(JWT_STORE_SCOPE="other")
    (app, authx), (theirs, service) = one.machines[0], other.machines[0]
    with theirs.app_context():
        service.login("bob")
    one.clock.advance(60)
    other.clock.advance(60)
    with app.app_context():
        pair = authx.login("ann")
    with theirs.app_context():
        assert not service.is_revoked(pair.access_token)
        service.revoke_all()
        assert service.is_revoked(pair.access_token)
    one.clock.advance(60)
    other.clock.advance(60)
    with app.app_context():
        assert not authx.is_revoked(pair.access_token)
        later = authx.login("ann").access_token
    with theirs.app_context():
        assert not service.is_revoked(later)


def test_a_log_out_is_written_while_the_store_has_lost_its_scope() -> None:
    """It may have it again: then the session must not go on."""
    app, authx, store = spied()
    access, _, _ = login(app, authx)
    before = {**store.marks}
    store.marks.clear()
    assert ask(app, path="/logout", headers=bearer(access)).status_code == 200
    store.marks.update(before)
    assert not works(app, access)
