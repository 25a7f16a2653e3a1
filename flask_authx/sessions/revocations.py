"""Revocations: of tokens, of sessions and of all a subject's sessions.

``Revocations`` decides which entries are written and how long they are kept, and checks whether a
token is revoked. To revoke, it writes the entry first, which puts the revocation in force; then it
removes the session's row, writes the audit trail and sends the signal.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, cast

from blinker import Signal

from flask_authx.errors import StoreUnavailableError
from flask_authx.settings.options import Settings
from flask_authx.signals import Announcer, session_revoked, subject_revoked, token_revoked
from flask_authx.stores.base import Pruned, StoreError, UncommittedWritesError
from flask_authx.stores.blocklist import Blocklist, Cutoff, Entry, Kind, Record
from flask_authx.stores.circuit_breaker import CallRecord, ProtectedStore
from flask_authx.stores.lookup_keys import LookupKeys
from flask_authx.tokens.claims import ID
from flask_authx.tokens.token import Token

from .rotation import Sessions

T = TypeVar("T")

#: Seconds that an entry is kept after the tokens that it revokes have expired: clocks differ.
MARGIN = 60
#: Characters of a reason.
_MAX_REASON = 1000
#: How many rows are removed at once, when all of a subject's sessions are revoked.
_MAX_ROWS = 100


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

    def prune(self, instance: str, before: int) -> int:
        """Remove an ``AuthX`` object's records from before a moment, and return their number."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Revocation:
    """What is written, recorded and announced.

    :param value: the jti, sid or sub.
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


class Revocations:
    """Revokes tokens, sessions and subjects in a store, and checks what is revoked.

    :param name: of the ``AuthX`` object.
    :param lookup_keys: makes the keys of entries.
    :param clock: seconds since 1970-01-01 UTC.
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
        self.store: Blocklist = store
        self._protected = ProtectedStore("revocations", announcer)
        self._settings = settings
        self._name = name
        self._lookup_keys = lookup_keys
        self._clock = clock
        self._sessions = sessions
        self._trail = trail
        self._announcer = announcer

    # What is revoked

    def is_revoked(self, token: Token) -> bool:
        """Whether a token, its session or its subject is revoked: one lookup.

        :raises StoreError: if the store fails.
        """
        parsed = token.parsed
        lookup_keys = self._lookup_keys
        session = lookup_keys.session(parsed.sid)
        keys = (lookup_keys.token(parsed.jti), session, lookup_keys.subject(parsed.sub))
        auth_time = parsed.auth_time
        for cutoff in self._protected.read(self._find, keys):
            if cutoff.covers(auth_time, session):
                return True
        return False

    def is_session_revoked(self, token: Token) -> bool:
        """Whether a token's session or its subject is revoked. The token's own entry is ignored.

        :raises StoreError: if the store fails.
        """
        parsed, session = token.parsed, self._lookup_keys.session(token.sid)
        keys = (session, self._lookup_keys.subject(parsed.sub))
        found = self._protected.read(self._find, keys)
        return any(cutoff.covers(parsed.auth_time, session) for cutoff in found)

    def earliest_auth_time(self, sub: str) -> int:
        """The first ``auth_time`` that a new session of a subject may have: after all cut-offs.

        :raises StoreError: if the store fails.
        """
        return max((cutoff.until + 1 for cutoff in self.cutoffs(sub)), default=0)

    def cutoffs(self, sub: str) -> Sequence[Cutoff]:
        """The cut-offs of a subject: each revokes the sessions before a moment.

        :raises StoreError: if the store fails.
        """
        return self._protected.read(self._find, (self._lookup_keys.subject(sub),))

    def _find(self, keys: tuple[bytes, ...]) -> Sequence[Cutoff]:
        """What the store finds. If an app's store returns anything else, that is a failure."""
        found: Any = self.store.find(keys)
        if not isinstance(found, (list, tuple)):
            raise TypeError(f"find must return a list of Cutoff, and returned {_type_name(found)}")
        cutoffs = cast("Sequence[Any]", found)
        for cutoff in cutoffs:
            if not isinstance(cutoff, Cutoff):
                raise TypeError(
                    f"find must return a list of Cutoff, and one was {_type_name(cutoff)}"
                )
        return cutoffs

    # Revoking

    def revoke_token(self, token: Token, *, actor: str | None, reason: str | None) -> None:
        """Revoke one token. The entry is kept until the token has expired.

        :param actor: the subject that revokes it, if that is known.
        :param reason: why; at most 1000 characters.
        :raises StoreUnavailableError: if it may not have been written, or was not recorded; the
            description says which.
        :raises ValueError: if the reason can't be stored.
        """
        expires = token.exp + self._settings.decode_leeway + MARGIN
        revocation = _Revocation(
            entry=Entry(self._lookup_keys.token(token.jti), Kind.TOKEN, expires),
            value=token.jti,
            signal=token_revoked,
            ids={"jti": token.jti, "sid": token.sid, "sub": token.sub},
        )
        self._carry_out(revocation, actor, reason)

    def revoke_session(
        self, sid: str, *, actor: str | None, reason: str | None, reused: Token | None = None
    ) -> None:
        """Revoke a session: all its tokens, also one that a refresh creates at this moment.

        Its row is removed, if it has one. The errors are :meth:`revoke_token`'s.

        :param reused: the refresh token whose reuse is the cause.
        """
        check_sid(sid)
        revocation = _Revocation(
            entry=Entry(self._lookup_keys.session(sid), Kind.SESSION, self._latest_expiry()),
            value=sid,
            signal=session_revoked,
            ids={"sid": sid},
            remove_rows=lambda: self.remove_row(sid),
            reused=reused,
        )
        self._carry_out(revocation, actor, reason)

    def revoke_subject(
        self, sub: str, keep: str | None, *, actor: str | None, reason: str | None
    ) -> None:
        """Revoke all sessions of a subject that have begun so far, and remove their rows.

        A row that could not be removed is not listed. The errors are :meth:`revoke_token`'s.

        :param keep: the sid of one that stays active.
        """
        if keep is not None:
            check_sid(keep)
        kept = None if keep is None else self._lookup_keys.session(keep)
        cutoff = Cutoff(int(self._clock()) + self._settings.clock_skew, kept)
        key = self._lookup_keys.subject(sub)
        revocation = _Revocation(
            entry=Entry(key, Kind.SUBJECT, self._latest_expiry(), cutoff),
            value=sub,
            keep=keep,
            signal=subject_revoked,
            ids={"sub": sub, "keep": keep},
            remove_rows=lambda: self._remove_rows(sub),
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

    def _carry_out(self, revocation: _Revocation, actor: str | None, reason: str | None) -> None:
        _check_reason(reason)
        if self._trail is not None:
            # First, so that a revocation that can't be recorded for this reason is not made.
            self._trail.refuse_uncommitted_writes()
        try:
            self._add(revocation.entry)
        except StoreError:
            # It may have been written, if only the store's confirmation came too late.
            raise _unavailable("The revocation may not have been written") from None
        # From here on it is in force, whatever else fails.
        removed: bool | None = None
        is_listed = False
        try:
            removed = revocation.remove_rows()
        except StoreError:
            is_listed = True
        recorded = self._record(revocation, actor, reason)
        self._announcer.revoked(revocation.signal, revocation.ids, actor=actor, reason=reason)
        # Of several processes that detect the reuse at the same time, the one that removes the row
        # announces it; if that is unknown, each does.
        if revocation.reused is not None and removed is not False:
            self._announcer.reuse_detected(revocation.reused)
        if not recorded:
            what = "The revocation is in force and could not be recorded"
            raise _unavailable(what, in_force=True)
        if is_listed:
            what = "The revocation is in force, and the session may still be listed"
            raise _unavailable(what, in_force=True)

    def _record(self, revocation: _Revocation, actor: str | None, reason: str | None) -> bool:
        """Write the audit trail, if there is one, and return whether that succeeded."""
        if self._trail is None:
            return True
        record = Record(
            at=self.now(),
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
                self._protected.prune(self.store.sweep, int(self._clock()), limit)

    def _latest_expiry(self) -> int:
        """The moment at which every token that exists now has expired."""
        settings = self._settings
        life = settings.max_token_lifetime + settings.decode_leeway
        return int(self._clock()) + settings.clock_skew + life + MARGIN

    # Maintenance

    def is_down(self) -> bool:
        """Whether look-ups keep failing."""
        return self._protected.is_down()

    def measure(self, record: CallRecord) -> None:
        """Record each call to the store from now on."""
        self._protected.measure(record)

    def check(self) -> None:
        """Look up a random key, unless a look-up has succeeded within the last second.

        :raises StoreError: if the store fails.
        """
        key = self._lookup_keys.subject(secrets.token_urlsafe())
        self._protected.check(lambda: self._find((key,)))

    def prune(self) -> Iterator[Pruned]:
        """Remove expired entries.

        :raises StoreError: if the store fails.
        """
        batches = self.store.prune(int(self._clock()))
        while (batch := self._protected.prune(lambda: next(batches, None))) is not None:
            yield batch

    def now(self) -> int:
        """Whole seconds since 1970-01-01 UTC, by the clock that entries are dated by."""
        return int(self._clock())

    def inspect_store(self, work: Callable[..., T], *args: object) -> T:
        """The result of work that inspects the store itself, such as a count.

        :raises StoreError: if it fails.
        """
        return self._protected.inspect(work, *args)


def check_sid(sid: object) -> None:
    """Refuse a value that can't be the ``sid`` of a token.

    :raises TypeError: if it is not text.
    :raises ValueError: if it does not have the form of an id.
    """
    if not isinstance(sid, str):
        raise TypeError(f"a sid is text, not {type(sid).__name__}")
    if not ID.fullmatch(sid):
        raise ValueError("that is not a sid: pass the claim of that name, or Token.sid")


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


def _unavailable(what: str, *, in_force: bool = False) -> StoreUnavailableError:
    return StoreUnavailableError(description=what, in_force=in_force)


def _type_name(value: object) -> str:
    return type(value).__name__
