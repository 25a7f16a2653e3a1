"""The check of a request, which the decorators and the before_request hook make alike.

It is written once. Where a revocation callback is async, an async view awaits it and makes the
check again, which then knows the verdict; everywhere else the verifier waits for it.
"""

from __future__ import annotations

import functools

from flask import Request, after_this_request, has_request_context

from flask_authx.app.identity import accepted_token, clear_identity, set_identity
from flask_authx.app.state import AppState, context_of, this_request
from flask_authx.enums import OnInvalid
from flask_authx.errors import AuthXException, MissingTokenError, ReusedTokenError
from flask_authx.http import csrf
from flask_authx.http.caching import add_cache_headers, has_token_in_query, varies_by
from flask_authx.http.context import RequestContext
from flask_authx.http.requirement import Requirement
from flask_authx.http.verifier import USED_AGAIN, Pending
from flask_authx.signals import token_accepted
from flask_authx.tokens.token import RequestToken, Token


def check_request(state: AppState, current: Request, requirement: Requirement) -> None:
    """Let the request pass, or raise the error that is its response.

    :raises AuthXException: if the requirement is not met.
    """
    context = context_of(current, state)
    context.suspect = None
    if requirement.optional or requirement.locations is not None or not state.settings.cache_safe:
        _protect_from_caches(state, current, requirement, context)
    try:
        found = state.verifier.finder.find(
            current, requirement.type, requirement.locations, context.found
        )
        if found is None:
            if not requirement.optional:
                raise MissingTokenError
            clear_identity(current, context)
            return
        token = state.verifier.verify(found, requirement, current, context)
    except AuthXException as error:
        refusal = refuse(state, context.suspect, error)
        if refusal.code != 401 or requirement.on_invalid is OnInvalid.ERROR:
            raise refusal from None
        clear_identity(current, context)
        return
    set_identity(current, state, context, token, found.token)
    if token_accepted.receivers or context.unchecked is not None:
        _announce_accepted(state, token, context)


async def check_request_async(state: AppState, current: Request, requirement: Requirement) -> None:
    """The same, from code that can await the revocation callback."""
    context = context_of(current, state)
    pending: Pending | None = None
    while True:
        if pending is not None:
            # Not in the except block: the token would be part of the next error's context.
            await state.verifier.settle(pending, context)
        context.can_await = True
        try:
            return check_request(state, current, requirement)
        except Pending as stopped:
            pending = stopped
        finally:
            context.can_await = False


def check_origin(state: AppState, current: Request) -> None:
    """Refuse a log-in that a page of another site has sent.

    :raises CrossOriginError: then.
    """
    csrf.check_origin(state.settings, current, silent=True)


def find_token(state: AppState, current: Request, requirement: Requirement) -> RequestToken | None:
    """The token of a request, unverified.

    :raises AuthXException: if there is none and one is required, or more than one.
    """
    _protect_from_caches(state, current, requirement, context_of(current, state))
    found = state.find_token(current, requirement.type, requirement.locations)
    if found is None and not requirement.optional:
        raise MissingTokenError
    return found


def verify(
    state: AppState, found: RequestToken, requirement: Requirement, context: RequestContext
) -> Token:
    """The verified token, which need not come from a request.

    :raises AuthXException: if the requirement is not met.
    """
    current = this_request() if has_request_context() else None
    try:
        token = state.verifier.verify(found, requirement, current, context)
    except AuthXException as error:
        raise refuse(state, context.suspect, error) from None
    _announce_accepted(state, token, context)
    return token


def refuse(state: AppState, suspect: Token | None, error: AuthXException) -> AuthXException:
    """The error to raise, after its announcement.

    A refresh token that was used again revokes its session. If that fails the error says so.
    """
    if suspect is not None and isinstance(error, ReusedTokenError):
        accepted = accepted_token(state)
        actor = suspect.sub if accepted is None else accepted.sub
        try:
            state.require_revocations().revoke_session(
                suspect.sid, actor=actor, reason=USED_AGAIN, reused=suspect
            )
        except AuthXException as failure:
            error = failure
    state.worded.word(error)
    state.announcer.refused(suspect, error)
    return error


def _announce_accepted(state: AppState, token: Token, context: RequestContext) -> None:
    state.announcer.accepted(token)
    # Not for one that a guard has refused since for another reason.
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
