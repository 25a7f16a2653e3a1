"""The enums. Public methods also accept the value of a member as a plain string."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Literal, TypeAlias


class Algorithm(StrEnum):
    """The signature algorithms (RFC 7518 section 3.1, RFC 8037). ``none`` is not among them."""

    HS256 = "HS256"
    HS384 = "HS384"
    HS512 = "HS512"
    RS256 = "RS256"
    RS384 = "RS384"
    RS512 = "RS512"
    PS256 = "PS256"
    PS384 = "PS384"
    PS512 = "PS512"
    ES256 = "ES256"
    ES384 = "ES384"
    ES512 = "ES512"
    EDDSA = "EdDSA"

    @property
    def symmetric(self) -> bool:
        """Whether one secret both signs and verifies."""
        return self.startswith("HS")


class TokenType(StrEnum):
    """The type of a token. A view accepts one type only (RFC 8725 section 3.12)."""

    ACCESS = "access"
    REFRESH = "refresh"


#: The token types that may be accepted without a check of their revocation. A refresh token is
#: always checked, since it yields new tokens.
UNCHECKED_ALLOWED = frozenset({TokenType.ACCESS})


class Location(StrEnum):
    """The part of a request that carries a token."""

    HEADERS = "headers"
    COOKIES = "cookies"
    QUERY = "query"
    JSON = "json"

    @classmethod
    def _missing_(cls, value: object) -> Location | None:
        # Flask-JWT-Extended calls it "query_string".
        return cls.QUERY if value == "query_string" else None


class SameSite(StrEnum):
    """The values of a cookie's ``SameSite`` attribute (RFC 6265bis section 5.7)."""

    #: Browsers send the cookie with requests of the site's own pages, and when the user follows a
    #: link from another site.
    LAX = "Lax"
    #: Browsers send the cookie only with requests of the site's own pages.
    STRICT = "Strict"
    #: Browsers send the cookie with every request. Only the CSRF value then protects the user from
    #: requests of other sites.
    NONE = "None"

    @classmethod
    def _missing_(cls, value: object) -> SameSite | None:
        # AuthX writes them in lower case.
        return next((one for one in cls if str(value).lower() == one.lower()), None)


class OnInvalid(StrEnum):
    """The effect of an invalid token on a view whose guard is optional."""

    #: The request is refused, as on any guarded view.
    ERROR = "error"
    #: The request is treated as one without a token.
    IGNORE = "ignore"


class OnError(StrEnum):
    """The effect of a store of revocations that fails."""

    #: The response is a 503.
    REFUSE = "refuse"
    #: An access token counts as not revoked. A refresh token is still refused with a 503.
    ACCEPT = "accept"


class Detail(StrEnum):
    """What may be stored about the client of a session, so that the user recognises it."""

    #: The ``User-Agent`` header, up to 255 characters.
    USER_AGENT = "user_agent"
    #: The address of the client, from Flask's ``request.remote_addr``.
    ADDRESS = "address"


#: Types of public parameters: a member or its value.
TokenTypeName: TypeAlias = TokenType | Literal["access", "refresh"]
LocationName: TypeAlias = Location | Literal["headers", "cookies", "query", "json"]
Locations: TypeAlias = LocationName | Iterable[LocationName]
