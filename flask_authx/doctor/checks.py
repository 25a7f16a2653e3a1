"""What can be risky, missing or left over in an app's settings and surroundings.

Every check is a small function that yields its findings, and an entry in :data:`CHECKS` or
:data:`APP_CHECKS`. No finding holds the value of a key or a secret.
"""

from __future__ import annotations

import hmac
import importlib.util
import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from flask import Flask

from flask_authx import startup
from flask_authx.app.state import states
from flask_authx.enums import Location, OnError
from flask_authx.errors import BadConfigurationError
from flask_authx.guards.routes import routes_of
from flask_authx.sessions.revocations import Revocations
from flask_authx.settings.options import SAFE_METHODS
from flask_authx.stores.base import StoreError

from . import cookie_checks
from .findings import Finding, Level, Subject

Check: TypeAlias = Callable[[Subject], Iterator[Finding]]
AppCheck: TypeAlias = Callable[[Flask], Iterator[Finding]]


def broken(error: BadConfigurationError) -> Iterator[Finding]:
    """What an app could not be set up for."""
    for problem in error.problems:
        named = re.match(r"[A-Z][A-Z0-9_]*_[A-Z0-9_*]+", problem)
        yield Finding(Level.ERROR, named[0] if named else "set-up", problem)


# The app


def _pyjwt(_: Flask) -> Iterator[Finding]:
    installed = importlib.metadata.version("PyJWT")
    if [int(part) for part in re.findall(r"\d+", installed)][:3] < [2, 15, 1]:
        yield Finding(
            Level.ERROR,
            "PyJWT",
            f"version {installed} is installed, which accepts some altered tokens.",
            "pip install 'PyJWT>=2.15.1'",
        )


def _async_views(app: Flask) -> Iterator[Finding]:
    if importlib.util.find_spec("asgiref") is not None:
        return
    if any(inspect.iscoroutinefunction(view) for view in app.view_functions.values()):
        yield Finding(
            Level.ERROR,
            "asgiref",
            "the app has async views and can't run them.",
            "pip install flask[async]",
        )


def _open_views(app: Flask) -> Iterator[Finding]:
    changing = {
        (route.endpoint, method)
        for route in routes_of(app, states(app).values())
        if route.unguarded
        for method in route.methods
        if method not in SAFE_METHODS
    }
    if changing:
        yield Finding(
            Level.HINT,
            "routes",
            f"nobody guards {_counted(len(changing), 'view')} that may change something: "
            "POST, PUT, PATCH, DELETE and the like.",
            "list them with `flask authx routes --unguarded`; guard them, or mark those that are "
            "meant to be open, such as the log-in, with @authx.public.",
        )


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


# One AuthX object


def _start(subject: Subject) -> Iterator[Finding]:
    """All for which the app would refuse to serve its first request."""
    problems = startup.problems_of(subject.state)
    if problems:
        yield from broken(BadConfigurationError(problems))


def _revocation(subject: Subject) -> Iterator[Finding]:
    if not subject.revocable and not subject.settings.revocation_required:
        yield Finding(
            Level.WARNING,
            subject.setting("REVOCATION_REQUIRED"),
            "there is neither a store of revocations nor a revocation callback: no token can be "
            "taken back before it expires.",
            f"set {subject.setting('BLOCKLIST')}, or register a callback with "
            "@authx.set_callback_token_blocklist; with "
            f"{subject.setting('REVOCATION_REQUIRED')} = True the app never serves without.",
        )


def _store(subject: Subject) -> Iterator[Finding]:
    """How the store could lose or miss a revocation. Here it is asked, as the only one."""
    revocations = subject.state.revocations
    if revocations is None:
        return
    # In debug and testing nothing has to last.
    level = Level.HINT if subject.app.debug or subject.app.testing else Level.WARNING
    try:
        risks = revocations.inspect_store(lambda: [*revocations.store.risks()])
    except StoreError:
        yield _speechless(subject, revocations)
        return
    for risk in risks:
        how_bad = Level.ERROR if risk.fatal else level
        yield Finding(how_bad, subject.setting("BLOCKLIST"), risk.problem, risk.fix)


def _speechless(subject: Subject, revocations: Revocations) -> Finding:
    """A store that doesn't say how it is set up. It may still do what it is for."""
    try:
        revocations.earliest_login("anybody")
    except StoreError:
        return Finding(
            Level.ERROR,
            subject.setting("BLOCKLIST"),
            "the store of revocations can't be reached: every guarded request is answered with "
            "503. What it said is in the log.",
            "start it, or correct the setting.",
        )
    return Finding(
        Level.HINT,
        subject.setting("BLOCKLIST"),
        "the store of revocations works, and can't say how it is set up. Why is in the log.",
        "see for yourself that it lasts and evicts nothing.",
    )


def _open_store(subject: Subject) -> Iterator[Finding]:
    if subject.settings.blocklist_on_error is OnError.ACCEPT:
        yield Finding(
            Level.WARNING,
            subject.setting("BLOCKLIST_ON_ERROR"),
            "while the store of revocations fails, revoked access tokens are accepted.",
            "remove the setting, unless that is what you want: each such request is logged.",
        )


def _twin_signatures(subject: Subject) -> Iterator[Finding]:
    callbacks = subject.state.callbacks
    if callbacks.revoked is None or callbacks.revoked_takes_claims:
        return
    if any(key.algorithm.startswith("ES") for key in subject.state.codec.keys.by_kid.values()):
        yield Finding(
            Level.WARNING,
            subject.setting("ALGORITHM"),
            "the revocation callback sees only the raw token, and an ES signature has a second "
            "spelling that is just as good: a list of raw tokens doesn't know a revoked one by it.",
            "let the callback take claims= and look for claims['jti'].",
        )


def _shared_secret(subject: Subject) -> Iterator[Finding]:
    config: Any = subject.app.config
    keys = subject.state.codec.keys
    others: list[Any] = [config.get("SECRET_KEY"), *(config.get("SECRET_KEY_FALLBACKS") or ())]
    for key in keys.by_kid.values():
        if any(_same(key.verifying, other) for other in others):
            yield Finding(
                Level.WARNING,
                subject.setting("SECRET_KEY" if key is keys.current else "PREVIOUS_SECRET_KEY"),
                "it is the same as Flask's SECRET_KEY: whoever learns one has both, and neither "
                "can be changed alone.",
                "make one of its own with `flask authx generate-key`.",
            )


def _same(key: object, secret: object) -> bool:
    if isinstance(secret, str):
        secret = secret.encode("utf-8", "surrogatepass")
    if not isinstance(key, bytes) or not isinstance(secret, bytes):
        return False
    return hmac.compare_digest(key, secret)


def _previous_key(subject: Subject) -> Iterator[Finding]:
    if len(subject.state.codec.keys.by_kid) > 1:
        yield Finding(
            Level.HINT,
            subject.setting("PREVIOUS_*"),
            "tokens of the previous key are still accepted.",
            f"remove it {_span(subject.settings.refresh_token_expires)} "
            f"({subject.setting('REFRESH_TOKEN_EXPIRES')}) after the change of keys: "
            "all its tokens have expired then.",
        )


def _claims_of_origin(subject: Subject) -> Iterator[Finding]:
    settings = subject.settings
    if not settings.algorithm.symmetric and settings.issuer is None and not settings.audiences:
        yield Finding(
            Level.HINT,
            subject.setting("DECODE_ISSUER"),
            "tokens name neither issuer nor audience: if services share the key pair, each accepts "
            "what was meant for another.",
            "set {0}ENCODE_ISSUER and {0}ENCODE_AUDIENCE where tokens are minted, {0}DECODE_ISSUER "
            "and {0}DECODE_AUDIENCE where they are only verified.".format(subject.setting("")),
        )


def _lifetimes(subject: Subject) -> Iterator[Finding]:
    lifetime = subject.settings.access_token_expires
    if lifetime > 3600 and not subject.revocable:
        yield Finding(
            Level.WARNING,
            subject.setting("ACCESS_TOKEN_EXPIRES"),
            f"an access token lives for {_span(lifetime)}, and none can be taken back: a stolen "
            "one works for so long.",
            f"shorten it to 15 minutes or so, or set {subject.setting('BLOCKLIST')}.",
        )


def _leeway(subject: Subject) -> Iterator[Finding]:
    leeway = subject.settings.decode_leeway
    if leeway > 60:
        yield Finding(
            Level.WARNING,
            subject.setting("DECODE_LEEWAY"),
            f"every token is accepted for {_span(leeway)} after it has expired.",
            "set the machines' clocks by NTP and the leeway to 60 seconds at most.",
        )


def _untyped(subject: Subject) -> Iterator[Finding]:
    if subject.settings.accept_untyped:
        yield Finding(
            Level.HINT,
            subject.setting("ACCEPT_UNTYPED"),
            "tokens of Flask-JWT-Extended and AuthX are accepted, which is meant for a migration.",
            "remove it once the last of them has expired.",
        )


def _cache(subject: Subject) -> Iterator[Finding]:
    if subject.settings.cache_size == 0:
        yield Finding(
            Level.HINT,
            subject.setting("CACHE_SIZE"),
            "the cache of verified signatures is off: each request verifies its token anew.",
            "remove the setting: revocation and expiry are judged each time with the cache, too.",
        )


# Where tokens are looked for


def _headers(subject: Subject) -> Iterator[Finding]:
    if Location.HEADERS in subject.locations:
        header = subject.settings.header_name
        sent = f"{header}: {subject.settings.header_type}".rstrip() + " x.x.x"
        yield Finding(
            Level.HINT,
            subject.setting("HEADER_NAME"),
            f"a proxy or server in front of the app may take the {header} header away.",
            f"once deployed, send a guarded view the header `{sent}`: the answer must say "
            "JWTDecodeError. If it says MissingTokenError, the header was lost on the way "
            "(Apache needs CGIPassAuth On or WSGIPassAuthorization On).",
        )


def _query(subject: Subject) -> Iterator[Finding]:
    if Location.QUERY in subject.locations:
        yield Finding(
            Level.WARNING,
            subject.setting("TOKEN_LOCATION"),
            "tokens are taken from the query string: URLs end up in logs, histories and Referer "
            "headers (RFC 6750 section 5.3).",
            "remove query; where nothing else will do, name it on that one view and mint tokens "
            "for it that live for seconds.",
        )


def _span(seconds: int) -> str:
    for unit, name in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= unit and seconds % unit == 0:
            return _counted(seconds // unit, name)
    return _counted(seconds, "second")


#: The checks of the app as a whole.
APP_CHECKS: dict[str, AppCheck] = {
    "PyJWT": _pyjwt,
    "async views": _async_views,
    "open views": _open_views,
}
#: The checks of each ``AuthX`` object.
CHECKS: dict[str, Check] = {
    "start": _start,
    "revocation": _revocation,
    "store": _store,
    "failing store": _open_store,
    "twin signatures": _twin_signatures,
    "shared secret": _shared_secret,
    "previous key": _previous_key,
    "issuer and audience": _claims_of_origin,
    "lifetimes": _lifetimes,
    "leeway": _leeway,
    "untyped tokens": _untyped,
    "cache": _cache,
    "headers": _headers,
    "query": _query,
    "CSRF": cookie_checks.csrf,
    "cookie names": cookie_checks.names,
    "plain http": cookie_checks.secure,
    "rotation": cookie_checks.rotation,
    "store of logins": cookie_checks.session_store,
    "refresh path": cookie_checks.refresh_path,
}
