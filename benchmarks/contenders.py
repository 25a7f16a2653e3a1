"""The contenders: small apps that do the same work, each as its own documentation shows it.

All views answer the same two bytes, the tokens of a comparison carry equally many claims,
and a bare route gets the very
request of the guarded ones, so that what is left between two of them is the guard.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import flask_jwt_extended
import jwt
from flask import Flask, abort, request

from flask_authx import AuthX

from .acceptance import Contender, Credentials, Endpoint, Minting
from .keys import KeyPair

#: Its signatures have types in part only.
fje: Any = flask_jwt_extended

BARE, BARE_POST = "bare route, GET", "bare route, POST"
PYJWT = "PyJWT in the view, prepared key"
FJE = "Flask-JWT-Extended"
SEEN = "ours, token seen before"
UNSEEN = "ours, cache off"
CALLBACK = "ours, revocation callback"
FJE_COOKIE = "Flask-JWT-Extended, cookie, CSRF, POST"
COOKIE = "ours, cookie, CSRF, POST"
PYJWT_MINT = "PyJWT encode, prepared key"
FJE_MINT = "Flask-JWT-Extended create_access_token"
MINT = "ours create_access_token"

#: With these beside its own eight, Flask-JWT-Extended's tokens have as many claims as ours, and are
#: about as long. Ours have a ``csrf`` only where cookies are used, so there it takes one more.
_MORE = {"sid": "x" * 22, "auth_time": 1_700_000_000}
_MORE_IN_COOKIE = {**_MORE, "auth_us": 999_999}
_UID = "ann"


def contenders(keys: KeyPair) -> Iterator[Contender]:
    """All contenders for one algorithm."""
    ours, theirs = _ours(keys), _fje(keys)
    yield Endpoint(BARE, _bare(), ours.credentials, guarded=False)
    yield Endpoint(PYJWT, _pyjwt(keys), _by_hand(keys))
    yield Endpoint(FJE, theirs.app, theirs.credentials)
    yield Endpoint(SEEN, ours.app, ours.credentials)
    unseen = _ours(keys, JWT_CACHE_SIZE=0)
    yield Endpoint(UNSEEN, unseen.app, unseen.credentials)
    asked = _ours(keys)
    asked.authx.set_callback_token_blocklist(_never_revoked)
    yield Endpoint(CALLBACK, asked.app, asked.credentials)
    cookie = _ours(keys, JWT_TOKEN_LOCATION=["cookies"])
    their_cookie = _fje(keys, JWT_TOKEN_LOCATION=["cookies"])
    yield Endpoint(BARE_POST, _bare(), cookie.credentials, guarded=False)
    yield Endpoint(FJE_COOKIE, their_cookie.app, their_cookie.credentials)
    yield Endpoint(COOKIE, cookie.app, cookie.credentials)
    payload, headers = _said_by(ours.credentials.good)
    yield Minting(
        PYJWT_MINT, keys, lambda: jwt.encode(payload, keys.signing, keys.algorithm, headers)
    )
    yield Minting(
        FJE_MINT,
        keys,
        lambda: fje.create_access_token(_UID, additional_claims=_MORE),
        theirs.app.app_context,
    )
    yield Minting(MINT, keys, lambda: ours.authx.create_access_token(_UID), ours.app.app_context)


def _never_revoked(_token: str) -> bool:
    return False


def _answer() -> str:
    return "ok"


def _bare() -> Flask:
    app = Flask("bare")
    app.route("/", methods=["GET", "POST"])(_answer)
    return app


def _pyjwt(keys: KeyPair) -> Flask:
    app = Flask("by-hand")

    @app.get("/")
    def view() -> str:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer":
            abort(401)
        try:
            jwt.decode(
                token, keys.verifying, algorithms=[keys.algorithm], options={"require": ["exp"]}
            )
        except jwt.InvalidTokenError:
            abort(401)
        return "ok"

    return app


def _by_hand(keys: KeyPair) -> Credentials:
    """Tokens that say what ours say, signed by PyJWT."""
    ours = _ours(keys).credentials
    good, expired = (
        jwt.encode(payload, keys.signing, keys.algorithm, headers)
        for payload, headers in map(_said_by, (ours.good, ours.expired))
    )
    return Credentials(good, expired)


def _said_by(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The claims and the further header parameters of a token."""
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    headers = jwt.get_unverified_header(token)
    return claims, {name: headers[name] for name in ("kid", "typ")}


def _app(name: str, keys: KeyPair, settings: Mapping[str, object]) -> Flask:
    app = Flask(name)
    for key, value in {**keys.config, **settings}.items():
        app.config[key] = value
    return app


@dataclass(frozen=True)
class _Ours:
    app: Flask
    authx: AuthX
    credentials: Credentials


def _ours(keys: KeyPair, **settings: object) -> _Ours:
    app = _app("ours", keys, settings)
    authx = AuthX(app)
    app.route("/", methods=["GET", "POST"])(authx.token_required(_answer))
    with app.app_context():
        good = authx.create_access_token(_UID)
        csrf = authx.decode_token(good).csrf
    yesterday = _app("ours", keys, settings)
    earlier = AuthX(yesterday, clock=lambda: time.time() - 86400)
    with yesterday.app_context():
        expired = earlier.create_access_token(_UID)
    cookie = "__Host-access_token" if "JWT_TOKEN_LOCATION" in settings else None
    return _Ours(app, authx, Credentials(good, expired, cookie, csrf))


@dataclass(frozen=True)
class _Theirs:
    app: Flask
    credentials: Credentials


def _fje(keys: KeyPair, **settings: object) -> _Theirs:
    app = _app("theirs", keys, settings)
    fje.JWTManager(app)
    app.route("/", methods=["GET", "POST"])(fje.jwt_required()(_answer))
    cookie = "access_token_cookie" if "JWT_TOKEN_LOCATION" in settings else None
    more = _MORE_IN_COOKIE if cookie else _MORE
    with app.app_context():
        good, expired = (
            fje.create_access_token(_UID, expires_delta=life, additional_claims=more)
            for life in (timedelta(minutes=15), timedelta(minutes=-15))
        )
        csrf = fje.get_csrf_token(good) if cookie else None
    return _Theirs(app, Credentials(good, expired, cookie, csrf))
