"""From settings, keys and stores to the state of one app."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, TypeVar, cast

from flask import Flask

from flask_authx.errors import BadConfigurationError
from flask_authx.http import cookies
from flask_authx.http.callbacks import Callbacks
from flask_authx.http.verifier import Verifier
from flask_authx.keys.loading import load_keys
from flask_authx.sessions.revocations import Revocations
from flask_authx.settings.reading import read_settings
from flask_authx.signals import Announcer
from flask_authx.stores.lookup_keys import LookupKeys
from flask_authx.tokens.codec import Codec
from flask_authx.tokens.create import TokenCreator

from .awaiting import wait_in
from .state import AppState
from .stores import open_blocklist, open_sessions, open_trail

T = TypeVar("T")


def build_state(
    app: Flask, callbacks: Callbacks, clock: Callable[[], float], ids: Callable[[], str]
) -> AppState:
    """The state of one ``AuthX`` object on one app, from the app's settings.

    :param clock: seconds since 1970-01-01 UTC.
    :raises BadConfigurationError: with all that is wrong with settings, keys and stores.
    """
    prefix = "JWT_" if callbacks.name == "authx" else f"{callbacks.name.upper()}_JWT_"
    settings, problems = read_settings(app.config, prefix)
    problems += cookies.problems_with(settings)

    def collect(make: Callable[[], T]) -> T | None:
        try:
            return make()
        except BadConfigurationError as error:
            problems.extend(one for one in error.problems if one not in problems)
        return None

    keys = collect(lambda: load_keys(settings))
    before = len(problems)
    blocklist = collect(lambda: open_blocklist(app, callbacks, settings, clock))
    sessions = None
    if len(problems) == before:
        # The same setting names both stores.
        sessions = collect(lambda: open_sessions(app, callbacks, settings, clock))
    trail = collect(lambda: open_trail(app, callbacks, settings))
    if problems or keys is None:
        raise BadConfigurationError(problems)
    announcer = Announcer(app, callbacks.name)
    revocations = None
    if blocklist is not None:
        revocations = Revocations(
            blocklist,
            settings,
            callbacks.name,
            lookup_keys=LookupKeys(settings.issuer, callbacks.name),
            clock=clock,
            sessions=sessions,
            trail=trail,
            announcer=announcer,
        )
    codec, wait = Codec(settings, keys), wait_in(app)
    return AppState(
        app=app,
        callbacks=callbacks,
        settings=settings,
        codec=codec,
        verifier=Verifier(
            settings, codec, callbacks, revocations, sessions=sessions, clock=clock, wait=wait
        ),
        creator=TokenCreator(settings, codec, clock, ids),
        revocations=revocations,
        sessions=sessions,
        trail=trail,
        announcer=announcer,
        clock=clock,
        wait=wait,
        seen=snapshot(app, prefix),
    )


def snapshot(app: Flask, prefix: str) -> dict[str, Any]:
    """The app's settings of that prefix, copied as far as they can be changed in place."""
    config = cast("dict[str, Any]", app.config)
    return {
        key: copy.copy(value) if type(value) in (list, set, dict) else value
        for key, value in config.items()
        if key.startswith(prefix)
    }
