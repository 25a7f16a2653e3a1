"""The checks of ``flask authx doctor``, and their registry.

Each check is a function that yields its findings, listed in :data:`CHECKS` or :data:`APP_CHECKS`.
No finding contains the value of a key or a secret.
"""

from __future__ import annotations

import contextlib
import hmac
import importlib.metadata
import importlib.util
import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

from flask import Flask

from flask_authx import startup
from flask_authx.app.state import states
from flask_authx.enums import Location, OnError
from flask_authx.errors import BadConfigurationError
from flask_authx.guards.route_table import routes_of
from flask_authx.http.locations import longest_body
from flask_authx.sessions.revocations import Revocations
from flask_authx.settings.options import SAFE_METHODS
from flask_authx.stores.base import Risk, StoreError

from . import cookie_checks, route_checks
from .findings import Finding, Inspected, Level

Check: TypeAlias = Callable[[Inspected], Iterator[Finding]]
AppCheck: TypeAlias = Callable[[Flask], Iterator[Finding]]

#: The fix where a store doesn't permit the queries of the check.
_CHECK_YOURSELF = "make sure that the store is persistent and evicts nothing."


def configuration_problems(error: BadConfigurationError) -> Iterator[Finding]:
    """A finding for each problem of an error, about the setting with which its text begins."""
    for problem in error.problems:
        setting = re.match(r"[A-Z][A-Z0-9_]*_[A-Z0-9_*]+", problem)
        yield Finding(Level.ERROR, setting[0] if setting else "set-up", problem)


# The app


def _pyjwt(_: Flask) -> Iterator[Finding]:
    installed = importlib.metadata.version("PyJWT")
    if [int(part) for part in re.findall(r"\d+", installed)][:3] < [2, 15, 1]:
        yield Finding(
            Level.ERROR,
            "PyJWT",
            f"the installed version {installed} accepts some altered tokens.",
            "pip install 'PyJWT>=2.15.1'",
        )


def _async_views(app: Flask) -> Iterator[Finding]:
    if importlib.util.find_spec("asgiref") is not None:
        return
    if any(inspect.iscoroutinefunction(view) for view in app.view_functions.values()):
        yield Finding(
            Level.ERROR,
            "asgiref",
            "the app has async views, which Flask can't run without asgiref.",
            "pip install flask[async]",
        )


def _unguarded_views(app: Flask) -> Iterator[Finding]:
    unguarded = {
        (route.endpoint, method)
        for route in routes_of(app, states(app).values())
        if route.unguarded
        for method in route.methods
        if method not in SAFE_METHODS
    }
    if unguarded:
        yield Finding(
            Level.HINT,
            "routes",
            f"{_counted(len(unguarded), 'view')} without a guard may change data (POST, PUT, "
            "PATCH, DELETE or another method).",
            "list them with `flask authx routes --unguarded`; guard them, or mark those that need "
            "no token, such as the log-in, with @authx.public.",
        )


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


# One AuthX object


def _startup(inspected: Inspected) -> Iterator[Finding]:
    """The problems for which the app refuses to serve its first request."""
    problems = startup.problems_of(inspected.state)
    if problems:
        yield from configuration_problems(BadConfigurationError(problems))


def _revocation(inspected: Inspected) -> Iterator[Finding]:
    if not inspected.revocable and not inspected.settings.revocation_required:
        yield Finding(
            Level.WARNING,
            inspected.setting("REVOCATION_REQUIRED"),
            "there is neither a blocklist nor a revocation callback: no token can be revoked "
            "before it expires.",
            f"set {inspected.setting('BLOCKLIST')}, or register a callback with "
            "@authx.set_callback_token_blocklist. With "
            f"{inspected.setting('REVOCATION_REQUIRED')} = True the app refuses to serve "
            "without one of them.",
        )


def _blocklist(inspected: Inspected) -> Iterator[Finding]:
    """How the blocklist could lose or miss a revocation. Queries the store."""
    revocations = inspected.state.revocations
    if revocations is None:
        return
    try:
        risks = revocations.inspect_store(lambda: [*revocations.store.risks()])
    except StoreError:
        yield _unreadable_store(inspected, revocations)
        return
    yield from _risks(inspected, "BLOCKLIST", risks)


def _clocks(inspected: Inspected) -> Iterator[Finding]:
    """Whether the clock of this machine and that of the store differ."""
    revocations = inspected.state.revocations
    if revocations is None:
        return
    # A store that can't be read has been reported.
    with contextlib.suppress(StoreError):
        difference = revocations.clocks_differ()
        if difference is not None:
            yield Finding(
                Level.WARNING,
                inspected.setting("DECODE_LEEWAY"),
                f"{difference}: on other machines, tokens of this one may be too old or too new.",
                "synchronise both by NTP.",
            )


def _risks(inspected: Inspected, setting: str, risks: Iterable[Risk]) -> Iterator[Finding]:
    """A finding for each risk of a store. In debug and testing mode data need not last."""
    for risk in risks:
        level = Level.ERROR if risk.fatal else inspected.unless_development(Level.WARNING)
        yield Finding(level, inspected.setting(setting), risk.problem, risk.fix)


def _unreadable_store(inspected: Inspected, revocations: Revocations) -> Finding:
    """A blocklist whose configuration can't be read; look-ups may work all the same."""
    try:
        revocations.has_mark()
    except StoreError:
        return Finding(
            Level.ERROR,
            inspected.setting("BLOCKLIST"),
            "the blocklist can't be reached: guarded requests are answered with 503 (if "
            f"{inspected.setting('BLOCKLIST_ON_ERROR')} is 'accept', only those with refresh "
            "tokens). The log has the cause.",
            "start the store's server, or correct the setting.",
        )
    return Finding(
        Level.HINT,
        inspected.setting("BLOCKLIST"),
        "the blocklist works, but its configuration could not be checked. The log has the cause.",
        _CHECK_YOURSELF,
    )


def _session_store(inspected: Inspected) -> Iterator[Finding]:
    """How the session store could lose a session, except for the risks of the blocklist.

    Both are usually in one database, and :func:`_blocklist` has reported the risks of that.
    """
    sessions, revocations = inspected.state.sessions, inspected.state.revocations
    if sessions is None or revocations is None:
        return
    try:
        risks = sessions.inspect_store(lambda: [*sessions.store.risks()])
        of_blocklist = revocations.inspect_store(lambda: [*revocations.store.risks()])
    except StoreError:
        yield Finding(
            Level.HINT,
            inspected.setting("SESSIONS"),
            "the configuration of the session store could not be checked. The log has the cause.",
            _CHECK_YOURSELF,
        )
        return
    reported = {risk.fix for risk in of_blocklist}
    unreported = [risk for risk in risks if risk.fatal or risk.fix not in reported]
    yield from _risks(inspected, "SESSIONS", unreported)


def _blocklist_on_error(inspected: Inspected) -> Iterator[Finding]:
    if inspected.settings.blocklist_on_error is OnError.ACCEPT:
        yield Finding(
            Level.WARNING,
            inspected.setting("BLOCKLIST_ON_ERROR"),
            "while the blocklist fails, revoked access tokens are accepted.",
            "remove the setting, unless you accept that risk; each such request is logged.",
        )


def _signature_malleability(inspected: Inspected) -> Iterator[Finding]:
    callbacks = inspected.state.callbacks
    if callbacks.is_revoked is None or callbacks.revoked_takes_claims:
        return
    if any(key.algorithm.startswith("ES") for key in inspected.state.codec.keys.by_kid.values()):
        yield Finding(
            Level.WARNING,
            inspected.setting("ALGORITHM"),
            "the revocation callback receives only the raw token, and ECDSA signatures are "
            "malleable: the bearer of a token can change its signature into a second valid one, "
            "and a list of revoked raw tokens doesn't contain the changed token.",
            "let the callback take claims= and look up claims['jti'].",
        )


def _secret_reuse(inspected: Inspected) -> Iterator[Finding]:
    config: Any = inspected.app.config
    keys = inspected.state.codec.keys
    others: list[Any] = [config.get("SECRET_KEY"), *(config.get("SECRET_KEY_FALLBACKS") or ())]
    for key in keys.by_kid.values():
        if any(_equal(key.verifying, other) for other in others):
            yield Finding(
                Level.WARNING,
                inspected.setting("SECRET_KEY" if key is keys.current else "PREVIOUS_SECRET_KEY"),
                "it is the same as Flask's SECRET_KEY: a leak of one exposes both, and neither "
                "can be replaced alone.",
                "create a separate secret with `flask authx generate-key`.",
            )


def _equal(key: object, secret: object) -> bool:
    if isinstance(secret, str):
        secret = secret.encode("utf-8", "surrogatepass")
    if not isinstance(key, bytes) or not isinstance(secret, bytes):
        return False
    return hmac.compare_digest(key, secret)


def _previous_key(inspected: Inspected) -> Iterator[Finding]:
    if len(inspected.state.codec.keys.by_kid) > 1:
        yield Finding(
            Level.HINT,
            inspected.setting("PREVIOUS_*"),
            "tokens signed with the previous key are still accepted.",
            f"remove it {_duration(inspected.settings.refresh_token_expires)} "
            f"({inspected.setting('REFRESH_TOKEN_EXPIRES')}) after the change of keys, when all "
            "those tokens have expired.",
        )


def _weak_previous_secret(inspected: Inspected) -> Iterator[Finding]:
    if inspected.settings.previous_weak_until is None:
        return
    setting, weak = inspected.setting("PREVIOUS_WEAK_UNTIL"), inspected.state.codec.keys.weak
    if weak is None:
        yield Finding(
            Level.WARNING,
            setting,
            "it is past: the previous secret verifies no tokens.",
            f"remove it and {inspected.setting('PREVIOUS_SECRET_KEY')}.",
        )
    else:
        yield Finding(Level.ERROR, setting, weak.warning)


def _issuer_and_audience(inspected: Inspected) -> Iterator[Finding]:
    settings, prefix = inspected.settings, inspected.settings.prefix
    if not settings.algorithm.symmetric and settings.issuer is None and not settings.audiences:
        yield Finding(
            Level.HINT,
            inspected.setting("DECODE_ISSUER"),
            "tokens have neither an issuer nor an audience: if several services use the key pair, "
            "each accepts tokens that were meant for another.",
            f"set {prefix}ENCODE_ISSUER and {prefix}ENCODE_AUDIENCE where tokens are created, "
            f"{prefix}DECODE_ISSUER and {prefix}DECODE_AUDIENCE where they are only verified.",
        )


def _own_tokens(inspected: Inspected) -> Iterator[Finding]:
    """Whether the app refuses every token that it creates."""
    settings = inspected.settings
    if inspected.state.codec.keys.current.signing is None:
        return
    for claim, refused in {
        "ISSUER": settings.issuer != settings.encode_issuer,
        "AUDIENCE": bool(settings.audiences)
        and settings.audiences.isdisjoint(settings.encoded_audiences),
    }.items():
        if refused:
            yield Finding(
                Level.WARNING,
                inspected.setting(f"DECODE_{claim}"),
                f"the app refuses the tokens that it creates: their {claim.lower()} is another "
                "one. Log-ins succeed, and neither a request nor a refresh does.",
                f"set {inspected.setting(f'ENCODE_{claim}')} to the same, unless the tokens are "
                "all for other services.",
            )


def _access_token_lifetime(inspected: Inspected) -> Iterator[Finding]:
    lifetime = inspected.settings.access_token_expires
    if lifetime > 3600 and not inspected.revocable:
        yield Finding(
            Level.WARNING,
            inspected.setting("ACCESS_TOKEN_EXPIRES"),
            f"access tokens are valid for {_duration(lifetime)} and can't be revoked: a stolen "
            "token works until it expires.",
            f"shorten it to about 15 minutes, or set {inspected.setting('BLOCKLIST')}.",
        )


def _leeway(inspected: Inspected) -> Iterator[Finding]:
    leeway = inspected.settings.decode_leeway
    if leeway > 60:
        yield Finding(
            Level.WARNING,
            inspected.setting("DECODE_LEEWAY"),
            f"tokens are accepted for {_duration(leeway)} after they have expired.",
            "synchronise the clocks by NTP, and set the leeway to at most 60 seconds.",
        )


def _untyped_tokens(inspected: Inspected) -> Iterator[Finding]:
    if inspected.settings.accept_untyped:
        yield Finding(
            Level.HINT,
            inspected.setting("ACCEPT_UNTYPED"),
            "tokens of Flask-JWT-Extended and AuthX are accepted, which is meant for a migration.",
            "remove the setting once the last of these tokens has expired.",
        )


def _signature_cache(inspected: Inspected) -> Iterator[Finding]:
    if inspected.settings.cache_size == 0:
        yield Finding(
            Level.HINT,
            inspected.setting("CACHE_SIZE"),
            "the cache of verified signatures is off: each request verifies its signature again.",
            "remove the setting: the cache skips no check of revocation or expiry.",
        )


def _refresh_token_rotation(inspected: Inspected) -> Iterator[Finding]:
    """Whether reuse of a stolen refresh token is detected, without false alarms."""
    settings = inspected.settings
    if inspected.state.sessions is not None:
        if settings.refresh_grace == 0:
            yield Finding(
                Level.HINT,
                inspected.setting("REFRESH_GRACE"),
                "if two tabs refresh at once or a response is lost, the session is revoked as if "
                "the refresh token had been stolen.",
                "set it to a few seconds.",
            )
    elif inspected.guards_refresh_tokens:
        yield Finding(
            Level.HINT,
            inspected.setting("SESSIONS"),
            "refresh tokens are not rotated: a copied one works until it expires, and its use is "
            "not detected.",
            f"set it to True along with {inspected.setting('BLOCKLIST')}, and use authx.login() "
            "and authx.refresh().",
        )


# Where tokens are looked for


def _headers(inspected: Inspected) -> Iterator[Finding]:
    if Location.HEADERS in inspected.locations:
        header = inspected.settings.header_name
        sent = f"{header}: {inspected.settings.header_type}".rstrip() + " x.x.x"
        yield Finding(
            Level.HINT,
            inspected.setting("HEADER_NAME"),
            f"a proxy or server in front of the app may remove the {header} header.",
            f"once deployed, send the header `{sent}` to a guarded view: the response must say "
            "JWTDecodeError. If it says MissingTokenError, the header was removed (Apache needs "
            "CGIPassAuth On or WSGIPassAuthorization On).",
        )


def _json_bodies(inspected: Inspected) -> Iterator[Finding]:
    if Location.JSON in inspected.locations and not inspected.app.config["MAX_CONTENT_LENGTH"]:
        yield Finding(
            Level.HINT,
            "MAX_CONTENT_LENGTH",
            "nothing limits the bodies that views read. Before a request is authenticated, no more "
            f"than {longest_body(inspected.settings)} bytes of its JSON body are read.",
            'set app.config["MAX_CONTENT_LENGTH"] to the longest body that a view needs, in bytes.',
        )


def _query_string(inspected: Inspected) -> Iterator[Finding]:
    if Location.QUERY in inspected.locations:
        yield Finding(
            Level.WARNING,
            inspected.setting("TOKEN_LOCATION"),
            "tokens are accepted in the query string, and URLs end up in logs, browser histories "
            "and Referer headers (RFC 6750 section 5.3).",
            "remove query; if a view needs it, allow it for that view alone and create tokens for "
            "it that expire after seconds.",
        )


def _duration(seconds: int) -> str:
    for unit, name in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= unit and seconds % unit == 0:
            return _counted(seconds // unit, name)
    return _counted(seconds, "second")


#: The checks of the whole app, by the names that the report shows.
APP_CHECKS: dict[str, AppCheck] = {
    "PyJWT": _pyjwt,
    "async views": _async_views,
    "unguarded views": _unguarded_views,
    "functions around guards": route_checks.functions_around_guards,
    "shared issuer": route_checks.shared_issuer,
}
#: The checks of each ``AuthX`` object.
CHECKS: dict[str, Check] = {
    "startup": _startup,
    "revocation": _revocation,
    "blocklist": _blocklist,
    "clocks": _clocks,
    "blocklist on error": _blocklist_on_error,
    "signature malleability": _signature_malleability,
    "secret reuse": _secret_reuse,
    "previous key": _previous_key,
    "weak previous secret": _weak_previous_secret,
    "issuer and audience": _issuer_and_audience,
    "own tokens": _own_tokens,
    "access token lifetime": _access_token_lifetime,
    "leeway": _leeway,
    "untyped tokens": _untyped_tokens,
    "signature cache": _signature_cache,
    "headers": _headers,
    "JSON bodies": _json_bodies,
    "query string": _query_string,
    "CSRF": cookie_checks.csrf,
    "cookie names": cookie_checks.names,
    "secure cookies": cookie_checks.secure,
    "companion cookie": cookie_checks.companion,
    "refresh token rotation": _refresh_token_rotation,
    "session store": _session_store,
    "refresh cookie path": cookie_checks.refresh_path,
    "Flask-SocketIO": route_checks.socketio,
}
