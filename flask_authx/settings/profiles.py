"""What differs between access and refresh tokens. No other code branches on the token type."""

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
    #: The error, for a reason, when a token of another type is sent.
    wrong_type: Callable[[str], TokenTypeError]
    json_key: str
    cookie_name: str
    #: ``None`` for the URL prefix of the blueprint.
    cookie_path: str | None
    csrf_header: str
    csrf_environ_key: str
    csrf_field: str
    csrf_cookie_name: str
    csrf_cookie_path: str
    #: Where its cookies may lie, beside their own paths, without ``JWT_COOKIE_FORMER``.
    former_paths: tuple[str, ...]
    #: Whether its cookie is accepted only beside its companion.
    has_companion: bool
    #: Whether a refresh replaces the token (refresh token rotation), where sessions are stored.
    rotates: bool
    #: Groups of locations, in the order they are searched. A request may carry at most one token in
    #: a group.
    search: tuple[tuple[Location, ...], ...]


def environ_key(header: str) -> str:
    """The name of a request header in the WSGI environ (PEP 3333)."""
    return "HTTP_" + header.upper().replace("-", "_")
