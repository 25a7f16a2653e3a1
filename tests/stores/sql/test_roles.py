"""A server that only follows another one answers no look-up: it may be behind."""

from __future__ import annotations

import contextlib
from collections.abc import Generator

import pytest
import sqlalchemy as sa

from flask_authx.stores.base import MAX_AGE, StoreError
from flask_authx.stores.sql.connections import Connections
from tests.stores.sql.test_connections import number
from tests.support.databases import private_server
from tests.support.servers.private import Server
from tests.support.waiting import later_by, until

pytestmark = pytest.mark.slow


@contextlib.contextmanager
def standby() -> Generator[Server]:
    """PostgreSQL that waits for more of another server's log, and answers queries meanwhile."""
    with private_server("postgresql") as server:
        server.kill()
        (server.folder / "data" / "standby.signal").touch()
        server.start()
        yield server


def promote(server: Server) -> None:
    """Make it a primary, as a fail-over does."""
    engine = sa.create_engine(server.url, poolclass=sa.NullPool)
    with engine.connect() as line:
        assert line.exec_driver_sql("SELECT pg_promote()").scalar()


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_a_standby_is_refused_until_it_is_promoted(driver: str) -> None:
    with standby() as server:
        engine = sa.create_engine(server.url.replace("+psycopg:", f"+{driver}:"))
        connections = Connections(engine, 5)
        for _ in range(2):
            with pytest.raises(StoreError, match="in recovery"):
                connections.run(number)
        with pytest.raises(StoreError, match="in recovery"), connections.maintenance() as run:
            run(number)
        promote(server)
        assert connections.run(number) == 42
        connections.close()


def test_a_standby_does_not_answer_for_a_primary_that_is_gone() -> None:
    """A URL with two hosts leads to whichever answers."""
    with private_server("postgresql") as primary, standby() as server:
        hosts = [sa.make_url(one.url) for one in (primary, server)]
        places = "&".join(f"host={url.host}:{url.port}" for url in hosts)
        engine = sa.create_engine(f"postgresql+psycopg://root@/postgres?{places}")
        connections = Connections(engine, 5)
        assert connections.run(number) == 42
        primary.kill()
        for _ in range(3):
            with pytest.raises(StoreError, match="in recovery"):
                connections.run(number)
        primary.start()
        assert connections.run(number) == 42
        connections.close()


@pytest.mark.parametrize("value", ["1", pytest.param("0", id="primary")])
def test_mariadb_says_by_read_only_that_it_is_a_replica(value: str) -> None:
    with private_server("mariadb", f"--read-only={value}") as server:
        connections = Connections(sa.create_engine(server.url), 5)
        # For a user who may write nevertheless, too.
        if value == "1":
            with pytest.raises(StoreError, match="read-only"):
                connections.run(number)
            admin = sa.create_engine(server.url, isolation_level="AUTOCOMMIT")
            with admin.connect() as line:
                line.exec_driver_sql("SET GLOBAL read_only = 0")
            admin.dispose()
        assert connections.run(number) == 42
        connections.close()


def test_a_server_that_takes_no_writes_any_more_is_left_at_once() -> None:
    """Its connections stay open and answer look-ups, of which it learns no more."""
    with private_server("mariadb") as server:
        admin = sa.create_engine(server.url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
        with admin.connect() as line:
            line.exec_driver_sql("CREATE TABLE t (x int)")
            line.exec_driver_sql("CREATE USER app@'127.0.0.1'")
            line.exec_driver_sql("GRANT ALL ON test.* TO app@'127.0.0.1'")
            connections = Connections(sa.create_engine(server.url.replace("root@", "app@")), 5)
            assert connections.run(number) == 42
            line.exec_driver_sql("SET GLOBAL read_only = 1")
            with pytest.raises(StoreError, match="read-only"):
                connections.run(
                    lambda connection: connection.sqlalchemy.exec_driver_sql(
                        "INSERT INTO t VALUES (1)"
                    )
                )
            with pytest.raises(StoreError, match="read-only"):
                connections.run(number)
            line.exec_driver_sql("SET GLOBAL read_only = 0")
            assert connections.run(number) == 42
            connections.close()
            count = "SELECT count(*) FROM information_schema.processlist WHERE user = 'app'"
            until(lambda: line.exec_driver_sql(count).scalar() == 0)


def test_a_refusal_keeps_no_connection_to_a_server_that_has_become_read_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It was full, and is a replica now: the look-ups that it answers may be behind."""
    with private_server("mariadb") as server:
        admin = sa.create_engine(server.url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
        with admin.connect() as line:
            user = "app@'127.0.0.1'"
            line.exec_driver_sql(f"CREATE USER {user} WITH MAX_USER_CONNECTIONS 1")
            line.exec_driver_sql(f"GRANT ALL ON test.* TO {user}")
            connections = Connections(sa.create_engine(server.url.replace("root@", "app@")), 5)
            assert connections.run(number) == 42
            with later_by(monkeypatch, MAX_AGE + 1):
                assert connections.run(number) == 42
            line.exec_driver_sql("SET GLOBAL read_only = 1")
            line.exec_driver_sql(f"ALTER USER {user} WITH MAX_USER_CONNECTIONS 9")
            line.exec_driver_sql("FLUSH USER_RESOURCES")
            with later_by(monkeypatch, MAX_AGE + 5):

                def refused() -> bool:
                    try:
                        return connections.run(number) != 42
                    except StoreError as error:
                        return "read-only" in str(error)

                until(refused)
                for _ in range(3):
                    with pytest.raises(StoreError, match="read-only"):
                        connections.run(number)
                line.exec_driver_sql("SET GLOBAL read_only = 0")
                assert connections.run(number) == 42
            connections.close()
