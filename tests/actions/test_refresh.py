"""``authx.refresh()``: what the new tokens say, what it costs, and which sessions have ended."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from flask_authx import (
    InsufficientScopeError,
    RevokedTokenError,
    SubjectNotFoundError,
    TokenExpiredError,
    TokenPair,
    session_revoked,
    token_refused,
)
from flask_authx.tracebacks import OutlinedError
from tests.support import NOW, parts, refresh_token
from tests.support.answers import INVALID, OK, REVOKED, Outcome, outcome
from tests.support.corpus import by_repr, check_all
from tests.support.session_sites import Site, heard, pair_in, site
from tests.support.spy_store import store_app

AT = int(NOW)


DAY = 86400


def test_the_session_goes_on_with_the_next_generation() -> None:
    """USERS 51, 59"""
    here = site()
    pair = here.log_in(name="phone")
    for generation in range(1, 4):
        here.clock.advance(1000)
        old, pair = pair, pair_in(here.ask(pair.refresh_token))
        before, after = here.token(old.refresh_token), here.token(pair.refresh_token)
        access = here.token(pair.access_token)
        assert here.sid(pair) == after.sid == before.sid
        assert access.auth_time == after.auth_time == before.auth_time == AT
        assert len({access.jti, after.jti, before.jti}) == 3
        assert access.iat == after.iat == AT + generation * 1000
        row = here.row(pair)
        assert row.generation == here.generation(pair) == generation
        assert row.last_seen == row.rotated_at == after.iat
        assert row.expires == after.exp == after.iat + 20 * DAY
        assert (row.created, row.ends, row.name) == (AT, AT + 90 * DAY, "phone")
        assert here.accepts(pair)


def test_all_tokens_of_a_session_note_the_cut_off_of_the_scope_at_its_log_in() -> None:
    here = site()
    with here.app.app_context():
        here.authx.revoke_all()
    pair = here.log_in()
    renewed = here.renew(pair.refresh_token)
    with here.app.app_context():
        further = here.authx.create_access_token("ann", login=here.token(pair.access_token))
    both = [(one.access_token, one.refresh_token) for one in (pair, renewed)]
    tokens = [*both[0], *both[1], further]
    [mark] = here.revocations.marks.values()
    assert here.row(pair).epoch == mark.cutoff.until
    for raw in tokens:
        assert parts(raw)[1]["auth_epoch"].split(".")[1] == str(mark.cutoff.until)
        assert not is_revoked(here, raw)
    with here.app.app_context():
        here.authx.revoke_all()
    for raw in tokens:
        assert is_revoked(here, raw)
    assert here.listed() == []


def is_revoked(here: Site, raw: str) -> bool:
    with here.app.app_context():
        return here.authx.is_revoked(raw)


def test_the_access_token_is_not_fresh() -> None:
    here = site()
    pair = here.log_in(fresh=True)
    assert not here.token(here.renew(pair.refresh_token).access_token).fresh


def test_an_access_token_from_before_goes_on_until_it_expires() -> None:
    here = site()
    pair = here.log_in()
    here.renew(pair.refresh_token)
    assert here.accepts(pair)


def test_it_costs_one_look_up_one_row_and_one_write() -> None:
    here = site()
    pair = here.log_in()
    here.reset()
    pair_in(here.ask(pair.refresh_token))
    assert (here.revocations.calls, here.logins.calls) == (["find"], ["get", "move"])
    # Outside of a request, and for the predecessor, which writes nothing.
    here.reset()
    here.renew(pair.refresh_token)
    assert (here.revocations.calls, here.logins.calls) == (["find"], ["get"])


def test_a_session_is_one_row_however_often_it_is_refreshed() -> None:
    """SECURITY A.13 248"""
    here = site()
    pair = here.log_in()
    for _ in range(100):
        pair = here.renew(pair.refresh_token)
    assert here.generation(pair) == here.row(pair).generation == 100
    assert here.listed() == [here.sid(pair)]
    assert here.logins.calls.count("open") == 1
    assert here.revocations.added == []


def test_a_token_without_a_valid_signature_costs_nothing_and_revokes_nothing() -> None:
    """DESIGN 5.1, SECURITY A.13 238"""
    here = site()
    pair = here.log_in()
    here.reset()
    assert outcome(here.ask(pair.refresh_token[:-4] + "AAAA")) == INVALID
    assert outcome(here.ask("x.y.z")) == INVALID
    assert outcome(here.ask(pair.access_token)) == Outcome(401, "RefreshTokenRequiredError")
    assert (here.revocations.calls, here.logins.calls) == ([], [])
    assert here.generation(here.renew(pair.refresh_token)) == 1


# Claims


def test_the_apps_claims_go_on_where_no_callback_says_them_anew() -> None:
    here = site()
    pair = here.log_in(data={"plan": "free", "n": [1, {"a": None}]})
    for _ in range(2):
        pair = here.renew(pair.refresh_token)
        for raw in (pair.access_token, pair.refresh_token):
            claims = here.token(raw).claims
            assert (claims["plan"], claims["n"]) == ("free", [1, {"a": None}])


def test_with_a_callback_only_what_it_says_now_is_true() -> None:
    """USERS 59, SECURITY A.13 242"""
    here = site()
    plans = {"ann": {"plan": "free", "trial": True}}
    here.claims_by(lambda uid: plans[uid])
    pair = here.log_in(data={"device": "phone"})
    plans["ann"] = {"plan": "paid"}
    pair = here.renew(pair.refresh_token)
    for raw in (pair.access_token, pair.refresh_token):
        claims = here.token(raw).claims
        assert claims["plan"] == "paid"
        assert not {"trial", "device"} & claims.keys()


@pytest.mark.parametrize("callback", [False, True])
def test_data_goes_before_either(callback: bool) -> None:
    here = site()
    if callback:
        here.claims_by(lambda uid: {"plan": "free", "by": "callback"})
    pair = here.log_in(data={"plan": "old", "device": "phone"})
    claims = here.token(here.renew(pair.refresh_token, data={"plan": "new"}).access_token).claims
    assert claims["plan"] == "new"
    assert "device" not in claims
    assert claims.get("by") == ("callback" if callback else None)
    # Nothing is something else than not saying.
    claims = here.token(here.renew(pair.refresh_token, data={}).access_token).claims
    assert claims.get("plan") == ("free" if callback else None)


def test_reserved_names_stay_reserved_and_consume_nothing() -> None:
    here = site()
    pair = here.log_in()
    with pytest.raises(ValueError, match="gen"):
        here.renew(pair.refresh_token, data={"gen": 9})
    assert here.row(pair).generation == 0


def test_a_claims_callback_that_fails_consumes_nothing() -> None:
    here = site()
    fails = True

    @here.authx.set_callback_additional_claims
    def claims(uid: str) -> dict[str, Any]:
        if fails:
            raise LookupError(uid)
        return {}

    fails = False
    pair = here.log_in()
    fails = True
    with pytest.raises(LookupError):
        here.renew(pair.refresh_token)
    fails = False
    assert here.generation(here.renew(pair.refresh_token)) == 1


# Scopes and audience


def test_scopes_and_audience_stay_as_they_were() -> None:
    here = site(DECODE_AUDIENCE=["shop", "admin"], ENCODE_AUDIENCE="admin")
    pair = here.log_in(scopes=["a", "b:*"], audience=["shop", "x"])
    for _ in range(3):
        pair = here.renew(pair.refresh_token)
        for raw in (pair.access_token, pair.refresh_token):
            assert here.token(raw).scopes == {"a", "b:*"}
            assert here.token(raw).aud == {"shop", "x"}


@pytest.mark.parametrize(
    ("asked", "given"), [(["a"], {"a"}), (["b:c"], {"b:c"}), (["b:c", "a"], {"a", "b:c"}), ([], ())]
)
def test_the_access_token_may_have_fewer_scopes_and_the_session_keeps_all(
    asked: Any, given: Any
) -> None:
    here = site()
    pair = here.renew(here.log_in(scopes=["a", "b:*"]).refresh_token, scopes=asked)
    assert here.token(pair.access_token).scopes == frozenset(given)
    assert here.token(pair.refresh_token).scopes == {"a", "b:*"}
    assert here.token(here.renew(pair.refresh_token).access_token).scopes == {"a", "b:*"}


def test_scopes_never_grow() -> None:
    """SECURITY A.13 241, RFC 6749 section 6"""

    def check(case: tuple[Any, list[str]]) -> None:
        held, asked = case
        here = site()
        pair = here.log_in(scopes=held)
        with heard(token_refused) as refused, pytest.raises(InsufficientScopeError) as caught:
            here.renew(pair.refresh_token, scopes=asked)
        assert caught.value.required == tuple(asked)
        assert [one["sid"] for one in refused.times] == [here.sid(pair)]
        # Nothing was consumed.
        assert here.row(pair).generation == 0
        assert here.generation(here.renew(pair.refresh_token)) == 1

    check_all(
        by_repr(
            itertools.product(
                [None, ["a"], ["a", "b:c"], ["a:*"]], [["b:*"], ["a", "d"], ["A"], ["*"]]
            )
        ),
        check,
    )


def test_scopes_that_can_be_none_are_the_programmers_mistake() -> None:
    here = site()
    pair = here.log_in(scopes=["a", "b"])
    with pytest.raises(TypeError, match="as a list"):
        here.renew(pair.refresh_token, scopes="a b")
    with pytest.raises(ValueError, match="can't be a scope"):
        here.renew(pair.refresh_token, scopes=["a b"])


# How long


def test_each_refresh_starts_the_idle_time_anew_up_to_the_absolute_end() -> None:
    """USERS 57, SECURITY A.5 107, A.13 249"""
    here = site(REFRESH_TOKEN_EXPIRES=100, SESSION_LIFETIME=250, ACCESS_TOKEN_EXPIRES=60)
    pair = here.log_in()
    ends: list[tuple[int, int]] = []
    for _ in range(3):
        here.clock.advance(80)
        pair = here.renew(pair.refresh_token)
        exps = (here.token(pair.access_token).exp, here.token(pair.refresh_token).exp)
        ends.append((exps[0] - AT, exps[1] - AT))
        assert here.row(pair).expires == exps[1]
    # No token goes on after the end of its session.
    assert ends == [(140, 180), (220, 250), (250, 250)]
    assert (pair.expires_in, pair.refresh_expires_in) == (10, 10)
    here.clock.advance(9)
    last = here.renew(pair.refresh_token)
    assert (last.expires_in, last.refresh_expires_in) == (1, 1)
    here.clock.advance(1)
    with pytest.raises(TokenExpiredError):
        here.renew(last.refresh_token)


@pytest.mark.parametrize(("after", "valid"), [(99, True), (99.9, True), (100, False), (105, False)])
def test_an_idle_session_expires_at_its_second_whatever_the_leeway(
    after: float, valid: bool
) -> None:
    """SECURITY A.5 108"""
    here = site(REFRESH_TOKEN_EXPIRES=100, DECODE_LEEWAY=10)
    pair = here.log_in()
    here.clock.advance(after)
    expected = (200, None) if valid else (401, "TokenExpiredError")
    assert outcome(here.ask(pair.refresh_token)) == expected
    assert here.row(pair).generation == int(valid)


# Who


def test_a_deleted_user_is_signed_out() -> None:
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
        # The same response as for any invalid token: it does not tell which users exist.
        assert outcome(here.ask(pair.refresh_token)) == INVALID
    assert [type(one["error"]) for one in refused.times] == [SubjectNotFoundError]
    [told] = revoked.times
    assert (told["sid"], told["actor"]) == (here.sid(pair), "user:ann")
    users["ann"] = "Ann again"
    assert not here.accepts(pair)
    assert not here.is_kept(pair)
    assert outcome(here.ask(pair.refresh_token)) == REVOKED


def test_what_the_user_callback_raises_consumes_nothing() -> None:
    here = site()
    down = True

    @here.authx.set_callback_get_model_instance
    def load(uid: str) -> str:
        if down:
            raise ConnectionError("no database")
        return uid

    pair = here.log_in()
    with pytest.raises(OutlinedError, match="ConnectionError"):
        here.renew(pair.refresh_token)
    assert here.is_kept(pair)
    down = False
    assert here.generation(here.renew(pair.refresh_token)) == 1


# Sessions that are revoked or lost


def ended(here: Site, pair: TokenPair, how: str) -> None:
    with here.app.app_context():
        if how == "session":
            here.authx.revoke_session(here.sid(pair))
        elif how == "subject":
            here.authx.revoke_subject("ann")
        elif how == "token":
            here.authx.revoke_token(pair.refresh_token)
    if how == "logout":
        assert outcome(here.ask(pair.access_token, path="/logout")) == OK
    elif how == "lost":
        here.logins.lose(here.sid(pair))


@pytest.mark.parametrize("how", ["session", "subject", "token", "logout", "lost"])
def test_a_revoked_or_lost_session_is_not_refreshed(how: str) -> None:
    here = site()
    pair = here.log_in()
    ended(here, pair, how)
    here.reset()
    assert outcome(here.ask(pair.refresh_token)) == REVOKED
    with pytest.raises(RevokedTokenError):
        here.renew(pair.refresh_token)
    assert "move" not in here.logins.calls


def test_a_refresh_token_from_before_there_were_sessions_is_refused() -> None:
    here = site()
    old = refresh_token(*store_app(here.revocations, here.clock))
    assert "gen" not in here.token(old).claims
    assert outcome(here.ask(old)) == REVOKED
