"""Building the state of one app from its settings, keys and stores."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from flask import Flask

from flask_authx.errors import (
    BadConfigurationError,
    JWTDecodeError,
    TokenInvalidAudienceError,
    TokenInvalidIssuerError,
)
from flask_authx.http import cookies
from flask_authx.http.callbacks import Callbacks
from flask_authx.http.verifier import Verifier
from flask_authx.keys.loading import load_keys
from flask_authx.keys.ring import KeyRing
from flask_authx.sessions.readiness import Checkable, ReadinessCheck
from flask_authx.sessions.revocations import AuditTrail, Revocations
from flask_authx.sessions.rotation import Sessions
from flask_authx.settings.options import Settings
from flask_authx.settings.reading import read_settings
from flask_authx.signals import Announcer
from flask_authx.stores.base import MICROSECONDS
from flask_authx.stores.blocklist import Blocklist
from flask_authx.stores.lookup_keys import LookupKeys
from flask_authx.tokens.codec import Codec
from flask_authx.tokens.new_token import SessionClaims, TokenCreator, TokenOptions

from .async_callbacks import make_wait
from .state import AppState
from .stores import open_blocklist, open_sessions, open_trail

T = TypeVar("T")


def build_state(
    app: Flask, callbacks: Callbacks, clock: Callable[[], float], ids: Callable[[], str]
) -> AppState:
    """The state of one ``AuthX`` object on one app, from the app's settings.

    :param clock: seconds since 1970-01-01 UTC.
    :raises BadConfigurationError: with every problem of settings, keys and stores.
    """
    prefix = "JWT_" if callbacks.name == "authx" else f"{callbacks.name.upper()}_JWT_"
    announcer = Announcer(app, callbacks.name)
    settings, keys, stores = _configure(app, callbacks, prefix, clock, announcer)
    problems = [*_unusable_tokens(settings, keys, clock)]
    if problems:
        raise BadConfigurationError(problems)
    revocations = _revocations(settings, callbacks.name, stores, clock, announcer)
    # What the app sends as JSON it can also put into a token: dates, UUIDs, Decimals ...
    codec = Codec(settings, keys, lambda value: json.loads(app.json.dumps(value)))
    wait = make_wait(app)
    verifier = Verifier(
        settings, codec, callbacks, revocations, sessions=stores.sessions, clock=clock, wait=wait
    )
    return AppState(
        app=app,
        callbacks=callbacks,
        settings=settings,
        codec=codec,
        verifier=verifier,
        creator=TokenCreator(settings, codec, clock, ids),
        revocations=revocations,
        sessions=stores.sessions,
        trail=stores.trail,
        announcer=announcer,
        ready=_readiness_check(revocations, stores),
        clock=clock,
        wait=wait,
        initial_config=snapshot(app, prefix),
    )


@dataclass(slots=True)
class _Stores:
    blocklist: Blocklist | None = None
    sessions: Sessions | None = None
    trail: AuditTrail | None = None


def _revocations(
    settings: Settings,
    name: str,
    stores: _Stores,
    clock: Callable[[], float],
    announcer: Announcer,
) -> Revocations | None:
    if stores.blocklist is None:
        return None
    return Revocations(
        stores.blocklist,
        settings,
        name,
        lookup_keys=LookupKeys(settings.issuer, settings.scope_name(name)),
        clock=clock,
        sessions=stores.sessions,
        trail=stores.trail,
        announcer=announcer,
    )


def _readiness_check(revocations: Revocations | None, stores: _Stores) -> ReadinessCheck:
    named: dict[str, Checkable | None] = {
        "revocations": revocations,
        "sessions": stores.sessions,
        "audit records": stores.trail,
    }
    return ReadinessCheck({name: store for name, store in named.items() if store is not None})


def _configure(
    app: Flask, callbacks: Callbacks, prefix: str, clock: Callable[[], float], announcer: Announcer
) -> tuple[Settings, KeyRing, _Stores]:
    """The settings, keys and stores of an app. All problems are reported together."""
    settings, problems = read_settings(app.config, prefix, callbacks.name)
    problems += cookies.unsupported_settings(settings)
    if prefix != "JWT_" and not snapshot(app, prefix):
        problems.append(
            f"{prefix}*: the settings of AuthX(name={callbacks.name!r}) begin with {prefix}, and "
            "there is none."
        )

    def collect(make: Callable[[], T]) -> T | None:
        try:
            return make()
        except BadConfigurationError as error:
            problems.extend(one for one in error.problems if one not in problems)
        return None

    keys = collect(lambda: load_keys(settings, clock))
    stores = _Stores()
    before = len(problems)
    stores.blocklist = collect(lambda: open_blocklist(app, callbacks, settings, clock))
    if len(problems) == before:
        # One setting names both stores: its problem is not reported twice.
        stores.sessions = collect(lambda: open_sessions(app, callbacks, settings, clock, announcer))
    stores.trail = collect(lambda: open_trail(app, callbacks, settings, clock, announcer))
    if problems or keys is None:
        raise BadConfigurationError(problems)
    return settings, keys, stores


def _unusable_tokens(
    settings: Settings, keys: KeyRing, clock: Callable[[], float]
) -> Iterator[str]:
    """Why each log-in would fail, if so: the settings make tokens too long, or unreadable.

    A token of each type is created and read for it, and then dropped.
    """
    if keys.current.signing is None:
        return
    prefix, codec = settings.prefix, Codec(settings, keys)
    creator = TokenCreator(settings, codec, clock, lambda: "0" * 22)
    session = SessionClaims(uid="0", sid="0" * 22, began=int(clock()) * MICROSECONDS, generation=0)
    for kind, profile in settings.profiles.items():
        try:
            token = creator.create(
                kind, session, TokenOptions(), {}, for_cookies=settings.uses_cookies
            ).token
            if settings.uses_cookies:
                cookies.check_size(profile, token)
            codec.decode(token, clock())
        except ValueError as error:
            yield (
                f"{prefix}*: no {kind} token could be created: {error}. The key id, issuer, "
                "audience and names of claims in the settings are a part of each token."
            )
        except (TokenInvalidIssuerError, TokenInvalidAudienceError):
            # It is meant for other services: the check-up says so.
            pass
        except JWTDecodeError as error:
            yield f"{prefix}*: each {kind} token of the app would be refused: {error.reason}."


def snapshot(app: Flask, prefix: str) -> dict[str, Any]:
    """The app's settings of that prefix. Those that can be changed in place are copied."""
    config = cast("dict[str, Any]", app.config)
    return {
        key: copy.copy(value) if type(value) in (list, set, dict) else value
        for key, value in config.items()
        if key.startswith(prefix)
    }
