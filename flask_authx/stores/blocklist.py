"""The protocol of a store of revocations, and the values that it stores.

An entry revokes tokens up to a cutoff. The entry of a token or a session revokes all of it; the
entry of a subject revokes the sessions that began up to a moment, except one that may be kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from .base import Pruned, Risk

#: Later than any session can begin: greater than the latest second that a claim may name.
FOREVER = 2**53


class Kind(StrEnum):
    """What an entry revokes."""

    TOKEN = "token"
    SESSION = "session"
    SUBJECT = "subject"


@dataclass(frozen=True, slots=True)
class Cutoff:
    """Which sessions are revoked: all that began at ``until`` or before, except a kept one.

    :param until: whole seconds since 1970-01-01 UTC.
    :param keep: the key of the session that stays valid.
    :param keep_after: the kept session must have begun after this moment; otherwise an earlier
        cutoff has revoked it already.
    """

    until: int = FOREVER
    keep: bytes | None = None
    keep_after: int = -1

    def covers(self, auth_time: int, session: bytes) -> bool:
        """Whether a session is revoked.

        :param auth_time: when it began.
        :param session: the key of its ``sid``.
        """
        if auth_time > self.until:
            return False
        return session != self.keep or auth_time <= self.keep_after

    def then(self, later: Cutoff) -> Cutoff:
        """The cutoff that revokes what this one or a later one revokes.

        A session that was revoked stays revoked. ``until`` grows by at least a second, since a
        session that began after the first cutoff may have been dated to the second after it.
        """
        return Cutoff(
            max(later.until, min(self.until + 1, FOREVER)),
            later.keep,
            self.keep_after if self.keep == later.keep else self.until,
        )


#: The cutoff of the entry of a token or a session.
ALL = Cutoff()


@dataclass(frozen=True, slots=True)
class Entry:
    """A revocation.

    :param key: 16 bytes: the token, session or subject that is revoked.
    :param expires: when everything that the entry revokes has expired, in whole seconds since
        1970-01-01 UTC.
    """

    key: bytes
    kind: Kind
    expires: int
    cutoff: Cutoff = ALL

    def then(self, later: Entry) -> Entry:
        """The entry that every store keeps when a later one is added under the same key.

        The later expiry counts. It grows with the cutoff: tokens that were issued a second later
        may live a second longer.
        """
        moved = self.cutoff.until + 1 > later.cutoff.until and self.cutoff.until < FOREVER
        return Entry(
            self.key,
            self.kind,
            max(later.expires, self.expires + 1 if moved else self.expires),
            self.cutoff.then(later.cutoff),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A record of the audit trail: what was revoked.

    :param at: whole seconds since 1970-01-01 UTC.
    :param instance: the name of the ``AuthX`` object.
    :param actor: the subject of the token that the request carried; ``None`` if there was none.
    :param value: the jti, sid or sub.
    :param keep: the sid of the session that a revocation of all others kept.
    """

    at: int
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

    def find(self, keys: Sequence[bytes], /) -> Sequence[Cutoff]:
        """The cutoffs of the entries under these keys, one to three, in any order.

        One round trip. An entry may still be found after it has expired, but never before it was
        added.
        """
        ...

    def add(self, entry: Entry, /) -> None:
        """Add an entry. When this returns, every process finds it, and it is durable if possible.

        If an entry exists under that key, the result of :meth:`Entry.then` replaces it.
        """
        ...

    def sweep(self, before: int, limit: int, /) -> int:
        """Remove some of the entries that expired before a moment.

        :param limit: the maximum number of entries to examine.
        :returns: the number of entries removed.
        """
        ...

    def prune(self, before: int, /) -> Iterator[Pruned]:
        """Remove all entries that expired before a moment, in batches, while requests go on."""
        ...

    def count(self, bounds: Sequence[int], /) -> Mapping[Kind, Sequence[int]]:
        """The number of entries of each kind that expire before each bound.

        :param bounds: moments, in ascending order.
        :returns: for each kind the number of entries that expire before the first bound, from
            there to the second, and so on; the last number counts those that expire later.
        """
        ...

    def risks(self) -> Iterator[Risk]:
        """How the store could lose or miss a revocation in its current configuration."""
        ...
