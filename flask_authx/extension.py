"""``AuthX``: the extension object. It wires the parts together; what they do is in them."""

from __future__ import annotations

import functools
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, TypeVar, cast, overload

from flask import Blueprint, Flask, Response, after_this_request, has_request_context

from . import audit, backing, guards, marks, parsers, revoking
from .callbacks import Instance, is_async, takes_claims, with_claims
from .codec import Codec
from .context import (
    AppState,
    current_state,
    current_token,
    current_user,
    load_user,
    memory_of,
    states,
    this_app,
    this_request,
)
from .errors import AuthXException, BadConfigurationError
from .keys import KeySet
from .mint import Expiry, Extras, Login, Mint, Uid, new_id, scope_list
from .revocation import Revocations
from .settings import Settings
from .stores.entries import Blocklist
from .tokens import (
    MAY_GO_UNCHECKED,
    LocationName,
    RequestToken,
    Token,
    TokenPair,
    TokenType,
    TokenTypeName,
)
from .verifier import Demand, Memory, OnInvalid, Verifier

if TYPE_CHECKING:
    # It needs SQLAlchemy, which is optional.
    from .stores.trail import AuditTrail

F = TypeVar("F", bound=Callable[..., Any])
C = TypeVar("C", bound=Callable[..., Any])
T = TypeVar("T")

Locations: TypeAlias = LocationName | Iterable[LocationName]


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
    :param clock: gives the seconds since 1970-01-01 UTC; for tests.
    :param ids: gives a new unguessable id each time it is called; for tests.
    """

    def __init__(
        self,
        app: Flask | None = None,
        *,
        name: str = "authx",
        blocklist: Blocklist | None = None,
        clock: Callable[[], float] = time.time,
        ids: Callable[[], str] = new_id,
    ) -> None:
        if not name.isidentifier() or len(name) > 64:
            raise BadConfigurationError(
                f"the name {name[:65]!r} can't start a setting's name, or is longer than 64 "
                "characters."
            )
        self._instance = Instance(name, blocklist)
        self._clock = clock
        self._ids = ids
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Read the app's settings and register the hooks.

        The settings are read here and never again; the app's config is not changed.

        :raises BadConfigurationError: with everything that is wrong, each with its setting's name.
        """
        instance = self._instance
        if instance.name in states(app):
            raise BadConfigurationError(
                f"the app {app.name!r} already has an AuthX object named {instance.name!r}: "
                "call init_app once, or give the second object a name of its own."
            )
        prefix = "JWT_" if instance.name == "authx" else f"{instance.name.upper()}_JWT_"
        settings, keys, revocations, trail = _configure(app, instance, prefix, self._clock)
        codec = Codec(settings, keys)
        state = AppState(
            instance=instance,
            settings=settings,
            codec=codec,
            verifier=Verifier(settings, codec, instance, revocations, self._clock),
            mint=Mint(settings, codec, self._clock, self._ids),
            revocations=revocations,
            trail=trail,
            seen=audit.snapshot(app, prefix),
        )
        problems = audit.collisions(app, state)
        if problems:
            raise BadConfigurationError(problems)
        if settings.decode_leeway > 300:
            warnings.warn(f"{prefix}DECODE_LEEWAY is above 300 seconds", stacklevel=2)
        states(app)[instance.name] = state
        audit.watch(app, state)
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
        self._instance.revoked_takes_claims = takes_claims(callback, "revocation")
        self._instance.revoked = revoked
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
        self._instance.subject = with_claims(callback, "user")
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
        self._instance.claims = callback
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
        :raises TypeError: if a value is of a type that doesn't fit.
        :raises ValueError: if a value is out of bounds, or a name in ``data`` is reserved.
        :raises StoreUnavailableError: if there is a store of revocations and it can't say which
            logins of the user are over: a new one must not be among them.
        """
        state = current_state(self._instance)
        extras = Extras(
            fresh=fresh, headers=headers, expiry=expiry, data=data, audience=audience, scopes=scopes
        )
        return _mint(state, TokenType.ACCESS, revoking.new_login(state, uid, login), extras)[0]

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
        """A new refresh token. The parameters and errors are :meth:`create_access_token`'s."""
        state = current_state(self._instance)
        extras = Extras(headers=headers, expiry=expiry, data=data, audience=audience, scopes=scopes)
        return _mint(state, TokenType.REFRESH, revoking.new_login(state, uid, login), extras)[0]

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
        """
        state = current_state(self._instance)
        login = revoking.new_login(state, uid, None)
        access, refresh = (
            Extras(
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
        access_token, expires_in = _mint(state, TokenType.ACCESS, login, access)
        refresh_token, refresh_expires_in = _mint(state, TokenType.REFRESH, login, refresh)
        return TokenPair(access_token, refresh_token, expires_in, refresh_expires_in)

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
        state = current_state(self._instance)
        demand = _demand(type=type, optional=optional, locations=locations)
        return guards.find(state, this_request(), demand)

    def verify_token(
        self,
        token: str | RequestToken,
        *,
        type: TokenTypeName = "access",
        fresh: bool = False,
        scopes: Iterable[str] = (),
    ) -> Token:
        """The verified token, after everything a guard checks, revocation included.

        Needs an app context and no request: for WebSockets, tasks and scripts. A
        :class:`RequestToken` from a cookie must have its CSRF value, except during a request with a
        safe method.

        :raises AuthXException: if the token isn't accepted.
        """
        state = current_state(self._instance)
        demand = _demand(type=type, fresh=fresh, scopes=scopes)
        found = _request_token(token, demand.type)
        return guards.verify(this_app(), state, found, demand, Memory())

    def decode_token(self, token: str | RequestToken) -> Token:
        """The token of whichever type, if its signature and claims are good.

        **Nobody is asked** whether it is revoked, and nothing but the token is looked at.

        :raises JWTDecodeError: if it isn't.
        """
        state = current_state(self._instance)
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
        state = current_state(self._instance)
        if not has_request_context():
            return None
        return load_user(state, memory_of(this_request(), state))

    # Revoking

    def revoke_token(
        self, token: str | RequestToken | Token | None = None, *, reason: str | None = None
    ) -> None:
        """Revoke a token: when this returns, no process accepts it any more, and that lasts.

        It commits in a transaction of its own: what becomes of the app's own transaction doesn't
        matter to it. A text is verified first; one that has expired needs no more.

        :param token: by default the current one.
        :param reason: why, for signals and the audit trail; at most 1000 characters.
        :raises JWTDecodeError: if a text isn't a good token.
        :raises StoreUnavailableError: if it could not be written.
        :raises RuntimeError: if there is no current token, no store, or if the app's session holds
            uncommitted writes in the SQLite file that must be written to.
        """
        revoking.revoke_token(this_app(), current_state(self._instance), token, reason)

    def revoke_session(self, sid: str, *, reason: str | None = None) -> None:
        """Revoke a login: its access tokens, its refresh tokens, and those being minted now.

        The guarantees, parameters and errors are :meth:`revoke_token`'s.

        :param sid: the claim that the tokens of a login share.
        :raises ValueError: if it can't be one.
        """
        revoking.revoke_session(this_app(), current_state(self._instance), sid, reason)

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
        revoking.revoke_subject(this_app(), current_state(self._instance), uid, keep, reason)

    def logout(self, *, reason: str | None = None) -> None:
        """Revoke the login of the request's token; do nothing if there is none.

        No guard is needed. A token that has expired will do, an access or a refresh token; one that
        is forged is refused, and one from a cookie needs its CSRF value as anywhere. So route it on
        POST or DELETE: any page can make a browser send a GET, which needs no such value.

        :param reason: why, for signals and the audit trail; at most 1000 characters.
        :raises AuthXException: if the token isn't good, or the revocation could not be written.
        :raises RuntimeError: as :meth:`revoke_token` does.
        """
        revoking.logout(this_app(), current_state(self._instance), reason)

    def is_revoked(self, token: str | RequestToken | Token) -> bool:
        """Whether the store or the app's callback says that a token is revoked, asked anew.

        A text is verified first.

        :raises JWTDecodeError: if a text isn't a good token.
        :raises StoreUnavailableError: if that can't be found out.
        :raises ValueError: if a callback is registered, which wants the token's text, and a
            :class:`Token` is given that isn't the current one.
        """
        return revoking.is_revoked(this_app(), current_state(self._instance), token)

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
        check_revocation: bool = True,
        locations: Locations | None = None,
    ) -> Any:
        """Guard a view: no request passes without a good token. Put it below ``@app.route``.

        :param type: the type of token, ``"access"`` or ``"refresh"``.
        :param fresh: whether it must come straight from a log-in.
        :param check_revocation: ``False`` spares the question whether the token is revoked, so a
            revoked one passes until it expires. For access tokens only.
        :param locations: where to look, instead of ``JWT_TOKEN_LOCATION``.
        :raises BadConfigurationError: if a refresh token is to go unchecked.
        """
        demand = _demand(
            type=type, fresh=fresh, check_revocation=check_revocation, locations=locations
        )
        return self._guard(view, demand)

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
        demand = _demand(
            type=type,
            optional=True,
            on_invalid=on_invalid,
            check_revocation=check_revocation,
            locations=locations,
        )
        return self._guard(view, demand)

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
        demand = _demand(check_revocation=check_revocation, locations=locations)
        return self._guard(view, demand)

    @overload
    def refresh_token_required(self, view: F, /) -> F: ...

    @overload
    def refresh_token_required(self, /, *, locations: Locations | None = None) -> Decorator: ...

    def refresh_token_required(
        self, view: Any = None, /, *, locations: Locations | None = None
    ) -> Any:
        """Guard a view with a refresh token."""
        return self._guard(view, _demand(type=TokenType.REFRESH, locations=locations))

    @overload
    def fresh_token_required(self, view: F, /) -> F: ...

    @overload
    def fresh_token_required(
        self, /, *, check_revocation: bool = True, locations: Locations | None = None
    ) -> Decorator: ...

    def fresh_token_required(
        self,
        view: Any = None,
        /,
        *,
        check_revocation: bool = True,
        locations: Locations | None = None,
    ) -> Any:
        """Guard a view with an access token that comes straight from a log-in."""
        demand = _demand(fresh=True, check_revocation=check_revocation, locations=locations)
        return self._guard(view, demand)

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
        demand = _demand(
            scopes=scopes,
            all_required=all_required,
            check_revocation=check_revocation,
            locations=locations,
        )
        decorator: Decorator = self._guard(None, demand)
        return decorator

    def protect(
        self,
        target: Flask | Blueprint,
        *,
        type: TokenTypeName = "access",
        fresh: bool = False,
        scopes: Iterable[str] = (),
        check_revocation: bool = True,
        locations: Locations | None = None,
    ) -> None:
        """Guard every view of an app or blueprint that has no guard of its own and isn't public.

        Blueprints inside it are covered unless they are protected themselves. Static files are
        public.
        """
        demand = _demand(
            type=type,
            fresh=fresh,
            scopes=scopes,
            check_revocation=check_revocation,
            locations=locations,
        )
        marks.rule(self._instance, target, demand)

    def public(self, target: T) -> T:
        """Open a view, a view class or a blueprint in an app that is protected as a whole."""
        marks.open_up(self._instance, target)
        return target

    def _guard(self, view: Any, demand: Demand) -> Any:
        if view is None:
            return functools.partial(guards.guard, self._instance, demand)
        return guards.guard(self._instance, demand, view)


def _configure(
    app: Flask, instance: Instance, prefix: str, clock: Callable[[], float]
) -> tuple[Settings, KeySet, Revocations | None, AuditTrail | None]:
    """The settings, keys and stores of an app; what is wrong with them is reported together."""
    settings, problems = Settings.read(app.config, prefix)
    keys: KeySet | None = None
    revocations: Revocations | None = None
    trail: AuditTrail | None = None
    try:
        keys = KeySet.from_settings(settings)
    except BadConfigurationError as error:
        problems += error.problems
    try:
        revocations = backing.open_revocations(app, instance, settings, clock)
    except BadConfigurationError as error:
        problems += error.problems
    try:
        trail = backing.open_trail(app, instance, settings)
    except BadConfigurationError as error:
        problems += error.problems
    if problems or keys is None:
        raise BadConfigurationError(problems)
    return settings, keys, revocations, trail


def _demand(
    *,
    check_revocation: bool = True,
    type: TokenTypeName = "access",
    scopes: Iterable[str] = (),
    all_required: bool = True,
    locations: Locations | None = None,
    **asked: Any,
) -> Demand:
    """A demand from what the public edge takes: strings for the members of closed sets."""
    type = parsers.member(TokenType)(type)
    if not check_revocation and type not in MAY_GO_UNCHECKED:
        raise BadConfigurationError(
            f"check_revocation=False with a {type} token: it mints others, so whether it is "
            "revoked is always asked."
        )
    return Demand(
        type=type,
        check_revocation=check_revocation,
        scopes=tuple(scope_list(scopes)),
        all_scopes=all_required,
        locations=None if locations is None else parsers.locations(locations),
        **asked,
    )


def _request_token(token: str | RequestToken, type: TokenType) -> RequestToken:
    return token if isinstance(token, RequestToken) else RequestToken(str(token), type=type)


def _mint(state: AppState, type: TokenType, login: Login, extras: Extras) -> tuple[str, int]:
    describe = state.instance.claims
    additional: Mapping[str, Any] = {} if describe is None else describe(str(login.uid))
    if has_request_context():
        after_this_request(_no_store)
    return state.mint.mint(type, login, extras, additional)


def _no_store(response: Response) -> Response:
    # A response that was minted for one client belongs into no cache (RFC 6749 section 5.1).
    response.headers["Cache-Control"] = "no-store"
    return response


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
        # Flask-Login puts its own there.
        names["current_user"] = current_user
    return names


def _csrf_token() -> str:
    """The CSRF value of the request's token, for a form; empty if there is none."""
    return (current_token.csrf or "") if current_token else ""
