"""What a revocation is about: the keys of tokens, logins and subjects, and how long each is kept.

This is what stands between verified tokens, which it knows, and stores, which know only keys and
times.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar, cast

from flask_authx.settings.options import Settings
from flask_authx.stores.base import Pruned, StoreError
from flask_authx.stores.blocklist import Blocklist, Cutoff, Entry, Kind
from flask_authx.stores.circuit_breaker import CircuitBreaker
from flask_authx.stores.lookup_keys import LookupKeys
from flask_authx.tokens.token import Token

T = TypeVar("T")

#: Seconds that an entry is kept beyond all that it refuses, for clocks that differ.
MARGIN = 60


class Revocations:
    """Revokes tokens, logins and subjects in a store, and says what is revoked.

    :param index: makes the keys.
    :param clock: seconds since 1970-01-01 UTC.
    """

    def __init__(
        self, store: Blocklist, settings: Settings, index: LookupKeys, clock: Callable[[], float]
    ) -> None:
        self.store: Blocklist = store
        self._index = index
        self._settings = settings
        self._clock = clock
        self._breaker = CircuitBreaker("the store of revocations")
        # That nothing can be written, or removed, is no reason not to ask.
        self._pen = CircuitBreaker("the store of revocations", how="to write a revocation")
        self._desk = CircuitBreaker("the store of revocations", how="to say how it is")
        self._broom = CircuitBreaker(
            "the store of revocations", how="to remove expired revocations"
        )

    def is_revoked(self, token: Token) -> bool:
        """Whether a token, its login or its subject is revoked: one look-up.

        :raises StoreError: if the store can't say.
        """
        parsed = token.parsed
        index = self._index
        session = index.session(parsed.sid)
        keys = (index.token(parsed.jti), session, index.subject(parsed.sub))
        auth_time = parsed.auth_time
        for cutoff in self._breaker.call(self._found, keys):
            if cutoff.covers(auth_time, session):
                return True
        return False

    def is_login_over(self, token: Token) -> bool:
        """Whether a token's login or its subject is revoked, whatever is said of the token itself.

        :raises StoreError: if the store can't say.
        """
        parsed, session = token.parsed, self._index.session(token.sid)
        found = self._breaker.call(self._found, (session, self._index.subject(parsed.sub)))
        return any(cutoff.covers(parsed.auth_time, session) for cutoff in found)

    def earliest_login(self, sub: str) -> int:
        """The first second to which a new login of a subject may be dated: after all cut-offs.

        :raises StoreError: if the store can't say.
        """
        return max((cutoff.until + 1 for cutoff in self.cutoffs(sub)), default=0)

    def cutoffs(self, sub: str) -> Sequence[Cutoff]:
        """Which logins of a subject are over by its own entry.

        :raises StoreError: if the store can't say.
        """
        return self._breaker.call(self._found, (self._index.subject(sub),))

    def _found(self, keys: tuple[bytes, ...]) -> Sequence[Cutoff]:
        """What the store finds. A forgotten ``return`` in an app's own must not mean "nothing"."""
        found: Any = self.store.find(keys)
        if not isinstance(found, (list, tuple)):
            raise TypeError(f"find must return a list of Cutoff, and returned {_name(found)}")
        cutoffs = cast("Sequence[Any]", found)
        for cutoff in cutoffs:
            if not isinstance(cutoff, Cutoff):
                raise TypeError(f"find must return a list of Cutoff, and one was {_name(cutoff)}")
        return cutoffs

    def revoke_token(self, token: Token) -> None:
        """End this token. The entry is kept for what is left of the token's life.

        :raises StoreError: if it could not be written.
        """
        expires = token.exp + self._settings.decode_leeway + MARGIN
        self._add(Entry(self._index.token(token.jti), Kind.TOKEN, expires))

    def revoke_session(self, sid: str) -> None:
        """End a login: all its tokens, those included that a refresh is minting at this moment.

        :raises StoreError: if it could not be written.
        """
        self._add(Entry(self._index.session(sid), Kind.SESSION, self._longest()))

    def revoke_subject(self, sub: str, keep: str | None = None) -> None:
        """End all logins of a subject that have begun so far.

        :param keep: the sid of one that goes on.
        :raises StoreError: if it could not be written.
        """
        kept = None if keep is None else self._index.session(keep)
        cutoff = Cutoff(int(self._clock()) + self._settings.clock_skew, kept)
        self._add(Entry(self._index.subject(sub), Kind.SUBJECT, self._longest(), cutoff))

    def prune(self) -> Iterator[Pruned]:
        """Remove what has expired.

        :raises StoreError: if the store fails.
        """
        batches = self.store.prune(int(self._clock()))
        while (batch := self._broom.call(lambda: next(batches, None))) is not None:
            yield batch

    def now(self) -> int:
        """Whole seconds since 1970-01-01 UTC, by the clock that entries are dated by."""
        return int(self._clock())

    def ask_store(self, work: Callable[..., T], *args: object) -> T:
        """What the store answers when it is asked about itself.

        :raises StoreError: if it fails.
        """
        return self._desk.call(work, *args)

    def _longest(self) -> int:
        """When every token that exists now will have expired."""
        settings = self._settings
        life = settings.max_token_lifetime + settings.decode_leeway
        return int(self._clock()) + settings.clock_skew + life + MARGIN

    def _add(self, entry: Entry) -> None:
        self._pen.call(self.store.add, entry)
        limit = self._settings.prune_on_write
        if limit:
            # If it fails that has been logged. What was asked for has been written.
            with contextlib.suppress(StoreError):
                self._broom.call(self.store.sweep, int(self._clock()), limit)


def _name(value: object) -> str:
    return type(value).__name__
