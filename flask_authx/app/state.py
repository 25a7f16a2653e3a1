"""The state of one app, kept in ``app.extensions``, and the context that a request carries."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

from flask import Flask, Request, current_app, has_request_context, request

from flask_authx.enums import Location, TokenType
from flask_authx.errors import AuthXException
from flask_authx.http.callbacks import Callbacks, Wait
from flask_authx.http.context import RequestContext
from flask_authx.http.requirement import Requirement
from flask_authx.http.verifier import Verifier
from flask_authx.sessions.readiness import ReadinessCheck
from flask_authx.sessions.revocations import AuditTrail, Revocations
from flask_authx.sessions.rotation import Sessions
from flask_authx.settings.options import Settings
from flask_authx.signals import Announcer
from flask_authx.tokens.codec import Codec
from flask_authx.tokens.new_token import TokenCreator
from flask_authx.tokens.token import CreatedToken, RequestToken, Token

#: The key in ``app.extensions``.
EXTENSION = "authx"
_state_numbers = itertools.count()


#: A view, and by method what the before_request hook requires.
EndpointRules: TypeAlias = tuple[object, dict[str, tuple[Requirement, ...]]]


_log = logging.getLogger("flask_authx")


class WordedErrors:
    """Sets the app's realm and message key on errors that leave a ``with`` block, and logs them.

    Used only where errors leave the package: a framework may render them without the app.
    """

    __slots__ = ("_message_key", "_name", "_realm")

    def __init__(self, settings: Settings, name: str) -> None:
        self._realm = settings.realm
        self._message_key = settings.error_message_key
        self._name = name

    def word(self, error: AuthXException, token: Token | None = None) -> None:
        """Set the realm of an error's challenge, and the key of the message in its body.

        :param token: the verified token that is refused, if there is one, for the log.
        """
        error.realm = self._realm
        error.message_key = self._message_key
        if _log.isEnabledFor(logging.DEBUG):
            reason = error.reason
            if not error.reason_is_logged:
                reason = f"a callback raised {type(error).__name__}"
            what = {"error_type": error.error_type.value, "reason": reason}
            ids = {name: getattr(token, name, None) for name in ("jti", "sid", "sub", "type")}
            fields = {"instance": self._name, **what, **ids}
            _log.debug("refused with %s: %s", *what.values(), extra=fields)

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        # Not one of another object, whose callback or view this was called in.
        if isinstance(error, AuthXException) and "realm" not in vars(error):
            self.word(error)


@dataclass(slots=True, eq=False)
class AppState:
    """All that one ``AuthX`` object keeps for one app."""

    app: Flask
    callbacks: Callbacks
    settings: Settings
    codec: Codec
    verifier: Verifier
    creator: TokenCreator
    #: The revocations in the store; ``None`` if there is no store.
    revocations: Revocations | None
    #: The stored sessions; ``None`` if sessions are not stored.
    sessions: Sessions | None
    #: The audit trail; ``None`` if there is none.
    trail: AuditTrail | None
    announcer: Announcer
    ready: ReadinessCheck
    #: Seconds since 1970-01-01 UTC.
    clock: Callable[[], float]
    #: Waits for an async callback.
    wait: Wait
    #: The app's settings as they were read, to detect later changes.
    initial_config: dict[str, Any] = field(repr=False)
    worded: WordedErrors = field(init=False, repr=False)
    #: The attribute of a request that holds its context, for this object and this app only.
    key: str = field(default_factory=lambda: f"_flask_authx_{next(_state_numbers)}", init=False)
    #: Whether it has been logged that browsers drop Secure cookies on plain http.
    warned_of_http: bool = False
    #: Whether it has been logged that a cookie was set and no guard looks for one.
    warned_of_no_guard: bool = False
    #: Whether it has been logged that a request put one user's tokens into two sessions.
    warned_of_two_sessions: bool = False
    #: Whether the start-up checks have passed, and whether the before_request hook has rules.
    started: bool = False
    has_rules: bool = False
    #: By endpoint: the view, and what the hook requires for it by method.
    endpoint_rules: dict[str, EndpointRules] = field(default_factory=dict[str, EndpointRules])

    def __post_init__(self) -> None:
        self.worded = WordedErrors(self.settings, self.name)

    @property
    def name(self) -> str:
        """The name of the ``AuthX`` object."""
        return self.callbacks.name

    @property
    def revocable(self) -> bool:
        """Whether a token can be revoked: there is a store, or a revocation callback."""
        return self.revocations is not None or self.callbacks.is_revoked is not None

    @property
    def uses_cookies(self) -> bool:
        """Whether tokens may come from cookies, by the settings or by a guard's ``locations=``."""
        return self.settings.uses_cookies or self.callbacks.guards_cookies

    @property
    def per_process(self) -> list[Revocations | Sessions]:
        """The revocations and sessions whose store other processes can't see."""
        stored = (self.revocations, self.sessions)
        return [part for part in stored if part is not None and part.store.per_process]

    def require_revocations(self) -> Revocations:
        """The revocations in the store.

        :raises RuntimeError: if there is no store, with how to get one.
        """
        if self.revocations is None:
            raise RuntimeError(
                "there is no store of revocations: set "
                f'app.config["{self.settings.prefix}BLOCKLIST"] = "sqlalchemy://" (or another) '
                "before authx.init_app(app)"
            )
        return self.revocations

    def require_sessions(self) -> Sessions:
        """The stored sessions.

        :raises RuntimeError: if sessions are not stored, with how to change that.
        """
        if self.sessions is None:
            prefix = self.settings.prefix
            raise RuntimeError(
                f'sessions are not stored: set app.config["{prefix}SESSIONS"] = True and '
                f"{prefix}BLOCKLIST before authx.init_app(app)"
            )
        return self.sessions

    def find_token(
        self, current: Request, type: TokenType, locations: frozenset[Location] | None = None
    ) -> RequestToken | None:
        """The request's token of a type, unverified. A guard that searched before has found it.

        :raises MalformedRequestError: if there are two, an incomplete one, or unreadable JSON.
        :raises JWTDecodeError: if the value is not text, or far too long.
        """
        context = context_of(current, self)
        last = context.found_for
        if (
            last is None
            or context.found is None
            or (last.type, last.locations) != (type, locations)
        ):
            return self.verifier.finder.find(current, type, locations)
        return context.found


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
    """The state of this ``AuthX`` object on the current app."""
    return state_of(this_app(), callbacks)


#: The current app and the current request themselves, not their proxies.
this_app: Callable[[], Flask] = cast(
    "Callable[[], Flask]", cast(Any, current_app)._get_current_object
)
this_request: Callable[[], Request] = cast(
    "Callable[[], Request]", cast(Any, request)._get_current_object
)


def context_of(current: Request, state: AppState) -> RequestContext:
    """What one ``AuthX`` object keeps for a request."""
    context: RequestContext | None = getattr(current, state.key, None)
    if context is None:
        context = RequestContext()
        setattr(current, state.key, context)
    return context


def remember_created(created: CreatedToken, state: AppState) -> None:
    """Keep a new token for the rest of the request, for the call that sets its cookie."""
    if has_request_context():
        context = context_of(this_request(), state)
        context.created = {**context.created, created.token: created}
