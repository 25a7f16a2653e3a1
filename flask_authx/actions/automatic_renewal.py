"""Automatic renewal: an access cookie that is about to expire is renewed in the response.

The new token has the ``sid`` of the session, so it is revoked with the session, even if both happen
at the same moment.
"""

from __future__ import annotations

import logging

from flask import Request, Response
from werkzeug.exceptions import HTTPException

from flask_authx.app.identity import load_user
from flask_authx.app.state import AppState, context_of, this_request
from flask_authx.enums import Location, TokenType
from flask_authx.errors import AuthXException
from flask_authx.http.caching import no_store
from flask_authx.http.cookies import has_set_cookie
from flask_authx.http.csrf import is_beside_companion
from flask_authx.settings.options import Settings
from flask_authx.stores.base import StoreError
from flask_authx.tokens.new_token import TokenOptions
from flask_authx.tokens.token import Token
from flask_authx.tracebacks import outline

from .create_tokens import create_token, inherited_claims
from .login import client_of_request
from .revoke import is_revoked
from .set_cookies import set_token_cookies

_log = logging.getLogger("flask_authx")
_COOKIES = frozenset({Location.COOKIES})


def register_renewal(state: AppState) -> None:
    """Register the after_request hook."""

    def authx_renewal(response: Response) -> Response:
        current = this_request()
        token = context_of(current, state).token
        if token is None or not _is_due(state, current, token, response):
            return response
        try:
            until = _active_until(state, current, token)
            if until is not None and until > token.exp:
                _renew(state, token, response, until)
        except (AuthXException, StoreError):
            # The response is valid without it. The next request tries again, or is refused.
            _log.info("a token was not renewed: sid=%s", token.sid)
        except Exception as error:  # noqa: BLE001 - of the app's callbacks: the response is sent
            _log.error("a token could not be renewed: sid=%s: %s", token.sid, outline(error))
        return response

    state.app.after_request(authx_renewal)


def _is_due(state: AppState, current: Request, token: Token, response: Response) -> bool:
    """Whether the request's token is to be replaced now."""
    settings = state.settings
    profile = settings.profiles[TokenType.ACCESS]
    left = token.exp - int(state.clock())
    return (
        token.type is TokenType.ACCESS
        and left <= _renewal_time(settings, token)
        and response.status_code < 400
        # Not after a log-out, or if the view has set a token.
        and not has_set_cookie(response, settings, profile, path=settings.access_cookie_path)
        and _is_wanted(settings, current)
        and _came_in_cookie(state, current)
        and _is_own(state, current, token)
    )


def _renewal_time(settings: Settings, token: Token) -> int:
    """For how many seconds before its expiry a token is renewed; fewer for a shorter lifetime."""
    life, usual = token.exp - token.iat, settings.access_token_expires
    part = min(life, usual) * (settings.implicit_refresh_deltatime or 0) // usual
    # A fresh token is renewed late, since the new one is not fresh.
    return min(part, life // 3) if token.fresh else part


def _is_wanted(settings: Settings, current: Request) -> bool:
    """Whether the settings ask for renewal on this route, with this method."""
    rule = "" if current.url_rule is None else current.url_rule.rule
    route, method = {current.path, rule}, current.method
    if route & settings.implicit_refresh_route_exclude:
        return False
    if route & settings.implicit_refresh_route_include:
        return True
    if method in settings.implicit_refresh_method_exclude:
        return False
    if method in settings.implicit_refresh_method_include:
        return True
    return not (settings.implicit_refresh_route_include or settings.implicit_refresh_method_include)


def _came_in_cookie(state: AppState, current: Request) -> bool:
    try:
        found = state.find_token(current, TokenType.ACCESS, _COOKIES)
    except HTTPException:
        return False
    return found is not None and found.token == context_of(current, state).raw


def _is_own(state: AppState, current: Request, token: Token) -> bool:
    """Whether this host has set the cookie; ``True`` also where that is not known.

    Another host of the site may have set it if its name allows that. Renewed, it would last.
    """
    settings = state.settings
    return (
        settings.access_cookie_name.startswith("__Host-")
        # Then nothing sets a companion but a refresh cookie that nothing exchanges.
        or state.sessions is None
        or is_beside_companion(settings, token, current)
    )


def _active_until(state: AppState, current: Request, token: Token) -> int | None:
    """The latest expiry of the next token; ``None`` if the session has ended.

    In seconds since 1970-01-01 UTC, by the clock of this machine. Revocation is checked anew, since
    the view may have revoked the session.

    :raises AuthXException: if that could not be checked, or if the app has no such user.
    :raises StoreError: if the session store fails.
    """
    context = context_of(current, state)
    if state.revocable and is_revoked(state, context.raw or token):
        return None
    if state.callbacks.load_user is not None:
        load_user(state, context)
    if state.sessions is None:
        lifetime = state.settings.session_lifetime
        if state.revocations is None:
            return token.auth_time + lifetime
        return int(state.clock()) + state.revocations.left(token, lifetime)
    session = state.sessions.find(token.sid)
    if session is None or not state.sessions.touch(session, client_of_request(state)):
        return None
    return int(state.clock()) + session.left_until_end


def _renew(state: AppState, token: Token, response: Response, until: int) -> None:
    options = TokenOptions(
        scopes=sorted(token.scopes) or None,
        audience=token.claims.get("aud"),
        data=inherited_claims(state, token),
        # Its lifetime is this one's.
        until=min(int(state.clock()) + token.exp - token.iat, until),
    )
    session = state.creator.session(token.sub, token)
    created = create_token(state, TokenType.ACCESS, session, options)
    # Functions registered with after_this_request have run already.
    no_store(response)
    set_token_cookies(state, response, created.token, TokenType.ACCESS)
