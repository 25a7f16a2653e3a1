"""Each setting of stores changes what the app does, one test a setting."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import event

from flask_authx import AuthX, Entry, Kind, StoreUnavailableError
from flask_authx.cli import authx as group
from tests.support import SECRET, Clock, access_token, bearer, make_app
from tests.support.answers import FAULT, OK, Outcome, ask, outcome
from tests.support.spy_store import SpyStore, bring_down, login, store_app, works
from tests.support.waiting import until


def sql_app(folder: Path, clock: Clock | None = None, **config: Any) -> tuple[Flask, AuthX]:
    """An app whose revocations are in an SQLite file."""
    app = Flask("tests")
    app.config.from_mapping({f"JWT_{name}": value for name, value in config.items()})
    app.config.from_mapping(
        SQLALCHEMY_DATABASE_URI=f"sqlite:///{folder / 'app.db'}",
        JWT_SECRET_KEY=SECRET,
        JWT_BLOCKLIST="sqlalchemy://",
    )
    db = SQLAlchemy(app)
    authx = AuthX(app, clock=clock or Clock())
    with app.app_context():
        db.create_all()
    return app, authx


def test_setting_blocklist() -> None:
    app, authx = make_app(BLOCKLIST="memory://")
    token = access_token(app, authx)
    with app.app_context():
        authx.revoke_token(token)
    assert not works(app, token)
    app, authx = make_app()
    with app.app_context(), pytest.raises(RuntimeError, match='"JWT_BLOCKLIST"'):
        authx.revoke_token(token)
    assert works(app, token)


def test_setting_blocklist_on_error() -> None:
    cases: list[tuple[dict[str, Any], Outcome]] = [
        ({}, FAULT),
        ({"BLOCKLIST_ON_ERROR": "accept"}, OK),
    ]
    for config, expected in cases:
        store = SpyStore()
        app, authx = store_app(store, **config)
        token = access_token(app, authx)
        store.error = ConnectionError("down")
        bring_down(app, authx, token)
        assert outcome(ask(app, headers=bearer(token))) == expected


def test_setting_store_timeout(tmp_path: Path) -> None:
    app, authx = sql_app(tmp_path, STORE_TIMEOUT=0.8)
    other = sqlite3.connect(tmp_path / "app.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    with app.app_context(), pytest.raises(StoreUnavailableError):
        authx.revoke_session("s")
    # By default it would have been 0.25.
    assert time.monotonic() - began > 0.7
    other.rollback()
    other.close()
    with app.app_context():
        authx.revoke_session("s")


@pytest.mark.parametrize(("config", "most"), [({}, 6), ({"STORE_CONNECTIONS": 2}, 2)])
def test_setting_store_connections(tmp_path: Path, config: dict[str, Any], most: int) -> None:
    app, authx = sql_app(tmp_path, STORE_TIMEOUT=30, **config)
    opened: list[object] = []
    with app.app_context():
        event.listen(app.extensions["sqlalchemy"].engine, "connect", lambda *_: opened.append(1))
    token = access_token(app, authx)

    def is_revoked() -> bool:
        with app.app_context():
            return authx.is_revoked(token)

    other = sqlite3.connect(tmp_path / "app.db", isolation_level=None)
    with ThreadPoolExecutor(6) as pool, contextlib.closing(other):
        # Look-ups wait for it, each on a connection that no other may use.
        other.execute("BEGIN EXCLUSIVE")
        asked = [pool.submit(is_revoked) for _ in range(6)]
        until(lambda: len(opened) == most)
        other.rollback()
        assert [one.result(60) for one in asked] == [False] * 6
    assert len(opened) == most


def test_setting_clock_skew() -> None:
    # By default it is the leeway. The store's clock is another one after a fail-over.
    cases: list[tuple[dict[str, Any], float, bool]] = [
        ({}, 10, False),
        ({}, 10.00001, True),
        ({"DECODE_LEEWAY": 4}, 4, False),
        ({"DECODE_LEEWAY": 4}, 4.00001, True),
        ({"CLOCK_SKEW": 3}, 3, False),
        ({"CLOCK_SKEW": 3}, 3.00001, True),
        ({"CLOCK_SKEW": 0}, 0, False),
        ({"CLOCK_SKEW": 0}, 0.00001, True),
        ({"CLOCK_SKEW": 0, "DECODE_LEEWAY": 60}, 1, True),
    ]
    for config, ahead, lives in cases:
        store, clock = SpyStore(), Clock()
        app, authx = store_app(store, **config)
        store.clock = clock
        clock.advance(ahead)
        token, _, _ = login(app, authx)
        clock.advance(-ahead)
        with app.app_context():
            authx.revoke_subject("ann")
        assert works(app, token) is lives


def test_setting_store_scope() -> None:
    """Services that share a store and accept each other's tokens have one scope."""
    cases: list[tuple[dict[str, Any], dict[str, Any], bool]] = [
        ({}, {}, False),
        ({"STORE_SCOPE": "users"}, {"STORE_SCOPE": "users"}, True),
        ({"STORE_SCOPE": "users"}, {"STORE_SCOPE": "User"}, False),
        ({"STORE_SCOPE": "admin"}, {}, True),
    ]
    for config, others, shared in cases:
        store = SpyStore()
        app, authx = store_app(store, **config)
        other, _ = store_app(store, name="admin", **others)
        for verb in ("session", "subject", "all"):
            store.entries.clear()
            with app.app_context():
                token = authx.create_access_token("ann")
                said = authx.decode_token(token)
                if verb == "session":
                    authx.revoke_session(said.sid)
                elif verb == "subject":
                    authx.revoke_subject("ann")
                else:
                    authx.revoke_all()
            assert not works(app, token)
            assert works(other, token) is not shared


def test_setting_prune_on_write() -> None:
    cases: list[tuple[dict[str, Any], int]] = [
        ({}, 0),
        ({"PRUNE_ON_WRITE": 2}, 3),
        ({"PRUNE_ON_WRITE": 0}, 5),
    ]
    for config, left in cases:
        store = SpyStore()
        app, authx = store_app(store, **config)
        for number in range(5):
            store.add(Entry(bytes([number]) * 16, Kind.SESSION, -1))
        with app.app_context():
            authx.revoke_session("s")
        assert len(store.entries) == left + 1
        assert ("sweep" in store.calls) is (left < 5)


def records(folder: Path) -> list[tuple[Any, ...]]:
    with sqlite3.connect(folder / "app.db") as connection:
        rows = connection.execute("SELECT kind, value, reason FROM authx_audit ORDER BY id")
        found = rows.fetchall()
    connection.close()
    return found


def test_setting_audit(tmp_path: Path) -> None:
    clock = Clock()
    app, authx = sql_app(tmp_path, clock, AUDIT="30d")
    with app.app_context():
        authx.revoke_session("s1", reason="lost phone")
        clock.advance(20 * 86400)
        authx.revoke_subject("ann")
    assert records(tmp_path) == [("session", "s1", "lost phone"), ("subject", "ann", None)]
    clock.advance(11 * 86400)
    done = app.test_cli_runner().invoke(group, ["prune"])
    assert (done.exit_code, "Removed 1 old audit records." in done.stdout) == (0, True)
    assert records(tmp_path) == [("subject", "ann", None)]


def test_without_the_setting_audit_there_is_no_trail(tmp_path: Path) -> None:
    app, authx = sql_app(tmp_path)
    with app.app_context():
        authx.revoke_session("s1")
    with pytest.raises(sqlite3.OperationalError, match="authx_audit"):
        records(tmp_path)
