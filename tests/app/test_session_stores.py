"""Where sessions are kept, and what is said at the start of what cannot keep them: rule 6."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask_sqlalchemy import SQLAlchemy

from flask_authx import AuthX, BadConfigurationError, MemoryBlocklist, MemorySessions
from tests.support import SECRET, Clock, make_app, parts
from tests.support.databases import database_url, redis_url
from tests.support.session_sites import SpySessions
from tests.support.spy_store import SpyStore

MEMBERS = ("per_process", "open", "get", "move", "rename", "end", "of", "sweep", "prune", "risks")


def problems_of(
    app: Flask | None = None, *, name: str = "authx", stores: Any = None, **config: Any
) -> tuple[str, ...]:
    """What is wrong with an app of these settings and stores."""
    app = app or Flask("tests")
    prefix = "JWT_" if name == "authx" else f"{name.upper()}_JWT_"
    app.config[f"{prefix}SECRET_KEY"] = SECRET
    app.config.from_mapping({prefix + key: value for key, value in config.items()})
    with pytest.raises(BadConfigurationError) as raised:
        AuthX(app, name=name, **dict[str, Any](stores or {}))
    return raised.value.problems


@pytest.mark.parametrize(("name", "prefix"), [("authx", "JWT_"), ("admin", "ADMIN_JWT_")])
@pytest.mark.parametrize("given", [False, True])
def test_rotation_without_a_store_of_revocations_is_an_error(
    name: str, prefix: str, given: bool
) -> None:
    """USERS 50, SECURITY A.13 244: a stolen token could be found out and not be stopped."""
    stores = {"sessions": MemorySessions()} if given else {}
    config: dict[str, Any] = {} if given else {"SESSIONS": True}
    [problem] = problems_of(name=name, stores=stores, **config)
    assert problem == (
        f"{prefix}SESSIONS: reuse of a refresh token revokes its session, and there is no store of "
        f"revocations: set {prefix}BLOCKLIST, or give AuthX a store (blocklist=)."
    )


def test_who_brings_one_store_brings_both() -> None:
    [problem] = problems_of(stores={"blocklist": MemoryBlocklist()}, SESSIONS=True)
    assert problem == (
        "JWT_SESSIONS: AuthX was given a store of revocations (blocklist=): give it a session "
        "store as well (sessions=)."
    )


@pytest.mark.parametrize(
    "store",
    [MemorySessions, MemoryBlocklist(), object(), 5],
    ids=["class", "other kind", "object", "number"],
)
def test_a_store_that_keeps_no_sessions_is_refused(store: Any) -> None:
    stores = {"blocklist": MemoryBlocklist(), "sessions": store}
    [problem] = problems_of(stores=stores)
    assert problem.startswith("sessions= takes a store, and ")
    assert problem.endswith(": see SessionStore.")


@pytest.mark.parametrize("missing", MEMBERS)
def test_a_store_that_lacks_something_is_told_what(missing: str) -> None:
    members: dict[str, Any] = {name: len for name in MEMBERS if name != missing}
    stores = {"blocklist": MemoryBlocklist(), "sessions": type("Own", (), members)()}
    [problem] = problems_of(stores=stores)
    assert f"has no {missing}: see SessionStore." in problem


def test_a_url_is_told_where_it_belongs() -> None:
    stores = {"blocklist": MemoryBlocklist(), "sessions": "redis://:password@host/0"}
    [problem] = problems_of(stores=stores)
    assert "sessions= takes a store" in problem
    assert "password" not in problem


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("sqlalchemy://", "call db.init_app(app) before"),
        ("memory://x", "nothing comes after memory://"),
        ("sqlalchemy://u:p@h/d", "comes nothing or a bind key"),
        ("nowhere://", "there is no store for"),
        ("sqlite:///x.db", "set SQLALCHEMY_DATABASE_URI"),
        ("redis://host/0?no=1", "JWT_BLOCKLIST"),
    ],
)
def test_what_is_wrong_with_the_one_url_is_said_once(url: str, expected: str) -> None:
    """Both stores are opened by it."""
    [problem] = problems_of(BLOCKLIST=url, SESSIONS=True)
    assert problem.startswith("JWT_BLOCKLIST")
    assert expected in problem


def test_a_bind_that_is_missing_is_said_once() -> None:
    app = Flask("tests")
    app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite://"
    SQLAlchemy(app)
    [problem] = problems_of(app, BLOCKLIST="sqlalchemy://other", SESSIONS=True)
    assert problem == "JWT_BLOCKLIST: there is no bind 'other' in SQLALCHEMY_BINDS."


def test_everything_that_is_wrong_is_said_together() -> None:
    problems = problems_of(
        SESSIONS=True, REFRESH_GRACE=700, SESSION_LIFETIME=None, SESSION_DETAILS="place"
    )
    named = sorted(problem.split()[0].rstrip(":") for problem in problems)
    assert named == [
        "JWT_REFRESH_GRACE",
        "JWT_SESSIONS",
        "JWT_SESSION_DETAILS",
        "JWT_SESSION_LIFETIME",
    ]


def goes_on(app: Flask, authx: AuthX) -> bool:
    """Whether a session is kept: opened, refreshed and listed."""
    with app.app_context():
        pair = authx.refresh(authx.login("ann").refresh_token)
        sid = parts(pair.access_token)[1]["sid"]
        return sid in [session.sid for session in authx.sessions("ann")]


def test_a_store_in_memory_goes_by_the_apps_clock() -> None:
    clock = Clock()
    app, authx = make_app(BLOCKLIST="memory://", SESSIONS=True, clock=clock)
    # Had it gone by the machine's, far ahead or behind, a session would remove another too early.
    clock.advance(-(10**9))
    assert goes_on(app, authx)
    clock.advance(2 * 10**9)
    assert goes_on(app, authx)


@pytest.mark.parametrize("url", ["sqlalchemy://", "sqlalchemy://tokens"])
def test_in_the_apps_database_or_one_of_its_binds(url: str, tmp_path: Path) -> None:
    app = Flask("tests")
    app.config.from_mapping(
        JWT_SECRET_KEY=SECRET,
        JWT_BLOCKLIST=url,
        JWT_SESSIONS=True,
        SQLALCHEMY_DATABASE_URI=f"sqlite:///{tmp_path / 'main.db'}",
        SQLALCHEMY_BINDS={"tokens": f"sqlite:///{tmp_path / 'tokens.db'}"},
    )
    db = SQLAlchemy(app)
    authx = AuthX(app)
    key = "tokens" if url.endswith("tokens") else None
    assert "authx_sessions" in db.metadatas[key].tables
    assert "authx_sessions" not in db.metadatas[None if key else "tokens"].tables
    with app.app_context():
        db.create_all()
    assert goes_on(app, authx)


def test_in_redis() -> None:
    app, authx = make_app(BLOCKLIST=redis_url(), SESSIONS=True, STORE_TIMEOUT=10)
    with app.app_context():
        assert authx.login("ann")


def test_without_the_setting_no_table_is_asked_for(tmp_path: Path) -> None:
    """An app that updates and keeps no sessions has nothing to migrate."""
    app = Flask("tests")
    app.config.from_mapping(
        JWT_SECRET_KEY=SECRET,
        JWT_BLOCKLIST="sqlalchemy://",
        SQLALCHEMY_DATABASE_URI=database_url("sqlite", tmp_path),
    )
    db = SQLAlchemy(app)
    AuthX(app)
    assert set(db.metadata.tables) == {"authx_blocklist"}


def test_stores_of_ones_own_serve_without_the_setting_or_beside_it() -> None:
    configs: list[dict[str, Any]] = [{}, {"JWT_SESSIONS": True}]
    for config in configs:
        app = Flask("tests")
        app.config.from_mapping(JWT_SECRET_KEY=SECRET, **config)
        sessions = SpySessions(Clock())
        authx = AuthX(app, blocklist=SpyStore(), sessions=sessions, clock=Clock())
        assert goes_on(app, authx)
        assert "open" in sessions.calls


def test_a_store_of_sessions_beside_revocations_that_a_setting_names() -> None:
    app = Flask("tests")
    app.config.from_mapping(JWT_SECRET_KEY=SECRET, JWT_BLOCKLIST="memory://")
    sessions = SpySessions(Clock())
    authx = AuthX(app, sessions=sessions, clock=Clock())
    assert goes_on(app, authx)
    assert "move" in sessions.calls
