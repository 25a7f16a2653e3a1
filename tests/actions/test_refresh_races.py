"""Refreshes that race each other or the end of their session, on every store."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import pytest
from flask import Flask
from sqlalchemy.pool import NullPool

from flask_authx import (
    AuthX,
    ReusedTokenError,
    RevokedTokenError,
    Session,
    TokenPair,
    current_token,
    refresh_reuse_detected,
    session_revoked,
)
from tests.support import Clock, bearer, parts
from tests.support.answers import OK, REVOKED, ask, outcome
from tests.support.corpus import check_all
from tests.support.databases import SHARED, app_on, settings_for
from tests.support.session_sites import heard

# Refreshes of one token at once, in memory and in an SQLite file


T = TypeVar("T")


THREADS = 8


ROUNDS = 10


@dataclass(eq=False)
class Place:
    """An app whose sessions are kept in a real store, and threads that start together."""

    app: Flask
    authx: AuthX
    pool: ThreadPoolExecutor

    def log_in(self) -> TokenPair:
        with self.app.app_context():
            return self.authx.login("ann")

    def renew(self, token: str) -> TokenPair:
        with self.app.app_context():
            return self.authx.refresh(token)

    def refused(self, token: str) -> str:
        """The class of the error by which a refresh token is refused; empty if it isn't."""
        try:
            self.renew(token)
        except RevokedTokenError as error:
            return type(error).__name__
        return ""

    def accepts(self, pair: TokenPair) -> bool:
        with self.app.app_context():
            return not self.authx.is_revoked(pair.access_token)

    def rows(self) -> list[Session]:
        with self.app.app_context():
            return self.authx.sessions("ann")

    def end(self, pair: TokenPair, how: str) -> None:
        with self.app.app_context():
            if how == "session":
                self.authx.revoke_session(parts(pair.access_token)[1]["sid"])
            else:
                self.authx.revoke_subject("ann")

    def together(self, *works: Callable[[], T]) -> list[T]:
        """What these return, each in a thread of its own."""
        start = threading.Barrier(len(works), timeout=60)

        def run(work: Callable[[], T]) -> T:
            start.wait()
            return work()

        return [one.result(120) for one in [self.pool.submit(run, work) for work in works]]


#: Opens an app, with settings beside those of its stores.
Open: TypeAlias = Callable[..., Place]


@pytest.fixture(params=["memory", pytest.param("sqlite", marks=pytest.mark.slow)])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    with ThreadPoolExecutor(THREADS) as pool:

        def opened(**config: Any) -> Place:
            settings = settings_for(request.param, tmp_path) | {"JWT_SESSIONS": True} | config
            app, authx = app_on(settings, clock=Clock())
            return Place(app, authx, pool)

        yield opened


@pytest.fixture
def place(opened: Open) -> Place:
    return opened()


def generation(token: str) -> int:
    found: int = parts(token)[1]["gen"]
    return found


def test_refreshes_that_race_with_one_token_get_one_generation(place: Place) -> None:
    """USERS 52, SECURITY A.13 232"""
    pair = place.log_in()
    with heard(session_revoked) as revoked:
        for number in range(1, ROUNDS + 1):
            token = pair.refresh_token
            pairs = place.together(*[partial(place.renew, token)] * THREADS)
            assert {generation(one.refresh_token) for one in pairs} == {number}
            assert [row.generation for row in place.rows()] == [number]
            assert all(map(place.accepts, pairs))
            pair = pairs[number % THREADS]
    assert revoked.times == []


def test_without_grace_a_token_is_accepted_once(opened: Open) -> None:
    """USERS 55, SECURITY A.13 231: a token that is sent twice has been copied."""
    place = opened(JWT_REFRESH_GRACE=0)
    for _ in range(ROUNDS):
        token = place.log_in().refresh_token
        errors = place.together(*[partial(place.refused, token)] * THREADS)
        assert errors.count("") == 1
        assert ReusedTokenError.__name__ in errors
        assert place.rows() == []


def test_of_tabs_that_each_go_on_by_their_own_token_none_is_signed_out(place: Place) -> None:
    tabs = [place.log_in()] * 4
    with heard(session_revoked) as revoked:
        for _ in range(ROUNDS):
            # Each tab refreshes when it feels like it, and is never more than one behind.
            tokens = [tab.refresh_token for tab in tabs]
            tabs = place.together(*[partial(place.renew, token) for token in tokens])
            assert len({generation(tab.refresh_token) for tab in tabs}) == 1
    assert revoked.times == []
    assert len(place.rows()) == 1


def test_of_many_that_find_a_reuse_at_once_one_tells_the_app(place: Place) -> None:
    for _ in range(ROUNDS):
        pair = place.log_in()
        last = place.renew(place.renew(pair.refresh_token).refresh_token)
        with heard(refresh_reuse_detected) as reuse:
            token = pair.refresh_token
            errors = place.together(*[partial(place.refused, token)] * THREADS)
        assert set(errors) <= {ReusedTokenError.__name__, RevokedTokenError.__name__}
        assert ReusedTokenError.__name__ in errors
        assert [told["sid"] for told in reuse.times] == [parts(token)[1]["sid"]]
        assert not place.accepts(last)
        assert place.refused(last.refresh_token) == RevokedTokenError.__name__


@pytest.mark.parametrize("how", ["session", "subject"])
def test_a_revocation_wins_over_refreshes_that_race_it(place: Place, how: str) -> None:
    """USERS 60, SECURITY A.12 220"""
    created: list[TokenPair] = []

    def refresh(token: str) -> str:
        try:
            created.append(place.renew(token))
        except RevokedTokenError as error:
            return type(error).__name__
        return ""

    def end(pair: TokenPair) -> str:
        place.end(pair, how)
        return ""

    for _ in range(ROUNDS):
        pair = place.log_in()
        refreshing = [partial(refresh, pair.refresh_token)] * (THREADS - 1)
        results = place.together(partial(end, pair), *refreshing)
        # A sign-out is no theft.
        assert set(results) <= {"", RevokedTokenError.__name__}
        for one in [pair, *created]:
            assert not place.accepts(one)
            assert place.refused(one.refresh_token) == RevokedTokenError.__name__
        assert place.rows() == []
        created.clear()


# A refresh and the end of its session, on stores that processes share


ROUNDS_ON_STORES = 30


@dataclass(eq=False)
class Site:
    """An app with a store, as one of several processes has it."""

    app: Flask
    authx: AuthX
    #: Called by a refresh between its guard and its new tokens.
    pause: Callable[[], object] = lambda: None

    def __post_init__(self) -> None:
        @self.app.get("/guarded")
        @self.authx.token_required
        def guarded() -> str:
            return current_token.sub

        @self.app.post("/refresh")
        @self.authx.refresh_token_required
        def refresh() -> dict[str, str]:
            self.pause()
            # Both ways to go on with a session.
            sub = current_token.sub
            return {
                "access": self.authx.create_access_token(sub, login=current_token),
                "refresh": self.authx.create_refresh_token(sub, login=current_token),
            }

        @self.app.post("/logout")
        def logout() -> str:
            self.authx.logout()
            return ""

    def log_in(self, sub: str) -> TokenPair:
        """A new session."""
        with self.app.app_context():
            return self.authx.create_token_pair(sub)

    def accepts(self, access: str) -> bool:
        """Whether a guarded view does."""
        return self._passes("GET", "/guarded", access)

    def refreshes(self, refresh: str) -> bool:
        """Whether a refresh token is accepted."""
        return self._passes("POST", "/refresh", refresh)

    def refresh(self, token: str) -> list[str]:
        """An access and a refresh token, or nothing if the session is revoked."""
        response = ask(self.app, "POST", "/refresh", headers=bearer(token))
        if outcome(response) == REVOKED:
            return []
        assert outcome(response) == OK
        body: dict[str, str] = response.get_json()
        return [body["access"], body["refresh"]]

    def _passes(self, method: str, path: str, token: str) -> bool:
        response = outcome(ask(self.app, method, path, headers=bearer(token)))
        assert response in (OK, REVOKED)
        return response == OK


@pytest.fixture(params=SHARED)
def sites(request: pytest.FixtureRequest, tmp_path: Path) -> list[Site]:
    """Two apps that know nothing of each other but the store."""
    settings: dict[str, Any] = settings_for(request.param, tmp_path)
    if "SQLALCHEMY_DATABASE_URI" in settings:
        settings["SQLALCHEMY_ENGINE_OPTIONS"] = {"poolclass": NullPool}
    return [Site(*app_on(settings)) for _ in range(2)]


def end(site: Site, how: str, sub: str, pair: TokenPair) -> None:
    """Revoke a session."""
    if how == "logout":
        headers = bearer(pair.access_token)
        assert outcome(ask(site.app, "POST", "/logout", headers=headers)) == OK
        return
    with site.app.app_context():
        if how == "session":
            site.authx.revoke_session(parts(pair.access_token)[1]["sid"])
        else:
            site.authx.revoke_subject(sub)


HOW = ("logout", "session", "subject")


def test_what_a_refresh_creates_after_its_session_was_revoked_is_revoked(
    sites: list[Site],
) -> None:
    """SECURITY A.12 220, USERS 38 39"""
    first, second = sites

    def check(how: str) -> None:
        sub = f"revoked by {how}"
        pair = first.log_in(sub)
        # Its guard has let the refresh pass, and then the session is revoked.
        first.pause = lambda: end(second, how, sub, pair)
        access, refresh = first.refresh(pair.refresh_token)
        first.pause = lambda: None
        for site in sites:
            assert not site.accepts(access)
            assert not site.refreshes(refresh)
        later = first.log_in(sub)
        for site in sites:
            assert site.accepts(later.access_token)
            assert site.refreshes(later.refresh_token)

    check_all({how: how for how in HOW}, check)


@pytest.mark.slow
def test_a_session_is_revoked_whether_a_refresh_or_a_log_out_is_first(
    sites: list[Site],
) -> None:
    """SECURITY A.12 220, USERS 38 39"""
    start = threading.Barrier(3, timeout=60)

    def together(work: Callable[..., Any], *args: object) -> Any:
        start.wait()
        return work(*args)

    with ThreadPoolExecutor(3) as pool:
        for number in range(ROUNDS_ON_STORES):
            sub, how = f"user-{number}", HOW[number % len(HOW)]
            pair = sites[0].log_in(sub)
            assert sites[1].accepts(pair.access_token)
            racing = [pool.submit(together, site.refresh, pair.refresh_token) for site in sites]
            ending = pool.submit(together, end, sites[number % 2], how, sub, pair)
            created = [token for one in racing for token in one.result()]
            ending.result()
            for site in sites:
                assert not any(map(site.accepts, [pair.access_token, *created[::2]]))
                assert not any(map(site.refreshes, [pair.refresh_token, *created[1::2]]))
