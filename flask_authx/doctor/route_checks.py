"""The checks of ``flask authx doctor`` for what an app's guards do not cover."""

from __future__ import annotations

from collections.abc import Iterator

from flask import Flask

from flask_authx import startup
from flask_authx.app.state import states
from flask_authx.guards.route_table import routes_of

from .findings import Finding, Inspected, Level


def functions_around_guards(app: Flask) -> Iterator[Finding]:
    """Functions around guards: a cache among them responds without its guard."""
    names = {name for route in routes_of(app, states(app).values()) for name in route.around_guards}
    if names:
        yield Finding(
            Level.HINT,
            "routes",
            f"around the guards of views are {', '.join(sorted(names))}. A cache there sends one "
            "user's response to another user, and to clients without a token unless the app or "
            "blueprint is protected.",
            "list the views with `flask authx routes`; put caches below the guard and "
            "current_token.sub into their keys.",
        )


def shared_issuer(app: Flask) -> Iterator[Finding]:
    """Objects with one issuer: by issuer and subject their users can't be told apart."""
    by_issuer: dict[str, list[str]] = {}
    for name, state in states(app).items():
        if state.settings.issuer is not None:
            by_issuer.setdefault(state.settings.issuer, []).append(name)
    for names in by_issuer.values():
        if len(names) > 1:
            yield Finding(
                Level.HINT,
                "issuer",
                f"the AuthX objects {', '.join(names)} have the same issuer: a service that "
                "accepts their tokens takes a user of one for the user of the other with the same "
                "uid.",
                "give each object an issuer of its own, or make the uids unique over all of them, "
                "for example with a prefix.",
            )


def socketio(inspected: Inspected) -> Iterator[Finding]:
    """Flask-SocketIO in an app that is protected as a whole."""
    for problem in startup.socketio_warnings(inspected.state):
        yield Finding(Level.WARNING, inspected.setting("PROTECT_ALL"), problem)
