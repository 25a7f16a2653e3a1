"""A server that is there and will not: no password, no connections, no table, no writing."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator
from typing import Any

import psycopg
import pymysql
import pytest
import redis

from flask_authx import AuthX
from tests.stores.test_failures_common import (
    KINDS,
    ON_OPEN,
    SQL,
    Site,
    administration,
    hang_up_on_all,
    kind_of,
    port_of,
    private,
    recovers,
    refuses,
    site,
    unavailable_within,
    writes_again,
)
from tests.support import parts
from tests.support.answers import OK, REVOKED
from tests.support.servers.private import Server

pytestmark = pytest.mark.slow

#: Few connections, so that they are soon used up.
OPTIONS = {
    "postgresql": ["max_connections=12"],
    "mariadb": ["--max-connections=12"],
    "redis": ["--maxclients", "12"],
}


@pytest.fixture(scope="module", params=KINDS)
def machine(request: pytest.FixtureRequest) -> Iterator[Server]:
    with private(request.param, *OPTIONS[request.param]) as started:
        yield started


@pytest.fixture
def server(machine: Server) -> Iterator[Server]:
    yield machine
    machine.stop()
    machine.start()


@contextlib.contextmanager
def another_password(server: Server, run: Callable[[str], Any]) -> Generator[None]:
    """The server asks for a password that the app doesn't know."""
    kind = kind_of(server)
    rules = server.folder / "data" / "pg_hba.conf"
    before = rules.read_text() if kind == "postgresql" else ""
    if kind == "postgresql":
        rules.write_text("host all all all scram-sha-256\n")
    start, end = {
        "postgresql": ("SELECT pg_reload_conf()",) * 2,
        "mariadb": (
            "ALTER USER root@'127.0.0.1' IDENTIFIED BY 'another'",
            "ALTER USER root@'127.0.0.1' IDENTIFIED BY ''",
        ),
        # The last word, which is none, is no password.
        "redis": ("CONFIG SET requirepass another", "CONFIG SET requirepass "),
    }[kind]
    run(start)
    try:
        yield
    finally:
        if kind == "postgresql":
            rules.write_text(before)
        run(end)


@contextlib.contextmanager
def used_up(server: Server) -> Generator[None]:
    """The server takes no more connections."""
    refusals = (psycopg.OperationalError, pymysql.err.OperationalError, redis.ConnectionError)
    with contextlib.ExitStack() as opened:
        with contextlib.suppress(*refusals):
            while True:
                opened.enter_context(contextlib.closing(connect(server)))
        yield


def connect(server: Server) -> Any:
    port = port_of(server)
    if kind_of(server) == "postgresql":
        return psycopg.connect(f"postgresql://root@127.0.0.1:{port}/postgres")
    if kind_of(server) == "mariadb":
        return pymysql.connect(host="127.0.0.1", port=port, user="root")
    client: Any = redis.Redis(port=port, max_connections=1)
    try:
        client.ping()
    except redis.ConnectionError:
        client.close()
        raise
    return client


@contextlib.contextmanager
def read_only(server: Server, run: Callable[[str], Any]) -> Generator[str]:
    """The server answers and takes no writes; gives the URL under which the app uses it."""
    # On MariaDB, who may do everything may also write to what is read-only.
    start, end = {
        "postgresql": (
            [
                "ALTER SYSTEM SET default_transaction_read_only = on",
                "SELECT pg_reload_conf()",
            ],
            ["ALTER SYSTEM RESET default_transaction_read_only", "SELECT pg_reload_conf()"],
        ),
        "mariadb": (
            [
                "CREATE OR REPLACE USER app@'127.0.0.1' IDENTIFIED BY 'app'",
                "GRANT SELECT, INSERT, UPDATE, DELETE ON test.* TO app@'127.0.0.1'",
                "SET GLOBAL read_only = 1",
            ],
            ["SET GLOBAL read_only = 0"],
        ),
        "redis": (["REPLICAOF 127.0.0.1 1"], ["REPLICAOF NO ONE"]),
    }[kind_of(server)]
    for command in start:
        run(command)
    try:
        yield (
            server.url.replace("root@", "app:app@") if kind_of(server) == "mariadb" else server.url
        )
    finally:
        for command in end:
            run(command)


def test_a_password_that_is_refused_is_a_503_until_it_is_right(server: Server) -> None:
    with administration(server) as run, site(server.url) as made:
        good, revoked = made.token(), made.token()
        made.revoke(revoked)
        with another_password(server, run):
            hang_up_on_all(server, run)
            refuses(made, good, ON_OPEN, f"{kind_of(server)}, password refused")
        recovers(made, good, revoked)


def test_a_server_out_of_connections_is_a_503_until_it_has_some(server: Server) -> None:
    with site(server.url) as made:
        good, revoked = made.token(), made.token()
        made.revoke(revoked)
        with administration(server) as run:
            hang_up_on_all(server, run)
        with used_up(server):
            refuses(made, good, ON_OPEN, f"{kind_of(server)}, out of connections")
        recovers(made, good, revoked)


@pytest.mark.parametrize("machine", SQL, indirect=True)
def test_a_missing_table_is_a_503_until_it_is_there(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    with administration(server) as run, site(server.url) as made:
        good = made.token()
        run("DROP TABLE authx_blocklist")
        refuses(made, good, ON_OPEN, f"{kind_of(server)}, table missing")
        assert "authx_blocklist" in caplog.text
        unavailable_within(made, ON_OPEN, lambda authx: authx.revoke_subject("ann"))
        assert made.db is not None
        with made.app.app_context():
            made.db.create_all()
        recovers(made, good)


WRITES: dict[str, Callable[[AuthX, str], object]] = {
    "revoke_token": lambda authx, token: authx.revoke_token(token),
    "revoke_session": lambda authx, token: authx.revoke_session(parts(token)[1]["sid"]),
    "revoke_subject": lambda authx, token: authx.revoke_subject("ann"),
}


@pytest.mark.parametrize("write", WRITES)
def test_a_server_that_takes_no_writes_is_still_asked(server: Server, write: str) -> None:
    with administration(server) as run, site(server.url) as before:
        good, revoked = before.token(), before.token()
        before.revoke(revoked)
        with read_only(server, run) as url, site(url, tables=False) as made:
            reads(made, good, revoked)
            for _ in range(3):
                unavailable_within(made, ON_OPEN, lambda authx: WRITES[write](authx, good))
                reads(made, good, revoked)
        reads(before, good, revoked)
        writes_again(before, good)


def reads(made: Site, good: str, revoked: str) -> None:
    assert made.outcome(good) == OK
    assert made.outcome(revoked) == REVOKED
