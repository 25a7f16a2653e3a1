"""Revocations in Redis: one server, a master found by Sentinels, or a Cluster."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias

from flask_authx.errors import BadConfigurationError

from .entries import (
    ALL,
    CONNECT_TIMEOUT,
    MAX_AGE,
    MAX_CONNECTIONS,
    Cutoff,
    Entry,
    Kind,
    Pruned,
    Risk,
    StoreBusyError,
)

if TYPE_CHECKING:
    from redis import Redis
    from redis.cluster import RedisCluster

    #: A client of either kind.
    Client: TypeAlias = Redis | RedisCluster

#: What all keys start with. The rest is hex, which a client that decodes can read.
PREFIX = "authx:"
#: Seconds by which the clocks may differ: half of what an entry is kept too long.
MAX_SKEW = 30
#: Keys that are looked at together when counting.
BATCH = 1000

#: What an entry that ends everything holds: small numbers, which Redis stores once.
_KINDS = {Kind.TOKEN: "1", Kind.SESSION: "2"}

#: What :meth:`Entry.then` says, as one step of the server. A cut-off is held as three words: the
#: moment, the key of the kept login in hex or "-", and the moment that login must be later than.
_ADD = """
local old, value = redis.call('GET', KEYS[1]), ARGV[1]
local expires = tonumber(ARGV[2])
if old then
    local moved = 0
    local until0, keep0, after0 = string.match(old, '^(%S+) (%S+) (%S+)$')
    local until1, keep1 = string.match(value, '^(%S+) (%S+) %S+$')
    if until0 and until1 then
        local moment = tonumber(until1)
        if tonumber(until0) + 1 > moment then
            moment, moved = tonumber(until0) + 1, 1
        end
        local after = keep0 == keep1 and after0 or until0
        value = string.format('%.0f', moment) .. ' ' .. keep1 .. ' ' .. after
    end
    local left, time = redis.call('PTTL', KEYS[1]), redis.call('TIME')
    if left >= 0 then
        local was = time[1] + (time[2] / 1000 + left) / 1000
        expires = math.max(expires, math.floor(was + 0.5) + moved)
    end
end
redis.call('SET', KEYS[1], value)
redis.call('EXPIREAT', KEYS[1], string.format('%.0f', expires))
"""


class RedisBlocklist:
    """Keeps revocations in Redis, version 5 or later. They last as Redis is set up to.

    Each entry has its own expiry, so there is nothing to prune. What a fail-over may lose, and
    what a server without append-only file forgets, is lost here, too: ``flask authx doctor`` says
    what it finds.

    :param client: a client of redis-py, made for this store, for a server or a Cluster, with a
        ``socket_timeout``; or a function that makes one, when it is first needed: that for a
        Cluster connects at once. Its ``retry`` is set to one more attempt, without a pause.
    :raises BadConfigurationError: if it is another kind of client, or would wait for ever.
    """

    per_process: bool = False

    def __init__(self, client: Client | Callable[[], Client]) -> None:
        # Optional, and needed only here.
        from redis import ConnectionError as Closed  # noqa: PLC0415 - as said above
        from redis import Redis  # noqa: PLC0415 - as said above
        from redis import TimeoutError as Late  # noqa: PLC0415 - as said above
        from redis.backoff import NoBackoff  # noqa: PLC0415 - as said above
        from redis.cluster import RedisCluster  # noqa: PLC0415 - as said above
        from redis.retry import Retry  # noqa: PLC0415 - as said above

        self._kinds: tuple[type, type] = (Redis, RedisCluster)
        self._closed: type[Exception] = Closed
        self._late: type[Exception] = Late
        self._retry = Retry(NoBackoff(), 1, (Closed,))
        self._lock = threading.Lock()
        #: Connections between calls, of this process, and what a fork has left of another's.
        self._idle: deque[tuple[float, Any]] = deque()
        self._inherited: deque[tuple[float, Any]] = deque()
        self._pid = os.getpid()
        self._made: Any = None
        #: The client's pool, if commands can go past the client.
        self._pool: Any = None
        self._make: Callable[[], object] | None = None
        if isinstance(client, self._kinds) or not callable(client):
            self._made = self._checked(client)
        else:
            self._make = client

    def _checked(self, client: object) -> Any:
        """The client; of no declared type, since its commands are declared to answer now or later.

        :raises BadConfigurationError: if it isn't fit.
        """
        if not isinstance(client, self._kinds):
            raise BadConfigurationError(
                "RedisBlocklist takes a redis.Redis or a redis.cluster.RedisCluster, not "
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
        self._pool = _plain_pool(known)
        return known

    @property
    def _client(self) -> Any:
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
    def _cluster(self) -> bool:
        return isinstance(self._client, self._kinds[1])

    def find(self, keys: Sequence[bytes], /) -> Sequence[Cutoff]:
        """The cut-offs of the entries under these keys: one MGET, or a pipeline on a Cluster."""
        names = [PREFIX + key.hex() for key in keys]
        client = self._client
        if self._pool is not None:
            values = self._sent(self._pool, "MGET", *names)
        elif self._cluster:
            values = self._from_nodes(names)
        else:
            values = client.mget(names)
        return [_cutoff(_text(value)) for value in values if value is not None]

    def _from_nodes(self, names: list[str]) -> list[Any]:
        """The answers to GETs of a Cluster's nodes: all are asked before any is waited for.

        Where a node is gone or has moved its keys, the client's own pipeline finds them, and takes
        twice as long.
        """
        try:
            return self._straight(names)
        except self._late:
            raise
        except Exception:  # noqa: BLE001 - whatever it is, the client knows a Cluster's ways
            return self._piped(("GET", name) for name in names)

    def _straight(self, names: list[str]) -> list[Any]:
        client = self._client
        groups: dict[str, tuple[Any, list[bytes]]] = {}
        for name in names:
            node = client.get_node_from_key(name)
            groups.setdefault(node.name, (node, []))[1].append(_packed(("GET", name)))
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

    def _sent(self, pool: Any, *words: str) -> Any:
        """The answer to a command, on one of a few connections that the store keeps to itself.

        What a client does around a command takes longer than the server's answer. Look-ups and
        revocations go over the same connections, so that what is written is also what is asked,
        whatever becomes of the server's name.
        """
        if self._pid != os.getpid():
            self._after_fork()
        command = _packed(words)
        oldest = time.monotonic() - MAX_AGE
        with contextlib.suppress(IndexError, self._closed):
            while True:
                born, connection = self._idle.pop()
                if born > oldest:
                    return self._ask(born, connection, pool, command)
                _hang_up(connection, pool)
        # There was none, or the server has closed it meanwhile.
        try:
            connection = pool.get_connection()
        except self._closed as error:
            if "oo many connections" in str(error):
                raise StoreBusyError("all connections of its pool are in use") from None
            raise
        return self._ask(time.monotonic(), connection, pool, command)

    def _after_fork(self) -> None:
        """Leave the connections to the parent, who goes on using them."""
        with self._lock:
            if self._pid != os.getpid():
                self._inherited = self._idle
                self._idle = deque()
                # Last: whoever sees it finds no connection of the parent's.
                self._pid = os.getpid()

    def _ask(self, born: float, connection: Any, pool: Any, command: bytes) -> Any:
        try:
            connection.send_packed_command([command], check_health=False)
            answer: Any = connection.read_response()
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

    def add(self, entry: Entry, /) -> None:
        """Add an entry, in one step of the server."""
        value = _KINDS.get(entry.kind) or _words(entry.cutoff)
        call = (_ADD, "1", PREFIX + entry.key.hex(), value, str(entry.expires))
        client = self._client
        if self._pool is not None:
            self._sent(self._pool, "EVAL", *call)
        else:
            client.eval(*call)

    def sweep(self, before: int, limit: int, /) -> int:
        """Nothing: Redis removes what has expired."""
        return 0

    def prune(self, before: int, /) -> Iterator[Pruned]:
        """Nothing: Redis removes what has expired."""
        yield Pruned(0, 1.0)

    def count(self, bounds: Sequence[int], /) -> Mapping[Kind, Sequence[int]]:
        """How many entries of each kind expire before which bound. Looks at all keys."""
        counts = {kind: [0] * (len(bounds) + 1) for kind in Kind}
        kinds = {value: kind for kind, value in _KINDS.items()}
        names = self._client.scan_iter(match=f"{PREFIX}*", count=BATCH)
        while batch := [*islice(names, BATCH)]:
            now = int(self._client.time(**self._any_node())[0])
            answers = self._piped((word, name) for name in batch for word in ("GET", "TTL"))
            for value, left in zip(answers[::2], answers[1::2], strict=True):
                if value is not None:
                    kind = kinds.get(_text(value), Kind.SUBJECT)
                    counts[kind][bisect_right(bounds, now + left)] += 1
        return counts

    def risks(self) -> Iterator[Risk]:
        """A server that may evict entries, or that forgets them when it restarts."""
        ahead = int(self._client.time(**self._any_node())[0]) - time.time()
        if abs(ahead) > MAX_SKEW:
            yield Risk(
                f"the clock of Redis is {ahead:.0f} seconds ahead of this machine's: it forgets "
                "revocations by that much too early.",
                "set both machines' clocks by NTP.",
            )
        for info in self._infos():
            policy = info.get("maxmemory_policy", "noeviction")
            if info.get("maxmemory") and policy != "noeviction":
                yield Risk(
                    f"Redis may evict revocations: maxmemory is set and maxmemory-policy is "
                    f"{policy}.",
                    "set maxmemory-policy noeviction, or use a server of its own.",
                )
            if not info.get("aof_enabled"):
                yield Risk(
                    "Redis has no append-only file: a restart forgets revocations, all or those "
                    "since its last snapshot.",
                    "set appendonly yes, and appendfsync always if a power cut must lose nothing.",
                )
            if info.get("role") == "slave":
                yield Risk(
                    "Redis is a replica: it takes no revocations, and knows others late.",
                    "name the master, or find it with redis+sentinel://.",
                )

    def _infos(self) -> Iterator[dict[str, Any]]:
        """What each server says of itself; alike ones once."""
        if not self._cluster:
            yield self._client.info("all")
            return
        said: list[dict[str, Any]] = []
        names = ("maxmemory", "maxmemory_policy", "aof_enabled", "role")
        for node in self._client.get_primaries():
            info = self._client.info("all", target_nodes=node)
            said.append({name: info.get(name) for name in names})
        yield from [info for place, info in enumerate(said) if info not in said[:place]]

    def _any_node(self) -> dict[str, Any]:
        return {"target_nodes": self._client.get_random_node()} if self._cluster else {}

    def _piped(self, commands: Iterator[tuple[str, Any]]) -> list[Any]:
        """The answers to commands that are sent together, to each server those that are its own."""
        with self._client.pipeline(transaction=False) as pipeline:
            for command in commands:
                pipeline.execute_command(*command)
            answers: list[Any] = pipeline.execute()
        return answers


def _plain_pool(client: Any) -> Any:
    """The pool of a client that leads to one server and never keeps anybody waiting."""
    from redis import ConnectionPool  # noqa: PLC0415 - optional, and there is a client already

    pool = getattr(client, "connection_pool", None)
    return pool if type(pool) is ConnectionPool else None


def _packed(words: tuple[str, ...]) -> bytes:
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


def _text(value: object) -> str:
    # A client can be told to decode.
    return value.decode("ascii") if isinstance(value, bytes) else str(value)


def _words(cutoff: Cutoff) -> str:
    keep = "-" if cutoff.keep is None else cutoff.keep.hex()
    return f"{cutoff.until} {keep} {cutoff.keep_after}"


def _cutoff(value: str) -> Cutoff:
    if value in _KINDS.values():
        return ALL
    until, keep, keep_after = value.split(" ")
    return Cutoff(int(until), None if keep == "-" else bytes.fromhex(keep), int(keep_after))
