"""The protocol of a store of revocations, and the values that it stores.

An entry revokes what began up to its cut-off. The entry of a token or a session revokes all of it;
that of a subject, or of the whole scope, revokes the sessions that began up to a moment. Each store
dates its entries by its own clock: what a caller passes are durations, and what it gets back are
dates that it compares with other dates of the same store only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from .base import MICROSECONDS, Pruned, Risk

#: Later than any session can begin, in microseconds.
FOREVER = 2**53 * MICROSECONDS


class Kind(StrEnum):
    """What an entry revokes."""

    TOKEN = "token"
    SESSION = "session"
    SUBJECT = "subject"
    #: Everything that this and every other app with the same scope has created.
    SCOPE = "scope"


@dataclass(frozen=True, slots=True)
class Cutoff:
    """Which sessions are revoked: all that began at ``until`` or before, except a kept one.

    :param until: microseconds since 1970-01-01 UTC, by the store's clock.
    :param keep: the key of the session that stays valid.
    :param keep_after: the kept session must have begun after this moment; otherwise an earlier
        cut-off has revoked it already.
    """

    until: int = FOREVER
    keep: bytes | None = None
    keep_after: int = -1

    def covers(self, began: int, session: bytes) -> bool:
        """Whether a session is revoked.

        :param began: when it began, in microseconds since 1970-01-01 UTC.
        :param session: the key of its ``sid``.
        """
        if began > self.until:
            return False
        return session != self.keep or began <= self.keep_after

    def then(self, later: Cutoff) -> Cutoff:
        """The cut-off that revokes what this one or a later one revokes.

        A session that was revoked stays revoked. ``until`` grows by at least a microsecond, since a
        session that began after this cut-off may have been dated that much later than it.
        """
        return Cutoff(
            min(max(later.until, self.until + 1), FOREVER),
            later.keep,
            self.keep_after if self.keep == later.keep else self.until,
        )


#: The cut-off of the entry of a token or a session.
ALL = Cutoff()


@dataclass(frozen=True, slots=True)
class Entry:
    """A revocation that is added.

    :param key: 16 bytes: the token, session, subject or scope that is revoked.
    :param lifetime: the seconds after which all that the entry revokes has expired; ``None``: it
        is kept for ever.
    :param ahead: which sessions are revoked: those that begin up to so many microseconds after the
        moment at which the entry is added, or before it if negative. ``None``: all of them.
    :param keep: the key of the session that stays valid.
    """

    key: bytes
    kind: Kind
    lifetime: int | None
    ahead: int | None = None
    keep: bytes | None = None

    def cutoff_at(self, now: int) -> Cutoff:
        """The cut-off of an entry that is added at a moment, in microseconds."""
        return ALL if self.ahead is None else Cutoff(now + self.ahead, self.keep)


@dataclass(frozen=True, slots=True)
class Dated:
    """What a store finds, and its time.

    :param now: microseconds since 1970-01-01 UTC. Where several servers store the entries, it is
        the time of the one that has the first key.
    """

    now: int
    cutoffs: Sequence[Cutoff | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A record of the audit trail: what was revoked. The database dates it.

    :param instance: the name of the ``AuthX`` object.
    :param actor: ``user:`` and the subject of the request's token, or ``cli:`` and the name of the
        system's user; ``None`` if neither is known.
    :param value: the jti, sid or sub, or the name of the scope.
    :param keep: the sid of the session that a revocation of all others kept.
    """

    instance: str
    actor: str | None
    kind: Kind
    value: str
    keep: str | None = None
    reason: str | None = None


class Blocklist(Protocol):
    """A store of revocations. An app may provide its own.

    A method may raise any exception. The call has then failed, and the request gets a 503 response;
    a store that keeps failing is called once a second. :exc:`StoreBusyError` says that it has not
    failed. Each call must return within a bounded time.
    """

    @property
    def per_process(self) -> bool:
        """Whether entries are visible only in the process that added them."""
        ...

    def find(self, keys: Sequence[bytes], /) -> Sequence[Cutoff | None]:
        """The cut-offs of the entries under these keys, one to eight, in the order of the keys.

        One round trip. ``None`` stands for a key without an entry. An entry may still be found
        after it has expired, but never before it was added.
        """
        ...

    def find_dated(self, keys: Sequence[bytes], /) -> Dated:
        """What :meth:`find` returns, and the store's time, in one round trip.

        No later than an entry that is added afterwards: a session that is dated so is revoked by a
        cut-off that is added after this has returned.
        """
        ...

    def add(self, entry: Entry, /) -> None:
        """Add an entry. When this returns, every process finds it, and it is durable if possible.

        If an entry exists under that key, the later expiry and the result of :meth:`Cutoff.then`
        replace it.
        """
        ...

    def add_if_absent(self, entry: Entry, /) -> Cutoff:
        """Add an entry unless there is one under its key, and return the cut-off that counts.

        Of several concurrent calls one adds its entry, and all return the cut-off of that.
        """
        ...

    def sweep(self, limit: int, /) -> int:
        """Remove some of the entries that have expired.

        :param limit: the maximum number of entries to examine.
        :returns: the number of entries removed.
        """
        ...

    def prune(self) -> Iterator[Pruned]:
        """Remove all entries that have expired, in batches, while requests go on."""
        ...

    def count(self, bounds: Sequence[int], /) -> Mapping[Kind, Sequence[int]]:
        """The number of entries of each kind that expire before each bound.

        :param bounds: seconds from now, in ascending order.
        :returns: for each kind the number of entries that expire before the first bound, from
            there to the second, and so on; the last number counts those that expire later or never.
        """
        ...

    def risks(self) -> Iterator[Risk]:
        """How the store could lose or miss a revocation in its current configuration."""
        ...
