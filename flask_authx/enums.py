"""The closed sets. At the public edge each member may be given as the string that it is."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Literal, TypeAlias


class TokenType(StrEnum):
    """What a token is for (RFC 8725 section 3.12: each kind opens its own doors only)."""

    ACCESS = "access"
    REFRESH = "refresh"


class Location(StrEnum):
    """Where in a request a token can be."""

    HEADERS = "headers"
    COOKIES = "cookies"
    QUERY = "query"
    JSON = "json"

    @classmethod
    def _missing_(cls, value: object) -> Location | None:
        # Flask-JWT-Extended's name for the same place.
        return cls.QUERY if value == "query_string" else None


#: The types of tokens that may pass without anybody having said that they are not revoked. A
#: refresh token never may: it mints others.
MAY_GO_UNCHECKED = frozenset({TokenType.ACCESS})

#: At the public edge a member of a closed set may be given as the string that it is.
TokenTypeName: TypeAlias = TokenType | Literal["access", "refresh"]
LocationName: TypeAlias = Location | Literal["headers", "cookies", "query", "json"]
Locations: TypeAlias = LocationName | Iterable[LocationName]


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


class OnError(StrEnum):
    """What becomes of a request when the store of revocations can't be asked."""

    #: It is answered with 503.
    REFUSE = "refuse"
    #: An access token counts as not revoked; a refresh token is refused all the same.
    ACCEPT = "accept"


class SameSite(StrEnum):
    """From which pages a browser sends a cookie along (RFC 6265bis section 5.7)."""

    #: From the site's own, and when a link of another is followed.
    LAX = "Lax"
    #: From the site's own pages alone.
    STRICT = "Strict"
    #: From all: then nothing but the CSRF value keeps other sites from acting for the user.
    NONE = "None"

    @classmethod
    def _missing_(cls, value: object) -> SameSite | None:
        # AuthX writes them in lower case.
        return next((one for one in cls if str(value).lower() == one.lower()), None)


class Detail(StrEnum):
    """What may be kept about the client of a login, for its owner to recognise it by."""

    #: The header of that name, up to 255 characters.
    USER_AGENT = "user_agent"
    #: Whence the request came, as Flask's ``request.remote_addr`` says.
    ADDRESS = "address"


class OnInvalid(StrEnum):
    """What an optional guard makes of a token that is there and bad."""

    #: It is refused, as anywhere.
    ERROR = "error"
    #: The request counts as one without a token.
    IGNORE = "ignore"
