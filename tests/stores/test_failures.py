"""A server that is killed, hangs or never answers: refused in time, and over by itself."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Generator, Iterator

import pytest

from flask_authx import AuthX
from tests.stores.test_failures_common import (
    KINDS,
    ON_FIRST,
    ON_OPEN,
    kind_of,
    note,
    private,
    recovers,
    refuses,
    site,
    timed,
    unavailable_within,
)
from tests.support import parts
from tests.support.answers import OK, REVOKED
from tests.support.servers.private import Server, free_port

pytestmark = pytest.mark.slow

#: What an app asks of its store outside of guards, given a token.
ACTIONS: dict[str, Callable[[AuthX, str], object]] = {
    "revoke_token": lambda authx, token: authx.revoke_token(token),
    "revoke_session": lambda authx, token: authx.revoke_session(parts(token)[1]["sid"]),
    "revoke_subject": lambda authx, token: authx.revoke_subject("ann"),
    "is_revoked": lambda authx, token: authx.is_revoked(token),
    "create_token_pair": lambda authx, token: authx.create_token_pair("ann"),
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
def deaf(*, full: bool) -> Generator[int]:
    """A port where connections are never answered; not even opened, if its queue is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        port: int = listener.getsockname()[1]
        if not full:
            listener.listen(100)
        for _ in range(3 if full else 0):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", port))
        yield port


def url_at(kind: str, port: int) -> str:
    """Where a server of this kind would answer."""
    return {
        "postgresql": f"postgresql+psycopg://root@127.0.0.1:{port}/postgres",
        "mariadb": f"mariadb+pymysql://root@127.0.0.1:{port}/test",
        "redis": f"redis://127.0.0.1:{port}/0",
    }[kind]


def test_a_killed_server_is_a_503_until_it_is_back(server: Server) -> None:
    """SECURITY A.12 210, USERS 47"""
    with site(server.url) as made:
        good, revoked = made.token(), made.token()
        made.revoke(revoked)
        assert made.outcome(good) == OK
        server.kill()
        refuses(made, good, ON_OPEN, "killed")
        server.start()
        recovers(made, good, revoked)


def test_a_server_that_hangs_is_a_503_until_it_goes_on(server: Server) -> None:
    """SECURITY A.12 211"""
    with site(server.url) as made:
        good, revoked = made.token(), made.token()
        made.revoke(revoked)
        assert made.outcome(good) == OK
        server.pause()
        refuses(made, good, ON_OPEN, "hanging")
        server.resume()
        recovers(made, good, revoked)


@pytest.mark.parametrize("action", ACTIONS)
def test_what_the_app_asks_of_a_server_that_hangs_fails_in_time(
    server: Server, action: str
) -> None:
    with site(server.url) as made:
        token, other = made.token(), made.token("bob")
        server.pause()
        unavailable_within(made, ON_OPEN, lambda authx: ACTIONS[action](authx, token))
        server.resume()
        recovers(made, other)


@pytest.mark.parametrize("action", ACTIONS)
def test_what_the_app_asks_of_a_killed_server_fails_in_time(server: Server, action: str) -> None:
    with site(server.url) as made:
        token = made.token()
        server.kill()
        unavailable_within(made, ON_OPEN, lambda authx: ACTIONS[action](authx, token))


def test_an_app_that_starts_while_the_server_hangs_refuses_in_time_and_recovers(
    server: Server,
) -> None:
    with site(server.url) as earlier:
        token = earlier.token()
    server.pause()
    with site(server.url, tables=False) as made:
        refuses(made, token, ON_FIRST, "first connection, hanging")
        server.resume()
        recovers(made, token)


def test_an_app_that_starts_before_the_server_refuses_in_time_and_recovers(server: Server) -> None:
    with site(server.url) as earlier:
        token = earlier.token()
    server.kill()
    with site(server.url, tables=False) as made:
        refuses(made, token, ON_FIRST, "first connection, killed")
        server.start()
        recovers(made, token)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("full", [False, True], ids=["silent", "full"])
def test_a_port_where_nobody_answers_is_a_503_in_time(kind: str, *, full: bool) -> None:
    with site("memory://") as other:
        token = other.token()
    with deaf(full=full) as port, site(url_at(kind, port), tables=False) as made:
        refuses(made, token, ON_FIRST, f"{kind}, nobody answers")


@pytest.mark.parametrize("kind", KINDS)
def test_a_port_where_nobody_listens_is_a_503_in_time(kind: str) -> None:
    with site("memory://") as other:
        token = other.token()
    with site(url_at(kind, free_port()), tables=False) as made:
        refuses(made, token, ON_FIRST, f"{kind}, nobody listens")


def test_a_restart_between_two_requests_is_not_noticed(server: Server) -> None:
    with site(server.url) as made:
        good, revoked = made.token(), made.token()
        made.revoke(revoked)
        for stop in (server.kill, server.stop):
            assert made.outcome(good) == OK
            stop()
            server.start()
            answer, seconds = timed(lambda: made.outcome(good))
            note(f"{kind_of(server)}, first request after a restart", seconds)
            assert answer == OK
            assert made.outcome(revoked) == REVOKED
