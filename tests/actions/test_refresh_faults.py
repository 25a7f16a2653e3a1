"""A refresh that fails has consumed nothing, and one whose response is lost can be repeated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from flask_authx import (
    RevokedTokenError,
    StoreBusyError,
    StoreUnavailableError,
    refresh_reuse_detected,
    session_revoked,
    token_refused,
)
from tests.support import Clock
from tests.support.answers import FAULT, REVOKED, outcome
from tests.support.session_sites import Site, SpySessions, heard, pair_in, site

DOWN = ConnectionError("down")
BUSY = StoreBusyError("busy")


@pytest.mark.parametrize("failing", ["get", "move"])
@pytest.mark.parametrize("error", [DOWN, TimeoutError(), KeyError("x"), BUSY], ids=repr)
def test_while_the_store_of_sessions_fails_nothing_is_consumed(
    failing: str, error: Exception
) -> None:
    """SECURITY A.13 236"""
    here = site()
    pair = here.log_in()
    here.logins.fail(failing, error=error)
    with heard(token_refused) as refused, heard(session_revoked) as revoked:
        response = here.ask(pair.refresh_token)
    assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
    body: Any = response.get_json()
    assert body == {
        "msg": "The token could not be refreshed right now: keep it and try again",
        "error_type": "StoreUnavailableError",
    }
    assert "WWW-Authenticate" not in response.headers
    assert [one["sid"] for one in refused.times] == [here.sid(pair)]
    assert revoked.times == []
    assert here.row(pair).generation == 0
    here.logins.heal()
    # Another worker, which has not just seen it fail; the same one, if others only kept it busy.
    again = here if error is BUSY else site(like=here)
    assert here.generation(pair_in(again.ask(pair.refresh_token))) == 1
    assert here.row(pair).generation == 1


@pytest.mark.parametrize("error", [DOWN, BUSY], ids=repr)
def test_while_the_store_of_revocations_fails_nothing_is_consumed(error: Exception) -> None:
    here = site()
    pair = here.log_in()
    here.revocations.error = error
    here.reset()
    assert outcome(here.ask(pair.refresh_token)) == FAULT
    assert here.logins.calls == []
    here.revocations.error = None
    assert here.generation(pair_in(site(like=here).ask(pair.refresh_token))) == 1


def test_a_lenient_app_refreshes_nothing_unchecked() -> None:
    here = site(BLOCKLIST_ON_ERROR="accept")
    pair = here.log_in()
    here.revocations.error = DOWN
    assert outcome(here.ask(pair.refresh_token)) == FAULT
    assert here.row(pair).generation == 0


@pytest.mark.parametrize("error", [DOWN, BUSY], ids=repr)
def test_a_move_whose_result_is_lost_is_repeated(
    error: Exception,
) -> None:
    """USERS 61, SECURITY A.13 237: the store did it and said nothing."""
    here = site()
    pair = here.log_in()
    here.logins.fail("move", error=error, late=True)
    assert outcome(here.ask(pair.refresh_token)) == FAULT
    assert here.row(pair).generation == 1
    here.logins.heal()
    with heard(refresh_reuse_detected) as reuse:
        other = site(like=here)
        again = pair_in(other.ask(pair.refresh_token))
        assert here.generation(again) == here.row(pair).generation == 1
        # And the session goes on from there.
        assert here.generation(other.renew(again.refresh_token)) == 2
    assert reuse.times == []


@pytest.mark.parametrize("found", [5, "row", True, b"", ()], ids=repr)
def test_a_store_that_returns_another_type_refreshes_nothing(found: Any) -> None:
    class Nonsense(SpySessions):
        def get(self, key: bytes, /) -> Any:
            super().get(key)
            return found

    sound = site()
    pair = sound.log_in()
    clock = Clock()
    broken = Site(sound.app, sound.authx, clock, sound.revocations, Nonsense(clock))
    here = site(like=broken)
    assert outcome(here.ask(pair.refresh_token)) == FAULT
    assert "move" not in here.logins.calls


def test_a_store_that_contradicts_itself_is_asked_a_few_times_and_no_more() -> None:
    class Stubborn(SpySessions):
        def move(self, key: bytes, generation: int, visit: Any, /) -> bool:
            self.calls.append("move")
            return False

    clock = Clock()
    first = site()
    here = site(like=Site(first.app, first.authx, clock, first.revocations, Stubborn(clock)))
    pair = here.log_in()
    here.reset()
    with pytest.raises(StoreUnavailableError):
        here.renew(pair.refresh_token)
    assert here.logins.calls == ["get", "move"] * 3


# What happens between reading the row and changing it


def once(here: Site, method: str, work: Callable[[], object]) -> None:
    """Do something just before a method's next call."""

    def run() -> None:
        here.logins.before.pop(method)
        work()

    here.logins.before[method] = run


def test_the_slower_of_two_refreshes_gets_the_same_generation() -> None:
    here = site()
    pair = here.log_in()
    once(here, "move", lambda: here.renew(pair.refresh_token))
    here.reset()
    slower = here.renew(pair.refresh_token)
    assert here.generation(slower) == here.row(pair).generation == 1
    assert here.logins.calls == ["get", "move", "get", "move", "get"]


def test_the_slowest_of_three_refreshes_is_a_reuse() -> None:
    here = site()
    pair = here.log_in()
    once(here, "move", lambda: here.renew(here.renew(pair.refresh_token).refresh_token))
    with heard(refresh_reuse_detected) as reuse, pytest.raises(RevokedTokenError):
        here.renew(pair.refresh_token)
    assert len(reuse.times) == 1


def end(here: Site, sid: str, how: str) -> None:
    with here.app.app_context():
        if how == "session":
            here.authx.revoke_session(sid)
        else:
            here.authx.revoke_subject("ann")


@pytest.mark.parametrize("method", ["get", "move"])
@pytest.mark.parametrize("how", ["session", "subject"])
def test_a_session_that_is_revoked_meanwhile_stays_revoked(method: str, how: str) -> None:
    """USERS 60, SECURITY A.12 220"""
    here = site()
    pair = here.log_in()
    once(here, method, lambda: end(here, here.sid(pair), how))
    response = here.ask(pair.refresh_token)
    assert outcome(response) == REVOKED
    assert not here.is_kept(pair)
    assert here.listed() == []


def test_a_session_whose_row_is_lost_meanwhile_is_refused() -> None:
    here = site()
    pair = here.log_in()
    once(here, "move", lambda: here.logins.lose(here.sid(pair)))
    assert outcome(here.ask(pair.refresh_token)) == REVOKED


def test_a_row_of_another_user_is_not_this_tokens() -> None:
    """Keys are hashes; if two were ever the same, no user gets another's tokens."""
    here = site()
    ann, bob = here.log_in("ann"), here.log_in("bob")
    here.logins.keys[here.sid(ann)] = here.logins.keys[here.sid(bob)]

    class Mixed(SpySessions):
        def get(self, key: bytes, /) -> Any:
            return here.logins.row(here.sid(bob))

    clock = here.clock
    mixed = site(like=Site(here.app, here.authx, clock, here.revocations, Mixed(clock)))
    assert outcome(mixed.ask(ann.refresh_token)) == REVOKED
    # The row is not removed for it.
    assert here.generation(here.renew(bob.refresh_token)) == 1
