"""A store of sessions that has lost the last refreshes: it was restored, or a fail-over lost them.

Its owner has the newest token and logs in again. Nobody is taken for a thief.
"""

from __future__ import annotations

import logging
from typing import Any

import pytest
import redis

from flask_authx import (
    ReusedTokenError,
    RevokedTokenError,
    refresh_reuse_detected,
    session_revoked,
)
from flask_authx.stores.lookup_keys import LookupKeys
from tests.support.answers import outcome
from tests.support.databases import app_on, private_server
from tests.support.session_sites import Site, heard, site
from tests.support.spy_store import said

LACKS = "the store of sessions lacks the last refreshes of a session"
REVOKED = (401, "RevokedTokenError")


def behind(here: Site, refreshes: int, kept: int) -> list[str]:
    """The refresh tokens of a session, of whose refreshes the store has kept only the first."""
    pair = here.log_in()
    tokens = [pair.refresh_token]
    restore = here.logins.save()
    for number in range(refreshes):
        if number == kept:
            restore = here.logins.save()
        tokens.append(here.renew(tokens[-1]).refresh_token)
    restore()
    here.reset()
    return tokens


@pytest.mark.parametrize(("refreshes", "kept"), [(1, 0), (2, 1), (5, 0)])
@pytest.mark.parametrize("after", [0, 61])
def test_the_owner_logs_in_again_without_an_alarm(
    refreshes: int, kept: int, after: int, caplog: pytest.LogCaptureFixture
) -> None:
    here = site()
    tokens = behind(here, refreshes, kept)
    here.clock.advance(after)
    caplog.clear()
    with heard(refresh_reuse_detected) as alarms, heard(session_revoked) as ended:
        for _ in range(3):
            assert outcome(here.ask(tokens[-1])) == REVOKED
    assert alarms.times == ended.times == []
    # Once: the row is gone, so that an earlier token is worth nothing either.
    sid = here.token(tokens[0]).sid
    assert [text for text in said(caplog, logging.WARNING) if text.startswith(LACKS)] == [
        f"{LACKS}, which was ended: it was restored, or has lost them in a fail-over: sid={sid}"
    ]
    assert here.listed() == []
    assert outcome(here.ask(tokens[kept])) == REVOKED


def test_a_guard_treats_it_alike() -> None:
    here = site()
    tokens = behind(here, 2, 0)
    with here.app.app_context(), heard(refresh_reuse_detected) as alarms:
        for _ in range(2):
            with pytest.raises(RevokedTokenError) as refused:
                here.authx.verify_token(tokens[-1], type="refresh")
            assert not isinstance(refused.value, ReusedTokenError)
    assert alarms.times == []


def test_a_row_that_can_t_be_removed_accepts_no_later_token() -> None:
    here = site()
    tokens = behind(here, 2, 0)
    here.logins.fail("end", error=TimeoutError("late"))
    with heard(refresh_reuse_detected) as alarms:
        for _ in range(2):
            assert outcome(here.ask(tokens[-1])) == REVOKED
    assert alarms.times == []


def test_what_the_store_knows_to_be_replaced_is_a_reuse_as_ever() -> None:
    here = site()
    tokens = behind(here, 3, 2)
    here.clock.advance(61)
    with heard(refresh_reuse_detected) as alarms:
        assert outcome(here.ask(tokens[1])) == REVOKED
    assert len(alarms.times) == 1


@pytest.mark.slow
def test_redis_restarts_with_a_snapshot_from_before_the_last_refresh() -> None:
    with private_server("redis", "--appendonly", "no") as server:
        app, authx = app_on({"JWT_BLOCKLIST": server.url, "JWT_SESSIONS": True})
        with app.app_context(), heard(refresh_reuse_detected) as alarms:
            pair = authx.login("ann")
            # Many of its commands have no types.
            untyped: Any = redis.Redis
            with untyped.from_url(server.url) as client:
                client.save()
                newest = authx.refresh(pair.refresh_token).refresh_token
                sid = authx.decode_token(newest).sid
                row = f"authx:s:{LookupKeys(None, 'authx').session(sid).hex()}"
                assert client.hget(row, "generation") == b"1"
                server.kill()
                server.start()
            with untyped.from_url(server.url) as client:
                assert client.hget(row, "generation") == b"0"
            for token in (newest, pair.refresh_token):
                with pytest.raises(RevokedTokenError) as refused:
                    authx.refresh(token)
                assert not isinstance(refused.value, ReusedTokenError)
            assert authx.sessions("ann") == []
        assert alarms.times == []
