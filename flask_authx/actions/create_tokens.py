"""Creating tokens: with the app's additional claims, and for sessions that are not revoked."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from flask import after_this_request, has_request_context

from flask_authx.app.state import AppState, context_of, remember_created, this_request
from flask_authx.enums import OnError, TokenType
from flask_authx.errors import RevokedTokenError, StoreUnavailableError, TokenExpiredError
from flask_authx.http.caching import no_store
from flask_authx.sessions.cutoffs import Cutoffs
from flask_authx.settings.options import RESERVED_CLAIMS
from flask_authx.stores.base import StoreBusyError, StoreError
from flask_authx.tokens.new_token import SessionClaims, TokenOptions, Uid, subject
from flask_authx.tokens.token import CreatedToken, Token, TokenPair

_log = logging.getLogger("flask_authx")


def create_token(
    state: AppState, type: TokenType, session: SessionClaims, options: TokenOptions
) -> CreatedToken:
    """A new token with the claims that the app's callback adds. The response is not cached."""
    callback = state.callbacks.additional_claims
    additional: Mapping[str, Any] = {} if callback is None else callback(str(session.uid))
    if has_request_context():
        after_this_request(no_store)
    created = state.creator.create(
        type, session, options, additional, for_cookies=state.uses_cookies
    )
    remember_created(created, state)
    return created


def create_access_token(
    state: AppState, uid: Uid, options: TokenOptions, token: Token | None
) -> CreatedToken:
    """An access token, of a new session or of that of a verified token.

    :raises RuntimeError: if sessions are stored and the token is a refresh token.
    :raises StoreUnavailableError: if the store fails.
    """
    refuse_bypass(state, token)
    # They were made for this call.
    options.until = latest_expiry(state, token)
    return _create_single(state, TokenType.ACCESS, uid, options, token)


def create_refresh_token(
    state: AppState, uid: Uid, options: TokenOptions, token: Token | None
) -> CreatedToken:
    """A refresh token, of a new session or of that of a verified token.

    :raises RuntimeError: if sessions are stored.
    :raises StoreUnavailableError: if the store fails.
    """
    _refuse_unstored(state, "create_refresh_token()")
    return _create_single(state, TokenType.REFRESH, uid, options, token)


def create_token_pair(
    state: AppState, uid: Uid, access: TokenOptions, refresh: TokenOptions
) -> TokenPair:
    """An access and a refresh token of one new session.

    :raises RuntimeError: if sessions are stored.
    :raises StoreUnavailableError: if the store fails.
    """
    _refuse_unstored(state, "create_token_pair()")
    session = session_claims(state, uid, None)
    return pair_of(
        create_token(state, TokenType.ACCESS, session, access),
        create_token(state, TokenType.REFRESH, session, refresh),
    )


def _create_single(
    state: AppState, type: TokenType, uid: Uid, options: TokenOptions, token: Token | None
) -> CreatedToken:
    """One token, of a new session or of that of a verified token."""
    created = create_token(state, type, session_claims(state, uid, token), options)
    if token is None and not state.warned_of_two_sessions and has_request_context():
        _warn_of_two_sessions(state, type, subject(uid))
    return created


def _warn_of_two_sessions(state: AppState, type: TokenType, sub: str) -> None:
    """Log once that one user's access and refresh token, used in one request, are two sessions.

    A log-out revokes one session, so the other token would stay valid. Other extensions have no
    sessions, and their users create the two tokens with two calls.
    """
    context = context_of(this_request(), state)
    held = context.begun
    if context.token is not None:
        held |= {(context.token.sub, context.token.type)}
    context.begun |= {(sub, type)}
    if any(one == sub and other is not type for one, other in held):
        state.warned_of_two_sessions = True
        _log.warning(
            "an access token and a refresh token of one user are in two sessions, so a log-out "
            "with one leaves the other valid: create both with authx.login(uid) or "
            "authx.create_token_pair(uid). A token for a session that exists needs login=, as in "
            "authx.create_access_token(uid, login=current_token). This is logged once"
        )


def session_claims(state: AppState, uid: Uid, token: Token | None) -> SessionClaims:
    """The claims of a verified token's session, or of a new one that begins after all revocations.

    :raises TokenExpiredError: if the token has expired, though it had not when it was verified.
    :raises StoreUnavailableError: if the store fails, so that revocations can't be checked.
    """
    if token is not None:
        if state.clock() >= token.exp + state.settings.decode_leeway:
            raise TokenExpiredError("an expired token was to get a successor (login=)")
        return state.creator.session(uid, token)
    return new_session(state, uid)[0]


def new_session(state: AppState, uid: Uid) -> tuple[SessionClaims, Cutoffs]:
    """The claims of a session that begins after all revocations, and the subject's cut-offs.

    :raises StoreUnavailableError: if the store fails, so that revocations can't be checked.
    """
    if state.revocations is None:
        return state.creator.session(uid), Cutoffs((), None)
    try:
        beginning = state.revocations.begin(subject(uid))
    except StoreBusyError as error:
        raise StoreUnavailableError(error.reason) from None
    except StoreError as error:
        if state.settings.blocklist_on_error is OnError.REFUSE:
            raise StoreUnavailableError(error.reason) from None
        _log.warning("a session was opened although revocations could not be checked")
        return state.creator.session(uid), Cutoffs((), None)
    claims = state.creator.session(uid, began=beginning.at, epoch=beginning.epoch)
    return claims, beginning.cutoffs


def inherited_claims(state: AppState, token: Token) -> dict[str, Any] | None:
    """The app's claims that the next token of a session takes over from a token.

    ``None`` if there is a claims callback: the next token has only the claims that it returns then.
    """
    if state.callbacks.additional_claims is not None:
        return None
    reserved = RESERVED_CLAIMS | {state.settings.identity_claim}
    return {name: value for name, value in token.claims.items() if name not in reserved}


def pair_of(access: CreatedToken, refresh: CreatedToken) -> TokenPair:
    """The two tokens as the app receives them."""
    return TokenPair(access.token, refresh.token, access.lifetime, refresh.lifetime)


def latest_expiry(state: AppState, token: Token | None) -> int | None:
    """The latest expiry of a further token of a stored session; ``None`` for other sessions.

    In seconds since 1970-01-01 UTC, by the clock of this machine.

    :raises RevokedTokenError: if the session has ended.
    :raises StoreUnavailableError: if the store fails.
    """
    if token is None or state.sessions is None:
        return None
    try:
        row = state.sessions.find(token.sid)
    except StoreError as error:
        raise StoreUnavailableError(error.reason) from None
    if row is None:
        raise RevokedTokenError("its session has ended")
    idle = state.settings.refresh_token_expires
    return int(state.clock()) + min(row.left_until_end, idle)


def refuse_bypass(state: AppState, token: Token | None) -> None:
    """Refuse to create tokens that bypass refresh token rotation.

    :raises RuntimeError: if sessions are stored and the token is a refresh token.
    """
    if state.sessions is None or token is None:
        return
    if state.settings.profiles[token.type].rotates:
        raise RuntimeError(
            "authx.refresh() creates the access token for a refresh token, and replaces the "
            f"refresh token: {state.settings.prefix}SESSIONS is on"
        )


def _refuse_unstored(state: AppState, what: str) -> None:
    """Refuse to create a refresh token that belongs to no stored session.

    :raises RuntimeError: if sessions are stored, naming what opens one.
    """
    if state.sessions is not None:
        raise RuntimeError(
            f"{what} would create a refresh token without a stored session, and "
            f"{state.settings.prefix}SESSIONS is on: use authx.login(uid), which opens one"
        )
