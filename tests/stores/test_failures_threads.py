"""Many threads meet a failing store: none waits too long, little is logged, nothing is used up."""

from __future__ import annotations

import contextlib
import itertools
import logging
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

import pytest
from werkzeug.test import TestResponse

from tests.stores.test_failures_common import (
    KINDS,
    ON_FIRST,
    ON_OPEN,
    SQL,
    Site,
    administration,
    at_once,
    is_fault,
    kind_of,
    note,
    port_of,
    private,
    recovers,
    site,
    timed,
)
from tests.support.answers import FAULT, OK, outcome
from tests.support.servers.private import Server

pytestmark = pytest.mark.slow

THREADS = 8
#: As many as a store opens of its own in an SQL database.
CONNECTIONS = 5
PASSWORD = "4-pass-word-of-the-store"

COUNTS = {
    "postgresql": "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'",
    "mariadb": "SELECT count(*) FROM information_schema.processlist WHERE user <> 'system user'",
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


def all_get_through(made: Site, token: str) -> None:
    """Eight threads at once, many times over. A busy machine may need more than one attempt."""
    deadline = time.monotonic() + 60
    while True:
        outcomes = {
            one for _ in range(20) for one in at_once(THREADS, lambda _: made.outcome(token))
        }
        if outcomes == {OK}:
            return
        assert outcomes <= {OK, FAULT}
        assert time.monotonic() < deadline
        time.sleep(1)


def all_are_refused(made: Site, token: str, within: float, what: str) -> None:
    """Eight threads at once get their 503 in time."""
    passed = len(made.passed)
    answers = at_once(THREADS, lambda _: timed(lambda: made.ask(token)))
    note(what, *sorted(took for _, took in answers))
    assert all(is_fault(response) for response, _ in answers)
    assert max(took for _, took in answers) < within
    assert len(made.passed) == passed


def opens_all(made: Site, token: str, server: Server) -> None:
    """Eight threads ask until the store has all the connections that it may have."""
    with administration(server) as run:
        deadline = time.monotonic() + 60
        while True:
            all_get_through(made, token)
            if kind_of(server) not in SQL:
                return
            # One is the administration's.
            found = run(COUNTS[kind_of(server)])[0][0] - 1
            assert found <= CONNECTIONS
            if found == CONNECTIONS:
                return
            assert time.monotonic() < deadline


def test_eight_threads_are_refused_in_time_and_no_connection_is_lost(server: Server) -> None:
    with site(server.url) as made:
        good, revoked = made.token(), made.token()
        made.revoke(revoked)
        for _ in range(3):
            opens_all(made, good, server)
            server.pause()
            all_are_refused(made, good, ON_OPEN, f"{kind_of(server)}, hanging, eight threads")
            server.resume()
            recovers(made, good, revoked)
        # Not one more than before, though eight times three calls have been cut off.
        opens_all(made, good, server)


def test_eight_threads_that_need_a_first_connection_are_refused_in_time(server: Server) -> None:
    with site(server.url) as earlier:
        token = earlier.token()
    server.pause()
    with site(server.url, tables=False) as made:
        all_are_refused(made, token, ON_FIRST, f"{kind_of(server)}, hanging, first connections")
        server.resume()
        recovers(made, token)
        all_get_through(made, token)


def hammer(made: Site, token: str, seconds: float) -> list[tuple[TestResponse, float]]:
    """The answers that eight threads get over some time, and how long each took."""
    end = time.monotonic() + seconds

    def run(_: int) -> list[tuple[TestResponse, float]]:
        answers: list[tuple[TestResponse, float]] = []
        while time.monotonic() < end:
            answers.append(timed(lambda: made.ask(token)))
        return answers

    return [one for answers in at_once(THREADS, run) for one in answers]


def with_password(server: Server, run: Callable[[str], Any]) -> str:
    """The URL with a password that the server asks for, or at least accepts."""
    if kind_of(server) == "redis":
        run(f"ACL SETUSER app on >{PASSWORD} ~* &* +@all")
        return server.url.replace("redis://", f"redis://app:{PASSWORD}@")
    if kind_of(server) == "mariadb":
        run(f"CREATE OR REPLACE USER app@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'")
        run("GRANT ALL ON test.* TO app@'127.0.0.1'")
        return server.url.replace("root@", f"app:{PASSWORD}@")
    return server.url.replace("root@", f"root:{PASSWORD}@")


@pytest.mark.parametrize("failure", ["killed", "hanging"])
def test_a_failing_store_logs_a_line_a_second_without_secrets(
    server: Server, failure: str, caplog: pytest.LogCaptureFixture
) -> None:
    with administration(server) as run:
        url = with_password(server, run)
    with site(url) as made:
        token = made.token()
        all_get_through(made, token)
        {"killed": server.kill, "hanging": server.pause}[failure]()
        with caplog.at_level(logging.DEBUG):
            answers = hammer(made, token, 3.3)
    taken = [seconds for _, seconds in answers]
    what = f"{kind_of(server)}, {failure}, {len(taken)} requests, median and longest"
    note(what, statistics.median(taken), max(taken))
    assert {outcome(response) for response, _ in answers} == {FAULT}
    times = [one.created for one in caplog.records if one.name == "flask_authx"]
    assert 2 <= len(times) <= 4
    assert all(later - earlier > 0.9 for earlier, later in itertools.pairwise(times))
    assert PASSWORD not in caplog.text
    for secret in (token, *token.split(".")):
        assert secret not in caplog.text


class Gate:
    """A port that hears nobody until it is opened; from then on it leads to another port."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.port: int = self._listener.getsockname()[1]
        self.held = 0
        self._target: int | None = None
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Gate:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for one in (self._listener, *self._sockets):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def open(self, target: int) -> None:
        self._target = target

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._sockets.append(client)
                if self._target is None:
                    self.held += 1
                    continue
                other = socket.create_connection(("127.0.0.1", self._target))
                self._sockets.append(other)
                for pair in ((client, other), (other, client)):
                    threading.Thread(target=self._pass_on, args=pair, daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2", "pymysql", "redis"])
def test_attempts_to_connect_that_never_end_do_not_use_up_all_attempts(driver: str) -> None:
    kind = {"pymysql": "mariadb", "redis": "redis"}.get(driver, "postgresql")
    with private(kind) as server, Gate() as gate:
        with site(server.url) as earlier:
            token = earlier.token()
        url = server.url.replace(f":{port_of(server)}", f":{gate.port}")
        url = url.replace("+psycopg:", f"+{driver}:")
        with site(url, tables=False) as made:
            all_are_refused(made, token, ON_FIRST, f"{driver}, nobody answers, first connections")
            assert gate.held >= 5
            gate.open(port_of(server))
            recovers(made, token)
