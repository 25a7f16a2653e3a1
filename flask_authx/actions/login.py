"""Opening a session at a log-in, and re-authentication in it."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Sequence
from dataclasses import replace

from flask import has_request_context

from flask_authx.app.identity import accepted_token
from flask_authx.app.state import AppState, this_request
from flask_authx.enums import TokenType
from flask_authx.errors import FreshTokenRequiredError, StoreUnavailableError
from flask_authx.guards.check import refuse
from flask_authx.sessions.client_details import Client, check_name, client_from
from flask_authx.signals import user_actor
from flask_authx.stores.base import StoreError
from flask_authx.stores.session_store import Session
from flask_authx.tokens.new_token import Expiry, SessionClaims, TokenOptions, Uid, subject
from flask_authx.tokens.token import CreatedToken, TokenPair

from .create_tokens import (
    create_token,
    inherited_claims,
    latest_expiry,
    new_session,
    pair_of,
    refuse_bypass,
)
from .revoke import revoke_session
from .set_cookies import check_pair_size

#: How many of a user's sessions a log-in ends at most.
_MAX_ENDED = 10


def open_session(  # noqa: PLR0913 - the user, the tokens, the name, and two conditions
    state: AppState,
    uid: Uid,
    options: TokenOptions,
    name: str | None,
    *,
    in_cookies: bool = False,
    replaces: Collection[str] = (),
) -> TokenPair:
    """Open a session: its row and its first tokens. The user's others beyond the limit are revoked.

    :param in_cookies: whether the tokens must fit into cookies.
    :param replaces: the sids of sessions that this one replaces, which do not count.
    :raises StoreUnavailableError: if a store fails.
    """
    sessions = state.require_sessions()
    check_name(name)
    claims, cutoffs = new_session(state, uid)
    claims = replace(claims, generation=0)
    # Before anything is written, since a claim can be invalid.
    pair = _first_pair(state, claims, options)
    if in_cookies:
        check_pair_size(state, pair)
    sub = subject(uid)
    active: Sequence[Session] = ()
    ended: Sequence[Session] = ()
    # Read before the new row is written: no session that is opened later gives way to this one.
    with contextlib.suppress(StoreError):
        if state.settings.max_sessions:
            active, ended = sessions.active_and_ended(sub, cutoffs)
    try:
        sessions.open(claims, client_of_request(state), name)
    except StoreError as error:
        what = "The session could not be opened right now"
        raise StoreUnavailableError(error.reason, description=what) from None
    # The session is open. A failure has been logged, and the next log-in tries again.
    with contextlib.suppress(StoreError, StoreUnavailableError):
        counted = [session for session in active if session.sid not in replaces]
        _make_room(state, counted, ended)
    return pair


def _first_pair(state: AppState, claims: SessionClaims, options: TokenOptions) -> TokenPair:
    """The first tokens of a session. Neither outlives it."""
    settings = state.settings
    left = min(settings.session_lifetime, settings.refresh_token_expires)
    access_options = replace(options, until=int(state.clock()) + left)
    refresh_options = replace(access_options, fresh=False)
    access = create_token(state, TokenType.ACCESS, claims, access_options)
    return pair_of(access, create_token(state, TokenType.REFRESH, claims, refresh_options))


def _make_room(state: AppState, active: Sequence[Session], ended: Sequence[Session]) -> None:
    """Revoke a subject's sessions beyond the limit, and remove rows of ended ones; some at a time.

    With each log-in there are fewer, since one is added and more are removed.
    """
    sessions = state.require_sessions()
    reason = f"{state.settings.prefix}MAX_SESSIONS: a new session replaces the one longest unused"
    beyond = sessions.beyond_limit(active)[:_MAX_ENDED]
    for session in beyond:
        revoke_session(state, session.sid, reason, actor=user_actor(session.sub))
    for session in ended[: _MAX_ENDED - len(beyond)]:
        sessions.end(session.sid)


def client_of_request(state: AppState) -> Client:
    """What is kept of the client that sends this request, as the settings allow."""
    details = state.settings.session_details
    if not details or not has_request_context():
        return Client()
    current = this_request()
    return client_from(details, current.headers.get("User-Agent"), current.remote_addr)


def reauthenticate(state: AppState, uid: Uid, expiry: Expiry | None) -> CreatedToken:
    """A fresh access token for the session of the request's token.

    :raises FreshTokenRequiredError: if the token is another user's.
    :raises RuntimeError: if no guard has accepted a token.
    """
    token = accepted_token(state)
    if token is None:
        raise RuntimeError(
            "there is no session to confirm: guard the view with @authx.token_required, or open "
            "one with authx.login(uid)"
        )
    if token.sub != subject(uid):
        reason = "another user has confirmed their identity"
        raise refuse(state, token, FreshTokenRequiredError(reason=reason))
    refuse_bypass(state, token)
    options = TokenOptions(
        fresh=True,
        expiry=expiry,
        scopes=sorted(token.scopes) or None,
        audience=token.claims.get("aud"),
        data=inherited_claims(state, token),
        until=latest_expiry(state, token),
    )
    return create_token(state, TokenType.ACCESS, state.creator.session(uid, token), options)
