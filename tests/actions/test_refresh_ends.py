"""When ``authx.refresh()`` says that a login is over: its ends, its user, its revocation."""

from __future__ import annotations

import pytest

from flask_authx import (
    RevokedTokenError,
    SubjectNotFoundError,
    TokenExpiredError,
    TokenPair,
    session_revoked,
    token_refused,
)
from tests.support import NOW, refresh_token
from tests.support.answers import INVALID, REVOKED, outcome
from tests.support.session_sites import Site, heard, site
from tests.support.spy_store import store_app

AT = int(NOW)


# How long


def test_each_refresh_starts_the_idle_time_anew_up_to_the_absolute_end() -> None:
    """USERS 57, SECURITY A.13 249"""
    here = site(REFRESH_TOKEN_EXPIRES=100, SESSION_LIFETIME=250, ACCESS_TOKEN_EXPIRES=60)
    pair = here.log_in()
    ends: list[tuple[int, int]] = []
    for _ in range(3):
        here.clock.advance(80)
        pair = here.renew(pair.refresh_token)
        exps = (here.token(pair.access_token).exp, here.token(pair.refresh_token).exp)
        ends.append((exps[0] - AT, exps[1] - AT))
        assert here.row(pair).expires == exps[1]
    # No token goes on after the end of its login.
    assert ends == [(140, 180), (220, 250), (250, 250)]
    assert (pair.expires_in, pair.refresh_expires_in) == (10, 10)
    here.clock.advance(9)
    last = here.renew(pair.refresh_token)
    assert (last.expires_in, last.refresh_expires_in) == (1, 1)
    here.clock.advance(1)
    with pytest.raises(TokenExpiredError):
        here.renew(last.refresh_token)


@pytest.mark.parametrize(("after", "good"), [(99, True), (99.9, True), (100, False), (105, False)])
def test_an_idle_login_ends_at_the_second_said_whatever_the_leeway(
    after: float, good: bool
) -> None:
    here = site(REFRESH_TOKEN_EXPIRES=100, DECODE_LEEWAY=10)
    pair = here.log_in()
    here.clock.advance(after)
    expected = (200, None) if good else (401, "TokenExpiredError")
    assert outcome(here.ask(pair.refresh_token)) == expected
    assert here.row(pair).generation == int(good)


# Who


def test_a_user_whom_the_app_knows_no_more_is_signed_out() -> None:
    """USERS 58, SECURITY A.13 243"""
    here = site()
    users = {"ann": "Ann"}
    asked: list[str] = []

    @here.authx.set_callback_get_model_instance
    def load(uid: str) -> str | None:
        asked.append(uid)
        return users.get(uid)

    pair = here.renew(here.log_in().refresh_token)
    assert asked == ["ann"]
    users.clear()
    with heard(session_revoked) as revoked, heard(token_refused) as refused:
        # The same answer as for any bad token: nobody learns who exists.
        assert outcome(here.ask(pair.refresh_token)) == INVALID
    assert [type(one["error"]) for one in refused.times] == [SubjectNotFoundError]
    [told] = revoked.times
    assert (told["sid"], told["actor"]) == (here.sid(pair), "ann")
    users["ann"] = "Ann again"
    assert not here.accepts(pair)
    assert not here.is_kept(pair)
    assert outcome(here.ask(pair.refresh_token)) == REVOKED


def test_what_the_user_callback_raises_is_the_apps_own_and_consumes_nothing() -> None:
    here = site()
    down = True

    @here.authx.set_callback_get_model_instance
    def load(uid: str) -> str:
        if down:
            raise ConnectionError("no database")
        return uid

    pair = here.log_in()
    with pytest.raises(ConnectionError):
        here.renew(pair.refresh_token)
    assert here.is_kept(pair)
    down = False
    assert here.generation(here.renew(pair.refresh_token)) == 1


# What is no login any more


def ended(here: Site, pair: TokenPair, how: str) -> None:
    with here.app.app_context():
        if how == "session":
            here.authx.revoke_session(here.sid(pair))
        elif how == "subject":
            here.authx.revoke_subject("ann")
        elif how == "token":
            here.authx.revoke_token(pair.refresh_token)
    if how == "logout":
        assert here.ask(pair.access_token, path="/logout").status_code == 200
    elif how == "lost":
        here.logins.lose(here.sid(pair))


@pytest.mark.parametrize("how", ["session", "subject", "token", "logout", "lost"])
def test_nobody_refreshes_what_is_over(how: str) -> None:
    here = site()
    pair = here.log_in()
    ended(here, pair, how)
    here.reset()
    assert outcome(here.ask(pair.refresh_token)) == REVOKED
    with pytest.raises(RevokedTokenError):
        here.renew(pair.refresh_token)
    assert "move" not in here.logins.calls


def test_a_refresh_token_from_before_there_were_sessions_is_over() -> None:
    here = site()
    old = refresh_token(*store_app(here.revocations, here.clock))
    assert "gen" not in here.token(old).claims
    assert outcome(here.ask(old)) == REVOKED
