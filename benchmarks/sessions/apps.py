"""The app that is timed, and what is done with it: a guarded request, a refresh, a list, an end."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import cycle
from typing import TYPE_CHECKING, Any

import jwt
from flask import Flask
from flask_sqlalchemy import SQLAlchemy

from benchmarks.acceptance import Credentials, Endpoint, tampered
from benchmarks.keys import KeyPair
from benchmarks.stores.apps import TIMEOUT, Guarded, answer
from flask_authx import AuthX, Blocklist, Session, SessionStore, TokenPair
from flask_authx.app.state import states
from flask_authx.stores.lookup_keys import LookupKeys

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

#: Longer than any run.
_LIFE = timedelta(hours=12)


@dataclass(frozen=True)
class Stores:
    """Store objects, instead of those that settings name."""

    blocklist: Blocklist
    sessions: SessionStore


class App:
    """An app that keeps logins.

    :param settings: say where.
    """

    def __init__(
        self, keys: KeyPair, settings: Mapping[str, object], stores: Stores | None = None
    ) -> None:
        self.app = Flask("sessions")
        for name, value in {**keys.config, **settings}.items():
            self.app.config[name] = value
        self.app.config["JWT_ACCESS_TOKEN_EXPIRES"] = _LIFE
        self.app.config["JWT_STORE_TIMEOUT"] = TIMEOUT
        self._keys = keys
        self.db = SQLAlchemy(self.app) if "SQLALCHEMY_DATABASE_URI" in settings else None
        if stores is None:
            self.app.config["JWT_SESSIONS"] = True
            self.authx = AuthX(self.app)
        else:
            self.authx = AuthX(self.app, blocklist=stores.blocklist, sessions=stores.sessions)
        self.app.route("/")(self.authx.token_required(answer))
        self.app.register_blueprint(self.authx.blueprint())
        self.index = LookupKeys(None, "authx")

    def trust_older(self) -> None:
        """The store has been in use: the logins that are put in were opened through the app."""
        revocations = states(self.app)["authx"].require_revocations()
        revocations.mark(trust_older=True)

    def open(self, uids: Sequence[str]) -> list[TokenPair]:
        """A new login of each of some users."""
        with self.app.app_context():
            return [self.authx.login(uid) for uid in uids]

    def close(self) -> None:
        """Close the connections of the app's pool."""
        if self.db is not None:
            with self.app.app_context():
                self.db.engine.dispose()

    def guarded(self, name: str, uids: Sequence[str]) -> Guarded:
        """Guarded requests of some users in turn."""
        tokens = [pair.access_token for pair in self.open(uids)]
        gone = self.open(["gone"])[0].access_token
        with self.app.app_context():
            self.authx.revoke_session(self.authx.decode_token(gone).sid)
        return Guarded(name, self.app, tokens, self._expired(), {"login": gone})

    def _expired(self) -> str:
        app = Flask("yesterday")
        for name, value in self._keys.config.items():
            app.config[name] = value
        with app.app_context():
            return AuthX(app, clock=lambda: time.time() - 86400).create_access_token("user0")


class Refreshing(Endpoint):
    """``POST /auth/refresh`` by one login after another.

    :param pairs: their tokens.
    """

    def __init__(self, name: str, app: App, pairs: Sequence[TokenPair]) -> None:
        good = Credentials(pairs[0].refresh_token, "")
        super().__init__(name, app.app, good)
        self._access = pairs[0].access_token
        self._waiting = deque(pair.refresh_token for pair in pairs)
        #: Timed calls that were not answered with 200, since a store was late on a busy machine.
        self.refusals = 0

    def call(self) -> object:
        """One refresh; its token comes up again when all others have been."""
        token = self._waiting.popleft()
        renewed = self._renewed(token)
        if renewed is None:
            self.refusals += 1
        # A refusal has consumed nothing.
        self._waiting.append(renewed or token)
        return renewed

    def faults(self) -> Iterator[str]:
        """Why it is not fit to be timed. One login is over after that."""
        first = self._waiting.popleft()
        second = self._renewed(first)
        third = second and self._renewed(second)
        if not second or not third:
            yield f"it refuses a good refresh token ({self._status})"
            return
        if _generation(third) != _generation(first) + 2:
            yield "it doesn't count its generations"
        for what, token in (
            ("an access token", self._access),
            ("a token with a wrong signature", tampered(third)),
            ("a token that was replaced long ago", first),
            ("a token of a login that has ended by reuse", third),
        ):
            if self._renewed(token) is not None:
                yield f"it accepts {what}"
            elif not self._status.startswith("401"):
                yield f"it fails at {what} ({self._status})"

    def _renewed(self, token: str) -> str | None:
        environ: WSGIEnvironment = self._prepare(token, None)
        environ |= {"REQUEST_METHOD": "POST", "PATH_INFO": "/auth/refresh", "CONTENT_LENGTH": "0"}
        body = self._send(environ)
        return str(json.loads(body)["refresh_token"]) if self._status == "200 OK" else None


class _Verb:
    """A call of the extension, in an app context."""

    token_length = 0

    def __init__(self, name: str, app: App, uids: Sequence[str]) -> None:
        self.name = name
        self._app = app
        self._uids = uids

    def around(self) -> AbstractContextManager[object]:
        """What the call needs."""
        return self._app.app.app_context()


class Listing(_Verb):
    """``authx.sessions(uid)`` of one user after another.

    :param expected: what the first of them has.
    """

    def __init__(
        self, name: str, app: App, uids: Sequence[str], expected: Sequence[Session]
    ) -> None:
        super().__init__(name, app, uids)
        self._turns = cycle(uids)
        self._expected = _as_stored(expected)

    def call(self) -> object:
        """The next user's list."""
        return self._app.authx.sessions(next(self._turns))

    def faults(self) -> Iterator[str]:
        """That it doesn't find what is there, as it is there."""
        with self.around():
            found = _as_stored(self._app.authx.sessions(self._uids[0]))
        if found != self._expected:
            yield f"it lists {len(found)} logins, and not the {len(self._expected)} that there are"


def _as_stored(sessions: Sequence[Session]) -> dict[str, Session]:
    """Sessions by their sids, whenever they were read."""
    return {one.sid: replace(one, now=0) for one in sessions}


class RevokingAll(_Verb):
    """``authx.revoke_subject(uid)`` of one user after another; none can be had twice."""

    def __init__(self, name: str, app: App, uids: Sequence[str]) -> None:
        super().__init__(name, app, uids)
        self._next = iter(uids)

    def call(self) -> object:
        """End all of the next user's logins."""
        self._app.authx.revoke_subject(next(self._next))
        return None

    def faults(self) -> Iterator[str]:
        """That it ends nothing."""
        uid, authx = next(self._next), self._app.authx
        with self.around():
            before = len(authx.sessions(uid))
            authx.revoke_subject(uid)
            if not before or authx.sessions(uid):
                yield f"it leaves logins of the {before} that there were"


def _generation(token: str) -> int:
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    generation: int = claims["gen"]
    return generation
