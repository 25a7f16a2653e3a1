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
from flask_authx.settings.reading import read_settings
from flask_authx.tokens.codec import Codec
from flask_authx.tokens.create import TokenCreator
from flask_authx.tokens.token import Token

from .state import AppState
from .stores import open_revocations, open_sessions, open_trail

T = TypeVar("T")


def build_state(
    app: Flask,
    callbacks: Callbacks,
    clock: Callable[[], float],
    ids: Callable[[], str],
    end_reused: Callable[[AppState, Token], None],
) -> AppState:
    """The state of one ``AuthX`` object on one app, from the app's settings.

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
    sessions = None
    revocations = collect(lambda: open_revocations(app, callbacks, settings, clock))
    if len(problems) == before:
        # The same setting names both stores.
        sessions = collect(lambda: open_sessions(app, callbacks, settings, clock))
    trail = collect(lambda: open_trail(app, callbacks, settings))
    if problems or keys is None:
        raise BadConfigurationError(problems)
    codec = Codec(settings, keys)
    return AppState(
        app=app,
        callbacks=callbacks,
        settings=settings,
        codec=codec,
        verifier=Verifier(settings, codec, callbacks, revocations, sessions=sessions, clock=clock),
        creator=TokenCreator(settings, codec, clock, ids),
        revocations=revocations,
        sessions=sessions,
        trail=trail,
        end_reused=end_reused,
        clock=clock,
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
