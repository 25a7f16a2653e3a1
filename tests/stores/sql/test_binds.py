"""``sqlalchemy://key`` puts the tables into that bind of Flask-SQLAlchemy, and into no other."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from flask_sqlalchemy import SQLAlchemy

from flask_authx import AuthX, BadConfigurationError
from tests.support import OTHER_SECRET, SECRET, access_token
from tests.support.databases import database_url
from tests.support.spy_store import works
from tests.support.sql_apps import KINDS, SQLApps, revokes

OURS = {"authx_blocklist", "authx_audit"}


def ours_in(db: SQLAlchemy, bind_key: str | None) -> set[str]:
    """Which of our tables are in a database."""
    return OURS.intersection(sa.inspect(db.engines[bind_key]).get_table_names())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("key", ["auth", "Auth_DB", "a.b-c"])
def test_the_tables_are_in_that_bind_only(sql_app: SQLApps, kind: str, key: str) -> None:
    bind = "sqlite:///bind.db" if kind == "sqlite" else database_url(kind, sql_app.folder)
    site = sql_app(
        f"sqlite:///{sql_app.folder / 'main.db'}",
        SQLALCHEMY_BINDS={key: bind, "third": "sqlite:///third.db"},
        JWT_BLOCKLIST=f"sqlalchemy://{key}",
        JWT_AUDIT="365d",
    )
    assert revokes(site)
    with site.app.app_context():
        found = {bind_key: ours_in(site.db, bind_key) for bind_key in (None, key, "third")}
        assert found == {None: set(), key: OURS, "third": set()}
        for name in OURS:
            assert name not in site.db.metadata.tables
            count = sa.select(sa.func.count()).select_from(site.db.metadatas[key].tables[name])
            with site.db.engines[key].connect() as connection:
                # The revocation, and beside it the mark of the scope, which isn't recorded.
                assert connection.scalar(count) == (2 if name == "authx_blocklist" else 1)
        site.db.drop_all(bind_key=key)
        assert ours_in(site.db, key) == set()


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_a_bind_on_a_server_takes_no_notice_of_an_sqlite_file(sql_app: SQLApps, kind: str) -> None:
    url = database_url(kind, sql_app.folder)
    site = sql_app("sqlite", SQLALCHEMY_BINDS={"auth": url}, JWT_BLOCKLIST="sqlalchemy://auth")
    with site.app.app_context():
        site.write("kept")
        site.authx.revoke_session("s")
        assert site.committed() == []
        site.db.session.commit()
    assert site.committed() == ["kept"]


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_a_session_may_use_a_server_beside_the_sqlite_file(sql_app: SQLApps, kind: str) -> None:
    """Only what is uncommitted in the file keeps a revocation waiting."""
    url = database_url(kind, sql_app.folder)
    site = sql_app("sqlite", SQLALCHEMY_BINDS={"other": url})
    with site.app.app_context():
        session = site.db.session
        bind = {"bind": site.db.engines["other"]}
        assert session.execute(sa.text("SELECT 42"), bind_arguments=bind).scalar() == 42
        site.authx.revoke_session("first")
        assert site.entries() == 1
        site.write("kept")
        with pytest.raises(RuntimeError, match="uncommitted"):
            site.authx.revoke_session("second")
        session.commit()
        site.authx.revoke_session("second")
    assert (site.committed(), site.entries()) == (["kept"], 2)


def test_a_default_database_is_not_needed(sql_app: SQLApps) -> None:
    config: dict[str, Any] = {
        "SQLALCHEMY_DATABASE_URI": None,
        "SQLALCHEMY_BINDS": {"auth": "sqlite:///bind.db"},
    }
    site = sql_app("sqlite", tables=False, JWT_BLOCKLIST="sqlalchemy://auth", **config)
    with site.app.app_context():
        site.db.create_all("auth")
    assert revokes(site)
    cases: list[tuple[dict[str, Any], str]] = [
        ({"JWT_BLOCKLIST": "sqlalchemy://"}, "JWT_BLOCKLIST"),
        ({"JWT_BLOCKLIST": "memory://", "JWT_AUDIT": "30d"}, "JWT_AUDIT"),
    ]
    for more, setting in cases:
        with pytest.raises(BadConfigurationError) as caught:
            sql_app("sqlite", tables=False, **config, **more)
        (problem,) = caught.value.problems
        assert problem.startswith(setting)
        assert "SQLALCHEMY_DATABASE_URI" in problem


def test_an_unknown_bind_is_found_at_the_start(sql_app: SQLApps) -> None:
    binds = {"auth": "sqlite:///bind.db"}
    for key in ("atuh", "AUTH"):
        with pytest.raises(BadConfigurationError) as caught:
            sql_app("sqlite", SQLALCHEMY_BINDS=binds, JWT_BLOCKLIST=f"sqlalchemy://{key}")
        (problem,) = caught.value.problems
        assert problem.startswith("JWT_BLOCKLIST")
        assert repr(key) in problem
        assert "SQLALCHEMY_BINDS" in problem


@pytest.mark.parametrize("setting", ["JWT_BLOCKLIST", "JWT_AUDIT"])
def test_what_needs_flask_sqlalchemy_says_that_it_comes_first(setting: str) -> None:
    app = Flask("tests")
    app.config.from_mapping(JWT_SECRET_KEY=SECRET, JWT_BLOCKLIST="memory://")
    app.config[setting] = {"JWT_BLOCKLIST": "sqlalchemy://", "JWT_AUDIT": "30d"}[setting]
    with pytest.raises(BadConfigurationError) as caught:
        AuthX(app)
    (problem,) = caught.value.problems
    assert problem.startswith(setting)
    assert "db.init_app(app) before authx.init_app(app)" in problem
    # As it says.
    app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite:///" + ":memory:" * (setting != "JWT_AUDIT")
    if setting == "JWT_BLOCKLIST":
        SQLAlchemy(app)
        authx = AuthX(app)
        token = access_token(app, authx)
        with app.app_context():
            authx.revoke_token(token)
            assert authx.is_revoked(token)


def test_two_names_have_binds_of_their_own(sql_app: SQLApps) -> None:
    admin: list[AuthX] = []
    site = sql_app(
        "sqlite",
        before=lambda app, _: admin.append(AuthX(app, name="admin")),
        SQLALCHEMY_BINDS={"auth": "sqlite:///bind.db"},
        ADMIN_JWT_SECRET_KEY=OTHER_SECRET,
        ADMIN_JWT_BLOCKLIST="sqlalchemy://auth",
        ADMIN_JWT_STORE_TIMEOUT=10,
    )
    with site.app.app_context():
        site.write("new")
        # This one's file is not the one that is being written to.
        admin[0].revoke_session("s")
        with pytest.raises(RuntimeError, match="commit"):
            site.authx.revoke_session("s")


def test_one_object_serves_apps_with_different_binds(sql_app: SQLApps) -> None:
    db, authx = SQLAlchemy(), AuthX()
    main = sql_app("sqlite", db=db, authx=authx)
    url = f"sqlite:///{sql_app.folder / 'other.db'}"
    bind = sql_app(
        url,
        db=db,
        authx=authx,
        SQLALCHEMY_BINDS={"auth": "sqlite:///bind.db"},
        JWT_BLOCKLIST="sqlalchemy://auth",
    )
    token = access_token(main.app, authx)
    with bind.app.app_context():
        authx.revoke_token(token)
    assert (works(main.app, token), works(bind.app, token)) == (True, False)
    assert revokes(main)
