"""Logging in: a session is opened, and proved again."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Sequence
from dataclasses import replace

from flask import has_request_context

from flask_authx.app.state import AppState, memory_of, this_request
from flask_authx.enums import Detail, TokenType
from flask_authx.errors import FreshTokenRequiredError, StoreUnavailableError
from flask_authx.guards import check
from flask_authx.sessions.client import MAX_TEXT, Client, _is_plain, check_name
from flask_authx.sessions.rotation import Sessions
from flask_authx.stores.base import StoreError
from flask_authx.stores.session_store import Session
from flask_authx.tokens.create import Expiry, SessionClaims, TokenOptions, Uid, subject
from flask_authx.tokens.token import CreatedToken, TokenPair

from . import create, revoke, set_cookies
from .create import refuse_bypass


def sessions_of(state: AppState) -> Sessions:
    """The logins that are kept in rows.

    :raises RuntimeError: if they are not, with how to change that.
    """
    if state.sessions is None:
        prefix = state.settings.prefix
        raise RuntimeError(
            f'logins are not kept in a store: set app.config["{prefix}SESSIONS"] = True and '
            f"{prefix}BLOCKLIST before authx.init_app(app)"
        )
    return state.sessions


# Opening


def open_login(  # noqa: PLR0913 - a user, a name, and what the tokens say and where they go
    state: AppState,
    uid: Uid,
    options: TokenOptions,
    name: str | None,
    *,
    in_cookies: bool = False,
    replaces: Collection[str] = (),
) -> TokenPair:
    """Open a login: its row and its first tokens. Too many of one user: the oldest gives way.

    :param in_cookies: whether the tokens must fit into cookies.
    :param replaces: the sids of logins that end with this, and so don't count.
    :raises StoreUnavailableError: if a store can't answer.
    """
    sessions = sessions_of(state)
    check_name(name)
    login = replace(create.new_login(state, uid, None), generation=0)
    # What is wrong with a claim comes out before anything is written.
    pair = _first_pair(state, login, options)
    if in_cookies:
        set_cookies.check(state, pair)
    sub = subject(uid)
    going_on: Sequence[Session] = ()
    over: Sequence[Session] = ()
    # Asked before, so that none is among them that was opened in the same second after this one.
    with contextlib.suppress(StoreError):
        if state.settings.max_sessions:
            going_on, over = _logins(state, sub)
    try:
        sessions.open(sub, login.sid, login.auth_time, client_of(state), name)
    except StoreError:
        what = "The login could not be opened right now"
        raise state.dress(StoreUnavailableError(description=what)) from None
    # The login is open. If this fails that has been logged, and the next one does it.
    with contextlib.suppress(StoreError, StoreUnavailableError):
        _make_room(state, [one for one in going_on if one.sid not in replaces], over)
    return pair


def _first_pair(state: AppState, login: SessionClaims, options: TokenOptions) -> TokenPair:
    """The tokens that a login begins with. Neither outlives it, used or not."""
    settings = state.settings
    idle = int(state.clock()) + settings.refresh_token_expires
    ends = min(login.auth_time + settings.session_lifetime, idle)
    access = create.create_token(state, TokenType.ACCESS, login, replace(options, until=ends))
    lasting = replace(options, fresh=False, until=ends)
    refresh = create.create_token(state, TokenType.REFRESH, login, lasting)
    return create.pair_of(access, refresh)


def _logins(state: AppState, sub: str) -> tuple[list[Session], list[Session]]:
    """The logins of a subject that go on, and those that a cut-off has ended."""
    return sessions_of(state).of(sub, revoke.store_of(state).cutoffs(sub))


def _make_room(state: AppState, going_on: Sequence[Session], over: Sequence[Session]) -> None:
    """End the oldest logins of a subject that are too many; remove rows of those that are over."""
    sessions = sessions_of(state)
    for session in over:
        sessions.end(session.sid)
    reason = f"{state.settings.prefix}MAX_SESSIONS: the oldest gives way"
    for session in sessions.surplus(going_on):
        revoke.revoke_session(state, session.sid, reason, actor=session.sub)


# Proving it again


def reauthenticate(state: AppState, uid: Uid, expiry: Expiry | None) -> CreatedToken:
    """A fresh access token for the login of the request's token.

    :raises FreshTokenRequiredError: if that is another user's.
    :raises RuntimeError: if nobody is authenticated.
    """
    token = memory_of(this_request(), state).token if has_request_context() else None
    if token is None:
        raise RuntimeError(
            "there is no login to prove again: guard the view with @authx.token_required, or open "
            "one with authx.login(uid)"
        )
    if token.sub != subject(uid):
        raise check.refuse(state, token, FreshTokenRequiredError())
    refuse_bypass(state, token)
    options = TokenOptions(
        fresh=True,
        expiry=expiry,
        scopes=sorted(token.scopes) or None,
        audience=token.aud or None,
        data=create.carried(state, token),
        until=create.last_second(state, token),
    )
    return create.create_token(state, TokenType.ACCESS, state.creator.session(uid, token), options)


def client_of(state: AppState) -> Client:
    """What the app allows to be kept of who sends this request."""
    details = state.settings.session_details
    if not details or not has_request_context():
        return Client()
    current = this_request()
    said = {
        Detail.USER_AGENT: current.headers.get("User-Agent"),
        # A proxy passes on what it was told.
        Detail.ADDRESS: current.remote_addr,
    }
    agent, address = (
        "".join(filter(_is_plain, said[one] or ""))[:MAX_TEXT] if one in details else ""
        for one in (Detail.USER_AGENT, Detail.ADDRESS)
    )
    return Client(user_agent=agent or None, address=address or None)
