"""What a store of revocations holds, what it must be able to do, and how it fails.

An entry refuses tokens up to a cut-off. That of one token or one login is over all of them; that
of a subject ends the logins up to a moment, but for one that may be kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from .base import Pruned, Risk

#: Later than any login: beyond the last second that a claim may name.
FOREVER = 2**53


class Kind(StrEnum):
    """What is revoked by an entry."""

    TOKEN = "token"
    SESSION = "session"
    SUBJECT = "subject"


@dataclass(frozen=True, slots=True)
class Cutoff:
    """Which logins are over: all that began at ``until`` or before, but for a kept one.

    :param until: whole seconds since 1970-01-01 UTC.
    :param keep: the key of the login that goes on.
    :param keep_after: the kept login must have begun after this, or an earlier cut-off has ended
        it already.
    """

    until: int = FOREVER
    keep: bytes | None = None
    keep_after: int = -1

    def covers(self, auth_time: int, session: bytes) -> bool:
        """Whether a login is over.

        :param auth_time: when it began.
        :param session: the key of its ``sid``.
        """
        if auth_time > self.until:
            return False
        return session != self.keep or auth_time <= self.keep_after

    def then(self, later: Cutoff) -> Cutoff:
        """Both in force: which logins are over by one or the other.

        Whoever was refused stays so. The moment moves on by a second at least, since a login that
        was opened after the first cut-off may have been dated to the second after it.
        """
        return Cutoff(
            max(later.until, min(self.until + 1, FOREVER)),
            later.keep,
            self.keep_after if self.keep == later.keep else self.until,
        )


#: The cut-off of a token's or a login's entry.
ALL = Cutoff()


@dataclass(frozen=True, slots=True)
class Entry:
    """A revocation.

    :param key: 16 bytes: which token, login or subject.
    :param expires: when nothing that the entry refuses can be alive any more, in whole seconds
        since 1970-01-01 UTC.
    """

    key: bytes
    kind: Kind
    expires: int
    cutoff: Cutoff = ALL

    def then(self, later: Entry) -> Entry:
        """Both in force: what every store makes of a second entry under the same key.

        The later expiry counts, and it moves on with the moment of the cut-off: what is refused a
        second more may live a second more.
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
    """What was revoked.

    :param at: whole seconds since 1970-01-01 UTC.
    :param instance: the name of the ``AuthX`` object.
    :param actor: the subject of the token with which it was asked for, if there was one.
    :param value: the jti, sid or sub.
    :param keep: the sid that a revocation of all others kept.
    """

    at: int
    instance: str
    actor: str | None
    kind: Kind
    value: str
    keep: str | None = None
    reason: str | None = None


class Blocklist(Protocol):
    """A store of revocations. An app may bring its own.

    A method may raise whatever it likes: then the store counts as failed, is left alone for a
    second, and requests are answered with a 503. Each call must end in bounded time.
    """

    @property
    def per_process(self) -> bool:
        """Whether other processes don't see what is added here."""
        ...

    def find(self, keys: Sequence[bytes], /) -> Sequence[Cutoff]:
        """The cut-offs of the entries under these keys, one to three, in any order.

        One round trip. An entry may be found after it has expired, never before it was added.
        """
        ...

    def add(self, entry: Entry, /) -> None:
        """Add an entry; when this returns, every process finds it and, if the store can, it lasts.

        If there is one under that key, :meth:`Entry.then` says what becomes of both.
        """
        ...

    def sweep(self, before: int, limit: int, /) -> int:
        """Remove some of the entries that expired before a moment.

        :param limit: how many entries may be looked at.
        :returns: how many were removed.
        """
        ...

    def prune(self, before: int, /) -> Iterator[Pruned]:
        """Remove all entries that expired before a moment, in batches, beside traffic."""
        ...

    def count(self, bounds: Sequence[int], /) -> Mapping[Kind, Sequence[int]]:
        """How many entries of each kind expire before the first bound, before the next, and so on.

        :param bounds: moments, the earliest first.
        :returns: one number more than there are bounds: the last is of those that expire later.
        """
        ...

    def risks(self) -> Iterator[Risk]:
        """How it could lose or miss a revocation, as it is set up now."""
        ...
