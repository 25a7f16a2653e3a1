"""The check of a request, which decorators, the before_request hook and ``identify`` make alike.

If the revocation callback is async, the guard of an async view awaits it and then makes the check
again, with its verdict. Everywhere else the verifier waits for the callback.
"""

from __future__ import annotations

import contextlib
import functools
from dataclasses import replace
from typing import cast

from flask import Request, after_this_request, has_request_context

from flask_authx.app.cookie_paths import unset_former_cookies
from flask_authx.app.identity import (
    actor_of_request,
    clear_identity,
    revoking,
    set_identity,
    user_of,
)
from flask_authx.app.state import AppState, context_of, current_state, this_request
from flask_authx.enums import Location, OnInvalid, TokenType
from flask_authx.errors import (
    AuthXException,
    BadConfigurationError,
    ReusedTokenError,
    RevokedTokenError,
    StoreUnavailableError,
)
from flask_authx.http import csrf
from flask_authx.http.caching import add_cache_headers, exposes_token, varies_by
from flask_authx.http.callbacks import Callbacks
from flask_authx.http.context import RequestContext
from flask_authx.http.locations import DuplicateCookieError
from flask_authx.http.requirement import Requirement
from flask_authx.http.verifier import REUSE_REASON, Pending
from flask_authx.sessions.rotation import RefreshStatus
from flask_authx.signals import token_accepted, user_actor
from flask_authx.stores.base import StoreError, UncommittedWritesError
from flask_authx.tokens.token import RequestToken, Token


def check_request(
    state: AppState,
    current: Request,
    requirement: Requirement,
    *,
    can_await: bool = False,
    asks: bool = False,
) -> None:
    """Let the request pass, or raise the error that is its response.

    What :func:`check_for_guards` has checked in this request is not checked again.

    :param can_await: whether the caller awaits an async revocation callback itself.
    :param asks: whether the caller only asks: no signal or log line tells of an error.
    :raises AuthXException: if the requirement is not met.
    :raises Pending: if it does, and the callback is to be awaited.
    """
    context = context_of(current, state)
    if context.met and _was_met(state, current, requirement, context):
        return
    context.candidate = None
    if requirement.optional or requirement.locations is not None or not state.settings.cache_safe:
        _protect_from_caches(state, current, requirement, context)
    found: RequestToken | None = None
    try:
        found = state.verifier.finder.find(current, requirement.type, requirement.locations)
        context.found, context.found_for = found, requirement
        if found is None:
            if not requirement.optional:
                raise state.verifier.finder.missing(current, requirement.locations)
            clear_identity(current, context)
            return
        token = state.verifier.verify(found, requirement, current, context, can_await=can_await)
        if requirement.user:
            user_of(state, context, token, found.token)
    except AuthXException as error:
        if asks:
            raise
        _refuse_or_ignore(state, requirement, context, found, error)
        clear_identity(current, context)
        return
    set_identity(current, state, context, token, found.token)
    if token_accepted.receivers or context.unchecked is not None:
        _announce_accepted(state, token, context)


def check_for_guards(state: AppState, current: Request, requirement: Requirement) -> None:
    """The same as :func:`check_request`, after which guards do not check it again.

    :raises AuthXException: if the requirement is not met.
    """
    check_request(state, current, requirement)
    context = context_of(current, state)
    accepted: tuple[Token, str] | None = None
    if context.token is not None and context.raw is not None:
        accepted = (context.token, context.raw)
    context.met = (*context.met, (requirement, accepted))


def _was_met(
    state: AppState, current: Request, requirement: Requirement, context: RequestContext
) -> bool:
    """Whether the hook has checked a requirement; if so, the identity is again what it was then."""
    for met, accepted in context.met:
        if met is requirement or met == requirement:
            if accepted is None:
                clear_identity(current, context)
            else:
                set_identity(current, state, context, *accepted)
            return True
    return False


def _refuse_or_ignore(
    state: AppState,
    requirement: Requirement,
    context: RequestContext,
    found: RequestToken | None,
    error: AuthXException,
) -> None:
    """Raise the error, unless the request is to be treated as one without a token."""
    refusal = refuse(state, context.candidate, error)
    # A browser sends a cookie that has expired or was revoked to public pages, too. The user
    # has not chosen to authenticate there, and another tab may just have refreshed.
    is_cookie = found is not None and found.location is Location.COOKIES
    ignored = requirement.on_invalid is OnInvalid.IGNORE or (requirement.optional and is_cookie)
    if refusal.code != 401 or not ignored:
        heal_duplicates(state, refusal)
        raise refusal from None


def identify(
    callbacks: Callbacks, requirement: Requirement, *, optional: bool, on_error: str
) -> Token | None:
    """The request's token if it meets the requirement, which is not an optional one.

    :param optional: whether ``None`` is returned in place of an error of the client.
    :param on_error: with ``optional``, "ignore" also returns ``None`` if a store fails.
    :raises AuthXException: if the requirement is not met, or a store fails.
    :raises RuntimeError: outside of a request.
    """
    if on_error not in ("raise", "ignore"):
        raise ValueError("on_error must be 'raise' or 'ignore'")
    if on_error == "ignore" and not optional:
        # It would let everybody pass while the store fails.
        raise BadConfigurationError("on_error='ignore' needs optional=True.")
    if not has_request_context():
        raise RuntimeError(
            "identify() needs a request: in tasks, scripts and WebSockets call "
            "authx.verify_token(token)"
        )
    state, current = current_state(callbacks), this_request()
    context = context_of(current, state)
    # Whatever the answer is, the caller may let it decide about the response.
    _protect_from_caches(state, current, replace(requirement, optional=True), context)
    if not optional:
        check_request(state, current, requirement)
        return context.token
    try:
        return _answer(state, current, requirement, context)
    except AuthXException as error:
        if on_error == "ignore":
            return None
        raise refuse(state, context.candidate, error) from None


def _answer(
    state: AppState, current: Request, requirement: Requirement, context: RequestContext
) -> Token | None:
    """What ``identify(optional=True)`` answers, remembered until the request revokes something.

    :raises AuthXException: if a store or a callback fails.
    """
    known: tuple[Token, str] | None = None
    if requirement in context.identified:
        known = context.identified[requirement]
        if known is not None:
            set_identity(current, state, context, *known)
    else:
        try:
            check_request(state, current, requirement, asks=True)
            # There is one, since the requirement is not optional.
            known = cast("tuple[Token, str]", (context.token, context.raw))
        except AuthXException as error:
            if error.code is None or error.code >= 500:
                raise
        context.identified = {**context.identified, requirement: known}
    return None if known is None else known[0]


async def check_request_async(state: AppState, current: Request, requirement: Requirement) -> None:
    """The same as :func:`check_request`, for callers that can await the revocation callback."""
    while True:
        try:
            return check_request(state, current, requirement, can_await=True)
        except Pending as stopped:
            pending = stopped
        # Not in the except block: the token would be part of the next error's context.
        await state.verifier.await_verdict(pending, context_of(current, state))


def check_origin(state: AppState, current: Request) -> None:
    """Refuse a request without a CSRF value that a page of another site may have sent.

    :raises CrossOriginError: if it is refused.
    """
    csrf.check_origin(state.settings, current, allow_missing=True)


def find_token(state: AppState, current: Request, requirement: Requirement) -> RequestToken | None:
    """The token of a request, unverified.

    :raises AuthXException: if there is more than one, or none although one is required.
    """
    _protect_from_caches(state, current, requirement, context_of(current, state))
    # Kept nowhere: it is the caller's own, who may change it.
    try:
        found = state.verifier.finder.find(current, requirement.type, requirement.locations)
    except DuplicateCookieError as error:
        heal_duplicates(state, error)
        raise
    if found is None and not requirement.optional:
        raise state.verifier.finder.missing(current, requirement.locations)
    return found


def verify(
    state: AppState, sent: str | RequestToken, requirement: Requirement, context: RequestContext
) -> Token:
    """The verified token, which may come from elsewhere than a request.

    :raises AuthXException: if the requirement is not met.
    """
    current = this_request() if has_request_context() else None
    found = (
        sent if isinstance(sent, RequestToken) else RequestToken(str(sent), type=requirement.type)
    )
    try:
        token = state.verifier.verify(found, requirement, current, context)
    except AuthXException as error:
        raise refuse(state, context.candidate, error) from None
    _announce_accepted(state, token, context)
    # A text has no location, although it is checked as if it came in a header.
    return token if isinstance(sent, RequestToken) else Token(token.parsed)


def heal_duplicates(state: AppState, error: AuthXException) -> None:
    """If the request had two cookies of one name, unset those at former places in its response."""
    if isinstance(error, DuplicateCookieError):
        after_this_request(functools.partial(unset_former_cookies, state))


def refuse(state: AppState, token: Token | None, error: AuthXException) -> AuthXException:
    """Log and announce a refusal, and return the error to raise.

    If a refresh token was reused, its session is revoked. If that fails, its error is returned.

    :param token: the verified token that is refused, if there is one.
    """
    if token is not None and isinstance(error, ReusedTokenError):
        actor = actor_of_request(state, user_actor(token.sub))
        try:
            with revoking(state) as revocations:
                revocations.revoke_session(
                    token.sid, actor=actor, reason=REUSE_REASON, reused=token
                )
        except AuthXException as failure:
            error = failure
    elif token is not None and isinstance(error, RevokedTokenError):
        _finish_revocation(state, token)
    state.worded.word(error, token)
    state.announcer.refused(token, error)
    return error


def _finish_revocation(state: AppState, token: Token) -> None:
    """Do what is left to do of a session's revocation, if its refresh token is sent again.

    It may have been revoked without a confirmation of the store, so that the client got a 503.
    """
    sessions, revocations = state.sessions, state.revocations
    if token.type is not TokenType.REFRESH or sessions is None or revocations is None:
        return
    # The token is refused whether or not this succeeds. A failure has been logged.
    with contextlib.suppress(StoreError, StoreUnavailableError, UncommittedWritesError):
        status, row = sessions.status_of(token.parsed)
        if row is None:
            return
        is_reuse = status is RefreshStatus.REUSED
        revocations.finish(
            token,
            actor=actor_of_request(state, user_actor(token.sub)),
            reason=REUSE_REASON if is_reuse else None,
            reused=token if is_reuse else None,
        )


def _announce_accepted(state: AppState, token: Token, context: RequestContext) -> None:
    if context.announced is not token:
        context.announced = token
        state.announcer.accepted(token)
    # Not for another token, which was refused after it had passed unchecked.
    if context.unchecked is not None and context.unchecked.jti == token.jti:
        state.announcer.unchecked(context.unchecked)
        context.unchecked = None


def _protect_from_caches(
    state: AppState, current: Request, requirement: Requirement, context: RequestContext
) -> None:
    """Keep the token and the page out of caches and referrers. Each header is added once."""
    vary = varies_by(state.settings, requirement)
    exposed = exposes_token(state.settings, requirement, current)
    if exposed or not context.varied.issuperset(vary):
        context.varied = context.varied.union(vary)
        after_this_request(functools.partial(add_cache_headers, vary, exposed=exposed))
