"""Sessions in Redis: one server, a master found by Sentinels, or a Cluster."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from flask_authx.stores.base import Pruned, Risk
from flask_authx.stores.session_store import NewSession, Session, Visit

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

#: The numbers of a row, as text. ``login`` contains what never changes, and ``client`` what a
#: refresh replaces.
_NUMBERS = ("generation", "rotated_at", "last_seen", "expires", "ends")
_TEXTS = ("login", "client", "name")

#: The index, by the clock of its own server, expires with the last of its rows.
_ADD_TO_INDEX = """
local now = tonumber(redis.call('TIME')[1])
redis.call('ZADD', KEYS[1], string.format('%.0f', now + ARGV[1]), ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. string.format('%.0f', now - ARGV[3]))
local last = redis.call('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2]
redis.call('EXPIREAT', KEYS[1], string.format('%.0f', last + ARGV[3]))
"""

#: An existing row is from a first attempt whose response was lost. It may have been refreshed.
_OPEN = """
if redis.call('EXISTS', KEYS[1]) == 0 then
    local now = redis.call('TIME')[1]
    local ends = string.format('%.0f', now + ARGV[1])
    local expires = string.format('%.0f', math.min(now + ARGV[2], ends))
    redis.call('HSET', KEYS[1], 'rotated_at', now, 'last_seen', now)
    redis.call('HSET', KEYS[1], 'expires', expires, 'ends', ends, 'subject', ARGV[4])
    redis.call('HSET', KEYS[1], 'generation', ARGV[5], 'client', ARGV[6])
    redis.call('HSET', KEYS[1], 'login', ARGV[7], 'name', ARGV[8])
    redis.call('EXPIREAT', KEYS[1], string.format('%.0f', expires + ARGV[3]))
end
"""

_MOVE = """
if redis.call('HGET', KEYS[1], 'generation') ~= ARGV[1] then
    return 0
end
local now, ends = redis.call('TIME')[1], redis.call('HGET', KEYS[1], 'ends')
local expires = string.format('%.0f', math.min(now + ARGV[2], ends))
if ARGV[4] ~= ARGV[1] then
    redis.call('HSET', KEYS[1], 'rotated_at', now)
end
redis.call('HSET', KEYS[1], 'last_seen', now, 'expires', expires)
redis.call('HSET', KEYS[1], 'generation', ARGV[4], 'client', ARGV[5])
redis.call('EXPIREAT', KEYS[1], string.format('%.0f', expires + ARGV[3]))
return 1
"""

#: The server's time, and the row. Both are of one moment and one server.
_GET = f"""
return {{redis.call('TIME')[1], redis.call('HMGET', KEYS[1], '{"', '".join(_NUMBERS + _TEXTS)}')}}
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

    def open(self, key: bytes, subject: bytes, session: NewSession, /) -> None:
        """Add a row, after adding its key to its subject's index."""
        lifetime, visit = str(session.lifetime), session.visit
        self._eval(_ADD_TO_INDEX, INDEX + subject.hex(), lifetime, key.hex(), str(MARGIN))
        fixed = {"sid": session.sid, "sub": session.sub, "began": session.began}
        fixed |= {} if session.epoch is None else {"epoch": session.epoch}
        self._eval(
            _OPEN,
            ROW + key.hex(),
            lifetime,
            str(visit.idle),
            str(MARGIN),
            subject.hex(),
            str(visit.generation),
            _client(visit),
            json.dumps(fixed),
            json.dumps(session.name),
        )

    def get(self, key: bytes, /) -> Session | None:
        """The row under a key, and the time, by one script."""
        return _session(self._server.call(*_get(ROW + key.hex())))

    def move(self, key: bytes, generation: int, visit: Visit, /) -> bool:
        """Change a row if it still has this generation, in one atomic step of the server."""
        moved = self._eval(
            _MOVE,
            ROW + key.hex(),
            str(generation),
            str(visit.idle),
            str(MARGIN),
            str(visit.generation),
            _client(visit),
        )
        return bool(moved)

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
            found = map(_session, self._server.call_together([*map(_get, batch)]))
            rows += [row for row in found if row is not None]
        return rows

    def sweep(self, limit: int, /) -> int:
        """Nothing: Redis removes expired rows by itself."""
        return 0

    def prune(self) -> Iterator[Pruned]:
        """Nothing: Redis removes expired rows by itself."""
        yield Pruned(0, 1.0)

    def risks(self) -> Iterator[Risk]:
        """A server that may evict rows, or that loses them when it restarts."""
        yield from self._server.risks("sessions")

    def _eval(self, script: str, name: str, *arguments: str) -> Any:
        return self._server.call("EVAL", script, "1", name, *arguments)


def _get(name: str) -> tuple[str, ...]:
    return ("EVAL", _GET, "1", name)


def _client(visit: Visit) -> str:
    return json.dumps({"user_agent": visit.user_agent, "address": visit.address})


def _session(response: Sequence[Any]) -> Session | None:
    now, values = response
    if None in values:
        return None
    numbers, texts = values[: len(_NUMBERS)], values[len(_NUMBERS) :]
    fixed, client, name = (json.loads(as_text(text)) for text in texts)
    dates: dict[str, Any] = dict(zip(_NUMBERS, map(int, numbers), strict=True))
    return Session(**fixed, **dates, **client, name=name, now=int(now))
