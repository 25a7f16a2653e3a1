"""What the command line says of stores: that can't be used from it, or are not what they seem."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis
import sqlalchemy as sa
from flask import Flask

from tests.doctor.support import entries, found
from tests.support import make_app
from tests.support.cli import run
from tests.support.databases import database_url, private_server, redis_url
from tests.support.spy_store import SpyStore, store_app
from tests.support.sql_apps import SQLApps


def problems(app: Flask) -> list[str]:
    """What doctor finds about the store."""
    return [
        f"{entry['problem']} {entry['fix']}"
        for entry in entries(app)
        if entry["setting"] == "JWT_BLOCKLIST" and entry["level"] != "ok"
    ]


# A store that ends with the command


@pytest.mark.parametrize(
    "command",
    [("revoke", "--subject", "ann"), ("revoke", "--session", "s"), ("blocklist",), ("prune",)],
)
def test_a_memory_of_one_s_own_is_nothing_to_work_on(command: tuple[str, ...]) -> None:
    app, _ = make_app(BLOCKLIST="memory://")
    done = run(app, *command)
    assert (done.code, done.stdout) == (1, "")
    assert "JWT_BLOCKLIST keeps revocations in the memory of each process" in done.stderr


def test_a_database_in_memory_is_nothing_to_work_on(sql_app: SQLApps) -> None:
    made = sql_app("sqlite-memory")
    done = run(made.app, "revoke", "--subject", "ann")
    assert (done.code, done.stdout) == (1, "")
    assert "memory of each process" in done.stderr


# prune


def test_prune_says_that_redis_prunes_itself() -> None:
    app, _ = make_app(BLOCKLIST=redis_url())
    done = run(app, "prune")
    assert done.stdout == "Redis removes expired revocations by itself.\n"
    assert (done.code, done.stderr) == (0, "")


def test_prune_says_nothing_where_nobody_looks() -> None:
    """What a timer starts has its errors mailed."""
    app, _ = store_app(SpyStore())
    assert run(app, "prune").stderr == ""


# revoke


def test_a_revocation_that_may_not_have_been_written_says_where_to_look() -> None:
    app, _ = store_app(SpyStore(error=OSError("down")))
    done = run(app, "revoke", "--session", "s")
    assert done.code == 3
    said = "Error: The revocation may not have been written. See the line above, and try again."
    assert done.stderr.splitlines()[-1] == said


# doctor


def test_an_sqlite_file_that_is_not_in_wal_mode_is_named(sql_app: SQLApps, tmp_path: Path) -> None:
    made = sql_app("sqlite")
    [problem] = problems(made.app)
    assert "not in WAL mode" in problem
    assert str(tmp_path / "test.db") in problem
    made.outside("PRAGMA journal_mode = WAL")
    assert problems(made.app) == []


def test_a_store_that_works_and_does_not_say_how_it_is_set_up_is_a_hint() -> None:
    store = SpyStore(error=OSError("INFO is forbidden"), failing=frozenset({"risks"}))
    app, _ = store_app(store)
    store.marks.clear()
    assert ("hint", "JWT_BLOCKLIST") in found(app)
    assert ("error", "JWT_BLOCKLIST") not in found(app)
    [problem] = problems(app)
    assert "its configuration could not be checked" in problem
    # A look at the store writes nothing.
    assert store.marks == {}


@pytest.mark.slow
def test_a_redis_user_who_may_not_ask_for_its_settings_is_a_hint() -> None:
    with private_server("redis") as server:
        untyped: Any = redis.Redis
        with untyped.from_url(server.url, socket_timeout=10) as client:
            commands = [f"+{one}" for one in ("mget", "set", "get", "eval", "time", "select")]
            client.execute_command("ACL", "SETUSER", "app", "on", ">word", "~authx:*", *commands)
        app, _ = make_app(BLOCKLIST=server.url.replace("redis://", "redis://app:word@"))
        [problem] = problems(app)
        assert "its configuration could not be checked" in problem


@pytest.mark.parametrize("kind", ["postgresql", "psycopg2"])
def test_a_database_that_takes_no_writes_is_a_risk(sql_app: SQLApps, kind: str) -> None:
    url = sa.make_url(database_url(kind, sql_app.folder))
    made = sql_app(url.render_as_string(hide_password=False))
    assert not any("read-only" in problem for problem in problems(made.app))
    read_only = url.update_query_dict({"options": "-c default_transaction_read_only=on"})
    other = sql_app(read_only.render_as_string(hide_password=False), tables=False)
    [problem] = [one for one in problems(other.app) if "read-only" in one]
    assert "name the primary server" in problem


@pytest.mark.slow
def test_a_mariadb_that_takes_no_writes_is_not_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with private_server("mariadb") as server, closing(SQLApps(tmp_path)) as apps:
        made = apps(server.url)
        assert not any("can't be reached" in problem for problem in problems(made.app))
        engine = sa.create_engine(server.url, poolclass=sa.NullPool)
        with engine.connect() as connection:
            connection.exec_driver_sql("SET GLOBAL read_only = 1")
        other = apps(server.url, tables=False)
        assert any("the blocklist can't be reached" in problem for problem in problems(other.app))
        assert "the database server is read-only" in caplog.text
