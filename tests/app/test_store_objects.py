"""What ``blocklist=`` and ``JWT_BLOCKLIST`` are given by mistake, and what a store is judged by."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask_sqlalchemy import SQLAlchemy

from flask_authx import (
    AuthX,
    BadConfigurationError,
    Entry,
    FreshTokenRequiredError,
    Kind,
    MemoryBlocklist,
    StoreBusyError,
    current_token,
    token_unchecked,
)
from tests.support import SECRET, Clock, access_token, bearer, make_app
from tests.support.answers import FAULT, OK, ask, outcome
from tests.support.spy_store import SpyStore, bring_down, said, spied, store_app, works
from tests.support.sql_apps import SQLApps

MEMBERS = (
    *("per_process", "find", "find_dated", "add", "add_if_absent"),
    *("sweep", "prune", "count", "risks"),
)


def app_given(blocklist: Any, **config: Any) -> Flask:
    app = Flask("tests")
    app.config.from_mapping(JWT_SECRET_KEY=SECRET, **config)
    AuthX(app, blocklist=blocklist)
    return app


# blocklist=


def test_a_url_is_told_where_it_belongs() -> None:
    for url in ("redis://:password@host/0", "memory://"):
        with pytest.raises(BadConfigurationError, match="setting JWT_BLOCKLIST") as caught:
            app_given(url)
        assert "password" not in str(caught.value)


@pytest.mark.parametrize("store", [MemoryBlocklist, SpyStore, object(), 5])
def test_what_is_no_store_is_refused_at_the_start(store: Any) -> None:
    with pytest.raises(BadConfigurationError, match="per_process: see Blocklist"):
        app_given(store)


@pytest.mark.parametrize("missing", MEMBERS)
def test_a_store_that_lacks_something_is_told_what(missing: str) -> None:
    members: dict[str, Any] = {name: len for name in MEMBERS if name != missing}
    with pytest.raises(BadConfigurationError, match=f"has no {missing}: see Blocklist"):
        app_given(type("Own", (), members)())
    app_given(type("Own", (), {**members, missing: len})())


# JWT_BLOCKLIST


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ann:password@host/db",
        "postgresql+psycopg://ann:password@host/db",
        "postgres://ann:password@host/db",
        "mysql+pymysql://ann:password@host/db",
        "mariadb://ann:password@host/db",
        "sqlite:///password.db",
    ],
)
def test_the_url_of_a_database_is_told_where_it_belongs(url: str) -> None:
    fix = r"^JWT_BLOCKLIST: set SQLALCHEMY_DATABASE_URI .* JWT_BLOCKLIST to sqlalchemy://"
    with pytest.raises(BadConfigurationError, match=fix) as caught:
        app_given(None, JWT_BLOCKLIST=url)
    assert "password" not in str(caught.value)


@pytest.mark.parametrize("host", ["redis://h/0", "redis+sentinel://h/m", "redis+cluster://h,i"])
@pytest.mark.parametrize("option", ["socket_timeout", "socket_connect_timeout"])
def test_how_long_redis_may_take_is_said_in_one_place(host: str, option: str) -> None:
    for seconds in ("30", "0", "0.25"):
        with pytest.raises(BadConfigurationError, match=rf"{option} .*STORE_TIMEOUT"):
            app_given(None, JWT_BLOCKLIST=f"{host}?{option}={seconds}")


# An own store says how it fails


def test_an_own_store_can_say_that_it_is_busy_and_refuses_no_user() -> None:
    app, authx, store = spied()
    token = access_token(app, authx)
    store.error = StoreBusyError("its lock is taken")
    assert outcome(ask(app, headers=bearer(token))) == FAULT
    store.error = None
    assert outcome(ask(app, headers=bearer(token))) == OK


def test_the_log_has_common_words_for_whatever_of_a_store_fails(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whoever watches the log for them misses no store that takes no writes."""
    for failing in ("find_dated", "add", "sweep"):
        caplog.clear()
        store = SpyStore(error=OSError("down"), failing=frozenset({failing}))
        app, authx = store_app(store, PRUNE_ON_WRITE=5)
        with app.app_context(), contextlib.suppress(Exception):
            authx.revoke_session("s")
            authx.create_access_token("ann")
        [line] = said(caplog, logging.ERROR)
        assert line.startswith("the store of revocations failed")


# In memory


class Looked(bytes):
    """A key that is removed between two looks at it."""

    store: MemoryBlocklist
    clock: Clock
    looks = 0

    def __hash__(self) -> int:
        self.looks += 1
        if self.looks == 2:
            self.clock.now = 2.0**40
            assert [batch.removed for batch in self.store.prune()] == [1]
        return super().__hash__()


def test_an_entry_that_expires_while_it_is_looked_up_is_no_failure() -> None:
    clock = Clock(0.0)
    store = MemoryBlocklist(clock)
    plain = b"0123456789abcdef"
    store.add(Entry(plain, Kind.TOKEN, 5))
    key = Looked(plain)
    key.store, key.clock = store, clock
    assert len(store.find([key])) <= 1


# In accept mode


def lenient(heard: list[str]) -> tuple[Flask, AuthX, contextlib.AbstractContextManager[None]]:
    """An app in accept mode whose store fails, and who hears of tokens that went unchecked."""
    store = SpyStore(error=OSError("down"), failing=frozenset({"find"}))
    app, authx = store_app(store, BLOCKLIST_ON_ERROR="accept", TOKEN_LOCATION=["headers", "query"])

    def hear(sender: object, **ids: Any) -> None:
        heard.append(ids["sub"])

    return app, authx, token_unchecked.connected_to(hear, app)


def test_a_token_that_a_guard_has_refused_is_not_announced_as_unchecked() -> None:
    heard: list[str] = []
    app, authx, listening = lenient(heard)

    @authx.token_blocklist
    def is_revoked(token: str, *, claims: dict[str, Any]) -> bool:
        return bool(claims["sub"] == "ann")

    @app.get("/two")
    @authx.optional_token(on_invalid="ignore", locations=["headers"])
    @authx.token_required(locations=["query"], check_revocation=False)
    def two() -> str:
        return ""

    other = make_app()
    ann, bob = access_token(*other, "ann"), access_token(*other, "bob")
    bring_down(app, authx, ann)
    with listening:
        response = ask(app, path=f"/two?token={bob}", headers=bearer(ann))
        assert outcome(response) == OK
        assert heard == []


def test_a_token_that_passes_after_a_refusal_is_announced_as_unchecked() -> None:
    heard: list[str] = []
    app, authx, listening = lenient(heard)

    @app.get("/two")
    def two() -> str:
        for fresh in (True, False):
            with contextlib.suppress(FreshTokenRequiredError):
                authx.token_required(fresh=fresh)(lambda: "")()
        return current_token.sub

    ann = access_token(*make_app(), "ann", fresh=False)
    bring_down(app, authx, ann)
    with listening:
        assert outcome(ask(app, path="/two", headers=bearer(ann))) == OK
        assert heard == ["ann"]


# Several apps of one Flask-SQLAlchemy


def test_apps_that_share_a_db_do_not_slow_it_down(sql_app: SQLApps, tmp_path: Path) -> None:
    db = SQLAlchemy()
    sites = [
        sql_app(f"sqlite:///{tmp_path / str(number)}.db", db=db, JWT_AUDIT="365d")
        for number in range(5)
    ]
    calls = 0
    with sites[-1].app.app_context():
        listeners: Any = db.session().dispatch.after_begin
        calls = len([*listeners])
    assert calls == 1
    for site in (sites[0], sites[-1]):
        token = access_token(site.app, site.authx)
        with site.app.app_context():
            site.write("uncommitted")
            with pytest.raises(RuntimeError, match="uncommitted writes"):
                site.authx.revoke_token(token)
            db.session.rollback()
            site.authx.revoke_token(token)
        assert not works(site.app, token)
