"""The values that the rest of the package passes around: found, verified and minted tokens."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from flask_authx.enums import Location, LocationName, TokenType, TokenTypeName

from .scopes import grants


@dataclass(slots=True, init=False, unsafe_hash=True)
class RequestToken:
    """A token that was found in a request and has **not** been verified.

    ``str()`` of it is the token itself; its ``repr`` shows neither the token nor the CSRF value.

    :param token: the token as it was sent.
    :param csrf: the CSRF value that came with it, for a token from a cookie.
    :param type: the type that was looked for, not what the token says of itself.
    :param location: where it was found.
    """

    token: str = field(repr=False)
    csrf: str | None = field(repr=False)
    type: TokenType
    location: Location

    def __init__(
        self,
        token: str,
        csrf: str | None = None,
        type: TokenTypeName = TokenType.ACCESS,
        location: LocationName = Location.HEADERS,
    ) -> None:
        self.token = token
        self.csrf = csrf
        # A member passes as it is: this is made for every request.
        self.type = type if isinstance(type, TokenType) else TokenType(type)
        self.location = location if isinstance(location, Location) else Location(location)

    def __str__(self) -> str:
        return self.token


@dataclass(frozen=True, slots=True)
class TokenClaims:
    """What a token with a good signature says. Immutable, so that every request may share it."""

    sub: str
    jti: str
    sid: str
    iat: int
    exp: int
    nbf: int | None
    #: The later of ``iat`` and ``nbf``.
    not_before: int
    auth_time: int
    type: TokenType
    fresh: bool
    scopes: frozenset[str]
    csrf: str | None = field(repr=False)
    iss: str | None
    aud: frozenset[str]
    #: How many refreshes of its login a refresh token comes after; ``None`` if it doesn't say.
    gen: int | None
    #: The claims set as it was signed.
    text: str = field(repr=False)


class Token:
    """A verified token. What it says is read-only; :attr:`claims` is a copy of this object's own.

    All times are whole seconds since 1970-01-01 UTC (RFC 7519 section 2, NumericDate).
    """

    __slots__ = ("_claims", "parsed")

    def __init__(self, parsed: TokenClaims) -> None:
        # Shared with other requests, and immutable.
        self.parsed: TokenClaims = parsed
        self._claims: dict[str, Any] | None = None

    @property
    def sub(self) -> str:
        """The subject: the ``uid`` that the token was minted for, as a string."""
        return self.parsed.sub

    @property
    def jti(self) -> str:
        """The token's own id: what to revoke this one token by."""
        return self.parsed.jti

    @property
    def sid(self) -> str:
        """The login that the token belongs to: an access token and its refresh token share it."""
        return self.parsed.sid

    @property
    def iat(self) -> int:
        """When the token was minted."""
        return self.parsed.iat

    @property
    def exp(self) -> int:
        """The second from which on the token is no longer accepted, leeway apart."""
        return self.parsed.exp

    @property
    def nbf(self) -> int | None:
        """The second before which the token is not accepted, leeway apart."""
        return self.parsed.nbf

    @property
    def auth_time(self) -> int:
        """When the user logged in; a refresh does not change it."""
        return self.parsed.auth_time

    @property
    def type(self) -> TokenType:
        """Whether this is an access token or a refresh token."""
        return self.parsed.type

    @property
    def fresh(self) -> bool:
        """Whether the token comes straight from a log-in and not from a refresh."""
        return self.parsed.fresh

    @property
    def scopes(self) -> frozenset[str]:
        """The scopes that the token holds (RFC 9068 section 2.2.3)."""
        return self.parsed.scopes

    @property
    def csrf(self) -> str | None:
        """The CSRF value of this login, which a browser sends back beside the cookie."""
        return self.parsed.csrf

    @property
    def iss(self) -> str | None:
        """Who minted the token, if it says so."""
        return self.parsed.iss

    @property
    def aud(self) -> frozenset[str]:
        """Whom the token is meant for; empty if it doesn't say."""
        return self.parsed.aud

    @property
    def issued_at(self) -> datetime:
        """:attr:`iat` as an aware datetime in UTC."""
        return datetime.fromtimestamp(self.iat, UTC)

    @property
    def expires_at(self) -> datetime:
        """:attr:`exp` as an aware datetime in UTC."""
        return datetime.fromtimestamp(self.exp, UTC)

    @property
    def claims(self) -> dict[str, Any]:
        """All claims, the app's own included: a copy that belongs to this request alone."""
        claims = self._claims
        if claims is None:
            claims = self._claims = dict[str, Any](json.loads(self.parsed.text))
        return claims

    def has_scopes(self, *required: str, all_required: bool = True) -> bool:
        """Whether the token holds the scopes: all of them, or at least one.

        A held ``admin:*`` grants ``admin:users`` and whatever else starts with ``admin:``; nothing
        else is a pattern.
        """
        return grants(self.scopes, required, all_required=all_required)

    def __bool__(self) -> bool:
        """True; :data:`current_token` is false when it stands for no token."""
        return True

    def __repr__(self) -> str:
        return f"<Token {self.type} jti={self.jti!r} sid={self.sid!r}>"


@dataclass(frozen=True, slots=True)
class CreatedToken:
    """A new token, and what whoever puts it into an answer wants to know of it.

    :param lifetime: in seconds.
    :param csrf: its CSRF value, if tokens may come in cookies.
    """

    token: str = field(repr=False)
    type: TokenType
    lifetime: int
    csrf: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class TokenPair:
    """The access and the refresh token of one login. The ``repr`` shows neither.

    :param expires_in: the access token's lifetime in seconds (RFC 6749 section 5.1).
    :param refresh_expires_in: the refresh token's lifetime in seconds.
    """

    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    expires_in: int
    refresh_expires_in: int
    token_type: str = "Bearer"

    def to_dict(self) -> dict[str, str | int]:
        """The pair as the body of an answer to a log-in."""
        return {
            "access_token": self.access_token,
            "refresh_token": self.refresh_token,
            "token_type": self.token_type,
            "expires_in": self.expires_in,
            "refresh_expires_in": self.refresh_expires_in,
        }
