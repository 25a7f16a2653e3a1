"""A Redis server as the stores talk to it: one, a master found by Sentinels, or a Cluster."""

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

#: What all keys start with. The rest can be read by a client that decodes.
PREFIX = "authx:"
#: Seconds by which the clocks may differ: half of what an entry is kept too long.
MAX_SKEW = 30


class RedisServer:
    """Sends commands, over few connections of its own where that is possible.

    :param client: a client of redis-py, or what makes one when it is first needed.
    :param owner: the store's name, for errors.
    :raises BadConfigurationError: if it is another kind of client, or would wait for ever.
    """

    def __init__(self, client: Client | Callable[[], Client], owner: str) -> None:
        self._owner = owner
        self._retry = Retry(NoBackoff(), 1, (RedisConnectionError,))
        self._lock = threading.Lock()
        #: Connections between calls, of this process, and what a fork has left of another's.
        self._idle: deque[tuple[float, Any]] = deque()
        self._inherited: deque[tuple[float, Any]] = deque()
        self._pid = os.getpid()
        self._made: Any = None
        #: The client's pool, if commands can go past the client.
        self.pool: Any = None
        self._make: Callable[[], object] | None = None
        if isinstance(client, (Redis, RedisCluster)) or not callable(client):
            self._made = self._checked(client)
        else:
            self._make = client

    def _checked(self, client: object) -> Any:
        """The client; of no declared type, since its commands are declared to answer now or later.

        :raises BadConfigurationError: if it isn't fit.
        """
        if not isinstance(client, (Redis, RedisCluster)):
            raise BadConfigurationError(
                f"{self._owner} takes a redis.Redis or a redis.cluster.RedisCluster, not "
                f"{type(client).__module__}.{type(client).__qualname__}."
            )
        known: Any = client
        if known.get_connection_kwargs().get("socket_timeout") is None:
            raise BadConfigurationError(
                "the Redis client has no socket_timeout, so a server that hangs would hang each "
                "request: make it with socket_timeout=0.25 and socket_connect_timeout=1.5."
            )
        if _reads_elsewhere(known):
            raise BadConfigurationError(
                "the Redis client reads from replicas or from a cache, which know a revocation "
                "late: make it without read_from_replicas, load_balancing_strategy, slave_for and "
                "cache_config."
            )
        # Else it would wait ten times, and longer each time, for a server that is down.
        known.set_retry(self._retry)
        self.pool = _plain_pool(known)
        return known

    @property
    def client(self) -> Any:
        """The client. It is made when this is first asked."""
        if self._made is None and self._make is not None:
            # Making it may take as long as connecting does: all wait for one attempt, and once.
            waited = not self._lock.acquire(blocking=False)
            if waited and not self._lock.acquire(timeout=CONNECT_TIMEOUT):
                raise StoreBusyError("connecting takes long")
            try:
                made: Any = self._made
                if made is None and waited:
                    raise StoreBusyError("connecting has just failed")
                self._made = self._checked(self._make()) if made is None else made
            finally:
                self._lock.release()
        return self._made

    @property
    def is_cluster(self) -> bool:
        """Whether keys are spread over several servers."""
        return isinstance(self.client, RedisCluster)

    def call(self, *words: str) -> Any:
        """The answer to a command on one key."""
        client = self.client
        if self.pool is not None:
            return self.sent(self.pool, packed(words))
        return client.execute_command(*words)

    def together(self, commands: list[tuple[str, ...]]) -> list[Any]:
        """The answers to commands that are sent at once, each on one key."""
        # Else there is no pool yet.
        _ = self.client
        if self.pool is None:
            return self.piped(commands)
        answers: list[Any] = self.sent(self.pool, b"".join(map(packed, commands)), len(commands))
        return answers

    def from_nodes(self, names: list[str]) -> list[Any]:
        """The answers to GETs of a Cluster's nodes: all are asked before any is waited for.

        Where a node is gone or has moved its keys, the client's own pipeline finds them, and takes
        twice as long.
        """
        try:
            return self._straight(names)
        except RedisTimeoutError:
            raise
        except Exception:  # noqa: BLE001 - whatever it is, the client knows a Cluster's ways
            return self.piped(("GET", name) for name in names)

    def _straight(self, names: list[str]) -> list[Any]:
        client = self.client
        groups: dict[str, tuple[Any, list[bytes]]] = {}
        for name in names:
            node = client.get_node_from_key(name)
            groups.setdefault(node.name, (node, []))[1].append(packed(("GET", name)))
        asked: list[tuple[Any, Any, int]] = []
        sound = False
        try:
            for node, commands in groups.values():
                pool = client.get_redis_connection(node).connection_pool
                connection = pool.get_connection()
                asked.append((connection, pool, len(commands)))
                connection.send_packed_command([b"".join(commands)], check_health=False)
            values: list[Any] = [
                connection.read_response() for connection, _, number in asked for _ in range(number)
            ]
            sound = True
        finally:
            for connection, pool, _ in asked:
                if sound:
                    pool.release(connection)
                else:
                    # An answer may still be on its way.
                    _hang_up(connection, pool)
        return values

    def sent(self, pool: Any, command: bytes, number: int | None = None) -> Any:
        """The answer to a command, on one of a few connections that the store keeps to itself.

        What a client does around a command takes longer than the server's answer. Look-ups and
        revocations go over the same connections, so that what is written is also what is asked,
        whatever becomes of the server's name.

        :param command: as :func:`packed` makes it.
        :param number: of commands that are sent at once; then the answers are a list.
        """
        if self._pid != os.getpid():
            self._after_fork()
        oldest = time.monotonic() - MAX_AGE
        with contextlib.suppress(IndexError, RedisConnectionError):
            while True:
                born, connection = self._idle.pop()
                if born > oldest:
                    return self._ask(born, connection, pool, command, number)
                _hang_up(connection, pool)
        # There was none, or the server has closed it meanwhile.
        try:
            connection = pool.get_connection()
        except RedisConnectionError as error:
            if "oo many connections" in str(error):
                raise StoreBusyError("all connections of its pool are in use") from None
            raise
        return self._ask(time.monotonic(), connection, pool, command, number)

    def _after_fork(self) -> None:
        """Leave the connections to the parent, who goes on using them."""
        with self._lock:
            if self._pid != os.getpid():
                self._inherited = self._idle
                self._idle = deque()
                # Last: whoever sees it finds no connection of the parent's.
                self._pid = os.getpid()

    def _ask(
        self, born: float, connection: Any, pool: Any, command: bytes, number: int | None
    ) -> Any:
        try:
            connection.send_packed_command([command], check_health=False)
            answer: Any = (
                connection.read_response()
                if number is None
                else [connection.read_response() for _ in range(number)]
            )
        except BaseException:
            # The answer may still be on its way; or the server is a replica now, or going down.
            _hang_up(connection, pool)
            with contextlib.suppress(IndexError):
                while True:
                    _hang_up(self._idle.pop()[1], pool)
            raise
        if len(self._idle) < MAX_CONNECTIONS:
            self._idle.append((born, connection))
        else:
            pool.release(connection)
        return answer

    def risks(self, what: str) -> Iterator[Risk]:
        """A server that may evict keys, or that forgets them when it restarts.

        :param what: what the keys stand for, as a plural.
        """
        ahead = self.now() - time.time()
        if abs(ahead) > MAX_SKEW:
            yield Risk(
                f"the clock of Redis is {ahead:.0f} seconds ahead of this machine's: it forgets "
                f"{what} by that much too early.",
                "set both machines' clocks by NTP.",
            )
        for info in self._infos():
            policy = info.get("maxmemory_policy", "noeviction")
            if info.get("maxmemory") and policy != "noeviction":
                yield Risk(
                    f"Redis may evict {what}: maxmemory is set and maxmemory-policy is {policy}.",
                    "set maxmemory-policy noeviction, or use a server of its own.",
                )
            if not info.get("aof_enabled"):
                yield Risk(
                    f"Redis has no append-only file: a restart forgets {what}, all or those "
                    "since its last snapshot.",
                    "set appendonly yes, and appendfsync always if a power cut must lose nothing.",
                )
            if info.get("role") == "slave":
                yield Risk(
                    f"Redis is a replica: it takes no {what}, and knows others late.",
                    "name the master, or find it with redis+sentinel://.",
                )

    def _infos(self) -> Iterator[dict[str, Any]]:
        """What each server says of itself; alike ones once."""
        if not self.is_cluster:
            yield self.client.info("all")
            return
        said: list[dict[str, Any]] = []
        names = ("maxmemory", "maxmemory_policy", "aof_enabled", "role")
        for node in self.client.get_primaries():
            info = self.client.info("all", target_nodes=node)
            said.append({name: info.get(name) for name in names})
        yield from [info for place, info in enumerate(said) if info not in said[:place]]

    def now(self) -> int:
        """The time of the server, or of one of them."""
        node = self.client.get_random_node() if self.is_cluster else None
        return int(self.client.time(**({"target_nodes": node} if node else {}))[0])

    def piped(self, commands: Iterable[tuple[str, ...]]) -> list[Any]:
        """The answers to commands that are sent together, to each server those that are its own."""
        with self.client.pipeline(transaction=False) as pipeline:
            for command in commands:
                pipeline.execute_command(*command)
            answers: list[Any] = pipeline.execute()
        return answers


def _plain_pool(client: Any) -> Any:
    """The pool of a client that leads to one server and never keeps anybody waiting."""
    pool = getattr(client, "connection_pool", None)
    return pool if type(pool) is ConnectionPool else None


def packed(words: tuple[str, ...]) -> bytes:
    """A command on the wire (RESP), as short as it can be said: it is on every request's way."""
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        encoded = word.encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(encoded), encoded))
    return b"".join(parts)


def _reads_elsewhere(client: Any) -> bool:
    """Whether a client may answer from a replica, or from what it remembers."""
    pool = getattr(client, "connection_pool", None)
    return (
        bool(getattr(client, "read_from_replicas", False))
        or getattr(client, "load_balancing_strategy", None) is not None
        or getattr(pool, "is_master", True) is False
        or getattr(pool, "cache", None) is not None
    )


def _hang_up(connection: Any, pool: Any) -> None:
    with contextlib.suppress(Exception):
        connection.disconnect()
    pool.release(connection)


def text_of(value: object) -> str:
    """An answer in ASCII, whether or not the client has been told to decode."""
    return value.decode("ascii") if isinstance(value, bytes) else str(value)
