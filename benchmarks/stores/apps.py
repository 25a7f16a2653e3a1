"""The apps that are timed: one guarded view each, and a store of revocations behind it.

Flask-JWT-Extended's blocklists are those of its documentation.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import cycle
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import flask_jwt_extended
import sqlalchemy as sa
from flask import Flask
from flask_sqlalchemy import SQLAlchemy

from benchmarks.acceptance import Credentials, Endpoint
from benchmarks.keys import KeyPair
from flask_authx import AuthX, Blocklist

if TYPE_CHECKING:
    from collections.abc import Iterator

    from _typeshed.wsgi import WSGIApplication

#: Its signatures have types in part only.
fje: Any = flask_jwt_extended

#: Users whose tokens take turns: what is asked about is not always the same row.
USERS = 64
#: Longer than any run.
_LIFE = timedelta(hours=12)
#: Seconds, longer than by default: on a busy machine a disk may be late, and that is no answer.
TIMEOUT = 10.0
_PATIENT: Mapping[str, object] = MappingProxyType({"JWT_STORE_TIMEOUT": TIMEOUT})
_NONE: Mapping[str, object] = MappingProxyType({})


class Guarded(Endpoint):
    """A route that must know its revoked tokens.

    :param tokens: good ones, used in turn.
    :param revoked: by what has been revoked.
    """

    def __init__(
        self,
        name: str,
        app: WSGIApplication,
        tokens: Sequence[str],
        expired: str,
        revoked: Mapping[str, str],
    ) -> None:
        super().__init__(name, app, Credentials(tokens[0], expired))
        self.tokens, self.revoked = tokens, revoked
        self._turns = cycle([self._prepare(token, None) for token in tokens])
        #: Timed calls that were not answered with 200, since a store was late on a busy machine.
        self.refusals = 0

    def call(self) -> object:
        """One request with the next token."""
        answer = self._send(next(self._turns))
        if self._status != "200 OK":
            self.refusals += 1
        return answer

    def faults(self) -> Iterator[str]:
        """Why it is not fit to be timed."""
        yield from super().faults()
        refused = [token for token in self.tokens if not self._passes(token, None)]
        if refused:
            yield f"it refuses {len(refused)} good tokens ({self._status})"
        for what, token in self.revoked.items():
            if self._passes(token, None):
                yield f"it accepts a token whose {what} is revoked"
            elif not self._status.startswith("401"):
                yield f"it fails at a revoked token ({self._status})"


@dataclass(frozen=True)
class Built:
    """An app.

    :param make: makes what is timed, by its name.
    """

    app: Flask
    make: Callable[[str], Guarded]

    def guard(self, name: str) -> Guarded:
        """What is timed; not before its tables are there."""
        return self.make(name)


@dataclass(frozen=True)
class BuiltInSQL(Built):
    """An app with Flask-SQLAlchemy.

    :param table: the name of its table.
    """

    db: SQLAlchemy
    table: str

    def create(self) -> None:
        """Make the table."""
        with self.app.app_context():
            self.db.create_all()

    def close(self) -> None:
        """Close the connections of the app's pool."""
        with self.app.app_context():
            self.db.engine.dispose()


def answer() -> str:
    """The view of all apps."""
    return "ok"


def _app(name: str, keys: KeyPair, settings: Mapping[str, object] = _NONE) -> Flask:
    app = Flask(name)
    for key, value in {**keys.config, **settings}.items():
        app.config[key] = value
    return app


def bare(name: str, keys: KeyPair) -> Endpoint:
    """A route without a guard, called with a token of ours."""
    app = Flask("bare")
    app.route("/")(answer)
    minting, authx = _minting(keys)
    with minting.app_context():
        token = authx.create_access_token("user0")
    return Endpoint(name, app, Credentials(token, token), guarded=False)


def ours(
    keys: KeyPair,
    url: str | None = None,
    store: Blocklist | None = None,
    settings: Mapping[str, object] = _PATIENT,
) -> Built:
    """Our guard with a store by URL, a store object, or none."""
    app = _app("ours", keys, settings)
    app.config["JWT_BLOCKLIST"] = url
    return _ours(app, keys, store)


def ours_in_sql(
    keys: KeyPair, database: sa.URL, settings: Mapping[str, object] = _PATIENT
) -> BuiltInSQL:
    """Our guard with ``sqlalchemy://``."""
    app = _app("ours", keys, settings)
    app.config["SQLALCHEMY_DATABASE_URI"] = database
    app.config["JWT_BLOCKLIST"] = "sqlalchemy://"
    db = SQLAlchemy(app)
    return BuiltInSQL(app, _ours(app, keys, None).make, db, "authx_blocklist")


def _ours(app: Flask, keys: KeyPair, store: Blocklist | None) -> Built:
    app.config["JWT_ACCESS_TOKEN_EXPIRES"] = _LIFE
    # What has expired is there until it is pruned, which is timed.
    app.config["JWT_PRUNE_ON_WRITE"] = 0
    authx = AuthX(app, blocklist=store)
    stored = store is not None or app.config["JWT_BLOCKLIST"] is not None
    app.route("/")(authx.token_required(answer))

    def guard(name: str) -> Guarded:
        with app.app_context():
            tokens = [authx.create_access_token(f"user{number}") for number in range(USERS)]
            revoked = _revoked(authx) if stored else {}
        yesterday, earlier = _minting(keys, clock=lambda: time.time() - 86400)
        with yesterday.app_context():
            expired = earlier.create_access_token("user0")
        return Guarded(name, app, tokens, expired, revoked)

    return Built(app, guard)


def _revoked(authx: AuthX) -> dict[str, str]:
    token, of_session, of_subject = (
        authx.create_access_token(f"gone{number}") for number in range(3)
    )
    authx.revoke_token(token)
    authx.revoke_session(authx.decode_token(of_session).sid)
    authx.revoke_subject("gone2")
    return {"jti": token, "login": of_session, "subject": of_subject}


def _minting(keys: KeyPair, clock: Callable[[], float] = time.time) -> tuple[Flask, AuthX]:
    app = _app("ours", keys)
    return app, AuthX(app, clock=clock)


def theirs(keys: KeyPair) -> Built:
    """Flask-JWT-Extended without a blocklist."""
    app = _app("theirs", keys)
    return Built(app, _theirs(app))


def theirs_in_sql(keys: KeyPair, database: sa.URL) -> BuiltInSQL:
    """Flask-JWT-Extended with the database blocklist of its documentation."""
    app = _app("theirs", keys)
    app.config["SQLALCHEMY_DATABASE_URI"] = database
    db = SQLAlchemy(app)
    untyped: Any = db
    # Made by a call, since a type checker can't follow a base class that is an attribute.
    blocklist: Any = type(
        "TokenBlocklist",
        (untyped.Model,),
        {
            "id": untyped.Column(untyped.Integer, primary_key=True),
            "jti": untyped.Column(untyped.String(36), nullable=False, index=True),
            "created_at": untyped.Column(untyped.DateTime, nullable=False),
        },
    )

    def is_revoked(_header: object, payload: Mapping[str, Any]) -> bool:
        token = untyped.session.query(blocklist.id).filter_by(jti=payload["jti"]).scalar()
        return token is not None

    def revoke(jti: str) -> None:
        untyped.session.add(blocklist(jti=jti, created_at=sa.func.now()))
        untyped.session.commit()

    return BuiltInSQL(app, _theirs(app, is_revoked, revoke), db, "token_blocklist")


def theirs_in_redis(keys: KeyPair, client: Any) -> Built:
    """Flask-JWT-Extended with the Redis blocklist of its documentation.

    :param client: one that decodes what it reads.
    """
    app = _app("theirs", keys)

    def is_revoked(_header: object, payload: Mapping[str, Any]) -> bool:
        return client.get(payload["jti"]) is not None

    def revoke(jti: str) -> None:
        client.set(jti, "", ex=_LIFE)

    return Built(app, _theirs(app, is_revoked, revoke))


def _theirs(
    app: Flask,
    is_revoked: Callable[..., bool] | None = None,
    revoke: Callable[[str], None] | None = None,
) -> Callable[[str], Guarded]:
    manager = fje.JWTManager(app)
    if is_revoked is not None:
        manager.token_in_blocklist_loader(is_revoked)
    app.route("/")(fje.jwt_required()(answer))

    def mint(user: str, life: timedelta = _LIFE) -> str:
        # As many claims as ours, and about as long.
        epoch = f"123456.{1_700_000_000 * 10**6}"
        more = {"sid": "x" * 22, "auth_time": 1_700_000_000, "auth_epoch": epoch}
        made: str = fje.create_access_token(user, expires_delta=life, additional_claims=more)
        return made

    def guard(name: str) -> Guarded:
        with app.app_context():
            tokens = [mint(f"user{number}") for number in range(USERS)]
            expired = mint("user0", timedelta(minutes=-15))
            revoked: dict[str, str] = {}
            if revoke is not None:
                revoked["jti"] = mint("gone")
                revoke(fje.decode_token(revoked["jti"])["jti"])
        return Guarded(name, app, tokens, expired, revoked)

    return guard
