"""Connections that grow old: replaced one by one, closed where nobody needs them."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Sequence
from typing import Any

import pytest
import redis
from redis.exceptions import MasterDownError
from redis.sentinel import MasterNotFoundError

from flask_authx import RedisBlocklist
from flask_authx.stores.base import MAX_AGE, RENEW_AGE, StoreError
from flask_authx.stores.redis import connections
from flask_authx.stores.redis.connecting import is_refusal
from flask_authx.stores.redis.server import RedisServer
from flask_authx.stores.redis.urls import client_for
from tests.stores.contract import found, new_key
from tests.support import ROOT
from tests.support.failing import at_once, port_of
from tests.support.servers.private import (
    Server,
    folder_for,
    free_port,
    program,
    redis_cluster,
    redis_sentinel,
    redis_server,
)
from tests.support.waiting import later_by, until

from .test_waiting import LONG, admin, connected, grown, named

pytestmark = pytest.mark.slow

untyped: Any = redis
#: Seconds after which a connection is old, but not too old.
OLD = (RENEW_AGE + MAX_AGE) / 2


def test_the_successor_of_a_connection_is_open_before_it_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with redis_server() as server, admin(server.url) as client:
        store = RedisBlocklist(client_for(named(server.url), LONG))
        assert found(store, new_key()) == []
        (first,) = connected(client)
        # While no more can be opened, it is used as before.
        client.config_set("maxclients", 2)
        with later_by(monkeypatch, OLD):
            for _ in range(5):
                assert found(store, new_key()) == []
            assert connected(client) == {first}
            client.config_set("maxclients", 100)

            def replaced() -> bool:
                assert found(store, new_key()) == []
                now = connected(client)
                assert len(now) in (1, 2)
                return first not in now

            until(replaced, what="a successor")
            assert len(connected(client)) == 1


def test_a_busy_store_replaces_its_connections_one_by_one_within_its_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with redis_server() as server, admin(server.url) as client:
        store = RedisServer(client_for(named(server.url), LONG, 4), "the test")
        first = grown(store, client, 4)
        end = threading.Event()

        def look_up(number: int) -> None:
            if number:
                while not end.is_set():
                    assert store.call("GET", "nothing") is None
                return
            try:
                until(lambda: not still_open(client, first), what="four successors")
            finally:
                end.set()

        with later_by(monkeypatch, OLD):
            at_once(6, look_up)


def test_a_full_server_costs_no_connection_that_is_used_however_old(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with redis_server() as server, admin(server.url) as client:
        store = RedisServer(client_for(named(server.url), LONG), "the test")
        grown(store, client, 4)
        client.config_set("maxclients", 5)
        with later_by(monkeypatch, OLD):
            refused(store)
        with later_by(monkeypatch, MAX_AGE + 1):
            # The others take no room that they don't need.
            until(lambda: len(connected(client)) == 1)
            client.config_set("maxclients", 2)
        for age in (2 * OLD, 3 * OLD, 4 * OLD):
            with later_by(monkeypatch, age):
                refused(store)
                assert len(connected(client)) == 1
        last = connected(client)
        client.config_set("maxclients", 100)
        with later_by(monkeypatch, 4 * OLD + 5):
            until(lambda: store.call("GET", "nothing") or not connected(client) & last)


def test_a_server_that_refuses_is_not_used_once_it_is_a_replica(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It was full, and another is the master now."""
    with redis_server() as server, admin(server.url) as client:
        store = RedisServer(client_for(named(server.url), LONG), "the test")
        assert store.call("GET", "nothing") is None
        client.config_set("maxclients", 2)
        with later_by(monkeypatch, MAX_AGE - 1):
            refused(store)
        with later_by(monkeypatch, MAX_AGE + 1):
            # Kept since it was refused.
            refused(store)
            client.replicaof("127.0.0.1", str(free_port()))
            client.config_set("maxclients", 100)
        with later_by(monkeypatch, MAX_AGE + 5):

            def left() -> bool:
                try:
                    return store.call("GET", "nothing") is not None
                except StoreError as error:
                    return "is a replica" in str(error)

            until(left)
            assert connected(client) == set()
            client.replicaof("NO", "ONE")
            assert store.call("GET", "nothing") is None


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (redis.ConnectionError("max number of clients reached"), True),
        (redis.AuthenticationError("invalid username-password pair"), True),
        (redis.ResponseError("DB index is out of range"), True),
        (
            redis.ConnectionError("Error 111 connecting to 127.0.0.1:6379."),
            False,
        ),
        (redis.TimeoutError("Timeout connecting to server"), False),
        (redis.BusyLoadingError("Redis is loading the dataset in memory"), False),
        (redis.ReadOnlyError("You can't write against a read only replica."), False),
        (MasterDownError("Link with MASTER is down"), False),
        (MasterNotFoundError("No master found: max number of clients reached"), False),
        (StoreError("127.0.0.1:6379 is a replica"), False),
        (OSError("no route to host"), False),
    ],
)
def test_only_what_a_server_in_service_says_is_its_refusal(
    error: Exception, *, expected: bool
) -> None:
    assert is_refusal(error) is expected


def refused(store: RedisServer) -> None:
    """Let a call be answered whose connection is old, and the attempt to replace it end."""
    pool: Any = store.pool
    began = time.monotonic()

    def has_been() -> bool:
        assert store.call("GET", "nothing") is None
        return bool(pool._process.refused_at >= began)  # noqa: SLF001 - the server counts no refusal

    until(has_been, what="a refusal")


def still_open(client: Any, first: set[str]) -> set[str]:
    """Those of the first connections that are left, of at most four."""
    now = connected(client)
    assert 3 <= len(now) <= 4
    return first & now


def test_what_is_left_of_a_burst_is_closed_without_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    with redis_server() as server, admin(server.url) as client:
        store = RedisServer(client_for(named(server.url), LONG), "the test")
        grown(store, client, 6)
        with later_by(monkeypatch, MAX_AGE - 5):
            # One of them is used, and replaced.
            until(lambda: store.call("GET", "nothing") is None)
        with later_by(monkeypatch, MAX_AGE + 1):
            until(lambda: len(connected(client)) <= 1)
        with later_by(monkeypatch, 3 * MAX_AGE):
            until(lambda: not connected(client))
        assert store.call("GET", "nothing") is None


def test_a_call_that_waits_is_not_given_a_connection_that_is_too_old(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with redis_server() as server, admin(server.url) as client:
        store = RedisServer(client_for(named(server.url), LONG, 1), "the test")
        first = store.call("CLIENT", "ID")
        assert store.pool is not None
        held = store.pool.take()
        numbers: list[int] = []
        waiting = threading.Thread(target=lambda: numbers.append(store.call("CLIENT", "ID")))
        waiting.start()
        until(lambda: stands_in(waiting) == connections.__file__)
        with later_by(monkeypatch, MAX_AGE + 1):
            store.pool.give_back(held)
            waiting.join(60)
        assert len(numbers) == 1
        assert numbers[0] != first
        assert len(connected(client)) <= 1


def stands_in(thread: threading.Thread) -> str:
    """The file whose code a thread runs."""
    frames: Any = sys
    frame = frames._current_frames().get(thread.ident or 0)  # noqa: SLF001
    return "" if frame is None else frame.f_code.co_filename


def test_commands_of_the_client_itself_leave_no_connection() -> None:
    with redis_server() as server, admin(server.url) as client:
        store = RedisServer(client_for(named(server.url), LONG), "the test")
        blocklist = RedisBlocklist(lambda: store.client)
        for _ in range(3):
            assert not [*blocklist.risks()]
            assert sum(map(sum, blocklist.count([0]).values())) == 0
            at_once(4, lambda _: store.pipeline([("GET", "nothing")]))
        assert store.call("GET", "nothing") is None
        assert len(connected(client)) <= 1


@pytest.mark.parametrize("protocol", [2, 3])
def test_a_replica_is_refused_by_name(protocol: int) -> None:
    with (
        redis_server() as master,
        redis_server("--replicaof", "127.0.0.1", str(port_of(master))) as replica,
    ):
        store = RedisBlocklist(client_for(f"{replica.url}?protocol={protocol}", LONG))
        with pytest.raises(StoreError, match=rf"127\.0\.0\.1:{port_of(replica)} is a replica"):
            store.find([new_key()])
        with untyped.Redis.from_url(replica.url, socket_timeout=LONG) as client:
            client.replicaof("NO", "ONE")
        assert found(store, new_key()) == []


@contextlib.contextmanager
def without(commands: Sequence[str], *options: str) -> Generator[Server]:
    """A server that does not know some commands, as an old one or a proxy."""
    path, port = program("redis-server"), str(free_port())
    assert path is not None
    unknown = [word for name in commands for word in ("--rename-command", name, "")]
    # The newer protocol would need HELLO.
    url = f"redis://127.0.0.1:{port}/0?protocol=2"

    def ask() -> None:
        with untyped.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=1) as client:
            client.ping()

    with folder_for(None) as folder:
        server = Server([path, "--port", port, *unknown, *options], url, folder, ask)
        try:
            server.start()
            yield server
        finally:
            server.stop()


def test_a_server_that_does_not_say_its_role_is_taken_as_it_is() -> None:
    with without(["HELLO", "ROLE"]) as server:
        store = RedisBlocklist(client_for(server.url, LONG))
        assert found(store, new_key()) == []


@pytest.mark.parametrize("unknown", ["HELLO", "ROLE"])
def test_either_command_says_the_role(unknown: str) -> None:
    with (
        redis_server() as master,
        without([unknown], "--replicaof", "127.0.0.1", str(port_of(master))) as replica,
    ):
        store = RedisBlocklist(client_for(replica.url, LONG))
        with pytest.raises(StoreError, match="is a replica"):
            store.find([new_key()])


def test_a_connection_is_not_kept_when_no_sentinel_can_be_asked_at_its_age(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with redis_sentinel() as (url, master, _):
        store = RedisBlocklist(client_for(url, LONG))
        assert found(store, new_key()) == []
        # The Sentinel cannot be asked any more.
        watch = url.removeprefix("redis+sentinel://").partition("/")[0]
        with (
            untyped.Redis.from_url(f"redis://{watch}", socket_timeout=LONG) as sentinel,
            contextlib.suppress(redis.ConnectionError),
        ):
            sentinel.shutdown(nosave=True)
        with later_by(monkeypatch, OLD):
            assert found(store, new_key()) == []
        with later_by(monkeypatch, MAX_AGE + 1), pytest.raises(redis.ConnectionError):
            store.find([new_key()])
        assert master.url


def test_the_connections_to_an_old_master_are_left_when_a_sentinel_names_another() -> None:
    with redis_sentinel() as (url, master, replica):
        store = RedisServer(client_for(named(url), LONG), "the test")
        with admin(master.url) as old, admin(replica.url) as new:
            grown(store, old, 3)
            watch = url.removeprefix("redis+sentinel://").partition("/")[0]
            # Both answer as masters, as on two sides of a partition.
            new.replicaof("NO", "ONE")
            with untyped.Redis.from_url(f"redis://{watch}", socket_timeout=LONG) as sentinel:
                sentinel.execute_command("SENTINEL", "REMOVE", "authx")
                place = ("127.0.0.1", port_of(replica), 1)
                sentinel.execute_command("SENTINEL", "MONITOR", "authx", *place)
            assert len(connected(old)) == 3
            # One more call than there are connections opens the next one.
            held = [store.pool.take() for _ in range(4)] if store.pool else []
            assert len(connected(new)) == 1
            for one in held:
                if store.pool:
                    store.pool.give_back(one)
            assert connected(old) == set()
            assert len(connected(new)) == 1


def test_connections_to_a_cluster_grow_old_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    with redis_cluster() as (url, servers), contextlib.ExitStack() as stack:
        clients = [stack.enter_context(admin(server.url)) for server in servers]
        store = RedisServer(client_for(named(url), LONG), "the test")

        def opened() -> set[tuple[int, str]]:
            return {(place, one) for place, c in enumerate(clients) for one in connected(c)}

        names = [f"key{number}" for number in range(20)]
        # The first one is sent to one of the nodes; the client asks another where it is.
        for asked in (names[:1], names):
            assert store.get_from_nodes(asked) == [None] * len(asked)
            assert len(opened()) >= min(len(asked), len(servers))
            with later_by(monkeypatch, MAX_AGE + 1):
                until(lambda: not opened())


#: Apps that each use their store; prints the names of the threads.
APPS = """
import json, sys, threading
from flask_authx import RedisBlocklist
from flask_authx.stores.redis.urls import client_for

stores = [RedisBlocklist(client_for(f"{sys.argv[1]}?client_name=app{n}", 10)) for n in range(10)]
for store in stores:
    store.find([bytes(16)])
print(json.dumps([one.name for one in threading.enumerate()]))
"""


def test_one_thread_of_a_process_serves_all_apps() -> None:
    with redis_server() as server:
        command = [sys.executable, "-c", APPS, server.url]
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True
        )
        names = [one for one in json.loads(done.stdout) if one.startswith("authx")]
        assert names.count("authx-redis-age") == 1
        # One that has just opened a connection may still be about to end.
        assert len(names) <= 2
