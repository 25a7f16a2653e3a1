"""Logging out: the sessions of the tokens that a request carries are revoked, expired or not."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Sequence

from flask import Request

from flask_authx.app.identity import actor_of_request, revoking
from flask_authx.app.state import AppState, this_request
from flask_authx.enums import Location, TokenType
from flask_authx.errors import (
    AuthXException,
    JWTDecodeError,
    MalformedRequestError,
    StoreUnavailableError,
)
from flask_authx.guards.check import check_origin, heal_duplicates
from flask_authx.http.csrf import check_companion, check_csrf, needs_csrf
from flask_authx.signals import user_actor
from flask_authx.stores.base import StoreError
from flask_authx.tokens.token import RequestToken, Token

from .revoke import has_expired, revoke_session, revoke_token

_COOKIES = frozenset({Location.COOKIES})
#: Locations that a page of another site can fill only if the app allows it (CORS).
_DELIBERATE = (Location.HEADERS, Location.JSON)


def log_out(state: AppState, reason: str | None) -> bool:
    """Revoke the session of the request's token, if there is a token.

    An expired one is accepted: its session may live on in a refresh token. A forged one is refused,
    and one from a cookie needs its CSRF value. Cookies of two sessions revoke both.

    :returns: whether to unset the cookies: they hold no token of an active session.
    :raises AuthXException: if the token is invalid, or the revocation could not be written.
    """
    # First, so that a missing store is an error for every request.
    state.require_revocations()
    sent = _sent_tokens(state, this_request())
    revoke_sessions_of(state, [token for _, token in sent], reason)
    return not sent or any(location is Location.COOKIES for location, _ in sent)


def revoke_sessions_of(state: AppState, tokens: Iterable[Token], reason: str | None) -> None:
    """Revoke the sessions of tokens, each whether or not the others can be revoked.

    :raises StoreUnavailableError: if one goes on, or else if one was not recorded.
    """
    failures: list[StoreUnavailableError] = []
    for token in tokens:
        try:
            revoke_session_of(state, token, reason)
        except StoreUnavailableError as error:
            failures.append(error)
    if not all(failure.in_force for failure in failures):
        what = "The session goes on, since its end could not be written: log out again"
        raise StoreUnavailableError("a store failed to end a session", description=what)
    if failures:
        raise failures[0]


def spare_cookies(state: AppState) -> Sequence[TokenType]:
    """The cookies of a request to log out which the same request can do without when it is resent.

    This is the access cookie, if the refresh cookie beside it is of the same session.
    """
    current = this_request()
    sessions = {token.sid for _, token in _sent_tokens(state, current)}
    # Of a session that has both cookies, the refresh token.
    cookies = [(token.type, token.sid in sessions) for token in tokens_in_cookies(state, current)]
    return [TokenType.ACCESS] if cookies == [(TokenType.REFRESH, True)] else []


def revoke_session_of(state: AppState, token: Token, reason: str | None) -> None:
    """Revoke the session of a token, unless it is revoked already.

    :raises StoreUnavailableError: if it could not be written.
    """
    actor = user_actor(token.sub)
    if token.sid != token.jti:
        if not _is_session_revoked(state, token, reason):
            _write(state, lambda: revoke_session(state, token.sid, reason, actor=actor))
    elif not has_expired(state, token):
        # Another library's token, which has no session.
        _write(state, lambda: revoke_token(state, token, reason, actor=actor))


def _write(state: AppState, revoke: Callable[[], None]) -> None:
    """Write a revocation. If that fails, try once more within the store's timeout."""
    due = time.monotonic() + state.settings.store_timeout
    try:
        revoke()
    except StoreUnavailableError as error:
        if error.in_force or time.monotonic() >= due:
            raise
        revoke()


def tokens_in_cookies(state: AppState, current: Request) -> list[Token]:
    """The tokens in a request's cookies, expired or not, one of each session."""
    found: dict[str, Token] = {}
    for type in TokenType:
        # Invalid ones belong to no session.
        with contextlib.suppress(AuthXException):
            cookie = state.find_token(current, type, _COOKIES)
            if cookie is not None:
                token = _decode(state, current, cookie)
                found[token.sid] = token
    return [*found.values()]


def _is_session_revoked(state: AppState, token: Token, reason: str | None) -> bool:
    """Whether a session has been revoked before. What is left to do is done then.

    :raises StoreUnavailableError: if it could not be recorded.
    """
    actor = actor_of_request(state, user_actor(token.sub))
    try:
        with revoking(state) as revocations:
            return revocations.finish(token, actor=actor, reason=reason)
    except StoreError:
        # The write that follows reports the failure.
        return False


def _sent_tokens(state: AppState, current: Request) -> list[tuple[Location, Token]]:
    """The valid tokens of a request, expired or not: one of each session, and its location.

    :raises AuthXException: if there are tokens and none of them is valid.
    """
    valid: dict[str, tuple[Location, Token]] = {}
    refusal: AuthXException | None = None
    deliberate = False
    for type in TokenType:
        found: RequestToken | None = None
        try:
            found = state.find_token(current, type)
            if found is None:
                continue
            token = _decode(state, current, found)
        except (JWTDecodeError, MalformedRequestError) as error:
            # An invalid or duplicate cookie must not prevent a log-out by the other cookie.
            refusal = refusal or error
            deliberate |= found is not None and found.location in _DELIBERATE
            continue
        if _is_deliberate(state, current, found, token, first=not valid):
            valid.setdefault(token.sid, (found.location, token))
    if not valid:
        if not deliberate:
            _check_origin(state, current)
        if refusal is not None:
            heal_duplicates(state, refusal)
            raise refusal
    return [*valid.values()]


def _decode(state: AppState, current: Request, found: RequestToken) -> Token:
    """A valid token, expired or not. A refresh cookie that another host has set is none.

    :raises JWTDecodeError: if it is invalid.
    """
    token = state.verifier.decode(found.token, expired=True)
    if found.location is Location.COOKIES:
        check_companion(state.settings, found, token, current)
    return token


def _is_deliberate(
    state: AppState, current: Request, found: RequestToken, token: Token, *, first: bool
) -> bool:
    """Whether the user's own page or client sent a token; the first one must be.

    :raises CSRFError: if the first one is not.
    """
    if found.location is Location.QUERY:
        _check_origin(state, current)
    if found.location is Location.COOKIES and needs_csrf(state.settings, current):
        try:
            # A page may send the CSRF value of the session's other token, which proves the same
            # session.
            check_csrf(state.settings, found, token, current, state.creator.csrf_values(token))
        except AuthXException:
            if first:
                raise
            return False
    return True


def _check_origin(state: AppState, current: Request) -> None:
    """Refuse a log-out that a page of another site may have sent.

    The response makes the browser delete its cookies, whether or not it sent them.

    :raises CrossOriginError: if it is refused.
    """
    if state.uses_cookies:
        check_origin(state, current)
