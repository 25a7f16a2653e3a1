"""What else may stand in a store's way: the app's pool, another session's lock; and leniency."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any

import pytest

from flask_authx import AuthX
from tests.stores.test_failures_common import (
    KINDS,
    ON_FIRST,
    ON_OPEN,
    SQL,
    administration,
    kind_of,
    note,
    private,
    recovers,
    refuses,
    site,
    timed,
    unavailable_within,
    writes_again,
)
from tests.support.answers import FAULT, OK, REVOKED, outcome
from tests.support.servers.private import Server

pytestmark = pytest.mark.slow

#: Who waits for the table of revocations.
WAITING = {
    "postgresql": "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'",
    "mariadb": (
        "SELECT count(*) FROM information_schema.processlist "
        "WHERE state = 'Waiting for table metadata lock'"
    ),
}


@pytest.fixture(scope="module", params=KINDS)
def machine(request: pytest.FixtureRequest) -> Iterator[Server]:
    with private(request.param) as started:
        yield started


@pytest.fixture
def server(machine: Server) -> Iterator[Server]:
    yield machine
    machine.stop()
    machine.start()


@contextlib.contextmanager
def locked_table(server: Server, run: Callable[[str], Any]) -> Generator[None]:
    """Another session holds the table of revocations for itself."""
    start, end = {
        "postgresql": (["BEGIN", "LOCK TABLE authx_blocklist IN ACCESS EXCLUSIVE MODE"], "COMMIT"),
        "mariadb": (["LOCK TABLES authx_blocklist WRITE"], "UNLOCK TABLES"),
    }[kind_of(server)]
    for statement in start:
        run(statement)
    try:
        yield
    finally:
        run(end)


def gives_up(server: Server, run: Callable[[str], Any]) -> None:
    """The server ends the statement itself, or it would wait on for somebody who has hung up."""
    deadline = time.monotonic() + 2
    while run(WAITING[kind_of(server)])[0][0]:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_accept_lets_access_tokens_through_while_the_server_is_down(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """SECURITY A.12 212"""
    with site(server.url, JWT_BLOCKLIST_ON_ERROR="accept") as made:
        access, refresh = made.token(), made.refresh_token()
        revoked = made.token()
        made.revoke(revoked)
        assert made.outcome(revoked) == REVOKED
        server.kill()
        for _ in range(3):
            answer, seconds = timed(lambda: made.ask(access))
            note(f"{kind_of(server)}, killed, accepted", seconds)
            assert outcome(answer) == OK
            assert seconds < ON_OPEN
            response = made.ask(refresh, "/refresh")
            assert outcome(response) == FAULT
            assert response.headers["Retry-After"] == "1"
        assert caplog.text.count("revocation could not be checked") == 3
        unavailable_within(made, ON_OPEN, lambda authx: authx.revoke_token(access))
        server.start()
        deadline = time.monotonic() + ON_FIRST + 1
        while made.outcome(revoked) != REVOKED:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert made.ask(refresh, "/refresh").status_code == 200


@pytest.mark.parametrize("machine", SQL, indirect=True)
def test_the_store_does_not_wait_for_the_apps_pool(server: Server) -> None:
    options = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 30}
    with site(server.url, SQLALCHEMY_ENGINE_OPTIONS=options) as made:
        assert made.db is not None
        with made.app.app_context(), made.db.engine.connect():
            good, seconds = timed(made.token)
            revoked = made.token()
            made.revoke(revoked)
            answer, later = timed(lambda: made.outcome(good))
            note(f"{kind_of(server)}, the app's pool is exhausted", seconds, later)
            assert (answer, made.outcome(revoked)) == (OK, REVOKED)
            # Thirty seconds would be the pool's.
            assert max(seconds, later) < ON_FIRST


@pytest.mark.parametrize("machine", SQL, indirect=True)
def test_a_locked_table_is_a_503_and_the_server_itself_gives_up(server: Server) -> None:
    with administration(server) as locker, administration(server) as run, site(server.url) as made:
        good, revoked = made.token(), made.token()
        made.revoke(revoked)
        with locked_table(server, locker):
            refuses(made, good, ON_OPEN, f"{kind_of(server)}, table locked")
            gives_up(server, run)
        recovers(made, good, revoked)


@pytest.mark.parametrize("machine", SQL, indirect=True)
@pytest.mark.parametrize("write", ["revoke_token", "revoke_subject"])
def test_a_revocation_does_not_wait_for_a_locked_table(server: Server, write: str) -> None:
    with administration(server) as locker, administration(server) as run, site(server.url) as made:
        ann, bob = made.token("ann"), made.token("bob")

        def revoke(authx: AuthX) -> None:
            if write == "revoke_token":
                authx.revoke_token(ann)
            else:
                authx.revoke_subject("ann")

        with locked_table(server, locker):
            unavailable_within(made, ON_OPEN, revoke)
            gives_up(server, run)
        # That nothing could be written keeps nobody from being let in.
        assert made.outcome(bob) == OK
        writes_again(made, ann)


@pytest.mark.parametrize("machine", ["postgresql"], indirect=True)
def test_the_other_driver_for_postgresql_is_ended_as_well(server: Server) -> None:
    with site(server.url.replace("+psycopg:", "+psycopg2:")) as made:
        good, revoked = made.token(), made.token()
        made.revoke(revoked)
        for stop, start in ((server.pause, server.resume), (server.kill, server.start)):
            assert made.outcome(good) == OK
            stop()
            refuses(made, good, ON_OPEN, f"psycopg2, {stop.__name__}")
            start()
            recovers(made, good, revoked)
        server.kill()
        server.start()
        assert made.outcome(good) == OK


@pytest.mark.parametrize("machine", ["postgresql"], indirect=True)
def test_an_app_with_the_other_driver_starts_while_the_server_hangs(server: Server) -> None:
    url = server.url.replace("+psycopg:", "+psycopg2:")
    with site(url) as earlier:
        token = earlier.token()
    server.pause()
    with site(url, tables=False) as made:
        refuses(made, token, ON_FIRST, "psycopg2, first connection, hanging")
        server.resume()
        recovers(made, token)
