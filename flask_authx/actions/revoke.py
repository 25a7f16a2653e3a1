"""Revoking a token, a session or a subject, and the check whether a token is revoked."""

from __future__ import annotations

from flask import has_request_context

from flask_authx.app.identity import accepted_token, actor_of_request, revoking
from flask_authx.app.state import AppState, context_of, this_request
from flask_authx.enums import Location
from flask_authx.errors import StoreUnavailableError
from flask_authx.http.context import RequestContext
from flask_authx.http.csrf import check_companion
from flask_authx.sessions.revocations import MARGIN
from flask_authx.signals import Actor
from flask_authx.stores.base import StoreError
from flask_authx.tokens.new_token import Uid, subject
from flask_authx.tokens.token import RequestToken, Token


def revoke_token(
    state: AppState,
    token: str | RequestToken | Token | None,
    reason: str | None,
    *,
    actor: Actor | None = None,
) -> None:
    """Revoke one token; by default the request's own. A text that expired long ago is not revoked.

    Where sessions are stored, a refresh token is revoked with its session.

    :param actor: who revokes it, if no token was accepted for the request.
    :raises JWTDecodeError: if a text is no valid token, or if a refresh token was found in a cookie
        without its companion.
    :raises StoreUnavailableError: if it could not be written.
    """
    # First, so that a missing store is an error for every token.
    state.require_revocations()
    token = _current_token(state) if token is None else token
    if isinstance(token, Token):
        verified = token
    else:
        verified = state.verifier.decode(str(token), expired=True)
        if isinstance(token, RequestToken) and token.location is Location.COOKIES:
            current = this_request() if has_request_context() else None
            check_companion(state.settings, token, verified, current)
    if state.sessions is not None and state.settings.profiles[verified.type].rotates:
        # Its successor and its predecessor are as valid as itself (RFC 7009 section 2.1), and may
        # live longer.
        revoke_session(state, verified.sid, reason, actor=actor)
    elif not (verified.expired and has_expired(state, verified)):
        actor = actor_of_request(state, actor)
        with revoking(state) as revocations:
            revocations.revoke_token(verified, actor=actor, reason=reason)


def revoke_session(
    state: AppState, sid: str, reason: str | None, *, actor: Actor | None = None
) -> None:
    """Revoke a session, and remove its row if it has one.

    :raises StoreUnavailableError: if it could not be written.
    """
    actor = actor_of_request(state, actor)
    with revoking(state) as revocations:
        revocations.revoke_session(sid, actor=actor, reason=reason)


def revoke_subject(
    state: AppState, uid: Uid, keep: str | None, reason: str | None, *, actor: Actor | None = None
) -> None:
    """Revoke all sessions of a subject, but for one that may be kept, and remove their rows.

    :raises StoreUnavailableError: if it could not be written.
    """
    actor = actor_of_request(state, actor)
    with revoking(state) as revocations:
        revocations.revoke_subject(subject(uid), keep, actor=actor, reason=reason)


def revoke_all(state: AppState, reason: str | None, *, actor: Actor | None = None) -> None:
    """Revoke all sessions of all subjects.

    :raises StoreUnavailableError: if it could not be written.
    """
    actor = actor_of_request(state, actor)
    with revoking(state) as revocations:
        revocations.revoke_all(actor=actor, reason=reason)


def is_revoked(state: AppState, token: str | RequestToken | Token) -> bool:
    """Whether a token is revoked, by the store or by the app's callback. Each is called anew.

    :raises JWTDecodeError: if a text is no valid token.
    :raises StoreUnavailableError: if that could not be checked.
    :raises ValueError: if there is a callback and the token's text is unknown.
    """
    verified = token if isinstance(token, Token) else state.verifier.decode(str(token))
    if state.revocations is not None:
        try:
            if state.revocations.is_revoked(verified):
                return True
        except StoreError as error:
            raise StoreUnavailableError(error.reason) from None
    if state.callbacks.is_revoked is None:
        return False
    raw = _text_of(state, token)
    context = RequestContext()
    # The store has been queried: a failure is an error here, also with
    # `JWT_BLOCKLIST_ON_ERROR = "accept"`.
    context.not_in_store = raw
    return state.verifier.is_revoked(raw, verified, context)


def _current_token(state: AppState) -> Token:
    token = accepted_token(state)
    if token is None:
        raise RuntimeError(
            "there is no current token to revoke: guard the view with @authx.token_required, give "
            "the token, or call authx.logout(), which needs no guard"
        )
    return token


def _text_of(state: AppState, token: str | RequestToken | Token) -> str:
    if not isinstance(token, Token):
        return str(token)
    context = context_of(this_request(), state) if has_request_context() else RequestContext()
    if context.raw is not None and context.token is not None and context.token.jti == token.jti:
        return context.raw
    raise ValueError("the revocation callback takes the token as text: pass that")


def has_expired(state: AppState, token: Token) -> bool:
    """Whether a token has expired on every machine."""
    # On another machine, whose clock may be behind, it may still be valid.
    return state.clock() >= token.exp + state.settings.decode_leeway + MARGIN
