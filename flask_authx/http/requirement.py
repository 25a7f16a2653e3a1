"""What a guard asks of a request."""

from __future__ import annotations

from dataclasses import dataclass

from flask_authx.enums import Location, OnInvalid, TokenType


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """What one guard asks of a request."""

    type: TokenType = TokenType.ACCESS
    #: Whether a request without a token passes.
    optional: bool = False
    on_invalid: OnInvalid = OnInvalid.ERROR
    fresh: bool = False
    #: How many seconds ago a fresh token may have been minted.
    max_age: int | None = None
    scopes: tuple[str, ...] = ()
    all_scopes: bool = True
    #: Where to look instead of where the settings say.
    locations: frozenset[Location] | None = None
    #: Whether it is asked if the token is revoked.
    check_revocation: bool = True
    #: Whether a token passes that has been replaced by the next, so that a refresh can tell why.
    replaced: bool = False
