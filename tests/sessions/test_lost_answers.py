"""The answer to the removal of a session's row gets lost: who has removed it is not forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from flask_authx import ReusedTokenError, refresh_reuse_detected, session_revoked
from flask_authx.stores.redis.sessions import RedisSessions
from flask_authx.stores.redis.urls import client_for
from flask_authx.stores.session_store import SessionStore
from flask_authx.stores.sql.sessions import SQLAlchemySessions
from tests.stores.contract import new_key, new_session
from tests.support.databases import app_on, database_url, redis_url, settings_for
from tests.support.servers.lossy import LossyLine
from tests.support.session_sites import heard

KINDS = ("postgresql", "psycopg2", "mariadb", "redis")


def marker_of(kind: str) -> bytes:
    """What is in the request that removes a row."""
    return b"'DEL', KEYS[1]" if kind == "redis" else b"DELETE FROM authx_sessions"


def through(line: LossyLine, url: str) -> str:
    made = sa.make_url(url).set(host="127.0.0.1", port=line.port)
    return made.render_as_string(hide_password=False)


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


def store_on(line: LossyLine, kind: str, tmp_path: Path) -> SessionStore:
    """A store whose connections go over the line, each of which stays open."""
    if kind == "redis":
        return RedisSessions(client_for(through(line, redis_url()), 10)())
    engine = sa.create_engine(through(line, database_url(kind, tmp_path)), poolclass=sa.NullPool)
    store = SQLAlchemySessions(engine, timeout=10)
    store.table.drop(engine, checkfirst=True)
    store.table.create(engine)
    return store


def test_a_store_does_not_say_that_another_call_has_removed_the_row(
    kind: str, line: LossyLine, tmp_path: Path
) -> None:
    store = store_on(line, kind, tmp_path)
    keys, subject = [new_key(), new_key()], new_key()
    for key in keys:
        store.open(key, subject, new_session())
    line.lose_answer(marker_of(kind))
    # Redis keeps what says that it was this call.
    assert store.end(keys[0]) is (True if kind == "redis" else None)
    assert line.lost == 1
    assert store.get(keys[0]) is None
    assert len(store.of(subject)) == 1
    assert store.end(keys[0]) is False
    assert store.end(keys[1]) is True
    assert store.end(keys[1]) is False


def test_the_alarm_of_a_reuse_is_sent_although_an_answer_is_lost(
    kind: str, line: LossyLine, settings: dict[str, Any]
) -> None:
    name = "JWT_BLOCKLIST" if kind == "redis" else "SQLALCHEMY_DATABASE_URI"
    of_sessions = {"JWT_SESSIONS": True, "JWT_REFRESH_GRACE": 0, "JWT_PRUNE_ON_WRITE": 0}
    app, authx = app_on(settings | of_sessions | {name: through(line, settings[name])})
    with app.app_context(), heard(refresh_reuse_detected) as reuse, heard(session_revoked) as ended:
        for number in range(1, 3):
            pair = authx.login("ann")
            authx.refresh(pair.refresh_token)
            line.lose_answer(marker_of(kind))
            with pytest.raises(ReusedTokenError):
                authx.refresh(pair.refresh_token)
            assert line.lost == len(reuse.times) == len(ended.times) == number
        assert authx.sessions("ann") == []
