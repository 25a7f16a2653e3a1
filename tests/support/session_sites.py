"""An app whose sessions are kept in a store that notes its calls, and can be made to fail."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from blinker import Signal
from flask import Flask
from werkzeug.test import TestResponse

from flask_authx import (
    AuthX,
    MemorySessions,
    NewSession,
    Pruned,
    Risk,
    Session,
    Token,
    TokenPair,
    Visit,
)
from flask_authx import current_token as token_of_request
from tests.support import SECRET, Clock, bearer, parts
from tests.support.answers import ask, outcome
from tests.support.spy_store import SpyStore, decoded, works

T = TypeVar("T")


class RestoredSessions(MemorySessions):
    """A store of sessions that can be restored to an earlier state."""

    def saved(self) -> list[tuple[bytes, bytes, Session]]:
        """What it has now."""
        return [(key, *stored) for key, stored in self._rows.items()]

    def restore(self, saved: list[tuple[bytes, bytes, Session]]) -> None:
        """Have that again, and nothing else."""
        for key in [*self._rows]:
            self.end(key)
        for key, subject, row in saved:
            self._keys_of.setdefault(subject, {})[key] = None
            self._rows[key] = (subject, row)
            self._schedule.add(key)


class SpySessions:
    """A store of sessions in memory.

    :param clock: of the app.
    """

    per_process: bool = False

    def __init__(self, clock: Clock) -> None:
        self._kept = RestoredSessions(clock)
        #: The key of each session that was ever opened, by its sid.
        self.keys: dict[str, bytes] = {}
        #: The names of the methods that were called, in order.
        self.calls: list[str] = []
        #: How many rows of a subject were asked for at most, each time.
        self.limits: list[int | None] = []
        #: What is raised, by the methods named.
        self.error: Exception | None = None
        self.failing: frozenset[str] = frozenset()
        #: Whether that is raised when the work has been done, as when only the result is lost.
        self.late: bool = False
        #: Called before the work of a method.
        self.before: dict[str, Callable[[], object]] = {}

    def fail(self, *names: str, error: Exception, late: bool = False) -> None:
        """From now on these methods fail; without names none does."""
        self.failing, self.error, self.late = frozenset(names), error, late

    def heal(self) -> None:
        """From now on everything works."""
        self.failing = frozenset()

    def row(self, sid: str) -> Session | None:
        """What is kept of a session."""
        return self._kept.get(self.keys[sid])

    def save(self) -> Callable[[], None]:
        """What restores all rows as they are now."""
        saved = self._kept.saved()
        return lambda: self._kept.restore(saved)

    def lose(self, sid: str) -> None:
        """Forget a session, as a store does that is emptied."""
        self._kept.end(self.keys[sid])

    def _do(self, name: str, work: Callable[..., T], *args: object) -> T:
        self.calls.append(name)
        self.before.get(name, lambda: None)()
        failing = name in self.failing and self.error is not None
        if failing and not self.late and self.error is not None:
            raise self.error
        answer = work(*args)
        if failing and self.error is not None:
            raise self.error
        return answer

    def open(self, key: bytes, subject: bytes, session: NewSession, /) -> None:
        self.keys[session.sid] = key
        self._do("open", self._kept.open, key, subject, session)

    def get(self, key: bytes, /) -> Session | None:
        return self._do("get", self._kept.get, key)

    def move(self, key: bytes, generation: int, visit: Visit, /) -> bool:
        return self._do("move", self._kept.move, key, generation, visit)

    def rename(self, key: bytes, name: str | None, /) -> bool:
        return self._do("rename", self._kept.rename, key, name)

    def end(self, key: bytes, /) -> bool | None:
        return self._do("end", self._kept.end, key)

    def of(self, subject: bytes, limit: int | None = None, /) -> Sequence[Session]:
        self.limits.append(limit)
        return self._do("of", self._kept.of, subject, limit)

    def sweep(self, limit: int, /) -> int:
        return self._do("sweep", self._kept.sweep, limit)

    def prune(self) -> Iterator[Pruned]:
        return self._do("prune", self._kept.prune)

    def risks(self) -> Iterator[Risk]:
        return self._do("risks", self._kept.risks)


@dataclass(eq=False)
class Site:
    """An app, its two stores and its clock."""

    app: Flask
    authx: AuthX
    clock: Clock
    revocations: SpyStore
    logins: SpySessions

    def log_in(self, uid: Any = "ann", **kwargs: Any) -> TokenPair:
        """A new session, outside of a request."""
        with self.app.app_context():
            return self.authx.login(uid, **kwargs)

    def renew(self, token: str, **kwargs: Any) -> TokenPair:
        """A refresh outside of a request."""
        with self.app.app_context():
            return self.authx.refresh(token, **kwargs)

    def ask(self, token: str, method: str = "POST", path: str = "/refresh") -> TestResponse:
        """The response to a request with a token in its header."""
        return ask(self.app, method, path, headers=bearer(token))

    def token(self, raw: str) -> Token:
        """What a token says."""
        return decoded(self.app, self.authx, raw)

    def sid(self, pair: TokenPair) -> str:
        """The session that a pair belongs to."""
        sid: str = parts(pair.access_token)[1]["sid"]
        return sid

    def row(self, pair: TokenPair) -> Session:
        """What is kept of a pair's session."""
        row = self.logins.row(self.sid(pair))
        assert row is not None
        return row

    def is_kept(self, pair: TokenPair) -> bool:
        """Whether there is a row of a pair's session."""
        return self.logins.row(self.sid(pair)) is not None

    def generation(self, pair: TokenPair) -> int:
        """What the refresh token of a pair says of itself."""
        generation: int = parts(pair.refresh_token)[1]["gen"]
        return generation

    def accepts(self, pair: TokenPair) -> bool:
        """Whether the access token is good; if not, it must be for being revoked."""
        return works(self.app, pair.access_token)

    def listed(self, uid: Any = "ann") -> list[str]:
        """The sids of a user's sessions, the latest first."""
        with self.app.app_context():
            return [session.sid for session in self.authx.sessions(uid)]

    def claims_by(self, callback: Callable[[str], dict[str, Any]]) -> None:
        """Register what adds claims to new tokens."""
        self.authx.set_callback_additional_claims(callback)

    def users_by(self, callback: Callable[[str], Any]) -> None:
        """Register what loads a user."""
        self.authx.set_callback_get_model_instance(callback)

    def revoked_by(self, callback: Callable[[str], Any]) -> None:
        """Register what says, beside the store, whether a token is revoked."""
        self.authx.token_blocklist(callback)

    def reset(self) -> None:
        """Forget the calls of both stores so far."""
        self.logins.calls.clear()
        self.revocations.calls.clear()


def site(
    *,
    clock: Clock | None = None,
    like: Site | None = None,
    name: str = "authx",
    ids: Callable[[], str] | None = None,
    **config: Any,
) -> Site:
    """An app with ``/guarded``, ``/refresh`` and ``/logout``, each for any method.

    Its stores have been in use before, so that they are not taken for emptied ones.

    :param like: another one: this one shares its stores and its clock, as a second worker would.
    :param config: settings without their prefix.
    """
    clock = clock or (Clock() if like is None else like.clock)
    revocations = SpyStore(clock=clock) if like is None else like.revocations
    logins = SpySessions(clock) if like is None else like.logins
    app = Flask("tests")
    prefix = "JWT_" if name == "authx" else f"{name.upper()}_JWT_"
    app.config.from_mapping({prefix + key: value for key, value in config.items()})
    if "SECRET_KEY" not in config:
        app.config[f"{prefix}SECRET_KEY"] = SECRET
    more: dict[str, Any] = {} if ids is None else {"ids": ids}
    authx = AuthX(app, name=name, clock=clock, blocklist=revocations, sessions=logins, **more)
    revocations.trust_older(app, name)
    route(app, authx)
    return Site(app, authx, clock, revocations, logins)


def route(app: Flask, authx: AuthX, prefix: str = "") -> None:
    """Add the three views."""

    @authx.token_required
    def guarded() -> dict[str, str]:
        return {"sub": token_of_request.sub}

    @authx.public
    def refresh() -> dict[str, Any]:
        return authx.refresh().to_dict()

    @authx.public
    def logout() -> dict[str, str]:
        authx.logout()
        return {}

    methods = ["GET", "POST", "PUT", "PATCH", "DELETE", "QUERY"]
    for view in (guarded, refresh, logout):
        path = f"{prefix}/{view.__name__}"
        app.add_url_rule(path, path, view, methods=methods)


def pair_in(response: TestResponse) -> TokenPair:
    """The tokens of a response."""
    assert outcome(response) == (200, None)
    body: Any = response.get_json()
    return TokenPair(**body)


@dataclass(eq=False)
class Heard:
    """What a signal's receivers were told."""

    times: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    senders: list[Any] = field(default_factory=list[Any])


@contextlib.contextmanager
def heard(signal: Signal) -> Generator[Heard]:
    """Listen to a signal."""
    ear = Heard()

    def receive(sender: Any, **keywords: Any) -> None:
        ear.senders.append(sender)
        ear.times.append(keywords)

    with signal.connected_to(receive):
        yield ear
