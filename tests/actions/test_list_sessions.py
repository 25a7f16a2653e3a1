"""``authx.sessions()``, ``name_session()``, and how sessions are revoked."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from flask_authx import (
    Kind,
    StoreBusyError,
    StoreUnavailableError,
    current_token,
    session_revoked,
    subject_revoked,
)
from tests.support import NOW, bearer, make_app
from tests.support.answers import FAULT, OK, REVOKED, ask, outcome
from tests.support.corpus import by_repr, check_all
from tests.support.session_sites import Site, heard, site

AT = int(NOW)
DAY = 86400
BUSY = StoreBusyError("busy")


def listed(here: Site, uid: Any = "ann") -> list[dict[str, Any]]:
    """What a user may see of their sessions."""
    with here.app.app_context():
        return [session.to_dict() for session in here.authx.sessions(uid)]


# The list


def test_a_users_sessions_are_listed_the_latest_seen_first() -> None:
    here = site()
    first = here.log_in(name="laptop")
    here.clock.advance(10)
    second = here.log_in()
    here.log_in("bob")
    assert here.listed() == [here.sid(second), here.sid(first)]
    here.clock.advance(10)
    here.renew(first.refresh_token)
    assert listed(here) == [
        {
            "sid": here.sid(first),
            "name": "laptop",
            "created": AT,
            "last_seen": AT + 20,
            "expires": AT + 20 + 20 * DAY,
            "ends": AT + 90 * DAY,
            "user_agent": None,
            "address": None,
        },
        {
            "sid": here.sid(second),
            "name": None,
            "created": AT + 10,
            "last_seen": AT + 10,
            "expires": AT + 10 + 20 * DAY,
            "ends": AT + 10 + 90 * DAY,
            "user_agent": None,
            "address": None,
        },
    ]
    assert listed(here, "unknown") == []


def test_its_times_are_there_as_datetimes_too() -> None:
    here = site()
    pair = here.log_in()
    here.clock.advance(3600)
    here.renew(pair.refresh_token)
    with here.app.app_context():
        [session] = here.authx.sessions("ann")
    assert session.created_at == datetime.fromtimestamp(AT, UTC)
    assert session.last_seen_at == datetime.fromtimestamp(AT + 3600, UTC)
    assert session.expires_at == datetime.fromtimestamp(AT + 3600 + 20 * DAY, UTC)
    assert session.created_at.tzinfo is UTC


def test_it_costs_one_question_to_each_store_however_many_there_are() -> None:
    here = site()
    for _ in range(20):
        here.log_in()
    here.reset()
    assert len(listed(here)) == 20
    assert (here.revocations.calls, here.logins.calls) == (["find"], ["of"])


def test_a_session_that_has_expired_is_not_listed() -> None:
    here = site(REFRESH_TOKEN_EXPIRES=100)
    here.log_in()
    here.clock.advance(99)
    assert len(listed(here)) == 1
    here.clock.advance(1)
    assert listed(here) == []


@pytest.mark.parametrize("store", ["revocations", "sessions"])
def test_a_store_that_fails_is_a_503_and_no_empty_list(store: str) -> None:
    here = site()
    here.log_in()
    if store == "sessions":
        here.logins.fail("of", error=BUSY)
    else:
        here.revocations.error = BUSY
    with pytest.raises(StoreUnavailableError) as caught:
        listed(here)
    assert caught.value.description == "The sessions can't be listed right now"


def test_the_uid_of_the_list_is_checked() -> None:
    here = site()
    for uid, error in ((None, TypeError), ("", ValueError), (b"ann", TypeError)):
        with here.app.app_context(), pytest.raises(error):
            here.authx.sessions(uid)


# Names


def test_a_session_can_be_named_again_and_unnamed() -> None:
    here = site()
    pair = here.log_in()
    with here.app.app_context():
        for name in ("Zoë's 📱", "x" * 255, "two words", None):
            assert here.authx.name_session(here.sid(pair), name)
            assert here.authx.sessions("ann")[0].name == name
        assert not here.authx.name_session("no-such-session", "x")
    # A refresh in between changes nothing of it, nor does a name change what a refresh needs.
    with here.app.app_context():
        here.authx.name_session(here.sid(pair), "phone")
    renewed = here.renew(pair.refresh_token)
    assert here.row(pair).name == "phone"
    assert here.generation(renewed) == 1


def test_what_no_list_can_show_is_no_name() -> None:
    here = site()
    pair = here.log_in(name="phone")

    def check(name: str) -> None:
        with here.app.app_context(), pytest.raises(ValueError, match="1 to 255 characters"):
            here.authx.name_session(here.sid(pair), name)
        assert here.row(pair).name == "phone"

    check_all(
        by_repr(["", "x" * 256, "a\nb", "a\0b", "\ud800", "\u2028", "a\u202eb"]),
        check,
    )


def test_what_is_no_sid_names_nothing() -> None:
    here = site()
    cases: list[tuple[Any, type[Exception]]] = [(5, TypeError), ("", ValueError), ("é", ValueError)]
    for sid, error in cases:
        with here.app.app_context(), pytest.raises(error):
            here.authx.name_session(sid, "x")
    assert here.logins.calls == []


def test_a_name_that_could_not_be_written_is_a_503() -> None:
    here = site()
    sid = here.sid(here.log_in())
    here.logins.fail("rename", error=BUSY)
    with here.app.app_context(), pytest.raises(StoreUnavailableError) as caught:
        here.authx.name_session(sid, "x")
    assert caught.value.description == "The name may not have been written"


# Ending them


def test_a_revoked_session_is_not_listed_and_its_tokens_are_revoked() -> None:
    """USERS 38"""
    here = site()
    first, second = here.log_in(), here.log_in()
    with heard(session_revoked) as revoked, here.app.app_context():
        here.authx.revoke_session(here.sid(first), reason="lost")
    assert not here.is_kept(first)
    assert here.listed() == [here.sid(second)]
    assert [here.accepts(first), here.accepts(second)] == [False, True]
    assert outcome(here.ask(first.refresh_token)) == REVOKED
    assert [(one["sid"], one["reason"]) for one in revoked.times] == [(here.sid(first), "lost")]


def test_a_session_may_be_revoked_twice_or_be_unknown() -> None:
    here = site()
    pair = here.log_in()
    with here.app.app_context():
        for _ in range(2):
            here.authx.revoke_session(here.sid(pair))
        here.authx.revoke_session("never-opened")
    assert here.listed() == []


def test_the_entry_is_written_before_the_row_goes_and_counts_alone() -> None:
    here = site()
    pair = here.log_in()
    here.reset()
    here.logins.fail("end", error=BUSY)
    with (
        heard(session_revoked) as revoked,
        here.app.app_context(),
        pytest.raises(StoreUnavailableError) as caught,
    ):
        here.authx.revoke_session(here.sid(pair))
    what = "The revocation is in force, and the session may still be listed"
    assert caught.value.description == what
    assert here.revocations.calls[0] == "add"
    assert len(revoked.times) == 1
    # No token of it is accepted.
    assert not here.accepts(pair)
    assert outcome(here.ask(pair.refresh_token)) == REVOKED
    here.logins.heal()
    with here.app.app_context():
        here.authx.revoke_session(here.sid(pair))
    assert here.listed() == []


def test_where_the_entry_could_not_be_written_the_row_stays() -> None:
    here = site()
    pair = here.log_in()
    here.revocations.error, here.revocations.failing = BUSY, frozenset({"add"})
    with here.app.app_context(), pytest.raises(StoreUnavailableError):
        here.authx.revoke_session(here.sid(pair))
    assert here.listed() == [here.sid(pair)]
    assert "end" not in here.logins.calls


@pytest.mark.parametrize("by", ["access_token", "refresh_token"])
@pytest.mark.parametrize("later", [0, 1800])
def test_either_token_expired_or_not_logs_the_session_out(by: str, later: int) -> None:
    here = site()
    pair, other = here.log_in(), here.log_in()
    here.clock.advance(later)
    assert outcome(here.ask(getattr(pair, by), path="/logout")) == OK
    assert not here.is_kept(pair)
    assert here.listed() == [here.sid(other)]
    assert outcome(here.ask(pair.refresh_token)) == REVOKED
    assert outcome(here.ask(other.refresh_token)) == OK


def test_a_row_that_stays_at_log_out_is_a_503() -> None:
    here = site()
    pair = here.log_in()
    here.logins.fail("end", error=BUSY)
    assert outcome(here.ask(pair.access_token, path="/logout")) == FAULT
    assert not here.accepts(pair)


def test_everywhere_else_but_here() -> None:
    """USERS 41: a password change."""
    here = site()

    @here.app.post("/others")
    @here.authx.token_required
    def others() -> dict[str, Any]:
        here.authx.revoke_subject(current_token.sub, keep=current_token.sid)
        return {}

    pairs = [here.log_in() for _ in range(3)]
    bobs = here.log_in("bob")
    with heard(subject_revoked) as revoked:
        headers = bearer(pairs[1].access_token)
        assert outcome(ask(here.app, "POST", "/others", headers=headers)) == OK
    assert [(one["sub"], one["keep"]) for one in revoked.times] == [("ann", here.sid(pairs[1]))]
    assert here.listed() == [here.sid(pairs[1])]
    assert [here.accepts(pair) for pair in pairs] == [False, True, False]
    assert here.generation(here.renew(pairs[1].refresh_token)) == 1
    for pair in (pairs[0], pairs[2]):
        assert outcome(here.ask(pair.refresh_token)) == REVOKED
    assert here.accepts(bobs)
    # One entry, however many sessions there were.
    assert [entry.kind for entry in here.revocations.added] == [Kind.SUBJECT]
    later = here.log_in()
    assert set(here.listed()) == {here.sid(pairs[1]), here.sid(later)}


def test_everywhere() -> None:
    here = site()
    pairs = [here.log_in() for _ in range(3)]
    with here.app.app_context():
        here.authx.revoke_subject("ann")
    assert here.listed() == []
    assert not any(map(here.accepts, pairs))


def test_revoking_one_token_leaves_its_session() -> None:
    here = site()
    pair = here.log_in()
    with here.app.app_context():
        here.authx.revoke_token(pair.access_token)
    assert not here.accepts(pair)
    assert here.listed() == [here.sid(pair)]
    assert here.accepts(here.renew(pair.refresh_token))


# One of them


def test_one_session_is_that_of_the_list() -> None:
    here = site(REFRESH_TOKEN_EXPIRES=DAY)
    first, second = here.log_in(name="laptop"), here.log_in("bob")
    authx = here.authx
    with here.app.app_context():
        assert authx.session(here.sid(first)) == authx.sessions("ann")[0]
        session = authx.session(here.sid(second))
        assert session is not None
        assert session.sub == "bob"
        for unknown in ("unknown", "", "no sid", "a" * 256, "\0"):
            assert authx.session(unknown) is None
        loose: Any = authx.session
        with pytest.raises(TypeError, match="a sid is text"):
            loose(7)


def test_a_session_that_has_ended_is_none() -> None:
    here = site(REFRESH_TOKEN_EXPIRES=DAY)
    pairs = {name: here.log_in(name) for name in ("ann", "bob", "eve", "joe")}
    authx = here.authx

    def known() -> set[str]:
        sids = {name: here.sid(pair) for name, pair in pairs.items()}
        return {name for name, sid in sids.items() if authx.session(sid) is not None}

    with here.app.app_context():
        authx.revoke_session(here.sid(pairs["ann"]))
        assert known() == {"bob", "eve", "joe"}
        authx.revoke_subject("bob")
        assert known() == {"eve", "joe"}
        here.clock.advance(DAY - 10)
        pairs["joe"] = here.renew(pairs["joe"].refresh_token)
        here.clock.advance(20)
        assert known() == {"joe"}
        # The rows of all others stay until they are pruned.
        authx.revoke_all()
        assert here.is_kept(pairs["joe"])
        assert known() == set()


def test_one_session_of_a_store_that_fails() -> None:
    here = site()
    sid = here.sid(here.log_in())
    with here.app.app_context():
        here.logins.fail("get", error=ConnectionError())
        with pytest.raises(StoreUnavailableError) as caught:
            here.authx.session(sid)
        assert caught.value.description == "The session can't be read right now"
        here.logins.heal()
    app, authx = make_app()
    with app.app_context(), pytest.raises(RuntimeError, match="JWT_SESSIONS"):
        authx.session(sid)


def test_the_store_of_revocations_of_one_session_fails() -> None:
    here = site()
    sid = here.sid(here.log_in())
    here.revocations.error = ConnectionError()
    with here.app.app_context(), pytest.raises(StoreUnavailableError, match="can't be read"):
        here.authx.session(sid)
