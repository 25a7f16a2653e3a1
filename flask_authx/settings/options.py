"""The settings of one ``AuthX`` object on one app: a field for each, frozen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any

from flask_authx.enums import Algorithm, Detail, Location, OnError, SameSite, TokenType
from flask_authx.errors import (
    AccessTokenRequiredError,
    RefreshTokenRequiredError,
)

from . import parsers
from .profiles import TokenProfile, environ_key

#: RFC 9110 section 9.2.1. All other methods, whatever their names, need the CSRF value.
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
#: What the peers protect by default, so a list without these means something else there than here.
UNSAFE_METHODS = frozenset({"POST", "PUT", "PATCH", "DELETE"})

#: Claims whose meaning is fixed here, in RFC 7519, RFC 9068 or RFC 7800. No app sets them itself.
RESERVED_CLAIMS = frozenset(
    {
        *("iss", "sub", "aud", "exp", "nbf", "iat", "jti"),
        *("sid", "auth_time", "gen", "type", "fresh", "scope", "scopes", "csrf", "cnf"),
    }
)


def _algorithms(value: object) -> frozenset[Algorithm]:
    return frozenset(parsers.member(Algorithm)(item) for item in parsers.texts(value))


def _setting(default: Any, parse: Callable[[object], object]) -> Any:
    # No repr may show a key, which is what is not parsed here, or a URL with a password in it.
    shown = parse not in (parsers.unchecked, parsers.store_url)
    return field(default=default, metadata={"parse": parse}, repr=shown)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings of one instance: in ``app.config`` in upper case, and with ``JWT_`` before."""

    #: The algorithm that tokens are signed with. One key has one algorithm (RFC 8725 section 3.1).
    algorithm: Algorithm = _setting(Algorithm.HS256, parsers.member(Algorithm))
    #: May repeat the algorithms of the keys, and nothing else: they decide what is accepted.
    decode_algorithms: frozenset[Algorithm] | None = _setting(None, _algorithms)
    #: The secret of HS256 (at least 32 bytes), HS384 (48) or HS512 (64). Text, bytes, or a
    #: ``pathlib.Path`` to a file that holds it. ``flask authx generate-key`` makes one.
    secret_key: object = _setting(None, parsers.unchecked)
    #: The key that signs RS, PS, ES and EdDSA tokens. PEM as text or bytes, a ``pathlib.Path`` to a
    #: PEM file, or a key object of ``cryptography``. Without it the app verifies and can't mint.
    private_key: object = _setting(None, parsers.unchecked)
    #: The key that verifies them, in the same forms; by default the private key's public half.
    public_key: object = _setting(None, parsers.unchecked)
    #: The ``kid`` of the key; by default derived from it (RFC 7638 for public keys).
    key_id: str | None = _setting(None, parsers.text)
    #: The secret before this one: its tokens are still accepted.
    previous_secret_key: object = _setting(None, parsers.unchecked)
    #: The public key before this one: its tokens are still accepted.
    previous_public_key: object = _setting(None, parsers.unchecked)
    #: The algorithm of the previous key; by default the same as now.
    previous_algorithm: Algorithm | None = _setting(None, parsers.member(Algorithm))
    #: The ``kid`` of the previous key; by default derived from it.
    previous_key_id: str | None = _setting(None, parsers.text)

    #: How long an access token lives.
    access_token_expires: int = _setting(900, parsers.lifetime)
    #: How long a refresh token lives.
    refresh_token_expires: int = _setting(20 * 86400, parsers.lifetime)
    #: The longest life of any token, minted or accepted: what bounds how long a revocation is kept.
    #: The same in all services that share a store.
    max_token_lifetime: int = _setting(30 * 86400, parsers.lifetime)
    #: How far two machines' clocks may differ when times are judged.
    decode_leeway: int = _setting(10, parsers.seconds)
    #: Whether tokens say ``nbf``, the moment they were minted.
    encode_nbf: bool = _setting(True, parsers.boolean)
    #: The ``iss`` of minted tokens.
    encode_issuer: str | None = _setting(None, parsers.text)
    #: The ``iss`` that a token must have, exactly; by default that of minted ones. The same in all
    #: services that share a store: revocations are kept under it.
    decode_issuer: str | None = _setting(None, parsers.text)
    #: The ``aud`` of minted tokens, one or several.
    encode_audience: tuple[str, ...] | None = _setting(None, parsers.texts)
    #: The audiences of this app: a token must name one of them; by default those of minted tokens.
    #: Without any, a token that names an audience is refused (RFC 7519 section 4.1.3).
    decode_audience: frozenset[str] | None = _setting(None, parsers.audiences)
    #: The claim that holds the subject.
    identity_claim: str = _setting("sub", parsers.text)
    #: Whether tokens of AuthX and Flask-JWT-Extended are accepted: their ``typ`` is ``JWT`` and a
    #: ``type`` claim says what they are. For the time of a migration.
    accept_untyped: bool = _setting(False, parsers.boolean)
    #: The longest token, in characters, that is looked at or minted.
    max_token_length: int = _setting(8192, parsers.count)
    #: The bytes that the cache of verified tokens may take; 0 turns it off.
    cache_size: int = _setting(10 * 1024 * 1024, parsers.count)

    #: Where tokens are looked for: ``headers``, ``cookies``, ``query``, ``json``.
    token_location: frozenset[Location] = _setting(frozenset({Location.HEADERS}), parsers.locations)
    #: The header that holds the token.
    header_name: str = _setting("Authorization", parsers.name)
    #: The scheme before the token, in any case; empty if the header holds the bare token.
    header_type: str = _setting("Bearer", parsers.scheme)
    #: The parameter of the query string that holds the token.
    query_string_name: str = _setting("token", parsers.text)
    #: What stands before the token in that parameter.
    query_string_value_prefix: str = _setting("", parsers.any_text)
    #: The key of the JSON body that holds an access token.
    json_key: str = _setting("access_token", parsers.text)
    #: The key of the JSON body that holds a refresh token.
    refresh_json_key: str = _setting("refresh_token", parsers.text)
    #: The methods whose JSON body is searched.
    json_methods: frozenset[str] = _setting(frozenset({"POST", "PUT", "PATCH"}), parsers.methods)

    #: The cookie that holds the access token. Without this setting the prefix is left out where
    #: other settings rule it out: ``__Host-`` needs ``Secure``, no domain and the path ``/``.
    access_cookie_name: str = _setting("__Host-access_token", parsers.name)
    #: The cookie that holds the refresh token; the prefix ``__Secure-`` needs ``Secure``.
    refresh_cookie_name: str = _setting("__Secure-refresh_token", parsers.name)
    #: The path that the access token is sent to, and all below it.
    access_cookie_path: str = _setting("/", parsers.path)
    #: The path that the refresh token is sent to, and all below it, as browsers see it; by default
    #: the prefix of ``authx.blueprint()``, or ``/auth`` without one, below wherever the app is
    #: mounted.
    refresh_cookie_path: str | None = _setting(None, parsers.path)
    #: The domain whose hosts all get the cookies; by default the very host that set them alone.
    cookie_domain: str | None = _setting(None, parsers.domain)
    #: Whether browsers send the cookies over https alone, and to localhost. ``False`` is for
    #: development on plain http.
    cookie_secure: bool = _setting(True, parsers.boolean)
    #: From which pages browsers send the cookies along: ``Lax``, ``Strict`` or ``None``.
    cookie_samesite: SameSite = _setting(SameSite.LAX, parsers.member(SameSite))
    #: Whether a page that embeds the app has cookies of its own for it (CHIPS).
    cookie_partitioned: bool = _setting(False, parsers.boolean)
    #: Whether the cookies end with the browser, as far as browsers still do that.
    session_cookie: bool = _setting(True, parsers.boolean)
    #: How long browsers keep cookies that don't end with them; by default as long as their tokens
    #: live, so the access token's is gone after some minutes.
    cookie_max_age: int | None = _setting(None, parsers.retention)
    #: Whether a token from a cookie needs its CSRF value on unsafe methods.
    cookie_csrf_protect: bool = _setting(True, parsers.boolean)
    #: Methods that need the CSRF value. All but GET, HEAD, OPTIONS and TRACE do, whatever stands
    #: here; the list can add those four.
    csrf_methods: frozenset[str] = _setting(UNSAFE_METHODS, parsers.methods)
    #: Whether the CSRF value is also taken from a form field.
    csrf_check_form: bool = _setting(False, parsers.boolean)
    #: Whether the CSRF values are also set as cookies, which scripts of the site can read.
    csrf_in_cookies: bool = _setting(True, parsers.boolean)
    #: The cookie with the CSRF value of an access token.
    access_csrf_cookie_name: str = _setting("csrf_access_token", parsers.name)
    #: The cookie with the CSRF value of a refresh token.
    refresh_csrf_cookie_name: str = _setting("csrf_refresh_token", parsers.name)
    #: The path of the pages that can read the CSRF value of an access token.
    access_csrf_cookie_path: str = _setting("/", parsers.path)
    #: The path of the pages that can read the CSRF value of a refresh token.
    refresh_csrf_cookie_path: str = _setting("/", parsers.path)
    #: Whether a token from a cookie also needs a request from one of the app's own pages, by the
    #: headers ``Sec-Fetch-Site`` or ``Origin``, where it needs its CSRF value.
    csrf_check_origin: bool = _setting(False, parsers.boolean)
    #: Other origins whose pages may send cookies and log in, such as ``https://www.example.org``.
    trusted_origins: frozenset[str] = _setting(frozenset(), parsers.origins)
    #: The header that holds the CSRF value of an access token.
    access_csrf_header_name: str = _setting("X-CSRF-TOKEN", parsers.name)
    #: The header that holds the CSRF value of a refresh token.
    refresh_csrf_header_name: str = _setting("X-CSRF-TOKEN", parsers.name)
    #: The form field that holds the CSRF value of an access token.
    access_csrf_field_name: str = _setting("csrf_token", parsers.text)
    #: The form field that holds the CSRF value of a refresh token.
    refresh_csrf_field_name: str = _setting("csrf_token", parsers.text)

    #: The key of the text in an error's JSON body.
    error_message_key: str = _setting("msg", parsers.text)
    #: The ``realm`` of the challenge.
    realm: str = _setting("api", parsers.quotable)
    #: Whether every view needs an access token unless it is marked public or guarded otherwise.
    protect_all: bool = _setting(False, parsers.boolean)

    #: Where revocations are kept: ``sqlalchemy://`` (the app's Flask-SQLAlchemy),
    #: ``sqlalchemy://bind_key``, ``redis://host/0`` and its kin, ``memory://``. Without a store the
    #: app can only ask its own callback.
    blocklist: str | None = _setting(None, parsers.store_url)
    #: What becomes of requests while the store fails: ``refuse`` answers 503; ``accept`` lets
    #: access tokens pass that may have been revoked, logs each, and still refuses refresh tokens.
    blocklist_on_error: OnError = _setting(OnError.REFUSE, parsers.member(OnError))
    #: Seconds to wait for a store that ``JWT_BLOCKLIST`` names, with fractions. Opening a
    #: connection may take up to 1.5 s.
    store_timeout: float = _setting(0.25, parsers.timeout)
    #: How much later the clock of another machine may be that dates logins: a revocation of all a
    #: user's tokens covers logins dated up to that much ahead.
    clock_skew: int = _setting(1, parsers.seconds)
    #: How many entries each revocation, and how many rows each log-in looks at to remove those that
    #: have expired; 0 leaves that to ``flask authx prune``. Redis does it by itself.
    prune_on_write: int = _setting(100, parsers.count)
    #: How long to keep records of who revoked what, when and why, in a table ``authx_audit`` of the
    #: app's Flask-SQLAlchemy; without it none are written.
    audit: int | None = _setting(None, parsers.retention)
    #: Whether the app refuses to serve as long as there is neither a store of revocations nor a
    #: revocation callback.
    revocation_required: bool = _setting(False, parsers.boolean)

    #: Whether logins are kept in the store of revocations, one row each: then ``authx.login()``
    #: opens them, ``authx.refresh()`` rotates their refresh tokens, and ``authx.sessions()`` lists
    #: them. ``JWT_SESSION_TRACKING`` is the same.
    sessions: bool = _setting(False, parsers.boolean)
    #: How long a login lasts at most, however often it is refreshed or renewed by the way.
    session_lifetime: int = _setting(90 * 86400, parsers.lifetime)
    #: How long after a refresh the refresh token before it is still answered, with another one of
    #: the same generation: for answers that were lost, and for browser tabs. With 0 each is good
    #: for once, and whoever repeats a request is logged out.
    refresh_grace: int = _setting(60, parsers.seconds)
    #: How many logins a user can have; the oldest gives way to a new one. 0 is no limit.
    max_sessions: int = _setting(100, parsers.count)
    #: What is kept about the client of a login: ``user_agent``, ``address``. Both are personal
    #: data, so nothing is by default.
    session_details: frozenset[Detail] = _setting(frozenset(), parsers.members(Detail))

    #: How long before its end an access token from a cookie is renewed by the way, in the answer to
    #: a request that it was good for. Without this setting none is.
    implicit_refresh_deltatime: int | None = _setting(None, parsers.retention)
    #: The paths or rules on which no token is renewed by the way.
    implicit_refresh_route_exclude: frozenset[str] = _setting(frozenset(), parsers.paths)
    #: The paths or rules on which tokens are renewed, whatever the method; if there are any, then
    #: only there and with the methods that are included.
    implicit_refresh_route_include: frozenset[str] = _setting(frozenset(), parsers.paths)
    #: The methods with which no token is renewed by the way.
    implicit_refresh_method_exclude: frozenset[str] = _setting(frozenset(), parsers.any_methods)
    #: The methods with which tokens are renewed; if there are any, then only with them and on the
    #: routes that are included.
    implicit_refresh_method_include: frozenset[str] = _setting(frozenset(), parsers.any_methods)

    #: One profile for each token type.
    profiles: Mapping[TokenType, TokenProfile] = field(init=False, repr=False)
    #: Whether tokens come only from where caches and referrers leave them alone.
    only_discreet: bool = field(init=False, repr=False)
    #: What the names of the settings start with.
    prefix: str = field(default="JWT_", init=False, repr=False)

    def __post_init__(self) -> None:
        discreet = self.token_location <= {Location.HEADERS, Location.JSON}
        object.__setattr__(self, "only_discreet", discreet)
        object.__setattr__(self, "profiles", MappingProxyType(_profiles(self)))

    @property
    def issuer(self) -> str | None:
        """The issuer that a token must have."""
        return self.decode_issuer if self.decode_issuer is not None else self.encode_issuer

    @property
    def audiences(self) -> frozenset[str]:
        """The audiences of which a token must name one."""
        if self.decode_audience is not None:
            return self.decode_audience
        return frozenset(self.encode_audience or ())

    def about_sessions(self) -> list[str]:
        """The settings that have been set and are about logins in a store."""
        defaults = {one.name: one.default for one in fields(self) if one.init}
        about = [*_ABOUT_SESSIONS]
        if self.implicit_refresh_deltatime is None:
            # Else it is what ends a login that is renewed by the way.
            about.append("session_lifetime")
        return [name.upper() for name in about if getattr(self, name) != defaults[name]]

    @property
    def uses_cookies(self) -> bool:
        """Whether tokens may come in cookies, and so carry a CSRF value."""
        return Location.COOKIES in self.token_location


#: What says nothing as long as logins are not kept in a store.
_ABOUT_SESSIONS = ("refresh_grace", "max_sessions", "session_details")


def _profiles(settings: Settings) -> dict[TokenType, TokenProfile]:
    access = TokenProfile(
        type=TokenType.ACCESS,
        typ="at+jwt",
        lifetime=settings.access_token_expires,
        wrong_type=AccessTokenRequiredError,
        json_key=settings.json_key,
        cookie_name=settings.access_cookie_name,
        cookie_path=settings.access_cookie_path,
        csrf_header=settings.access_csrf_header_name,
        csrf_environ_key=environ_key(settings.access_csrf_header_name),
        csrf_field=settings.access_csrf_field_name,
        csrf_cookie_name=settings.access_csrf_cookie_name,
        csrf_cookie_path=settings.access_csrf_cookie_path,
        rotates=False,
        # What a client puts there on purpose comes before what a browser sends by itself.
        search=((Location.HEADERS, Location.QUERY, Location.JSON), (Location.COOKIES,)),
    )
    refresh = TokenProfile(
        type=TokenType.REFRESH,
        typ="rt+jwt",
        lifetime=settings.refresh_token_expires,
        wrong_type=RefreshTokenRequiredError,
        json_key=settings.refresh_json_key,
        cookie_name=settings.refresh_cookie_name,
        cookie_path=settings.refresh_cookie_path,
        csrf_header=settings.refresh_csrf_header_name,
        csrf_environ_key=environ_key(settings.refresh_csrf_header_name),
        csrf_field=settings.refresh_csrf_field_name,
        csrf_cookie_name=settings.refresh_csrf_cookie_name,
        csrf_cookie_path=settings.refresh_csrf_cookie_path,
        rotates=True,
        # What is named for it comes first: many clients send their access token with everything.
        search=((Location.JSON,), (Location.COOKIES,), (Location.HEADERS, Location.QUERY)),
    )
    return {profile.type: profile for profile in (access, refresh)}
