"""Revocations: of tokens, of sessions and of all a subject's sessions.

``Revocations`` decides which entries are written and how long they are kept, and checks whether a
token is revoked. To revoke, it writes the entry first, which puts the revocation in force; then it
removes the session's row, writes the audit trail and sends the signal.
"""

from __future__ import annotations

import contextlib
import logging
import math
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, cast

from blinker import Signal

from flask_authx.errors import StoreUnavailableError
from flask_authx.settings.options import Settings
from flask_authx.signals import (
    Announcer,
    all_revoked,
    session_revoked,
    subject_revoked,
    token_revoked,
)
from flask_authx.stores.base import MICROSECONDS, Pruned, StoreError, UncommittedWritesError
from flask_authx.stores.blocklist import (
    ALL,
    Blocklist,
    Cutoff,
    Dated,
    Entry,
    Kind,
    Record,
)
from flask_authx.stores.circuit_breaker import CallRecord, ProtectedStore
from flask_authx.stores.lookup_keys import LookupKeys
from flask_authx.tokens.claims import ID
from flask_authx.tokens.token import Epoch, Token, TokenClaims

from .cutoffs import Beginning, Cutoffs
from .rotation import Sessions

T = TypeVar("T")

_log = logging.getLogger("flask_authx")

#: Seconds that an entry is kept after the tokens that it revokes have expired: the largest
#: difference between the clocks of two machines, an hour, and a minute.
MARGIN = 3660
#: How far the cut-off of a scope lies back whose older sessions are trusted: a hundred years, in
#: microseconds.
_TRUST_OLDER = -100 * 365 * 86400 * MICROSECONDS
#: How many revocations of a subject may precede one of the scope while the store's clock stands
#: still.
_INSTANT = 1000
#: Seconds by which two clocks may seem to differ, since a call to a store takes time.
_CALL_TIME = 2
#: Seconds between two log lines about the same difference between two clocks.
_CLOCK_LOG_INTERVAL = 3600.0
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


class Revocations:
    """Revokes tokens, sessions and subjects in a store, and checks what is revoked.

    The store has an entry for the whole scope, whose cut-off each session notes when it is opened.
    Where the entry is missing, the store is new or has lost its entries. It is written anew then,
    which revokes all sessions that were opened before: some of them may have been revoked.

    :param name: of the ``AuthX`` object.
    :param lookup_keys: makes the keys of entries.
    :param clock: the machine's, in seconds since 1970-01-01 UTC.
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
        self._clock_logged_at = -math.inf

    # What is revoked

    def is_revoked(self, token: Token) -> bool:
        """Whether a token, its session, its subject or its scope is revoked: one lookup.

        :raises StoreError: if the store fails.
        """
        return self._is_revoked(token.parsed)

    def is_session_revoked(self, token: Token) -> bool:
        """Whether the store has an entry that revokes a token's session, or its subject's.

        That of the scope does not count: a store that has lost its entries for a while may have
        them again.

        :raises StoreError: if the store fails.
        """
        parsed, keys = token.parsed, _keys_of_session(self._lookup_keys, token.parsed)
        return Cutoffs(self._find(keys).found, None).cover(keys[-2], parsed.began, None)

    def _is_revoked(self, parsed: TokenClaims) -> bool:
        keys = _keys_of_token(self._lookup_keys, parsed)
        iss = parsed.iss
        if iss is not None and iss != self._settings.issuer:
            # The app accepts any issuer. It may have had this one until its settings were changed,
            # and its revocations are in the scope of that issuer then.
            return self._is_revoked_in_both(parsed, keys, self._scope_of(iss))
        epoch = self._noted(parsed, self._lookup_keys)
        return self._find(keys).cover(keys[-2], parsed.began, epoch)

    def _is_revoked_in_both(
        self, parsed: TokenClaims, own: tuple[bytes, ...], scope: LookupKeys
    ) -> bool:
        """Whether a token is revoked in the app's scope or in that of the token's issuer."""
        others = (*_keys_of_token(scope, parsed), scope.scope)
        cutoffs = self._find((*others, *own))
        *theirs, of_scope = cutoffs.found[: len(others)]
        if Cutoffs(theirs, of_scope).cover(others[-3], parsed.began, self._noted(parsed, scope)):
            return True
        ours = Cutoffs(cutoffs.found[len(others) :], cutoffs.scope)
        return ours.cover(own[-2], parsed.began, self._noted(parsed, self._lookup_keys))

    def _noted(self, parsed: TokenClaims, keys: LookupKeys) -> int | None:
        """The cut-off of this scope that a token's session has noted, if it was opened there."""
        epoch = parsed.epoch
        return epoch.until if epoch is not None and epoch.scope == keys.scope_name else None

    def _scope_of(self, issuer: str | None) -> LookupKeys:
        return LookupKeys(issuer, self._settings.scope_name(self._name))

    def begin(self, sub: str) -> Beginning:
        """The beginning of a session of a subject that is opened now.

        :raises StoreError: if the store fails.
        """
        keys = (self._lookup_keys.subject(sub), self._lookup_keys.scope)
        dated = self._protected.read(self._find_dated, keys)
        self._compare_clocks(dated.now)
        cutoffs = self._with_scope(dated.cutoffs)
        of_subject, scope = dated.cutoffs[0], cutoffs.scope
        at = dated.now if of_subject is None else max(dated.now, of_subject.until + 1)
        name = self._lookup_keys.scope_name
        return Beginning(at, None if scope is None else Epoch(name, scope.until), cutoffs)

    def left(self, token: Token, lifetime: int) -> int:
        """The seconds until a token's session ends, by the store's clock, which has dated it.

        :param lifetime: the seconds that the session lasts.
        :raises StoreError: if the store fails.
        """
        dated = self._protected.read(self._find_dated, (self._lookup_keys.scope,))
        return lifetime + (token.parsed.began - dated.now) // MICROSECONDS

    def cutoffs(self, sub: str) -> Cutoffs:
        """The cut-offs of a subject: each revokes the sessions before a moment.

        :raises StoreError: if the store fails.
        """
        return self._find((self._lookup_keys.subject(sub),))

    def _find(self, keys: tuple[bytes, ...]) -> Cutoffs:
        """The cut-offs of these keys, in this order, and that of the scope."""
        keys = (*keys, self._lookup_keys.scope)
        found = self._protected.read(self._find_valid, keys)
        try:
            return self._with_scope(found)
        except UncommittedWritesError:
            # Of the caller, in the same SQLite file. What is to be written revokes all sessions.
            return Cutoffs(found[:-1], ALL)

    def _with_scope(self, found: Sequence[Cutoff | None]) -> Cutoffs:
        """What was found, the scope's last. Its cut-off may have to be written first."""
        *others, scope = found
        if scope is None and not self.store.per_process:
            scope = self.mark()
        return Cutoffs(others, scope)

    def _find_valid(self, keys: tuple[bytes, ...]) -> Sequence[Cutoff | None]:
        """What the store finds. If an app's store returns anything else, that is a failure."""
        return _valid(self.store.find(keys), "find", len(keys))

    def _find_dated(self, keys: tuple[bytes, ...]) -> Dated:
        dated: Any = self.store.find_dated(keys)
        if not isinstance(dated, Dated):
            raise TypeError(f"find_dated must return a Dated, and returned {_type_name(dated)}")
        _valid(dated.cutoffs, "find_dated", len(keys))
        return dated

    # Two clocks

    def clocks_differ(self) -> str | None:
        """How the machine's clock differs from the store's, by more than the leeway, if it does.

        :raises StoreError: if the store fails.
        """
        dated = self._protected.inspect(self._find_dated, (self._lookup_keys.scope,))
        return self._difference(dated.now)

    def _difference(self, stores: int) -> str | None:
        ahead = self._clock() - stores / MICROSECONDS
        if abs(ahead) <= max(self._settings.decode_leeway, _CALL_TIME):
            return None
        which = "ahead of" if ahead > 0 else "behind"
        return f"the clock of this machine is {abs(ahead):.0f} s {which} that of the blocklist"

    def _compare_clocks(self, stores: int) -> None:
        """Log a difference between the two clocks, at most once an hour."""
        difference, now = self._difference(stores), time.monotonic()
        if difference is not None and now - self._clock_logged_at >= _CLOCK_LOG_INTERVAL:
            self._clock_logged_at = now
            _log.warning("%s: set both by NTP", difference)

    # The scope

    def has_mark(self) -> bool:
        """Whether the store has the entry of the scope.

        :raises StoreError: if the store fails.
        """
        [found] = self._protected.read(self._find_valid, (self._lookup_keys.scope,))
        return found is not None

    def mark(self, *, trust_older: bool = False) -> Cutoff:
        """Write the cut-off of the scope, unless it is there, and return the one that counts.

        :param trust_older: whether the sessions that began before this moment stay active.
        :raises StoreError: if it may not have been written.
        """
        entry = self._scope_entry(_TRUST_OLDER if trust_older else self._skew())
        cutoff = self._protected.write(self._add_if_absent, entry)
        _log.warning(
            "the blocklist had no entry of the scope %r, so it is new or has lost its revocations: "
            "%s",
            self._settings.scope_name(self._name),
            # Another process may have been first, and not have been told the same.
            "older sessions stay active" if cutoff.until < 0 else "all older sessions are revoked",
        )
        return cutoff

    def _add_if_absent(self, entry: Entry) -> Cutoff:
        """The cut-off that counts. If an app's store returns anything else, that is a failure."""
        cutoff: Any = self.store.add_if_absent(entry)
        if not isinstance(cutoff, Cutoff):
            raise TypeError(
                f"add_if_absent must return a Cutoff, and returned {_type_name(cutoff)}"
            )
        return cutoff

    def _scope_entry(self, ahead: int) -> Entry:
        return Entry(self._lookup_keys.scope, Kind.SCOPE, None, ahead)

    def _skew(self) -> int:
        return self._settings.skew * MICROSECONDS

    # Revoking

    def revoke_token(self, token: Token, *, actor: str | None, reason: str | None) -> None:
        """Revoke one token. The entry is kept until the token has expired.

        :param actor: the subject that revokes it, if that is known.
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
        self, sid: str, *, actor: str | None, reason: str | None, reused: Token | None = None
    ) -> None:
        """Revoke a session: all its tokens, also one that a refresh creates at this moment.

        Its row is removed, if it has one. The errors are :meth:`revoke_token`'s.

        :param reused: the refresh token whose reuse is the cause.
        """
        check_sid(sid)
        revocation = _Revocation(
            entry=Entry(self._lookup_keys.session(sid), Kind.SESSION, self._longest_life()),
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

    def revoke_all(self, *, actor: str | None, reason: str | None) -> None:
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
        self._protected.check(lambda: self._find_valid((key,)))

    def prune(self) -> Iterator[Pruned]:
        """Remove expired entries.

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


def _keys_of_session(keys: LookupKeys, parsed: TokenClaims) -> tuple[bytes, ...]:
    return keys.session(parsed.sid), keys.subject(parsed.sub)


def _keys_of_token(keys: LookupKeys, parsed: TokenClaims) -> tuple[bytes, ...]:
    return keys.token(parsed.jti), keys.session(parsed.sid), keys.subject(parsed.sub)


def _valid(found: Any, method: str, number: int) -> Sequence[Cutoff | None]:
    """What a method of a store found, if that is what the protocol says.

    :raises TypeError: if it is not.
    """
    if not isinstance(found, (list, tuple)):
        raise TypeError(f"{method} must return a list of Cutoff, and returned {_type_name(found)}")
    cutoffs = cast("Sequence[Any]", found)
    if len(cutoffs) != number:
        raise TypeError(f"{method} must return a Cutoff or None for each key")
    for cutoff in cutoffs:
        if cutoff is not None and not isinstance(cutoff, Cutoff):
            raise TypeError(f"{method} must return a list of Cutoff: one was {_type_name(cutoff)}")
    return cutoffs


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
