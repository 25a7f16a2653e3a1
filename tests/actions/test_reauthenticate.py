"""Step-up: ``max_age=`` on fresh tokens (RFC 9470), and ``authx.reauthenticate()``."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from flask import request

from flask_authx import (
    BadConfigurationError,
    FreshTokenRequiredError,
    RevokedTokenError,
    StoreUnavailableError,
    current_token,
    token_refused,
)
from tests.support import NOW, Clock, access_token, bearer, make_app, parts, reforge
from tests.support.answers import FAULT, MISSING, OK, REVOKED, ask, outcome
from tests.support.session_sites import Site, heard, site

AT = int(NOW)
STALE = (401, "FreshTokenRequiredError")


def view() -> dict[str, str]:
    """A view that says nothing."""
    return {}


def step_up(**config: Any) -> Site:
    """An app with ``/sudo`` for log-ins of the last 300 seconds, and ``/again``."""
    here = site(**config)

    @here.app.get("/sudo")
    @here.authx.fresh_token_required(max_age=300)
    def sudo() -> dict[str, str]:
        return {"sub": current_token.sub}

    @here.app.post("/again")
    @here.authx.token_required
    def again() -> dict[str, str]:
        return {"access": here.authx.reauthenticate(request.get_data(as_text=True))}

    return here


def sudo(here: Site, token: str) -> Any:
    return outcome(here.ask(token, "GET", "/sudo"))


def again(here: Site, token: str, uid: str = "ann") -> str:
    """The token that a user gets who has proved it again."""
    response = ask(here.app, "POST", "/again", headers=bearer(token), data=uid)
    body: Any = response.get_json()
    assert outcome(response) == OK
    assert response.headers["Cache-Control"] == "no-store"
    access: str = body["access"]
    return access


# The age


@pytest.mark.parametrize(
    ("after", "expected"), [(0, OK), (300, OK), (309, OK), (310, OK), (310.5, STALE), (311, STALE)]
)
def test_a_log_in_is_fresh_until_max_age_and_the_leeway(after: float, expected: Any) -> None:
    """SECURITY A.11 195"""
    here = step_up()
    token = here.log_in().access_token
    here.clock.advance(after)
    assert sudo(here, token) == expected
    # It is the view that wants more.
    assert outcome(here.ask(token, "GET", "/guarded")) == OK


def test_the_challenge_names_the_max_age() -> None:
    """RFC 9470 section 3"""
    here = step_up()
    token = here.log_in().access_token
    here.clock.advance(311)
    response = here.ask(token, "GET", "/sudo")
    assert response.headers["WWW-Authenticate"] == (
        'Bearer realm="api", error="insufficient_user_authentication", '
        'error_description="A fresh token is required", max_age="300"'
    )


def test_without_an_age_the_challenge_names_none() -> None:
    here = site()
    here.app.add_url_rule("/fresh", "fresh", here.authx.fresh_token_required(view))
    pair = here.log_in()
    here.clock.advance(800)
    # However long ago, until the token expires.
    assert outcome(here.ask(pair.access_token, "GET", "/fresh")) == OK
    response = here.ask(here.renew(pair.refresh_token).access_token, "GET", "/fresh")
    assert outcome(response) == STALE
    assert "max_age" not in response.headers["WWW-Authenticate"]


def test_a_refreshed_token_is_not_fresh() -> None:
    here = step_up()
    assert sudo(here, here.renew(here.log_in().refresh_token).access_token) == STALE


@pytest.mark.parametrize("age", [60, timedelta(minutes=1), "1m"])
@pytest.mark.parametrize("how", ["fresh_token_required", "token_required"])
def test_the_age_may_be_given_to_either_guard_in_any_way(age: Any, how: str) -> None:
    here = site()
    more = {"fresh": True} if how == "token_required" else {}
    guard: Any = getattr(here.authx, how)(max_age=age, **more)
    here.app.add_url_rule("/view", "view", guard(view))
    token = here.log_in().access_token
    here.clock.advance(70)
    assert outcome(here.ask(token, "GET", "/view")) == OK
    here.clock.advance(1)
    response = here.ask(token, "GET", "/view")
    assert outcome(response) == STALE
    assert 'max_age="60"' in response.headers["WWW-Authenticate"]


def test_a_max_age_of_0_needs_a_log_in_at_this_moment() -> None:
    app, authx = make_app()
    app.add_url_rule("/now", "now", authx.fresh_token_required(max_age=0)(view))
    token = access_token(app, authx, fresh=True)
    assert outcome(ask(app, path="/now", headers=bearer(token))) == OK
    for ago, expected in ((10, OK), (11, STALE)):
        older = reforge(token, iat=AT - ago)
        assert outcome(ask(app, path="/now", headers=bearer(older))) == expected


def test_an_age_without_fresh_and_one_that_is_none_are_refused_at_the_start() -> None:
    _, authx = make_app()
    with pytest.raises(BadConfigurationError, match="max_age= needs fresh=True"):
        authx.token_required(max_age=5)
    for age in (-1, 0.5, True, "soon"):
        guard: Any = authx.fresh_token_required
        with pytest.raises(ValueError, match="set it to"):
            guard(max_age=age)


def test_a_revoked_token_is_refused_as_revoked_first() -> None:
    here = step_up()
    token = here.log_in().access_token
    here.clock.advance(301)
    with here.app.app_context():
        here.authx.revoke_subject("ann")
    assert sudo(here, token) == REVOKED


# Proving it again


def test_the_same_session_gets_a_fresh_token() -> None:
    here = step_up()
    pair = here.renew(here.log_in().refresh_token)
    here.clock.advance(500)
    assert sudo(here, pair.access_token) == STALE
    here.reset()
    fresh = again(here, pair.access_token)
    # Nothing is written for it. Beside what any guard asks, the row says when the session ends.
    assert (here.revocations.calls, here.logins.calls) == (["find"], ["get"])
    assert sudo(here, fresh) == OK
    token, before = here.token(fresh), here.token(pair.access_token)
    assert token.fresh
    assert (token.sid, token.auth_time, token.sub) == (before.sid, AT, "ann")
    assert (token.iat, token.exp) == (AT + 500, AT + 500 + 900)
    assert token.jti != before.jti
    assert here.listed() == [token.sid]
    here.clock.advance(311)
    assert sudo(here, fresh) == STALE


def test_the_fresh_token_is_revoked_with_its_session() -> None:
    here = step_up()
    pair = here.log_in()
    fresh = again(here, pair.access_token)
    with here.app.app_context():
        here.authx.revoke_session(here.sid(pair))
    assert sudo(here, fresh) == REVOKED


def test_a_session_without_its_row_gets_no_further_token() -> None:
    here = step_up()
    pair = here.log_in()
    token = here.token(pair.access_token)
    here.logins.lose(here.sid(pair))
    response = ask(here.app, "POST", "/again", headers=bearer(pair.access_token), data="ann")
    assert outcome(response) == REVOKED
    with here.app.app_context(), pytest.raises(RevokedTokenError):
        here.authx.create_access_token("ann", login=token)


def test_while_the_row_can_not_be_read_there_is_no_further_token() -> None:
    here = step_up()
    pair = here.log_in()
    token = here.token(pair.access_token)
    here.logins.fail("get", error=ConnectionError("down"))
    response = ask(here.app, "POST", "/again", headers=bearer(pair.access_token), data="ann")
    assert outcome(response) == FAULT
    with here.app.app_context(), pytest.raises(StoreUnavailableError):
        here.authx.create_access_token("ann", login=token)


def test_the_fresh_token_expires_with_its_session() -> None:
    here = step_up(SESSION_LIFETIME=1000, ACCESS_TOKEN_EXPIRES=900)
    pair = here.log_in()
    here.clock.advance(600)
    fresh = again(here, pair.access_token)
    assert here.token(fresh).exp == AT + 1000
    here.clock.advance(299)
    assert here.token(again(here, fresh)).exp == AT + 1000


def test_scopes_and_audience_stay_as_the_current_tokens() -> None:
    """Re-authentication adds no scopes."""
    here = step_up(DECODE_AUDIENCE="shop")
    pair = here.log_in(scopes=["a", "b"], audience=["shop", "x"])
    narrow = here.renew(pair.refresh_token, scopes=["a"]).access_token
    token = here.token(again(here, narrow))
    assert token.scopes == {"a"}
    assert token.aud == {"shop", "x"}


@pytest.mark.parametrize("callback", [False, True])
def test_claims_go_on_or_are_said_anew(callback: bool) -> None:
    here = step_up()
    pair = here.log_in(data={"plan": "free"})
    if callback:
        here.claims_by(lambda uid: {"level": 2})
    claims = here.token(again(here, pair.access_token)).claims
    assert claims.get("plan") == (None if callback else "free")
    assert claims.get("level") == (2 if callback else None)


def test_another_users_password_proves_nothing() -> None:
    """Re-authentication is bound to the same subject."""
    here = step_up()
    pair = here.log_in("ann")
    with heard(token_refused) as refused:
        response = ask(here.app, "POST", "/again", headers=bearer(pair.access_token), data="bob")
    assert outcome(response) == STALE
    [told] = refused.times
    assert (type(told["error"]), told["sub"]) == (FreshTokenRequiredError, "ann")


def test_a_number_is_the_user_that_tokens_name_by_it() -> None:
    here = site()

    @here.app.post("/again")
    @here.authx.token_required
    def seventh() -> dict[str, str]:
        return {"access": here.authx.reauthenticate(7)}

    assert again(here, here.log_in(7).access_token)


def test_reauthenticate_needs_a_guarded_request() -> None:
    here = step_up()

    assert outcome(ask(here.app, "POST", "/again", data="ann")) == MISSING
    # Not in a view that nothing guards, nor outside of a request.
    for context in (here.app.test_request_context("/open", method="POST"), here.app.app_context()):
        with context, pytest.raises(RuntimeError, match="guard the view"):
            here.authx.reauthenticate("ann")


def test_it_works_in_an_async_view() -> None:
    here = site()

    @here.app.post("/again")
    @here.authx.token_required
    async def prove() -> dict[str, str]:
        await asyncio.sleep(0)
        return {"access": here.authx.reauthenticate(current_token.sub)}

    assert here.token(again(here, here.log_in().access_token)).fresh


def test_it_works_without_a_store_of_sessions() -> None:
    app, authx = make_app()

    @app.post("/again")
    @authx.token_required
    def prove() -> dict[str, str]:
        return {"access": authx.reauthenticate(current_token.sub)}

    token = access_token(app, authx)
    body: Any = ask(app, "POST", "/again", headers=bearer(token)).get_json()
    fresh, before = parts(body["access"])[1], parts(token)[1]
    assert fresh["fresh"]
    assert (fresh["sid"], fresh["auth_time"]) == (before["sid"], before["auth_time"])


def test_without_a_store_a_session_has_no_end() -> None:
    """``JWT_SESSION_LIFETIME`` is about sessions in a store."""
    clock = Clock()
    app, authx = make_app(clock=clock)

    @app.post("/again")
    @authx.token_required
    def prove() -> dict[str, str]:
        return {"access": authx.reauthenticate(current_token.sub)}

    first = access_token(app, authx)
    clock.advance(100 * 86400)
    later = reforge(first, iat=int(clock.now), nbf=int(clock.now), exp=int(clock.now) + 900)
    body: Any = ask(app, "POST", "/again", headers=bearer(later)).get_json()
    claims = parts(body["access"])[1]
    assert claims["auth_time"] == AT
    assert claims["exp"] == int(clock.now) + 900


def test_it_may_last_longer_or_shorter_than_other_access_tokens() -> None:
    """Where these last for seconds, the next form must still be filled in."""
    here = step_up(ACCESS_TOKEN_EXPIRES=10)

    @here.app.post("/for-long")
    @here.authx.token_required
    def for_long() -> dict[str, str]:
        return {"access": here.authx.reauthenticate("ann", expiry=timedelta(minutes=5))}

    pair = here.log_in()
    body: Any = ask(here.app, "POST", "/for-long", headers=bearer(pair.access_token)).get_json()
    here.clock.advance(299)
    assert sudo(here, body["access"]) == OK
    here.clock.advance(20)
    assert sudo(here, body["access"]) == (401, "TokenExpiredError")
