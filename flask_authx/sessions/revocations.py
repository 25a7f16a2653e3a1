"""Revoking: a token, a session, all sessions of a subject, or all of the scope.

``Revocations`` decides which entries are written and how long they are kept. It writes the entry
first, which puts the revocation in force; then it removes the session's row, writes the audit trail
and sends the signal.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

from blinker import Signal

from flask_authx.errors import StoreUnavailableError
from flask_authx.settings.options import Settings
from flask_authx.signals import (
    Actor,
    Announcer,
    all_revoked,
    refresh_reuse_detected,
    session_revoked,
    subject_revoked,
    token_revoked,
)
from flask_authx.stores.base import Pruned, StoreError, UncommittedWritesError
from flask_authx.stores.blocklist import Blocklist, Entry, Kind, Record
from flask_authx.stores.circuit_breaker import CallRecord
from flask_authx.stores.lookup_keys import LookupKeys
from flask_authx.tokens.claims import ID
from flask_authx.tokens.token import Token

from .cutoffs import Cutoffs
from .lookups import Lookups
from .rotation import Sessions

#: Seconds that an entry is kept after the tokens that it revokes have expired: the largest
#: difference between the clocks of two machines, an hour, and a minute.
MARGIN = 3660
#: How many revocations of a subject may precede one of the scope while the store's clock stands
#: still.
_INSTANT = 1000
#: Characters of a reason.
_MAX_REASON = 1000
#: How many rows are removed at once, when all of a subject's sessions are revoked.
_MAX_ROWS = 100
#: How many announcements are remembered by a process, so that it makes none of them twice.
_MAX_TOLD = 1000


class AuditTrail(Protocol):
    """Where revocations are recorded."""

    def refuse_uncommitted_writes(self) -> None:
        """Refuse a record that would wait for the caller's own uncommitted writes.

        :raises UncommittedWritesError: if the caller has such writes.
        """
        ...

    def write(self, record: Record) -> None:
        """Add a record. It is committed when this returns."""
        ...

    def measure(self, record: CallRecord) -> None:
        """Record each call to the store from now on."""
        ...

    def check(self) -> None:
        """Read from it, unless that has succeeded within the last second.

        :raises StoreError: if it fails.
        """
        ...

    def prune(self, instance: str, age: int) -> int:
        """Remove an ``AuthX`` object's records of more seconds, and return their number."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Revocation:
    """What is written, recorded and announced.

    :param value: the jti, sid or sub, or the name of the scope.
    :param keep: the sid of a session that stays active.
    :param ids: the keywords of the signal.
    :param remove_rows: removes the rows of sessions that are revoked. Returns whether this call
        did it; ``None`` if that is unknown.
    :param reused: the refresh token that was used again, if that is the cause.
    """

    entry: Entry
    value: str
    keep: str | None = None
    signal: Signal
    ids: dict[str, Any]
    remove_rows: Callable[[], bool | None] = lambda: False
    reused: Token | None = None


class Revocations(Lookups):
    """Revokes tokens, sessions and subjects in a store, and looks up what is revoked.

    The parameters are those of :class:`Lookups`, and:

    :param sessions: the stored sessions, whose rows are removed once they are revoked.
    :param trail: the audit trail; ``None`` if there is none.
    :param announcer: sends the signals.
    """

    def __init__(  # noqa: PLR0913 - what a revocation reaches; made in one place
        self,
        store: Blocklist,
        settings: Settings,
        name: str,
        *,
        lookup_keys: LookupKeys,
        clock: Callable[[], float],
        sessions: Sessions | None,
        trail: AuditTrail | None,
        announcer: Announcer,
    ) -> None:
        super().__init__(
            store, settings, name, lookup_keys=lookup_keys, clock=clock, announcer=announcer
        )
        self._sessions = sessions
        self._trail = trail
        self._announcer = announcer
        #: The signals that have been sent, and what they were about. While a store fails, each
        #: attempt is a reuse again, and a row remains that was to be removed.
        self._told: dict[tuple[Signal, str], object] = {}

    # Revoking

    def revoke_token(self, token: Token, *, actor: Actor | None, reason: str | None) -> None:
        """Revoke one token. The entry is kept until the token has expired.

        :param actor: who revokes it, if that is known.
        :param reason: why; at most 1000 characters.
        :raises StoreUnavailableError: if it may not have been written, or was not recorded; the
            description says which.
        :raises ValueError: if the reason can't be stored.
        """
        left = max(0, token.exp - int(self._clock()))
        lifetime = left + self._settings.decode_leeway + MARGIN
        revocation = _Revocation(
            entry=Entry(self._lookup_keys.token(token.jti), Kind.TOKEN, lifetime),
            value=token.jti,
            signal=token_revoked,
            ids={"jti": token.jti, "sid": token.sid, "sub": token.sub},
        )
        self._carry_out(revocation, actor, reason)

    def revoke_session(
        self, sid: str, *, actor: Actor | None, reason: str | None, reused: Token | None = None
    ) -> None:
        """Revoke a session: all its tokens, also one that a refresh creates at this moment.

        Its row is removed, if it has one. The errors are :meth:`revoke_token`'s.

        :param reused: the refresh token whose reuse is the cause.
        """
        check_sid(sid)
        self._carry_out(self._of_session(sid, reused), actor, reason)

    def finish(
        self,
        token: Token,
        *,
        actor: Actor | None,
        reason: str | None,
        reused: Token | None = None,
    ) -> bool:
        """Whether a token's session, or its subject, is revoked; what is left to do is done then.

        If the confirmation of the session's entry came too late, or the process was killed, the row
        remains, and the revocation was neither recorded nor announced. The one that removes the row
        does that. The cut-off of the scope does not count: a store that has lost its entries for a
        while may have them again.

        :param reused: as for :meth:`revoke_session`.
        :raises StoreError: if the store of revocations fails.
        :raises StoreUnavailableError: if it could not be recorded.
        """
        keys = (self._lookup_keys.session(token.sid), self._lookup_keys.subject(token.sub))
        found = self._find(keys).found
        if not Cutoffs(found, None).cover(keys[0], token.parsed.began, None):
            return False
        removed: bool | None = False
        with contextlib.suppress(StoreError):
            removed = self.remove_row(token.sid)
        # The revocation of a subject has told of itself.
        if removed is not False and found[0] is not None:
            revocation = replace(self._of_session(token.sid, reused), remove_rows=lambda: removed)
            if self._is_news(session_revoked, token.sid):
                self._complete(revocation, actor, reason)
            else:
                self._alarm(reused)
        return True

    def _of_session(self, sid: str, reused: Token | None) -> _Revocation:
        return _Revocation(
            entry=Entry(self._lookup_keys.session(sid), Kind.SESSION, self._longest_life()),
            value=sid,
            signal=session_revoked,
            ids={"sid": sid},
            remove_rows=lambda: self.remove_row(sid),
            reused=reused,
        )

    def revoke_subject(
        self, sub: str, keep: str | None, *, actor: Actor | None, reason: str | None
    ) -> None:
        """Revoke all sessions of a subject that have begun so far, and remove their rows.

        A row that could not be removed is not listed. The errors are :meth:`revoke_token`'s.

        :param keep: the sid of one that stays active.
        """
        if keep is not None:
            check_sid(keep)
        kept = None if keep is None else self._lookup_keys.session(keep)
        key = self._lookup_keys.subject(sub)
        revocation = _Revocation(
            entry=Entry(key, Kind.SUBJECT, self._longest_life(), self._skew(), kept),
            value=sub,
            keep=keep,
            signal=subject_revoked,
            ids={"sub": sub, "keep": keep},
            remove_rows=lambda: self._remove_rows(sub),
        )
        self._carry_out(revocation, actor, reason)

    def revoke_all(self, *, actor: Actor | None, reason: str | None) -> None:
        """Revoke all sessions of the scope that have begun so far. Their rows stay until they end.

        The errors are :meth:`revoke_token`'s.
        """
        ahead = self._skew()
        if self.store.per_process:
            # Sessions may have noted no epoch, and a revocation of their subject has dated them up
            # to as far ahead: in one instant each by a microsecond more.
            ahead += ahead + _INSTANT
        revocation = _Revocation(
            entry=self._scope_entry(ahead),
            value=self._settings.scope_name(self._name),
            signal=all_revoked,
            ids={},
        )
        self._carry_out(revocation, actor, reason)

    def remove_row(self, sid: str) -> bool | None:
        """Remove a session's row, and return whether this call did; ``None`` if that is unknown.

        :raises StoreError: if the row may be left.
        """
        return False if self._sessions is None else self._sessions.end(sid)

    def _remove_rows(self, sub: str) -> bool:
        """Remove rows of a subject's revoked sessions. Rows that remain are not listed."""
        if self._sessions is not None:
            # A failure has been logged.
            with contextlib.suppress(StoreError):
                _, ended = self._sessions.active_and_ended(sub, self.cutoffs(sub))
                for session in ended[:_MAX_ROWS]:
                    self._sessions.end(session.sid)
        return False

    def _carry_out(self, revocation: _Revocation, actor: Actor | None, reason: str | None) -> None:
        _check_reason(reason)
        if self._trail is not None:
            # First, so that a revocation that can't be recorded for this reason is not made.
            self._trail.refuse_uncommitted_writes()
        try:
            self._add(revocation.entry)
        except StoreError as error:
            # It may have been written, if only the store's confirmation came too late. The token is
            # refused from now on then, and nothing shows that it was reused.
            self._alarm(revocation.reused)
            what = "The revocation may not have been written"
            raise StoreUnavailableError(error.reason, description=what) from None
        self._complete(revocation, actor, reason)

    def _complete(self, revocation: _Revocation, actor: Actor | None, reason: str | None) -> None:
        """Do what follows a revocation, which is in force whatever fails here."""
        removed: bool | None = None
        is_listed = False
        try:
            removed = revocation.remove_rows()
        except StoreError:
            is_listed = True
        self._is_news(revocation.signal, revocation.value)
        recorded = self._record(revocation, actor, reason)
        self._announcer.revoked(revocation.signal, revocation.ids, actor=actor, reason=reason)
        # Of several processes that detect the reuse at the same time, the one that removes the row
        # announces it; if that is unknown, each does.
        if removed is not False:
            self._alarm(revocation.reused)
        if not recorded:
            what = "The revocation is in force and could not be recorded"
            raise _failed_after("audit records", what)
        if is_listed:
            what = "The revocation is in force, and the session may still be listed"
            raise _failed_after("sessions", what)

    def _alarm(self, reused: Token | None) -> None:
        """Announce a reuse, if that is the cause: once for a session."""
        if reused is not None and self._is_news(refresh_reuse_detected, reused.sid):
            self._announcer.reuse_detected(reused)

    def _is_news(self, signal: Signal, value: str) -> bool:
        """Whether this process has not sent a signal about this before, as far as it remembers."""
        if len(self._told) >= _MAX_TOLD:
            self._told.clear()
        # One step, so that of two threads it is news to one.
        mark = object()
        return self._told.setdefault((signal, value), mark) is mark

    def _record(self, revocation: _Revocation, actor: Actor | None, reason: str | None) -> bool:
        """Write the audit trail, if there is one, and return whether that succeeded."""
        if self._trail is None:
            return True
        record = Record(
            instance=self._name,
            actor=actor,
            kind=revocation.entry.kind,
            value=revocation.value,
            keep=revocation.keep,
            reason=reason,
        )
        try:
            self._trail.write(record)
        except (StoreError, UncommittedWritesError):
            return False
        return True

    def _add(self, entry: Entry) -> None:
        self._protected.write(self.store.add, entry)
        limit = self._settings.prune_on_write
        if limit:
            # A failure has been logged. The entry has been written.
            with contextlib.suppress(StoreError):
                self._protected.prune(self.store.sweep, limit)

    def _longest_life(self) -> int:
        """The seconds after which every token that exists now has expired on every machine."""
        return self._settings.max_token_lifetime + self._settings.decode_leeway + MARGIN

    # Maintenance

    def prune(self) -> Iterator[Pruned]:
        """Remove expired entries.

        :raises StoreError: if the store fails.
        """
        batches = self.store.prune()
        while (batch := self._protected.prune(lambda: next(batches, None))) is not None:
            yield batch


def check_sid(sid: object) -> None:
    """Refuse a value that can't be the ``sid`` of a token.

    :raises TypeError: if it is not text.
    :raises ValueError: if it does not have the form of an id.
    """
    if not isinstance(sid, str):
        raise TypeError(f"a sid is text, not {type(sid).__name__}")
    if not ID.fullmatch(sid):
        raise ValueError("that is not a sid: pass the claim of that name, or Token.sid")


def _failed_after(store: str, what: str) -> StoreUnavailableError:
    """The error of a store that failed when the revocation was in force already."""
    reason = f"the store of {store} has failed"
    return StoreUnavailableError(reason, description=what, in_force=True)


def _check_reason(reason: object) -> None:
    if reason is None:
        return
    if not isinstance(reason, str):
        raise TypeError(f"a reason is text, not {type(reason).__name__}")
    # JSON can hold lone surrogates, and no database can.
    text = reason.encode("utf-8", "replace").decode("utf-8")
    if len(reason) > _MAX_REASON or "\0" in reason or text != reason:
        raise ValueError(
            f"a reason has at most {_MAX_REASON} characters, no NUL and no lone surrogate"
        )
