"""What differs between the token types. Nothing else branches on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from flask_authx.enums import Location, TokenType
from flask_authx.errors import TokenTypeError


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenProfile:
    """All that differs between the token types."""

    type: TokenType
    #: The ``typ`` of the JOSE header (RFC 9068 section 2.1).
    typ: str
    #: Seconds.
    lifetime: int
    #: Raised when a token of another type comes instead.
    wrong_type: Callable[[], TokenTypeError]
    json_key: str
    cookie_name: str
    #: ``None`` for that of the blueprint.
    cookie_path: str | None
    csrf_header: str
    csrf_environ_key: str
    csrf_field: str
    csrf_cookie_name: str
    csrf_cookie_path: str
    #: Whether each token is replaced by the next, where logins are kept in a store.
    rotates: bool
    #: Groups of locations, in the order they are searched. A group may hold one token.
    search: tuple[tuple[Location, ...], ...]


def environ_key(header: str) -> str:
    """The name of a request header in the WSGI environ (PEP 3333)."""
    return "HTTP_" + header.upper().replace("-", "_")
