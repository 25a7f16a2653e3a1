"""The connections that a Redis store keeps: which server they lead to, and how many there are."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis
import sqlalchemy as sa
from redis.cache import CacheConfig
from redis.cluster import LoadBalancingStrategy, RedisCluster

from flask_authx import BadConfigurationError, Entry, Kind, RedisBlocklist, StoreBusyError
from flask_authx.stores.base import MAX_AGE, StoreError
from flask_authx.stores.circuit_breaker import CircuitBreaker
from flask_authx.stores.redis.urls import client_for
from tests.stores.contract import ALL, HOUR, found, new_key, plain
from tests.support.databases import redis_url
from tests.support.failing import port_of
from tests.support.servers.private import Server, redis_cluster, redis_server
from tests.support.waiting import later_by

untyped: Any = redis
LONG = 10.0
REVOKED = [plain(ALL)]


@contextlib.contextmanager
def client_with(
    connect: Callable[[Any], None], read: dict[str, Any] | None = None, **options: Any
) -> Generator[Any]:
    """A client whose connections do this before they connect."""

    class Connection(redis.Connection):
        def connect(self) -> None:
            connect(self)
            # Half of it has no types.
            parent: Any = super()
            parent.connect()

        def read_response(self, *args: Any, **kwargs: Any) -> Any:
            parent: Any = super()
            return parent.read_response(*args, **{**kwargs, **(read or {})})

    options = {"socket_timeout": LONG, "socket_connect_timeout": LONG, **options}
    pool = untyped.ConnectionPool(connection_class=Connection, **options)
    try:
        yield untyped.Redis(connection_pool=pool)
    finally:
        pool.disconnect()


class Name:
    """What a client takes for one server, wherever it leads.

    :param servers: it leads to the first of them, until it is moved.
    """

    def __init__(self, *servers: Server) -> None:
        self.ports = [port_of(server) for server in servers]
        self.port = self.ports[0]

    def __call__(self, connection: Any) -> None:
        connection.port = self.port

    def move(self) -> None:
        self.port = self.ports[1]


@pytest.fixture
def name() -> Generator[Name]:
    with redis_server() as first, redis_server() as second:
        yield Name(first, second)


def revoke(store: RedisBlocklist) -> bytes:
    """Add an entry, and say under which key."""
    key = new_key()
    store.add(Entry(key, Kind.TOKEN, HOUR))
    return key


@pytest.mark.slow
def test_what_has_been_written_is_found_wherever_the_servers_name_leads(name: Name) -> None:
    """The old server lives on, and knows nothing of what the new one is told."""
    with client_with(name) as client:
        store = RedisBlocklist(client)
        assert found(store, new_key()) == []
        name.move()
        key = revoke(store)
        assert [found(store, key) for _ in range(3)] == [REVOKED] * 3


@pytest.mark.slow
def test_a_master_that_became_a_replica_is_left_for_the_new_one(name: Name) -> None:
    with client_with(name) as client:
        store = RedisBlocklist(client)
        revoke(store)
        with untyped.Redis(port=name.ports[0], socket_timeout=LONG) as old:
            old.replicaof("127.0.0.1", name.ports[1])
        name.move()
        with pytest.raises(redis.ReadOnlyError):
            revoke(store)
        assert found(store, revoke(store)) == REVOKED


@pytest.mark.slow
def test_a_connection_is_not_used_longer_than_a_minute(
    name: Name, monkeypatch: pytest.MonkeyPatch
) -> None:
    with client_with(name) as client:
        store = RedisBlocklist(client)
        assert found(store, new_key()) == []
        name.move()
        with untyped.Redis(port=name.port, socket_timeout=LONG) as direct:
            key = new_key()
            RedisBlocklist(direct).add(Entry(key, Kind.TOKEN, HOUR))
        assert found(store, key) == []
        with later_by(monkeypatch, MAX_AGE - 5):
            assert found(store, key) == []
        with later_by(monkeypatch, MAX_AGE + 1):
            assert found(store, key) == REVOKED


def address() -> dict[str, Any]:
    """The server of all tests, as options of a client."""
    url = sa.make_url(redis_url())
    options: dict[str, Any] = {
        "host": url.host,
        "port": url.port,
        "db": int(url.database or 0),
        "password": url.password,
    }
    return options


def test_after_a_busy_moment_the_pool_has_its_connections_back() -> None:
    size = 12
    all_connect = threading.Barrier(size)

    met = set[int]()

    def wait(connection: Any) -> None:
        # A pool connects those that are connected, too, which does nothing.
        if id(connection) not in met:
            met.add(id(connection))
            all_connect.wait(60)

    with client_with(wait, max_connections=size, **address()) as client:
        store = RedisBlocklist(client)
        with ThreadPoolExecutor(size) as threads:
            assert [*threads.map(store.find, [[new_key()]] * size)] == [[None]] * size
        assert found(store, revoke(store)) == REVOKED
        # The app takes what is left, and that is more than half.
        taken = [client.connection_pool.get_connection() for _ in range(size // 2)]
        assert found(store, revoke(store)) == REVOKED
        for one in taken:
            client.connection_pool.release(one)


@pytest.mark.slow
def test_a_pool_that_is_used_up_is_busy_and_has_not_failed() -> None:
    with client_with(lambda _: None, max_connections=1, **address()) as client:
        store, breaker = RedisBlocklist(client), CircuitBreaker("the store")
        taken = client.connection_pool.get_connection()
        with pytest.raises(StoreBusyError):
            breaker.call(store.find, [new_key()])
        with pytest.raises(StoreBusyError):
            breaker.call(revoke, store)
        client.connection_pool.release(taken)
        assert breaker.call(store.find, [new_key()]) == [None]


class Crowd:
    """Eight threads that ask a store at once for its client, which is made when all have come."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self.attempts = 0
        self._make = make
        self._came = threading.Semaphore(0)
        self._all = threading.Event()

    def __call__(self) -> Any:
        self.attempts += 1
        assert self._all.wait(60)
        return self._make()

    def ask(self, store: RedisBlocklist) -> list[object]:
        """What each thread gets, or the error that it meets."""
        with ThreadPoolExecutor(8) as threads:
            results = [threads.submit(self._one, store) for _ in range(8)]
            for _ in range(8):
                assert self._came.acquire(timeout=60)
            self._all.set()
            return [one.result(60) for one in results]

    def _one(self, store: RedisBlocklist) -> object:
        self._came.release()
        try:
            return store.find([new_key()])
        except Exception as error:  # noqa: BLE001 - whichever it is, it is looked at
            return error


def test_the_first_requests_wait_together_for_a_client_that_takes_its_time() -> None:
    client = untyped.Redis(socket_timeout=LONG, **address())
    crowd = Crowd(lambda: client)
    assert crowd.ask(RedisBlocklist(crowd)) == [[None]] * 8
    assert crowd.attempts == 1
    client.close()


def test_the_first_requests_wait_together_for_a_client_that_can_not_be_made() -> None:
    def make() -> Any:
        raise ConnectionRefusedError

    crowd = Crowd(make)
    seen = crowd.ask(RedisBlocklist(crowd))
    assert all(isinstance(one, (ConnectionRefusedError, StoreError)) for one in seen), seen
    assert not any(isinstance(one, StoreBusyError) for one in seen), seen
    # One, and perhaps those of threads that came when it was done; never one for each.
    assert crowd.attempts < 8


@contextlib.contextmanager
def counting(*, hold: bool) -> Generator[tuple[int, list[socket.socket]]]:
    """A port that closes each connection at once, or never responds; and those that have come."""
    came: list[socket.socket] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                came.append(listener.accept()[0])
                if not hold:
                    came[-1].close()

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield listener.getsockname()[1], came
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(60)
        listener.close()
        for one in came:
            one.close()


@pytest.mark.parametrize("hold", [False, True], ids=["down", "hanging"])
def test_a_client_of_the_apps_own_tries_twice_and_not_ten_times(hold: bool) -> None:
    with counting(hold=hold) as (port, came), untyped.Redis(port=port, socket_timeout=0.1) as own:
        store = RedisBlocklist(own)
        for work in (lambda: store.find([new_key()]), lambda: revoke(store)):
            before = len(came)
            with pytest.raises((redis.ConnectionError, redis.TimeoutError)):
                work()
            assert len(came) - before <= 2


def test_a_client_made_from_a_url_tries_twice() -> None:
    with (
        counting(hold=False) as (port, came),
        contextlib.closing(client_for(f"redis://127.0.0.1:{port}", LONG)()) as client,
    ):
        with pytest.raises(redis.ConnectionError):
            client.get("key")
        assert len(came) == 2


def test_a_client_that_reads_from_replicas_is_refused() -> None:
    sentinel = untyped.Sentinel([("127.0.0.1", 1)])
    with pytest.raises(BadConfigurationError, match=r"replicas.*slave_for"):
        RedisBlocklist(sentinel.slave_for("master", socket_timeout=1))
    RedisBlocklist(sentinel.master_for("master", socket_timeout=1))


@pytest.mark.slow
@pytest.mark.xdist_group("cluster")
def test_a_client_of_a_cluster_that_reads_from_replicas_is_refused() -> None:
    with redis_cluster() as (url, _):
        host, _, port = url.removeprefix("redis+cluster://").partition(",")[0].partition(":")
        for strategy in (None, LoadBalancingStrategy.ROUND_ROBIN):
            client = RedisCluster(
                host=host, port=int(port), socket_timeout=5, load_balancing_strategy=strategy
            )
            try:
                if strategy is None:
                    assert RedisBlocklist(client).find([new_key()]) == [None]
                else:
                    with pytest.raises(BadConfigurationError, match="replicas"):
                        RedisBlocklist(client)
            finally:
                client.close()


@pytest.mark.slow
@pytest.mark.xdist_group("cluster")
def test_connections_to_a_cluster_are_kept_and_replaced_when_they_are_cut_or_a_slot_moves() -> None:
    with redis_cluster() as (url, servers), contextlib.closing(client_for(url, LONG)()) as client:
        store = RedisBlocklist(client)
        nodes = [untyped.from_url(server.url) for server in servers]

        def connected() -> int:
            return sum(node.info("stats")["total_connections_received"] for node in nodes)

        revoked = [revoke(store) for _ in range(10)]
        assert all(found(store, key) == REVOKED for key in revoked)
        # Until every node has been asked.
        for _ in range(15):
            assert found(store, *(new_key() for _ in range(3))) == []
        before = connected()
        # Each looks up three keys, so it asks several nodes.
        for key in revoked:
            assert found(store, new_key(), key, new_key())
        assert connected() == before
        for node in nodes:
            node.execute_command("CLIENT KILL TYPE normal SKIPME yes")
        assert all(found(store, new_key(), key, new_key()) for key in revoked)
        move_first_slot(*nodes)
        assert all(found(store, new_key(), key, new_key()) for key in revoked)
        for node in nodes:
            node.close()


def move_first_slot(*nodes: Any) -> None:
    """Move the slot of some key in a Cluster to another node: the client still asks the first."""
    source, target, _ = sorted(nodes, key=lambda node: node.dbsize(), reverse=True)
    ids = [node.execute_command("CLUSTER MYID").decode() for node in (source, target)]
    slot = source.execute_command("CLUSTER KEYSLOT", next(source.scan_iter()))
    target.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", ids[0])
    source.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", ids[1])
    port = target.connection_pool.connection_kwargs["port"]
    for name in source.execute_command("CLUSTER GETKEYSINSLOT", slot, 100):
        source.migrate("127.0.0.1", port, name, 0, 5000)
    for node in (target, source):
        node.execute_command("CLUSTER SETSLOT", slot, "NODE", ids[1])


def test_a_client_that_remembers_responses_is_refused() -> None:
    with pytest.raises(BadConfigurationError, match="cache"):
        RedisBlocklist(untyped.Redis(socket_timeout=1, protocol=3, cache_config=CacheConfig()))


@pytest.mark.slow
def test_a_call_that_has_failed_leaves_no_response_for_the_next() -> None:
    """Whatever the client does itself: a later redis-py may leave such a connection open."""
    with redis_server() as server:
        leave_open = {"disconnect_on_error": False}
        options = {"port": port_of(server), "socket_timeout": 0.25, "retry_on_timeout": False}
        with client_with(lambda _: None, leave_open, **options) as client:
            store = RedisBlocklist(client)
            revoked, valid = revoke(store), new_key()
            server.pause()
            with pytest.raises(redis.TimeoutError):
                store.find([valid])
            server.resume()
            wait_for(server)
            for _ in range(10):
                assert found(store, revoked) == REVOKED
                assert found(store, valid) == []


def wait_for(server: Server) -> None:
    with untyped.Redis.from_url(server.url, socket_timeout=60) as client:
        client.ping()
