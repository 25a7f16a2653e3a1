"""Listing a user's sessions, reading one of them, and naming it."""

from __future__ import annotations

from flask_authx.app.state import AppState
from flask_authx.errors import StoreUnavailableError
from flask_authx.sessions.client_details import check_name
from flask_authx.sessions.revocations import check_sid
from flask_authx.stores.base import StoreError
from flask_authx.stores.session_store import Session
from flask_authx.tokens.new_token import Uid, subject


def active_sessions(state: AppState, uid: Uid) -> list[Session]:
    """A user's active sessions, the latest first; of very many, those that end last.

    :raises StoreUnavailableError: if a store fails.
    """
    sub = subject(uid)
    sessions = state.require_sessions()
    try:
        active, _ = sessions.active_and_ended(sub, state.require_revocations().cutoffs(sub))
    except StoreError as error:
        what = "The sessions can't be listed right now"
        raise StoreUnavailableError(error.reason, description=what) from None
    return active


def active_session(state: AppState, sid: str) -> Session | None:
    """A session that has neither expired nor been revoked.

    :raises StoreUnavailableError: if a store fails.
    """
    sessions, revocations = state.require_sessions(), state.require_revocations()
    try:
        check_sid(sid)
    except ValueError:
        # No session has it. A path of the app's may hold any text.
        return None
    try:
        row = sessions.find(sid)
        if row is None or sessions.has_ended(row, revocations.cutoffs(row.sub)):
            return None
    except StoreError as error:
        what = "The session can't be read right now"
        raise StoreUnavailableError(error.reason, description=what) from None
    return row


def find_session(state: AppState, sid: str) -> Session | None:
    """A stored session that has not expired.

    :raises StoreUnavailableError: if the store fails.
    """
    try:
        return state.require_sessions().find(sid)
    except StoreError as error:
        raise StoreUnavailableError(error.reason) from None


def name_session(state: AppState, sid: str, name: str | None) -> bool:
    """Name a session, and return whether there is such a session.

    :raises StoreUnavailableError: if it could not be written.
    """
    sessions = state.require_sessions()
    check_sid(sid)
    check_name(name)
    try:
        return sessions.rename(sid, name)
    except StoreError as error:
        what = "The name may not have been written"
        raise StoreUnavailableError(error.reason, description=what) from None
