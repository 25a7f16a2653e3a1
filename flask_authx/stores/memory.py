"""Stores in the memory of one process: for tests, demos and apps with a single worker."""

from __future__ import annotations

import heapq
import itertools
import math
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from flask_authx.process_lock import ProcessLock

from .base import MICROSECONDS, Pruned, Risk, system_clock
from .blocklist import Cutoff, Dated, Entry, Kind
from .session_store import NewSession, Session, Visit


@dataclass(frozen=True, slots=True)
class _Stored:
    """An entry as it is kept. It expires at a moment in seconds, or never: infinity."""

    kind: Kind
    expires: float
    cutoff: Cutoff


Row = TypeVar("Row")


class _Schedule(Generic[Row]):
    """The keys of rows by expiry: about twice as many as there are rows, at most.

    :param expiry: returns when a row expires.
    """

    def __init__(self, rows: Mapping[bytes, Row], expiry: Callable[[Row], float]) -> None:
        self._rows = rows
        self._expiry = expiry
        #: A heap. A row that expires later than it says is put back when it is due.
        self._due: list[tuple[float, bytes]] = []

    def __len__(self) -> int:
        return len(self._due)

    def add(self, key: bytes) -> None:
        """Add the key of a row that is new, or that expires earlier than before."""
        heapq.heappush(self._due, (self._expiry(self._rows[key]), key))
        # Keys of rows that were removed before would otherwise stay for weeks.
        if len(self._due) > 2 * len(self._rows) + 100:
            self._due = [(self._expiry(row), key) for key, row in self._rows.items()]
            heapq.heapify(self._due)

    def expired(self, before: int, limit: int) -> Iterator[bytes]:
        """Take out keys of rows that expired before a moment; up to a limit are examined.

        Each row must be removed before the next key is taken.
        """
        for _ in range(limit):
            if not self._due or self._due[0][0] >= before:
                return
            _, key = heapq.heappop(self._due)
            row = self._rows.get(key)
            if row is None:
                continue
            expires = self._expiry(row)
            if expires < before:
                yield key
            else:
                heapq.heappush(self._due, (expires, key))


class MemoryBlocklist:
    """Stores revocations in this process: a restart loses them, and no other process sees them.

    Adding an entry removes expired ones. Safe for threads.

    :param clock: seconds since 1970-01-01 UTC.
    """

    per_process: bool = True

    def __init__(self, clock: Callable[[], float] = system_clock) -> None:
        self._clock = clock
        self._entries: dict[bytes, _Stored] = {}
        self._schedule = _Schedule(self._entries, lambda entry: entry.expires)
        self._lock = ProcessLock()

    def find(self, keys: Sequence[bytes], /) -> Sequence[Cutoff | None]:
        """The cut-offs of the entries under these keys."""
        entries = self._entries
        # Each key is read once: another thread may remove the entry between two reads.
        found = [entries.get(key) for key in keys]
        return [None if entry is None else entry.cutoff for entry in found]

    def find_dated(self, keys: Sequence[bytes], /) -> Dated:
        """The cut-offs of the entries under these keys, and the time."""
        now = self._now()
        return Dated(now, self.find(keys))

    def add(self, entry: Entry, /) -> None:
        """Add an entry. All threads see it at once."""
        with self._lock:
            now = self._now()
            new = _stored(entry, now)
            old = self._entries.get(entry.key)
            if old is not None:
                expires = max(old.expires, new.expires)
                new = _Stored(new.kind, expires, old.cutoff.then(new.cutoff))
            self._keep(entry.key, new)
            self._remove_expired(now // MICROSECONDS, 2)

    def add_if_absent(self, entry: Entry, /) -> Cutoff:
        """Add an entry unless there is one under its key, and return the cut-off that counts."""
        with self._lock:
            if entry.key not in self._entries:
                self._keep(entry.key, _stored(entry, self._now()))
            return self._entries[entry.key].cutoff

    def sweep(self, limit: int, /) -> int:
        """Remove some of the entries that have expired."""
        with self._lock:
            return self._remove_expired(int(self._clock()), limit)

    def prune(self) -> Iterator[Pruned]:
        """Remove all entries that have expired."""
        with self._lock:
            removed = self._remove_expired(int(self._clock()), len(self._schedule))
        yield Pruned(removed, 1.0)

    def _now(self) -> int:
        return int(self._clock() * MICROSECONDS)

    def _keep(self, key: bytes, stored: _Stored) -> None:
        is_new = key not in self._entries
        self._entries[key] = stored
        if is_new:
            # Another one under the same key expires no earlier.
            self._schedule.add(key)

    def _remove_expired(self, before: int, limit: int) -> int:
        removed = 0
        for key in self._schedule.expired(before, limit):
            del self._entries[key]
            removed += 1
        return removed

    def count(self, bounds: Sequence[int], /) -> Mapping[Kind, Sequence[int]]:
        """The number of entries of each kind that expire before each bound."""
        counts = {kind: [0] * (len(bounds) + 1) for kind in Kind}
        now = int(self._clock())
        with self._lock:
            for entry in self._entries.values():
                counts[entry.kind][bisect_right(bounds, entry.expires - now)] += 1
        return counts

    def risks(self) -> Iterator[Risk]:
        """The loss of all entries when the process ends."""
        yield Risk(
            "revocations are stored in the memory of each process: a restart loses them, and each "
            "worker sees only its own.",
            "use a persistent store, such as sqlalchemy:// or redis://host/0.",
        )


def _stored(entry: Entry, now: int) -> _Stored:
    expires = math.inf if entry.lifetime is None else now // MICROSECONDS + entry.lifetime
    return _Stored(entry.kind, expires, entry.cutoff_at(now))


class MemorySessions:
    """Stores sessions in this process: a restart loses them, and no other process sees them.

    Opening a session removes expired ones. Safe for threads.

    :param clock: seconds since 1970-01-01 UTC.
    """

    per_process: bool = True

    def __init__(self, clock: Callable[[], float] = system_clock) -> None:
        self._clock = clock
        #: The time in a row is that of its last change.
        self._rows: dict[bytes, tuple[bytes, Session]] = {}
        #: In the order in which the rows were added.
        self._keys_of: dict[bytes, dict[bytes, None]] = {}
        self._schedule = _Schedule(self._rows, lambda row: row[1].expires)
        self._lock = ProcessLock()

    def open(self, key: bytes, subject: bytes, session: NewSession, /) -> None:
        """Add a row. An existing row stays as it is."""
        now = int(self._clock())
        ends, visit = now + session.lifetime, session.visit
        row = Session(
            sid=session.sid,
            sub=session.sub,
            began=session.began,
            epoch=session.epoch,
            name=session.name,
            generation=visit.generation,
            rotated_at=now,
            last_seen=now,
            expires=min(now + visit.idle, ends),
            ends=ends,
            user_agent=visit.user_agent,
            address=visit.address,
            now=now,
        )
        with self._lock:
            if key in self._rows:
                return
            # In this order, so that every row is in the index even if a fork comes between.
            self._keys_of.setdefault(subject, {})[key] = None
            self._rows[key] = (subject, row)
            self._schedule.add(key)
            self._remove_expired(now, 2)

    def get(self, key: bytes, /) -> Session | None:
        """The row under a key."""
        row = self._rows.get(key)
        return None if row is None else replace(row[1], now=int(self._clock()))

    def move(self, key: bytes, generation: int, visit: Visit, /) -> bool:
        """Change a row if it still has this generation."""
        now = int(self._clock())
        with self._lock:
            subject, row = self._rows.get(key, (b"", None))
            if row is None or row.generation != generation:
                return False
            moved = replace(
                row,
                generation=visit.generation,
                rotated_at=row.rotated_at if visit.generation == generation else now,
                last_seen=now,
                expires=min(now + visit.idle, row.ends),
                user_agent=visit.user_agent,
                address=visit.address,
            )
            self._rows[key] = (subject, moved)
            if moved.expires < row.expires:
                self._schedule.add(key)
            return True

    def rename(self, key: bytes, name: str | None, /) -> bool:
        """Set the name of a row."""
        with self._lock:
            row = self._rows.get(key)
            if row is None:
                return False
            self._rows[key] = (row[0], replace(row[1], name=name))
            return True

    def end(self, key: bytes, /) -> bool:
        """Remove a row."""
        with self._lock:
            return self._remove(key)

    def of(self, subject: bytes, limit: int | None = None, /) -> Sequence[Session]:
        """The rows of a subject; up to a limit, those that were added last."""
        now = int(self._clock())
        with self._lock:
            keys = itertools.islice(reversed(self._keys_of.get(subject, {})), limit)
            rows = [self._rows.get(key) for key in keys]
        return [replace(row[1], now=now) for row in rows if row is not None]

    def sweep(self, limit: int, /) -> int:
        """Remove some of the rows that have expired."""
        with self._lock:
            return self._remove_expired(int(self._clock()), limit)

    def prune(self) -> Iterator[Pruned]:
        """Remove all rows that have expired."""
        with self._lock:
            removed = self._remove_expired(int(self._clock()), len(self._schedule))
        yield Pruned(removed, 1.0)

    def risks(self) -> Iterator[Risk]:
        """The loss of all sessions when the process ends."""
        yield Risk(
            "sessions are stored in the memory of each process: a restart ends them all, and each "
            "worker sees only its own.",
            "use a persistent store, such as sqlalchemy:// or redis://host/0.",
        )

    def _remove_expired(self, before: int, limit: int) -> int:
        return sum(map(self._remove, self._schedule.expired(before, limit)))

    def _remove(self, key: bytes) -> bool:
        row = self._rows.pop(key, None)
        if row is None:
            return False
        subject = row[0]
        del self._keys_of[subject][key]
        if not self._keys_of[subject]:
            del self._keys_of[subject]
        return True
