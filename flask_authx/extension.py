"""``AuthX``: the extension object. Each method delegates to the module of its verb."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any, Concatenate, Literal, ParamSpec, Protocol, TypeVar, Unpack, cast, overload

from flask import Blueprint, Flask, has_request_context
from werkzeug.wrappers import Response as BaseResponse

from . import actions, startup
from .app import view_registry
from .app.build import build_state
from .app.identity import current_token, current_user, load_user
from .app.state import AppState, context_of, current_state, states, this_app, this_request
from .enums import Locations, TokenType, TokenTypeName
from .errors import AuthXException, BadConfigurationError
from .guards import check
from .guards.decorators import guard_or_decorator, requirement_of
from .http.callbacks import (
    Authenticate,
    Callbacks,
    adapt_callback,
    check_async,
    is_async,
    takes_claims,
)
from .http.context import RequestContext
from .http.requirement import (
    AccessKeywords,
    FreshKeywords,
    GuardKeywords,
    OptionalKeywords,
    ProtectKeywords,
    ScopeKeywords,
    UserKeywords,
    requirement_from,
)
from .sessions.readiness import Readiness
from .stores.base import system_clock
from .stores.blocklist import Blocklist
from .stores.session_store import Session, SessionStore
from .tokens.new_token import Expiry, TokenOptions, Uid, new_id
from .tokens.token import RequestToken, Token, TokenPair

F = TypeVar("F", bound=Callable[..., Any])
C = TypeVar("C", bound=Callable[..., Any])
T = TypeVar("T")
P = ParamSpec("P")


class Decorator(Protocol):
    """A decorator that keeps the view's type."""

    def __call__(self, view: F, /) -> F:
        """The view with its guard."""
        ...


def _worded(
    method: Callable[Concatenate[AuthX, P], T],
) -> Callable[Concatenate[AuthX, P], T]:
    """A method whose errors have the app's realm and message key."""

    @functools.wraps(method)
    def worded(self: AuthX, /, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return method(self, *args, **kwargs)
        except AuthXException:
            state = self._state()  # pyright: ignore[reportPrivateUsage] - of its own methods
            with state.worded:
                raise

    return worded


class AuthX:
    """JWT authentication whose tokens can be revoked: one token, one session, one user.

    One object serves any number of apps; what belongs to an app is kept on the app. Callbacks may
    be registered before or after :meth:`init_app`.

    :param app: the app to set up at once; else call :meth:`init_app`.
    :param name: tells several objects on one app apart. Any other name than the default also
        changes the prefix of the settings: ``AuthX(name="admin")`` reads ``ADMIN_JWT_SECRET_KEY``.
    :param blocklist: the store of revocations, instead of one that ``JWT_BLOCKLIST`` names.
    :param sessions: the session store, where ``blocklist`` is given: ``JWT_SESSIONS`` is on then.
    :param clock: returns the seconds since 1970-01-01 UTC; for tests.
    :param ids: returns a new unguessable id each time it is called; for tests.
    """

    def __init__(
        self,
        app: Flask | None = None,
        *,
        name: str = "authx",
        blocklist: Blocklist | None = None,
        sessions: SessionStore | None = None,
        clock: Callable[[], float] = system_clock,
        ids: Callable[[], str] = new_id,
    ) -> None:
        if not name.isidentifier() or len(name) > 64:
            raise BadConfigurationError(
                f"the name {name[:65]!r} can't start a setting's name, or is longer than 64 "
                "characters."
            )
        self._callbacks = Callbacks(name, blocklist, sessions)
        self._clock = clock
        self._ids = ids
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Read the app's settings and register the hooks.

        The settings are read here and never again; the app's config is not changed.

        :raises BadConfigurationError: with every problem, each with its setting's name.
        """
        name = self._callbacks.name
        if name in states(app):
            raise BadConfigurationError(
                f"the app {app.name!r} already has an AuthX object named {name!r}: "
                "call init_app once, or give the second object a name of its own."
            )
        state = build_state(app, self._callbacks, self._clock, self._ids)
        problems = startup.collisions(state)
        if problems:
            raise BadConfigurationError(problems)
        if state.settings.decode_leeway > 300:
            what = f"{state.settings.prefix}DECODE_LEEWAY is above 300 seconds"
            warnings.warn(what, stacklevel=2)
        states(app)[name] = state
        sessions, cookies = state.sessions is not None, state.settings.uses_cookies
        actions.load(sessions=sessions, cookies=cookies)
        startup.register_hook(state)
        if state.settings.implicit_refresh_deltatime is not None:
            actions.automatic_renewal.register_renewal(state)
        _register_defaults(app)

    def _state(self) -> AppState:
        return current_state(self._callbacks)

    # Callbacks

    def set_callback_token_blocklist(self, callback: C) -> C:
        """Register the callback that decides whether a token is revoked; also as a decorator.

        It is called once for all guards of a request, with the raw token, and only for tokens whose
        signature and claims are valid; also with ``claims=``, if it takes that.
        :meth:`verify_token` calls it each time. It returns ``True`` for a revoked token and
        ``False`` for any other. Any other result and any error is a failure, and the response a
        503. It may be ``async``.

        :raises BadConfigurationError: if it can't be called that way.
        """
        self._callbacks.is_revoked = adapt_callback(callback, "revocation")
        self._callbacks.revoked_takes_claims = takes_claims(callback, "revocation")
        return callback

    #: Short for :meth:`set_callback_token_blocklist`.
    token_blocklist = set_callback_token_blocklist
    #: AuthX's other name of :meth:`set_callback_token_blocklist`.
    set_token_blocklist = set_callback_token_blocklist

    def set_callback_get_model_instance(self, callback: C) -> C:
        """Register the callback that loads the user of a token, for :data:`current_user`.

        It is called with the token's subject, and with ``claims=`` as well if it takes that, when
        the user is first used in a request. If it returns ``None`` the response is a 401; an error
        that it raises is the app's own. It may be ``async``.

        :raises BadConfigurationError: if it can't be called that way.
        """
        self._callbacks.load_user = adapt_callback(callback, "user")
        return callback

    #: Short for :meth:`set_callback_get_model_instance`.
    set_subject_getter = set_callback_get_model_instance

    def set_callback_verify_claims(self, callback: C) -> C:
        """Register the app's own check of the claims, for every guard and :meth:`verify_token`.

        It is called with the claims of a token of either type, once for all guards of a request,
        after signature, type and revocation were checked. ``True`` accepts the token, ``False`` is
        a 403, and an :class:`AuthXException` that it raises is the response. Any other result or
        error is a 503. It may be ``async``.

        :raises BadConfigurationError: if it can't be called that way.
        """
        check_async(callback, "claims check")
        takes_claims(callback, "claims check")
        self._callbacks.verify_claims = callback
        return callback

    def set_callback_identity(self, callback: C) -> C:
        """Register the callback that returns the uid of an object, such as a model of your ORM.

        The methods that take a ``uid`` then take such objects, too. It is not called for ``str``,
        ``int`` and ``UUID``, which are uids.

        :raises BadConfigurationError: if it can't be called with one positional argument, or is
            ``async``: tokens are created without waiting.
        """
        takes_claims(callback, "identity")
        if is_async(callback):
            raise BadConfigurationError(
                "the identity callback can't be async: tokens are created without waiting."
            )
        self._callbacks.identity = callback
        return callback

    def set_callback_additional_claims(self, callback: C) -> C:
        """Register the callback that adds claims to every new token.

        It is called with the ``uid`` as a string, and returns a mapping.

        :raises BadConfigurationError: if it can't be called that way, or is ``async``: tokens are
            created without waiting.
        """
        takes_claims(callback, "claims")
        if is_async(callback):
            raise BadConfigurationError(
                "the claims callback can't be async: tokens are created without waiting."
            )
        self._callbacks.additional_claims = callback
        return callback

    # Creating tokens

    @_worded
    def create_access_token(
        self,
        uid: Uid | object,
        *,
        fresh: bool = False,
        headers: Mapping[str, Any] | None = None,
        expiry: Expiry | None = None,
        data: Mapping[str, Any] | None = None,
        audience: str | Iterable[str] | None = None,
        scopes: Iterable[str] | None = None,
        login: Token | None = None,
    ) -> str:
        """A new access token.

        :param uid: the user's id; the token's subject is this as a string. With
            :meth:`set_callback_identity` also an object that has one.
        :param fresh: whether the user has just logged in.
        :param headers: further parameters of the JOSE header.
        :param expiry: the lifetime, as a ``timedelta`` or in seconds, or the moment of expiry as an
            aware ``datetime``; instead of ``JWT_ACCESS_TOKEN_EXPIRES``.
        :param data: claims of the app.
        :param audience: instead of ``JWT_ENCODE_AUDIENCE``.
        :param scopes: the scopes that it holds.
        :param login: a verified token whose session goes on: its ``sid`` and ``auth_time`` are
            kept. Where sessions are stored it is an access token; for a refresh token there is
            :meth:`refresh`.
        :raises TokenExpiredError: if the token in ``login`` has expired by now.
        :raises TypeError: if a value is of a type that doesn't fit.
        :raises ValueError: if a value is out of bounds, or a name in ``data`` is reserved.
        :raises StoreUnavailableError: if there is a store of revocations and it fails: a new
            session must not be among the user's revoked ones.
        """
        options = TokenOptions(
            fresh=fresh,
            headers=headers,
            expiry=expiry,
            data=data,
            audience=audience,
            scopes=scopes,
        )
        uid = self._callbacks.uid_of(uid)
        return actions.create_tokens.create_access_token(self._state(), uid, options, login).token

    @_worded
    def create_refresh_token(
        self,
        uid: Uid | object,
        *,
        headers: Mapping[str, Any] | None = None,
        expiry: Expiry | None = None,
        data: Mapping[str, Any] | None = None,
        audience: str | Iterable[str] | None = None,
        scopes: Iterable[str] | None = None,
        login: Token | None = None,
    ) -> str:
        """A new refresh token. The parameters and errors are :meth:`create_access_token`'s.

        :raises RuntimeError: if sessions are stored: :meth:`login` opens one.
        """
        options = TokenOptions(
            headers=headers, expiry=expiry, data=data, audience=audience, scopes=scopes
        )
        uid = self._callbacks.uid_of(uid)
        return actions.create_tokens.create_refresh_token(self._state(), uid, options, login).token

    @_worded
    def create_token_pair(
        self,
        uid: Uid | object,
        *,
        fresh: bool = False,
        headers: Mapping[str, Any] | None = None,
        access_expiry: Expiry | None = None,
        refresh_expiry: Expiry | None = None,
        data: Mapping[str, Any] | None = None,
        audience: str | Iterable[str] | None = None,
        access_scopes: Iterable[str] | None = None,
        refresh_scopes: Iterable[str] | None = None,
    ) -> TokenPair:
        """An access and a refresh token of one new session: they share their ``sid``.

        The parameters and errors are :meth:`create_access_token`'s.

        :raises RuntimeError: if sessions are stored: :meth:`login` opens one.
        """
        both = functools.partial(TokenOptions, headers=headers, data=data, audience=audience)
        access = both(fresh=fresh, expiry=access_expiry, scopes=access_scopes)
        refresh = both(expiry=refresh_expiry, scopes=refresh_scopes)
        uid = self._callbacks.uid_of(uid)
        return actions.create_tokens.create_token_pair(self._state(), uid, access, refresh)

    # Stored sessions

    @_worded
    def login(
        self,
        uid: Uid | object,
        *,
        fresh: bool = True,
        data: Mapping[str, Any] | None = None,
        audience: str | Iterable[str] | None = None,
        scopes: Iterable[str] | None = None,
        name: str | None = None,
    ) -> TokenPair:
        """Open a session and return its first tokens. When this returns, its row is written.

        The app checks the user's password before this call. If the user then has more sessions
        than ``JWT_MAX_SESSIONS``, the one unused for longest is revoked.

        :param fresh: whether the access token counts as coming straight from a log-in.
        :param data: claims of the app, beside those of the claims callback. If there is such a
            callback, refreshed tokens carry only what it returns then.
        :param scopes: the most that the tokens of this session may hold.
        :param name: what the user calls the device.
        :raises StoreUnavailableError: if the row could not be written.
        :raises RuntimeError: if sessions are not stored, or if the app's database session holds
            uncommitted writes in the SQLite file that must be written to.
        :raises TypeError: if a value is of a type that doesn't fit.
        :raises ValueError: if a value is out of bounds.
        """
        options = TokenOptions(fresh=fresh, data=data, audience=audience, scopes=scopes)
        uid = self._callbacks.uid_of(uid)
        return actions.login.open_session(self._state(), uid, options, name)

    @_worded
    def refresh(
        self,
        token: str | RequestToken | None = None,
        *,
        scopes: Iterable[str] | None = None,
        data: Mapping[str, Any] | None = None,
    ) -> TokenPair:
        """New tokens for a refresh token, which they replace (RFC 9700 section 4.14.2).

        The token is checked as by a guard, the user is loaded, and the claims callback is called
        anew. After a failure the token can be sent again. The access token is not fresh.

        A token that was replaced within the last ``JWT_REFRESH_GRACE`` seconds gets the current
        tokens. One that was replaced earlier counts as stolen: the session is revoked, its access
        tokens included, and ``refresh_reuse_detected`` is sent.

        If the token came in a cookie and its session is revoked or has expired, the response unsets
        the cookies, unless the view sets them. After any other error they stay.

        :param token: by default the request's own. No guard is needed.
        :param scopes: those of the access token, instead of all that the session may have.
        :param data: claims of the app; by default those of the refresh token, unless there is a
            claims callback.
        :raises InsufficientScopeError: if the session may not have those scopes.
        :raises ReusedTokenError: if the token was replaced earlier, as described above.
        :raises RevokedTokenError: if the session is revoked.
        :raises SubjectNotFoundError: if the user callback returns ``None``. The session is revoked.
        :raises StoreUnavailableError: if a store fails. The token is as valid as before.
        :raises AuthXException: if the token is not accepted for another reason.
        :raises werkzeug.exceptions.MethodNotAllowed: if the request's method is a safe one.
        :raises RuntimeError: as :meth:`login` does.
        """
        return actions.refresh.refresh(self._state(), token, scopes, data)

    @_worded
    def reauthenticate(self, uid: Uid | object, *, expiry: Expiry | None = None) -> str:
        """A fresh access token for the current session, after the user has confirmed who they are.

        The app checks the password or another factor before this call. The new token has the
        ``sid``, the scopes and the audience of the current one.

        :param uid: the user who has confirmed their identity, by a password for example.
        :param expiry: as for :meth:`create_access_token`.
        :raises FreshTokenRequiredError: if the current session is another user's.
        :raises RuntimeError: if no guard has accepted a token: guard the view.
        """
        uid = self._callbacks.uid_of(uid)
        return actions.login.reauthenticate(self._state(), uid, expiry).token

    @_worded
    def sessions(self, uid: Uid | object) -> list[Session]:
        """A user's active sessions. The session that was seen last comes first.

        At most 200 more than ``JWT_MAX_SESSIONS``, or 1000 if that is 0: those that end last.

        :raises StoreUnavailableError: if a store fails.
        :raises RuntimeError: if sessions are not stored.
        """
        uid = self._callbacks.uid_of(uid)
        return actions.list_sessions.active_sessions(self._state(), uid)

    @_worded
    def session(self, sid: str) -> Session | None:
        """An active session, or ``None`` if it has ended or there was none.

        The app checks the owner, as with :meth:`name_session`.

        :raises StoreUnavailableError: if a store fails.
        :raises RuntimeError: if sessions are not stored.
        """
        return actions.list_sessions.active_session(self._state(), sid)

    @_worded
    def name_session(self, sid: str, name: str | None) -> bool:
        """Name a session for its owner to recognise it, and return whether there is such a session.

        The app checks the owner: the session is one of the :meth:`sessions` of the user.

        :param name: at most 255 characters; ``None`` removes the name.
        :raises StoreUnavailableError: if it could not be written.
        :raises RuntimeError: as :meth:`login` does.
        :raises ValueError: if the sid or the name can't be one.
        """
        return actions.list_sessions.name_session(self._state(), sid, name)

    def blueprint(
        self,
        url_prefix: str | None = "/auth",
        *,
        name: str | None = None,
        authenticate: Authenticate | None = None,
        ready: bool = False,
    ) -> Blueprint:
        """Views for refresh, log-out and the list of a user's sessions: register it on the app.

        ``POST /refresh``, ``POST /logout``, ``GET /sessions``, ``DELETE /sessions/<sid>``,
        ``DELETE /sessions`` (all others). New tokens are set as cookies if the token of the
        request came in one, and are returned as JSON otherwise. Browsers send refresh cookies to
        ``url_prefix`` alone.

        :param name: of the blueprint; by default that of the ``AuthX`` object.
        :param authenticate: adds ``POST /login``. It is called without arguments during the
            request, and returns the ``uid`` of the user who logs in, or ``None`` to refuse with a
            401. It may be ``async``. Limiting attempts is up to the app.
        :param ready: adds ``GET /ready`` for a readiness probe, which needs no token: 200 if
            :meth:`ready` is true, and 503 otherwise. It is all there is where sessions are not
            stored.
        """
        name = name or self._callbacks.name
        from .blueprint import make_blueprint

        return make_blueprint(self._callbacks, url_prefix, name, authenticate, ready=ready)

    # Cookies

    def set_access_cookies(
        self, response: BaseResponse, token: str, max_age: int | None = None
    ) -> None:
        """Set the cookie of an access token, and the cookie of its CSRF value for scripts.

        An earlier cookie of the same name in this response is replaced. If neither
        ``JWT_TOKEN_LOCATION`` nor the ``locations=`` of a guard has cookies, the log says so once,
        and the cookie holds the token signed again with a CSRF value.

        :param max_age: for how many seconds browsers keep it; by default as
            ``JWT_SESSION_COOKIE`` and ``JWT_COOKIE_MAX_AGE`` say.
        :raises ValueError: if the token is no valid access token, or too long for browsers.
        """
        access = TokenType.ACCESS
        actions.set_cookies.set_token_cookies(self._state(), response, token, access, max_age)

    def set_refresh_cookies(
        self, response: BaseResponse, token: str, max_age: int | None = None
    ) -> None:
        """Set the cookies of a refresh token and its companion, as :meth:`set_access_cookies` does.

        A refresh token from a cookie is accepted only beside the companion, a cookie of the session
        that no other host can set (RFC 6265bis section 4.1.3.2). Where browsers would reject it,
        with ``JWT_COOKIE_DOMAIN`` or without ``Secure``, there is none.

        :raises ValueError: also if it was created with a key that the app does not have.
        :raises RuntimeError: also if ``JWT_REFRESH_COOKIE_PATH`` isn't set and no route of the app
            would receive the cookie.
        """
        refresh = TokenType.REFRESH
        actions.set_cookies.set_token_cookies(self._state(), response, token, refresh, max_age)

    def set_cookies(self, response: BaseResponse, pair: TokenPair) -> None:
        """Set the cookies of both tokens of a pair, as the two above do."""
        actions.set_cookies.set_pair_cookies(self._state(), response, pair)

    def unset_access_cookies(self, response: BaseResponse) -> None:
        """Make the browser delete the access token's cookies."""
        actions.set_cookies.unset_cookies(self._state(), response, TokenType.ACCESS)

    def unset_refresh_cookies(self, response: BaseResponse) -> None:
        """Make the browser delete the refresh token's cookies, with their companion."""
        actions.set_cookies.unset_cookies(self._state(), response, TokenType.REFRESH)

    def unset_cookies(self, response: BaseResponse) -> None:
        """Make the browser delete the cookies of both tokens. Only :meth:`logout` revokes them."""
        actions.set_cookies.unset_cookies(self._state(), response, *TokenType)

    @_worded
    def check_origin(self) -> None:
        """Refuse a request that a page of another origin has sent.

        For log-in views that set cookies: there is no token yet whose CSRF value could be checked.
        A request with neither ``Sec-Fetch-Site`` nor ``Origin`` passes: browsers send one of them
        with a form.

        :raises CrossOriginError: if the request is refused. Those of ``JWT_TRUSTED_ORIGINS`` pass.
        """
        check.check_origin(self._state(), this_request())

    # Reading tokens

    @overload
    def identify(
        self,
        *,
        optional: Literal[False] = False,
        on_error: Literal["raise"] = "raise",
        **options: Unpack[ProtectKeywords],
    ) -> Token: ...

    @overload
    def identify(
        self,
        *,
        optional: bool = False,
        on_error: Literal["raise", "ignore"] = "raise",
        **options: Unpack[ProtectKeywords],
    ) -> Token | None: ...

    def identify(
        self,
        *,
        optional: bool = False,
        on_error: Literal["raise", "ignore"] = "raise",
        **options: Unpack[ProtectKeywords],
    ) -> Token | None:
        """The request's token, after everything that a guard checks: for code outside of a view.

        For ``before_request`` hooks, keys of rate limits, locales, admin pages and decorators of
        your own. The token then is :data:`current_token`. What it has cost is not paid again: a
        guard that follows checks its own requirement, by the same signature and look-up.

        :param optional: ``True`` returns ``None`` in place of a 400, 401, 403 or 413. Nothing else
            happens: no refusal is logged or announced, and :data:`current_token` stays as it was.
            The answer is remembered until the request ends or revokes something. ``False`` raises
            as a guard does.
        :param on_error: with ``optional``, what follows if a store, the revocation callback or the
            check of claims fails: the 503 is raised, or with ``"ignore"`` the answer is ``None``.
            An error of the user callback, with ``user=True``, is always raised.
        :param options: those of :meth:`token_required`, and ``scopes=``.
        :raises AuthXException: if the token is not accepted.
        :raises BadConfigurationError: if ``on_error="ignore"`` is given without ``optional``.
        :raises RuntimeError: outside of a request.
        """
        requirement = requirement_of(options, ProtectKeywords)
        return check.identify(self._callbacks, requirement, optional=optional, on_error=on_error)

    @overload
    def get_token_from_request(
        self,
        *,
        type: TokenTypeName = "access",
        optional: Literal[True] = True,
        locations: Locations | None = None,
    ) -> RequestToken | None: ...

    @overload
    def get_token_from_request(
        self,
        *,
        type: TokenTypeName = "access",
        optional: Literal[False],
        locations: Locations | None = None,
    ) -> RequestToken: ...

    def get_token_from_request(
        self,
        *,
        type: TokenTypeName = "access",
        optional: bool = True,
        locations: Locations | None = None,
    ) -> RequestToken | None:
        """The request's token as it was sent. It is **not** verified.

        :param optional: ``True`` returns ``None`` if there is none, ``False`` raises.
        :raises MissingTokenError: if there is none and one is required.
        :raises MalformedRequestError: if there are two, or an incomplete one.
        """
        requirement = requirement_from(type=type, optional=optional, locations=locations)
        state = self._state()
        with state.worded:
            return check.find_token(state, this_request(), requirement)

    @_worded
    def verify_token(
        self,
        token: str | RequestToken,
        *,
        type: TokenTypeName = "access",
        fresh: bool = False,
        max_age: timedelta | int | None = None,
        scopes: Iterable[str] = (),
    ) -> Token:
        """The verified token, after everything that a guard checks, revocation included.

        Needs an app context and no request: for WebSockets, tasks and scripts. A
        :class:`RequestToken` from a cookie must have its CSRF value, except during a request with a
        safe method.

        :raises AuthXException: if the token is not accepted.
        """
        requirement = requirement_from(type=type, fresh=fresh, max_age=max_age, scopes=scopes)
        return check.verify(self._state(), token, requirement, RequestContext())

    @_worded
    def decode_token(self, token: str | RequestToken, *, allow_expired: bool = False) -> Token:
        """The token of any type, if its signature and claims are valid.

        Whether it is revoked is **not** checked: neither by the store nor by the callback.

        :param allow_expired: whether an expired token is returned, too. It can be revoked, and its
            :attr:`Token.expired` is true; ``login=`` and the cookie setters refuse it.
        :raises JWTDecodeError: if it is invalid.
        """
        location = token.location if isinstance(token, RequestToken) else None
        return self._state().verifier.decode(str(token), location, expired=allow_expired)

    @_worded
    def get_current_subject(self) -> Any:
        """The user of this request, as :data:`current_user`; ``None`` if it is anonymous.

        Also ``None`` outside of a request.

        :raises SubjectNotFoundError: if the user callback returns ``None``.
        :raises RuntimeError: if no user callback is registered.
        """
        state = self._state()
        if not has_request_context():
            return None
        return load_user(state, context_of(this_request(), state))

    # Revoking

    @_worded
    def revoke_token(
        self, token: str | RequestToken | Token | None = None, *, reason: str | None = None
    ) -> None:
        """Revoke a token: when this returns, no process accepts it from then on.

        It commits in a transaction of its own, also if the app's is rolled back. A text is verified
        first; if it expired more than an hour ago, nothing is written. Where sessions are stored, a
        refresh token is revoked with its session, since others replace it.

        A refresh token that :meth:`get_token_from_request` has found in a cookie needs its
        companion. No CSRF value is checked, and of a text nothing but the token itself.

        :param token: by default the current one.
        :param reason: why, for signals and the audit trail; at most 1000 characters.
        :raises JWTDecodeError: if a text is no valid token, or if that companion is missing.
        :raises StoreUnavailableError: if it could not be written.
        :raises RuntimeError: if there is no current token, no store, or if the app's database
            session holds uncommitted writes in the SQLite file that must be written to.
        """
        actions.revoke.revoke_token(self._state(), token, reason)

    @_worded
    def revoke_session(self, sid: str, *, reason: str | None = None) -> None:
        """Revoke a session: its access and refresh tokens, and those being created now.

        The guarantees, parameters and errors are :meth:`revoke_token`'s.

        :param sid: the claim that the tokens of a session share.
        :raises ValueError: if it can't be one.
        """
        actions.revoke.revoke_session(self._state(), sid, reason)

    @_worded
    def revoke_subject(
        self, uid: Uid | object, *, keep: str | None = None, reason: str | None = None
    ) -> None:
        """Revoke all sessions of a user that have begun so far. Later sessions are valid.

        The guarantees, parameters and errors are :meth:`revoke_token`'s.

        :param uid: the user's id, as given when the tokens were created.
        :param keep: the ``sid`` of a session that stays active, such as the current one after a
            change of the password. A session that has been revoked before stays revoked.
        :raises ValueError: if the uid or the sid can't be one.
        """
        uid = self._callbacks.uid_of(uid)
        actions.revoke.revoke_subject(self._state(), uid, keep, reason)

    @_worded
    def revoke_all(self, *, reason: str | None = None) -> None:
        """Revoke all sessions of all users that have begun so far. Later sessions are valid.

        Also those of other apps and services with the same scope: the same store, issuer and
        ``JWT_STORE_SCOPE``. The guarantees, parameters and errors are :meth:`revoke_token`'s.
        """
        actions.revoke.revoke_all(self._state(), reason)

    @_worded
    def logout(self, *, reason: str | None = None) -> None:
        """Revoke the session of the request's token; do nothing if there is no token.

        No guard is needed. Access and refresh tokens are accepted, also expired ones. A forged
        token is refused, and a token from a cookie needs its CSRF value. Route the view on POST or
        DELETE: any page can make a browser send a GET, which needs no CSRF value.

        :param reason: why, for signals and the audit trail; at most 1000 characters.
        :raises AuthXException: if the token is invalid.
        :raises StoreUnavailableError: if the revocation could not be written, at the second attempt
            within the store's timeout. Unless its ``in_force`` is true, the session goes on: keep
            the cookies, so that the client can log out again.
        :raises RuntimeError: as :meth:`revoke_token` does.
        """
        actions.logout.log_out(self._state(), reason)

    @_worded
    def is_revoked(self, token: str | RequestToken | Token) -> bool:
        """Whether a token is revoked, by the store or by the app's callback. Each is called anew.

        A text is verified first.

        :raises JWTDecodeError: if a text is no valid token.
        :raises StoreUnavailableError: if that could not be checked.
        :raises ValueError: if a callback is registered, which takes the token's text, and a
            :class:`Token` is given that isn't the current one.
        """
        return actions.revoke.is_revoked(self._state(), token)

    # Operation

    def ready(self) -> Readiness:
        """Whether the stores answer: for a readiness probe. A store that fails raises nothing.

        A store is asked at most once a second, by a look-up as requests make it, and only if no
        request's look-up has succeeded meanwhile. A busy store counts as one that answers.
        """
        return self._state().ready()

    # Guards

    @overload
    def token_required(self, view: F, /) -> F: ...

    @overload
    def token_required(self, /, **options: Unpack[GuardKeywords]) -> Decorator: ...

    def token_required(self, view: Any = None, /, **options: Any) -> Any:
        """Guard a view: a request passes only with a valid token. Put it below ``@app.route``.

        :param type: the type of token, ``"access"`` or ``"refresh"``.
        :param fresh: whether the token must be fresh. A token from a refresh is not fresh.
        :param max_age: with ``fresh``: the maximum age of the token, in seconds or as a
            ``timedelta``. The challenge of a 401 contains it (RFC 9470 section 3).
        :param check_revocation: ``False`` skips the check whether the token is revoked, so a
            revoked one passes until it expires. For access tokens only.
        :param locations: where to look, instead of ``JWT_TOKEN_LOCATION``.
        :param user: whether the user is loaded before the view. Without it a view that does not use
            :data:`current_user` accepts the token of a deleted user.
        :raises BadConfigurationError: if the revocation of refresh tokens is not to be checked.
        """
        return guard_or_decorator(self._callbacks, view, options, GuardKeywords)

    @overload
    def optional_token(self, view: F, /) -> F: ...

    @overload
    def optional_token(self, /, **options: Unpack[OptionalKeywords]) -> Decorator: ...

    def optional_token(self, view: Any = None, /, **options: Any) -> Any:
        """Let requests without a token pass; :data:`current_token` is falsy then.

        A token in a cookie that would be a 401 is ignored for this request, and the cookie stays.

        :param type: as for :meth:`token_required`.
        :param on_invalid: what follows if a token that was sent on purpose, in a header for
            example, would be a 401. ``"error"`` refuses the request; ``"ignore"`` treats it as one
            without a token. It does not change a 400, 403 or 503.
        :param fresh: as for :meth:`token_required`. A token that is not fresh is a 401.
        :param max_age: as for :meth:`token_required`.
        :param check_revocation: as for :meth:`token_required`.
        :param locations: as for :meth:`token_required`.
        :param user: as for :meth:`token_required`. A token without a user is a 401.
        """
        return guard_or_decorator(self._callbacks, view, options, OptionalKeywords, optional=True)

    @overload
    def access_token_required(self, view: F, /) -> F: ...

    @overload
    def access_token_required(self, /, **options: Unpack[AccessKeywords]) -> Decorator: ...

    def access_token_required(self, view: Any = None, /, **options: Any) -> Any:
        """Guard a view with an access token.

        :param check_revocation: as for :meth:`token_required`.
        :param locations: as for :meth:`token_required`.
        :param user: as for :meth:`token_required`.
        """
        return guard_or_decorator(self._callbacks, view, options, AccessKeywords)

    @overload
    def refresh_token_required(self, view: F, /) -> F: ...

    @overload
    def refresh_token_required(self, /, **options: Unpack[UserKeywords]) -> Decorator: ...

    def refresh_token_required(self, view: Any = None, /, **options: Any) -> Any:
        """Guard a view with a refresh token.

        :param locations: as for :meth:`token_required`.
        :param user: as for :meth:`token_required`. :meth:`refresh` loads the user without it.
        """
        return guard_or_decorator(
            self._callbacks, view, options, UserKeywords, type=TokenType.REFRESH
        )

    @overload
    def fresh_token_required(self, view: F, /) -> F: ...

    @overload
    def fresh_token_required(self, /, **options: Unpack[FreshKeywords]) -> Decorator: ...

    def fresh_token_required(self, view: Any = None, /, **options: Any) -> Any:
        """Guard a view with a fresh access token. A token from a refresh is not fresh.

        :param max_age: as for :meth:`token_required`.
        :param check_revocation: as for :meth:`token_required`.
        :param locations: as for :meth:`token_required`.
        :param user: as for :meth:`token_required`.
        """
        return guard_or_decorator(self._callbacks, view, options, FreshKeywords, fresh=True)

    def scopes_required(self, *scopes: str, **options: Unpack[ScopeKeywords]) -> Decorator:
        """Guard a view with an access token that holds these scopes, or one of them.

        A held ``admin:*`` grants ``admin:users``; nothing else is a pattern.

        :param all_required: whether all of them are required; ``False``: one is enough.
        :param check_revocation: as for :meth:`token_required`.
        :param locations: as for :meth:`token_required`.
        :param user: as for :meth:`token_required`.
        :raises TypeError: if a scope is no text.
        :raises ValueError: if no scope is given, or one that no token could hold.
        """
        if not all(isinstance(scope, str) for scope in cast(tuple[object, ...], scopes)):
            raise TypeError("name each scope as a text: @authx.scopes_required('users:read')")
        if not scopes:
            raise ValueError("name at least one scope: @authx.scopes_required('users:read')")
        decorator: Decorator = guard_or_decorator(
            self._callbacks, None, options, ScopeKeywords, scopes=scopes
        )
        return decorator

    def protect(self, target: Flask | Blueprint, **options: Unpack[ProtectKeywords]) -> None:
        """Guard every view of an app or blueprint that has no guard of its own and isn't public.

        Blueprints inside it are covered unless they are protected themselves. Static files are
        public. The options are :meth:`token_required`'s; none of them reaches a view with a guard
        of its own. The guards of views are checked before the views as well, so that no decorator
        around a guard responds without it.

        :param scopes: the scopes that the token must hold.
        """
        requirement = requirement_of(options, ProtectKeywords)
        view_registry.add_rule(self._callbacks, target, requirement)

    def public(self, target: T) -> T:
        """Open a view, a view class or a blueprint in an app that is protected as a whole."""
        view_registry.mark_public(self._callbacks, target)
        return target


def _register_defaults(app: Flask) -> None:
    """The error handler and the names in templates, unless the app has its own."""
    handlers = app.error_handler_spec[None][None]
    if AuthXException not in handlers:
        app.register_error_handler(AuthXException, _response)
    app.context_processor(lambda: _template_names(app))


def _response(error: AuthXException) -> AuthXException:
    # Without this handler, an app's own handler for HTTPException would be called. An error that
    # the app itself raised has not been worded yet.
    if "realm" not in vars(error):
        next(iter(states(this_app()).values())).worded.word(error)
    return error


def _template_names(app: Flask) -> dict[str, Any]:
    names: dict[str, Any] = {"authx_csrf_token": _csrf_token}
    if not hasattr(app, "login_manager"):
        # Flask-Login has a current_user of its own.
        names["current_user"] = current_user
    return names


def _csrf_token(name: str | None = None) -> str:
    """The CSRF value of the request's token, for a form; empty if there is none.

    :param name: of the ``AuthX`` object whose token it is; by default that of the last guard.
    """
    if name is None:
        return (current_token.csrf or "") if current_token else ""
    if not has_request_context():
        return ""
    token = context_of(this_request(), states(this_app())[name]).token
    return "" if token is None else token.csrf or ""
