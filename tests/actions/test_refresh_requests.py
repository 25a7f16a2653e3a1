"""A refresh in a request: where its token may be, by which methods, in which views."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from flask import request
from werkzeug.exceptions import MethodNotAllowed

from flask_authx import (
    AccessTokenRequiredError,
    JWTDecodeError,
    MissingCSRFTokenError,
    RefreshTokenRequiredError,
    RequestToken,
    StoreBusyError,
    TokenPair,
    current_token,
    refresh_reuse_detected,
    session_revoked,
    token_accepted,
)
from tests.support import bearer, parts
from tests.support.answers import (
    ACCESS_COOKIE,
    CSRF,
    FAULT,
    INVALID,
    MALFORMED,
    MISSING,
    NO_CSRF,
    OK,
    REVOKED,
    Outcome,
    ask,
    cookie,
    outcome,
    refresh_cookies,
)
from tests.support.session_sites import Site, heard, pair_in, site

EVERYWHERE = ["headers", "cookies", "json", "query"]


def everywhere(**config: Any) -> tuple[Site, TokenPair]:
    here = site(TOKEN_LOCATION=EVERYWHERE, **config)
    return here, here.log_in()


# Where


def test_from_the_header() -> None:
    here = site()
    assert here.generation(pair_in(here.ask(here.log_in().refresh_token))) == 1


def test_from_json_even_beside_an_access_token_in_the_header() -> None:
    here, pair = everywhere()
    body = {"refresh_token": pair.refresh_token}
    renewed = pair_in(ask(here.app, "POST", "/refresh", json=body))
    assert here.generation(renewed) == 1
    body = {"refresh_token": renewed.refresh_token}
    headers = bearer(renewed.access_token)
    response = ask(here.app, "POST", "/refresh", json=body, headers=headers)
    assert here.generation(pair_in(response)) == 2


def test_from_a_cookie_with_its_csrf_value_alone() -> None:
    """USERS 66, SECURITY A.13 247"""
    here, pair = everywhere()
    csrf: str = parts(pair.refresh_token)[1]["csrf"]
    headers = cookie(*refresh_cookies(pair.refresh_token), (ACCESS_COOKIE, pair.access_token))
    assert outcome(ask(here.app, "POST", "/refresh", headers=headers)) == NO_CSRF
    for wrong in ("x", parts(pair.access_token)[1]["csrf"]):
        refused = {**headers, "X-CSRF-TOKEN": wrong}
        assert outcome(ask(here.app, "POST", "/refresh", headers=refused)) == CSRF
    # A page of another site has refreshed nothing by that.
    assert here.row(pair).generation == 0
    headers["X-CSRF-TOKEN"] = csrf
    renewed = pair_in(ask(here.app, "POST", "/refresh", headers=headers))
    assert here.generation(renewed) == 1
    # It is the session's, so that a form in another tab stays valid.
    assert parts(renewed.refresh_token)[1]["csrf"] == csrf
    for old, new in ((pair, renewed),):
        assert parts(old.access_token)[1]["csrf"] == parts(new.access_token)[1]["csrf"]


def test_there_must_be_one_and_one_alone() -> None:
    """SECURITY A.18 320"""
    here, pair = everywhere()
    assert outcome(ask(here.app, "POST", "/refresh")) == MISSING
    body = {"refresh_token": pair.refresh_token}
    path = f"/refresh?token={here.log_in().refresh_token}"
    headers = bearer(here.log_in().refresh_token)
    assert outcome(ask(here.app, "POST", path, headers=headers)) == MALFORMED
    # What is named for it comes first.
    assert outcome(ask(here.app, "POST", "/refresh", json=body, headers=headers)) == OK


def test_an_access_token_refreshes_nothing_and_a_refresh_token_opens_nothing() -> None:
    here = site()
    pair = here.log_in()
    assert outcome(here.ask(pair.access_token)) == Outcome(401, RefreshTokenRequiredError.__name__)
    refused = here.ask(pair.refresh_token, path="/guarded")
    assert outcome(refused) == Outcome(401, AccessTokenRequiredError.__name__)


# By which methods


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_no_safe_method_refreshes(method: str) -> None:
    """SECURITY A.13 246: any page can make a browser send one."""
    here, pair = everywhere()
    headers = cookie(*refresh_cookies(pair.refresh_token))
    here.reset()
    for sent in (headers, bearer(pair.refresh_token)):
        response = ask(here.app, method, "/refresh", headers=sent)
        assert outcome(response) == Outcome(405)
        assert response.headers["Allow"] == "POST"
    assert (here.revocations.calls, here.logins.calls) == ([], [])


def test_nor_does_one_that_is_given_the_token() -> None:
    here = site()
    token = here.log_in().refresh_token
    with here.app.test_request_context("/"), pytest.raises(MethodNotAllowed):
        here.authx.refresh(token)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_any_other_does(method: str) -> None:
    here = site()
    assert outcome(here.ask(here.log_in().refresh_token, method)) == OK


def test_the_response_is_kept_by_no_cache() -> None:
    here = site()
    response = here.ask(here.log_in().refresh_token)
    assert response.headers["Cache-Control"] == "no-store"


# Given the token


def test_a_token_that_is_given_needs_no_request() -> None:
    here = site()
    pair = here.log_in()
    with heard(token_accepted) as accepted:
        assert here.generation(here.renew(pair.refresh_token)) == 1
    jti = here.token(pair.refresh_token).jti
    assert [(one["jti"], one["type"]) for one in accepted.times] == [(jti, "refresh")]
    with here.app.app_context(), pytest.raises(RuntimeError):
        # There is none to take it from.
        here.authx.refresh()


def test_one_that_was_found_in_a_cookie_needs_its_csrf_value() -> None:
    here, pair = everywhere()
    csrf: str = parts(pair.refresh_token)[1]["csrf"]
    found = RequestToken(pair.refresh_token, csrf, "refresh", "cookies")
    with here.app.app_context():
        with pytest.raises(MissingCSRFTokenError):
            here.authx.refresh(RequestToken(pair.refresh_token, None, "refresh", "cookies"))
        # Outside of a request nothing shows that the browser has its companion.
        with pytest.raises(JWTDecodeError):
            here.authx.refresh(found)
    headers = cookie(*refresh_cookies(pair.refresh_token))
    with here.app.test_request_context(method="POST", headers=headers):
        assert here.generation(here.authx.refresh(found)) == 1


def test_a_given_token_goes_before_the_requests_own_and_changes_no_identity() -> None:
    here = site()
    ann, bob = here.log_in("ann"), here.log_in("bob")

    @here.app.post("/on-behalf")
    @here.authx.token_required
    def on_behalf() -> dict[str, Any]:
        pair = here.authx.refresh(request.get_data(as_text=True))
        return {**pair.to_dict(), "token_type": current_token.sub}

    headers = bearer(ann.access_token)
    response = ask(here.app, "POST", "/on-behalf", headers=headers, data=bob.refresh_token)
    renewed = pair_in(response)
    assert renewed.token_type == "ann"
    assert here.token(renewed.access_token).sub == "bob"


# In which views


def test_below_a_guard_it_is_verified_once() -> None:
    here = site()
    here.users_by(lambda uid: uid)

    @here.app.post("/below")
    @here.authx.refresh_token_required
    def below() -> dict[str, Any]:
        return here.authx.refresh().to_dict()

    pair = here.log_in()
    here.reset()
    assert here.generation(pair_in(here.ask(pair.refresh_token, path="/below"))) == 1
    # The guard itself refuses one that has been replaced, so it reads the row as well.
    assert (here.revocations.calls, here.logins.calls) == (["find"], ["get", "get", "move"])


@pytest.mark.parametrize("guarded", [False, True])
@pytest.mark.parametrize("async_callbacks", [False, True])
def test_in_an_async_view(guarded: bool, async_callbacks: bool) -> None:
    here = site()
    revoked = False
    users = {"ann"}
    if async_callbacks:

        @here.authx.token_blocklist
        async def is_revoked(token: str) -> bool:
            await asyncio.sleep(0)
            return revoked

        @here.authx.set_callback_get_model_instance
        async def load(uid: str) -> str | None:
            await asyncio.sleep(0)
            return uid if uid in users else None

    else:
        here.revoked_by(lambda token: revoked)
        here.users_by(lambda uid: uid if uid in users else None)

    async def view() -> dict[str, Any]:
        await asyncio.sleep(0)
        return here.authx.refresh().to_dict()

    wrapped = here.authx.refresh_token_required(view) if guarded else view
    here.app.add_url_rule("/async", "async", wrapped, methods=["POST"])
    pair = pair_in(here.ask(here.log_in().refresh_token, path="/async"))
    assert here.generation(pair) == 1
    revoked = True
    assert outcome(here.ask(pair.refresh_token, path="/async")) == REVOKED
    assert here.row(pair).generation == 1
    revoked = False
    users.clear()
    assert outcome(here.ask(pair.refresh_token, path="/async")) == INVALID
    assert not here.is_kept(pair)


def test_a_revocation_callback_is_asked_beside_the_store() -> None:
    here = site()
    revoked: Any = False
    here.revoked_by(lambda token: revoked)
    pair = here.log_in()
    revoked = None
    assert outcome(here.ask(pair.refresh_token)) == FAULT
    revoked = True
    assert outcome(here.ask(pair.refresh_token)) == REVOKED
    revoked = False
    assert here.generation(here.renew(pair.refresh_token)) == 1


# Refresh tokens at guards, beside the rotation, and revoked by themselves


def guarded() -> Site:
    here = site()

    @here.app.post("/below")
    @here.authx.refresh_token_required
    def below() -> dict[str, str]:
        return {"sub": current_token.sub}

    return here


def below(here: Site, token: str) -> Any:
    return outcome(here.ask(token, path="/below"))


def test_a_guard_lets_the_current_one_pass_and_the_one_before_within_the_grace() -> None:
    here = guarded()
    first = here.log_in()
    assert below(here, first.refresh_token) == OK
    second = here.renew(first.refresh_token)
    assert below(here, first.refresh_token) == below(here, second.refresh_token) == OK


def test_a_replaced_token_at_a_guard_is_a_reuse() -> None:
    """RFC 9700 section 4.14.2: wherever it is used."""
    here = guarded()
    first = here.log_in()
    second = here.renew(first.refresh_token)
    here.clock.advance(61)
    with heard(refresh_reuse_detected) as reuse, heard(session_revoked) as revoked:
        assert below(here, first.refresh_token) == REVOKED
    assert len(reuse.times) == len(revoked.times) == 1
    assert below(here, second.refresh_token) == REVOKED
    assert not here.accepts(second)


def test_while_the_store_of_sessions_fails_the_guard_refuses_with_503() -> None:
    here = guarded()
    pair = here.log_in()
    here.logins.fail("get", error=StoreBusyError("busy"))
    assert below(here, pair.refresh_token) == FAULT
    here.logins.heal()
    assert below(here, pair.refresh_token) == OK


def test_no_access_token_is_created_beside_the_rotation() -> None:
    here = guarded()
    pair = here.log_in()
    with here.app.app_context():
        refresh = here.authx.decode_token(pair.refresh_token)
        with pytest.raises(RuntimeError, match=r"authx\.refresh\(\)"):
            here.authx.create_access_token("ann", login=refresh)
        access = here.authx.decode_token(pair.access_token)
        assert here.authx.create_access_token("ann", login=access)


def test_a_refresh_token_is_revoked_with_its_session() -> None:
    """RFC 7009 section 2.1: its predecessor would get another one."""
    here = guarded()
    first = here.log_in()
    second = here.renew(first.refresh_token)
    with here.app.app_context():
        here.authx.revoke_token(second.refresh_token)
    assert outcome(here.ask(first.refresh_token)) == REVOKED
    assert not here.accepts(second)
    assert here.listed() == []


def test_an_access_token_is_revoked_alone() -> None:
    here = guarded()
    pair = here.log_in()
    with here.app.app_context():
        here.authx.revoke_token(pair.access_token)
    assert not here.accepts(pair)
    assert outcome(here.ask(pair.refresh_token)) == OK


def test_a_revoked_session_is_not_revoked_again() -> None:
    """Else a token that expired long ago fills the audit trail."""
    here = guarded()
    pair = here.log_in()
    with heard(session_revoked) as revoked:
        for _ in range(3):
            assert here.app.test_client().post(
                "/logout", headers=bearer(pair.access_token)
            ).status_code in (200, 204)
    assert len(revoked.times) == 1


def test_a_revoked_access_token_logs_its_session_out() -> None:
    here = guarded()
    pair = here.log_in()
    with here.app.app_context():
        here.authx.revoke_token(pair.access_token)
    here.app.test_client().post("/logout", headers=bearer(pair.access_token))
    assert outcome(here.ask(pair.refresh_token)) == REVOKED


def test_an_expired_refresh_token_is_revoked_with_its_session() -> None:
    """Those after it live on."""
    here = guarded()
    first = here.log_in()
    here.clock.advance(86400)
    second = here.renew(first.refresh_token)
    here.clock.advance(19 * 86400 + 60)
    with here.app.app_context():
        here.authx.revoke_token(first.refresh_token)
    assert outcome(here.ask(second.refresh_token)) == REVOKED


def test_reauthenticate_creates_nothing_beside_the_rotation() -> None:
    here = guarded()

    @here.app.post("/again")
    @here.authx.refresh_token_required
    def again() -> str:
        with pytest.raises(RuntimeError, match=r"authx\.refresh\(\)"):
            here.authx.reauthenticate("ann")
        return ""

    assert outcome(here.ask(here.log_in().refresh_token, path="/again")) == OK


def test_no_token_outlives_the_idle_end_of_its_session() -> None:
    here = site(ACCESS_TOKEN_EXPIRES=3600, REFRESH_TOKEN_EXPIRES=600)
    pair = here.log_in()
    assert pair.expires_in == 600
    with here.app.app_context():
        access = here.authx.decode_token(pair.access_token)
        token = here.authx.decode_token(here.authx.create_access_token("ann", login=access))
    assert token.exp - token.iat == 600
