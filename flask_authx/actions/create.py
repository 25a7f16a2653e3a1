"""New tokens as the app gets them: its own claims among them, and the answer kept out of caches."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from flask import after_this_request, has_request_context

from flask_authx.app.state import AppState, note_minted
from flask_authx.enums import OnError, TokenType
from flask_authx.errors import StoreUnavailableError
from flask_authx.http.caching import no_store
from flask_authx.settings.options import RESERVED_CLAIMS
from flask_authx.stores.base import StoreError
from flask_authx.tokens.create import SessionClaims, TokenOptions, Uid, subject
from flask_authx.tokens.token import CreatedToken, Token, TokenPair

_log = logging.getLogger("flask_authx")


def carried(state: AppState, token: Token) -> dict[str, Any] | None:
    """The app's own claims that go on from a token to the next one of its login.

    None, where a callback says anew what is true of the user: what it leaves out is true no more.
    """
    if state.callbacks.claims is not None:
        return None
    fixed = RESERVED_CLAIMS | {state.settings.identity_claim}
    return {name: value for name, value in token.claims.items() if name not in fixed}


def create_token(
    state: AppState, type: TokenType, login: SessionClaims, options: TokenOptions
) -> CreatedToken:
    """A new token, with the claims that the app's callback adds."""
    describe = state.callbacks.claims
    additional: Mapping[str, Any] = {} if describe is None else describe(str(login.uid))
    if has_request_context():
        after_this_request(no_store)
    minted = state.creator.create(type, login, options, additional)
    note_minted(minted, state)
    return minted


def pair_of(access: CreatedToken, refresh: CreatedToken) -> TokenPair:
    """The two tokens as the app gets them."""
    return TokenPair(access.token, refresh.token, access.lifetime, refresh.lifetime)


def end_of(state: AppState, token: Token) -> int:
    """The second in which a token's login ends for good."""
    return token.auth_time + state.settings.session_lifetime


def last_second(state: AppState, token: Token | None) -> int | None:
    """When further tokens of a login must have expired, if anything says so."""
    if token is None or state.sessions is None:
        return None
    return min(end_of(state, token), int(state.clock()) + state.settings.refresh_token_expires)


def refuse_rowless(state: AppState, what: str) -> None:
    """Refuse to mint a refresh token that no row knows.

    :raises RuntimeError: if logins are kept in rows, naming what opens one.
    """
    if state.sessions is not None:
        raise RuntimeError(
            f"{what} would make a refresh token that belongs to no kept login, and "
            f"{state.settings.prefix}SESSIONS is on: use authx.login(uid), which opens one"
        )


def refuse_bypass(state: AppState, token: Token | None) -> None:
    """Refuse to mint beside the rotation.

    :raises RuntimeError: if the token is one that is replaced when others are minted for it.
    """
    if state.sessions is None or token is None:
        return
    if state.settings.profiles[token.type].rotates:
        raise RuntimeError(
            "an access token for a refresh token is what authx.refresh() mints, which also "
            f"replaces the refresh token; {state.settings.prefix}SESSIONS is on"
        )


def new_login(state: AppState, uid: Uid, continued: Token | None) -> SessionClaims:
    """A new login that no revocation so far ends, or the one that a verified token belongs to.

    :raises StoreUnavailableError: if the store can't say which logins of the user are over.
    """
    earliest = 0
    if continued is None and state.revocations is not None:
        try:
            earliest = state.revocations.earliest_login(subject(uid))
        except StoreError:
            if state.settings.blocklist_on_error is OnError.REFUSE:
                raise state.dress(StoreUnavailableError()) from None
            _log.warning("a login was opened without knowing which are revoked")
    return state.creator.session(uid, continued, earliest)
