"""New tokens as the app gets them: its own claims among them, and the answer kept out of caches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import after_this_request, has_request_context

from flask_authx.app.state import AppState, note_minted
from flask_authx.http.caching import no_store
from flask_authx.settings.options import RESERVED_CLAIMS
from flask_authx.tokens.create import SessionClaims, TokenOptions
from flask_authx.tokens.token import CreatedToken, Token, TokenPair

from .enums import TokenType


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
