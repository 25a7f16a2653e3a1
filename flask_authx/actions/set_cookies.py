"""Setting and unsetting the cookies of a response: which token, and on which path."""

from __future__ import annotations

import logging
from typing import cast
from urllib.parse import urlsplit

from flask import Request, has_request_context
from werkzeug.wrappers import Response

from flask_authx.app.cookie_paths import DEFAULT_PATH, cookie_path
from flask_authx.app.state import AppState, context_of, this_request
from flask_authx.enums import TokenType
from flask_authx.errors import JWTDecodeError
from flask_authx.http import cookies
from flask_authx.tokens.token import CreatedToken, TokenPair

_log = logging.getLogger("flask_authx")

#: Hosts to which browsers send Secure cookies over plain http.
_LOCAL = ("localhost", "127.0.0.1", "::1")
#: In the user agents of clients that do: browsers, and Flask's test client.
_KEEP_ON_LOCALHOST = ("Chrome/", "Firefox/", "Werkzeug/")
_REMOTE = (
    "browsers drop these cookies: they are Secure, and the request came over plain http. Use "
    "https or http://localhost; behind a proxy that ends TLS, use Werkzeug's ProxyFix; for "
    "development in a local network and for tests with a live server set "
    'app.config["%sCOOKIE_SECURE"] = False.'
)
_NOT_A_BROWSER = (
    "this client drops these cookies, or does not send them back: they are Secure, and the request "
    "came over plain http. Chromium and Firefox make an exception for localhost and 127.0.0.1; "
    "Safari and HTTP clients such as requests, urllib and http.cookiejar make none. For tests with "
    "a live server (live_server of pytest-flask, Selenium) set "
    'app.config["%sCOOKIE_SECURE"] = False, which also changes the names of the cookies, or serve '
    "by https."
)

_NO_GUARD = (
    "a token was put into a cookie, and no guard looks for tokens there: add 'cookies' to "
    'app.config["%sTOKEN_LOCATION"], or to the locations= of a guard. The cookie is for views that '
    "look there themselves, as with authx.identify(locations=['cookies']). This is logged once"
)


def set_token_cookies(
    state: AppState,
    response: Response,
    token: str,
    type: TokenType,
    max_age: int | None = None,
) -> None:
    """Set the cookies of a token.

    :raises ValueError: if the token is invalid, of the other type, too long, or a refresh token of
        a key that the app does not have.
    :raises RuntimeError: if browsers would send it to no view.
    """
    _check_response(response)
    settings = state.settings
    created = _created_token(state, token)
    if created.type is not type:
        raise ValueError(f"this is the {created.type} token, which goes into the other cookie")
    if not state.uses_cookies:
        # A view may ask for cookies when it is called, with identify(locations=["cookies"]).
        if not state.warned_of_no_guard:
            state.warned_of_no_guard = True
            _log.warning(_NO_GUARD, settings.prefix)
        if created.csrf is None:
            created = state.creator.with_csrf(state.verifier.decode(created.token))
    if max_age is None and not settings.session_cookie:
        max_age = created.lifetime if settings.cookie_max_age is None else settings.cookie_max_age
    path = cookie_path(state, type)
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
        path = cookie_path(state, type)
        # Without a path, no cookie can have been set.
        if path is not None:
            profile = state.settings.profiles[type]
            cookies.unset_cookies(response, state.settings, profile, path=path)


def unset_access_token(state: AppState, response: Response) -> None:
    """Make browsers delete the access token's cookie. The one with its CSRF value stays."""
    path = cookie_path(state, TokenType.ACCESS)
    if path is not None:
        profile = state.settings.profiles[TokenType.ACCESS]
        cookies.unset_token(response, state.settings, profile, path=path)


def has_token_cookies(state: AppState, response: Response) -> bool:
    """Whether a response sets or unsets the cookie of a token."""
    settings = state.settings
    places = [(settings.profiles[type], cookie_path(state, type)) for type in TokenType]
    return any(
        path is not None and cookies.has_set_cookie(response, settings, profile, path=path)
        for profile, path in places
    )


def check_pair_size(state: AppState, pair: TokenPair) -> None:
    """Refuse a pair if browsers would drop one of its cookies.

    :raises ValueError: if one of the tokens is too long.
    """
    profiles = state.settings.profiles
    cookies.check_size(profiles[TokenType.ACCESS], pair.access_token)
    cookies.check_size(profiles[TokenType.REFRESH], pair.refresh_token)


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
    lifetime, companion = decoded.exp - decoded.iat, state.creator.companion_of(decoded)
    return CreatedToken(token, decoded.type, lifetime, decoded.csrf, companion)


def _check_response(response: object) -> None:
    if not isinstance(response, Response):
        raise TypeError(
            "the first argument is the response, such as flask.jsonify(...) or "
            f"flask.make_response(...), not {type(response).__name__}"
        )


def _warn_of_http(state: AppState, current: Request) -> None:
    """Log once that the client drops Secure cookies of responses over plain http."""
    try:
        what = _why_dropped(current)
    except Exception:  # noqa: BLE001 - of a Host header that is none: this advises only
        return
    if what is not None:
        state.warned_of_http = True
        _log.warning(what, state.settings.prefix)


def _why_dropped(current: Request) -> str | None:
    """Why a client drops Secure cookies and what helps, for a log; ``None`` if it keeps them."""
    if current.is_secure:
        return None
    host = urlsplit(f"//{current.host}").hostname or ""
    if host not in _LOCAL and not host.endswith(".localhost"):
        return _REMOTE
    # A client that does not name itself may be any.
    agent = current.user_agent.string
    keeps = not agent or any(name in agent for name in _KEEP_ON_LOCALHOST)
    return None if keeps else _NOT_A_BROWSER
