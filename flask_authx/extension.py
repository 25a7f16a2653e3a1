"""``AuthX``: the extension object. It wires the parts together; what they do is in them."""

from __future__ import annotations

import functools
import time
import warnings
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any, Literal, Protocol, TypeVar, cast, overload

from flask import Blueprint, Flask, has_request_context
from werkzeug.wrappers import Response as BaseResponse

from flask_authx import startup
from flask_authx.actions import (
    create,
    list_sessions,
    login,
    logout,
    refresh,
    renewal,
    revoke,
    set_cookies,
)
from flask_authx.app import registry
from flask_authx.app.build import build_state
from flask_authx.app.identity import current_token, current_user, load_user
from flask_authx.app.state import current_state, memory_of, states, this_app, this_request
from flask_authx.guards import check, decorators
from flask_authx.guards.decorators import requirement_from
from flask_authx.http.callbacks import Callbacks, is_async, takes_claims, with_claims
from flask_authx.http.context import RequestContext
from flask_authx.http.requirement import Requirement
from flask_authx.settings import parsers
from flask_authx.stores.blocklist import Blocklist
from flask_authx.stores.session_store import Session, SessionStore
from flask_authx.tokens.create import Expiry, TokenOptions, Uid, new_id
from flask_authx.tokens.token import RequestToken, Token, TokenPair

from . import blueprint
from .enums import Locations, OnInvalid, TokenType, TokenTypeName
from .errors import AuthXException, BadConfigurationError

F = TypeVar("F", bound=Callable[..., Any])
C = TypeVar("C", bound=Callable[..., Any])
T = TypeVar("T")


class Decorator(Protocol):
    """A decorator that keeps the view's type."""

    def __call__(self, view: F, /) -> F:
        """The view with its guard."""
        ...


class AuthX:
    """Token authentication with tokens that can be taken back.

    One object serves any number of apps; what belongs to an app is kept on the app. Callbacks may
    be registered before or after :meth:`init_app`.

    :param app: the app to set up at once; else call :meth:`init_app`.
    :param name: tells several objects on one app apart. Any other name than the default also
        changes the prefix of the settings: ``AuthX(name="admin")`` reads ``ADMIN_JWT_SECRET_KEY``.
    :param blocklist: the store of revocations, instead of one that ``JWT_BLOCKLIST`` names.
    :param sessions: the store of logins, where ``blocklist`` is given: ``JWT_SESSIONS`` is on then.
    :param clock: gives the seconds since 1970-01-01 UTC; for tests.
    :param ids: gives a new unguessable id each time it is called; for tests.
    """

    def __init__(
        self,
        app: Flask | None = None,
        *,
        name: str = "authx",
        blocklist: Blocklist | None = None,
        sessions: SessionStore | None = None,
        clock: Callable[[], float] = time.time,
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

        :raises BadConfigurationError: with everything that is wrong, each with its setting's name.
        """
        callbacks = self._callbacks
        if callbacks.name in states(app):
            raise BadConfigurationError(
                f"the app {app.name!r} already has an AuthX object named {callbacks.name!r}: "
                "call init_app once, or give the second object a name of its own."
            )
        state = build_state(app, callbacks, self._clock, self._ids, refresh.end_reused)
        problems = startup.collisions(state)
        if problems:
            raise BadConfigurationError(problems)
        if state.settings.decode_leeway > 300:
            warnings.warn(
                f"{state.settings.prefix}DECODE_LEEWAY is above 300 seconds", stacklevel=2
            )
        states(app)[callbacks.name] = state
        startup.register_hook(state)
        renewal.watch(state)
        _register_defaults(app)

    # Callbacks

    def set_callback_token_blocklist(self, callback: C) -> C:
        """Register what says whether a token is revoked; as a decorator or a plain call.

        It is called once for all guards of a request, with the raw token, and only for tokens whose
        signature and claims are good; with ``claims=`` as well, if it takes that.
        :meth:`verify_token` asks each time. It returns ``True`` for a
        revoked token and ``False`` for any other. Whatever else it returns or raises is a fault:
        the request is refused with a 503. It may be ``async``.

        :raises BadConfigurationError: if it can't be called that way.
        """
        revoked = with_claims(callback, "revocation")
        self._callbacks.revoked_takes_claims = takes_claims(callback, "revocation")
        self._callbacks.revoked = revoked
        return callback

    #: Short for :meth:`set_callback_token_blocklist`.
    token_blocklist = set_callback_token_blocklist

    def set_callback_get_model_instance(self, callback: C) -> C:
        """Register what loads the user of a token, for :data:`current_user`.

        It is called with the token's subject, and with ``claims=`` as well if it takes that, when
        the user is first used in a request. If it returns ``None`` the answer is a 401; what it
        raises is the app's own. It may be ``async``.

        :raises BadConfigurationError: if it can't be called that way.
        """
        self._callbacks.subject = with_claims(callback, "user")
        return callback

    #: Short for :meth:`set_callback_get_model_instance`.
    set_subject_getter = set_callback_get_model_instance

    def set_callback_additional_claims(self, callback: C) -> C:
        """Register what adds the app's claims to every new token. It gets the ``uid`` as a string.

        :raises BadConfigurationError: if it can't be called that way, or is ``async``, which
            minting can't wait for.
        """
        takes_claims(callback, "claims")
        if is_async(callback):
            raise BadConfigurationError("the claims callback can't be async: minting doesn't wait.")
        self._callbacks.claims = callback
        return callback

    # Minting

    def create_access_token(
        self,
        uid: Uid,
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

        :param uid: who it is for; the token says it as a string.
        :param fresh: whether the user has just logged in.
        :param headers: further parameters of the JOSE header.
        :param expiry: the lifetime, as a ``timedelta`` or in seconds, or the moment of expiry as an
            aware ``datetime``; instead of ``JWT_ACCESS_TOKEN_EXPIRES``.
        :param data: claims of the app.
        :param audience: instead of ``JWT_ENCODE_AUDIENCE``.
        :param scopes: the scopes that it holds.
        :param login: a verified token whose login goes on: its ``sid`` and ``auth_time`` are kept.
            Where logins are kept in a store it is an access token; for a refresh token there is
            :meth:`refresh`.
        :raises TypeError: if a value is of a type that doesn't fit.
        :raises ValueError: if a value is out of bounds, or a name in ``data`` is reserved.
        :raises StoreUnavailableError: if there is a store of revocations and it can't say which
            logins of the user are over: a new one must not be among them.
        """
        state = current_state(self._callbacks)
        create.refuse_bypass(state, login)
        options = TokenOptions(
            fresh=fresh,
            headers=headers,
            expiry=expiry,
            data=data,
            audience=audience,
            scopes=scopes,
            until=create.last_second(state, login),
        )
        opened = create.new_login(state, uid, login)
        return create.create_token(state, TokenType.ACCESS, opened, options).token

    def create_refresh_token(
        self,
        uid: Uid,
        *,
        headers: Mapping[str, Any] | None = None,
        expiry: Expiry | None = None,
        data: Mapping[str, Any] | None = None,
        audience: str | Iterable[str] | None = None,
        scopes: Iterable[str] | None = None,
        login: Token | None = None,
    ) -> str:
        """A new refresh token. The parameters and errors are :meth:`create_access_token`'s.

        :raises RuntimeError: if logins are kept in a store: :meth:`login` opens one.
        """
        state = current_state(self._callbacks)
        create.refuse_rowless(state, "create_refresh_token()")
        options = TokenOptions(
            headers=headers, expiry=expiry, data=data, audience=audience, scopes=scopes
        )
        opened = create.new_login(state, uid, login)
        return create.create_token(state, TokenType.REFRESH, opened, options).token

    def create_token_pair(
        self,
        uid: Uid,
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
        """An access and a refresh token of one new login: they share their ``sid``.

        The parameters and errors are :meth:`create_access_token`'s.

        :raises RuntimeError: if logins are kept in a store: :meth:`login` opens one.
        """
        state = current_state(self._callbacks)
        create.refuse_rowless(state, "create_token_pair()")
        login = create.new_login(state, uid, None)
        access, refresh = (
            TokenOptions(
                fresh=fresh and type is TokenType.ACCESS,
                headers=headers,
                expiry=expiry,
                data=data,
                audience=audience,
                scopes=scopes,
            )
            for type, expiry, scopes in (
                (TokenType.ACCESS, access_expiry, access_scopes),
                (TokenType.REFRESH, refresh_expiry, refresh_scopes),
            )
        )
        return create.pair_of(
            create.create_token(state, TokenType.ACCESS, login, access),
            create.create_token(state, TokenType.REFRESH, login, refresh),
        )

    # Logins that are kept in a store

    def login(
        self,
        uid: Uid,
        *,
        fresh: bool = True,
        data: Mapping[str, Any] | None = None,
        audience: str | Iterable[str] | None = None,
        scopes: Iterable[str] | None = None,
        name: str | None = None,
    ) -> TokenPair:
        """Open a login, and give its first tokens. When this returns, its row is written.

        It is for a user who has just shown who they are; that is the app's own to check. If it is
        one login more than ``JWT_MAX_SESSIONS``, the user's oldest is revoked.

        :param fresh: whether the access token counts as coming straight from a log-in.
        :param data: claims of the app, beside those of the claims callback. If there is such a
            callback, refreshed tokens carry only what it says then.
        :param scopes: what the tokens of this login may do at most.
        :param name: what the user calls the device.
        :raises StoreUnavailableError: if the row could not be written.
        :raises RuntimeError: if logins are not kept in a store, or if the app's session holds
            uncommitted writes in the SQLite file that must be written to.
        :raises TypeError: if a value is of a type that doesn't fit.
        :raises ValueError: if a value is out of bounds.
        """
        options = TokenOptions(fresh=fresh, data=data, audience=audience, scopes=scopes)
        return login.open_login(current_state(self._callbacks), uid, options, name)

    def refresh(
        self,
        token: str | RequestToken | None = None,
        *,
        scopes: Iterable[str] | None = None,
        data: Mapping[str, Any] | None = None,
    ) -> TokenPair:
        """New tokens for a refresh token, which they replace (RFC 9700 section 4.14.2).

        The token is checked as a guard would, the user is loaded, and the claims callback is asked
        anew. Whatever fails has consumed nothing. The access token is not fresh. A token that was
        replaced within the last ``JWT_REFRESH_GRACE`` seconds is answered with the current tokens;
        one replaced earlier has been copied: the login is revoked, its access tokens included, and
        ``refresh_reuse_detected`` is sent.

        :param token: by default the request's own. No guard is needed.
        :param scopes: those of the access token, instead of all that the login may have.
        :param data: claims of the app; by default those of the refresh token, unless there is a
            claims callback.
        :raises InsufficientScopeError: if the login may not have those scopes.
        :raises ReusedTokenError: if the token was replaced before, as said above.
        :raises RevokedTokenError: if the login is over.
        :raises SubjectNotFoundError: if the user callback knows no such user. The login is revoked.
        :raises StoreUnavailableError: if a store can't answer. The token is as good as before.
        :raises AuthXException: if the token isn't accepted for another reason.
        :raises werkzeug.exceptions.MethodNotAllowed: if the request's method is a safe one.
        :raises RuntimeError: as :meth:`login` does.
        """
        return refresh.refresh(current_state(self._callbacks), token, scopes, data)

    def reauthenticate(self, uid: Uid, *, expiry: Expiry | None = None) -> str:
        """A fresh access token for the current login: for a user who has proved again who they are.

        That is the app's own to check, before this. The login stays the same: its ``sid``, scopes
        and audience.

        :param uid: whose password, or whatever it was, has been checked.
        :param expiry: as for :meth:`create_access_token`.
        :raises FreshTokenRequiredError: if the current login is another user's.
        :raises RuntimeError: if nobody is authenticated: guard the view.
        """
        state = current_state(self._callbacks)
        return login.reauthenticate(state, uid, expiry).token

    def sessions(self, uid: Uid) -> list[Session]:
        """A user's logins that go on, the latest seen first.

        :raises StoreUnavailableError: if a store can't answer.
        :raises RuntimeError: if logins are not kept in a store.
        """
        return list_sessions.logins_of(current_state(self._callbacks), uid)

    def name_session(self, sid: str, name: str | None) -> bool:
        """Give a login a name for its owner to know it by, and say whether there is such a login.

        Whose it is, is for the app to check: it is among :meth:`sessions` of the user.

        :param name: at most 255 characters; ``None`` takes the name away.
        :raises StoreUnavailableError: if it could not be written.
        :raises RuntimeError: as :meth:`login` does.
        :raises ValueError: if the sid or the name can't be one.
        """
        return list_sessions.rename(current_state(self._callbacks), sid, name)

    def blueprint(
        self,
        url_prefix: str | None = "/auth",
        *,
        name: str | None = None,
        authenticate: Callable[[], Uid | Awaitable[Uid | None] | None] | None = None,
    ) -> Blueprint:
        """Views for refresh, log-out and the list of a user's logins, to be registered on the app.

        ``POST /refresh``, ``POST /logout``, ``GET /sessions``, ``DELETE /sessions/<sid>``,
        ``DELETE /sessions`` (all others). What came in a cookie is answered with cookies, and
        anything else with JSON. Refresh cookies are sent to ``url_prefix`` alone.

        :param name: of the blueprint; by default that of the ``AuthX`` object.
        :param authenticate: adds ``POST /login``. It is called without arguments during the
            request, and returns the ``uid`` of whoever has shown who they are, or ``None`` to
            refuse with a 401. It may be ``async``. Limiting attempts is the app's own.
        """
        return blueprint.make(
            self._callbacks, url_prefix, name or self._callbacks.name, authenticate
        )

    # Cookies

    def set_access_cookies(
        self, response: BaseResponse, token: str, max_age: int | None = None
    ) -> None:
        """Set the cookie of an access token, and the one that shows its CSRF value to scripts.

        An earlier cookie of the same name in this response is replaced.

        :param max_age: for how many seconds browsers keep it; by default what
            ``JWT_SESSION_COOKIE`` and ``JWT_COOKIE_MAX_AGE`` say.
        :raises ValueError: if the token isn't a good access token, or longer than browsers take.
        :raises RuntimeError: if ``JWT_TOKEN_LOCATION`` has no cookies.
        """
        state = current_state(self._callbacks)
        set_cookies.put(state, response, token, TokenType.ACCESS, max_age=max_age)

    def set_refresh_cookies(
        self, response: BaseResponse, token: str, max_age: int | None = None
    ) -> None:
        """Set the cookies of a refresh token. As :meth:`set_access_cookies`.

        :raises RuntimeError: also if ``JWT_REFRESH_COOKIE_PATH`` isn't set and no route of the app
            would see the cookie.
        """
        state = current_state(self._callbacks)
        set_cookies.put(state, response, token, TokenType.REFRESH, max_age=max_age)

    def set_cookies(self, response: BaseResponse, pair: TokenPair) -> None:
        """Set the cookies of both tokens of a pair. As the two above."""
        set_cookies.put_pair(current_state(self._callbacks), response, pair)

    def unset_access_cookies(self, response: BaseResponse) -> None:
        """Make the browser forget the access token: by the attributes it was set with."""
        set_cookies.take_back(current_state(self._callbacks), response, TokenType.ACCESS)

    def unset_refresh_cookies(self, response: BaseResponse) -> None:
        """Make the browser forget the refresh token."""
        set_cookies.take_back(current_state(self._callbacks), response, TokenType.REFRESH)

    def unset_cookies(self, response: BaseResponse) -> None:
        """Make the browser forget both tokens. That ends no login: :meth:`logout` does."""
        set_cookies.take_back(current_state(self._callbacks), response, *TokenType)

    def check_origin(self) -> None:
        """Refuse a request that a page of another site has made a browser send.

        For log-in views that set cookies: there is no token yet whose CSRF value could be checked.
        Clients that say nothing of where they come from, which browsers do, pass.

        :raises CrossOriginError: if it is refused. ``JWT_TRUSTED_ORIGINS`` are not.
        """
        check.check_origin(current_state(self._callbacks), this_request())

    # Reading

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
        """The request's token as it was sent. It is only found here, **not** verified.

        :param optional: ``True`` gives ``None`` if there is none, ``False`` raises.
        :raises MissingTokenError: if there is none and one is needed.
        :raises MalformedRequestError: if there are two, or half a token.
        """
        state = current_state(self._callbacks)
        requirement = requirement_from(type=type, optional=optional, locations=locations)
        return check.find(state, this_request(), requirement)

    def verify_token(
        self,
        token: str | RequestToken,
        *,
        type: TokenTypeName = "access",
        fresh: bool = False,
        max_age: timedelta | int | None = None,
        scopes: Iterable[str] = (),
    ) -> Token:
        """The verified token, after everything a guard checks, revocation included.

        Needs an app context and no request: for WebSockets, tasks and scripts. A
        :class:`RequestToken` from a cookie must have its CSRF value, except during a request with a
        safe method.

        :raises AuthXException: if the token isn't accepted.
        """
        state = current_state(self._callbacks)
        requirement = requirement_from(type=type, fresh=fresh, max_age=max_age, scopes=scopes)
        found = _request_token(token, requirement.type)
        return check.verify(state, found, requirement, RequestContext())

    def decode_token(self, token: str | RequestToken) -> Token:
        """The token of whichever type, if its signature and claims are good.

        **Nobody is asked** whether it is revoked, and nothing but the token is looked at.

        :raises JWTDecodeError: if it isn't.
        """
        state = current_state(self._callbacks)
        try:
            return state.verifier.decode(str(token))
        except AuthXException as error:
            state.dress(error)
            raise

    def get_current_subject(self) -> Any:
        """The user of this request, as :data:`current_user`; ``None`` if nobody is authenticated.

        Outside of a request nobody is.

        :raises SubjectNotFoundError: if the app knows no such user.
        :raises RuntimeError: if no user callback is registered.
        """
        state = current_state(self._callbacks)
        if not has_request_context():
            return None
        return load_user(state, memory_of(this_request(), state))

    # Revoking

    def revoke_token(
        self, token: str | RequestToken | Token | None = None, *, reason: str | None = None
    ) -> None:
        """Revoke a token: when this returns, no process accepts it any more, and that lasts.

        It commits in a transaction of its own: what becomes of the app's own transaction doesn't
        matter to it. A text is verified first; one that has expired needs no more. Where logins are
        kept in a store, a refresh token is revoked with its login, since others replace it.

        :param token: by default the current one.
        :param reason: why, for signals and the audit trail; at most 1000 characters.
        :raises JWTDecodeError: if a text isn't a good token.
        :raises StoreUnavailableError: if it could not be written.
        :raises RuntimeError: if there is no current token, no store, or if the app's session holds
            uncommitted writes in the SQLite file that must be written to.
        """
        revoke.revoke_token(current_state(self._callbacks), token, reason)

    def revoke_session(self, sid: str, *, reason: str | None = None) -> None:
        """Revoke a login: its access tokens, its refresh tokens, and those being minted now.

        The guarantees, parameters and errors are :meth:`revoke_token`'s.

        :param sid: the claim that the tokens of a login share.
        :raises ValueError: if it can't be one.
        """
        revoke.revoke_session(current_state(self._callbacks), sid, reason)

    def revoke_subject(
        self, uid: Uid, *, keep: str | None = None, reason: str | None = None
    ) -> None:
        """Revoke all logins of a user that have begun so far. A login after this is a good one.

        The guarantees, parameters and errors are :meth:`revoke_token`'s.

        :param uid: what the tokens were minted for.
        :param keep: the ``sid`` of a login that goes on: the current one, when a password has been
            changed. One that has been revoked before stays so.
        :raises ValueError: if the uid or the sid can't be one.
        """
        revoke.revoke_subject(current_state(self._callbacks), uid, keep, reason)

    def logout(self, *, reason: str | None = None) -> None:
        """Revoke the login of the request's token; do nothing if there is none.

        No guard is needed. A token that has expired will do, an access or a refresh token; one that
        is forged is refused, and one from a cookie needs its CSRF value as anywhere. So route it on
        POST or DELETE: any page can make a browser send a GET, which needs no such value.

        :param reason: why, for signals and the audit trail; at most 1000 characters.
        :raises AuthXException: if the token isn't good, or the revocation could not be written.
        :raises RuntimeError: as :meth:`revoke_token` does.
        """
        logout.logout(current_state(self._callbacks), reason)

    def is_revoked(self, token: str | RequestToken | Token) -> bool:
        """Whether the store or the app's callback says that a token is revoked, asked anew.

        A text is verified first.

        :raises JWTDecodeError: if a text isn't a good token.
        :raises StoreUnavailableError: if that can't be found out.
        :raises ValueError: if a callback is registered, which wants the token's text, and a
            :class:`Token` is given that isn't the current one.
        """
        return revoke.is_revoked(current_state(self._callbacks), token)

    # Guards

    @overload
    def token_required(self, view: F, /) -> F: ...

    @overload
    def token_required(
        self,
        /,
        *,
        type: TokenTypeName = "access",
        fresh: bool = False,
        max_age: timedelta | int | None = None,
        check_revocation: bool = True,
        locations: Locations | None = None,
    ) -> Decorator: ...

    def token_required(
        self,
        view: Any = None,
        /,
        *,
        type: TokenTypeName = "access",
        fresh: bool = False,
        max_age: timedelta | int | None = None,
        check_revocation: bool = True,
        locations: Locations | None = None,
    ) -> Any:
        """Guard a view: no request passes without a good token. Put it below ``@app.route``.

        :param type: the type of token, ``"access"`` or ``"refresh"``.
        :param fresh: whether it must come straight from a log-in.
        :param max_age: with ``fresh``: how long ago that may have been, in seconds or as a
            ``timedelta``; longer is a 401 whose challenge says so (RFC 9470 section 3).
        :param check_revocation: ``False`` spares the question whether the token is revoked, so a
            revoked one passes until it expires. For access tokens only.
        :param locations: where to look, instead of ``JWT_TOKEN_LOCATION``.
        :raises BadConfigurationError: if a refresh token is to go unchecked.
        """
        requirement = requirement_from(
            type=type,
            fresh=fresh,
            max_age=max_age,
            check_revocation=check_revocation,
            locations=locations,
        )
        return self._guard(view, requirement)

    @overload
    def optional_token(self, view: F, /) -> F: ...

    @overload
    def optional_token(
        self,
        /,
        *,
        type: TokenTypeName = "access",
        on_invalid: OnInvalid | Literal["error", "ignore"] = "error",
        check_revocation: bool = True,
        locations: Locations | None = None,
    ) -> Decorator: ...

    def optional_token(
        self,
        view: Any = None,
        /,
        *,
        type: TokenTypeName = "access",
        on_invalid: OnInvalid | Literal["error", "ignore"] = "error",
        check_revocation: bool = True,
        locations: Locations | None = None,
    ) -> Any:
        """Let requests without a token pass; :data:`current_token` is falsy then.

        :param on_invalid: ``"error"`` refuses a token that is there and bad, as anywhere;
            ``"ignore"`` takes a request that would be a 401 for one without a token. A 400, 403 or
            503 stays what it is.
        :param check_revocation: as for :meth:`token_required`.
        """
        on_invalid = parsers.member(OnInvalid)(on_invalid)
        requirement = requirement_from(
            type=type,
            optional=True,
            on_invalid=on_invalid,
            check_revocation=check_revocation,
            locations=locations,
        )
        return self._guard(view, requirement)

    @overload
    def access_token_required(self, view: F, /) -> F: ...

    @overload
    def access_token_required(
        self, /, *, check_revocation: bool = True, locations: Locations | None = None
    ) -> Decorator: ...

    def access_token_required(
        self,
        view: Any = None,
        /,
        *,
        check_revocation: bool = True,
        locations: Locations | None = None,
    ) -> Any:
        """Guard a view with an access token."""
        requirement = requirement_from(check_revocation=check_revocation, locations=locations)
        return self._guard(view, requirement)

    @overload
    def refresh_token_required(self, view: F, /) -> F: ...

    @overload
    def refresh_token_required(self, /, *, locations: Locations | None = None) -> Decorator: ...

    def refresh_token_required(
        self, view: Any = None, /, *, locations: Locations | None = None
    ) -> Any:
        """Guard a view with a refresh token."""
        return self._guard(view, requirement_from(type=TokenType.REFRESH, locations=locations))

    @overload
    def fresh_token_required(self, view: F, /) -> F: ...

    @overload
    def fresh_token_required(
        self,
        /,
        *,
        max_age: timedelta | int | None = None,
        check_revocation: bool = True,
        locations: Locations | None = None,
    ) -> Decorator: ...

    def fresh_token_required(
        self,
        view: Any = None,
        /,
        *,
        max_age: timedelta | int | None = None,
        check_revocation: bool = True,
        locations: Locations | None = None,
    ) -> Any:
        """Guard a view with an access token that comes straight from a log-in.

        :param max_age: as for :meth:`token_required`.
        """
        requirement = requirement_from(
            fresh=True, max_age=max_age, check_revocation=check_revocation, locations=locations
        )
        return self._guard(view, requirement)

    def scopes_required(
        self,
        *scopes: str,
        all_required: bool = True,
        check_revocation: bool = True,
        locations: Locations | None = None,
    ) -> Decorator:
        """Guard a view with an access token that holds these scopes, or one of them.

        A held ``admin:*`` grants ``admin:users``; nothing else is a pattern.

        :raises TypeError: if a scope is no text.
        :raises ValueError: if no scope is given, or one that no token could hold.
        """
        if not all(isinstance(scope, str) for scope in cast(tuple[object, ...], scopes)):
            raise TypeError("name each scope as a text: @authx.scopes_required('users:read')")
        if not scopes:
            raise ValueError("name at least one scope: @authx.scopes_required('users:read')")
        requirement = requirement_from(
            scopes=scopes,
            all_required=all_required,
            check_revocation=check_revocation,
            locations=locations,
        )
        decorator: Decorator = self._guard(None, requirement)
        return decorator

    def protect(
        self,
        target: Flask | Blueprint,
        *,
        type: TokenTypeName = "access",
        fresh: bool = False,
        max_age: timedelta | int | None = None,
        scopes: Iterable[str] = (),
        check_revocation: bool = True,
        locations: Locations | None = None,
    ) -> None:
        """Guard every view of an app or blueprint that has no guard of its own and isn't public.

        Blueprints inside it are covered unless they are protected themselves. Static files are
        public.
        """
        requirement = requirement_from(
            type=type,
            fresh=fresh,
            max_age=max_age,
            scopes=scopes,
            check_revocation=check_revocation,
            locations=locations,
        )
        registry.rule(self._callbacks, target, requirement)

    def public(self, target: T) -> T:
        """Open a view, a view class or a blueprint in an app that is protected as a whole."""
        registry.open_up(self._callbacks, target)
        return target

    def _guard(self, view: Any, requirement: Requirement) -> Any:
        if view is None:
            return functools.partial(decorators.guard, self._callbacks, requirement)
        return decorators.guard(self._callbacks, requirement, view)


def _request_token(token: str | RequestToken, type: TokenType) -> RequestToken:
    return token if isinstance(token, RequestToken) else RequestToken(str(token), type=type)


def _register_defaults(app: Flask) -> None:
    """The handler and the names in templates, unless the app has its own."""
    handlers = app.error_handler_spec[None][None]
    if AuthXException not in handlers:
        app.register_error_handler(AuthXException, _answer)
    app.context_processor(lambda: _template_names(app))


def _answer(error: AuthXException) -> AuthXException:
    # An exception of ours is a response; a handler of its own keeps those for HTTPException off.
    # One that the app raised itself has not been given the app's words yet.
    if "realm" not in vars(error):
        next(iter(states(this_app()).values())).dress(error)
    return error


def _template_names(app: Flask) -> dict[str, Any]:
    names: dict[str, Any] = {"authx_csrf_token": _csrf_token}
    if not hasattr(app, "login_manager"):
        # Flask-Flask-Login puts its own there.
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
    token = memory_of(this_request(), states(this_app())[name]).token
    return "" if token is None else token.csrf or ""
