"""Logins, as the app asks for them: open one, refresh it, prove it again, list those of a user.

A refresh checks everything and makes the new tokens before it writes, and it writes once: a
compare-and-set of the login's row. So whatever fails before has consumed nothing, and if the answer
is lost after it, the token that was sent is the predecessor and is answered again.
"""

from __future__ import annotations

import contextlib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from flask import Flask, Response, after_this_request, has_request_context
from werkzeug.exceptions import MethodNotAllowed

from . import guards, jar, revoking
from .context import AppState, load_user, memory_of, note_minted, this_request
from .errors import (
    AuthXException,
    FreshTokenRequiredError,
    InsufficientScopeError,
    JWTDecodeError,
    ReusedTokenError,
    RevokedTokenError,
    StoreUnavailableError,
    SubjectNotFoundError,
    TokenExpiredError,
)
from .mint import Expiry, Extras, Login, Uid, scope_list, subject
from .sessions import Client, Sessions, Standing
from .settings import RESERVED_CLAIMS, SAFE_METHODS, Detail
from .stores.entries import StoreError
from .stores.session import Session, Visit
from .tokens import Location, Minted, RequestToken, Token, TokenPair, TokenType, grants
from .verifier import USED_AGAIN, Demand, Memory

#: Characters of a login's name, and of what a client says of itself.
MAX_TEXT = 255
#: How often a row is read again that another refresh has changed meanwhile. Once is enough, unless
#: the store contradicts itself.
_ATTEMPTS = 3
#: Control characters, lone surrogates, and what ends a line or a paragraph.
_BREAKING = ("Cc", "Cs", "Zl", "Zp")
#: What changes the direction of text, so that a name reads as something else.
_TURNING = "\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_COOKIES = frozenset({Location.COOKIES})
_REFRESH = Demand(type=TokenType.REFRESH, replaced=True)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A refresh token that a guard would let pass, and what is asked for it."""

    token: Token
    memory: Memory
    extras: Extras
    #: Whether the new tokens must fit into cookies, where it came from.
    in_cookies: bool


def carried(state: AppState, token: Token) -> dict[str, Any] | None:
    """The app's own claims that go on from a token to the next one of its login.

    None, where a callback says anew what is true of the user: what it leaves out is true no more.
    """
    if state.instance.claims is not None:
        return None
    fixed = RESERVED_CLAIMS | {state.settings.identity_claim}
    return {name: value for name, value in token.claims.items() if name not in fixed}


def mint(state: AppState, type: TokenType, login: Login, extras: Extras) -> Minted:
    """A new token, with the claims that the app's callback adds."""
    describe = state.instance.claims
    additional: Mapping[str, Any] = {} if describe is None else describe(str(login.uid))
    if has_request_context():
        after_this_request(no_store)
    minted = state.mint.mint(type, login, extras, additional)
    note_minted(minted, state)
    return minted


def no_store(response: Response) -> Response:
    """Keep an answer that was made for one client out of all caches (RFC 6749 section 5.1)."""
    response.headers["Cache-Control"] = "no-store"
    return response


def pair_of(access: Minted, refresh: Minted) -> TokenPair:
    """The two tokens as the app gets them."""
    return TokenPair(access.token, refresh.token, access.lifetime, refresh.lifetime)


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


# Opening


def open_login(  # noqa: PLR0913 - a user, a name, and what the tokens say and where they go
    app: Flask,
    state: AppState,
    uid: Uid,
    extras: Extras,
    name: str | None,
    *,
    in_cookies: bool = False,
) -> TokenPair:
    """Open a login: its row and its first tokens. Too many of one user: the oldest gives way.

    :param in_cookies: whether the tokens must fit into cookies.
    :raises StoreUnavailableError: if a store can't answer.
    """
    sessions = sessions_of(state)
    check_name(name)
    login = replace(revoking.new_login(state, uid, None), generation=0)
    # What is wrong with a claim comes out before anything is written.
    settings = state.settings
    idle = int(state.clock()) + settings.refresh_token_expires
    ends = min(login.auth_time + settings.session_lifetime, idle)
    access = mint(state, TokenType.ACCESS, login, replace(extras, until=ends))
    refresh = mint(state, TokenType.REFRESH, login, replace(extras, fresh=False, until=ends))
    pair = pair_of(access, refresh)
    if in_cookies:
        jar.check(state, pair)
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
        _make_room(app, state, going_on, over)
    return pair


def _logins(state: AppState, sub: str) -> tuple[list[Session], list[Session]]:
    """The logins of a subject that go on, and those that a cut-off has ended."""
    return sessions_of(state).of(sub, revoking.store_of(state).cutoffs(sub))


def _make_room(
    app: Flask, state: AppState, going_on: Sequence[Session], over: Sequence[Session]
) -> None:
    """End the oldest logins of a subject that are too many; remove rows of those that are over."""
    sessions = sessions_of(state)
    for session in over:
        sessions.end(session.sid)
    reason = f"{state.settings.prefix}MAX_SESSIONS: the oldest gives way"
    for session in sessions.surplus(going_on):
        revoking.revoke_session(app, state, session.sid, reason, actor=session.sub)


# Refreshing


def refresh(
    app: Flask,
    state: AppState,
    sent: str | RequestToken | None,
    scopes: Iterable[str] | None,
    data: Mapping[str, Any] | None,
) -> TokenPair:
    """New tokens for a refresh token, which they replace.

    :raises AuthXException: if it isn't accepted.
    :raises MethodNotAllowed: during a request with a safe method.
    """
    sessions = sessions_of(state)
    if has_request_context() and this_request().method in SAFE_METHODS:
        # Any page can make a browser send one, and caches may answer it.
        raise MethodNotAllowed(["POST"])
    token, memory, location = _verified(app, state, sent)
    try:
        extras = Extras(
            scopes=_narrowed(token, scopes),
            audience=token.aud or None,
            data=carried(state, token) if data is None else data,
        )
        in_cookies = location is Location.COOKIES
        if in_cookies and has_request_context():
            _check_companion(state, token)
        asked = _Asked(token, memory, extras, in_cookies=in_cookies)
        return _rotate(app, state, sessions, asked)
    except StoreError:
        what = "The token could not be refreshed right now: keep it and try again"
        refusal: AuthXException = StoreUnavailableError(description=what)
    except AuthXException as error:
        refusal = error
    raise guards.refuse(app, state, token, refusal)


def _verified(
    app: Flask, state: AppState, sent: str | RequestToken | None
) -> tuple[Token, Memory, Location]:
    """The refresh token after everything that a guard checks, and where it was."""
    found: RequestToken | None
    if sent is None:
        current = this_request()
        guards.check(app, state, current, _REFRESH)
        memory = memory_of(current, state)
        found = state.verifier.finder.find(current, _REFRESH.type, None)
    else:
        found = sent if isinstance(sent, RequestToken) else RequestToken(sent, type=_REFRESH.type)
        memory = Memory()
        memory.token = guards.verify(app, state, found, _REFRESH, memory)
    # A guard that isn't optional lets nobody pass.
    return cast(Token, memory.token), memory, cast(RequestToken, found).location


def _check_companion(state: AppState, token: Token) -> None:
    """Refuse a refresh cookie beside the access cookie of another login.

    A neighbouring host can plant one, and its CSRF cookie, but no cookie that starts with
    ``__Host-``: the user would be logged in as whoever planted it.

    :raises JWTDecodeError: then.
    """
    other: Token | None = None
    with contextlib.suppress(AuthXException):
        found = state.verifier.finder.find(this_request(), TokenType.ACCESS, _COOKIES)
        if found is not None:
            other = state.verifier.decode(found.token, expired=True)
    if other is not None and other.sid != token.sid:
        raise JWTDecodeError("the cookies are of two logins")


def _narrowed(token: Token, scopes: Iterable[str] | None) -> list[str] | None:
    """The scopes of the new access token (RFC 6749 section 6: never more than there were).

    :raises InsufficientScopeError: if they would be more.
    """
    if scopes is None:
        return sorted(token.scopes) or None
    asked = scope_list(scopes)
    if not grants(token.scopes, asked, all_required=True):
        raise InsufficientScopeError(asked)
    return asked


def _rotate(app: Flask, state: AppState, sessions: Sessions, asked: _Asked) -> TokenPair:
    token = asked.token
    for _ in range(_ATTEMPTS):
        standing, row = sessions.judge(token.statement)
        if row is None:
            raise RevokedTokenError("its login is over")
        if standing is Standing.EXPIRED:
            raise TokenExpiredError("its login has reached its end")
        if standing is Standing.REUSED:
            # Refusing it ends the login.
            raise ReusedTokenError(USED_AGAIN)
        _check_user(app, state, asked)
        # For the predecessor the row is as it should be: the answer to it was lost, or another tab
        # was faster.
        again = standing is Standing.PREDECESSOR
        visit = row.visit if again else sessions.next_visit(row, client_of(state))
        pair = _renewed(state, asked, row, visit)
        if asked.in_cookies:
            jar.check(state, pair)
        if again or sessions.move(row, visit):
            return pair
        # Another refresh, or the end of the login, came between reading and writing.
    raise StoreError("the store of logins contradicts itself")


def end_reused(app: Flask, state: AppState, token: Token) -> None:
    """End the login of a refresh token that was used after its successor.

    :raises StoreUnavailableError: if that could not be written.
    """
    revoking.revoke_session(app, state, token.sid, USED_AGAIN, actor=token.sub, reused=token)


def _check_user(app: Flask, state: AppState, asked: _Asked) -> None:
    """Refuse a user whom the app doesn't know any more, and end the login.

    :raises SubjectNotFoundError: then.
    """
    if state.instance.subject is None:
        return
    try:
        load_user(state, asked.memory)
    except SubjectNotFoundError:
        why = "the app does not know the user any more"
        token = asked.token
        revoking.revoke_session(app, state, token.sid, why, actor=token.sub)
        raise


def _renewed(state: AppState, asked: _Asked, row: Session, visit: Visit) -> TokenPair:
    """The tokens of a generation. What the refresh token may grant stays as it was."""
    token = asked.token
    login = Login(uid=row.sub, sid=row.sid, auth_time=token.auth_time, generation=visit.generation)
    access = mint(state, TokenType.ACCESS, login, replace(asked.extras, until=visit.expires))
    kept = replace(asked.extras, scopes=sorted(token.scopes) or None, until=visit.expires)
    return pair_of(access, mint(state, TokenType.REFRESH, login, kept))


# Proving it again


def reauthenticate(app: Flask, state: AppState, uid: Uid, expiry: Expiry | None) -> Minted:
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
        raise guards.refuse(app, state, token, FreshTokenRequiredError())
    extras = Extras(
        fresh=True,
        expiry=expiry,
        scopes=sorted(token.scopes) or None,
        audience=token.aud or None,
        data=carried(state, token),
        until=last_second(state, token),
    )
    return mint(state, TokenType.ACCESS, state.mint.login(uid, token), extras)


def end_of(state: AppState, token: Token) -> int:
    """The second in which a token's login ends for good."""
    return token.auth_time + state.settings.session_lifetime


def last_second(state: AppState, token: Token | None) -> int | None:
    """When further tokens of a login must have expired, if anything says so."""
    return None if token is None or state.sessions is None else end_of(state, token)


# Listing


def logins_of(state: AppState, uid: Uid) -> list[Session]:
    """A user's logins that go on, the latest first.

    :raises StoreUnavailableError: if a store can't answer.
    """
    sub = subject(uid)
    sessions_of(state)
    try:
        return _logins(state, sub)[0]
    except StoreError:
        what = "The logins can't be listed right now"
        raise state.dress(StoreUnavailableError(description=what)) from None


def rename(state: AppState, sid: str, name: str | None) -> bool:
    """Give a login a name, and say whether there is such a login.

    :raises StoreUnavailableError: if it could not be written.
    """
    sessions = sessions_of(state)
    revoking.check_sid(sid)
    check_name(name)
    try:
        return sessions.rename(sid, name)
    except StoreError:
        what = "The name may not have been written"
        raise state.dress(StoreUnavailableError(description=what)) from None


def check_name(name: object) -> None:
    """Refuse what no store can hold, or no list can show."""
    if name is None:
        return
    if not isinstance(name, str):
        raise TypeError(f"the name of a login is text, not {type(name).__name__}")
    if not name or len(name) > MAX_TEXT or not _is_plain(name):
        raise ValueError(
            f"the name of a login has 1 to {MAX_TEXT} characters, and none that break the line or "
            "change its direction"
        )


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


def _is_plain(text: str) -> bool:
    """Whether a line of text holds nothing that breaks it, hides in it or turns it around."""
    return not any(unicodedata.category(one) in _BREAKING or one in _TURNING for one in text)
