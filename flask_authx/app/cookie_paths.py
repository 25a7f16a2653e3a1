"""The paths of the token cookies: where browsers send them."""

from __future__ import annotations

from typing import Any

from flask import Flask, Response, has_request_context

from flask_authx.enums import TokenType
from flask_authx.errors import BadConfigurationError
from flask_authx.http import cookies

from .state import AppState, this_request
from .view_registry import built_in_owner

#: The path of refresh cookies in an app without ``authx.blueprint()``.
DEFAULT_PATH = "/auth"


def cookie_path(state: AppState, type: TokenType) -> str | None:
    """The path of a token's cookie; ``None`` if no route of the app would receive it."""
    path = state.settings.profiles[type].cookie_path
    if path is not None:
        # The setting has the path that browsers see, with any prefix that a proxy removes.
        return path
    path = blueprint_path(state)
    if path is None:
        path = DEFAULT_PATH
        if not has_route_below(state.app, path):
            return None
    return f"{_root(state.app)}{path}"


def blueprint_path(state: AppState) -> str | None:
    """The path below which ``authx.blueprint()`` has its routes; ``None`` without one.

    :raises BadConfigurationError: if there are several, or if it differs between requests.
    """
    prefixes = {
        rule.rule.removesuffix("/refresh")
        for name, blueprint in state.app.blueprints.items()
        if built_in_owner(blueprint) is state.callbacks
        for rule in state.app.url_map.iter_rules(f"{name}.refresh")
    }
    if not prefixes:
        return None
    prefix = prefixes.pop()
    if prefixes or "<" in prefix:
        raise BadConfigurationError(
            f"{state.settings.prefix}REFRESH_COOKIE_PATH must be set: the blueprint of "
            f"{state.name!r} is on more than one path, or on one that varies."
        )
    return prefix or "/"


def has_route_below(app: Flask, path: str) -> bool:
    """Whether browsers send a cookie of this path to a route of the app."""
    below = path.rstrip("/") + "/"
    return any(f"{rule.rule}/".startswith(below) for rule in app.url_map.iter_rules())


def unset_former_cookies(state: AppState, response: Response) -> Response:
    """Make browsers delete the cookies at former places, of which they have sent two of a name."""
    for type, profile in state.settings.profiles.items():
        path = cookie_path(state, type)
        cookies.unset_former(response, state.settings, profile, path=path, both=True)
    return response


def _root(app: Flask) -> str:
    """Where the app is mounted, without a slash at the end."""
    config: Any = app.config
    root: str = this_request().root_path if has_request_context() else config["APPLICATION_ROOT"]
    return root.rstrip("/")
