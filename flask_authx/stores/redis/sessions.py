"""Sessions in Redis: one server, a master found by Sentinels, or a Cluster."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from flask_authx.stores.base import Pruned, Risk
from flask_authx.stores.session_store import Session, Visit

from .server import PREFIX, Client, RedisServer, as_text

#: The row of a session: a hash. Its texts are JSON, so that they are always ASCII.
ROW = f"{PREFIX}s:"
#: The index of a subject: a sorted set of its rows' keys, by when the sessions end.
INDEX = f"{PREFIX}u:"
#: Which call has removed a row: a text. The row's key follows in braces, so that a Cluster keeps
#: both on one server.
ENDED = f"{PREFIX}e:"
#: Seconds that a row is kept after its expiry, since clocks differ.
MARGIN = 60
#: The number of rows that are read together.
BATCH = 1000

#: The fields of a row that make a :class:`Session`. ``login`` contains what never changes.
_FIELDS = ("login", "visit", "name")

#: The index expires with the last of its rows.
_ADD_TO_INDEX = """
redis.call('ZADD', KEYS[1], ARGV[1], ARGV[2])
local now = redis.call('TIME')[1]
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. string.format('%.0f', now - ARGV[3]))
local last = redis.call('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2]
if last then
    redis.call('EXPIREAT', KEYS[1], string.format('%.0f', last + ARGV[3]))
end
"""

#: An existing row is from a first attempt whose response was lost. It may have been refreshed.
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

#: What is left until the answer has arrived says which call has removed the row, and its subject:
#: the call may be made again.
_END = """
local subject = redis.call('HGET', KEYS[1], 'subject')
if subject then
    redis.call('DEL', KEYS[1])
    redis.call('SET', KEYS[2], ARGV[1] .. subject, 'EX', ARGV[2])
    return subject
end
local ended = redis.call('GET', KEYS[2])
if ended and string.sub(ended, 1, #ARGV[1]) == ARGV[1] then
    return string.sub(ended, #ARGV[1] + 1)
end
return false
"""


class RedisSessions:
    """Stores sessions in Redis, version 5 or later, as durably as Redis is configured.

    Each row has its own expiry, so there is nothing to prune. In a Cluster a row and its subject's
    index are on different servers. The index is written first and the row is removed first, so an
    active session is never missing from its user's list.

    :param client: as for :class:`RedisBlocklist`. Both may share it.
    :raises BadConfigurationError: if it is another kind of client, or has no timeout.
    """

    per_process: bool = False
    #: Redis removes expired rows by itself.
    prunes_itself: bool = True

    def __init__(self, client: Client | Callable[[], Client]) -> None:
        self._server = RedisServer(client, "RedisSessions")

    def open(self, key: bytes, subject: bytes, session: Session, /) -> None:
        """Add a row, after adding its key to its subject's index."""
        index = INDEX + subject.hex()
        self._eval(_ADD_TO_INDEX, index, str(session.ends), key.hex(), str(MARGIN))
        fixed = {
            "sid": session.sid,
            "sub": session.sub,
            "created": session.created,
            "ends": session.ends,
        }
        self._eval(
            _OPEN,
            ROW + key.hex(),
            str(session.expires + MARGIN),
            json.dumps(fixed),
            subject.hex(),
            *_visit_fields(session.visit),
            json.dumps(session.name),
        )

    def get(self, key: bytes, /) -> Session | None:
        """The row under a key: one HMGET."""
        return _session(self._server.call("HMGET", ROW + key.hex(), *_FIELDS))

    def move(self, key: bytes, generation: int, visit: Visit, /) -> bool:
        """Change a row if it still has this generation, in one atomic step of the server."""
        expires = str(visit.expires + MARGIN)
        arguments = (expires, str(generation), *_visit_fields(visit))
        return bool(self._eval(_MOVE, ROW + key.hex(), *arguments))

    def rename(self, key: bytes, name: str | None, /) -> bool:
        """Set the name of a row."""
        return bool(self._eval(_RENAME, ROW + key.hex(), json.dumps(name)))

    def end(self, key: bytes, /) -> bool:
        """Remove a row, and then its key from its subject's index."""
        row = ROW + key.hex()
        ended = f"{ENDED}{{{row}}}"
        call = os.urandom(16).hex()
        subject = self._server.call("EVAL", _END, "2", row, ended, call, str(MARGIN))
        if subject is None:
            return False
        index = INDEX + as_text(subject)
        self._server.call_together([("ZREM", index, key.hex()), ("DEL", ended)])
        return True

    def of(self, subject: bytes, limit: int | None = None, /) -> Sequence[Session]:
        """The rows of a subject; up to a limit, those whose sessions end last.

        A key without a row stays in the index until its session would have ended: the row may be
        about to be written.
        """
        first = 0 if limit is None else -limit
        members = self._server.call("ZRANGE", INDEX + subject.hex(), str(first), "-1")
        names = [ROW + as_text(member) for member in members]
        rows: list[Session] = []
        for start in range(0, len(names), BATCH):
            batch = names[start : start + BATCH]
            commands: list[tuple[str, ...]] = [("HMGET", name, *_FIELDS) for name in batch]
            found = map(_session, self._server.call_together(commands))
            rows += [row for row in found if row is not None]
        return rows

    def sweep(self, before: int, limit: int, /) -> int:
        """Nothing: Redis removes expired rows by itself."""
        return 0

    def prune(self, before: int, /) -> Iterator[Pruned]:
        """Nothing: Redis removes expired rows by itself."""
        yield Pruned(0, 1.0)

    def risks(self) -> Iterator[Risk]:
        """A server that may evict rows, or that loses them when it restarts."""
        yield from self._server.risks("sessions")

    def _eval(self, script: str, name: str, *arguments: str) -> Any:
        return self._server.call("EVAL", script, "1", name, *arguments)


def _visit_fields(visit: Visit) -> tuple[str, str]:
    return str(visit.generation), json.dumps(asdict(visit))


def _session(values: Sequence[Any]) -> Session | None:
    if None in values:
        return None
    fixed, visit, name = (json.loads(as_text(value)) for value in values)
    return Session(**fixed, visit=Visit(**visit), name=name)
