"""The settings of one ``AuthX`` object on one app: one field for each setting, frozen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import date
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

from flask_authx.enums import Algorithm, Detail, Location, OnError, SameSite, TokenType
from flask_authx.errors import (
    AccessTokenRequiredError,
    RefreshTokenRequiredError,
)

from . import parsers
from .parsers import FormerPlace
from .profiles import TokenProfile, environ_key

#: The safe methods (RFC 9110 section 9.2.1). Every other method needs the CSRF value.
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
#: The methods that similar extensions protect by default. A list without one of them would leave it
#: unprotected there, and has no such effect here.
UNSAFE_METHODS = frozenset({"POST", "PUT", "PATCH", "DELETE"})

#: Claims that an app can't set: this package, RFC 7519, RFC 9068 or RFC 7800 defines them.
RESERVED_CLAIMS = frozenset(
    {
        *("iss", "sub", "aud", "exp", "nbf", "iat", "jti"),
        *("sid", "auth_time", "auth_us", "auth_epoch", "gen", "type", "fresh", "csrf", "cnf"),
        *("scope", "scopes"),
    }
)


def _algorithms(value: object) -> frozenset[Algorithm]:
    return frozenset(parsers.member(Algorithm)(item) for item in parsers.texts(value))


def _setting(default: Any, parse: Callable[[object], object], unset: str = "") -> Any:
    """A field.

    :param unset: what happens without the setting, for those who try to write that as 0.
    """
    # The repr must show neither a key (which is not parsed here) nor a URL with a password.
    shown = parse not in (parsers.unchecked, parsers.store_url)
    return field(default=default, metadata={"parse": parse, "unset": unset}, repr=shown)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings of one ``AuthX`` object. In ``app.config`` each is upper case after ``JWT_``."""

    #: The algorithm that signs tokens. Each key has exactly one algorithm (RFC 8725 section 3.1).
    algorithm: Algorithm = _setting(Algorithm.HS256, parsers.member(Algorithm))
    #: Has no effect: the keys decide which algorithms are accepted. The list may contain only the
    #: algorithms of the keys.
    decode_algorithms: frozenset[Algorithm] | None = _setting(None, _algorithms)
    #: The secret of HS256 (at least 32 bytes), HS384 (48) or HS512 (64). Text, bytes, or a
    #: ``pathlib.Path`` to a file that holds it. ``flask authx generate-key`` creates one.
    secret_key: object = _setting(None, parsers.unchecked)
    #: The private key that signs RS, PS, ES and EdDSA tokens. PEM as text or bytes, a
    #: ``pathlib.Path`` to a PEM file, or a key object of ``cryptography``. An app that has only the
    #: public key can verify tokens and can't create them.
    private_key: object = _setting(None, parsers.unchecked)
    #: The public key that verifies RS, PS, ES and EdDSA tokens. PEM as text or bytes, a
    #: ``pathlib.Path`` to a PEM file, or a key object of ``cryptography``. By default the public
    #: half of the private key.
    public_key: object = _setting(None, parsers.unchecked)
    #: The ``kid`` of the key; by default derived from it (RFC 7638 for public keys).
    key_id: str | None = _setting(None, parsers.text)
    #: The secret that was replaced. Tokens signed with it are still accepted.
    previous_secret_key: object = _setting(None, parsers.unchecked)
    #: The public key that was replaced. Tokens signed with its private key are still accepted.
    previous_public_key: object = _setting(None, parsers.unchecked)
    #: The algorithm of the previous key; by default the current algorithm.
    previous_algorithm: Algorithm | None = _setting(None, parsers.member(Algorithm))
    #: The ``kid`` of the previous key; by default derived from it.
    previous_key_id: str | None = _setting(None, parsers.text)
    #: Until when a weak previous secret is accepted: an ISO date, at most 30 days ahead; the whole
    #: day in UTC counts. An attacker who guesses it can forge tokens until then, which is logged
    #: each day. Use it during a migration only.
    previous_weak_until: date | None = _setting(None, parsers.iso_date)

    #: The lifetime of an access token.
    access_token_expires: int = _setting(900, parsers.lifetime)
    #: The lifetime of a refresh token.
    refresh_token_expires: int = _setting(20 * 86400, parsers.lifetime)
    #: The longest lifetime of a token, whether created or accepted. It limits how long a revocation
    #: is stored. Services that accept the same tokens and share a store need the same value.
    max_token_lifetime: int = _setting(30 * 86400, parsers.lifetime)
    #: The tolerance for clock differences between machines when ``exp``, ``nbf``, ``iat`` and the
    #: ``max_age`` of a guard are checked.
    decode_leeway: int = _setting(10, parsers.seconds)
    #: Whether new tokens carry ``nbf``, set to the time they are issued.
    encode_nbf: bool = _setting(True, parsers.boolean)
    #: The ``iss`` of new tokens.
    encode_issuer: str | None = _setting(None, parsers.text)
    #: The exact ``iss`` that a token must have; by default the ``iss`` of new tokens. Revocations
    #: are stored by issuer, so services that accept the same tokens and share a store need the same
    #: value.
    decode_issuer: str | None = _setting(None, parsers.text)
    #: The ``aud`` of new tokens, one or several. One that is given as text is text in the token.
    encode_audience: str | tuple[str, ...] | None = _setting(None, parsers.audience)
    #: The audiences of this app; by default the ``aud`` of new tokens. A token must name at least
    #: one of them. If the app has no audience, a token that names one is refused (RFC 7519 section
    #: 4.1.3).
    decode_audience: frozenset[str] | None = _setting(None, parsers.audiences)
    #: The claim that holds the subject.
    identity_claim: str = _setting("sub", parsers.text)
    #: Whether tokens of AuthX and Flask-JWT-Extended are accepted, which have the ``typ`` ``JWT``
    #: and a ``type`` claim. Use it during a migration only.
    accept_untyped: bool = _setting(False, parsers.boolean)
    #: The maximum length of a token in characters. Longer ones are neither read nor created. A JSON
    #: body of more than eight times that many bytes is not searched for a token.
    max_token_length: int = _setting(8192, parsers.token_length)
    #: The maximum size of the cache of verified tokens in bytes; 0 turns it off.
    cache_size: int = _setting(10 * 1024 * 1024, parsers.count)

    #: Where requests may carry tokens: ``headers``, ``cookies``, ``query``, ``json``.
    token_location: frozenset[Location] = _setting(frozenset({Location.HEADERS}), parsers.locations)
    #: The header that holds the token. Its name is of letters, digits and hyphens: servers and
    #: proxies drop a header whose name has an underscore.
    header_name: str = _setting("Authorization", parsers.header)
    #: The authentication scheme before the token, compared without case; empty if the header holds
    #: the token alone.
    header_type: str = _setting("Bearer", parsers.scheme)
    #: The parameter of the query string that holds the token.
    query_string_name: str = _setting("token", parsers.text)
    #: The prefix of the token in the query string.
    query_string_value_prefix: str = _setting("", parsers.any_text)
    #: The key of the JSON body that holds an access token.
    json_key: str = _setting("access_token", parsers.text)
    #: The key of the JSON body that holds a refresh token.
    refresh_json_key: str = _setting("refresh_token", parsers.text)
    #: The methods whose JSON body is searched for a token.
    json_methods: frozenset[str] = _setting(frozenset({"POST", "PUT", "PATCH"}), parsers.methods)

    #: The name of the cookie that holds the access token. Browsers accept the prefix ``__Host-``
    #: only with ``Secure``, without a domain and with the path ``/``: with other settings the
    #: default is ``__Secure-access_token``, or ``access_token`` without ``Secure``.
    access_cookie_name: str = _setting("__Host-access_token", parsers.name)
    #: The name of the cookie that holds the refresh token. Without ``Secure`` the default is
    #: ``refresh_token``.
    refresh_cookie_name: str = _setting("__Secure-refresh_token", parsers.name)
    #: The path of the access cookie: browsers send it to this path and all below it.
    access_cookie_path: str = _setting("/", parsers.path)
    #: The path of the refresh cookie, as browsers see it: they send it to this path and all below
    #: it. By default the URL prefix of ``authx.blueprint()``, or ``/auth`` without a blueprint,
    #: after the path where the app is mounted.
    refresh_cookie_path: str | None = _setting(None, parsers.path)
    #: The domain of the cookies: all its hosts receive them. By default only the app's own host.
    cookie_domain: str | None = _setting(None, parsers.domain)
    #: Where the cookies were before the app's settings changed: a list of
    #: ``{"path": "/old", "domain": "example.org"}`` with one of the two keys or both. Without
    #: ``path`` it is that of the cookie, and without ``domain`` the app's own host and
    #: ``JWT_COOKIE_DOMAIN``. Each log-in, refresh and log-out makes browsers delete them there.
    cookie_former: tuple[FormerPlace, ...] = _setting((), parsers.former_places)
    #: Whether browsers send the cookies only over https and to localhost. Set ``False`` only for
    #: development over plain http.
    cookie_secure: bool = _setting(True, parsers.boolean)
    #: The ``SameSite`` attribute of the cookies: ``Lax``, ``Strict`` or ``None``.
    cookie_samesite: SameSite = _setting(SameSite.LAX, parsers.member(SameSite))
    #: Whether the cookies are ``Partitioned``: each site that embeds the app has its own (CHIPS).
    cookie_partitioned: bool = _setting(False, parsers.boolean)
    #: Whether the cookies are session cookies: browsers delete them when the user closes the
    #: browser, but some browsers restore them.
    session_cookie: bool = _setting(True, parsers.boolean)
    #: The ``Max-Age`` of the cookies if they are not session cookies. By default each cookie has
    #: the lifetime of its token, so the access cookie expires after some minutes.
    cookie_max_age: int | None = _setting(
        None, parsers.positive_duration, "each cookie has the lifetime of its token"
    )
    #: Whether a request with an unsafe method and a token from a cookie needs the CSRF value of
    #: that token.
    cookie_csrf_protect: bool = _setting(True, parsers.boolean)
    #: The methods that need the CSRF value. All methods except GET, HEAD, OPTIONS and TRACE always
    #: need it. The list can add these four.
    csrf_methods: frozenset[str] = _setting(UNSAFE_METHODS, parsers.methods)
    #: Whether the CSRF value is also accepted from a form field.
    csrf_check_form: bool = _setting(False, parsers.boolean)
    #: Whether the CSRF values are also set as cookies that scripts of the site can read.
    csrf_in_cookies: bool = _setting(True, parsers.boolean)
    #: The cookie with the CSRF value of an access token.
    access_csrf_cookie_name: str = _setting("csrf_access_token", parsers.name)
    #: The cookie with the CSRF value of a refresh token.
    refresh_csrf_cookie_name: str = _setting("csrf_refresh_token", parsers.name)
    #: The path of the pages that can read the CSRF value of an access token.
    access_csrf_cookie_path: str = _setting("/", parsers.path)
    #: The path of the pages that can read the CSRF value of a refresh token.
    refresh_csrf_cookie_path: str = _setting("/", parsers.path)
    #: Whether a request that needs the CSRF value must also come from one of the app's own pages or
    #: of the trusted origins, according to ``Sec-Fetch-Site`` or ``Origin``.
    csrf_check_origin: bool = _setting(False, parsers.boolean)
    #: Other origins whose pages may send cookies and log users in, such as
    #: ``https://www.example.org``.
    trusted_origins: frozenset[str] = _setting(frozenset(), parsers.origins)
    #: The header that holds the CSRF value of an access token.
    access_csrf_header_name: str = _setting("X-CSRF-TOKEN", parsers.header)
    #: The header that holds the CSRF value of a refresh token.
    refresh_csrf_header_name: str = _setting("X-CSRF-TOKEN", parsers.header)
    #: The form field that holds the CSRF value of an access token.
    access_csrf_field_name: str = _setting("csrf_token", parsers.text)
    #: The form field that holds the CSRF value of a refresh token.
    refresh_csrf_field_name: str = _setting("csrf_token", parsers.text)

    #: The key of the message in the JSON body of an error.
    error_message_key: str = _setting("msg", parsers.text)
    #: The ``realm`` of the ``WWW-Authenticate`` challenge.
    realm: str = _setting("api", parsers.quotable)
    #: Whether every view needs an access token, except public views and views with a guard of their
    #: own.
    protect_all: bool = _setting(False, parsers.boolean)

    #: The store of revocations: ``sqlalchemy://`` (the app's Flask-SQLAlchemy),
    #: ``sqlalchemy://bind_key``, ``memory://``, or a Redis URL such as ``redis://host/0``.
    #: Without a store, only a revocation callback of the app can refuse revoked tokens.
    blocklist: str | None = _setting(None, parsers.store_url)
    #: What happens to requests while the store keeps failing: ``refuse`` responds with 503;
    #: ``accept`` accepts access tokens that may have been revoked, logs each, and still refuses
    #: refresh tokens.
    blocklist_on_error: OnError = _setting(OnError.REFUSE, parsers.member(OnError))
    #: The timeout of a store that ``JWT_BLOCKLIST`` names, in seconds with fractions. Opening a
    #: connection may take up to 1.5 s.
    store_timeout: float = _setting(0.25, parsers.timeout)
    #: The maximum number of connections of a process to the store, for revocations, sessions
    #: and the audit trail together. A request that finds all of them in use waits up to 1.5 s.
    store_connections: int = _setting(10, parsers.positive_count)
    #: The name of the scope, which is a part of each key in the store; by default that of the
    #: ``AuthX`` object. Services that accept each other's tokens and share a store set the same
    #: name.
    store_scope: str | None = _setting(None, parsers.text)
    #: The tolerance for differences between the clocks by which sessions and revocations are dated:
    #: when all sessions of a user are revoked, those that are dated up to that far ahead are
    #: revoked as well. By default the same as ``JWT_DECODE_LEEWAY``.
    clock_skew: int | None = _setting(None, parsers.seconds)
    #: The number of stored entries that each revocation examines, and of session rows that each
    #: log-in examines, to delete the expired ones. With 0 only ``flask authx prune`` deletes them.
    #: Redis deletes them by itself.
    prune_on_write: int = _setting(100, parsers.count)
    #: How long the audit trail is kept: records of who revoked what, when and why, in the table
    #: ``authx_audit`` of the app's Flask-SQLAlchemy. Without this setting no records are written.
    audit: int | None = _setting(None, parsers.positive_duration, "no records are written")
    #: Whether the app refuses to serve requests if it has neither a store of revocations nor a
    #: revocation callback.
    revocation_required: bool = _setting(False, parsers.boolean)

    #: Whether sessions are stored, one row each, in the store of ``JWT_BLOCKLIST``.
    #: ``authx.login()`` opens a session, ``authx.refresh()`` rotates its refresh token, and
    #: ``authx.sessions()`` lists the sessions of a user. ``JWT_SESSION_TRACKING`` is another name
    #: of this setting.
    sessions: bool = _setting(False, parsers.boolean)
    #: The maximum lifetime of a session, counted from the log-in. Neither a refresh nor automatic
    #: renewal extends it.
    session_lifetime: int = _setting(90 * 86400, parsers.lifetime)
    #: How long after a refresh the replaced refresh token is still accepted, for lost responses and
    #: for parallel browser tabs. With 0 each refresh token works once: if a client repeats a
    #: refresh, the session is revoked.
    refresh_grace: int = _setting(60, parsers.seconds)
    #: The maximum number of sessions of a user. A further log-in revokes the session that has been
    #: unused for longest, by its last refresh or automatic renewal, or else its log-in. 0 means no
    #: limit.
    max_sessions: int = _setting(100, parsers.count)
    #: What is stored about the client of a session: ``user_agent``, ``address``. Both are personal
    #: data, so neither is stored by default.
    session_details: frozenset[Detail] = _setting(frozenset(), parsers.members(Detail))

    #: How long before its expiry an access token from a cookie is renewed automatically, in the
    #: response to the request that carried it. Without this setting there is no automatic renewal.
    implicit_refresh_deltatime: int | None = _setting(
        None, parsers.positive_duration, "there is no automatic renewal"
    )
    #: The paths or URL rules without automatic renewal.
    implicit_refresh_route_exclude: frozenset[str] = _setting(frozenset(), parsers.paths)
    #: The paths or URL rules with automatic renewal, for every method. If this setting or
    #: ``JWT_IMPLICIT_REFRESH_METHOD_INCLUDE`` is set, tokens are renewed only for the included
    #: paths and methods.
    implicit_refresh_route_include: frozenset[str] = _setting(frozenset(), parsers.paths)
    #: The methods without automatic renewal.
    implicit_refresh_method_exclude: frozenset[str] = _setting(frozenset(), parsers.any_methods)
    #: The methods with automatic renewal. If this setting or ``JWT_IMPLICIT_REFRESH_ROUTE_INCLUDE``
    #: is set, tokens are renewed only for the included methods and paths.
    implicit_refresh_method_include: frozenset[str] = _setting(frozenset(), parsers.any_methods)

    #: The profile of each token type.
    profiles: Mapping[TokenType, TokenProfile] = field(init=False, repr=False)
    #: Whether tokens come only from the ``Authorization`` header and the bodies of unsafe methods.
    #: Caches and ``Referer`` expose others.
    cache_safe: bool = field(init=False, repr=False)
    #: The prefix of the names of the settings in ``app.config``.
    prefix: str = field(default="JWT_", init=False, repr=False)
    #: The name of the ``AuthX`` object.
    object_name: str = field(default="authx", init=False, repr=False)

    def __post_init__(self) -> None:
        locations = self.token_location
        cache_safe = locations <= {Location.HEADERS, Location.JSON}
        if Location.HEADERS in locations and not self.header_keeps_private:
            cache_safe = False
        if Location.JSON in locations and not self.json_methods.isdisjoint(SAFE_METHODS):
            cache_safe = False
        object.__setattr__(self, "cache_safe", cache_safe)
        object.__setattr__(self, "profiles", MappingProxyType(_profiles(self)))

    @property
    def header_keeps_private(self) -> bool:
        """Whether shared caches know the header of the token (RFC 9111 section 3.5)."""
        return self.header_name.lower() == "authorization"

    @property
    def issuer(self) -> str | None:
        """The issuer that a token must have."""
        return self.decode_issuer if self.decode_issuer is not None else self.encode_issuer

    @property
    def skew(self) -> int:
        """The tolerance for clock differences when sessions are revoked, in seconds."""
        return self.decode_leeway if self.clock_skew is None else self.clock_skew

    def scope_name(self, name: str) -> str:
        """The name of the scope of an ``AuthX`` object of that name."""
        return name if self.store_scope is None else self.store_scope

    @property
    def companion_name(self) -> str | None:
        """The name of the cookie that a refresh cookie needs beside it, in all browsers.

        ``None`` where they would reject it: its prefix promises that no other host has set it (RFC
        6265bis section 4.1.3.2).
        """
        if not self.cookie_secure or self.cookie_domain is not None:
            return None
        # Python's names may have letters that a cookie's can't.
        return f"__Host-{quote(self.object_name)}_session"

    @property
    def audiences(self) -> frozenset[str]:
        """The audiences of which a token must name one."""
        if self.decode_audience is not None:
            return self.decode_audience
        return self.encoded_audiences

    @property
    def encoded_audiences(self) -> frozenset[str]:
        """The audiences that new tokens name."""
        return parsers.audiences(self.encode_audience) if self.encode_audience else frozenset()

    def unused_session_settings(self) -> list[str]:
        """The changed settings that have an effect on stored sessions only."""
        defaults = {one.name: one.default for one in fields(self) if one.init}
        names = [*_SESSION_SETTINGS]
        if self.implicit_refresh_deltatime is None:
            # With automatic renewal it also limits sessions that are not stored.
            names.append("session_lifetime")
        return [name.upper() for name in names if getattr(self, name) != defaults[name]]

    @property
    def uses_cookies(self) -> bool:
        """Whether tokens may come from cookies. New tokens carry a CSRF value then."""
        return Location.COOKIES in self.token_location


#: Settings without effect unless sessions are stored.
_SESSION_SETTINGS = ("refresh_grace", "max_sessions", "session_details")


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
        former_paths=(),
        has_companion=False,
        rotates=False,
        # A token that the client sends on purpose comes before a cookie that the browser adds.
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
        # Similar extensions set it there by default.
        former_paths=("/",),
        has_companion=True,
        rotates=True,
        # The JSON key for refresh tokens comes first, and headers last: many clients send their
        # access token in the header of every request.
        search=((Location.JSON,), (Location.COOKIES,), (Location.HEADERS, Location.QUERY)),
    )
    return {profile.type: profile for profile in (access, refresh)}
