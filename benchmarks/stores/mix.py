"""What is put into the stores: as many revocations as asked for, of the kinds that life brings."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from flask_authx import Cutoff, Entry, Kind

_HOUR, _MONTH = 3600, 30 * 86400
#: Of a thousand entries, how many end one token and how many one login; the others end a subject.
_TOKENS, _SESSIONS = 600, 300
#: One subject's entry in so many keeps a login.
_KEEPING = 10


@dataclass(frozen=True)
class Mix:
    """Revocations in the random order of their keys.

    :param entries: for our stores.
    :param jtis: for the peer's blocklists, which know only these.
    :param half_time: a moment before which half of the entries expire; none has expired yet.
    """

    entries: Sequence[Entry]
    jtis: Sequence[str]
    half_time: int


def mix(size: int) -> Mix:
    """So many revocations, the same ones each time but for the moments."""
    chance = random.Random(size)
    start = int(time.time()) + _HOUR
    return Mix(
        entries=[*_entries(chance, size, start)],
        jtis=[str(uuid.UUID(int=chance.getrandbits(128), version=4)) for _ in range(size)],
        half_time=start + _MONTH // 2,
    )


def more(size: int) -> Iterator[Entry]:
    """Others, that no mix holds."""
    return _entries(random.Random(-1 - size), size, int(time.time()) + _HOUR)


def _entries(chance: random.Random, size: int, start: int) -> Iterator[Entry]:
    subjects = 0
    for _ in range(size):
        key, expires = chance.randbytes(16), start + chance.randrange(_MONTH)
        place = chance.randrange(1000)
        if place < _TOKENS:
            yield Entry(key, Kind.TOKEN, expires)
        elif place < _TOKENS + _SESSIONS:
            yield Entry(key, Kind.SESSION, expires)
        else:
            subjects += 1
            keep = chance.randbytes(16) if subjects % _KEEPING == 0 else None
            yield Entry(key, Kind.SUBJECT, expires, Cutoff(start - chance.randrange(_MONTH), keep))
