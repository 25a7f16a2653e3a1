"""A user with very many sessions: their list is bounded, and delays no one else's refresh."""

from __future__ import annotations

import pytest

from flask_authx import StoreUnavailableError, store_failed
from flask_authx.stores.circuit_breaker import CircuitBreaker
from tests.support.session_sites import heard, site


@pytest.mark.parametrize(("most", "limit"), [(0, 1000), (1, 201), (100, 300)])
def test_no_call_reads_more_of_a_user_s_rows_than_so_many(most: int, limit: int) -> None:
    here = site(MAX_SESSIONS=most)
    pair = here.log_in()
    here.logins.limits.clear()
    with here.app.app_context():
        here.authx.sessions("ann")
        here.authx.revoke_subject("ann", keep=here.sid(pair))
    here.log_in()
    assert here.logins.limits == [limit] * (3 if most else 2)


def test_the_newest_sessions_are_listed() -> None:
    here = site(MAX_SESSIONS=0)
    sids = [here.sid(here.log_in()) for _ in range(1003)]
    assert set(here.listed()) == set(sids[3:])


def test_a_session_that_is_opened_after_a_log_out_everywhere_is_listed() -> None:
    """The rows of the others remain: only a hundred are removed."""
    here = site(MAX_SESSIONS=0)
    for _ in range(1200):
        here.log_in()
    with here.app.app_context():
        here.authx.revoke_subject("ann")
    assert here.listed() == []
    new = here.sid(here.log_in())
    assert here.listed() == [new]


def test_lists_that_fail_close_no_other_way() -> None:
    here = site(MAX_SESSIONS=0)
    pair = here.log_in()
    here.logins.fail("of", error=TimeoutError("very many"))
    with heard(store_failed) as failed, here.app.app_context():
        for _ in range(2 * CircuitBreaker.IN_A_ROW):
            with pytest.raises(StoreUnavailableError):
                here.authx.sessions("ann")
    assert [(one["store"], one["operation"]) for one in failed.times] == [("sessions", "list")]
    again = here.renew(pair.refresh_token)
    with here.app.app_context():
        assert here.authx.session(here.sid(again)) is not None
    # Those are not even tried for a second.
    assert here.logins.calls.count("of") == CircuitBreaker.IN_A_ROW
