"""The store in Redis: a server of the benchmark's own, with a numbered database for each size."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import redis

from benchmarks.stores.apps import TIMEOUT
from benchmarks.stores.servers import command, redis_server
from flask_authx import RedisBlocklist, RedisSessions
from flask_authx.stores.redis.sessions import INDEX, MARGIN, ROW

from .apps import App, Stores
from .counting import Tap
from .kinds import Bench, Kind
from .logins import Logins, Row

#: Commands that are sent together.
_BATCH = 2000


class Redis(Kind):
    """A server that keeps nothing on disk."""

    name = "Redis"

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench)
        self._port = bench.stack.enter_context(redis_server(bench.folder))

    def version(self) -> str:
        """The server's."""
        return f"Redis {self._client(self._port).info('server')['redis_version']}"

    def settings(self, place: int) -> Mapping[str, object]:
        """Its URL."""
        return {"JWT_BLOCKLIST": f"redis://127.0.0.1:{self._port}/{place}"}

    def fill(self, app: App, place: int, logins: Logins) -> None:
        """Put the logins in, row by row, and then see to it that indexes expire."""
        app.trust_older()
        ends: dict[bytes, int] = {}
        with socket.create_connection(("127.0.0.1", self._port)) as line:
            line.sendall(command(b"SELECT", b"%d" % place))
            line.recv(4096)
            _feed(line, (one for row in logins for one in _commands(row, ends)))
            _feed(line, (_expire(name, end + MARGIN) for name, end in ends.items()))

    def counted(self) -> tuple[Stores, Tap | None]:
        """On a line that is counted."""
        tap = self.bench.tap("127.0.0.1", self._port)
        blocklist, sessions = (self._client(tap.port, socket_timeout=TIMEOUT) for _ in range(2))
        return Stores(RedisBlocklist(blocklist), RedisSessions(sessions)), tap

    def _client(self, port: int, **options: Any) -> Any:
        untyped: Any = redis
        client = untyped.Redis(host="127.0.0.1", port=port, **options)
        self.bench.stack.callback(client.close)
        return client


def _commands(row: Row, ends: dict[bytes, int]) -> Iterator[bytes]:
    """What our store holds after opening and refreshing a login.

    :param ends: when the indexes end, so far.
    """
    session = row.session
    name, index = (ROW + row.key.hex()).encode(), (INDEX + row.subject.hex()).encode()
    about = {name: getattr(session, name) for name in ("sid", "sub", "began")}
    client = {name: getattr(session, name) for name in ("user_agent", "address")}
    numbers = ("rotated_at", "last_seen", "expires", "ends", "generation")
    fields = {
        **{name: str(getattr(session, name)) for name in numbers},
        "subject": row.subject.hex(),
        "client": json.dumps(client),
        "login": json.dumps(about),
        "name": json.dumps(session.name),
    }
    words = [word.encode() for field in fields.items() for word in field]
    yield command(b"HSET", name, *words)
    yield _expire(name, session.expires + MARGIN)
    yield command(b"ZADD", index, b"%d" % session.ends, row.key.hex().encode())
    ends[index] = max(session.ends, ends.get(index, 0))


def _expire(name: bytes, moment: int) -> bytes:
    return command(b"EXPIREAT", name, b"%d" % moment)


def _feed(line: socket.socket, commands: Iterable[bytes]) -> None:
    """Send commands that are answered with a number, many at a time."""
    rest = iter(commands)
    while heap := [*islice(rest, _BATCH)]:
        line.sendall(b"".join(heap))
        answers = b""
        while answers.count(b"\n") < len(heap):
            answers += line.recv(65536)
        if answers.count(b":") != len(heap):
            raise RuntimeError(f"Redis answered {answers[-100:]!r}")
