"""What is put into the stores: as many revocations as asked for, of the kinds that life brings."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from flask_authx import Entry, Kind

_HOUR = 3600
#: Half of the entries expired within the last half of a month, and half will within the next.
MONTH = 30 * 86400
#: Of a thousand entries, how many end one token and how many one login; the others end a subject.
_TOKENS, _SESSIONS = 600, 300
#: One subject's entry in so many keeps a login.
_KEEPING = 10


@dataclass(frozen=True)
class Mix:
    """Revocations in the random order of their keys.

    :param entries: for our stores.
    :param jtis: for the peer's blocklists, which know only these.
    :param now: the moment, in seconds, from which the durations of the entries are reckoned.
    """

    entries: Sequence[Entry]
    jtis: Sequence[str]
    now: int

    def expires(self, entry: Entry) -> int:
        """When an entry expires, in seconds."""
        return self.now + (entry.lifetime or 0)

    def until(self, entry: Entry) -> int | None:
        """The cut-off of an entry, in microseconds."""
        return None if entry.ahead is None else self.now * 10**6 + entry.ahead


def mix(size: int) -> Mix:
    """So many revocations, the same ones each time but for the moments."""
    chance = random.Random(size)
    return Mix(
        entries=[*_entries(chance, size, -MONTH // 2)],
        jtis=[str(uuid.UUID(int=chance.getrandbits(128), version=4)) for _ in range(size)],
        now=int(time.time()),
    )


def more(size: int) -> Iterator[Entry]:
    """Others, that no mix holds, and that don't expire within a month."""
    return _entries(random.Random(-1 - size), size, MONTH + _HOUR)


def _entries(chance: random.Random, size: int, shortest: int) -> Iterator[Entry]:
    subjects = 0
    for _ in range(size):
        key, lifetime = chance.randbytes(16), shortest + chance.randrange(MONTH)
        place = chance.randrange(1000)
        if place < _TOKENS:
            yield Entry(key, Kind.TOKEN, lifetime)
        elif place < _TOKENS + _SESSIONS:
            yield Entry(key, Kind.SESSION, lifetime)
        else:
            subjects += 1
            keep = chance.randbytes(16) if subjects % _KEEPING == 0 else None
            ahead = -chance.randrange(MONTH) * 10**6
            yield Entry(key, Kind.SUBJECT, lifetime, ahead, keep)
