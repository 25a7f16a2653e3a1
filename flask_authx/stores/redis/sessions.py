"""Logins in Redis: one server, a master found by Sentinels, or a Cluster."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from flask_authx.stores.base import Pruned, Risk
from flask_authx.stores.session_store import Session, Visit

from .server import PREFIX, Client, RedisServer, text_of

#: A login's row: a hash. Its texts are JSON, which is ASCII whatever they hold.
ROW = f"{PREFIX}s:"
#: A subject's index: a sorted set of rows, by when they end for good.
INDEX = f"{PREFIX}u:"
#: Seconds that a row is kept too long: clocks differ.
MARGIN = 60
#: Rows that are asked for together.
BATCH = 1000

#: What of a row makes a :class:`Session`.
_FIELDS = ("login", "visit", "name")

#: It expires with the last of its rows, however often one is added.
_ADD_TO_INDEX = """
redis.call('ZADD', KEYS[1], ARGV[1], ARGV[2])
local now = redis.call('TIME')[1]
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. string.format('%.0f', now - ARGV[3]))
local last = redis.call('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2]
if last then
    redis.call('EXPIREAT', KEYS[1], string.format('%.0f', last + ARGV[3]))
end
"""

#: A row that is there is ours: its answer was lost, and it may have been refreshed since.
_OPEN = """
if redis.call('EXISTS', KEYS[1]) == 0 then
    redis.call('HSET', KEYS[1], 'login', ARGV[2], 'subject', ARGV[3])
    redis.call('HSET', KEYS[1], 'generation', ARGV[4], 'visit', ARGV[5], 'name', ARGV[6])
    redis.call('EXPIREAT', KEYS[1], ARGV[1])
end
"""

_MOVE = """
if redis.call('HGET', KEYS[1], 'generation') ~= ARGV[2] then
    return 0
end
redis.call('HSET', KEYS[1], 'generation', ARGV[3], 'visit', ARGV[4])
redis.call('EXPIREAT', KEYS[1], ARGV[1])
return 1
"""

_RENAME = """
if redis.call('EXISTS', KEYS[1]) == 0 then
    return 0
end
redis.call('HSET', KEYS[1], 'name', ARGV[1])
return 1
"""

_END = """
local subject = redis.call('HGET', KEYS[1], 'subject')
redis.call('DEL', KEYS[1])
return subject
"""


class RedisSessions:
    """Keeps logins in Redis, version 5 or later. They last as Redis is set up to.

    Each row has its own expiry, so there is nothing to prune. In a Cluster a row and its subject's
    index are on different servers: the index is written first and the row is removed first, so no
    login that goes on is ever missing from its owner's list.

    :param client: as :class:`RedisBlocklist` takes it. Both may share it.
    :raises BadConfigurationError: if it is another kind of client, or would wait for ever.
    """

    per_process: bool = False
    #: There is nothing to prune: Redis removes what has expired.
    prunes_itself: bool = True

    def __init__(self, client: Client | Callable[[], Client]) -> None:
        self._server = RedisServer(client, "RedisSessions")

    def open(self, key: bytes, subject: bytes, session: Session, /) -> None:
        """Add a row, first to its subject's index."""
        index = INDEX + subject.hex()
        self._step(_ADD_TO_INDEX, index, str(session.ends), key.hex(), str(MARGIN))
        login = {
            "sid": session.sid,
            "sub": session.sub,
            "created": session.created,
            "ends": session.ends,
        }
        self._step(
            _OPEN,
            ROW + key.hex(),
            str(session.expires + MARGIN),
            json.dumps(login),
            subject.hex(),
            *_words(session.visit),
            json.dumps(session.name),
        )

    def get(self, key: bytes, /) -> Session | None:
        """The row under a key: one HMGET."""
        return _session(self._server.call("HMGET", ROW + key.hex(), *_FIELDS))

    def move(self, key: bytes, generation: int, visit: Visit, /) -> bool:
        """Change a row if it is still of a generation, in one step of the server."""
        expires = str(visit.expires + MARGIN)
        words = (expires, str(generation), *_words(visit))
        return bool(self._step(_MOVE, ROW + key.hex(), *words))

    def rename(self, key: bytes, name: str | None, /) -> bool:
        """Give a row a name."""
        return bool(self._step(_RENAME, ROW + key.hex(), json.dumps(name)))

    def end(self, key: bytes, /) -> bool:
        """Remove a row, and then from its subject's index."""
        subject = self._step(_END, ROW + key.hex())
        if subject is None:
            return False
        self._server.call("ZREM", INDEX + text_of(subject), key.hex())
        return True

    def of(self, subject: bytes, /) -> Sequence[Session]:
        """The rows of a subject.

        What its index names and isn't there stays in the index until it would have ended: it may
        be a row that is about to be written.
        """
        members = self._server.call("ZRANGE", INDEX + subject.hex(), "0", "-1")
        names = [ROW + text_of(member) for member in members]
        rows: list[Session] = []
        for start in range(0, len(names), BATCH):
            batch = names[start : start + BATCH]
            found = map(
                _session, self._server.together([("HMGET", name, *_FIELDS) for name in batch])
            )
            rows += [row for row in found if row is not None]
        return rows

    def sweep(self, before: int, limit: int, /) -> int:
        """Nothing: Redis removes what has expired."""
        return 0

    def prune(self, before: int, /) -> Iterator[Pruned]:
        """Nothing: Redis removes what has expired."""
        yield Pruned(0, 1.0)

    def risks(self) -> Iterator[Risk]:
        """A server that may evict rows, or that forgets them when it restarts."""
        yield from self._server.risks("logins")

    def _step(self, script: str, name: str, *words: str) -> Any:
        return self._server.call("EVAL", script, "1", name, *words)


def _words(visit: Visit) -> tuple[str, str]:
    return str(visit.generation), json.dumps(asdict(visit))


def _session(values: Sequence[Any]) -> Session | None:
    if None in values:
        return None
    login, visit, name = (json.loads(text_of(value)) for value in values)
    return Session(**login, visit=Visit(**visit), name=name)
