"""Renewing an access cookie by the way, in the answer to a request that it was still good for.

What it mints belongs to the same login: it carries its ``sid``, so whatever ends the login ends it,
even if that happens at the same moment.
"""

from __future__ import annotations

import logging

from flask import Request, Response
from werkzeug.exceptions import HTTPException

from flask_authx.app.identity import load_user
from flask_authx.app.state import AppState, memory_of, this_request
from flask_authx.enums import Location, TokenType
from flask_authx.errors import AuthXException
from flask_authx.http import caching
from flask_authx.http.cookies import sets
from flask_authx.settings.options import Settings
from flask_authx.stores.base import StoreError
from flask_authx.tokens.create import TokenOptions
from flask_authx.tokens.token import Token

from . import create, login, revoke, set_cookies

_log = logging.getLogger("flask_authx")
_COOKIES = frozenset({Location.COOKIES})


def watch(state: AppState) -> None:
    """Register the after_request hook, if the settings want any token renewed."""
    if state.settings.implicit_refresh_deltatime is None:
        return

    def authx_renewal(response: Response) -> Response:
        current = this_request()
        token = memory_of(current, state).token
        if token is None or not _is_due(state, current, token, response):
            return response
        try:
            if _may_go_on(state, current, token):
                _renew(state, token, response)
        except (AuthXException, StoreError):
            # The answer is a good one without. The next request asks again, or is refused.
            _log.info("a token was not renewed: sid=%s", token.sid)
        except Exception:  # noqa: BLE001 - the app's callbacks: what the view has done stays done
            _log.exception("a token could not be renewed: sid=%s", token.sid)
        return response

    state.app.after_request(authx_renewal)


def _is_due(state: AppState, current: Request, token: Token, response: Response) -> bool:
    """Whether the token that this request came with is to be replaced now."""
    settings, now = state.settings, int(state.clock())
    profile = settings.profiles[TokenType.ACCESS]
    left = token.exp - now
    return (
        token.type is TokenType.ACCESS
        and left <= _last_part(settings, token)
        and response.status_code < 400
        # Nothing comes after a log-out, or after what the view has minted itself.
        and not sets(response, profile.cookie_name)
        and _end(state, token, now) > token.exp
        and _is_wanted(settings, current)
        and _came_in_cookie(state, current)
    )


def _last_part(settings: Settings, token: Token) -> int:
    """For how many seconds before its end a token is renewed: fewer for one of a shorter life."""
    life, usual = token.exp - token.iat, settings.access_token_expires
    part = min(life, usual) * (settings.implicit_refresh_deltatime or 0) // usual
    # What replaces a fresh one isn't fresh, and a proof is to hold for a while.
    return min(part, life // 3) if token.fresh else part


def _end(state: AppState, token: Token, now: int) -> int:
    """When the next token ends: it lives no longer than this one, and not beyond the login."""
    return min(now + token.exp - token.iat, create.end_of(state, token))


def _is_wanted(settings: Settings, current: Request) -> bool:
    """Whether the settings want tokens renewed on this route, with this method."""
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
        found = state.verifier.finder.find(current, TokenType.ACCESS, _COOKIES)
    except HTTPException:
        return False
    return found is not None and found.token == memory_of(current, state).raw


def _may_go_on(state: AppState, current: Request, token: Token) -> bool:
    """Whether the login still goes on, asked now: much may have happened since the guard asked.

    :raises AuthXException: if that can't be found out, or if the app knows no such user.
    :raises StoreError: if the store of logins can't say.
    """
    memory = memory_of(current, state)
    if state.revocable and revoke.is_revoked(state, memory.raw or token):
        return False
    if state.callbacks.subject is not None:
        load_user(state, memory)
    if state.sessions is None:
        return True
    session = state.sessions.find(token.sid)
    return session is not None and state.sessions.touch(session, login.client_of(state))


def _renew(state: AppState, token: Token, response: Response) -> None:
    options = TokenOptions(
        scopes=sorted(token.scopes) or None,
        audience=token.aud or None,
        data=create.carried(state, token),
        until=_end(state, token, int(state.clock())),
    )
    login = state.creator.session(token.sub, token)
    minted = create.create_token(state, TokenType.ACCESS, login, options)
    # Too late for what is done after this request.
    caching.no_store(response)
    set_cookies.put(state, response, minted.token, TokenType.ACCESS)
