"""The stores beside SQL: Redis, its Cluster, and the memory of the process."""

from __future__ import annotations

import platform
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import redis
from redis.crc import key_slot

from benchmarks.acceptance import Contender
from flask_authx import Blocklist, MemoryBlocklist, RedisBlocklist
from flask_authx import Kind as Revoked

from .apps import TIMEOUT, ours, theirs_in_redis
from .kinds import OURS, THEIRS, Bench, Kind, Look, lookups, named, untyped
from .mix import MONTH, Mix
from .servers import command, feed, redis_cluster, redis_server

_WORDS = {Revoked.TOKEN: b"1", Revoked.SESSION: b"2"}


def _ours(mix: Mix) -> Iterator[tuple[int, bytes]]:
    """What our store holds after adding the entries, as commands.

    Redis removes what has expired, so all expire a month later.
    """
    for entry in mix.entries:
        keep = "-" if entry.keep is None else entry.keep.hex()
        words = f"{mix.until(entry)} {keep} -1".encode()
        name = b"authx:" + entry.key.hex().encode()
        yield _set(name, _WORDS.get(entry.kind, words), mix.expires(entry) + MONTH)


def _set(key: bytes, value: bytes, expires: int) -> tuple[int, bytes]:
    return key_slot(key), command(b"SET", key, value, b"EXAT", b"%d" % expires)


class Redis(Kind):
    """A server for ours and one for the peer's, with a numbered database for each size."""

    name = "Redis"
    group = "Redis"
    bar = 0.40
    bytes_bar = 190
    prunes_itself = True

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench)
        self._ports = [bench.stack.enter_context(redis_server(bench.folder)) for _ in range(2)]
        self._clients = {
            who: self._client(port) for who, port in zip((OURS, THEIRS), self._ports, strict=True)
        }
        self._weights: dict[str, float] = {}

    def _client(self, port: int, database: int = 0, **options: Any) -> Any:
        client: Any = untyped(redis).StrictRedis(
            host="127.0.0.1", port=port, db=database, **options
        )
        self.bench.stack.callback(client.close)
        return client

    def version(self) -> str:
        """The server's."""
        return f"Redis {self._clients[OURS].info('server')['redis_version']}"

    def contenders(self) -> Iterator[Contender]:
        """Ours and the peer's at each size, and the look-ups at the largest."""
        our_port, their_port = self._ports
        for database, mix in enumerate(self.bench.mixes):
            before = self._used()
            size = len(mix.entries)
            select = (0, command(b"SELECT", b"%d" % database))
            feed([our_port], _after(select, _ours(mix)))
            feed([their_port], _after(select, _theirs(mix)))
            self._weights = {who: (used - before[who]) / size for who, used in self._used().items()}
            url = f"redis://127.0.0.1:{our_port}/{database}"
            yield ours(self.bench.keys, url).guard(named(OURS, self.name, size))
            client = self._client(their_port, database, decode_responses=True)
            theirs = theirs_in_redis(self.bench.keys, client)
            yield theirs.guard(named(THEIRS, self.name, size))
        yield from lookups(self, self._floor())

    def _used(self) -> dict[str, int]:
        return {who: one.info("memory")["used_memory"] for who, one in self._clients.items()}

    def store(self) -> Blocklist:
        """Our store object on the largest."""
        database = len(self.bench.mixes) - 1
        return RedisBlocklist(self._client(self._ports[0], database, socket_timeout=TIMEOUT))

    def weights(self) -> Mapping[str, float]:
        """What the server's memory has grown by, an entry."""
        return self._weights

    def _floor(self) -> Look:
        line = self.bench.stack.enter_context(
            socket.create_connection(("127.0.0.1", self._ports[0]))
        )
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        line.sendall(command(b"SELECT", b"%d" % (len(self.bench.mixes) - 1)))
        line.recv(4096)

        def look(keys: Sequence[bytes]) -> object:
            line.sendall(command(b"MGET", *[b"authx:" + key.hex().encode() for key in keys]))
            # An answer as short as this arrives in one piece.
            return line.recv(4096)

        return look


def _after(
    first: tuple[int, bytes], others: Iterator[tuple[int, bytes]]
) -> Iterator[tuple[int, bytes]]:
    yield first
    yield from others


def _theirs(mix: Mix) -> Iterator[tuple[int, bytes]]:
    # Until when doesn't change what it takes.
    return (_set(jti.encode(), b"", mix.now + MONTH) for jti in mix.jtis)


class Cluster(Kind):
    """A Cluster of three masters for each size, which holds both."""

    name = "Redis Cluster"
    #: That of a single server, too, is compared with.
    group = "Redis"
    bar = 0.70
    prunes_itself = True

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench)
        self._ports = [bench.stack.enter_context(redis_cluster(bench.folder)) for _ in bench.mixes]

    def _client(self, ports: Sequence[int], **options: Any) -> Any:
        client: Any = untyped(redis).RedisCluster("127.0.0.1", ports[0], **options)
        self.bench.stack.callback(client.close)
        return client

    def version(self) -> str:
        """That of its first node."""
        client = self._client(self._ports[-1])
        info: dict[str, Any] = client.info("server", target_nodes=client.get_primaries()[0])
        return f"Redis Cluster {info['redis_version']}"

    def contenders(self) -> Iterator[Contender]:
        """Ours and the peer's at each size."""
        for ports, mix in zip(self._ports, self.bench.mixes, strict=True):
            feed(ports, _ours(mix))
            feed(ports, _theirs(mix))
            hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
            size = len(mix.entries)
            mine = ours(self.bench.keys, f"redis+cluster://{hosts}")
            yield mine.guard(named(OURS, self.name, size))
            theirs = theirs_in_redis(self.bench.keys, self._client(ports, decode_responses=True))
            yield theirs.guard(named(THEIRS, self.name, size))

    def store(self) -> Blocklist:
        """Our store object on the largest."""
        return RedisBlocklist(self._client(self._ports[-1], socket_timeout=TIMEOUT))


class Memory(Kind):
    """The memory of this process. The peer has nothing like it."""

    name = "memory"
    group = "memory"

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench)
        self._ahead = 0
        self._stores = [MemoryBlocklist(lambda: time.time() + self._ahead) for _ in bench.mixes]

    def version(self) -> str:
        """Python's own."""
        return f"Python {platform.python_version()}"

    def contenders(self) -> Iterator[Contender]:
        """Ours at each size."""
        for store, mix in zip(self._stores, self.bench.mixes, strict=True):
            for entry in mix.entries:
                # Each addition removes what has expired, so nothing has until it is pruned.
                store.add(replace(entry, lifetime=(entry.lifetime or 0) + MONTH))
            yield ours(self.bench.keys, store=store).guard(named(OURS, self.name, len(mix.entries)))

    def store(self) -> Blocklist:
        """Our store object with the most."""
        return self._stores[-1]

    def aged(self, store: Blocklist) -> Blocklist:
        """The same, a month later."""
        self._ahead = MONTH
        return store
