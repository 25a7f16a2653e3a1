"""The audit trail of sessions that the package itself revokes."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from flask_authx import (
    ReusedTokenError,
    RevokedTokenError,
    StoreUnavailableError,
    SubjectNotFoundError,
    refresh_reuse_detected,
    session_revoked,
)
from tests.support import NOW, Clock, parts
from tests.support.answers import OK, outcome
from tests.support.session_sites import heard
from tests.support.sql_apps import KINDS, Site, SQLApps, records

AT = int(NOW)


def audited(sql_app: SQLApps, kind: str, **config: Any) -> tuple[Site, Clock]:
    clock = Clock()
    return sql_app(kind, clock=clock, JWT_AUDIT="365d", JWT_SESSIONS=True, **config), clock


def sid_of(token: str) -> str:
    sid: str = parts(token)[1]["sid"]
    return sid


@pytest.mark.parametrize("kind", KINDS)
def test_each_revoked_session_is_recorded_with_its_reason(sql_app: SQLApps, kind: str) -> None:
    site, clock = audited(sql_app, kind, JWT_MAX_SESSIONS=1)
    # Users of this test's alone: a server's tables outlive it.
    ann, bob = uuid.uuid4().hex, uuid.uuid4().hex

    @site.authx.set_callback_get_model_instance
    def load(uid: str) -> str | None:
        return uid if uid == ann else None

    with site.app.app_context():
        first = site.authx.login(ann)
        clock.advance(1)
        second = site.authx.login(ann)
        last = site.authx.refresh(site.authx.refresh(second.refresh_token).refresh_token)
        with pytest.raises(ReusedTokenError):
            site.authx.refresh(second.refresh_token)
        # The use of one of its tokens later revokes nothing.
        with pytest.raises(RevokedTokenError):
            site.authx.refresh(last.refresh_token)
        gone = site.authx.login(bob)
        with pytest.raises(SubjectNotFoundError):
            site.authx.refresh(gone.refresh_token)
        third = site.authx.login(ann)
    client = site.app.test_client()

    @site.app.post("/logout")
    def logout() -> str:
        site.authx.logout()
        return ""

    headers = {"Authorization": f"Bearer {third.refresh_token}"}
    assert outcome(client.post("/logout", headers=headers)) == OK
    if kind == "sqlite":
        assert {record[0] for record in records(site)} == {AT + 1}
    assert [record[1:] for record in records(site)] == [
        ("authx", f"user:{actor}", "session", sid_of(pair.access_token), None, reason)
        for actor, pair, reason in (
            (ann, first, "JWT_MAX_SESSIONS: a new session replaces the one longest unused"),
            (ann, second, "a refresh token was used again"),
            (bob, gone, "the user no longer exists"),
            (ann, third, None),
        )
    ]


def test_opening_and_refreshing_is_nothing_to_record(sql_app: SQLApps) -> None:
    site, _ = audited(sql_app, "sqlite")
    with site.app.app_context():
        site.authx.refresh(site.authx.login("ann").refresh_token)
    assert records(site) == []


def test_a_reuse_that_could_not_be_recorded_has_revoked_the_session(
    sql_app: SQLApps,
) -> None:
    site, _ = audited(sql_app, "sqlite")
    with site.app.app_context():
        pair = site.authx.login("ann")
        last = site.authx.refresh(site.authx.refresh(pair.refresh_token).refresh_token)
        with site.db.engine.begin() as connection:
            connection.exec_driver_sql("DROP TABLE authx_audit")
        with heard(refresh_reuse_detected) as reuse, pytest.raises(StoreUnavailableError) as caught:
            site.authx.refresh(pair.refresh_token)
        what = "The revocation is in force and could not be recorded"
        assert caught.value.description == what
        assert len(reuse.times) == 1
        assert site.authx.is_revoked(last.access_token)
        assert site.authx.sessions("ann") == []


@pytest.mark.parametrize(
    "signal",
    [session_revoked, refresh_reuse_detected],
    ids=lambda signal: signal.name,
)
def test_a_receiver_that_fails_keeps_nothing_from_being_recorded(
    sql_app: SQLApps, signal: Any
) -> None:
    """SECURITY A.13 250: the store first, then the trail, and then the signals."""
    site, _ = audited(sql_app, "sqlite")

    def receive(sender: object, **said: Any) -> None:
        raise LookupError("mail is down")

    with site.app.app_context():
        pair = site.authx.login("ann")
        site.authx.refresh(site.authx.refresh(pair.refresh_token).refresh_token)
        with signal.connected_to(receive), pytest.raises(ReusedTokenError):
            site.authx.refresh(pair.refresh_token)
    assert len(records(site)) == 1
