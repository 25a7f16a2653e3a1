"""Setting and unsetting the cookies of a response: which token, and on which path."""

from __future__ import annotations

import logging
from typing import Any, cast
from urllib.parse import urlsplit

from flask import Flask, Request, has_request_context
from werkzeug.wrappers import Response

from flask_authx.app.state import AppState, context_of, this_request
from flask_authx.app.view_registry import built_in_owner
from flask_authx.enums import TokenType
from flask_authx.errors import BadConfigurationError, JWTDecodeError
from flask_authx.http import cookies
from flask_authx.tokens.token import CreatedToken, TokenPair

_log = logging.getLogger("flask_authx")

#: The path of refresh cookies in an app without ``authx.blueprint()``.
DEFAULT_PATH = "/auth"
#: Hosts to which browsers send Secure cookies over plain http.
_LOCAL = ("localhost", "127.0.0.1", "::1")


def set_token_cookies(
    state: AppState,
    response: Response,
    token: str,
    type: TokenType,
    max_age: int | None = None,
) -> None:
    """Set the cookies of a token.

    :raises ValueError: if the token is invalid, of the other type, or too long.
    :raises RuntimeError: if no guard would look for it there.
    """
    _check_response(response)
    settings = state.settings
    if not settings.uses_cookies:
        raise RuntimeError(
            "no guard looks for tokens in cookies: add 'cookies' to "
            f'app.config["{settings.prefix}TOKEN_LOCATION"]'
        )
    created = _created_token(state, token)
    if created.type is not type:
        raise ValueError(f"this is the {created.type} token, which goes into the other cookie")
    if max_age is None and not settings.session_cookie:
        max_age = created.lifetime if settings.cookie_max_age is None else settings.cookie_max_age
    path = _path(state, type)
    if path is None:
        raise RuntimeError(
            f"browsers would send the {type} token to {DEFAULT_PATH} alone, where the app has no "
            "route: register authx.blueprint(), or set "
            f'app.config["{settings.prefix}REFRESH_COOKIE_PATH"] to the path that your views for '
            "refresh and log-out share"
        )
    profile = settings.profiles[type]
    cookies.set_cookies(response, settings, profile, created, path=path, max_age=max_age)
    if settings.cookie_secure and not state.warned_of_http and has_request_context():
        _warn_of_http(state, this_request())


def set_pair_cookies(state: AppState, response: Response, pair: TokenPair) -> None:
    """Set the cookies of both tokens of a session.

    :raises ValueError: if one of them is too long. Then none is set.
    """
    _check_response(response)
    if not isinstance(cast(object, pair), TokenPair):
        raise TypeError(f"a pair is what authx.login() returns, not {type(pair).__name__}")
    before = response.headers.getlist("Set-Cookie")
    try:
        set_token_cookies(state, response, pair.access_token, TokenType.ACCESS)
        set_token_cookies(state, response, pair.refresh_token, TokenType.REFRESH)
    except Exception:
        response.headers.setlist("Set-Cookie", before)
        raise


def unset_cookies(state: AppState, response: Response, *types: TokenType) -> None:
    """Make browsers delete the cookies of these types of tokens."""
    _check_response(response)
    for type in types:
        path = _path(state, type)
        # Without a path, no cookie can have been set.
        if path is not None:
            profile = state.settings.profiles[type]
            cookies.unset_cookies(response, state.settings, profile, path=path)


def check_pair_size(state: AppState, pair: TokenPair) -> None:
    """Refuse a pair if browsers would drop one of its cookies.

    :raises ValueError: if one of the tokens is too long.
    """
    profiles = state.settings.profiles
    cookies.check_size(profiles[TokenType.ACCESS], pair.access_token)
    cookies.check_size(profiles[TokenType.REFRESH], pair.refresh_token)


# The path


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


def _path(state: AppState, type: TokenType) -> str | None:
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


def _root(app: Flask) -> str:
    """Where the app is mounted, without a slash at the end."""
    config: Any = app.config
    root: str = this_request().root_path if has_request_context() else config["APPLICATION_ROOT"]
    return root.rstrip("/")


# The token and the response


def _created_token(state: AppState, token: object) -> CreatedToken:
    """Type, lifetime and CSRF value of a token. One of this request is not decoded again."""
    if not isinstance(token, str):
        hint = ": a pair goes into authx.set_cookies()" if isinstance(token, TokenPair) else ""
        raise TypeError(f"the token must be text, not {type(token).__name__}{hint}")
    if has_request_context():
        known = context_of(this_request(), state).created.get(token)
        if known is not None:
            return known
    try:
        decoded = state.verifier.decode(token)
    except JWTDecodeError as error:
        raise ValueError(f"the token is not valid: {error.reason}") from None
    return CreatedToken(token, decoded.type, decoded.exp - decoded.iat, decoded.csrf)


def _check_response(response: object) -> None:
    if not isinstance(response, Response):
        raise TypeError(
            "the first argument is the response, such as flask.jsonify(...) or "
            f"flask.make_response(...), not {type(response).__name__}"
        )


def _warn_of_http(state: AppState, current: Request) -> None:
    """Log once that browsers drop Secure cookies of responses over plain http."""
    host = urlsplit(f"//{current.host}").hostname or ""
    if current.is_secure or host in _LOCAL or host.endswith(".localhost"):
        return
    state.warned_of_http = True
    _log.warning(
        "browsers drop these cookies: they are Secure, and the request came over plain http. Use "
        "https or http://localhost; behind a proxy that ends TLS, use Werkzeug's ProxyFix; for "
        'development in a local network set app.config["%sCOOKIE_SECURE"] = False.',
        state.settings.prefix,
    )
