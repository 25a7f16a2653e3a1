"""Revocations in Redis: one server, a master found by Sentinels, or a Cluster."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice

from flask_authx.stores.base import Pruned, Risk
from flask_authx.stores.blocklist import ALL, Cutoff, Entry, Kind

from .server import PREFIX, Client, RedisServer, as_text, encoded_command

#: A pattern of the names of entries only: the prefix and 16 bytes in hex.
_NAMES = PREFIX + "?" * 32
#: The number of keys that are counted together.
BATCH = 1000

#: The value of an entry without a moment: a small number, which Redis stores only once.
_KINDS = {Kind.TOKEN: "1", Kind.SESSION: "2"}

#: :meth:`Entry.then` as one atomic step of the server. A cutoff is stored as three words: the
#: moment, the key of the kept session in hex or "-", and the moment after which it must have begun.
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

    def find(self, keys: Sequence[bytes], /) -> Sequence[Cutoff]:
        """The cutoffs of the entries under these keys: one MGET, or a pipeline on a Cluster."""
        names = [PREFIX + key.hex() for key in keys]
        server = self._server
        client = server.client
        if server.pool is not None:
            values = server.send(server.pool, encoded_command(("MGET", *names)))
        elif server.is_cluster:
            values = server.get_from_nodes(names)
        else:
            values = client.mget(names)
        return [_cutoff(as_text(value)) for value in values if value is not None]

    def add(self, entry: Entry, /) -> None:
        """Add an entry, in one atomic step of the server."""
        value = _KINDS.get(entry.kind) or _value(entry.cutoff)
        self._server.call("EVAL", _ADD, "1", PREFIX + entry.key.hex(), value, str(entry.expires))

    def sweep(self, before: int, limit: int, /) -> int:
        """Nothing: Redis removes expired entries by itself."""
        return 0

    def prune(self, before: int, /) -> Iterator[Pruned]:
        """Nothing: Redis removes expired entries by itself."""
        yield Pruned(0, 1.0)

    def count(self, bounds: Sequence[int], /) -> Mapping[Kind, Sequence[int]]:
        """The number of entries of each kind that expire before each bound. Scans all keys."""
        counts = {kind: [0] * (len(bounds) + 1) for kind in Kind}
        kinds = {value: kind for kind, value in _KINDS.items()}
        names = self._server.client.scan_iter(match=_NAMES, count=BATCH)
        while batch := [*islice(names, BATCH)]:
            now = self._server.now()
            commands = ((command, name) for name in batch for command in ("GET", "TTL"))
            responses = self._server.pipeline(commands)
            for value, ttl in zip(responses[::2], responses[1::2], strict=True):
                if value is not None:
                    kind = kinds.get(as_text(value), Kind.SUBJECT)
                    counts[kind][bisect_right(bounds, now + ttl)] += 1
        return counts

    def risks(self) -> Iterator[Risk]:
        """A server that may evict entries, or that loses them when it restarts."""
        yield from self._server.risks("revocations")


def _value(cutoff: Cutoff) -> str:
    keep = "-" if cutoff.keep is None else cutoff.keep.hex()
    return f"{cutoff.until} {keep} {cutoff.keep_after}"


def _cutoff(value: str) -> Cutoff:
    if value in _KINDS.values():
        return ALL
    until, keep, keep_after = value.split(" ")
    return Cutoff(int(until), None if keep == "-" else bytes.fromhex(keep), int(keep_after))
