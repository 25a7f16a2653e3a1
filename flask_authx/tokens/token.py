"""The tokens that the package passes around: found in a request, verified, and created."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from flask_authx.enums import Location, LocationName, TokenType, TokenTypeName

from .scopes import grants


@dataclass(slots=True, init=False, unsafe_hash=True)
class RequestToken:
    """A token that was found in a request and has **not** been verified.

    ``str()`` returns the token itself; the ``repr`` shows neither the token nor the CSRF value.

    :param token: the token as it was sent.
    :param csrf: the CSRF value in the request, for a token from a cookie.
    :param type: the type that the view requires. The ``typ`` of the token itself is not read yet.
    :param location: the location in the request.
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
        # Members are not converted again: every request creates this object.
        self.type = type if isinstance(type, TokenType) else TokenType(type)
        self.location = location if isinstance(location, Location) else Location(location)

    def __str__(self) -> str:
        return self.token


class Epoch(NamedTuple):
    """What a session has noted of the store in which it was opened: the claim ``auth_epoch``.

    :param scope: the name of the scope, hashed: six hexadecimal digits.
    :param until: the scope's cut-off, in microseconds since 1970-01-01 UTC.
    """

    scope: str
    until: int


@dataclass(frozen=True, slots=True)
class TokenClaims:
    """The claims of a token with a valid signature. Immutable, so that requests can share them."""

    sub: str
    jti: str
    sid: str
    iat: int
    exp: int
    nbf: int | None
    #: The later of ``iat`` and ``nbf``.
    not_before: int
    auth_time: int
    #: When the user logged in, in microseconds since 1970-01-01 UTC: ``auth_time`` and ``auth_us``.
    began: int
    epoch: Epoch | None
    type: TokenType
    fresh: bool
    scopes: frozenset[str]
    csrf: str | None = field(repr=False)
    iss: str | None
    aud: frozenset[str]
    #: The generation of a refresh token: the number of refreshes before it in its session. ``None``
    #: without the claim.
    gen: int | None
    #: The claims as JSON, as they were signed.
    text: str = field(repr=False)
    #: The first segment of the token: its header, in base64url.
    header: str = field(repr=False)


class Token:
    """A verified token. Its properties are read-only, and :attr:`claims` is a copy.

    All times are whole seconds since 1970-01-01 UTC (RFC 7519 section 2, NumericDate).
    """

    __slots__ = ("_claims", "_expired", "_location", "parsed")

    def __init__(
        self, parsed: TokenClaims, location: Location | None = None, *, expired: bool = False
    ) -> None:
        # Immutable, and shared with other requests by the cache.
        self.parsed: TokenClaims = parsed
        self._location = location
        self._expired = expired
        self._claims: dict[str, Any] | None = None

    @property
    def sub(self) -> str:
        """The subject: the ``uid`` that the token was created for, as a string."""
        return self.parsed.sub

    @property
    def jti(self) -> str:
        """The id of the token. A revocation of this one token is stored under it."""
        return self.parsed.jti

    @property
    def sid(self) -> str:
        """The id of the session. An access token and its refresh token share it."""
        return self.parsed.sid

    @property
    def iat(self) -> int:
        """The time when the token was issued."""
        return self.parsed.iat

    @property
    def exp(self) -> int:
        """The expiry: from this second on the token is refused, after the leeway."""
        return self.parsed.exp

    @property
    def nbf(self) -> int | None:
        """The token is refused before this second, apart from the leeway."""
        return self.parsed.nbf

    @property
    def auth_time(self) -> int:
        """The time when the user logged in. A refresh does not change it."""
        return self.parsed.auth_time

    @property
    def type(self) -> TokenType:
        """Whether this is an access token or a refresh token."""
        return self.parsed.type

    @property
    def fresh(self) -> bool:
        """Whether the token was issued at a log-in, and not by a refresh."""
        return self.parsed.fresh

    @property
    def scopes(self) -> frozenset[str]:
        """The scopes of the token (RFC 9068 section 2.2.3)."""
        return self.parsed.scopes

    @property
    def csrf(self) -> str | None:
        """The CSRF value of the session, which browsers send in addition to the cookie."""
        return self.parsed.csrf

    @property
    def iss(self) -> str | None:
        """The issuer, or ``None``."""
        return self.parsed.iss

    @property
    def aud(self) -> frozenset[str]:
        """The audience: the apps that the token is for. Empty if it names none."""
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
    def expired(self) -> bool:
        """Whether it had expired when it was verified. It does not change while you keep the token.

        Only ``decode_token(allow_expired=True)`` returns such a token. It authenticates no user and
        opens no further token of its session.
        """
        return self._expired

    @property
    def location(self) -> Location | None:
        """Where in the request it was found; ``None`` for a token that was given as text."""
        return self._location

    @property
    def header(self) -> dict[str, Any]:
        """The JOSE header (RFC 7515 section 4): ``alg``, ``kid``, ``typ`` and others. A copy.

        It is signed, as the claims are.
        """
        segment = self.parsed.header
        decoded = base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
        return dict[str, Any](json.loads(decoded))

    @property
    def claims(self) -> dict[str, Any]:
        """All claims, with those that the app added. A copy that other requests don't share."""
        claims = self._claims
        if claims is None:
            claims = self._claims = dict[str, Any](json.loads(self.parsed.text))
        return claims

    def has_scopes(self, *required: str, all_required: bool = True) -> bool:
        """Whether the token grants the scopes: all of them, or at least one.

        The scope ``admin:*`` grants ``admin:users`` and every other scope that starts with
        ``admin:``. No other pattern has a meaning.
        """
        return grants(self.scopes, required, all_required=all_required)

    def __bool__(self) -> bool:
        """Always true. :data:`current_token` is false if the request has no token."""
        return True

    def __repr__(self) -> str:
        return f"<Token {self.type} jti={self.jti!r} sid={self.sid!r}>"


def located(token: Token, location: Location) -> Token:
    """The same token with the location where this guard has found it.

    A request may have one text in two places, and each guard may allow another place.
    """
    return token if token.location is location else Token(token.parsed, location)


@dataclass(frozen=True, slots=True)
class CreatedToken:
    """A new token, with the data that its cookie or response needs.

    :param lifetime: in seconds.
    :param csrf: the CSRF value, if tokens may come from cookies.
    :param companion: the value of the companion of a refresh cookie, if it is known.
    """

    token: str = field(repr=False)
    type: TokenType
    lifetime: int
    csrf: str | None = field(repr=False)
    companion: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class TokenPair:
    """The access and the refresh token of one session. The ``repr`` shows neither.

    :param expires_in: the access token's lifetime in seconds (RFC 6749 section 5.1).
    :param refresh_expires_in: the refresh token's lifetime in seconds.
    """

    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    expires_in: int
    refresh_expires_in: int
    token_type: str = "Bearer"

    def to_dict(self) -> dict[str, str | int]:
        """The pair as the body of a token response (RFC 6749 section 5.1)."""
        return {
            "access_token": self.access_token,
            "refresh_token": self.refresh_token,
            "token_type": self.token_type,
            "expires_in": self.expires_in,
            "refresh_expires_in": self.refresh_expires_in,
        }
