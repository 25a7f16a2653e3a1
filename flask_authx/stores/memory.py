"""Revocations in the memory of one process: for tests, demos and apps of a single worker."""

from __future__ import annotations

import heapq
import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence

from .entries import Cutoff, Entry, Kind, Pruned, Risk


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
