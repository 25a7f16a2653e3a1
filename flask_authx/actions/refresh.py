"""Refreshing: a refresh token is traded for the next tokens of its login, once.

Everything is checked and the new tokens are made before anything is written, and that is one write:
a compare-and-set of the login's row. So whatever fails before has consumed nothing, and if the
answer is lost after it, the token that was sent is the predecessor and is answered again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from flask import has_request_context
from werkzeug.exceptions import MethodNotAllowed

from flask_authx.app.identity import load_user
from flask_authx.app.state import AppState, memory_of, this_request
from flask_authx.enums import Location, TokenType
from flask_authx.errors import (
    AuthXException,
    InsufficientScopeError,
    JWTDecodeError,
    ReusedTokenError,
    RevokedTokenError,
    StoreUnavailableError,
    SubjectNotFoundError,
    TokenExpiredError,
)
from flask_authx.guards import check
from flask_authx.http.context import RequestContext
from flask_authx.http.requirement import Requirement
from flask_authx.http.verifier import USED_AGAIN
from flask_authx.sessions.rotation import RefreshStatus, Sessions
from flask_authx.settings.options import SAFE_METHODS
from flask_authx.stores.base import StoreError
from flask_authx.stores.session_store import Session, Visit
from flask_authx.tokens.create import SessionClaims, TokenOptions
from flask_authx.tokens.scopes import grants, scope_list
from flask_authx.tokens.token import RequestToken, Token, TokenPair

from . import create, login, revoke, set_cookies

#: How often a row is read again that another refresh has changed meanwhile. Once is enough, unless
#: the store contradicts itself.
_ATTEMPTS = 3
_COOKIES = frozenset({Location.COOKIES})
_REFRESH = Requirement(type=TokenType.REFRESH, replaced=True)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A refresh token that a guard would let pass, and what is asked for it."""

    token: Token
    memory: RequestContext
    options: TokenOptions
    #: Whether the new tokens must fit into cookies, where it came from.
    in_cookies: bool


def refresh(
    state: AppState,
    sent: str | RequestToken | None,
    scopes: Iterable[str] | None,
    data: Mapping[str, Any] | None,
) -> TokenPair:
    """New tokens for a refresh token, which they replace.

    :raises AuthXException: if it isn't accepted.
    :raises MethodNotAllowed: during a request with a safe method.
    """
    sessions = login.sessions_of(state)
    if has_request_context() and this_request().method in SAFE_METHODS:
        # Any page can make a browser send one, and caches may answer it.
        raise MethodNotAllowed(["POST"])
    token, memory, location = _verified(state, sent)
    try:
        options = TokenOptions(
            scopes=_narrowed(token, scopes),
            audience=token.aud or None,
            data=create.carried(state, token) if data is None else data,
        )
        in_cookies = location is Location.COOKIES
        if in_cookies and has_request_context():
            _check_companion(state, token)
        asked = _Asked(token, memory, options, in_cookies=in_cookies)
        return _rotate(state, sessions, asked)
    except StoreError:
        what = "The token could not be refreshed right now: keep it and try again"
        refusal: AuthXException = StoreUnavailableError(description=what)
    except AuthXException as error:
        refusal = error
    raise check.refuse(state, token, refusal)


def _verified(
    state: AppState, sent: str | RequestToken | None
) -> tuple[Token, RequestContext, Location]:
    """The refresh token after everything that a guard checks, and where it was."""
    found: RequestToken | None
    if sent is None:
        current = this_request()
        check.check_request(state, current, _REFRESH)
        memory = memory_of(current, state)
        found = state.verifier.finder.find(current, _REFRESH.type, None)
    else:
        found = sent if isinstance(sent, RequestToken) else RequestToken(sent, type=_REFRESH.type)
        memory = RequestContext()
        memory.token = check.verify(state, found, _REFRESH, memory)
    # A guard that isn't optional lets nobody pass.
    return cast(Token, memory.token), memory, cast(RequestToken, found).location


def _check_companion(state: AppState, token: Token) -> None:
    """Refuse a refresh cookie beside another user's access cookie.

    A neighbouring host can plant one, and its CSRF cookie, but no cookie that starts with
    ``__Host-``: the user would be logged in as whoever planted it.

    :raises JWTDecodeError: then.
    :raises MalformedRequestError: if there are two access cookies.
    """
    found = state.verifier.finder.find(this_request(), TokenType.ACCESS, _COOKIES)
    if found is None:
        return
    try:
        other = state.verifier.decode(found.token, expired=True)
    except JWTDecodeError:
        # One from before a change of keys, say: nobody has planted it.
        return
    if other.sub != token.sub:
        raise JWTDecodeError("the cookies are of two users")


def _narrowed(token: Token, scopes: Iterable[str] | None) -> list[str] | None:
    """The scopes of the new access token (RFC 6749 section 6: never more than there were).

    :raises InsufficientScopeError: if they would be more.
    """
    if scopes is None:
        return sorted(token.scopes) or None
    asked = scope_list(scopes)
    if not grants(token.scopes, asked, all_required=True):
        raise InsufficientScopeError(asked)
    return asked


def _rotate(state: AppState, sessions: Sessions, asked: _Asked) -> TokenPair:
    token = asked.token
    for _ in range(_ATTEMPTS):
        status, row = sessions.status_of(token.parsed)
        if row is None:
            raise RevokedTokenError("its login is over")
        if status is RefreshStatus.EXPIRED:
            raise TokenExpiredError("its login has reached its end")
        if status is RefreshStatus.REUSED:
            # Refusing it ends the login.
            raise ReusedTokenError(USED_AGAIN)
        _check_user(state, asked)
        # For the predecessor the row is as it should be: the answer to it was lost, or another tab
        # was faster.
        again = status is RefreshStatus.PREDECESSOR
        visit = row.visit if again else sessions.next_visit(row, login.client_of(state))
        pair = _renewed(state, asked, row, visit)
        if asked.in_cookies:
            set_cookies.check(state, pair)
        if again or sessions.move(row, visit):
            return pair
        # Another refresh, or the end of the login, came between reading and writing.
    raise StoreError("the store of logins contradicts itself")


def end_reused(state: AppState, token: Token) -> None:
    """End the login of a refresh token that was used after its successor.

    :raises StoreUnavailableError: if that could not be written.
    """
    revoke.revoke_session(state, token.sid, USED_AGAIN, actor=token.sub, reused=token)


def _check_user(state: AppState, asked: _Asked) -> None:
    """Refuse a user whom the app doesn't know any more, and end the login.

    :raises SubjectNotFoundError: then.
    """
    if state.callbacks.subject is None:
        return
    try:
        load_user(state, asked.memory)
    except SubjectNotFoundError:
        why = "the app does not know the user any more"
        token = asked.token
        revoke.revoke_session(state, token.sid, why, actor=token.sub)
        raise


def _renewed(state: AppState, asked: _Asked, row: Session, visit: Visit) -> TokenPair:
    """The tokens of a generation. What the refresh token may grant stays as it was."""
    token = asked.token
    login = SessionClaims(
        uid=row.sub, sid=row.sid, auth_time=token.auth_time, generation=visit.generation
    )
    options = replace(asked.options, until=visit.expires)
    access = create.create_token(state, TokenType.ACCESS, login, options)
    lasting = replace(options, scopes=sorted(token.scopes) or None)
    return create.pair_of(access, create.create_token(state, TokenType.REFRESH, login, lasting))
