"""Many threads meet a failing store, and responses come late."""

from __future__ import annotations

import contextlib
import itertools
import logging
import socket
import statistics
import threading
import time
from types import TracebackType

import pytest
from werkzeug.test import TestResponse

from flask_authx import RedisBlocklist
from flask_authx.stores.base import CONNECT_TIMEOUT
from flask_authx.stores.redis.urls import client_for
from tests.support.answers import FAULT, OK, REVOKED, Outcome, outcome
from tests.support.failing import (
    KINDS,
    ON_FIRST,
    ON_OPEN,
    PASSWORD,
    SQL,
    Site,
    administration,
    app_url,
    at_once,
    failing,
    full_port,
    is_refused,
    kind_of,
    note,
    port_of,
    recovers,
    shared,
    site,
    timed,
)
from tests.support.servers.private import Server
from tests.support.waiting import until

pytestmark = pytest.mark.slow

THREADS = 8
#: As many as a store may open.
CONNECTIONS = 5
SERVER_OF = {
    "psycopg": "postgresql",
    "psycopg2": "postgresql",
    "pymysql": "mariadb",
    "redis": "redis",
}

COUNTS = {
    "postgresql": "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'",
    "mariadb": "SELECT count(*) FROM information_schema.processlist WHERE user <> 'system user'",
}


def all_get_through(made: Site, token: str) -> None:
    """Eight threads at once, several times over. A busy machine may need more than one attempt."""

    def accepted() -> bool:
        outcomes = {
            one for _ in range(5) for one in at_once(THREADS, lambda _: made.outcome(token))
        }
        assert outcomes <= {OK, FAULT}
        return outcomes == {OK}

    until(accepted, timeout=60, what=f"a 200 for {THREADS} threads")


def all_are_refused(made: Site, token: str, within: float, what: str) -> None:
    """Eight threads at once get their 503 in time."""
    passed = len(made.passed)
    responses = at_once(THREADS, lambda _: timed(lambda: made.ask(token)))
    note(what, *sorted(took for _, took in responses))
    for response, seconds in responses:
        is_refused(response)
        assert seconds < within, f"{what}: a 503 took {seconds} s, not {within}"
    assert made.passed[passed:] == [], f"{what}: the view was called"


def opens_all(made: Site, token: str, server: Server) -> None:
    """Eight threads ask until the store has all the connections that it may have."""
    with administration(server) as run:

        def has_all() -> bool:
            all_get_through(made, token)
            if kind_of(server) not in SQL:
                return True
            # One is the administration's.
            found: int = run(COUNTS[kind_of(server)])[0][0] - 1
            assert found <= CONNECTIONS
            return found == CONNECTIONS

        until(has_all, timeout=60, what=f"{CONNECTIONS} connections")


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=failing(kind)) for kind in KINDS])
def test_eight_threads_are_refused_in_time_and_no_connection_is_lost(kind: str) -> None:
    server = shared(kind)
    with site(app_url(server), JWT_STORE_CONNECTIONS=CONNECTIONS) as made:
        valid, revoked = made.token(), made.token()
        made.revoke(revoked)
        for _ in range(3):
            opens_all(made, valid, server)
            server.pause()
            all_are_refused(made, valid, ON_OPEN, f"{kind}, hanging, eight threads")
            server.resume()
            recovers(made, valid, revoked)
        # Not one more than before, though eight times three calls have been cut off.
        opens_all(made, valid, server)


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=failing(kind)) for kind in KINDS])
def test_eight_threads_that_need_a_first_connection_are_refused_in_time(kind: str) -> None:
    server = shared(kind)
    with site(app_url(server)) as earlier:
        token = earlier.token()
    server.pause()
    with site(app_url(server), tables=False) as made:
        all_are_refused(made, token, ON_FIRST, f"{kind}, hanging, first connections")
        server.resume()
        recovers(made, token)
        all_get_through(made, token)


def hammer(made: Site, token: str, seconds: float) -> list[tuple[TestResponse, float]]:
    """The responses that eight threads get over some time, and how long each took."""
    end = time.monotonic() + seconds

    def run(_: int) -> list[tuple[TestResponse, float]]:
        responses: list[tuple[TestResponse, float]] = []
        while time.monotonic() < end:
            responses.append(timed(lambda: made.ask(token)))
        return responses

    return [one for responses in at_once(THREADS, run) for one in responses]


@pytest.mark.parametrize("failure", ["killed", "hanging"])
@pytest.mark.parametrize("kind", [pytest.param(kind, marks=failing(kind)) for kind in KINDS])
def test_a_failing_store_logs_a_line_a_second_without_secrets(
    kind: str, failure: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = shared(kind)
    with site(app_url(server)) as made:
        token = made.token()
        all_get_through(made, token)
        {"killed": server.kill, "hanging": server.pause}[failure]()
        with caplog.at_level(logging.DEBUG):
            responses = hammer(made, token, 2.3)
    taken = [seconds for _, seconds in responses]
    what = f"{kind}, {failure}, {len(taken)} requests, median and longest"
    note(what, statistics.median(taken), max(taken))
    assert {outcome(response) for response, _ in responses} == {FAULT}
    # At DEBUG there is a line for each refused request.
    ours = [one for one in caplog.records if one.name == "flask_authx"]
    lines = [one for one in ours if one.levelno == logging.ERROR]
    opened = [one for one in lines if "too often" in one.getMessage()]
    assert len(opened) == 1
    times = [one.created for one in lines if one not in opened]
    assert 2 <= len(times) <= 3, f"{len(times)} lines in 2.3 s"
    between = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert min(between) > 0.9, f"seconds between the lines: {between}"
    assert PASSWORD not in caplog.text
    for secret in (token, *token.split(".")):
        assert secret not in caplog.text


class Gate:
    """A port that reads nothing until it is opened; from then on it leads to another port."""

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


@pytest.mark.parametrize(
    "driver",
    [pytest.param(driver, marks=failing(kind)) for driver, kind in SERVER_OF.items()],
)
def test_attempts_to_connect_that_never_end_do_not_use_up_all_attempts(driver: str) -> None:
    server = shared(SERVER_OF[driver])
    url = app_url(server, driver)
    with Gate() as gate:
        with site(url) as earlier:
            token = earlier.token()
        url = url.replace(f":{port_of(server)}", f":{gate.port}")
        with site(url, tables=False) as made:
            what = f"{driver}, no response, first connections"
            all_are_refused(made, token, ON_FIRST, what)
            assert gate.held >= 5
            gate.open(port_of(server))
            recovers(made, token)


@pytest.mark.parametrize(
    "driver",
    [pytest.param(driver, marks=failing(kind)) for driver, kind in SERVER_OF.items()],
)
def test_no_response_is_taken_for_that_to_another_question(driver: str) -> None:
    """A late response is dropped."""
    server = shared(SERVER_OF[driver])
    with site(app_url(server, driver)) as made:
        revoked, valid = made.token("ann"), made.token("bob")
        made.revoke(revoked)
        for first, second in ((valid, revoked), (revoked, valid)):
            assert (made.outcome(revoked), made.outcome(valid)) == (REVOKED, OK)
            server.pause()
            assert made.outcome(first) == FAULT
            server.resume()
            # The very first response after the failure, and those that follow.
            assert after_faults(made, second) == (REVOKED if second is revoked else OK)
            for _ in range(10):
                assert made.outcome(revoked) == REVOKED
                assert made.outcome(valid) == OK


def after_faults(made: Site, token: str) -> Outcome:
    """The first outcome that is no 503."""
    seen: list[Outcome] = []

    def over() -> bool:
        seen.append(made.outcome(token))
        return seen[-1] != FAULT

    until(over, timeout=60, what="a response other than 503")
    return seen[-1]


def test_sentinels_that_do_not_respond_take_no_longer_than_a_server() -> None:
    with full_port() as port:
        hosts = ",".join([f"127.0.0.1:{port}"] * 3)
        store = RedisBlocklist(client_for(f"redis+sentinel://{hosts}/master/0", 0.25))

        def failing_look_up() -> None:
            with pytest.raises(Exception, match="No master found"):
                store.find([bytes(32)])

        _, seconds = timed(failing_look_up)
        note("three Sentinels", seconds)
        assert seconds < 2 * CONNECT_TIMEOUT, f"it took {seconds} s"
