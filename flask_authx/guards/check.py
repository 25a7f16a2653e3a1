"""The check of a request, which the decorators and the before_request hook make alike.

If the revocation callback is async, the guard of an async view awaits it and then makes the check
again, with its verdict. Everywhere else the verifier waits for the callback.
"""

from __future__ import annotations

import functools
import logging

from flask import Request, after_this_request, has_request_context

from flask_authx.app.identity import actor_of_request, clear_identity, set_identity
from flask_authx.app.state import AppState, context_of, this_request
from flask_authx.enums import OnInvalid
from flask_authx.errors import AuthXException, MissingTokenError, ReusedTokenError
from flask_authx.http import csrf
from flask_authx.http.caching import add_cache_headers, has_token_in_query, varies_by
from flask_authx.http.context import RequestContext
from flask_authx.http.requirement import Requirement
from flask_authx.http.verifier import REUSE_REASON, Pending
from flask_authx.signals import token_accepted
from flask_authx.tokens.token import RequestToken, Token

_log = logging.getLogger("flask_authx")


def check_request(
    state: AppState, current: Request, requirement: Requirement, *, can_await: bool = False
) -> None:
    """Let the request pass, or raise the error that is its response.

    :param can_await: whether the caller awaits an async revocation callback itself.
    :raises AuthXException: if the requirement is not met.
    :raises Pending: if it does, and the callback is to be awaited.
    """
    context = context_of(current, state)
    context.candidate = None
    if requirement.optional or requirement.locations is not None or not state.settings.cache_safe:
        _protect_from_caches(state, current, requirement, context)
    try:
        found = state.verifier.finder.find(current, requirement.type, requirement.locations)
        context.found, context.found_for = found, requirement
        if found is None:
            if not requirement.optional:
                raise MissingTokenError
            clear_identity(current, context)
            return
        token = state.verifier.verify(found, requirement, current, context, can_await=can_await)
    except AuthXException as error:
        refusal = refuse(state, context.candidate, error)
        if refusal.code != 401 or requirement.on_invalid is OnInvalid.ERROR:
            raise refusal from None
        clear_identity(current, context)
        return
    set_identity(current, state, context, token, found.token)
    if token_accepted.receivers or context.unchecked is not None:
        _announce_accepted(state, token, context)


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
    found = state.verifier.finder.find(current, requirement.type, requirement.locations)
    if found is None and not requirement.optional:
        raise MissingTokenError
    return found


def verify(
    state: AppState, found: RequestToken, requirement: Requirement, context: RequestContext
) -> Token:
    """The verified token, which may come from elsewhere than a request.

    :raises AuthXException: if the requirement is not met.
    """
    current = this_request() if has_request_context() else None
    try:
        token = state.verifier.verify(found, requirement, current, context)
    except AuthXException as error:
        raise refuse(state, context.candidate, error) from None
    _announce_accepted(state, token, context)
    return token


def refuse(state: AppState, token: Token | None, error: AuthXException) -> AuthXException:
    """Log and announce a refusal, and return the error to raise.

    If a refresh token was reused, its session is revoked. If that fails, its error is returned.

    :param token: the verified token that is refused, if there is one.
    """
    if token is not None and isinstance(error, ReusedTokenError):
        actor = actor_of_request(state, token.sub)
        try:
            state.require_revocations().revoke_session(
                token.sid, actor=actor, reason=REUSE_REASON, reused=token
            )
        except AuthXException as failure:
            error = failure
    state.worded.word(error)
    if _log.isEnabledFor(logging.DEBUG):
        _log_refusal(state, token, error)
    state.announcer.refused(token, error)
    return error


def _log_refusal(state: AppState, token: Token | None, error: AuthXException) -> None:
    what = {"error_type": error.error_type.value, "reason": error.reason}
    ids = {name: getattr(token, name, None) for name in ("jti", "sid", "sub", "type")}
    fields = {"instance": state.name, **what, **ids}
    _log.debug("refused with %s: %s", *what.values(), extra=fields)


def _announce_accepted(state: AppState, token: Token, context: RequestContext) -> None:
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
    in_query = has_token_in_query(state.settings, requirement, current)
    if in_query or not context.varied.issuperset(vary):
        context.varied = context.varied.union(vary)
        after_this_request(functools.partial(add_cache_headers, vary, in_query=in_query))
