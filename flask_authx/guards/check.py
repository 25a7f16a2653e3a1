"""The check of a request, which the decorators and the before_request hook make alike."""

from __future__ import annotations

import functools

from flask import Request, after_this_request, has_request_context

from flask_authx.app.awaiting import wait
from flask_authx.app.identity import forget, identify
from flask_authx.app.state import AppState, memory_of, this_request
from flask_authx.enums import Location, OnInvalid
from flask_authx.errors import AuthXException, MissingTokenError, ReusedTokenError
from flask_authx.http import csrf
from flask_authx.http.caching import add_cache_headers, is_in_query
from flask_authx.http.context import RequestContext
from flask_authx.http.requirement import Requirement
from flask_authx.http.verifier import Pending
from flask_authx.signals import (
    announce_accepted,
    announce_refused,
    announce_unchecked,
    token_accepted,
)
from flask_authx.tokens.token import RequestToken, Token


def check_request(state: AppState, current: Request, requirement: Requirement) -> None:
    """Let the request pass, or raise what it is answered with.

    :raises AuthXException: if the requirement isn't met.
    """
    while (stopped := _walk(state, current, requirement)) is not None:
        settle(state, stopped)


async def check_request_async(state: AppState, current: Request, requirement: Requirement) -> None:
    """The same, from code that can await the revocation callback."""
    while (stopped := _walk(state, current, requirement)) is not None:
        await state.verifier.settle(stopped)


def _walk(state: AppState, current: Request, requirement: Requirement) -> Pending | None:
    """Check all that can be checked without waiting.

    The request has passed if this returns ``None``; else the answer that is returned is to be
    waited for, and then the walk starts again.
    """
    memory = memory_of(current, state)
    memory.suspect = None
    if (
        requirement.optional
        or requirement.locations is not None
        or not state.settings.only_discreet
    ):
        _harden(state, current, requirement, memory)
    try:
        found = state.verifier.finder.find(current, requirement.type, requirement.locations)
        if found is None:
            _nobody(current, requirement, memory)
            return None
        token = state.verifier.verify(found, requirement, current, memory)
    except AuthXException as error:
        refusal = refuse(state, memory.suspect, error)
        if refusal.code != 401 or requirement.on_invalid is OnInvalid.ERROR:
            raise refusal from None
        forget(current, memory)
        return None
    except Pending as pending:
        # Not waited for in here: the token would hang on the next error as its context.
        return pending
    identify(current, state, memory, token, found.token)
    if token_accepted.receivers or memory.unchecked is not None:
        _accept(state, token, memory)
    return None


def settle(state: AppState, pending: Pending) -> None:
    """Wait for a callback's answer, from code that can't await it."""
    try:
        wait(state.app, state.verifier.settle, pending)
    except Exception:  # noqa: BLE001 - Flask without its extra "async", or an app that overrides it
        state.verifier.give_up(pending)


def _nobody(current: Request, requirement: Requirement, memory: RequestContext) -> None:
    if not requirement.optional:
        raise MissingTokenError
    forget(current, memory)


def check_origin(state: AppState, current: Request) -> None:
    """Refuse a log-in that a page of another site has made a browser send.

    :raises CrossOriginError: then.
    """
    try:
        csrf.check_origin(state.settings, current, silent=True)
    except AuthXException as error:
        state.dress(error)
        raise


def find(state: AppState, current: Request, requirement: Requirement) -> RequestToken | None:
    """The token of a request, unverified.

    :raises AuthXException: if there is none and one is needed, or more than one.
    """
    _harden(state, current, requirement, memory_of(current, state))
    try:
        found = state.verifier.finder.find(current, requirement.type, requirement.locations)
        if found is None and not requirement.optional:
            raise MissingTokenError
    except AuthXException as error:
        state.dress(error)
        raise
    return found


def verify(
    state: AppState,
    found: RequestToken,
    requirement: Requirement,
    memory: RequestContext,
) -> Token:
    """The verified token, which need not come from a request.

    :raises AuthXException: if the requirement isn't met.
    """
    current = this_request() if has_request_context() else None
    try:
        token = state.verifier.verify(found, requirement, current, memory)
    except AuthXException as error:
        raise refuse(state, memory.suspect, error) from None
    except Pending as pending:
        stopped = pending
    else:
        _accept(state, token, memory)
        return token
    settle(state, stopped)
    return verify(state, found, requirement, memory)


def _accept(state: AppState, token: Token, memory: RequestContext) -> None:
    """Tell who wants to know."""
    if token_accepted.receivers:
        announce_accepted(state.app, state.name, token)
    # Not for one that a guard has refused since for another reason.
    if memory.unchecked is not None and memory.unchecked.jti == token.jti:
        announce_unchecked(state.app, state.name, memory.unchecked)
        memory.unchecked = None


def refuse(state: AppState, suspect: Token | None, error: AuthXException) -> AuthXException:
    """The error with which a request is refused, in the app's words; who wants to know is told.

    A refresh token that was used again ends its login. If that can't be done the error says so.
    """
    if suspect is not None and isinstance(error, ReusedTokenError):
        try:
            state.end_reused(state, suspect)
        except AuthXException as failure:
            error = failure
    state.dress(error)
    announce_refused(state.app, state.name, suspect, error)
    return error


def _harden(
    state: AppState, current: Request, requirement: Requirement, memory: RequestContext
) -> None:
    """Keep caches and referrers from passing the token or the page on (RFC 6750 section 5.3)."""
    allowed = (
        state.settings.token_location if requirement.locations is None else requirement.locations
    )
    vary: list[str] = []
    if Location.COOKIES in allowed:
        vary.append("Cookie")
    if requirement.optional and Location.HEADERS in allowed:
        # An answer to nobody must not be served to somebody. Without `optional` there is none.
        vary.append(state.settings.header_name)
    in_query = Location.QUERY in allowed and is_in_query(current, state.settings.query_string_name)
    if in_query or not memory.varied.issuperset(vary):
        memory.varied = memory.varied.union(vary)
        after_this_request(functools.partial(add_cache_headers, vary, in_query=in_query))
