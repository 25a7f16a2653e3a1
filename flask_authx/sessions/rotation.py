"""Stored sessions: open one, rotate its refresh tokens, list it, remove it.

Whether a session is revoked is decided by the store of revocations alone. The row says which
refresh token is the current one, when the session expires, and what its owner recognises it by.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from typing import Any, TypeVar

from flask_authx.settings.options import Settings
from flask_authx.stores.base import Pruned, StoreError, UncommittedWritesError
from flask_authx.stores.circuit_breaker import CallRecord, Observer, ProtectedStore
from flask_authx.stores.lookup_keys import LookupKeys
from flask_authx.stores.session_store import NewSession, Session, SessionStore, Visit
from flask_authx.tokens.new_token import SessionClaims, subject
from flask_authx.tokens.token import TokenClaims

from .client_details import Client
from .cutoffs import Cutoffs

T = TypeVar("T")

_log = logging.getLogger("flask_authx")

#: How many rows of a subject are read at once: so many more than it may have sessions, or so many
#: in all if there is no maximum. The rows of ended sessions count, too.
_MORE_ROWS, _MOST_ROWS = 200, 1000


class RefreshStatus(Enum):
    """The status of a refresh token in its session (refresh token rotation)."""

    #: The current one: the next refresh replaces it.
    CURRENT = "current"
    #: Replaced by the last refresh: the response may have been lost, or another tab was faster.
    PREDECESSOR = "predecessor"
    #: Replaced earlier: the token has been copied, and this is the copy or the original.
    REUSED = "reused"
    #: The session has expired.
    EXPIRED = "expired"
    #: There is no such session: it was revoked, its row was pruned, or the store has lost the row
    #: or its last refreshes.
    NOT_FOUND = "not found"


class Sessions:
    """The sessions of one ``AuthX`` object on one app, in a store.

    :param lookup_keys: makes the keys of rows.
    :param observer: is told when the store fails, and when it works again.
    """

    def __init__(
        self,
        store: SessionStore,
        settings: Settings,
        lookup_keys: LookupKeys,
        *,
        observer: Observer | None = None,
    ) -> None:
        self.store: SessionStore = store
        self._settings = settings
        self._lookup_keys = lookup_keys
        self._protected = ProtectedStore("sessions", observer)

    def open(self, claims: SessionClaims, client: Client, name: str | None) -> None:
        """Add the row of a new session.

        :raises StoreError: if it could not be written.
        """
        sub = subject(claims.uid)
        session = NewSession(
            sid=claims.sid,
            sub=sub,
            began=claims.began,
            epoch=None if claims.epoch is None else claims.epoch.until,
            lifetime=self._settings.session_lifetime,
            visit=self._visit(0, client),
            name=name,
        )
        key, index = self._lookup_keys.session(claims.sid), self._lookup_keys.subject(sub)
        self._protected.write(self.store.open, key, index, session)
        limit = self._settings.prune_on_write
        if limit:
            # A failure has been logged. The row has been written.
            with contextlib.suppress(StoreError):
                self._protected.prune(self.store.sweep, limit)

    def find(self, sid: str) -> Session | None:
        """A session's row, if it has not expired.

        :raises StoreError: if the store fails.
        """
        session = self._protected.read(self._get, self._lookup_keys.session(sid))
        return session if session is not None and session.left else None

    def status_of(self, parsed: TokenClaims) -> tuple[RefreshStatus, Session | None]:
        """The status of a refresh token, and its session's row.

        :raises StoreError: if the store fails.
        """
        session = self._protected.read(self._get, self._lookup_keys.session(parsed.sid))
        if session is None or session.sub != parsed.sub:
            return RefreshStatus.NOT_FOUND, None
        if not session.left:
            return RefreshStatus.EXPIRED, session
        if parsed.gen == session.generation:
            return RefreshStatus.CURRENT, session
        if parsed.gen is not None and parsed.gen > session.generation:
            self._forget(session)
            return RefreshStatus.NOT_FOUND, None
        in_grace = session.now - session.rotated_at < self._settings.refresh_grace
        if parsed.gen == session.generation - 1 and in_grace:
            return RefreshStatus.PREDECESSOR, session
        return RefreshStatus.REUSED, session

    def _forget(self, session: Session) -> None:
        """Remove a row that lacks a refresh.

        This object has signed a later token, which only the session's owner or a thief can have.
        The row would accept earlier ones, which are known to have been replaced.
        """
        _log.warning(
            "the store of sessions lacks the last refreshes of a session, which was ended: it was "
            "restored, or has lost them in a fail-over: sid=%s",
            session.sid,
        )
        # A failure has been logged.
        with contextlib.suppress(StoreError, UncommittedWritesError):
            self.end(session.sid)

    def _get(self, key: bytes) -> Session | None:
        """The row that the store finds. An app's store that returns anything else has failed."""
        found: Any = self.store.get(key)
        if found is None or isinstance(found, Session):
            return found
        raise TypeError(f"get() returned {type(found).__name__}: it must return a Session or None")

    def next_visit(self, session: Session, client: Client) -> Visit:
        """The visit that a refresh writes into a row."""
        return self._visit(session.generation + 1, client)

    def move(self, session: Session, visit: Visit) -> bool:
        """Write a visit if the row's generation has not changed, and return whether it was written.

        :raises StoreError: if that is unknown. A retry is then accepted as the predecessor.
        """
        key = self._lookup_keys.session(session.sid)
        return self._protected.write(self.store.move, key, session.generation, visit)

    def touch(self, session: Session, client: Client) -> bool:
        """Write that a session is in use, and return whether it is still active.

        :raises StoreError: if that is unknown.
        """
        visit = self._visit(session.generation, client)
        return self.move(session, visit) or self.find(session.sid) is not None

    def rename(self, sid: str, name: str | None) -> bool:
        """Name a session, and return whether there is such a session.

        :raises StoreError: if it could not be written.
        """
        return self._protected.write(self.store.rename, self._lookup_keys.session(sid), name)

    def end(self, sid: str) -> bool | None:
        """Remove a session's row, and return whether this call did; ``None`` if that is unknown.

        This does not revoke the session's tokens. The entry in the store of revocations does, and
        is written first.

        :raises StoreError: if it could not be written.
        """
        return self._protected.write(self.store.end, self._lookup_keys.session(sid))

    def active_and_ended(self, sub: str, cutoffs: Cutoffs) -> tuple[list[Session], list[Session]]:
        """A subject's active sessions, the latest first, and those that are revoked or expired.

        Of a subject with very many, the rest is left out: a list must not take so long that it
        fails, whoever has opened the sessions.

        :param cutoffs: those of the subject.
        :raises StoreError: if the store fails.
        """
        most = self._settings.max_sessions
        limit = most + _MORE_ROWS if most else _MOST_ROWS
        rows = self._protected.list(self.store.of, self._lookup_keys.subject(sub), limit)
        active: list[Session] = []
        ended: list[Session] = []
        for row in rows:
            (ended if self.has_ended(row, cutoffs) else active).append(row)
        active.sort(key=lambda row: (row.last_seen, row.began, row.sid), reverse=True)
        return active, ended

    def has_ended(self, row: Session, cutoffs: Cutoffs) -> bool:
        """Whether the session of a row is revoked or has expired.

        :param cutoffs: those of its subject.
        """
        key = self._lookup_keys.session(row.sid)
        return not row.left or cutoffs.cover(key, row.began, row.epoch)

    def measure(self, record: CallRecord) -> None:
        """Record each call to the store from now on."""
        self._protected.measure(record)

    def check(self) -> None:
        """Look up a random key, unless a look-up has succeeded within the last second.

        :raises StoreError: if the store fails.
        """
        key = self._lookup_keys.session(secrets.token_urlsafe())
        self._protected.check(lambda: self._get(key))

    def prune(self) -> Iterator[Pruned]:
        """Remove the rows of expired sessions.

        :raises StoreError: if the store fails.
        """
        batches = self.store.prune()
        while (batch := self._protected.prune(lambda: next(batches, None))) is not None:
            yield batch

    def inspect_store(self, work: Callable[..., T], *args: object) -> T:
        """The result of work that inspects the store itself, such as a count.

        :raises StoreError: if it fails.
        """
        return self._protected.inspect(work, *args)

    def beyond_limit(self, active: Sequence[Session]) -> Sequence[Session]:
        """Those of a subject's sessions that a new one puts beyond the limit, unused for longest.

        :param active: in the order of :meth:`active_and_ended`; others may have been left out.
        """
        limit = self._settings.max_sessions
        return active[limit - 1 :][::-1] if limit else ()

    def _visit(self, generation: int, client: Client) -> Visit:
        return Visit(
            generation=generation,
            idle=self._settings.refresh_token_expires,
            user_agent=client.user_agent,
            address=client.address,
        )
