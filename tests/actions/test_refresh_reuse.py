"""A refresh token that was replaced: by a lost response, another tab or an attacker (A.13)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask_sqlalchemy import SQLAlchemy

from flask_authx import (
    AuthX,
    ReusedTokenError,
    RevokedTokenError,
    StoreBusyError,
    StoreUnavailableError,
    TokenPair,
    refresh_reuse_detected,
    revoked_token_used,
    session_revoked,
    token_refused,
)
from tests.support import NOW, SECRET
from tests.support.answers import FAULT, REVOKED, Outcome, outcome
from tests.support.databases import app_on, settings_for
from tests.support.session_sites import Site, heard, pair_in, site

AT = int(NOW)
DOWN = ConnectionError("down")


def refreshed(times: int = 1, **config: Any) -> tuple[Site, list[TokenPair]]:
    """A session and its pairs, one for each generation."""
    here = site(**config)
    pairs = [here.log_in()]
    for _ in range(times):
        pairs.append(here.renew(pairs[-1].refresh_token))
    return here, pairs


# The grace


@pytest.mark.parametrize("after", [0, 1, 59, 59.9])
def test_the_predecessor_gets_tokens_of_the_current_generation(after: float) -> None:
    """USERS 54, SECURITY A.13 229: a lost response, two tabs."""
    here, [first, second] = refreshed()
    row = here.row(second)
    here.clock.advance(after)
    here.reset()
    again = pair_in(here.ask(first.refresh_token))
    assert here.generation(again) == 1
    assert replace(here.row(second), now=row.now) == row
    # Nothing is written, neither a row nor a revocation.
    assert here.logins.calls == ["get"]
    assert here.revocations.calls == ["find"]
    # However often it is asked for, no token outlives the row.
    assert here.token(again.refresh_token).exp == row.expires
    assert all(map(here.accepts, [first, second, again]))
    # Both tabs go on from here, whichever is first.
    third = pair_in(here.ask(again.refresh_token))
    assert here.generation(third) == 2
    assert here.generation(pair_in(here.ask(second.refresh_token))) == 2


@pytest.mark.parametrize(
    ("grace", "after"), [(60, 60), (60, 61), (5, 5), (0, 0), (600, 600), (600, 86400)]
)
def test_the_predecessor_after_its_grace_is_a_reuse(grace: int, after: int) -> None:
    """USERS 53, 55, SECURITY A.13 234: also within one second"""
    here, [first, second] = refreshed(REFRESH_GRACE=grace)
    here.clock.advance(after)
    assert outcome(here.ask(first.refresh_token)) == REVOKED
    assert not here.is_kept(second)


def test_an_expired_token_is_expired_and_no_reuse() -> None:
    """SECURITY A.13 239: its session goes on."""
    here, [first, second] = refreshed(REFRESH_TOKEN_EXPIRES=100)
    here.clock.advance(50)
    third = here.renew(second.refresh_token)
    here.clock.advance(70)
    assert outcome(here.ask(first.refresh_token)) == Outcome(401, "TokenExpiredError")
    assert here.accepts(third)
    assert here.generation(pair_in(here.ask(third.refresh_token))) == 3


def test_a_restart_forgets_no_replaced_token(tmp_path: Path) -> None:
    """SECURITY A.13 235"""
    settings = settings_for("sqlite", tmp_path) | {"JWT_SESSIONS": True, "JWT_REFRESH_GRACE": 0}
    app, authx = app_on(settings)
    with app.app_context():
        first = authx.login("ann")
        second = authx.refresh(first.refresh_token)
    # What a new process knows.
    again = Flask("tests")
    again.config.from_mapping(settings, JWT_SECRET_KEY=SECRET)
    SQLAlchemy(again)
    authx = AuthX(again)
    with again.app_context():
        assert authx.verify_token(second.access_token).sub == "ann"
        with pytest.raises(ReusedTokenError):
            authx.refresh(first.refresh_token)
        assert authx.is_revoked(second.access_token)


def test_the_grace_runs_from_the_rotation_and_not_from_its_last_use() -> None:
    here, [first, _] = refreshed()
    for _ in range(2):
        here.clock.advance(29)
        here.renew(first.refresh_token)
    here.clock.advance(2)
    with pytest.raises(ReusedTokenError):
        here.renew(first.refresh_token)


@pytest.mark.parametrize("behind", [2, 3])
def test_only_the_immediate_predecessor_has_a_grace(behind: int) -> None:
    """SECURITY A.13 230"""
    here, pairs = refreshed(4)
    with pytest.raises(ReusedTokenError):
        here.renew(pairs[4 - behind].refresh_token)
    assert not here.accepts(pairs[4])


def test_the_predecessor_gets_claims_scopes_and_user_as_any_refresh() -> None:
    here = site()
    plans = {"plan": "free"}
    here.claims_by(lambda uid: plans)
    users = {"ann"}
    here.users_by(lambda uid: uid if uid in users else None)
    first = here.log_in(scopes=["a", "b"])
    here.renew(first.refresh_token)
    plans = {"plan": "paid"}
    again = here.token(here.renew(first.refresh_token, scopes=["a"]).access_token)
    assert again.claims["plan"] == "paid"
    assert again.scopes == {"a"}
    assert not again.fresh
    users.clear()
    here.ask(first.refresh_token)
    assert not here.accepts(first)


# Reuse


def test_a_reused_token_revokes_the_session_and_all_its_tokens() -> None:
    """USERS 53, SECURITY A.13 228, 240"""
    here, pairs = refreshed(2)
    other = here.log_in()
    response = here.ask(pairs[0].refresh_token)
    assert response.status_code == 401
    # Neither of the two clients is told more than that it is revoked.
    body: Any = response.get_json()
    assert body == {"msg": "The token has been revoked", "error_type": "RevokedTokenError"}
    challenge = response.headers["WWW-Authenticate"]
    assert challenge == (
        'Bearer realm="api", error="invalid_token", error_description="The token has been revoked"'
    )
    for pair in pairs:
        assert not here.accepts(pair)
        assert outcome(here.ask(pair.refresh_token)) == REVOKED
    assert not here.is_kept(pairs[0])
    # The user's other devices go on.
    assert here.accepts(other)
    assert here.listed() == [here.sid(other)]


def test_the_app_is_told_once_and_knows_the_error_by_its_class() -> None:
    here, pairs = refreshed(2)
    with (
        heard(refresh_reuse_detected) as reuse,
        heard(session_revoked) as revoked,
        heard(token_refused) as refused,
        heard(revoked_token_used) as used,
    ):
        with pytest.raises(ReusedTokenError) as caught:
            here.renew(pairs[0].refresh_token)
        assert isinstance(caught.value, RevokedTokenError)
        for pair in pairs:
            assert outcome(here.ask(pair.refresh_token)) == REVOKED
    reused = here.token(pairs[0].refresh_token)
    ids = {"name": "authx", "sid": reused.sid, "sub": "ann", "jti": reused.jti}
    assert (reuse.times, reuse.senders) == ([ids], [here.app])
    [told] = revoked.times
    assert told == {
        "name": "authx",
        "actor": "user:ann",
        "reason": "a refresh token was used again",
        "sid": reused.sid,
    }
    assert [type(one["error"]) for one in refused.times] == [ReusedTokenError] + [
        RevokedTokenError
    ] * 3
    assert len(used.times) == 4


def test_a_receiver_that_fails_leaves_the_session_revoked() -> None:
    """SECURITY A.13 250"""
    here, pairs = refreshed(2)

    def receive(sender: object, **said: Any) -> None:
        raise LookupError("mail is down")

    with refresh_reuse_detected.connected_to(receive), pytest.raises(ReusedTokenError):
        here.renew(pairs[0].refresh_token)
    assert not here.accepts(pairs[2])
    assert not here.is_kept(pairs[2])


def test_an_app_may_handle_the_error_of_a_reuse() -> None:
    here, pairs = refreshed(2)

    @here.app.errorhandler(ReusedTokenError)
    def seen(error: ReusedTokenError) -> tuple[dict[str, str], int]:
        return {"seen": type(error).__name__}, 401

    assert here.ask(pairs[0].refresh_token).get_json() == {"seen": "ReusedTokenError"}
    assert outcome(here.ask(pairs[0].refresh_token)) == REVOKED


def test_the_revocation_is_written_before_the_row_goes() -> None:
    here, pairs = refreshed(2)
    seen: list[bool] = []
    here.logins.before["end"] = lambda: seen.append(here.accepts(pairs[2]))
    here.ask(pairs[0].refresh_token)
    assert seen == [False]


def test_a_revocation_that_could_not_be_written_is_a_503_and_found_out_again() -> None:
    here, pairs = refreshed(2)
    here.revocations.error, here.revocations.failing = DOWN, frozenset({"add"})
    with heard(refresh_reuse_detected) as reuse, heard(session_revoked) as revoked:
        assert outcome(here.ask(pairs[0].refresh_token)) == FAULT
        # It may have been written: then no later request would be a reuse.
        assert [len(reuse.times), len(revoked.times)] == [1, 0]
        assert here.is_kept(pairs[0])
        here.revocations.error = None
        # A worker that has not just seen it fail.
        assert outcome(site(like=here).ask(pairs[0].refresh_token)) == REVOKED
    assert [len(reuse.times), len(revoked.times)] == [2, 1]
    assert not here.accepts(pairs[2])


@pytest.mark.parametrize("late", [False, True])
def test_a_row_that_stays_leaves_no_token_valid(late: bool) -> None:
    here, pairs = refreshed(2)
    here.logins.fail("end", error=StoreBusyError("busy"), late=late)
    with heard(refresh_reuse_detected) as reuse, heard(session_revoked) as revoked:
        with pytest.raises(StoreUnavailableError) as caught:
            here.renew(pairs[0].refresh_token)
        assert "in force, and the session may still be listed" in str(caught.value.description)
        here.logins.heal()
        for pair in pairs:
            assert not here.accepts(pair)
            assert outcome(here.ask(pair.refresh_token)) == REVOKED
    # It is unknown who removed the row: the app is told once.
    assert [len(reuse.times), len(revoked.times)] == [1, 1]


def test_a_log_out_meanwhile_is_not_a_reuse() -> None:
    """The row is removed before the reuse would revoke it: its user has logged out."""
    here, pairs = refreshed(2)

    def sign_out() -> None:
        here.logins.before.clear()
        with here.app.app_context():
            here.authx.revoke_session(here.sid(pairs[0]))

    here.logins.before["end"] = sign_out
    with heard(refresh_reuse_detected) as reuse:
        assert outcome(here.ask(pairs[0].refresh_token)) == REVOKED
    assert reuse.times == []
