"""Revoking, as the app asks for it: the store first, then the audit trail, then the signals."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from blinker import Signal
from flask import has_request_context

from flask_authx.app.state import AppState, memory_of, this_request
from flask_authx.errors import AuthXException, StoreUnavailableError
from flask_authx.guards.check import settle
from flask_authx.http.context import RequestContext
from flask_authx.http.verifier import Pending
from flask_authx.sessions.revocations import Revocations
from flask_authx.signals import announce_reuse, session_revoked, subject_revoked, token_revoked
from flask_authx.stores.base import StoreError, UncommittedWritesError
from flask_authx.stores.blocklist import Kind, Record
from flask_authx.tokens import claims
from flask_authx.tokens.create import Uid, subject
from flask_authx.tokens.token import RequestToken, Token

_log = logging.getLogger("flask_authx")
#: Characters.
_MAX_REASON = 1000
#: How many rows are removed at once, when all of a subject's logins end.
_MAX_ROWS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class _Revocation:
    """What is to be written, and who is told.

    :param value: the jti, sid or sub.
    :param reason: why.
    :param actor: who asks for it, where no request says so.
    :param ids: what the signal carries.
    """

    kind: Kind
    value: str
    keep: str | None = None
    reason: str | None
    actor: str | None
    signal: Signal
    ids: dict[str, Any]
    write: Callable[[], None]
    #: Removes the row of a login once that is over. Says whether it was this call that did it;
    #: ``None`` if nobody can say.
    tidy: Callable[[], bool | None] = lambda: False
    #: The refresh token that was used again, if that is why.
    reused: Token | None = None


def revoke_token(
    state: AppState,
    token: str | RequestToken | Token | None,
    reason: str | None,
    *,
    actor: str | None = None,
) -> None:
    """Revoke one token; the request's own if none is given. One that has expired needs nothing.

    A refresh token that is replaced by others is revoked with its login.

    :raises JWTDecodeError: if a text isn't a good token.
    :raises StoreUnavailableError: if it could not be written.
    """
    revocations = store_of(state)
    token = _current(state) if token is None else token
    verified = token if isinstance(token, Token) else _decoded(state, str(token), expired=True)
    if state.sessions is not None and state.settings.profiles[verified.type].rotates:
        # Its successor and its predecessor are as good as itself (RFC 7009 section 2.1), and may
        # live longer.
        revoke_session(state, verified.sid, reason, actor=actor)
        return
    if not isinstance(token, Token) and _has_expired(state, verified):
        return
    one = _Revocation(
        kind=Kind.TOKEN,
        value=verified.jti,
        reason=reason,
        actor=actor,
        signal=token_revoked,
        ids={"jti": verified.jti, "sid": verified.sid, "sub": verified.sub},
        write=lambda: revocations.revoke_token(verified),
    )
    _carry_out(state, one)


def revoke_session(
    state: AppState,
    sid: str,
    reason: str | None,
    *,
    actor: str | None = None,
    reused: Token | None = None,
) -> None:
    """Revoke a login, and remove its row if it has one.

    :param reused: a refresh token of it that was used after its successor.
    :raises StoreUnavailableError: if it could not be written.
    """
    revocations = store_of(state)
    check_sid(sid)
    one = _Revocation(
        kind=Kind.SESSION,
        value=sid,
        reason=reason,
        actor=actor,
        signal=session_revoked,
        ids={"sid": sid},
        write=lambda: revocations.revoke_session(sid),
        tidy=lambda: remove_row(state, sid),
        reused=reused,
    )
    _carry_out(state, one)


def remove_row(state: AppState, sid: str) -> bool | None:
    """Remove a login's row, if it has one, and say whether this did it; ``None`` if it failed."""
    if state.sessions is None:
        return False
    try:
        return state.sessions.end(sid)
    except StoreError:
        return None


def _remove_rows(state: AppState, sub: str) -> bool:
    """Remove the rows of a subject's logins that are over. What stays is as good as gone."""
    if state.sessions is not None:
        # What failed has been logged.
        with contextlib.suppress(StoreError):
            _, over = state.sessions.of(sub, store_of(state).cutoffs(sub))
            for session in over[:_MAX_ROWS]:
                state.sessions.end(session.sid)
    return False


def revoke_subject(
    state: AppState,
    uid: Uid,
    keep: str | None,
    reason: str | None,
    *,
    actor: str | None = None,
) -> None:
    """Revoke all logins of a subject, but for one that may be kept.

    The rows of those logins are removed as well. One that isn't is not listed either.

    :raises StoreUnavailableError: if it could not be written.
    """
    revocations = store_of(state)
    sub = subject(uid)
    if keep is not None:
        check_sid(keep)
    one = _Revocation(
        kind=Kind.SUBJECT,
        value=sub,
        keep=keep,
        reason=reason,
        actor=actor,
        signal=subject_revoked,
        ids={"sub": sub, "keep": keep},
        write=lambda: revocations.revoke_subject(sub, keep),
        tidy=lambda: _remove_rows(state, sub),
    )
    _carry_out(state, one)


def is_revoked(state: AppState, token: str | RequestToken | Token) -> bool:
    """Whether the store or the app's callback says so, asked now and not remembered.

    :raises JWTDecodeError: if a text isn't a good token.
    :raises StoreUnavailableError: if that can't be found out.
    :raises ValueError: if the callback, which wants the token's text, is given a :class:`Token`.
    """
    verified = token if isinstance(token, Token) else _decoded(state, str(token))
    if state.revocations is not None:
        try:
            if state.revocations.is_revoked(verified):
                return True
        except StoreError:
            raise state.dress(StoreUnavailableError()) from None
    if state.callbacks.revoked is None:
        return False
    raw = _text_of(state, token)
    memory = RequestContext()
    # The store has said no, whatever would have become of a request.
    memory.cleared = raw
    while True:
        try:
            return state.verifier.is_revoked(raw, verified, memory)
        except StoreUnavailableError as error:
            state.dress(error)
            raise
        except Pending as pending:
            stopped = pending
        settle(state, stopped)


def store_of(state: AppState) -> Revocations:
    """The store of revocations.

    :raises RuntimeError: if there is none, with how to get one.
    """
    if state.revocations is None:
        raise RuntimeError(
            "there is no store of revocations: set "
            f'app.config["{state.settings.prefix}BLOCKLIST"] = "sqlalchemy://" (or another) before '
            "authx.init_app(app)"
        )
    return state.revocations


def _carry_out(state: AppState, one: _Revocation) -> None:
    _check_reason(one.reason)
    if state.trail is not None:
        # Before the first write: what could not be recorded for this reason is not done either.
        state.trail.refuse_own_writes()
    try:
        one.write()
    except StoreError:
        # It may have been, where only the answer came too late.
        what = "The revocation may not have been written"
        raise state.dress(StoreUnavailableError(description=what)) from None
    # From here on it is in force, whatever else fails.
    removed = one.tidy()
    actor = _actor(state) or one.actor
    recorded = _record(state, one, actor)
    try:
        if one.signal.receivers:
            name = state.name
            one.signal.send(state.app, name=name, actor=actor, reason=one.reason, **one.ids)
    finally:
        # Whatever the other receivers do. Once: of several who find out at the same time one
        # removes the row. Where nobody can say who, it is better said twice than never.
        if one.reused is not None and removed is not False:
            announce_reuse(state.app, state.name, one.reused)
    if not recorded:
        what = "The revocation is in force and could not be recorded"
        raise state.dress(StoreUnavailableError(description=what))
    if removed is None:
        what = "The revocation is in force, and the login may still be listed"
        raise state.dress(StoreUnavailableError(description=what))


def _record(state: AppState, one: _Revocation, actor: str | None) -> bool:
    """Write it into the audit trail, if there is one, and say whether that went well."""
    if state.trail is None:
        return True
    record = Record(
        at=store_of(state).now(),
        instance=state.name,
        actor=actor,
        kind=one.kind,
        value=one.value,
        keep=one.keep,
        reason=one.reason,
    )
    try:
        state.trail.write(record)
    except (StoreError, UncommittedWritesError):
        return False
    return True


def _actor(state: AppState) -> str | None:
    """The subject of the token with which this request came, if it has been accepted."""
    if not has_request_context():
        return None
    token = memory_of(this_request(), state).token
    return None if token is None else token.sub


def _current(state: AppState) -> Token:
    token = memory_of(this_request(), state).token if has_request_context() else None
    if token is None:
        raise RuntimeError(
            "there is no current token to revoke: guard the view with @authx.token_required, give "
            "the token, or call authx.logout(), which does without one"
        )
    return token


def _text_of(state: AppState, token: str | RequestToken | Token) -> str:
    if not isinstance(token, Token):
        return str(token)
    memory = memory_of(this_request(), state) if has_request_context() else RequestContext()
    if memory.raw is not None and memory.token is not None and memory.token.jti == token.jti:
        return memory.raw
    raise ValueError("the revocation callback takes the token as text: give that")


def _decoded(state: AppState, raw: str, *, expired: bool = False) -> Token:
    try:
        return state.verifier.decode(raw, expired=expired)
    except AuthXException as error:
        state.dress(error)
        raise


def _has_expired(state: AppState, token: Token) -> bool:
    return state.clock() >= token.exp + state.settings.decode_leeway


def check_sid(sid: object) -> None:
    """Refuse what no token names as its login."""
    if not isinstance(sid, str):
        raise TypeError(f"a sid is text, not {type(sid).__name__}")
    if not claims.ID.fullmatch(sid):
        raise ValueError("that is no sid: it is the claim of that name, or Token.sid")


def _check_reason(reason: object) -> None:
    if reason is None:
        return
    if not isinstance(reason, str):
        raise TypeError(f"a reason is text, not {type(reason).__name__}")
    # JSON can name lone surrogates, and no database holds them.
    text = reason.encode("utf-8", "replace").decode("utf-8")
    if len(reason) > _MAX_REASON or "\0" in reason or text != reason:
        raise ValueError(
            f"a reason has at most {_MAX_REASON} characters, no NUL and no lone surrogate"
        )
