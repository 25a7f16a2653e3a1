"""A store of revocations that keeps what it is told and what it is asked, and can be made to fail.

It holds to the protocol as any other store does: the tests of what the package makes of a store
look at its entries and count its calls.
"""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from flask import Flask

from flask_authx import (
    AuthX,
    Cutoff,
    Entry,
    Kind,
    Pruned,
    Risk,
    StoreUnavailableError,
    Token,
    current_token,
)
from flask_authx.stores.circuit_breaker import CircuitBreaker
from tests.support import SECRET, Clock, access_token, bearer
from tests.support.answers import ask


@dataclass(eq=False)
class SpyStore:
    """Keeps entries in a dict, and never forgets one that isn't pruned."""

    per_process: bool = False
    entries: dict[bytes, Entry] = field(default_factory=dict[bytes, Entry])
    #: The names of the methods that were called, in order.
    calls: list[str] = field(default_factory=list[str])
    #: The keys of each look-up.
    asked: list[tuple[bytes, ...]] = field(default_factory=list[tuple[bytes, ...]])
    #: The entries as they were added.
    added: list[Entry] = field(default_factory=list[Entry])
    #: What is raised instead of an answer, by the methods named, or by all.
    error: Exception | None = None
    failing: frozenset[str] | None = None
    danger: list[Risk] = field(default_factory=list[Risk])

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if self.error is not None and (self.failing is None or name in self.failing):
            raise self.error

    def find(self, keys: Sequence[bytes], /) -> Sequence[Cutoff]:
        self.asked.append(tuple(keys))
        self._called("find")
        return [self.entries[key].cutoff for key in keys if key in self.entries]

    def add(self, entry: Entry, /) -> None:
        self._called("add")
        self.added.append(entry)
        old = self.entries.get(entry.key)
        if old is not None:
            expires = max(old.expires, entry.expires)
            entry = replace(entry, expires=expires, cutoff=old.cutoff.then(entry.cutoff))
        self.entries[entry.key] = entry

    def sweep(self, before: int, limit: int, /) -> int:
        self._called("sweep")
        return self._remove(before, limit)

    def prune(self, before: int, /) -> Iterator[Pruned]:
        self._called("prune")
        yield Pruned(self._remove(before, len(self.entries)), 1.0)

    def _remove(self, before: int, limit: int) -> int:
        looked_at = [*self.entries.values()][:limit]
        expired = [entry.key for entry in looked_at if entry.expires < before]
        for key in expired:
            del self.entries[key]
        return len(expired)

    def count(self, bounds: Sequence[int], /) -> Mapping[Kind, Sequence[int]]:
        self._called("count")
        counts = {kind: [0] * (len(bounds) + 1) for kind in Kind}
        for entry in self.entries.values():
            counts[entry.kind][bisect_right(bounds, entry.expires)] += 1
        return counts

    def risks(self) -> Iterator[Risk]:
        self._called("risks")
        yield from self.danger


def store_app(
    store: Any, clock: Clock | None = None, *, name: str = "authx", ids: Any = None, **config: Any
) -> tuple[Flask, AuthX]:
    """An app whose revocations are kept in a store.

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
