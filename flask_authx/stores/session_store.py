"""The protocol of a store of sessions, and the values that it stores.

There is one row for each active session and none for a session that has ended. Ending a session
adds an entry to the store of revocations and removes the row. The store dates its rows by its own
clock: a caller passes durations, and reads what is left from the row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from .base import MICROSECONDS, Pruned, Risk


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """What a log-in or a refresh writes into a session's row.

    :param generation: the generation of the refresh token that is valid from now on.
    :param idle: the seconds after which the session expires unless it is refreshed again.
    :param user_agent: the ``User-Agent`` of the client, if the app stores it.
    :param address: the network address of that client, if the app stores it.
    """

    generation: int
    idle: int
    user_agent: str | None = None
    address: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSession:
    """A session that is opened.

    :param sid: the claim that its tokens share.
    :param sub: the subject, a user's ``uid`` as a string.
    :param began: microseconds since 1970-01-01 UTC, by the clock of the store of revocations.
    :param epoch: the cut-off of the scope at that moment, if there was one.
    :param lifetime: the seconds after which the session ends, however often it is refreshed.
    :param name: the name that its user has given it.
    """

    sid: str
    sub: str
    began: int
    epoch: int | None = None
    lifetime: int
    visit: Visit
    name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """An active session. Times are whole seconds since 1970-01-01 UTC, by the store's clock.

    :param sid: the claim that its tokens share.
    :param sub: the subject, a user's ``uid`` as a string.
    :param began: when the user logged in, in microseconds, by the clock of the store of
        revocations.
    :param epoch: the cut-off of the scope at that moment, if there was one.
    :param generation: the number of refreshes so far: the ``gen`` claim of the valid refresh token.
    :param rotated_at: when the previous generation was replaced.
    :param last_seen: when the session was last refreshed, or began.
    :param expires: when the session expires unless it is refreshed before.
    :param ends: when the session ends, however often it is refreshed.
    :param now: when the row was read.
    :param user_agent: the ``User-Agent`` of the last refresh or the log-in, if the app stores it.
    :param address: the network address of that client, if the app stores it.
    :param name: the name that its user has given it.
    """

    sid: str
    sub: str
    began: int
    epoch: int | None = None
    generation: int
    rotated_at: int
    last_seen: int
    expires: int
    ends: int
    now: int
    user_agent: str | None = None
    address: str | None = None
    name: str | None = None

    @property
    def left(self) -> int:
        """The seconds until the session expires unless it is refreshed before; 0 if it has."""
        return max(0, self.expires - self.now)

    @property
    def left_until_end(self) -> int:
        """The seconds until the session ends, however often it is refreshed."""
        return max(0, self.ends - self.now)

    @property
    def created(self) -> int:
        """When the user logged in: the ``auth_time`` of its tokens."""
        return self.began // MICROSECONDS

    @property
    def created_at(self) -> datetime:
        """:attr:`created` as an aware datetime in UTC."""
        return datetime.fromtimestamp(self.created, UTC)

    @property
    def last_seen_at(self) -> datetime:
        """:attr:`last_seen` as an aware datetime in UTC."""
        return datetime.fromtimestamp(self.last_seen, UTC)

    @property
    def expires_at(self) -> datetime:
        """:attr:`expires` as an aware datetime in UTC."""
        return datetime.fromtimestamp(self.expires, UTC)

    @property
    def ends_at(self) -> datetime:
        """:attr:`ends` as an aware datetime in UTC."""
        return datetime.fromtimestamp(self.ends, UTC)

    def to_dict(self) -> dict[str, str | int | None]:
        """What its user may see, as JSON: times in seconds since 1970-01-01 UTC."""
        return {
            "sid": self.sid,
            "name": self.name,
            "created": self.created,
            "last_seen": self.last_seen,
            "expires": self.expires,
            "ends": self.ends,
            "user_agent": self.user_agent,
            "address": self.address,
        }


class SessionStore(Protocol):
    """A store of sessions. An app may provide its own.

    Keys are 16 bytes. Exceptions and time limits are those of :class:`Blocklist`. When a change has
    returned, every process sees it.
    """

    @property
    def per_process(self) -> bool:
        """Whether rows are visible only in the process that added them."""
        ...

    def open(self, key: bytes, subject: bytes, session: NewSession, /) -> None:
        """Add a row under a new key, and make :meth:`of` find it by its subject.

        The session was last seen and rotated at this moment. It expires after the idle time of its
        visit, and at most after its lifetime.
        """
        ...

    def get(self, key: bytes, /) -> Session | None:
        """The row under a key. It may be missing once it has expired."""
        ...

    def move(self, key: bytes, generation: int, visit: Visit, /) -> bool:
        """Change a row if it still has this generation, as one atomic step (compare-and-set).

        The session was last seen at this moment. If the visit has another generation, it was also
        rotated. It expires after the idle time of the visit, and at most when it ends.

        :returns: whether the row was changed. Of several concurrent calls for the same generation
            only one returns ``True``.
        """
        ...

    def rename(self, key: bytes, name: str | None, /) -> bool:
        """Set the name of a row, and return whether the row exists."""
        ...

    def end(self, key: bytes, /) -> bool | None:
        """Remove a row, and return whether this call removed it; ``None`` if that is unknown.

        It is unknown if the call was made again after its answer was lost, and the row is gone.
        """
        ...

    def of(self, subject: bytes, limit: int | None = None, /) -> Sequence[Session]:
        """The rows of a subject, in any order. Expired ones may be included.

        :param limit: the maximum number of rows; ``None`` for all. If there are more, those whose
            sessions end last, as far as they can be found without reading all.
        """
        ...

    def sweep(self, limit: int, /) -> int:
        """Remove some of the rows that have expired.

        :param limit: the maximum number of rows to examine.
        :returns: the number of rows removed.
        """
        ...

    def prune(self) -> Iterator[Pruned]:
        """Remove all rows that have expired, in batches, while requests go on."""
        ...

    def risks(self) -> Iterator[Risk]:
        """How the store could lose a session in its current configuration."""
        ...
