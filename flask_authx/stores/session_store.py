"""What a store of logins holds, and what it must be able to do.

There is a row for each login that goes on, and none for one that has ended: what ends a login is
an entry in the store of revocations, and that the row is gone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Protocol

from .base import Pruned, Risk


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """What a refresh changes in a login's row.

    :param generation: of the refresh token that is good from now on.
    :param rotated_at: when the generation before it was given up.
    :param last_seen: when the login was last refreshed.
    :param expires: when the login ends unless it is refreshed again.
    :param user_agent: of the client that did it, if the app keeps that.
    :param address: of that client, if the app keeps that.
    """

    generation: int
    rotated_at: int
    last_seen: int
    expires: int
    user_agent: str | None = None
    address: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A login that goes on. Times are whole seconds since 1970-01-01 UTC.

    :param sid: the claim that its tokens share.
    :param sub: the subject, a user's ``uid`` as a string.
    :param created: when the user logged in: the ``auth_time`` of its tokens.
    :param ends: when the login ends for good, however often it is refreshed.
    :param visit: what the last refresh has left, or the log-in.
    :param name: what its owner calls it.
    """

    sid: str
    sub: str
    created: int
    ends: int
    visit: Visit
    name: str | None = None

    @property
    def generation(self) -> int:
        """How many refreshes there have been: what the good refresh token's ``gen`` says."""
        return self.visit.generation

    @property
    def last_seen(self) -> int:
        """When the login was last refreshed, or began."""
        return self.visit.last_seen

    @property
    def expires(self) -> int:
        """When the login ends unless it is refreshed before."""
        return self.visit.expires

    @property
    def user_agent(self) -> str | None:
        """The ``User-Agent`` of the last refresh or the log-in, if the app keeps that."""
        return self.visit.user_agent

    @property
    def address(self) -> str | None:
        """The network address of the last refresh or the log-in, if the app keeps that."""
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
        """The login after a refresh."""
        return replace(self, visit=visit)

    def to_dict(self) -> dict[str, str | int | None]:
        """What its owner may see, as JSON: times in seconds since 1970-01-01 UTC."""
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
    """A store of logins. An app may bring its own.

    Keys are 16 bytes. A method may raise whatever it likes: then the store counts as failed, is
    left alone for a second, and requests are answered with a 503. Each call must end in bounded
    time.
    When a change has returned, every process sees it.
    """

    @property
    def per_process(self) -> bool:
        """Whether other processes don't see what is kept here."""
        ...

    def open(self, key: bytes, subject: bytes, session: Session, /) -> None:
        """Add a row under a key that is new, and make :meth:`of` find it by its subject."""
        ...

    def get(self, key: bytes, /) -> Session | None:
        """The row under a key. One that has expired may be found or not."""
        ...

    def move(self, key: bytes, generation: int, visit: Visit, /) -> bool:
        """Change a row if it is still of a generation, in one step.

        :returns: whether it was. Of several who try at once for a new generation, one is told so.
        """
        ...

    def rename(self, key: bytes, name: str | None, /) -> bool:
        """Give a row a name, and say whether there is such a row."""
        ...

    def end(self, key: bytes, /) -> bool:
        """Remove a row, and say whether it was this call that did."""
        ...

    def of(self, subject: bytes, /) -> Sequence[Session]:
        """The rows of a subject, in any order. Those that have expired may be among them."""
        ...

    def sweep(self, before: int, limit: int, /) -> int:
        """Remove some of the rows that expired before a moment.

        :param limit: how many rows may be looked at.
        :returns: how many were removed.
        """
        ...

    def prune(self, before: int, /) -> Iterator[Pruned]:
        """Remove all rows that expired before a moment, in batches, beside traffic."""
        ...

    def risks(self) -> Iterator[Risk]:
        """How it could lose a login, as it is set up now."""
        ...
