"""A user's sessions, as the app lists and names them."""

from __future__ import annotations

from flask_authx.app.state import AppState
from flask_authx.errors import StoreUnavailableError
from flask_authx.sessions.client import check_name
from flask_authx.stores.base import StoreError
from flask_authx.stores.session_store import Session
from flask_authx.tokens.create import Uid, subject

from . import revoke
from .login import _logins, sessions_of

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
    revoke.check_sid(sid)
    check_name(name)
    try:
        return sessions.rename(sid, name)
    except StoreError:
        what = "The name may not have been written"
        raise state.dress(StoreUnavailableError(description=what)) from None
