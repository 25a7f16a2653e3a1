"""Looking up what is revoked: of a token, its session, its subject and the whole scope.

``Lookups`` also writes the entry of the scope where a store has none, and compares the machine's
clock with the store's.
"""

from __future__ import annotations

import logging
import math
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

from flask_authx.settings.options import Settings
from flask_authx.signals import Announcer
from flask_authx.stores.base import MICROSECONDS, UncommittedWritesError
from flask_authx.stores.blocklist import ALL, Blocklist, Cutoff, Dated, Entry, Kind
from flask_authx.stores.circuit_breaker import CallRecord, ProtectedStore
from flask_authx.stores.lookup_keys import LookupKeys
from flask_authx.tokens.token import Epoch, Token, TokenClaims

from .cutoffs import Beginning, Cutoffs

T = TypeVar("T")

_log = logging.getLogger("flask_authx")

#: How far the cut-off of a scope lies back whose older sessions are trusted: a hundred years, in
#: microseconds.
_TRUST_OLDER = -100 * 365 * 86400 * MICROSECONDS
#: Seconds by which two clocks may seem to differ, since a call to a store takes time.
_CALL_TIME = 2
#: Seconds between two log lines about the same difference between two clocks.
_CLOCK_LOG_INTERVAL = 3600.0


class Lookups:
    """What a store says of tokens.

    The store has an entry for the whole scope, whose cut-off each session notes when it is opened.
    Where the entry is missing, the store is new or has lost its entries. It is written anew then,
    which revokes all sessions that were opened before: some of them may have been revoked.

    :param name: of the ``AuthX`` object.
    :param lookup_keys: makes the keys of entries.
    :param clock: the machine's, in seconds since 1970-01-01 UTC.
    :param announcer: sends the signals of the store's failures.
    """

    def __init__(  # noqa: PLR0913 - what a lookup needs; made in one place
        self,
        store: Blocklist,
        settings: Settings,
        name: str,
        *,
        lookup_keys: LookupKeys,
        clock: Callable[[], float],
        announcer: Announcer,
    ) -> None:
        self.store: Blocklist = store
        self._protected = ProtectedStore("revocations", announcer)
        self._settings = settings
        self._name = name
        self._lookup_keys = lookup_keys
        self._clock = clock
        self._clock_logged_at = -math.inf

    # What is revoked

    def is_revoked(self, token: Token) -> bool:
        """Whether a token, its session, its subject or its scope is revoked: one lookup.

        :raises StoreError: if the store fails.
        """
        return self._is_revoked(token.parsed)

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
        # Of several servers, the one that has dated the beginning: see `begin`.
        keys = (self._lookup_keys.subject(token.sub),)
        dated = self._protected.read(self._find_dated, keys)
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

        :param trust_older: whether the sessions that were opened without a store stay active. Those
            that a store has opened have noted another cut-off, so it was lost, and with it what
            revoked some of them.
        :raises StoreError: if it may not have been written.
        """
        entry = self._scope_entry(_TRUST_OLDER if trust_older else self._skew())
        cutoff = self._protected.write(self._add_if_absent, entry)
        _log.warning(
            "the blocklist had no entry of the scope %r, so it is new or has lost its revocations: "
            "%s",
            self._settings.scope_name(self._name),
            # Another process may have been first, and not have been told the same.
            "sessions that were opened without a store stay active"
            if cutoff.until < 0
            else "all older sessions are revoked",
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

    # The store

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

    def inspect_store(self, work: Callable[..., T], *args: object) -> T:
        """The result of work that inspects the store itself, such as a count.

        :raises StoreError: if it fails.
        """
        return self._protected.inspect(work, *args)


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


def _type_name(value: object) -> str:
    return type(value).__name__
