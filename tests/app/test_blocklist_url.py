"""What ``JWT_BLOCKLIST`` may name, and what is said of what it can't: rule 6, USERS 50."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from redis.cluster import RedisCluster

from flask_authx import (
    AuthX,
    BadConfigurationError,
    MemoryBlocklist,
    RedisBlocklist,
    SQLAlchemyBlocklist,
)
from flask_authx.settings.reading import read_settings
from tests.support import SECRET, Clock, access_token, bearer, make_app
from tests.support.answers import MISSING, OK, ask, outcome
from tests.support.corpus import check_all
from tests.support.spy_store import SpyStore, bring_down, said, store_app, works

PASSWORD = "hunter2-hunter2"


def problems_of(app: Flask | None = None, blocklist: Any = None, **config: Any) -> tuple[str, ...]:
    """What is wrong with an app of these settings."""
    app = app or Flask("tests")
    app.config.from_mapping({"JWT_SECRET_KEY": SECRET})
    app.config.from_mapping({f"JWT_{name}": value for name, value in config.items()})
    with pytest.raises(BadConfigurationError) as raised:
        AuthX(app, blocklist=blocklist)
    return raised.value.problems


def with_sqlalchemy(uri: str | None = "sqlite://", **binds: str) -> Flask:
    app = Flask("tests")
    app.config["SQLALCHEMY_BINDS"] = binds
    if uri is not None:
        app.config["SQLALCHEMY_DATABASE_URI"] = uri
    SQLAlchemy(app)
    return app


# Which store


def test_a_store_in_memory_goes_by_the_apps_clock() -> None:
    clock = Clock()
    app, authx = make_app(BLOCKLIST="memory://", clock=clock)
    with app.app_context():
        token = authx.create_access_token("ann")
        authx.revoke_token(token)
        # Had it gone by the machine's clock, this would have removed or kept the wrong ones.
        clock.advance(86400)
        authx.revoke_session("s")
        authx.revoke_session("t")
        clock.advance(-86400)
        assert not authx.is_revoked(token)


@pytest.mark.parametrize("url", ["sqlalchemy://", "sqlalchemy:///", "sqlalchemy://tokens"])
def test_the_apps_database_or_one_of_its_binds(url: str, tmp_path: Path) -> None:
    app = Flask("tests")
    app.config.from_mapping(
        JWT_SECRET_KEY=SECRET,
        JWT_BLOCKLIST=url,
        SQLALCHEMY_DATABASE_URI=f"sqlite:///{tmp_path / 'main.db'}",
        SQLALCHEMY_BINDS={"tokens": f"sqlite:///{tmp_path / 'tokens.db'}"},
    )
    db = SQLAlchemy(app)
    authx = AuthX(app)
    key = "tokens" if url.endswith("tokens") else None
    assert "authx_blocklist" in db.metadatas[key].tables
    assert "authx_blocklist" not in db.metadatas[None if key else "tokens"].tables
    with app.app_context():
        db.create_all()
        authx.revoke_session("s")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://u:{0}@h/d",
        "mysql://u:{0}@h/d",
        "sqlite:///{0}",
    ],
)
def test_the_url_of_a_database_belongs_elsewhere(url: str) -> None:
    [problem] = problems_of(BLOCKLIST=url.format(PASSWORD))
    assert "set SQLALCHEMY_DATABASE_URI" in problem
    assert "JWT_BLOCKLIST to sqlalchemy://" in problem
    assert PASSWORD not in problem


@pytest.mark.parametrize("url", ["rediss+x://:{0}@h", "x://{0}"])
def test_an_unknown_scheme_is_answered_with_the_known_ones(url: str) -> None:
    [problem] = problems_of(BLOCKLIST=url.format(PASSWORD))
    assert problem.startswith("JWT_BLOCKLIST: there is no store for ")
    assert "memory, sqlalchemy, redis, rediss" in problem
    assert PASSWORD not in problem


def test_the_database_must_be_set_up_first() -> None:
    configs: list[dict[str, Any]] = [
        {"BLOCKLIST": "sqlalchemy://"},
        {"BLOCKLIST": "memory://", "AUDIT": "1d"},
    ]
    for config in configs:
        [problem] = problems_of(**config)
        assert "call db.init_app(app) before authx.init_app(app)" in problem
        assert problem.startswith("JWT_AUDIT" if "AUDIT" in config else "JWT_BLOCKLIST")


#: What SQLAlchemy takes, and the driver rejects at each connection.
REJECTED_BY_DRIVERS = [
    ("postgresql+psycopg://ann:secret@h/db?no_such=1", "no_such"),
    ("postgresql+psycopg2://ann:secret@h/db?no_such=1", "no_such"),
    ("mysql+pymysql://ann:secret@h/db?no_such=1", "no_such"),
    ("mysql+pymysql://ann:secret@h/db?charset=klingon", "does not know the charset"),
    ("mysql+pymysql://ann:secret@h/db?ssl=true", "set ssl_ca=/path/to/ca.pem, or remove it"),
    ("mysql+pymysql://ann:secret@h/db?ssl=1&charset=klingon", "can't set ssl"),
    ("mysql+pymysql://ann:secret@h/db?ssl_ca=/no/such.pem", "ssl_ca=/no/such.pem: No such file"),
    (f"mysql+pymysql://ann:secret@h/db?ssl_ca={__file__}", f"ssl_ca={__file__}: "),
    (
        f"mysql+pymysql://ann:secret@h/db?ssl_key={__file__}&ssl_cert=/no/such.pem",
        ": ssl_cert=/no/such.pem: No such file",
    ),
    ("mysql+pymysql://ann:secret@h/db?ssl_cipher=NO-SUCH", "No cipher"),
    ("mysql+pymysql://ann:/no/such@h/db?ssl_ca=/no/such.pem", "FileNotFoundError"),
    ("postgresql+psycopg_async://ann:secret@h/db", "is async"),
    ("sqlite:////no/such/folder/store.db", "folder"),
]
#: Options of a driver itself, and of its server.
TAKEN_BY_DRIVERS = [
    "postgresql+psycopg://ann:secret@h/db?application_name=shop&prepare_threshold=5",
    "postgresql+psycopg://ann@/db?host=a:1&host=b:2&target_session_attrs=read-write",
    "postgresql+psycopg2://ann:secret@h/db?sslmode=require&connect_timeout=3",
    "mysql+pymysql://ann:secret@h/db?charset=utf8mb4&read_timeout=3",
    "mysql+pymysql://ann:secret@h/db?ssl=&ssl_ca=&ssl_disabled=true",
    "sqlite://?timeout=3",
    "sqlite:///file:store?mode=ro&uri=true",
]


def test_what_a_driver_rejects_is_refused_at_the_start() -> None:
    def check(case: tuple[str, str]) -> None:
        uri, named = case
        app = with_sqlalchemy(uri)
        [problem] = problems_of(app, BLOCKLIST="sqlalchemy://")
        assert problem.startswith("JWT_BLOCKLIST: the ")
        assert named in problem
        assert "secret" not in problem

    check_all([(uri, (uri, named)) for uri, named in REJECTED_BY_DRIVERS], check)


def test_what_a_driver_takes_is_not() -> None:
    def check(uri: str) -> None:
        app = with_sqlalchemy(uri)
        app.config.from_mapping(JWT_SECRET_KEY=SECRET, JWT_BLOCKLIST="sqlalchemy://")
        AuthX(app)

    check_all({uri: uri for uri in TAKEN_BY_DRIVERS}, check)


@pytest.mark.parametrize("name", ["flask_sqlalchemy", "redis"])
def test_a_package_that_is_missing_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    url, extra = {
        "flask_sqlalchemy": ("sqlalchemy://", "flask-authx[sqlalchemy]"),
        "redis": ("redis://host", "flask-authx[redis]"),
    }[name]
    # As Python has it where a package isn't installed; `find_spec` takes None for "can't say".
    monkeypatch.setattr(sys, "path", [])
    for module in [one for one in sys.modules if one.partition(".")[0] == name]:
        monkeypatch.delitem(sys.modules, module)
    [problem] = problems_of(BLOCKLIST=url)
    assert f"pip install {extra}" in problem
    assert problem.startswith("JWT_BLOCKLIST needs ")


def test_a_bind_that_is_missing_is_named() -> None:
    [problem] = problems_of(with_sqlalchemy(), BLOCKLIST="sqlalchemy://tokens")
    assert problem == "JWT_BLOCKLIST: there is no bind 'tokens' in SQLALCHEMY_BINDS."
    [problem] = problems_of(with_sqlalchemy(None, a="sqlite://"), BLOCKLIST="sqlalchemy://")
    assert problem == "JWT_BLOCKLIST: there is no SQLALCHEMY_DATABASE_URI."


def test_a_trail_needs_a_database_that_lasts() -> None:
    [problem] = problems_of(with_sqlalchemy(), BLOCKLIST="memory://", AUDIT="1d")
    assert "an audit trail must last" in problem


def test_one_store_is_enough() -> None:
    [problem] = problems_of(blocklist=SpyStore(), BLOCKLIST="memory://")
    assert problem.startswith("JWT_BLOCKLIST: AuthX was given a store as well")


def test_what_is_about_a_store_needs_one() -> None:
    [problem] = problems_of(BLOCKLIST_ON_ERROR="accept")
    assert problem.startswith("JWT_BLOCKLIST_ON_ERROR has no effect without a store")
    make_app(BLOCKLIST_ON_ERROR="refuse")
    store_app(SpyStore(), BLOCKLIST_ON_ERROR="accept")


def test_a_trail_without_a_store_would_never_be_written(tmp_path: Path) -> None:
    """DESIGN 5.6: no setting is read by nothing."""
    app = with_sqlalchemy(f"sqlite:///{tmp_path / 'app.db'}")
    [problem] = problems_of(app, AUDIT="1d")
    assert problem.startswith("JWT_AUDIT")


def test_all_problems_are_told_together() -> None:
    """DESIGN 5.6"""
    problems = problems_of(
        BLOCKLIST="nothing://",
        SECRET_KEY="short",
        STORE_TIMEOUT=0,
        BLOCKLIST_ON_ERROR="ignore",
        PRUNE_ON_WRITE=-1,
        CLOCK_SKEW="soon",
        AUDIT="1d",
    )
    named = sorted(problem.split(" ")[0].rstrip(":") for problem in problems)
    assert named == [
        "JWT_AUDIT",
        "JWT_BLOCKLIST",
        "JWT_BLOCKLIST_ON_ERROR",
        "JWT_CLOCK_SKEW",
        "JWT_PRUNE_ON_WRITE",
        "JWT_SECRET_KEY",
        "JWT_STORE_TIMEOUT",
    ]


# Passwords

WITH_PASSWORD = [
    f"redis://:{PASSWORD}@host:port/0",
    f"redis://:{PASSWORD}@host/0?db=x&socket_timeout=soon",
    f"redis://:{PASSWORD}@[host/0",
    f"redis://u[:{PASSWORD}@host/0",
    f"redis://:{PASSWORD}\u2100@host/0",
    f"redis+cluster://:{PASSWORD}@a:1,b:x/",
    f"redis+cluster://:{PASSWORD}@a:1,b:2/3",
    f"redis+sentinel://:{PASSWORD}@a,b",
    f"redis+sentinel://:{PASSWORD}@a,b/service/x",
    f"sqlalchemy://u:{PASSWORD}@host/database",
    f"postgresql://u:{PASSWORD}@host/database",
    f"u:{PASSWORD}@host",
]


@pytest.mark.parametrize("url", WITH_PASSWORD)
def test_no_message_shows_a_password(url: str, caplog: pytest.LogCaptureFixture) -> None:
    """Rule 5. What can't be read is a problem as any other, told with the setting's name."""
    [problem] = problems_of(with_sqlalchemy(), BLOCKLIST=url)
    assert problem.startswith("JWT_BLOCKLIST")
    assert PASSWORD not in problem + caplog.text


def test_no_repr_shows_a_password(caplog: pytest.LogCaptureFixture) -> None:
    url = f"redis://u:{PASSWORD}@127.0.0.1:1/0"
    settings, problems = read_settings({"JWT_SECRET_KEY": SECRET, "JWT_BLOCKLIST": url})
    assert (settings.blocklist, problems) == (url, [])
    app, authx = make_app(BLOCKLIST=url, BLOCKLIST_ON_ERROR="accept")
    token = access_token(*make_app())
    bring_down(app, authx, token)
    assert works(app, token)
    shown = f"{settings!r} {settings} {app.extensions['authx']!r} {caplog.text}"
    assert "the store of revocations failed" in caplog.text
    assert PASSWORD not in shown


def test_a_change_of_the_url_is_told_without_it() -> None:
    app, _ = make_app(BLOCKLIST="memory://")
    app.testing = True
    app.config["JWT_BLOCKLIST"] = f"redis://:{PASSWORD}@host"
    with pytest.raises(BadConfigurationError, match="JWT_BLOCKLIST was changed") as raised:
        ask(app)
    assert PASSWORD not in str(raised.value)


# Clients of Redis

UNFIT: dict[str, Any] = {
    "no timeout": lambda: Redis(socket_timeout=None),
    "asyncio": lambda: AsyncRedis(socket_timeout=0.25),
    "a URL": lambda: f"redis://:{PASSWORD}@host",
    "nothing": lambda: None,
    "anything": object,
}


@pytest.mark.parametrize("kind", UNFIT)
def test_an_unfit_redis_client_is_refused_at_once(kind: str) -> None:
    with pytest.raises(BadConfigurationError) as raised:
        RedisBlocklist(UNFIT[kind]())
    [problem] = raised.value.problems
    assert ("socket_timeout=0.25" in problem) is (kind == "no timeout")
    assert PASSWORD not in problem


def test_a_redis_client_is_not_asked_anything_before_it_must() -> None:
    made: list[Redis] = []

    def make() -> Redis | RedisCluster:
        made.append(Redis(port=1, socket_timeout=0.1, socket_connect_timeout=0.1))
        return made[-1]

    app, _ = store_app(RedisBlocklist(make))
    assert outcome(ask(app)) == MISSING
    assert made == []


# Several processes

SEVERAL: dict[str, Any] = {"environ_overrides": {"wsgi.multiprocess": True}}


def loud(app: Flask, token: str, **kwargs: Any) -> int:
    """How many warnings the first request and those after it give."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(3):
            assert outcome(ask(app, headers=bearer(token), **kwargs)) == OK
    ours = [one for one in caught if "keeps revocations in the memory" in str(one.message)]
    assert all(one.category is RuntimeWarning for one in ours)
    return len(ours)


def memory_apps() -> list[tuple[Flask, AuthX]]:
    """Apps whose stores other processes don't see."""
    database = with_sqlalchemy()
    # However slow the machine is.
    database.config.from_mapping(
        JWT_SECRET_KEY=SECRET, JWT_BLOCKLIST="sqlalchemy://", JWT_STORE_TIMEOUT=30
    )
    authx = AuthX(database, clock=Clock())
    database.add_url_rule("/guarded", "guarded", authx.token_required(lambda: ""))
    return [
        make_app(BLOCKLIST="memory://"),
        store_app(MemoryBlocklist(Clock())),
        store_app(SpyStore(per_process=True)),
        (database, authx),
    ]


def test_several_processes_with_a_memory_each_are_told_loudly_and_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """SECURITY A.12 218"""
    for app, authx in memory_apps():
        caplog.clear()
        assert loud(app, access_token(app, authx), **SEVERAL) == 1
        [line] = [line for line in said(caplog, 50) if "JWT_BLOCKLIST" in line]
        assert "sqlalchemy:// or redis://" in line


def test_one_process_debugging_testing_and_a_shared_store_are_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for app, authx in memory_apps():
        assert loud(app, access_token(app, authx)) == 0
    for flag in ("debug", "testing"):
        for app, authx in memory_apps():
            setattr(app, flag, True)
            assert loud(app, access_token(app, authx), **SEVERAL) == 0
    app, authx = store_app(SpyStore())
    assert loud(app, access_token(app, authx), **SEVERAL) == 0
    app, authx = make_app()
    assert loud(app, access_token(app, authx), **SEVERAL) == 0
    assert said(caplog) == []


def test_the_sql_store_is_there_by_its_name_and_other_names_are_not() -> None:
    import flask_authx

    assert flask_authx.SQLAlchemyBlocklist is SQLAlchemyBlocklist
    with pytest.raises(AttributeError, match="NoBlocklist"):
        getattr(flask_authx, "NoBlocklist")  # noqa: B009 - a type checker knows that it isn't there
