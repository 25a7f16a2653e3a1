"""What is kept for one app; which views and blueprints are guarded, public or made here."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from flask import Flask, Request, current_app, has_request_context, request

from flask_authx.errors import AuthXException
from flask_authx.http.callbacks import Callbacks
from flask_authx.http.context import RequestContext
from flask_authx.http.requirement import Requirement
from flask_authx.http.verifier import Verifier
from flask_authx.sessions.revocations import Revocations
from flask_authx.sessions.rotation import Sessions
from flask_authx.settings.options import Settings
from flask_authx.tokens.codec import Codec
from flask_authx.tokens.create import TokenCreator
from flask_authx.tokens.token import CreatedToken, Token

if TYPE_CHECKING:
    from flask_authx.stores.sql.trail import AuditTrail


#: The key in ``app.extensions``, and the attribute of a request that holds its identity.
EXTENSION = "authx"


_numbers = itertools.count()


@dataclass(slots=True, eq=False)
class AppState:
    """All that one ``AuthX`` object keeps for one app."""

    app: Flask
    callbacks: Callbacks
    settings: Settings
    codec: Codec
    verifier: Verifier
    creator: TokenCreator
    #: What the store knows, and how it is told; ``None`` if there is no store.
    revocations: Revocations | None
    #: The logins that are kept in rows; ``None`` if they are not.
    sessions: Sessions | None
    #: Where revocations are written down for people; ``None`` if they are not.
    trail: AuditTrail | None
    #: Ends the login of a refresh token that was used after its successor.
    end_reused: Callable[[AppState, Token], None]
    #: Seconds since 1970-01-01 UTC.
    clock: Callable[[], float]
    #: The app's settings as they were read, to notice later changes.
    seen: dict[str, Any] = field(repr=False)
    #: The attribute of a request that holds what this object knows of it, for this app only.
    key: str = field(default_factory=lambda: f"_flask_authx_{next(_numbers)}", init=False)
    #: Whether it has been said that browsers drop Secure cookies of an app on plain http.
    warned_of_http: bool = False
    #: Whether the app has been looked over, and has anything for the before_request hook to check.
    started: bool = False
    has_rules: bool = False
    #: What the hook asks: by endpoint the view, and by method the requirement.
    plan: dict[str, tuple[object, dict[str, Requirement | None]]] = field(
        default_factory=dict[str, "tuple[object, dict[str, Requirement | None]]"]
    )

    @property
    def name(self) -> str:
        """That of the ``AuthX`` object."""
        return self.callbacks.name

    @property
    def revocable(self) -> bool:
        """Whether anybody can say that a token is revoked."""
        return self.revocations is not None or self.callbacks.revoked is not None

    @property
    def per_process(self) -> list[Revocations | Sessions]:
        """What is kept in a store that other processes don't see."""
        kept = (self.revocations, self.sessions)
        return [one for one in kept if one is not None and one.store.per_process]

    def dress(self, error: AuthXException) -> AuthXException:
        """Give an error the words that the settings ask for."""
        error.realm = self.settings.realm
        error.message_key = self.settings.error_message_key
        return error


def states(app: Flask) -> dict[str, AppState]:
    """The states of an app's ``AuthX`` objects, by name."""
    found: dict[str, AppState] = app.extensions.setdefault(EXTENSION, {})
    return found


def state_of(app: Flask, callbacks: Callbacks) -> AppState:
    """The state of this ``AuthX`` object on this app.

    :raises RuntimeError: if it has none, naming ``init_app``.
    """
    try:
        state: AppState = app.extensions[EXTENSION][callbacks.name]
        if state.callbacks is callbacks:
            return state
    except KeyError:
        pass
    raise RuntimeError(
        f"this AuthX object ({callbacks.name!r}) is not set up on the app {app.name!r}: "
        "call authx.init_app(app)"
    )


def current_state(callbacks: Callbacks) -> AppState:
    """The state on the current app."""
    return state_of(this_app(), callbacks)


#: The current app and the current request themselves, not their proxies.
this_app: Callable[[], Flask] = cast(
    "Callable[[], Flask]", cast(Any, current_app)._get_current_object
)
this_request: Callable[[], Request] = cast(
    "Callable[[], Request]", cast(Any, request)._get_current_object
)


def memory_of(current: Request, state: AppState) -> RequestContext:
    """What one ``AuthX`` object knows of a request."""
    memory: RequestContext | None = getattr(current, state.key, None)
    if memory is None:
        memory = RequestContext()
        setattr(current, state.key, memory)
    return memory


def note_minted(minted: CreatedToken, state: AppState) -> None:
    """Remember a new token until the answer is out, so that whoever sets a cookie finds it."""
    if has_request_context():
        memory = memory_of(this_request(), state)
        memory.minted = {**memory.minted, minted.token: minted}
