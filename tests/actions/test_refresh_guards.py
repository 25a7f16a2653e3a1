"""Refresh tokens at guards, beside the rotation, and revoked by themselves."""

from __future__ import annotations

from typing import Any

import pytest

from flask_authx import StoreBusyError, current_token, refresh_reuse_detected, session_revoked
from tests.support import bearer
from tests.support.answers import FAULT, OK, REVOKED, outcome
from tests.support.session_sites import Site, heard, site


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


def test_a_replaced_one_at_a_guard_gives_itself_away() -> None:
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


def test_where_the_store_of_logins_can_not_say_the_guard_refuses_with_503() -> None:
    here = guarded()
    pair = here.log_in()
    here.logins.fail("get", error=StoreBusyError("busy"))
    assert below(here, pair.refresh_token) == FAULT
    here.logins.heal()
    assert below(here, pair.refresh_token) == OK


def test_no_access_token_is_minted_beside_the_rotation() -> None:
    here = guarded()
    pair = here.log_in()
    with here.app.app_context():
        refresh = here.authx.decode_token(pair.refresh_token)
        with pytest.raises(RuntimeError, match=r"authx\.refresh\(\)"):
            here.authx.create_access_token("ann", login=refresh)
        access = here.authx.decode_token(pair.access_token)
        assert here.authx.create_access_token("ann", login=access)


def test_a_refresh_token_is_revoked_with_its_login() -> None:
    """RFC 7009 section 2.1: its predecessor would be answered with another one."""
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


def test_a_login_that_is_over_is_not_ended_again() -> None:
    """Else a token that expired long ago fills the audit trail."""
    here = guarded()
    pair = here.log_in()
    with heard(session_revoked) as revoked:
        for _ in range(3):
            assert here.app.test_client().post(
                "/logout", headers=bearer(pair.access_token)
            ).status_code in (200, 204)
    assert len(revoked.times) == 1


def test_a_login_is_ended_by_an_access_token_that_is_revoked_itself() -> None:
    here = guarded()
    pair = here.log_in()
    with here.app.app_context():
        here.authx.revoke_token(pair.access_token)
    here.app.test_client().post("/logout", headers=bearer(pair.access_token))
    assert outcome(here.ask(pair.refresh_token)) == REVOKED


def test_an_expired_refresh_token_is_revoked_with_its_login_all_the_same() -> None:
    """Those after it live on."""
    here = guarded()
    first = here.log_in()
    here.clock.advance(86400)
    second = here.renew(first.refresh_token)
    here.clock.advance(19 * 86400 + 60)
    with here.app.app_context():
        here.authx.revoke_token(first.refresh_token)
    assert outcome(here.ask(second.refresh_token)) == REVOKED


def test_nothing_is_minted_beside_the_rotation_for_who_has_proved_it_again() -> None:
    here = guarded()

    @here.app.post("/again")
    @here.authx.refresh_token_required
    def again() -> str:
        with pytest.raises(RuntimeError, match=r"authx\.refresh\(\)"):
            here.authx.reauthenticate("ann")
        return ""

    assert here.ask(here.log_in().refresh_token, path="/again").status_code == 200


def test_no_token_of_a_login_outlives_its_idle_end() -> None:
    here = site(ACCESS_TOKEN_EXPIRES=3600, REFRESH_TOKEN_EXPIRES=600)
    pair = here.log_in()
    assert pair.expires_in == 600
    with here.app.app_context():
        access = here.authx.decode_token(pair.access_token)
        token = here.authx.decode_token(here.authx.create_access_token("ann", login=access))
    assert token.exp - token.iat == 600
