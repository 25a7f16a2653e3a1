"""Calls that wait for a connection: for which, how long, and what the wait is called."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis

from flask_authx import Entry, Kind, RedisBlocklist, StoreBusyError
from flask_authx.stores.base import CONNECT_TIMEOUT, WAIT_LIMIT, StoreError
from flask_authx.stores.redis.server import RedisServer
from flask_authx.stores.redis.sessions import RedisSessions
from flask_authx.stores.redis.urls import client_for
from tests.stores.contract import found, new_key
from tests.support import ROOT, access_token
from tests.support.answers import OK, ask, outcome
from tests.support.databases import app_on, redis_url
from tests.support.failing import at_once, full_port, timed
from tests.support.servers.private import redis_cluster, redis_server
from tests.support.waiting import later_by, until

pytestmark = pytest.mark.slow

untyped: Any = redis
LONG = 10.0


@contextlib.contextmanager
def admin(url: str) -> Generator[Any]:
    """A client of the tests' own, apart from what they count."""
    with untyped.Redis.from_url(url, socket_timeout=LONG, client_name="admin") as client:
        yield client


def connected(client: Any, name: str = "app") -> set[str]:
    """The server's numbers of the connections with this name."""
    return {one["id"] for one in client.client_list() if one["name"] == name}


def named(url: str) -> str:
    return f"{url}?client_name=app"


def test_a_call_waits_for_the_connection_of_another() -> None:
    with redis_server() as server, admin(server.url) as client:
        store = RedisServer(client_for(named(server.url), LONG, 1), "the test")
        with ThreadPoolExecutor(2) as threads:
            blocked = threads.submit(store.call, "BLPOP", "list", "60")
            until(lambda: "blpop" in {one["cmd"] for one in client.client_list()})
            waiting = threads.submit(store.call, "GET", "key")
            client.rpush("list", "value")
            assert blocked.result(60) == [b"list", b"value"]
            assert waiting.result(60) is None
        assert len(connected(client)) == 1


def test_those_that_wait_are_served_in_their_order() -> None:
    """However many new calls come meanwhile: none of 64 threads waits until it is refused."""
    store = RedisBlocklist(client_for(redis_url(), LONG, 2))
    end = time.monotonic() + 2 * WAIT_LIMIT

    def look_up(_: int) -> None:
        while time.monotonic() < end:
            assert found(store, new_key()) == []

    at_once(64, look_up)


def test_a_wait_in_vain_is_busy_while_the_server_responds_and_a_failure_else() -> None:
    for timeout, expected in ((LONG, StoreBusyError), (0.25, StoreError)):
        client: Any = client_for(redis_url(), timeout, 1)()
        store = RedisBlocklist(client)
        taken = client.connection_pool.get_connection()
        with pytest.raises(StoreError) as raised:
            store.find([new_key()])
        assert type(raised.value) is expected
        client.connection_pool.release(taken)
        assert found(store, new_key()) == []


def test_a_leap_of_the_clock_is_no_silence_of_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a process finds it that had no CPU."""
    client: Any = client_for(redis_url(), LONG, 1)()
    store = RedisBlocklist(client)
    assert found(store, new_key()) == []
    taken = client.connection_pool.get_connection()
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(store.find, [new_key()])
        process = client.connection_pool._process  # noqa: SLF001 - nothing else tells who waits
        until(lambda: process.waiting)
        with later_by(monkeypatch, 3600):
            assert type(waiting.exception(60)) is StoreBusyError
    client.connection_pool.release(taken)
    assert found(store, new_key()) == []


#: Looks up from many more threads than there are connections; prints what was raised.
STOPPED = """
import sys, threading, time
from flask_authx import RedisBlocklist
from flask_authx.stores.redis.urls import client_for

store = RedisBlocklist(client_for(sys.argv[1], 0.5, 2))
store.find([bytes(16)])
errors, end = [], time.monotonic() + 5

def look_up():
    while time.monotonic() < end:
        try:
            store.find([bytes(16)])
        except Exception as error:
            errors.append(repr(error))

threads = [threading.Thread(target=look_up) for _ in range(32)]
for one in threads:
    one.start()
print("running", flush=True)
for one in threads:
    one.join()
print(errors)
"""


def test_a_process_that_was_stopped_takes_no_server_for_silent() -> None:
    """And refuses none of the calls that waited meanwhile."""
    command = [sys.executable, "-c", STOPPED, redis_url()]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "running\n"
        # Longer than a call waits.
        for seconds in (WAIT_LIMIT + 0.2, 0.1, WAIT_LIMIT + 0.2):
            process.send_signal(signal.SIGSTOP)
            threading.Event().wait(seconds)
            process.send_signal(signal.SIGCONT)
            threading.Event().wait(0.1)
        assert process.stdout.read() == "[]\n"


def test_connections_become_as_many_as_calls_and_no_more_than_they_may() -> None:
    with redis_server() as server, admin(server.url) as client:
        for bound, calls in ((10, 4), (3, 4)):
            store = RedisServer(client_for(named(server.url), LONG, bound), "the test")
            with ThreadPoolExecutor(calls) as threads:
                blocked = [threads.submit(store.call, "BLPOP", "list", "60") for _ in range(calls)]
                until(lambda: len(connected(client)) == min(bound, calls))  # noqa: B023
                for _ in range(calls):
                    client.rpush("list", "value")
                assert [one.result(60)[1] for one in blocked] == [b"value"] * calls
            assert len(connected(client)) == min(bound, calls)
            store.client.close()
            until(lambda: not connected(client))


def test_revocations_and_sessions_of_an_app_share_their_connections() -> None:
    with redis_server() as server, admin(server.url) as client:
        settings = {"JWT_BLOCKLIST": named(server.url), "JWT_SESSIONS": True}
        app, authx = app_on({**settings, "JWT_STORE_CONNECTIONS": 3})

        def use(number: int) -> None:
            for _ in range(10):
                with app.app_context():
                    pair = authx.login(f"user{number}")
                    authx.refresh(pair.refresh_token)
                    assert len(authx.sessions(f"user{number}")) >= 1
                    assert not authx.is_revoked(pair.access_token)
                assert len(connected(client)) <= 3

        at_once(16, use)
        assert len(connected(client)) == 3


def test_a_timeout_closes_its_own_connection_only() -> None:
    with redis_server() as server, admin(server.url) as client:
        store = RedisServer(client_for(named(server.url), 0.25), "the test")
        opened = grown(store, client, 3)
        with pytest.raises(redis.TimeoutError):
            store.call("BLPOP", "list", "60")
        assert store.call("GET", "key") is None
        left = connected(client)
        assert len(left) == 2
        assert left < opened


def grown(store: RedisServer, client: Any, number: int) -> set[str]:
    """Let calls overlap until the store has so many connections."""
    together = threading.Barrier(number)

    def overlap(_: int) -> None:
        held = store.pool.take() if store.pool else None
        together.wait(60)
        if store.pool and held:
            store.pool.give_back(held)

    assert store.client
    at_once(number, overlap)
    assert len(connected(client)) == number
    return connected(client)


@pytest.mark.parametrize("words", [("SET", "key", "value"), ("GET", "key")])
def test_a_server_that_takes_no_writes_or_hangs_up_is_left_by_all_connections(
    words: tuple[str, ...],
) -> None:
    with redis_server() as server, redis_server() as other, admin(server.url) as client:
        store = RedisServer(client_for(named(server.url), LONG), "the test")
        opened = grown(store, client, 3)
        if words[0] == "SET":
            client.replicaof("127.0.0.1", other.url.rpartition(":")[2].partition("/")[0])
            with pytest.raises(redis.ReadOnlyError):
                store.call(*words)
            assert connected(client) == set()
            # The next connection is asked for its role.
            with pytest.raises(StoreError, match=r"127\.0\.0\.1:\d+ is a replica"):
                store.call(*words)
        else:
            client.client_kill_filter(_id=max(opened, key=int))
            # Whichever connection is the next.
            for _ in range(3):
                assert store.call(*words) is None
            assert len(connected(client)) in (1, 2)
            assert not connected(client) & {max(opened, key=int)}


def test_an_error_in_a_response_costs_no_connection() -> None:
    with redis_server() as server, admin(server.url) as client:
        store = RedisServer(client_for(named(server.url), LONG), "the test")
        client.set("text", "value")
        opened = grown(store, client, 1)
        commands = [("GET", "text"), ("ZRANGE", "text", "0", "1"), ("GET", "text")]
        for _ in range(3):
            with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
                store.call("ZRANGE", "text", "0", "1")
            with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
                store.call_together(commands)
            assert store.call("GET", "text") == b"value"
        assert connected(client) == opened


def test_a_full_server_costs_no_connection_and_calls_wait_for_those_that_are_open() -> None:
    with redis_server("--maxclients", "4") as server, admin(server.url) as client:
        store = RedisBlocklist(client_for(named(server.url), LONG))
        assert found(store, new_key()) == []
        opened = connected(client)
        with contextlib.ExitStack() as stack:
            host, port = "127.0.0.1", int(server.url.rpartition(":")[2].partition("/")[0])
            for _ in range(2):
                hog = stack.enter_context(socket.create_connection((host, port), LONG))
                hog.sendall(b"PING\r\n")
                assert hog.recv(7) == b"+PONG\r\n"

            def look_up(_: int) -> None:
                for _ in range(20):
                    assert found(store, new_key()) == []

            at_once(8, look_up)
            assert connected(client) == opened


def test_a_late_response_while_logging_in_is_no_failure() -> None:
    with redis_server() as server, admin(server.url) as client:
        store = RedisBlocklist(client_for(server.url, 0.25))
        client.client_pause(400, all=True)
        assert found(store, new_key()) == []


def test_one_deadline_covers_resolving_connecting_and_logging_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A name with three dead addresses, and a resolver that says nothing."""
    end = threading.Event()
    with contextlib.ExitStack() as stack:
        dead = [stack.enter_context(full_port()) for _ in range(3)]
        known = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", one)) for one in dead]
        resolve = socket.getaddrinfo

        def answer(host: Any, *args: Any, **kwargs: Any) -> Any:
            if host == "silent.internal":
                end.wait(60)
            return known if str(host).endswith(".internal") else resolve(host, *args, **kwargs)

        monkeypatch.setattr(socket, "getaddrinfo", answer)
        for url in (
            "redis://dead.internal",
            "redis://silent.internal",
            "redis+sentinel://silent.internal,dead.internal/master",
            "redis+cluster://silent.internal",
        ):
            store = RedisBlocklist(client_for(url, 0.25))

            def fail(store: RedisBlocklist = store) -> None:
                with pytest.raises((StoreError, redis.RedisError)) as raised:
                    store.find([new_key()])
                assert not isinstance(raised.value, StoreBusyError)

            _, seconds = timed(fail)
            assert seconds < 2 * CONNECT_TIMEOUT, url
        end.set()


def test_calls_that_need_several_nodes_of_a_cluster_do_not_wait_for_each_other() -> None:
    with redis_cluster() as (url, _), contextlib.closing(client_for(url, LONG, 1)()) as client:
        store, sessions = RedisBlocklist(client), RedisSessions(client)
        key = new_key()
        store.add(Entry(key, Kind.TOKEN, 3600))

        def look_up(_: int) -> None:
            for _ in range(20):
                found_there = [one is not None for one in store.find([new_key(), key, new_key()])]
                assert found_there == [False, True, False]
                assert sessions.get(new_key()) is None

        at_once(16, look_up)


def test_the_values_of_several_nodes_come_in_the_order_of_their_keys() -> None:
    with redis_cluster() as (url, _), contextlib.closing(client_for(url, LONG)()) as client:
        server = RedisServer(client, "the test")
        names = [f"key{number}" for number in range(50)]
        for name in names:
            server.call("SET", name, name)
        assert server.get_from_nodes(names) == [name.encode() for name in names]


def test_a_script_of_a_cluster_that_fails_is_not_run_again() -> None:
    script = "redis.call('INCR', KEYS[1]) return redis.call('ZRANGE', KEYS[1], 0, 1)"
    with redis_cluster() as (url, _), contextlib.closing(client_for(url, LONG)()) as client:
        server = RedisServer(client, "the test")
        with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
            server.call("EVAL", script, "1", "key")
        assert server.call("GET", "key") == b"1"


#: A call whose response comes while the process does something else for longer than the timeout.
OVERDUE = """
import signal, sys, time, redis
from flask_authx.stores.redis.server import RedisServer
from flask_authx.stores.redis.urls import client_for

server = RedisServer(client_for(sys.argv[1], 0.25), "the test")
assert server.call("GET", "nothing") is None
other = redis.Redis.from_url(sys.argv[1])

def interrupt(*_):
    other.rpush("list", "value")
    time.sleep(0.5)

signal.signal(signal.SIGALRM, interrupt)
signal.setitimer(signal.ITIMER_REAL, 0.1)
assert server.call("BLPOP", "list", "60") == [b"list", b"value"]
"""


def test_a_response_that_has_come_is_read_though_its_time_is_over() -> None:
    with redis_server() as server:
        done = subprocess.run(
            [sys.executable, "-c", OVERDUE, server.url],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_busy_store_refuses_no_request() -> None:
    """Eight times as many threads as connections."""
    app, authx = app_on({"JWT_BLOCKLIST": redis_url(), "JWT_STORE_CONNECTIONS": 4})
    app.add_url_rule("/guarded", "guarded", authx.token_required(lambda: "passed"))
    token = access_token(app, authx, "ann")

    def request(_: int) -> None:
        for _ in range(10):
            answer = ask(app, path="/guarded", headers={"Authorization": f"Bearer {token}"})
            assert outcome(answer) == OK

    at_once(32, request)
