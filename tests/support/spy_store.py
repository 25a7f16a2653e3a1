"""A store of revocations that keeps what it is told and what it is asked, and can be made to fail.

It holds to the protocol as any other store does: the tests of what the package makes of a store
look at its entries and count its calls.
"""

from __future__ import annotations

import logging
import math
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from flask import Flask

from flask_authx import (
    AuthX,
    Cutoff,
    Dated,
    Entry,
    Kind,
    Pruned,
    Risk,
    StoreUnavailableError,
    Token,
    current_token,
)
from flask_authx.app.state import states
from flask_authx.stores.base import MICROSECONDS
from flask_authx.stores.circuit_breaker import CircuitBreaker
from flask_authx.stores.lookup_keys import LookupKeys
from tests.support import SECRET, Clock, access_token, bearer
from tests.support.answers import ask


@dataclass(frozen=True)
class Stored:
    """An entry as it is kept.

    :param expires: seconds since 1970-01-01 UTC, by the store's clock; never: infinity.
    """

    kind: Kind
    expires: float
    cutoff: Cutoff


@dataclass(eq=False)
class SpyStore:
    """Keeps entries in a dict, and never forgets one that isn't pruned."""

    per_process: bool = False
    #: Seconds since 1970-01-01 UTC. ``store_app`` sets it to the clock of the app, if it has one.
    clock: Callable[[], float] = field(default_factory=Clock)
    #: The entries of tokens, sessions and subjects.
    entries: dict[bytes, Stored] = field(default_factory=dict[bytes, Stored])
    #: Those of scopes.
    marks: dict[bytes, Stored] = field(default_factory=dict[bytes, Stored])
    #: The names of the methods that were called, in order.
    calls: list[str] = field(default_factory=list[str])
    #: The keys of each look-up.
    asked: list[tuple[bytes, ...]] = field(default_factory=list[tuple[bytes, ...]])
    #: The entries as they were added, by either method.
    added: list[Entry] = field(default_factory=list[Entry])
    #: What is raised instead of an answer, by the methods named, or by all.
    error: Exception | None = None
    failing: frozenset[str] | None = None
    #: Whether an entry is added all the same, as when only the confirmation is lost.
    late: bool = False
    danger: list[Risk] = field(default_factory=list[Risk])

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if self.error is not None and (self.failing is None or name in self.failing):
            raise self.error

    def find(self, keys: Sequence[bytes], /) -> Sequence[Cutoff | None]:
        self.asked.append(tuple(keys))
        self._called("find")
        return self._cutoffs(keys)

    def find_dated(self, keys: Sequence[bytes], /) -> Dated:
        self.asked.append(tuple(keys))
        self._called("find_dated")
        return Dated(self._now(), self._cutoffs(keys))

    def add(self, entry: Entry, /) -> None:
        if not self.late:
            self._called("add")
        self.added.append(entry)
        kept, new = self._kept(entry), self._stored(entry)
        old = kept.get(entry.key)
        if old is not None:
            new = Stored(new.kind, max(old.expires, new.expires), old.cutoff.then(new.cutoff))
        kept[entry.key] = new
        if self.late:
            self._called("add")

    def add_if_absent(self, entry: Entry, /) -> Cutoff:
        self._called("add_if_absent")
        kept = self._kept(entry)
        if entry.key not in kept:
            self.added.append(entry)
            kept[entry.key] = self._stored(entry)
        return kept[entry.key].cutoff

    def sweep(self, limit: int, /) -> int:
        self._called("sweep")
        return self._remove(limit)

    def prune(self) -> Iterator[Pruned]:
        self._called("prune")
        yield Pruned(self._remove(len(self.entries)), 1.0)

    def count(self, bounds: Sequence[int], /) -> Mapping[Kind, Sequence[int]]:
        self._called("count")
        counts = {kind: [0] * (len(bounds) + 1) for kind in Kind}
        for stored in (*self.entries.values(), *self.marks.values()):
            counts[stored.kind][bisect_right(bounds, stored.expires - int(self.clock()))] += 1
        return counts

    def risks(self) -> Iterator[Risk]:
        self._called("risks")
        yield from self.danger

    def trust_older(self, app: Flask, name: str = "authx") -> None:
        """Mark the scope of an app: the store has been in use, and has lost nothing.

        It counts as no call. Without this, the first token that the store is asked about is
        refused if its session began before that.
        """
        settings = states(app)[name].settings
        key = LookupKeys(settings.issuer, settings.scope_name(name)).scope
        # Before 1970.
        entry = Entry(key, Kind.SCOPE, None, -1 - self._now())
        self.marks.setdefault(key, self._stored(entry))

    def _now(self) -> int:
        return int(self.clock() * MICROSECONDS)

    def _stored(self, entry: Entry) -> Stored:
        lifetime = math.inf if entry.lifetime is None else entry.lifetime
        return Stored(entry.kind, int(self.clock()) + lifetime, entry.cutoff_at(self._now()))

    def _kept(self, entry: Entry) -> dict[bytes, Stored]:
        return self.marks if entry.kind is Kind.SCOPE else self.entries

    def _cutoffs(self, keys: Sequence[bytes]) -> list[Cutoff | None]:
        found = [self.entries.get(key) or self.marks.get(key) for key in keys]
        return [None if stored is None else stored.cutoff for stored in found]

    def _remove(self, limit: int) -> int:
        now = int(self.clock())
        looked_at = [*self.entries.items()][:limit]
        expired = [key for key, stored in looked_at if stored.expires < now]
        for key in expired:
            del self.entries[key]
        return len(expired)


def store_app(
    store: Any, clock: Clock | None = None, *, name: str = "authx", ids: Any = None, **config: Any
) -> tuple[Flask, AuthX]:
    """An app whose revocations are kept in a store. A ``SpyStore`` has been in use before.

    It has guarded views, ``/guarded``, ``/refresh`` and ``/optional``, and ``/logout``, which is
    public. All take any method.
    """
    app = Flask("tests")
    prefix = "JWT_" if name == "authx" else f"{name.upper()}_JWT_"
    app.config.from_mapping({prefix + key: value for key, value in config.items()})
    if not {"SECRET_KEY", "PRIVATE_KEY", "PUBLIC_KEY"} & config.keys():
        app.config[f"{prefix}SECRET_KEY"] = SECRET
    more: dict[str, Any] = {} if ids is None else {"ids": ids}
    authx = AuthX(app, name=name, blocklist=store, clock=clock or Clock(), **more)
    if isinstance(store, SpyStore):
        store.clock = clock or store.clock
        store.trust_older(app, name)

    def who() -> dict[str, str | None]:
        return {"sub": current_token.sub if current_token else None}

    def logout() -> dict[str, str]:
        authx.logout(reason="asked for")
        return {}

    views: dict[str, Any] = {
        "guarded": authx.token_required(who),
        "refresh": authx.refresh_token_required(who),
        "optional": authx.optional_token(who),
        "logout": authx.public(logout),
    }
    for path, view in views.items():
        methods = ["GET", "POST", "PUT", "PATCH", "DELETE"]
        app.add_url_rule(f"/{path}", path, view, methods=methods)
    return app, authx


def spied() -> tuple[Flask, AuthX, SpyStore]:
    """An app, and the store that it asks."""
    store = SpyStore()
    app, authx = store_app(store, TOKEN_LOCATION=["headers", "cookies", "query", "json"])
    return app, authx, store


def decoded(app: Flask, authx: AuthX, raw: str) -> Token:
    """What a token says, without anybody being asked."""
    with app.app_context():
        return authx.decode_token(raw)


def bring_down(app: Flask, authx: AuthX, token: str) -> None:
    """Check a token while its store fails, so often that the next failure is an outage.

    In accept mode it is refused until then: a call that fails may have met a slow answer.
    """
    with app.app_context():
        for _ in range(CircuitBreaker.IN_A_ROW - 1):
            with pytest.raises(StoreUnavailableError):
                authx.verify_token(token)


def works(app: Flask, raw: str, path: str = "/guarded") -> bool:
    """Whether a token is accepted; if not, it must be for being revoked."""
    response = ask(app, path=path, headers=bearer(raw))
    if response.status_code == 200:
        return True
    body: Any = response.get_json()
    assert (response.status_code, body["error_type"]) == (401, "RevokedTokenError")
    return False


def login(app: Flask, authx: AuthX, uid: str = "ann", **kwargs: Any) -> tuple[str, str, str]:
    """A new login: its access token, its refresh token and its sid."""
    with app.app_context():
        pair = authx.create_token_pair(uid, **kwargs)
        return pair.access_token, pair.refresh_token, authx.decode_token(pair.access_token).sid


def new_token(app: Flask, authx: AuthX, uid: str = "ann", **kwargs: Any) -> tuple[str, Token]:
    """A new access token, and what it says."""
    raw = access_token(app, authx, uid, **kwargs)
    return raw, decoded(app, authx, raw)


def said(caplog: pytest.LogCaptureFixture, level: int = logging.NOTSET) -> list[str]:
    """What the package has logged at this level or above."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.name == "flask_authx" and record.levelno >= level
    ]
