"""The protocol of a store of sessions, and the values that it stores.

There is one row for each active session and none for a session that has ended. Ending a session
adds an entry to the store of revocations and removes the row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Protocol

from .base import Pruned, Risk


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """The part of a session's row that a refresh changes.

    :param generation: the generation of the refresh token that is valid from now on.
    :param rotated_at: when the previous generation was replaced.
    :param last_seen: when the session was last refreshed.
    :param expires: when the session expires unless it is refreshed again.
    :param user_agent: the ``User-Agent`` of the client that refreshed, if the app stores it.
    :param address: the network address of that client, if the app stores it.
    """

    generation: int
    rotated_at: int
    last_seen: int
    expires: int
    user_agent: str | None = None
    address: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """An active session. Times are whole seconds since 1970-01-01 UTC.

    :param sid: the claim that its tokens share.
    :param sub: the subject, a user's ``uid`` as a string.
    :param created: when the user logged in: the ``auth_time`` of its tokens.
    :param ends: when the session ends, however often it is refreshed.
    :param visit: the state after the last refresh, or after the log-in.
    :param name: the name that its user has given it.
    """

    sid: str
    sub: str
    created: int
    ends: int
    visit: Visit
    name: str | None = None

    @property
    def generation(self) -> int:
        """The number of refreshes so far: the ``gen`` claim of the valid refresh token."""
        return self.visit.generation

    @property
    def last_seen(self) -> int:
        """When the session was last refreshed, or began."""
        return self.visit.last_seen

    @property
    def expires(self) -> int:
        """When the session expires unless it is refreshed before."""
        return self.visit.expires

    @property
    def user_agent(self) -> str | None:
        """The ``User-Agent`` of the last refresh or the log-in, if the app stores it."""
        return self.visit.user_agent

    @property
    def address(self) -> str | None:
        """The network address of the last refresh or the log-in, if the app stores it."""
        return self.visit.address

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

    def after(self, visit: Visit) -> Session:
        """The session after a refresh."""
        return replace(self, visit=visit)

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

    def open(self, key: bytes, subject: bytes, session: Session, /) -> None:
        """Add a row under a new key, and make :meth:`of` find it by its subject."""
        ...

    def get(self, key: bytes, /) -> Session | None:
        """The row under a key. It may be missing once it has expired."""
        ...

    def move(self, key: bytes, generation: int, visit: Visit, /) -> bool:
        """Change a row if it still has this generation, as one atomic step (compare-and-set).

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

        :param limit: the maximum number of rows, any of the subject's; ``None`` for all.
        """
        ...

    def sweep(self, before: int, limit: int, /) -> int:
        """Remove some of the rows that expired before a moment.

        :param limit: the maximum number of rows to examine.
        :returns: the number of rows removed.
        """
        ...

    def prune(self, before: int, /) -> Iterator[Pruned]:
        """Remove all rows that expired before a moment, in batches, while requests go on."""
        ...

    def risks(self) -> Iterator[Risk]:
        """How the store could lose a session in its current configuration."""
        ...
