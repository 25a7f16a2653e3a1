"""Logging out: the sessions of the tokens that a request carries are revoked, expired or not."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable

from flask import Request

from flask_authx.app.identity import actor_of_request, revoking
from flask_authx.app.state import AppState, this_request
from flask_authx.enums import Location, TokenType
from flask_authx.errors import (
    AuthXException,
    CSRFError,
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


def can_spare_access_cookie(state: AppState) -> bool:
    """Whether a request to log out can be resent without its access cookie.

    It can if the refresh cookie beside it is of the same session.
    """
    current = this_request()
    sessions = {token.sid for _, token in _sent_tokens(state, current)}
    # Of a session that has both cookies, the refresh token.
    cookies = [(token.type, token.sid in sessions) for token in tokens_in_cookies(state, current)]
    return cookies == [(TokenType.REFRESH, True)]


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
    refusals: list[AuthXException] = []
    deliberate = False
    for type in TokenType:
        found: RequestToken | None = None
        try:
            found = state.find_token(current, type)
            if found is None:
                continue
            token = _decode(state, current, found)
            if not _belongs(state, found, [location for location, _ in valid.values()]):
                _check_deliberate(state, current, found, token)
        except (JWTDecodeError, MalformedRequestError, CSRFError) as error:
            # An invalid, duplicate or planted cookie must not prevent a log-out by the other one.
            refusals.append(error)
            deliberate |= found is not None and found.location in _DELIBERATE
        else:
            valid.setdefault(token.sid, (found.location, token))
    if not valid:
        _refuse(state, current, refusals, deliberate=deliberate)
    return [*valid.values()]


def _refuse(
    state: AppState, current: Request, refusals: list[AuthXException], *, deliberate: bool
) -> None:
    """Refuse a request without a valid token, unless it has no token at all.

    :param deliberate: whether an invalid token was sent in a way that no other site's page has.
    :raises AuthXException: if there was one, or if another site's page may have sent the request.
    """
    for refusal in refusals:
        if isinstance(refusal, CSRFError):
            raise refusal
    if not deliberate:
        _check_origin(state, current)
    if refusals:
        heal_duplicates(state, refusals[0])
        raise refusals[0]


def _decode(state: AppState, current: Request, found: RequestToken) -> Token:
    """A valid token, expired or not. A refresh cookie that another host has set is none.

    :raises JWTDecodeError: if it is invalid.
    """
    token = state.verifier.decode(found.token, expired=True)
    if found.location is Location.COOKIES:
        check_companion(state.settings, found, token, current)
    return token


def _belongs(state: AppState, found: RequestToken, accepted: list[Location]) -> bool:
    """Whether a verified token is revoked with those that are accepted, without a check of its own.

    The response unsets all cookies, so the session must end whose refresh cookie this host has set,
    as its companion says: the accepted access cookie may be another host's, and its CSRF value too.
    """
    if not state.settings.profiles[found.type].has_companion:
        return False
    has_companion = state.settings.companion_name is not None
    return has_companion and found.location is Location.COOKIES and found.location in accepted


def _check_deliberate(state: AppState, current: Request, found: RequestToken, token: Token) -> None:
    """Refuse a token that may have been sent without the user's will.

    :raises CSRFError: if the request came neither from a page of the app nor from another client.
    :raises MalformedRequestError: if its body can't be read.
    """
    if found.location is Location.QUERY:
        _check_origin(state, current)
    if found.location is Location.COOKIES and needs_csrf(state.settings, current):
        # A page may send the CSRF value of the session's other token: it proves the same session.
        check_csrf(state.settings, found, token, current, state.creator.csrf_values(token))


def _check_origin(state: AppState, current: Request) -> None:
    """Refuse a log-out that a page of another site may have sent.

    The response makes the browser delete its cookies, whether or not it sent them.

    :raises CrossOriginError: if it is refused.
    """
    if state.uses_cookies:
        check_origin(state, current)
