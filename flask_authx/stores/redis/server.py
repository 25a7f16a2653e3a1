"""The Redis behind a store: one server, a master found by Sentinels, or a Cluster."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from queue import Empty, SimpleQueue
from typing import Any, TypeAlias, TypeVar

from redis import (
    BlockingConnectionPool,
    BusyLoadingError,
    ConnectionPool,
    ReadOnlyError,
    Redis,
    ResponseError,
)
from redis import ConnectionError as RedisConnectionError
from redis import TimeoutError as RedisTimeoutError
from redis.backoff import NoBackoff
from redis.cluster import RedisCluster
from redis.exceptions import (
    AskError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    TryAgainError,
)
from redis.retry import Retry
from redis.sentinel import SentinelConnectionPool

from flask_authx.errors import BadConfigurationError
from flask_authx.stores.base import CONNECT_TIMEOUT, Risk, StoreError

from .connections import Held, StoreConnections

T = TypeVar("T")

#: A client of either kind.
Client: TypeAlias = Redis | RedisCluster

#: The prefix of all keys. What follows it is ASCII, for clients with ``decode_responses``.
PREFIX = "authx:"
#: With these, a server goes away or takes no writes: its connections are all left.
_LEAVING = (RedisConnectionError, ReadOnlyError, MasterDownError)
#: With these, a node of a Cluster has executed nothing, since another has the key.
_ELSEWHERE = (AskError, MovedError, TryAgainError, ClusterDownError, MasterDownError)


class RedisServer:
    """Sends commands, over connections that the process holds.

    :param client: a client of redis-py, or a function that creates one when it is first needed.
    :param owner: the store's name, for errors.
    :raises BadConfigurationError: if it is another kind of client, or has no timeout.
    """

    def __init__(self, client: Client | Callable[[], Client], owner: str) -> None:
        self._owner = owner
        self._retry = Retry(NoBackoff(), 1, (RedisConnectionError,))
        #: The lock of each process: one that is forked may have come from a locked one.
        self._locks: dict[int, threading.RLock] = {}
        #: The client, if it holds nothing that belongs to one process.
        self._client: Any = None
        #: The clients of Clusters that were created in each process.
        self._created: dict[int, Any] = {}
        #: The connections of the client, if it is of one server and commands can bypass it.
        self.pool: StoreConnections | None = None
        self._create: Callable[[], object] | None = None
        if isinstance(client, (Redis, RedisCluster)) or not callable(client):
            self._client = self._validated(client)
        else:
            self._create = client

    def _validated(self, client: object) -> Any:
        """The client. It is typed ``Any``, since redis-py types results as maybe awaitable.

        :raises BadConfigurationError: if the store can't use it.
        """
        if not isinstance(client, (Redis, RedisCluster)):
            raise BadConfigurationError(
                f"{self._owner} takes a redis.Redis or a redis.cluster.RedisCluster, not "
                f"{type(client).__module__}.{type(client).__qualname__}."
            )
        untyped: Any = client
        if untyped.get_connection_kwargs().get("socket_timeout") is None:
            raise BadConfigurationError(
                "the Redis client has no socket_timeout, so requests would hang with a server that "
                "hangs: create it with socket_timeout=0.25 and socket_connect_timeout=1.5."
            )
        if _reads_replicas_or_cache(untyped):
            raise BadConfigurationError(
                "the Redis client reads from replicas or from a cache, which return a revocation "
                "late: create it without read_from_replicas, load_balancing_strategy, slave_for "
                "and cache_config."
            )
        # redis-py's default is ten retries with growing pauses while a server is down.
        untyped.set_retry(self._retry)
        if isinstance(client, Redis):
            self.pool = _held_connections(untyped)
        else:
            self._adopt_nodes(untyped)
        return untyped

    @property
    def _lock(self) -> threading.RLock:
        pid = os.getpid()
        return self._locks.get(pid) or self._locks.setdefault(pid, threading.RLock())

    @property
    def client(self) -> Any:
        """The client. It is created at the first use."""
        client = self._client
        if client is None:
            client = self._created.get(os.getpid())
        return client if client is not None else self._new_client()

    def _new_client(self) -> Any:
        # Creating it may take as long as connecting: all threads wait for one attempt.
        lock = self._lock
        waited = not lock.acquire(blocking=False)
        if waited and not lock.acquire(timeout=CONNECT_TIMEOUT):
            raise StoreError("connecting takes too long")
        try:
            client: Any = self._created.get(os.getpid(), self._client)
            if client is None and waited:
                raise StoreError("connecting has just failed")
            if client is None and self._create is not None:
                client = self._validated(in_time(self._create, CONNECT_TIMEOUT))
                if isinstance(client, RedisCluster):
                    self._created[os.getpid()] = client
                else:
                    self._client = client
        finally:
            lock.release()
        return client

    @property
    def is_cluster(self) -> bool:
        """Whether keys are distributed over several servers."""
        return isinstance(self.client, RedisCluster)

    def call(self, *words: str) -> Any:
        """Send a command on one key and return the response."""
        client = self.client
        if self.pool is not None:
            return self.send(self.pool, encoded_command(words))
        if self.is_cluster:
            return self._on_nodes([words], lambda: [client.execute_command(*words)])[0]
        return client.execute_command(*words)

    def call_together(self, commands: list[tuple[str, ...]]) -> list[Any]:
        """Send commands at once, each on one key, and return their responses."""
        if self.is_cluster:
            return self._on_nodes(commands, lambda: self.pipeline(commands))
        if self.pool is None:
            return self.pipeline(commands)
        encoded = b"".join(map(encoded_command, commands))
        responses: list[Any] = self.send(self.pool, encoded, len(commands))
        return responses

    def get_from_nodes(self, names: list[str]) -> list[Any]:
        """Send GETs to the nodes of a Cluster, to all before reading from any.

        The values are in the order of the names.

        If a node is unavailable or has moved its keys, the client's own pipeline finds them, which
        takes twice as long.
        """
        return self.call_together([("GET", name) for name in names])

    def _on_nodes(
        self, commands: list[tuple[str, ...]], by_client: Callable[[], list[Any]]
    ) -> list[Any]:
        """Send commands to the nodes of a Cluster that have their keys.

        :param by_client: does the same where keys have moved and nodes have failed.
        """
        try:
            return self._on_nodes_directly(commands)
        except (RedisTimeoutError, StoreError):
            raise
        except ResponseError as error:
            if not isinstance(error, _ELSEWHERE):
                raise
        except Exception:  # noqa: BLE001, S110 - the client handles failed nodes
            pass
        responses = by_client()
        self._adopt_nodes(self.client)
        return responses

    def _on_nodes_directly(self, commands: list[tuple[str, ...]]) -> list[Any]:
        client = self.client
        places: dict[str, tuple[Any, list[int]]] = {}
        for place, words in enumerate(commands):
            node = client.get_node_from_key(words[3 if words[0] == "EVAL" else 1])
            places.setdefault(node.name, (node, []))[1].append(place)
        sent: list[tuple[StoreConnections, Held, list[int]]] = []
        responses: list[Any] = [None] * len(commands)
        try:
            # All calls take the nodes' connections in this order, so that none waits for another
            # that waits for it.
            for _, (node, numbers) in sorted(places.items(), key=lambda item: item[0]):
                pool = self._of_node(client, node)
                held = pool.take()
                sent.append((pool, held, numbers))
                encoded = b"".join(encoded_command(commands[place]) for place in numbers)
                held.redis.send_packed_command([encoded], check_health=False)
            while sent:
                pool, held, numbers = sent[-1]
                for place, response in zip(numbers, _read(held.redis, len(numbers)), strict=True):
                    responses[place] = response
                sent.pop()
                pool.give_back(held)
        except BaseException as error:
            # Unread responses are left on the connections.
            for pool, held, _ in sent:
                pool.drop(held, others=isinstance(error, RedisConnectionError))
            raise
        return responses

    def _adopt_nodes(self, client: Any) -> None:
        """Hold the connections to all nodes of a Cluster that the client has found."""
        for node in client.get_nodes():
            self._of_node(client, node)

    def _of_node(self, client: Any, node: Any) -> StoreConnections:
        """The connections to a node of a Cluster."""
        of_node = client.get_redis_connection(node)
        if not isinstance(of_node.connection_pool, StoreConnections):
            with self._lock:
                if not isinstance(pool := of_node.connection_pool, StoreConnections):
                    # A replica of a Cluster redirects to its master.
                    of_node.connection_pool = StoreConnections(pool, asks_role=False)
                    pool.disconnect(inuse_connections=False)
        connections: StoreConnections = of_node.connection_pool
        return connections

    def send(self, pool: StoreConnections, command: bytes, number: int | None = None) -> Any:
        """Send a command on one of the store's connections and return the response.

        A client's own processing of a command takes longer than the server's.

        :param command: from :func:`encoded_command`.
        :param number: the number of commands in ``command``; the responses are then a list.
        """
        held = pool.take()
        try:
            return _exchange(pool, held, command, number)
        except BusyLoadingError:
            raise
        except RedisConnectionError:
            # The server has closed the connection, and so all have been: the next one may lead to
            # another server.
            held = pool.take()
        return _exchange(pool, held, command, number)

    def risks(self, what: str) -> Iterator[Risk]:
        """A server that may evict keys, or that loses them when it restarts.

        :param what: what the server stores, as a plural.
        """
        for info in self._infos():
            policy = info.get("maxmemory_policy", "noeviction")
            if info.get("maxmemory") and policy != "noeviction":
                yield Risk(
                    f"Redis may evict {what}: maxmemory is set and maxmemory-policy is {policy}.",
                    "set maxmemory-policy noeviction, or use a separate server.",
                )
            if not info.get("aof_enabled"):
                yield Risk(
                    f"Redis has no append-only file: a restart loses {what}, all or those since "
                    "its last snapshot.",
                    "set appendonly yes, and appendfsync always if a power cut must lose nothing.",
                )
            if info.get("role") == "slave":
                yield Risk(
                    f"Redis is a replica: it accepts no {what}, and returns those of its master "
                    "late.",
                    "name the master, or find it with redis+sentinel://.",
                )

    def _infos(self) -> Iterator[dict[str, Any]]:
        """The INFO of the server, or of each distinct primary of a Cluster."""
        if not self.is_cluster:
            yield self.client.info("all")
            return
        infos: list[dict[str, Any]] = []
        names = ("maxmemory", "maxmemory_policy", "aof_enabled", "role")
        for node in self.client.get_primaries():
            info = self.client.info("all", target_nodes=node)
            relevant = {name: info.get(name) for name in names}
            if relevant not in infos:
                infos.append(relevant)
        yield from infos

    def pipeline(self, commands: Iterable[tuple[str, ...]]) -> list[Any]:
        """Send commands through the client's pipeline and return their responses."""
        with self.client.pipeline(transaction=False) as pipeline:
            for command in commands:
                pipeline.execute_command(*command)
            responses: list[Any] = pipeline.execute()
        return responses


def _held_connections(client: Any) -> StoreConnections | None:
    """The connections of a client of one server; ``None`` if its pool is the app's own kind."""
    pool = client.connection_pool
    if type(pool) in (ConnectionPool, BlockingConnectionPool, SentinelConnectionPool):
        if isinstance(pool, SentinelConnectionPool):
            _ask_sentinels_afresh(pool)
        pool = client.connection_pool = StoreConnections(pool, asks_role=True)
    return pool if isinstance(pool, StoreConnections) else None


def _ask_sentinels_afresh(pool: Any) -> None:
    """Keep no connection to a Sentinel, and wait for none longer than for a server."""
    for sentinel in pool.sentinel_manager.sentinels:
        own = sentinel.connection_pool
        if not isinstance(own, StoreConnections):
            options = own.connection_kwargs
            if options.get("socket_timeout") is None:
                options["socket_timeout"] = pool.connection_kwargs["socket_timeout"]
            sentinel.connection_pool = StoreConnections(own, asks_role=False)


def _exchange(pool: StoreConnections, held: Held, command: bytes, number: int | None) -> Any:
    connection = held.redis
    response: Any
    try:
        connection.send_packed_command([command], check_health=False)
        response = _response(connection) if number is None else _read(connection, number)
    except ResponseError as error:
        # The response has been read.
        if isinstance(error, _LEAVING):
            pool.drop(held, others=True)
        else:
            pool.give_back(held)
        raise
    except BaseException as error:
        # An unread response may be left on the connection.
        pool.drop(held, others=isinstance(error, _LEAVING))
        raise
    pool.give_back(held)
    return response


def _read(connection: Any, number: int) -> list[Any]:
    """So many responses.

    :raises ResponseError: if one is an error, after all have been read.
    """
    responses: list[Any] = []
    failure: ResponseError | None = None
    for _ in range(number):
        try:
            responses.append(_response(connection))
        except ResponseError as error:
            failure = failure or error
    if failure is not None:
        raise failure
    return responses


def _response(connection: Any) -> Any:
    try:
        return connection.read_response(disconnect_on_error=False)
    except RedisTimeoutError:
        # A process that had no CPU may find the response and the timeout at the same moment.
        if not connection.can_read(timeout=0):
            raise
    return connection.read_response(disconnect_on_error=False)


def in_time(work: Callable[[], T], seconds: float) -> T:
    """The result of work that has no time limit of its own, such as resolving a name.

    :raises StoreError: if it takes longer.
    """
    done: SimpleQueue[tuple[T, None] | tuple[None, BaseException]] = SimpleQueue()

    def run() -> None:
        try:
            done.put((work(), None))
        except BaseException as error:  # noqa: BLE001 - it is raised in the thread that waits
            done.put((None, error))

    threading.Thread(target=run, name="authx-redis", daemon=True).start()
    try:
        result = done.get(timeout=seconds)
    except Empty:
        raise StoreError(f"no connection was opened within {seconds:g} s") from None
    if result[1] is not None:
        raise result[1]
    return result[0]


def encoded_command(words: tuple[str, ...]) -> bytes:
    """A command in the Redis protocol (RESP). Short, since every request needs it."""
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        encoded = word.encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(encoded), encoded))
    return b"".join(parts)


def _reads_replicas_or_cache(client: Any) -> bool:
    """Whether a client may read from a replica or from its own cache."""
    pool = getattr(client, "connection_pool", None)
    return (
        bool(getattr(client, "read_from_replicas", False))
        or getattr(client, "load_balancing_strategy", None) is not None
        or getattr(pool, "is_master", True) is False
        or getattr(pool, "cache", None) is not None
    )


def as_text(value: object) -> str:
    """A response in ASCII as a string, whether or not the client decodes responses."""
    return value.decode("ascii") if isinstance(value, bytes) else str(value)
