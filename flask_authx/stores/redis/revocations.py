"""Revocations in Redis: one server, a master found by Sentinels, or a Cluster."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from flask_authx.stores.base import MICROSECONDS, Pruned, Risk
from flask_authx.stores.blocklist import ALL, Cutoff, Dated, Entry, Kind

from .server import PREFIX, Client, RedisServer, as_text, encoded_command

#: A pattern of the names of entries only: the prefix and 16 bytes in hex.
_NAMES = PREFIX + "?" * 32
#: The number of keys that are counted together.
BATCH = 1000

#: The value of an entry without a moment: a small number, which Redis stores only once.
_KINDS = {kind: str(number) for number, kind in enumerate(Kind, 1)}
#: What stands for the key of a kept session where there is none, in the entries of the other kinds.
_KEEP = {Kind.SUBJECT: "-", Kind.SCOPE: "*"}

#: :meth:`Blocklist.add` and ``add_if_absent`` as one atomic step of the server, by its clock. A
#: cut-off is stored as three words: the moment, the key of the kept session in hex or what stands
#: for it, and the moment after which that session must have begun. What has no moment revokes
#: everything, and stays so.
_ADD = """
local old, value = redis.call('GET', KEYS[1]), ARGV[1]
local ahead, lifetime, if_absent = ARGV[2], ARGV[3], ARGV[4]
if old and if_absent == '1' then
    return old
end
local until0, keep0, after0 = string.match(old or '', '^(%S+) (%S+) (%S+)$')
if old and not until0 then
    value = old
elseif ahead ~= '' then
    local time = redis.call('TIME')
    local moment, keep, after = time[1] * 1000000 + time[2] + tonumber(ahead), value, '-1'
    if until0 then
        moment = math.max(moment, tonumber(until0) + 1)
        after = keep0 == keep and after0 or until0
    end
    value = string.format('%.0f', moment) .. ' ' .. keep .. ' ' .. after
end
local left = redis.call('PTTL', KEYS[1])
redis.call('SET', KEYS[1], value)
if lifetime ~= '' and left ~= -1 then
    redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.max(left, lifetime * 1000)))
end
return value
"""

#: The server's time, and a value.
_DATED = """
return {redis.call('TIME'), redis.call('GET', KEYS[1])}
"""


class RedisBlocklist:
    """Stores revocations in Redis, version 5 or later, as durably as Redis is configured.

    Each entry has its own expiry, so there is nothing to prune. A fail-over, or the restart of a
    server without append-only file, may lose revocations: ``flask authx doctor`` reports the risks.

    :param client: a client of redis-py for a server or a Cluster, created for this store, with a
        ``socket_timeout``; or a function that creates one when it is first needed, since a client
        of a Cluster connects at once. Its ``retry`` is set to one more attempt, without a pause.
    :raises BadConfigurationError: if it is another kind of client, or has no timeout.
    """

    per_process: bool = False
    #: Redis removes expired entries by itself.
    prunes_itself: bool = True

    def __init__(self, client: Client | Callable[[], Client]) -> None:
        self._server = RedisServer(client, "RedisBlocklist")

    def find(self, keys: Sequence[bytes], /) -> Sequence[Cutoff | None]:
        """The cut-offs of the entries under these keys: one MGET, or a pipeline on a Cluster."""
        names = [PREFIX + key.hex() for key in keys]
        server = self._server
        client = server.client
        if server.pool is not None:
            values = server.send(server.pool, encoded_command(("MGET", *names)))
        elif server.is_cluster:
            values = server.get_from_nodes(names)
        else:
            values = client.mget(names)
        return [_cutoff(value) for value in values]

    def find_dated(self, keys: Sequence[bytes], /) -> Dated:
        """The cut-offs of the entries under these keys, and the time of the first key's server."""
        first, *others = (PREFIX + key.hex() for key in keys)
        dated = ("EVAL", _DATED, "1", first)
        commands: list[tuple[str, ...]] = [dated, *(("GET", name) for name in others)]
        (time, value), *values = self._server.call_together(commands)
        now = int(time[0]) * MICROSECONDS + int(time[1])
        return Dated(now, [_cutoff(value), *map(_cutoff, values)])

    def add(self, entry: Entry, /) -> None:
        """Add an entry, in one atomic step of the server."""
        self._add(entry, "")

    def add_if_absent(self, entry: Entry, /) -> Cutoff:
        """Add an entry unless there is one under its key, in one atomic step of the server."""
        return _cutoff(self._add(entry, "1")) or ALL

    def _add(self, entry: Entry, if_absent: str) -> Any:
        value = entry.keep.hex() if entry.keep else _KEEP.get(entry.kind, "-")
        if entry.ahead is None:
            value = _KINDS[entry.kind]
        ahead = "" if entry.ahead is None else str(entry.ahead)
        lifetime = "" if entry.lifetime is None else str(entry.lifetime)
        name = PREFIX + entry.key.hex()
        return self._server.call("EVAL", _ADD, "1", name, value, ahead, lifetime, if_absent)

    def sweep(self, limit: int, /) -> int:
        """Nothing: Redis removes expired entries by itself."""
        return 0

    def prune(self) -> Iterator[Pruned]:
        """Nothing: Redis removes expired entries by itself."""
        yield Pruned(0, 1.0)

    def count(self, bounds: Sequence[int], /) -> Mapping[Kind, Sequence[int]]:
        """The number of entries of each kind that expire before each bound. Scans all keys."""
        counts = {kind: [0] * (len(bounds) + 1) for kind in Kind}
        names = self._server.client.scan_iter(match=_NAMES, count=BATCH)
        while batch := [*islice(names, BATCH)]:
            commands = ((command, name) for name in batch for command in ("GET", "TTL"))
            responses = self._server.pipeline(commands)
            for value, ttl in zip(responses[::2], responses[1::2], strict=True):
                if value is not None:
                    # -1: it never expires.
                    place = len(bounds) if ttl == -1 else bisect_right(bounds, ttl)
                    counts[_kind(as_text(value))][place] += 1
        return counts

    def risks(self) -> Iterator[Risk]:
        """A server that may evict entries, or that loses them when it restarts."""
        yield from self._server.risks("revocations")


def _cutoff(value: object) -> Cutoff | None:
    if value is None:
        return None
    text = as_text(value)
    if text in _KINDS.values():
        return ALL
    until, keep, keep_after = text.split(" ")
    kept = None if keep in _KEEP.values() else bytes.fromhex(keep)
    return Cutoff(int(until), kept, int(keep_after))


def _kind(value: str) -> Kind:
    for kind, number in _KINDS.items():
        if value == number:
            return kind
    return Kind.SCOPE if f" {_KEEP[Kind.SCOPE]} " in value else Kind.SUBJECT
