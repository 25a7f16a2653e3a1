"""Behind PgBouncer with transaction pooling: it works, and the store changes nothing for others."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import enumerate as enumerate_threads
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from flask_authx.cli import authx as group
from flask_authx.stores.base import MAX_AGE
from flask_authx.stores.sql.connections import Connections, StoreConnection
from tests.stores.sites import joined, outcome_of
from tests.stores.sql.test_renewal import OLD
from tests.support import bearer, databases
from tests.support.answers import OK, REVOKED
from tests.support.servers.private import pgbouncer, program
from tests.support.waiting import later_by, until

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("pgbouncer")]

DRIVERS = ("psycopg", "psycopg2")
#: Of a session: what a store sets on its own connections to PostgreSQL itself.
SETTINGS = ("statement_timeout", "synchronous_commit", "default_transaction_isolation")
#: Two connections to PostgreSQL, so that clients soon meet each other's.
FEW = ("default_pool_size=2", "max_client_conn=500")


@pytest.fixture(scope="module")
def direct(tmp_path_factory: pytest.TempPathFactory) -> str:
    return databases.database_url("postgresql", tmp_path_factory.mktemp("postgresql"))


@pytest.fixture(scope="module")
def pooled(direct: str) -> Iterator[str]:
    if program("pgbouncer") is None:
        databases.unavailable("postgresql", FileNotFoundError("pgbouncer"))
    with pgbouncer(direct, *FEW) as server:
        yield server.url


def by(driver: str, url: str) -> str:
    return url.replace("+psycopg:", f"+{driver}:")


def settings(url: str) -> set[tuple[str, ...]]:
    """The settings that any client finds on the server's connections."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    found: set[tuple[str, ...]] = set()
    with contextlib.ExitStack() as stack:
        lines = [stack.enter_context(engine.connect()) for _ in range(2)]
        # Each in a transaction, so that they are both connections that there are.
        for line in lines:
            found.add(
                tuple(line.exec_driver_sql(f"SHOW {name}").scalar() or "" for name in SETTINGS)
            )
    return found


@pytest.mark.parametrize("driver", DRIVERS)
def test_guards_log_ins_and_refreshes_work_and_change_nothing_for_others(
    direct: str, pooled: str, driver: str
) -> None:
    before = settings(pooled)
    assert before == settings(direct)
    # Made by the app of a test; its tables are those of the pooler's app.
    databases.app_on({"JWT_BLOCKLIST": "sqlalchemy://", "SQLALCHEMY_DATABASE_URI": direct})
    app, authx = joined(
        {
            "JWT_BLOCKLIST": "sqlalchemy://",
            "JWT_SESSIONS": True,
            "SQLALCHEMY_DATABASE_URI": by(driver, pooled),
        }
    )

    @app.post("/refresh")
    @authx.refresh_token_required
    def refresh_view() -> dict[str, Any]:
        return authx.refresh().to_dict()

    with app.app_context():
        app.extensions["sqlalchemy"].create_all()

    def live(number: int) -> None:
        """A session from its log-in to its log-out, with guards and refreshes."""
        with app.app_context():
            pair = authx.login(f"user{number}")
        access, refresh = pair.access_token, pair.refresh_token
        for _ in range(12):
            assert outcome_of(app, access) == OK
            response = app.test_client().post("/refresh", headers=bearer(refresh))
            assert response.status_code == 200, response.text
            new: Any = response.json
            access, refresh = new["access_token"], new["refresh_token"]
        with app.app_context():
            authx.revoke_token(access)
        assert outcome_of(app, access) == REVOKED

    with ThreadPoolExecutor(8) as pool:
        assert [*pool.map(live, range(8))] == [None] * 8
    assert settings(pooled) == before


def level(connection: StoreConnection) -> list[Any]:
    query = sa.text("SELECT " + ", ".join(f"current_setting('{name}')" for name in WRITTEN))
    return [*connection.sqlalchemy.execute(query).one()]


WRITTEN = ("statement_timeout", "synchronous_commit", "transaction_isolation")


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_write_is_a_transaction_with_its_own_settings(
    direct: str, pooled: str, driver: str
) -> None:
    """Whatever the database's are: a commit that may be lost, and an isolation that may fail."""
    admin = sa.create_engine(direct, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    name = admin.url.database
    weak = {"synchronous_commit": "off", "default_transaction_isolation": "'serializable'"}
    with admin.connect() as line:
        for setting, value in weak.items():
            line.exec_driver_sql(f"ALTER DATABASE {name} SET {setting} = {value}")
    try:
        with pgbouncer(direct, *FEW) as other:
            url = by(driver, other.url)
            connections = Connections(sa.create_engine(url), 0.75)
            run = connections.run
            assert run(level) == ["0", "off", "serializable"]
            assert run(lambda connection: connection.write(level)) == [
                *("750ms", "on", "read committed")
            ]
            assert run(level) == ["0", "off", "serializable"]
            connections.close()
            connections = Connections(sa.create_engine(by(driver, direct)), 0.75)
            run = connections.run
            for found in (run(level), run(lambda connection: connection.write(level))):
                assert found == ["750ms", "on", "read committed"]
            connections.close()
    finally:
        with admin.connect() as line:
            for setting in weak:
                line.exec_driver_sql(f"ALTER DATABASE {name} RESET {setting}")


def test_a_write_that_fails_leaves_no_transaction_behind(direct: str, pooled: str) -> None:
    admin = sa.create_engine(direct, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with admin.connect() as line:
        line.exec_driver_sql("CREATE TABLE IF NOT EXISTS one (x int PRIMARY KEY)")
    connections = Connections(sa.create_engine(pooled), 10)

    def write(connection: StoreConnection) -> Any:
        return connection.sqlalchemy.exec_driver_sql("INSERT INTO one VALUES (1)").rowcount

    def fail(connection: StoreConnection) -> Any:
        write(connection)
        return write(connection)

    with pytest.raises(IntegrityError):
        connections.run(lambda connection: connection.write(fail))
    for _ in range(4):
        rows = connections.run(lambda connection: connection.fetch("SELECT x FROM one", ()))
        assert rows == []
    assert connections.run(lambda connection: connection.write(write)) == 1
    connections.close()
    with admin.connect() as line:
        assert line.exec_driver_sql("SELECT x FROM one").all() == [(1,)]
        line.exec_driver_sql("DROP TABLE one")


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("by_pooler", [True, False], ids=["pooler", "direct"])
def test_doctor_says_that_there_is_a_pooler(
    direct: str, pooled: str, driver: str, *, by_pooler: bool
) -> None:
    databases.app_on({"JWT_BLOCKLIST": "sqlalchemy://", "SQLALCHEMY_DATABASE_URI": direct})
    url = by(driver, pooled if by_pooler else direct)
    app, _ = joined({"JWT_BLOCKLIST": "sqlalchemy://", "SQLALCHEMY_DATABASE_URI": url})
    said = app.test_cli_runner().invoke(group, ["doctor"]).output
    assert ("a pooler such as PgBouncer" in said) is by_pooler


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_full_pooler_costs_no_call(
    direct: str, driver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connections are used until it has room for their successors, however old they are."""
    # Another test may have left an attempt that hangs.
    others = {*enumerate_threads()}

    def ended() -> bool:
        return "authx-connect" not in {one.name for one in {*enumerate_threads()} - others}

    with pgbouncer(direct, "default_pool_size=2", "max_client_conn=3") as full:
        connections = Connections(sa.create_engine(by(driver, full.url)), 10)
        first = connections.run(id)
        with contextlib.ExitStack() as hogs:
            engine = sa.create_engine(full.url, poolclass=sa.NullPool)
            for _ in range(2):
                hogs.enter_context(engine.connect())
            for age in (OLD, MAX_AGE + 1, 1.5 * MAX_AGE, 2 * MAX_AGE):
                with later_by(monkeypatch, age):
                    assert [connections.run(id) for _ in range(5)] == [first] * 5
                    until(ended, what="the end of the attempt to connect")
        with later_by(monkeypatch, 2 * MAX_AGE + 5):
            until(lambda: connections.run(id) != first)
        connections.close()
