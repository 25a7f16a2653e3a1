"""Stores in the memory of one process: for tests, demos and apps of a single worker."""

from __future__ import annotations

import heapq
import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from .base import Pruned, Risk
from .blocklist import Cutoff, Entry, Kind
from .session_store import Session, Visit


class MemoryBlocklist:
    """Keeps revocations in this process. They are gone when it ends, and no other one sees them.

    Entries that have expired are removed as others are added. Safe for threads.

    :param clock: seconds since 1970-01-01 UTC.
    """

    per_process: bool = True

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._entries: dict[bytes, Entry] = {}
        #: When to look at which entry again. An entry that was added twice may stand here twice.
        self._agenda: list[tuple[int, bytes]] = []
        self._lock = threading.Lock()

    def find(self, keys: Sequence[bytes], /) -> Sequence[Cutoff]:
        """The cut-offs of the entries under these keys."""
        entries = self._entries
        # One look at each: another thread may remove it between two.
        found = [entries.get(key) for key in keys]
        return [entry.cutoff for entry in found if entry is not None]

    def add(self, entry: Entry, /) -> None:
        """Add an entry, at once for all threads."""
        with self._lock:
            old = self._entries.get(entry.key)
            if old is not None:
                entry = old.then(entry)
            self._entries[entry.key] = entry
            heapq.heappush(self._agenda, (entry.expires, entry.key))
            self._remove(int(self._clock()), 2)

    def sweep(self, before: int, limit: int, /) -> int:
        """Remove some of the entries that expired before a moment."""
        with self._lock:
            return self._remove(before, limit)

    def prune(self, before: int, /) -> Iterator[Pruned]:
        """Remove all entries that expired before a moment."""
        with self._lock:
            removed = self._remove(before, len(self._agenda))
        yield Pruned(removed, 1.0)

    def _remove(self, before: int, limit: int) -> int:
        removed = 0
        for _ in range(limit):
            if not self._agenda or self._agenda[0][0] >= before:
                break
            expires, key = heapq.heappop(self._agenda)
            if key in self._entries and self._entries[key].expires == expires:
                del self._entries[key]
                removed += 1
        return removed

    def count(self, bounds: Sequence[int], /) -> Mapping[Kind, Sequence[int]]:
        """How many entries of each kind expire before which bound."""
        counts = {kind: [0] * (len(bounds) + 1) for kind in Kind}
        with self._lock:
            for entry in self._entries.values():
                counts[entry.kind][bisect_right(bounds, entry.expires)] += 1
        return counts

    def risks(self) -> Iterator[Risk]:
        """That nothing outlives the process."""
        yield Risk(
            "revocations are kept in the memory of each process: a restart forgets them, and with "
            "several workers each knows only its own.",
            "name a store that lasts, such as sqlalchemy:// or redis://host/0.",
        )


class MemorySessions:
    """Keeps logins in this process. They are gone when it ends, and no other one sees them.

    Those that have expired are removed as others are opened. Safe for threads.

    :param clock: seconds since 1970-01-01 UTC.
    """

    per_process: bool = True

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._rows: dict[bytes, tuple[bytes, Session]] = {}
        self._of: dict[bytes, set[bytes]] = {}
        #: When to look at which row again. One that has been refreshed since is put back.
        self._agenda: list[tuple[int, bytes]] = []
        self._lock = threading.Lock()

    def open(self, key: bytes, subject: bytes, session: Session, /) -> None:
        """Add a row. One that is there stays as it is."""
        with self._lock:
            if key in self._rows:
                return
            self._rows[key] = (subject, session)
            self._of.setdefault(subject, set()).add(key)
            self._note(session.expires, key)
            self._remove(int(self._clock()), 2)

    def get(self, key: bytes, /) -> Session | None:
        """The row under a key."""
        found = self._rows.get(key)
        return None if found is None else found[1]

    def move(self, key: bytes, generation: int, visit: Visit, /) -> bool:
        """Change a row if it is still of a generation."""
        with self._lock:
            found = self._rows.get(key)
            if found is None or found[1].generation != generation:
                return False
            self._rows[key] = (found[0], found[1].after(visit))
            if visit.expires < found[1].expires:
                self._note(visit.expires, key)
            return True

    def rename(self, key: bytes, name: str | None, /) -> bool:
        """Give a row a name."""
        with self._lock:
            found = self._rows.get(key)
            if found is None:
                return False
            self._rows[key] = (found[0], replace(found[1], name=name))
            return True

    def end(self, key: bytes, /) -> bool:
        """Remove a row."""
        with self._lock:
            return self._forget(key)

    def of(self, subject: bytes, /) -> Sequence[Session]:
        """The rows of a subject."""
        with self._lock:
            return [self._rows[key][1] for key in self._of.get(subject, ())]

    def sweep(self, before: int, limit: int, /) -> int:
        """Remove some of the rows that expired before a moment."""
        with self._lock:
            return self._remove(before, limit)

    def prune(self, before: int, /) -> Iterator[Pruned]:
        """Remove all rows that expired before a moment."""
        with self._lock:
            removed = self._remove(before, len(self._agenda))
        yield Pruned(removed, 1.0)

    def risks(self) -> Iterator[Risk]:
        """That nothing outlives the process."""
        yield Risk(
            "logins are kept in the memory of each process: a restart ends them all, and with "
            "several workers each knows only its own.",
            "name a store that lasts, such as sqlalchemy:// or redis://host/0.",
        )

    def _note(self, expires: int, key: bytes) -> None:
        heapq.heappush(self._agenda, (expires, key))
        # Those that were ended before they expired would else stay for weeks.
        if len(self._agenda) > 2 * len(self._rows) + 100:
            self._agenda = [(session.expires, key) for key, (_, session) in self._rows.items()]
            heapq.heapify(self._agenda)

    def _remove(self, before: int, limit: int) -> int:
        removed = 0
        for _ in range(limit):
            if not self._agenda or self._agenda[0][0] >= before:
                break
            _, key = heapq.heappop(self._agenda)
            found = self._rows.get(key)
            if found is None:
                continue
            if found[1].expires >= before:
                heapq.heappush(self._agenda, (found[1].expires, key))
            else:
                removed += self._forget(key)
        return removed

    def _forget(self, key: bytes) -> bool:
        found = self._rows.pop(key, None)
        if found is None:
            return False
        subject = found[0]
        self._of[subject].discard(key)
        if not self._of[subject]:
            del self._of[subject]
        return True
