"""A login that is kept in a row: open it, rotate its refresh tokens, list it, end it.

Whether a login is over is said by the store of revocations alone. A row says which refresh token of
it is the good one, when it ends by itself, and what its owner recognises it by.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from typing import Any, TypeVar

from flask_authx.settings.options import Settings
from flask_authx.stores.base import Pruned, StoreError
from flask_authx.stores.blocklist import Cutoff
from flask_authx.stores.circuit_breaker import CircuitBreaker
from flask_authx.stores.lookup_keys import LookupKeys
from flask_authx.stores.session_store import Session, SessionStore, Visit
from flask_authx.tokens.token import TokenClaims

from .client import Client

T = TypeVar("T")


class RefreshStatus(Enum):
    """What a refresh token is to its login."""

    #: The good one: the next refresh gives it up.
    CURRENT = "current"
    #: The one just given up: its answer may have been lost, or another tab was faster.
    PREDECESSOR = "predecessor"
    #: One that was given up before. It was copied, or its owner's was.
    REUSED = "reused"
    #: The login has reached its end.
    EXPIRED = "expired"
    #: There is no such login any more.
    GONE = "gone"


class Sessions:
    """Keeps logins in a store.

    :param index: makes the keys.
    :param clock: seconds since 1970-01-01 UTC.
    """

    def __init__(
        self, store: SessionStore, settings: Settings, index: LookupKeys, clock: Callable[[], float]
    ) -> None:
        self.store: SessionStore = store
        self._settings = settings
        self._index = index
        self._clock = clock
        self._breaker = CircuitBreaker("the store of logins")
        # As for revocations: that nothing can be written is no reason not to ask.
        self._pen = CircuitBreaker("the store of logins", how="to write a login")
        self._desk = CircuitBreaker("the store of logins", how="to say how it is")
        self._broom = CircuitBreaker("the store of logins", how="to remove expired logins")

    def open(self, sub: str, sid: str, auth_time: int, client: Client, name: str | None) -> Session:
        """Add the row of a new login.

        :raises StoreError: if it could not be written.
        """
        now = int(self._clock())
        ends = auth_time + self._settings.session_lifetime
        visit = self._visit(0, now, now, ends, client)
        session = Session(sid=sid, sub=sub, created=auth_time, ends=ends, visit=visit, name=name)
        key, subject = self._index.session(sid), self._index.subject(sub)
        self._pen.call(self.store.open, key, subject, session)
        limit = self._settings.prune_on_write
        if limit:
            # If it fails that has been logged. What was asked for has been written.
            with contextlib.suppress(StoreError):
                self._broom.call(self.store.sweep, now, limit)
        return session

    def find(self, sid: str) -> Session | None:
        """A login's row, if it has not reached its end.

        :raises StoreError: if the store can't say.
        """
        session = self._breaker.call(self._got, self._index.session(sid))
        return session if session is not None and int(self._clock()) < session.expires else None

    def status_of(self, parsed: TokenClaims) -> tuple[RefreshStatus, Session | None]:
        """What a refresh token is to its login, and the login's row.

        :raises StoreError: if the store can't say.
        """
        session = self._breaker.call(self._got, self._index.session(parsed.sid))
        if session is None or session.sub != parsed.sub:
            return RefreshStatus.GONE, None
        now = int(self._clock())
        if now >= session.expires:
            return RefreshStatus.EXPIRED, session
        if parsed.gen == session.generation:
            return RefreshStatus.CURRENT, session
        in_grace = now - session.visit.rotated_at < self._settings.refresh_grace
        if parsed.gen == session.generation - 1 and in_grace:
            return RefreshStatus.PREDECESSOR, session
        return RefreshStatus.REUSED, session

    def _got(self, key: bytes) -> Session | None:
        """The row as the store has it; an app's own store must not answer anything else."""
        found: Any = self.store.get(key)
        if found is None or isinstance(found, Session):
            return found
        raise TypeError(f"get() returned {type(found).__name__}: it must give a Session or None")

    def next_visit(self, session: Session, client: Client) -> Visit:
        """What a refresh at this moment makes of a row."""
        now = int(self._clock())
        return self._visit(session.generation + 1, now, now, session.ends, client)

    def move(self, session: Session, visit: Visit) -> bool:
        """Change the row, and say whether it was still as it had been found.

        :raises StoreError: if that isn't known: then the refresh token before is answered again.
        """
        key = self._index.session(session.sid)
        return self._pen.call(self.store.move, key, session.generation, visit)

    def touch(self, session: Session, client: Client) -> bool:
        """Note that a login is in use, and say whether it still goes on.

        :raises StoreError: if that isn't known.
        """
        now, before = int(self._clock()), session.visit
        visit = self._visit(before.generation, before.rotated_at, now, session.ends, client)
        return self.move(session, visit) or self.find(session.sid) is not None

    def rename(self, sid: str, name: str | None) -> bool:
        """Give a login a name, and say whether there is such a login.

        :raises StoreError: if it could not be written.
        """
        return self._pen.call(self.store.rename, self._index.session(sid), name)

    def end(self, sid: str) -> bool:
        """Remove a login's row, and say whether it was this call that did.

        What ends the login's tokens is its entry among the revocations, which is written before.

        :raises StoreError: if it could not be written.
        """
        return self._pen.call(self.store.end, self._index.session(sid))

    def of(self, sub: str, cutoffs: Sequence[Cutoff]) -> tuple[list[Session], list[Session]]:
        """A subject's logins that go on, the latest first, and those that a cut-off has ended.

        :param cutoffs: those of the subject.
        :raises StoreError: if the store can't say.
        """
        rows = self._breaker.call(self.store.of, self._index.subject(sub))
        now = int(self._clock())
        going_on: list[Session] = []
        over: list[Session] = []
        for row in rows:
            key = self._index.session(row.sid)
            if any(cutoff.covers(row.created, key) for cutoff in cutoffs):
                over.append(row)
            elif now < row.expires:
                going_on.append(row)
        going_on.sort(key=lambda row: (row.last_seen, row.created, row.sid), reverse=True)
        return going_on, over

    def prune(self) -> Iterator[Pruned]:
        """Remove the rows of logins that have expired.

        :raises StoreError: if the store fails.
        """
        batches = self.store.prune(int(self._clock()))
        while (batch := self._broom.call(lambda: next(batches, None))) is not None:
            yield batch

    def ask_store(self, work: Callable[..., T], *args: object) -> T:
        """What the store answers when it is asked about itself.

        :raises StoreError: if it fails.
        """
        return self._desk.call(work, *args)

    def surplus(self, logins: Sequence[Session]) -> list[Session]:
        """The oldest of a subject's logins, as many as are too many beside a new one."""
        limit = self._settings.max_sessions
        oldest_first = sorted(logins, key=lambda row: (row.created, row.last_seen, row.sid))
        return oldest_first[: max(0, len(logins) + 1 - limit)] if limit else []

    def _visit(
        self, generation: int, rotated_at: int, last_seen: int, ends: int, client: Client
    ) -> Visit:
        idle = self._settings.refresh_token_expires
        return Visit(
            generation=generation,
            rotated_at=rotated_at,
            last_seen=last_seen,
            expires=min(last_seen + idle, ends),
            user_agent=client.user_agent,
            address=client.address,
        )
