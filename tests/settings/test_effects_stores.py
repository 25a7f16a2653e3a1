"""Each setting of stores changes what the app does, one test a setting."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask_sqlalchemy import SQLAlchemy

from flask_authx import AuthX, Entry, Kind, StoreUnavailableError
from flask_authx.cli import authx as group
from tests.support import NOW, SECRET, Clock, access_token, bearer, make_app
from tests.support.answers import FAULT, OK, Outcome, ask, outcome
from tests.support.spy_store import SpyStore, bring_down, login, store_app, works


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


def test_setting_clock_skew() -> None:
    cases: list[tuple[dict[str, Any], int, bool]] = [
        ({}, 1, False),
        ({}, 2, True),
        ({"CLOCK_SKEW": 3}, 3, False),
        ({"CLOCK_SKEW": 0}, 1, True),
    ]
    for config, ahead, lives in cases:
        clock = Clock(NOW + ahead)
        app, authx = store_app(SpyStore(), clock, **config)
        token, _, _ = login(app, authx)
        clock.advance(-ahead)
        with app.app_context():
            authx.revoke_subject("ann")
        assert works(app, token) is lives


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
            store.add(Entry(bytes([number]) * 16, Kind.SESSION, int(NOW) - 1))
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
