"""Sessions under random events in any order, beside a model of what is promised."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from flask_authx import (
    AuthX,
    AuthXException,
    RevokedTokenError,
    TokenExpiredError,
    refresh_reuse_detected,
)
from tests.support import Clock, bearer, parts
from tests.support.answers import OK, ask, outcome
from tests.support.databases import app_on, private_server, settings_for
from tests.support.properties import fixed
from tests.support.sessions_model import (
    ACCESS,
    GRACE,
    IDLE,
    LEEWAY,
    MOST,
    SETTINGS,
    Made,
    Met,
    Model,
    Scopes,
)

USERS = ("ann", "bob", "cy")
SCOPES = [frozenset(some) for some in (("read", "write"), ("read",), ("admin",), ())]
#: Up to the edges of all that the settings say, and over them.
SPANS = (1, GRACE - 1, GRACE, GRACE + 1, ACCESS, ACCESS + LEEWAY, IDLE - 1, IDLE, IDLE + LEEWAY)

#: On a server, whose clock can't be set: no run takes as long as the grace, nor do two times that
#: should be the same differ by more.
LONG_GRACE, SLOW = 600, 200

scopes = st.sampled_from(SCOPES)
#: A session, or a token of one: mostly the latest that there is.
places = st.sampled_from([0, 0, 0, 0, 1, 1, 2, 3, 8])
#: Seconds: mostly few, lest nothing lives for long.
waits = st.sampled_from(
    [0, 0, 0, 0, 1, 1, GRACE - 1, GRACE - 1, GRACE, GRACE + 1, 700, IDLE, IDLE + 5]
)
asked = st.sampled_from([None, None, *SCOPES[:3]])


@dataclass
class Site:
    """An app, its clock, and what it has met; each run of the machine has users of its own.

    :param clock: that of the app and its stores. ``None``: the stores have one that can't be set,
        so that no time passes but that of the test itself.
    """

    app: Flask
    authx: AuthX
    clock: Clock | None
    runs: itertools.count[int] = field(default_factory=itertools.count)
    pushed_out: int = 0
    met: Counter[Met] = field(default_factory=Counter[Met])


def chosen(made: Sequence[Made], place: int) -> Made:
    """A token, counted from the latest; the first if there are not as many."""
    return made[max(0, len(made) - 1 - place)]


class Machine(RuleBasedStateMachine):
    """Does the same to an app and to the model."""

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.site, self.authx, self.clock = site, site.authx, site.clock
        self.grace = GRACE if site.clock else LONG_GRACE
        self.number = next(site.runs)
        self.models: list[Model] = []
        self.reused: list[str] = []
        self.announced: list[str] = []
        refresh_reuse_detected.connect(self.hear)
        self.context = site.app.app_context()
        self.context.push()

    def teardown(self) -> None:
        self.context.pop()
        refresh_reuse_detected.disconnect(self.hear)

    def hear(self, sender: Flask, *, sid: str, **more: Any) -> None:
        self.announced.append(sid)

    @property
    def now(self) -> int:
        return int(self.clock() if self.clock else time.time())

    def advance(self, seconds: int) -> None:
        if self.clock:
            self.clock.advance(seconds)

    def agree(self, found: int, due: int) -> None:
        """Both are the same time; on a server, but for the time that the test takes."""
        if self.clock:
            assert found == due
        else:
            assert abs(found - due) <= SLOW

    def living(self, sub: str) -> list[Model]:
        return [model for model in self.models if model.sub == sub and model.lives(self.now)]

    def login(self, place: int) -> Model:
        """One of the sessions: the active ones come first, and of them the latest."""
        living = [model for model in self.models if model.lives(self.now)]
        order = [model for model in self.models if model not in living] + living
        return order[max(0, len(order) - 1 - place)]

    # What happens

    @initialize()
    def first(self) -> None:
        self.log_in("ann", SCOPES[0])

    @rule(user=st.sampled_from(USERS), logins=st.lists(scopes, min_size=1, max_size=3))
    def log_in_often(self, user: str, logins: list[Scopes]) -> None:
        for some in logins:
            self.log_in(user, some)

    def log_in(self, user: str, scopes: Scopes) -> None:
        sub = f"{user}-{self.number}"
        pair = self.authx.login(sub, scopes=scopes or None)
        claims = parts(pair.access_token)[1]
        began = claims["auth_time"] * 10**6 + claims["auth_us"]
        if self.clock:
            # It may be dated a little later, lest it be taken for one that has just been revoked.
            assert self.now <= claims["auth_time"] <= self.now + LEEWAY
        model = Model(claims["sid"], sub, began, self.now, self.now, scopes)
        self.give_way(sub)
        self.models.append(model)
        self.note(model, pair.access_token, pair.refresh_token, scopes, fresh=True)

    def give_way(self, sub: str) -> None:
        """Those of a user's sessions unused for longest are revoked, if a new one makes too many.

        Which one it is, of those that were last used in the same second, is the app's to say.
        """
        listed = {session.sid for session in self.authx.sessions(sub)}
        living = self.living(sub)
        gone = [one for one in living if one.sid not in listed]
        assert len(gone) == max(0, len(living) + 1 - MOST)
        for one in gone:
            one.revoked = True
        stayed = [one.last_seen for one in self.living(sub)]
        # A server's second may have begun between the log-in and the look at its clock.
        apart = 0 if self.clock else 1
        assert all(one.last_seen <= min(stayed) + apart for one in gone)
        self.site.pushed_out += len(gone)

    @rule(place=places, uses=st.lists(st.tuples(waits, places, asked), min_size=2, max_size=8))
    def refresh_often(self, place: int, uses: list[tuple[int, int, Scopes | None]]) -> None:
        if not any(model.lives(self.now) for model in self.models):
            self.first()
        login = self.login(place)
        for seconds, age, scopes in uses:
            self.advance(seconds)
            self.refresh(login, chosen(login.refresh, age), scopes)

    def refresh(self, login: Model, token: Made, scopes: Scopes | None) -> None:
        met = login.judge(token, scopes, self.now, self.grace)
        self.site.met[met] += 1
        if met not in (Met.CURRENT, Met.PREDECESSOR):
            with pytest.raises(AuthXException) as caught:
                self.authx.refresh(token.raw, scopes=scopes)
            assert type(caught.value).__name__ in met.value
            if met is Met.REUSED:
                login.revoked = True
                self.reused.append(login.sid)
            return
        pair = self.authx.refresh(token.raw, scopes=scopes)
        if met is Met.CURRENT:
            login.rotate(self.now)
        granted = login.scopes if scopes is None else scopes
        self.note(login, pair.access_token, pair.refresh_token, granted, fresh=False)

    def note(
        self, login: Model, access: str, refresh: str, granted: Scopes, *, fresh: bool
    ) -> None:
        """Keep new tokens, which must say what the model says."""
        for raw, kept, scopes in (
            (access, login.access, granted),
            (refresh, login.refresh, login.scopes),
        ):
            claims = parts(raw)[1]
            began = claims["auth_time"] * 10**6 + claims["auth_us"]
            assert (claims["sid"], claims["sub"], began) == (login.sid, login.sub, login.began)
            assert frozenset(claims.get("scope", "").split()) == scopes
            kept.append(Made(raw, claims["exp"], login.generation))
        assert parts(access)[1]["fresh"] is fresh
        self.agree(login.access[-1].exp, min(self.now + ACCESS, login.ends))
        assert parts(refresh)[1]["gen"] == login.generation
        self.agree(login.refresh[-1].exp, login.expires)

    @rule(seconds=st.sampled_from(SPANS))
    def pass_time(self, seconds: int) -> None:
        self.advance(seconds)

    @rule(place=places, age=places, how=st.sampled_from(["session", "access", "refresh"]))
    def end_one(self, place: int, age: int, how: str) -> None:
        login = self.login(place)
        if how == "session":
            self.authx.revoke_session(login.sid)
        else:
            token = chosen(login.access if how == "access" else login.refresh, age)
            response = ask(self.site.app, "POST", "/logout", headers=bearer(token.raw))
            assert outcome(response) == OK
        login.revoked = True

    @rule(place=places, keep=st.booleans())
    def end_all(self, place: int, keep: bool) -> None:
        login = self.login(place)
        self.authx.revoke_subject(login.sub, keep=login.sid if keep else None)
        for one in self.models:
            if one.sub == login.sub and not (keep and one is login):
                one.revoked = True

    # What always holds

    @invariant()
    def tokens_are_accepted_while_their_session_is_active(self) -> None:
        for login in self.models:
            for token in login.access:
                self.check(token, "access", revoked=login.revoked)
            for token in login.refresh:
                # An active session's is judged by the refresh itself: a guard would end it for
                # one that has been replaced.
                if login.revoked or token.is_expired(self.now):
                    self.check(token, "refresh", revoked=login.revoked)

    def check(self, token: Made, type: Any, *, revoked: bool) -> None:
        """A guard accepts a token, or refuses it for the right reason."""
        if token.is_expired(self.now) or revoked:
            right = TokenExpiredError if token.is_expired(self.now) else RevokedTokenError
            with pytest.raises(right):
                self.authx.verify_token(token.raw, type=type)
        else:
            self.authx.verify_token(token.raw, type=type)

    @invariant()
    def the_active_sessions_are_listed_the_latest_first(self) -> None:
        for user in USERS:
            sub = f"{user}-{self.number}"
            listed = self.authx.sessions(sub)
            order = [(one.last_seen, one.began, one.sid) for one in listed]
            assert order == sorted(order, reverse=True)
            due = {one.sid: one for one in self.living(sub)}
            assert {one.sid for one in listed} == due.keys()
            for one in listed:
                model = due[one.sid]
                assert (one.began, one.generation) == (model.began, model.generation)
                self.agree(one.last_seen, model.last_seen)
                self.agree(one.expires, model.expires)
                self.agree(one.ends, model.ends)
                self.agree(one.now, self.now)

    @invariant()
    def reuse_is_announced_once(self) -> None:
        assert self.announced == self.reused


@contextlib.contextmanager
def site_on(kind: str, folder: Path) -> Generator[Site]:
    """An app whose sessions are kept in such a store."""
    clock = Clock() if kind in ("memory", "sqlite") else None
    with contextlib.ExitStack() as stack:
        if kind == "redis":
            # The shared one has too few databases for each test run to have its own for so long.
            server = stack.enter_context(private_server(kind))
            stores: dict[str, Any] = {"JWT_BLOCKLIST": server.url}
        else:
            stores = settings_for(kind, folder)
        if clock is None:
            stores |= SETTINGS | {"JWT_REFRESH_GRACE": LONG_GRACE}
            app, authx = app_on(stores)
        else:
            app, authx = app_on(stores | SETTINGS, clock=clock)

        @app.post("/logout")
        def logout() -> str:
            authx.logout()
            return ""

        yield Site(app, authx, clock)


def play(kind: str, folder: Path, examples: int) -> None:
    with site_on(kind, folder) as site:

        class Here(Machine):
            def __init__(self) -> None:
                super().__init__(site)

        run_state_machine_as_test(
            Here,
            settings=settings(fixed, max_examples=examples, stateful_step_count=25),
        )
        # Runs that leave out a kind of refresh would prove little.
        print(dict(site.met), site.pushed_out)
        timeless = set(Met) - {Met.EXPIRED, Met.ENDED}
        assert site.met.keys() == (set(Met) if site.clock else timeless)
        assert site.pushed_out


def test_sessions_are_what_the_model_says(tmp_path: Path) -> None:
    """Issue 4: random interleavings of refresh, reuse, logout and revoke-all"""
    play("memory", tmp_path, 20)


@pytest.mark.slow
def test_sessions_are_what_the_model_says_in_many_more_runs(tmp_path: Path) -> None:
    """Most of what may go wrong is in the code that all stores have in common."""
    play("memory", tmp_path, 60)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "postgresql", "mariadb", "redis"])
def test_sessions_in_a_lasting_store_are_what_the_model_says(kind: str, tmp_path: Path) -> None:
    play(kind, tmp_path, 10)
