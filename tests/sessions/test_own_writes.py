"""Sessions beside the app's own transactions: each is committed by itself, DESIGN 5.3."""

from __future__ import annotations

import uuid

import pytest

from flask_authx import AuthXException, TokenPair
from tests.support import Clock, parts
from tests.support.sql_apps import KINDS, SQLApps


@pytest.fixture
def uid() -> str:
    """A user of this test's alone: a server's tables outlive it."""
    return uuid.uuid4().hex


def generation(pair: TokenPair) -> int:
    found: int = parts(pair.refresh_token)[1]["gen"]
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_a_session_is_committed_whether_the_app_s_transaction_is_or_not(
    sql_app: SQLApps, kind: str, uid: str
) -> None:
    """USERS 48"""
    site = sql_app(kind, clock=Clock(), JWT_SESSIONS=True)
    with site.app.app_context():
        # The app's transaction has begun and has only read.
        assert site.db.session.query(site.Note).count() == 0
        pair = site.authx.login(uid, name="phone")
        renewed = site.authx.refresh(pair.refresh_token)
        site.write("not kept")
        site.db.session.rollback()
        [session] = site.authx.sessions(uid)
        assert (session.generation, session.name) == (1, "phone")
        assert generation(site.authx.refresh(renewed.refresh_token)) == 2
        # The app's is committed whatever the session's was.
        site.write("kept")
        site.db.session.commit()
    assert site.committed() == ["kept"]


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_uncommitted_writes_are_not_committed_and_block_nothing(
    sql_app: SQLApps, kind: str, uid: str
) -> None:
    site = sql_app(kind, clock=Clock(), JWT_SESSIONS=True)
    with site.app.app_context():
        site.write("not yet")
        pair = site.authx.refresh(site.authx.login(uid).refresh_token)
        assert site.committed() == []
        site.db.session.rollback()
        assert generation(site.authx.refresh(pair.refresh_token)) == 2
    assert site.committed() == []


def test_uncommitted_writes_in_an_sqlite_file_are_an_error_before_any_change(
    sql_app: SQLApps, uid: str
) -> None:
    """The file has one lock for writing, and the app itself holds it."""
    site = sql_app("sqlite", clock=Clock(), JWT_SESSIONS=True)
    with site.app.app_context():
        pair = site.authx.login(uid)
        sid = parts(pair.access_token)[1]["sid"]
        site.write("not yet")
        for call in (
            lambda: site.authx.login(uid),
            lambda: site.authx.refresh(pair.refresh_token),
            lambda: site.authx.name_session(sid, "phone"),
            lambda: site.authx.revoke_session(sid),
        ):
            with pytest.raises(RuntimeError, match="uncommitted") as caught:
                call()
            # A programming error: no 503, which the client would repeat.
            assert not isinstance(caught.value, AuthXException)
        assert site.committed() == []
        site.db.session.commit()
        [session] = site.authx.sessions(uid)
        assert (session.generation, session.name) == (0, None)
        assert generation(site.authx.refresh(pair.refresh_token)) == 1
    assert site.committed() == ["not yet"]
