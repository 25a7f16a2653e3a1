"""The Redis behind a store: one server, a master found by Sentinels, or a Cluster."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

from redis import ConnectionError as RedisConnectionError
from redis import ConnectionPool, Redis
from redis import TimeoutError as RedisTimeoutError
from redis.backoff import NoBackoff
from redis.cluster import RedisCluster
from redis.retry import Retry

from flask_authx.errors import BadConfigurationError
from flask_authx.stores.base import CONNECT_TIMEOUT, MAX_AGE, MAX_CONNECTIONS, Risk, StoreBusyError

#: A client of either kind.
Client: TypeAlias = Redis | RedisCluster

#: The prefix of all keys. What follows it is ASCII, for clients with ``decode_responses``.
PREFIX = "authx:"
#: Seconds by which the clocks may differ: half the time that an entry outlives its tokens.
MAX_SKEW = 30


class RedisServer:
    """Sends commands, over a few connections of its own where that is possible.

    :param client: a client of redis-py, or a function that creates one when it is first needed.
    :param owner: the store's name, for errors.
    :raises BadConfigurationError: if it is another kind of client, or has no timeout.
    """

    def __init__(self, client: Client | Callable[[], Client], owner: str) -> None:
        self._owner = owner
        self._retry = Retry(NoBackoff(), 1, (RedisConnectionError,))
        self._lock = threading.Lock()
        #: Idle connections of this process, each with the moment at which it was opened.
        self._idle: deque[tuple[float, Any]] = deque()
        #: Those of the parent process, referenced so that garbage collection doesn't close them.
        self._inherited: deque[tuple[float, Any]] = deque()
        self._pid = os.getpid()
        self._client: Any = None
        #: The client's pool, if commands can bypass the client.
        self.pool: Any = None
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
        self.pool = _plain_pool(untyped)
        return untyped

    @property
    def client(self) -> Any:
        """The client. It is created at the first use."""
        if self._client is None and self._create is not None:
            # Creating it may take as long as connecting: all threads wait for one attempt.
            waited = not self._lock.acquire(blocking=False)
            if waited and not self._lock.acquire(timeout=CONNECT_TIMEOUT):
                raise StoreBusyError("connecting takes too long")
            try:
                client: Any = self._client
                if client is None and waited:
                    raise StoreBusyError("connecting has just failed")
                if client is None:
                    self._client = self._validated(self._create())
            finally:
                self._lock.release()
        return self._client

    @property
    def is_cluster(self) -> bool:
        """Whether keys are distributed over several servers."""
        return isinstance(self.client, RedisCluster)

    def call(self, *words: str) -> Any:
        """Send a command on one key and return the response."""
        client = self.client
        if self.pool is not None:
            return self.send(self.pool, encoded_command(words))
        return client.execute_command(*words)

    def call_together(self, commands: list[tuple[str, ...]]) -> list[Any]:
        """Send commands at once, each on one key, and return their responses."""
        # Creates the client, and with it the pool.
        _ = self.client
        if self.pool is None:
            return self.pipeline(commands)
        encoded = b"".join(map(encoded_command, commands))
        responses: list[Any] = self.send(self.pool, encoded, len(commands))
        return responses

    def get_from_nodes(self, names: list[str]) -> list[Any]:
        """Send GETs to the nodes of a Cluster, to all before reading from any; return the values.

        If a node is unavailable or has moved its keys, the client's own pipeline finds them, which
        takes twice as long.
        """
        try:
            return self._get_directly(names)
        except RedisTimeoutError:
            raise
        except Exception:  # noqa: BLE001 - the client handles moved keys and failed nodes
            return self.pipeline(("GET", name) for name in names)

    def _get_directly(self, names: list[str]) -> list[Any]:
        client = self.client
        groups: dict[str, tuple[Any, list[bytes]]] = {}
        for name in names:
            node = client.get_node_from_key(name)
            groups.setdefault(node.name, (node, []))[1].append(encoded_command(("GET", name)))
        sent: list[tuple[Any, Any, int]] = []
        complete = False
        try:
            for node, commands in groups.values():
                pool = client.get_redis_connection(node).connection_pool
                connection = pool.get_connection()
                sent.append((connection, pool, len(commands)))
                connection.send_packed_command([b"".join(commands)], check_health=False)
            values: list[Any] = [
                connection.read_response() for connection, _, number in sent for _ in range(number)
            ]
            complete = True
        finally:
            for connection, pool, _ in sent:
                if complete:
                    pool.release(connection)
                else:
                    # An unread response may be left on the connection.
                    _disconnect(connection, pool)
        return values

    def send(self, pool: Any, command: bytes, number: int | None = None) -> Any:
        """Send a command on one of the store's own connections and return the response.

        A client's own processing of a command takes longer than the server's. Look-ups and
        revocations use the same connections, so both reach the same server, even if its name leads
        to another one by now.

        :param command: from :func:`encoded_command`.
        :param number: the number of commands in ``command``; the responses are then a list.
        """
        if self._pid != os.getpid():
            self._after_fork()
        oldest = time.monotonic() - MAX_AGE
        with contextlib.suppress(IndexError, RedisConnectionError):
            while True:
                opened_at, connection = self._idle.pop()
                if opened_at > oldest:
                    return self._exchange(opened_at, connection, pool, command, number)
                _disconnect(connection, pool)
        # No connection was idle, or the server has closed it.
        try:
            connection = pool.get_connection()
        except RedisConnectionError as error:
            if "oo many connections" in str(error):
                raise StoreBusyError("all connections of its pool are in use") from None
            raise
        return self._exchange(time.monotonic(), connection, pool, command, number)

    def _after_fork(self) -> None:
        """Drop the parent's connections without closing them, since the parent still uses them."""
        with self._lock:
            if self._pid != os.getpid():
                self._inherited = self._idle
                self._idle = deque()
                # Last: a thread that sees the new pid must find no connection of the parent.
                self._pid = os.getpid()

    def _exchange(
        self, opened_at: float, connection: Any, pool: Any, command: bytes, number: int | None
    ) -> Any:
        response: Any
        try:
            connection.send_packed_command([command], check_health=False)
            if number is None:
                response = connection.read_response()
            else:
                response = [connection.read_response() for _ in range(number)]
        except BaseException:
            # An unread response may be left on the connection, or the server may have become a
            # replica or be shutting down.
            _disconnect(connection, pool)
            with contextlib.suppress(IndexError):
                while True:
                    _disconnect(self._idle.pop()[1], pool)
            raise
        if len(self._idle) < MAX_CONNECTIONS:
            self._idle.append((opened_at, connection))
        else:
            pool.release(connection)
        return response

    def risks(self, what: str) -> Iterator[Risk]:
        """A server that may evict keys, or that loses them when it restarts.

        :param what: what the server stores, as a plural.
        """
        ahead = self.now() - time.time()
        if abs(ahead) > MAX_SKEW:
            yield Risk(
                f"the clock of Redis is {ahead:.0f} seconds ahead of this machine's: {what} expire "
                "by that much too early.",
                "set both machines' clocks by NTP.",
            )
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

    def now(self) -> int:
        """The time of the server, or of a random node."""
        node = self.client.get_random_node() if self.is_cluster else None
        return int(self.client.time(**({"target_nodes": node} if node else {}))[0])

    def pipeline(self, commands: Iterable[tuple[str, ...]]) -> list[Any]:
        """Send commands through the client's pipeline and return their responses."""
        with self.client.pipeline(transaction=False) as pipeline:
            for command in commands:
                pipeline.execute_command(*command)
            responses: list[Any] = pipeline.execute()
        return responses


def _plain_pool(client: Any) -> Any:
    """The pool of a client, if it is of one server and never blocks."""
    pool = getattr(client, "connection_pool", None)
    return pool if type(pool) is ConnectionPool else None


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


def _disconnect(connection: Any, pool: Any) -> None:
    with contextlib.suppress(Exception):
        connection.disconnect()
    pool.release(connection)


def as_text(value: object) -> str:
    """A response in ASCII as a string, whether or not the client decodes responses."""
    return value.decode("ascii") if isinstance(value, bytes) else str(value)
