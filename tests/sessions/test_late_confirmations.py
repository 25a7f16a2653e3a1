"""An entry is written and its confirmation comes too late: what follows the entry is made up for.

The client gets a 503 and sends its token again, which is revoked by then.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_authx import (
    AuthX,
    ReusedTokenError,
    RevokedTokenError,
    StoreUnavailableError,
    TokenPair,
    refresh_reuse_detected,
    session_revoked,
    subject_revoked,
)
from tests.support import bearer
from tests.support.answers import ask, outcome
from tests.support.databases import app_on, settings_for
from tests.support.servers.lossy import LossyLine
from tests.support.session_sites import Site, heard, route, site

REUSE = "a refresh token was used again"
LATE = TimeoutError("the answer came too late")
FAULT = (503, "StoreUnavailableError")
REVOKED = (401, "RevokedTokenError")


def late(here: Site) -> None:
    """From now on entries are written without a confirmation."""
    here.revocations.error, here.revocations.late = LATE, True
    here.revocations.failing = frozenset({"add"})


def heal(here: Site) -> None:
    here.revocations.error, here.revocations.late = None, False


def reused(here: Site) -> TokenPair:
    """A session whose first refresh token was replaced too long ago."""
    pair = here.log_in()
    here.renew(pair.refresh_token)
    here.clock.advance(61)
    return pair


@pytest.mark.parametrize("other", [False, True], ids=["same process", "other process"])
def test_the_alarm_is_sent_although_the_entry_was_not_confirmed(other: bool) -> None:
    here = site()
    pair = reused(here)
    late(here)
    with heard(refresh_reuse_detected) as alarms, heard(session_revoked) as ended:
        assert outcome(here.ask(pair.refresh_token)) == FAULT
        assert [one["sid"] for one in alarms.times] == [here.sid(pair)]
        assert ended.times == []
        heal(here)
        second = site(like=here) if other else here
        for _ in range(3):
            assert outcome(second.ask(pair.refresh_token)) == REVOKED
        # Another process can't know that the alarm was sent.
        assert len(alarms.times) == (2 if other else 1)
    [told] = ended.times
    assert (told["sid"], told["reason"], told["actor"]) == (here.sid(pair), REUSE, "user:ann")
    assert here.listed() == []
    assert not here.is_kept(pair)


def test_the_owner_s_next_refresh_finishes_the_revocation_as_well() -> None:
    """A thief may not come again. The owner's token was not used twice."""
    here = site()
    first = here.log_in()
    owners = here.renew(first.refresh_token)
    here.clock.advance(61)
    late(here)
    with heard(refresh_reuse_detected) as alarms, heard(session_revoked) as ended:
        assert outcome(here.ask(first.refresh_token)) == FAULT
        heal(here)
        assert outcome(site(like=here).ask(owners.refresh_token)) == REVOKED
    assert len(alarms.times) == 1
    assert [(one["sid"], one["reason"]) for one in ended.times] == [(here.sid(first), None)]
    assert not here.is_kept(first)


def test_a_store_that_takes_no_writes_makes_one_alarm_of_many_attempts() -> None:
    here = site()
    pair, another = reused(here), reused(here)
    here.revocations.error, here.revocations.failing = LATE, frozenset({"add"})
    with heard(refresh_reuse_detected) as alarms:
        for _ in range(9):
            assert outcome(here.ask(pair.refresh_token)) == FAULT
        assert len(alarms.times) == 1
        assert outcome(here.ask(another.refresh_token)) == FAULT
        assert [one["sid"] for one in alarms.times] == [here.sid(pair), here.sid(another)]


def test_a_user_who_is_gone_is_finished_off_at_the_next_attempt() -> None:
    here = site()
    pair = here.log_in()
    here.users_by(lambda _: None)
    late(here)
    with heard(session_revoked) as ended, heard(refresh_reuse_detected) as alarms:
        assert outcome(here.ask(pair.refresh_token)) == FAULT
        heal(here)
        assert outcome(here.ask(pair.refresh_token)) == REVOKED
    assert [one["sid"] for one in ended.times] == [here.sid(pair)]
    assert alarms.times == []
    assert here.listed() == []


@pytest.mark.parametrize("kind", ["access", "refresh"])
def test_a_log_out_that_was_not_confirmed_is_announced_at_the_next(kind: str) -> None:
    here = site()
    pair = here.log_in()
    token = pair.access_token if kind == "access" else pair.refresh_token
    late(here)
    with heard(session_revoked) as ended, heard(refresh_reuse_detected) as alarms:
        assert outcome(here.ask(token, path="/logout")) == FAULT
        assert ended.times == []
        heal(here)
        for _ in range(2):
            assert here.ask(token, path="/logout").status_code == 200
    assert [(one["sid"], one["actor"]) for one in ended.times] == [(here.sid(pair), "user:ann")]
    assert alarms.times == []
    assert here.listed() == []


def test_a_session_that_ended_with_all_of_its_user_is_not_announced_again() -> None:
    """Its row may remain: only a hundred are removed."""
    here = site()
    pair, other = here.log_in(), here.log_in()
    with heard(subject_revoked) as whole, heard(session_revoked) as single:
        here.logins.fail("of", error=LATE)
        with here.app.app_context():
            here.authx.revoke_subject("ann")
        here.logins.heal()
        assert here.is_kept(pair)
        assert outcome(here.ask(other.refresh_token)) == REVOKED
        assert here.ask(pair.refresh_token, path="/logout").status_code == 200
    assert len(whole.times) == 1
    assert single.times == []
    assert not here.is_kept(pair)
    assert not here.is_kept(other)


def test_a_revoked_refresh_token_is_refused_while_the_sessions_fail() -> None:
    here = site()
    pair = reused(here)
    late(here)
    assert outcome(here.ask(pair.refresh_token)) == FAULT
    heal(here)
    here.logins.fail("get", "end", error=LATE)
    assert outcome(here.ask(pair.refresh_token)) == REVOKED


def test_a_revoked_token_costs_no_write_once_its_row_is_gone() -> None:
    here = site()
    pair = here.log_in()
    with here.app.app_context():
        here.authx.revoke_session(here.sid(pair))
    here.reset()
    assert outcome(here.ask(pair.refresh_token)) == REVOKED
    assert here.logins.calls == ["get"]
    assert here.revocations.calls == ["find"]


# Real servers

KINDS = ("postgresql", "psycopg2", "mariadb", "redis")


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def settings(kind: str, tmp_path: Path) -> dict[str, Any]:
    return settings_for(kind, tmp_path)


@pytest.fixture
def line(settings: dict[str, Any]) -> Iterator[LossyLine]:
    url = sa.make_url(settings.get("SQLALCHEMY_DATABASE_URI") or settings["JWT_BLOCKLIST"])
    ports = {"postgresql": 5432, "mysql": 3306, "mariadb": 3306, "redis": 6379}
    with LossyLine(url.port or ports[url.get_backend_name()]) as made:
        yield made


@pytest.fixture
def behind_line(
    kind: str, settings: dict[str, Any], line: LossyLine
) -> tuple[Flask, AuthX, LossyLine]:
    name = "JWT_BLOCKLIST" if kind == "redis" else "SQLALCHEMY_DATABASE_URI"
    url = sa.make_url(settings[name]).set(host="127.0.0.1", port=line.port)
    through = {name: url.render_as_string(hide_password=False), "JWT_STORE_TIMEOUT": 2}
    of_sessions = {"JWT_SESSIONS": True, "JWT_REFRESH_GRACE": 0, "JWT_PRUNE_ON_WRITE": 0}
    audit = {} if kind == "redis" else {"JWT_AUDIT": 86400}
    app, authx = app_on(settings | of_sessions | through | audit)
    route(app, authx)
    return app, authx, line


def marker_of(kind: str) -> bytes:
    """What is in the request that adds an entry."""
    return b"local old, value" if kind == "redis" else b"INSERT INTO authx_blocklist"


def records(app: Flask) -> int:
    """How many revocations the audit trail has."""
    db: Any = app.extensions["sqlalchemy"]
    with app.app_context():
        number: int = db.session.scalar(sa.text("SELECT count(*) FROM authx_audit"))
        db.session.rollback()
        for engine in db.engines.values():
            engine.dispose()
    return number


def test_on_a_server_the_reuse_is_told_once_and_the_session_is_gone(
    kind: str, behind_line: tuple[Flask, AuthX, LossyLine]
) -> None:
    app, authx, line = behind_line
    with app.app_context(), heard(refresh_reuse_detected) as reuse, heard(session_revoked) as ended:
        pair = authx.login("ann")
        authx.refresh(pair.refresh_token)
        line.lose_answer(marker_of(kind), late=True)
        with pytest.raises(StoreUnavailableError):
            authx.refresh(pair.refresh_token)
        assert (line.lost, len(reuse.times), len(ended.times)) == (1, 1, 0)
        with pytest.raises(RevokedTokenError) as refused:
            authx.refresh(pair.refresh_token)
        assert not isinstance(refused.value, ReusedTokenError)
        assert (len(reuse.times), len(ended.times)) == (1, 1)
        assert authx.sessions("ann") == []
    if kind != "redis":
        assert records(app) == 1


def test_on_a_server_a_log_out_is_recorded_once(
    kind: str, behind_line: tuple[Flask, AuthX, LossyLine], caplog: pytest.LogCaptureFixture
) -> None:
    app, authx, line = behind_line
    caplog.set_level(logging.CRITICAL)
    with app.app_context():
        token = authx.login("ann").access_token
    with heard(session_revoked) as ended:
        # It may be sent twice.
        line.lose_answer(marker_of(kind), late=True, times=2)
        first = ask(app, "POST", "/logout", headers=bearer(token))
        assert (outcome(first), ended.times) == (FAULT, [])
        assert line.lost
        for _ in range(2):
            assert ask(app, "POST", "/logout", headers=bearer(token)).status_code == 200
        assert len(ended.times) == 1
    if kind != "redis":
        assert records(app) == 1
