"""Refreshing: a refresh token is exchanged for the next tokens of its session, once.

Everything is checked and the new tokens are created before anything is written, and there is one
write: a compare-and-set of the session's row. After a failure before it, the token can be sent
again. If the response is lost after it, the token is the predecessor and is accepted again, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, cast

from flask import Response, after_this_request, has_request_context
from werkzeug.exceptions import MethodNotAllowed

from flask_authx.app.identity import load_user
from flask_authx.app.state import AppState, context_of, this_request
from flask_authx.enums import Location, TokenType
from flask_authx.errors import (
    AuthXException,
    InsufficientScopeError,
    ReusedTokenError,
    RevokedTokenError,
    StoreUnavailableError,
    SubjectNotFoundError,
    TokenExpiredError,
)
from flask_authx.guards.check import check_request, refuse, verify
from flask_authx.http.context import RequestContext
from flask_authx.http.csrf import check_companion
from flask_authx.http.requirement import Requirement
from flask_authx.http.verifier import REUSE_REASON
from flask_authx.sessions.rotation import RefreshStatus, Sessions
from flask_authx.settings.options import SAFE_METHODS
from flask_authx.signals import user_actor
from flask_authx.stores.base import StoreError
from flask_authx.tokens.new_token import TokenOptions
from flask_authx.tokens.scopes import grants, scope_list
from flask_authx.tokens.token import RequestToken, Token, TokenPair

from .create_tokens import create_token, inherited_claims, pair_of
from .login import client_of_request
from .revoke import revoke_session
from .set_cookies import check_pair_size, has_token_cookies, unset_cookies

#: How often a row is read that another refresh has changed meanwhile. Twice is enough, unless the
#: store contradicts itself.
_ATTEMPTS = 3
#: Whether a refresh is going on: what is refused meanwhile is one that failed.
in_refresh: ContextVar[bool] = ContextVar("flask_authx_in_refresh", default=False)
_REFRESH = Requirement(type=TokenType.REFRESH, check_rotation=False)


@dataclass(frozen=True, slots=True)
class _Exchange:
    """A verified refresh token, and the options of the new tokens."""

    token: Token
    context: RequestContext
    options: TokenOptions
    #: Whether it came from a cookie, so that the new tokens must fit into cookies.
    in_cookies: bool


def refresh(
    state: AppState,
    sent: str | RequestToken | None,
    scopes: Iterable[str] | None,
    data: Mapping[str, Any] | None,
) -> TokenPair:
    """New tokens for a refresh token, which they replace.

    If its session has been revoked or has expired, the response unsets the cookies that it came in.

    :raises AuthXException: if it is not accepted.
    :raises MethodNotAllowed: during a request with a safe method.
    """
    mark = in_refresh.set(True)
    try:
        return _refresh(state, sent, scopes, data)
    except AuthXException as error:
        if has_request_context():
            _unset_ended(state, sent, error)
        raise
    finally:
        in_refresh.reset(mark)


def _refresh(
    state: AppState,
    sent: str | RequestToken | None,
    scopes: Iterable[str] | None,
    data: Mapping[str, Any] | None,
) -> TokenPair:
    sessions = state.require_sessions()
    if has_request_context() and this_request().method in SAFE_METHODS:
        # Any page can make a browser send such a request, and a cache may respond to it.
        raise MethodNotAllowed(["POST"])
    token, context, location = _verified(state, sent)
    try:
        options = TokenOptions(
            scopes=_narrowed_scopes(token, scopes),
            audience=token.claims.get("aud"),
            data=inherited_claims(state, token) if data is None else data,
        )
        in_cookies = location is Location.COOKIES
        exchange = _Exchange(token, context, options, in_cookies=in_cookies)
        pair = _rotate(state, sessions, exchange)
    except StoreError as failure:
        what = "The token could not be refreshed right now: keep it and try again"
        refusal: AuthXException = StoreUnavailableError(failure.reason, description=what)
    except AuthXException as error:
        refusal = error
    else:
        state.announcer.refreshed(token)
        return pair
    raise refuse(state, token, refusal)


def _verified(
    state: AppState, sent: str | RequestToken | None
) -> tuple[Token, RequestContext, Location]:
    """The refresh token after the check that a guard makes, and its location."""
    found: RequestToken | None
    if sent is None:
        current = this_request()
        check_request(state, current, _REFRESH)
        context = context_of(current, state)
        found = state.find_token(current, _REFRESH.type)
    else:
        found = sent if isinstance(sent, RequestToken) else RequestToken(sent, type=_REFRESH.type)
        context = RequestContext()
        context.token, context.raw = verify(state, found, _REFRESH, context), found.token
    # The requirement is not optional, so there is a token.
    return cast(Token, context.token), context, cast(RequestToken, found).location


def _unset_ended(state: AppState, sent: str | RequestToken | None, error: AuthXException) -> None:
    """Unset the cookies of a genuine refresh cookie whose session has ended.

    After any other refusal they stay: another tab may just have refreshed.
    """
    if not isinstance(error, (RevokedTokenError, SubjectNotFoundError, TokenExpiredError)):
        return
    current = this_request()
    found = state.find_token(current, _REFRESH.type) if sent is None else sent
    if not isinstance(found, RequestToken) or found.location is not Location.COOKIES:
        return
    if isinstance(error, TokenExpiredError):
        try:
            token = state.verifier.decode(found.token, expired=True)
            check_companion(state.settings, found, token, current)
            if state.require_sessions().find(token.sid) is not None:
                return
        except (AuthXException, StoreError):
            return

    def unset_ended(response: Response) -> Response:
        # The view may have opened another session.
        if not has_token_cookies(state, response):
            unset_cookies(state, response, *TokenType)
        return response

    after_this_request(unset_ended)


def _narrowed_scopes(token: Token, scopes: Iterable[str] | None) -> list[str] | None:
    """The scopes of the new access token (RFC 6749 section 6: never more than there were).

    :raises InsufficientScopeError: if the refresh token does not grant them.
    """
    if scopes is None:
        return sorted(token.scopes) or None
    requested = scope_list(scopes)
    if not grants(token.scopes, requested, all_required=True):
        raise InsufficientScopeError(requested)
    return requested


def _rotate(state: AppState, sessions: Sessions, exchange: _Exchange) -> TokenPair:
    token = exchange.token
    for _ in range(_ATTEMPTS):
        status, row = sessions.status_of(token.parsed)
        if row is None:
            raise RevokedTokenError("its session has been revoked")
        if status is RefreshStatus.EXPIRED:
            raise TokenExpiredError("its session has expired")
        if status is RefreshStatus.REUSED:
            # `refuse` revokes the session.
            raise ReusedTokenError(REUSE_REASON)
        _check_user(state, exchange)
        # The predecessor gets the tokens of the current generation: its response was lost, or
        # another tab was faster. The row is not changed.
        is_retry = status is RefreshStatus.PREDECESSOR
        visit = sessions.next_visit(row, client_of_request(state))
        if is_retry:
            pair = _next_pair(state, exchange, row.generation, row.left)
        else:
            left = min(visit.idle, row.left_until_end)
            pair = _next_pair(state, exchange, visit.generation, left)
        if exchange.in_cookies:
            check_pair_size(state, pair)
        if is_retry or sessions.move(row, visit):
            return pair
        # The row was changed or removed between reading and writing.
    raise StoreError("the session store contradicts itself")


def _check_user(state: AppState, exchange: _Exchange) -> None:
    """Refuse a user that no longer exists, and revoke the session.

    :raises SubjectNotFoundError: if the user callback returns ``None``.
    """
    if state.callbacks.load_user is None:
        return
    try:
        load_user(state, exchange.context)
    except SubjectNotFoundError:
        token = exchange.token
        revoke_session(state, token.sid, "the user no longer exists", actor=user_actor(token.sub))
        raise


def _next_pair(state: AppState, exchange: _Exchange, generation: int, left: int) -> TokenPair:
    """The tokens of a generation. The refresh token keeps its scopes.

    :param left: the seconds after which the session expires unless it is refreshed.
    """
    token = exchange.token
    claims = state.creator.session(token.sub, token)
    claims.generation = generation
    options = replace(exchange.options, until=int(state.clock()) + left)
    access = create_token(state, TokenType.ACCESS, claims, options)
    refresh_options = replace(options, scopes=sorted(token.scopes) or None)
    return pair_of(access, create_token(state, TokenType.REFRESH, claims, refresh_options))
