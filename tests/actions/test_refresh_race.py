"""A refresh that races the end of its login mints a dead token, on every store."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy.pool import NullPool

from flask_authx import AuthX, TokenPair, current_token
from tests.support import bearer, parts
from tests.support.answers import OK, REVOKED, ask, outcome
from tests.support.databases import SHARED, app_on, settings_for

ROUNDS = 50


@dataclass(eq=False)
class Site:
    """An app with a store, as one of several processes has it."""

    app: Flask
    authx: AuthX
    #: Called by a refresh between its guard and its minting.
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
            # Both ways to go on with a login.
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
        """A new login."""
        with self.app.app_context():
            return self.authx.create_token_pair(sub)

    def accepts(self, access: str) -> bool:
        """Whether a guarded view does."""
        return self._passes("GET", "/guarded", access)

    def refreshes(self, refresh: str) -> bool:
        """Whether a refresh token mints others."""
        return self._passes("POST", "/refresh", refresh)

    def refresh(self, token: str) -> list[str]:
        """An access and a refresh token, or nothing if the login is over."""
        answer = ask(self.app, "POST", "/refresh", headers=bearer(token))
        if outcome(answer) == REVOKED:
            return []
        assert outcome(answer) == OK
        body: dict[str, str] = answer.get_json()
        return [body["access"], body["refresh"]]

    def _passes(self, method: str, path: str, token: str) -> bool:
        answer = outcome(ask(self.app, method, path, headers=bearer(token)))
        assert answer in (OK, REVOKED)
        return answer == OK


@pytest.fixture(params=SHARED)
def sites(request: pytest.FixtureRequest, tmp_path: Path) -> list[Site]:
    """Two apps that know nothing of each other but the store."""
    settings: dict[str, Any] = settings_for(request.param, tmp_path)
    if "SQLALCHEMY_DATABASE_URI" in settings:
        settings["SQLALCHEMY_ENGINE_OPTIONS"] = {"poolclass": NullPool}
    return [Site(*app_on(settings)) for _ in range(2)]


def end(site: Site, how: str, sub: str, pair: TokenPair) -> None:
    """End a login."""
    if how == "logout":
        headers = bearer(pair.access_token)
        assert ask(site.app, "POST", "/logout", headers=headers).status_code == 200
        return
    with site.app.app_context():
        if how == "session":
            site.authx.revoke_session(parts(pair.access_token)[1]["sid"])
        else:
            site.authx.revoke_subject(sub)


HOW = ("logout", "session", "subject")


@pytest.mark.parametrize("how", HOW)
def test_what_a_refresh_mints_after_its_login_has_ended_is_dead(
    sites: list[Site], how: str
) -> None:
    """SECURITY A.12 220, USERS 38 39"""
    first, second = sites
    pair = first.log_in("ann")
    # Its guard has let the refresh pass, and then the login ends.
    first.pause = lambda: end(second, how, "ann", pair)
    access, refresh = first.refresh(pair.refresh_token)
    first.pause = lambda: None
    for site in sites:
        assert not site.accepts(access)
        assert not site.refreshes(refresh)
    later = first.log_in("ann")
    for site in sites:
        assert site.accepts(later.access_token)
        assert site.refreshes(later.refresh_token)


def test_whichever_of_a_refresh_and_a_logout_is_first_the_login_is_over(
    sites: list[Site],
) -> None:
    """SECURITY A.12 220, USERS 38 39"""
    start = threading.Barrier(3, timeout=60)

    def together(work: Callable[..., Any], *args: object) -> Any:
        start.wait()
        return work(*args)

    with ThreadPoolExecutor(3) as pool:
        for number in range(ROUNDS):
            sub, how = f"user-{number}", HOW[number % len(HOW)]
            pair = sites[0].log_in(sub)
            assert sites[1].accepts(pair.access_token)
            racing = [pool.submit(together, site.refresh, pair.refresh_token) for site in sites]
            ending = pool.submit(together, end, sites[number % 2], how, sub, pair)
            minted = [token for one in racing for token in one.result()]
            ending.result()
            for site in sites:
                assert not any(map(site.accepts, [pair.access_token, *minted[::2]]))
                assert not any(map(site.refreshes, [pair.refresh_token, *minted[1::2]]))
