"""What a guard requires of a request, and the keywords of the guards."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, TypedDict

from flask_authx.enums import (
    UNCHECKED_ALLOWED,
    Location,
    Locations,
    OnInvalid,
    TokenType,
    TokenTypeName,
)
from flask_authx.errors import BadConfigurationError
from flask_authx.settings import parsers
from flask_authx.tokens.new_token import check_fresh
from flask_authx.tokens.scopes import scope_list


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """What one guard requires of a request."""

    type: TokenType = TokenType.ACCESS
    #: Whether a request without a token passes, and one whose token is an invalid cookie.
    optional: bool = False
    #: The effect of an invalid token that the client sent on purpose.
    on_invalid: OnInvalid = OnInvalid.ERROR
    fresh: bool = False
    #: How many seconds ago a fresh token may have been created.
    max_age: int | None = None
    scopes: tuple[str, ...] = ()
    all_scopes: bool = True
    #: Instead of the locations in the settings.
    locations: frozenset[Location] | None = None
    #: Whether a revoked token is refused.
    check_revocation: bool = True
    #: Whether a refresh token that was replaced is refused. ``refresh()`` does that itself.
    check_rotation: bool = True
    #: Whether the user must be found.
    user: bool = False


# The keywords of the guards (PEP 692). Each class adds to the one that it extends.


class LocationKeywords(TypedDict, total=False):
    """What every guard takes."""

    locations: Locations | None


class UserKeywords(LocationKeywords, total=False):
    """What a guard for refresh tokens takes."""

    user: bool


class AccessKeywords(UserKeywords, total=False):
    """What a guard for access tokens takes."""

    check_revocation: bool


class FreshKeywords(AccessKeywords, total=False):
    """What a guard for fresh tokens takes."""

    max_age: timedelta | int | None


class GuardKeywords(FreshKeywords, total=False):
    """What a guard for tokens of any type takes."""

    type: TokenTypeName
    fresh: bool


class OptionalKeywords(GuardKeywords, total=False):
    """What a guard that lets requests without a token pass takes."""

    on_invalid: OnInvalid | Literal["error", "ignore"]


class ScopeKeywords(AccessKeywords, total=False):
    """What a guard for scopes takes."""

    all_required: bool


class ProtectKeywords(GuardKeywords, total=False):
    """What ``protect`` and ``identify`` take."""

    scopes: Iterable[str]


def requirement_from(  # noqa: PLR0913 - a keyword for each condition is the public interface
    *,
    type: TokenTypeName = "access",
    optional: bool = False,
    on_invalid: OnInvalid | Literal["error", "ignore"] = "error",
    fresh: bool = False,
    max_age: timedelta | int | None = None,
    scopes: Iterable[str] = (),
    all_required: bool = True,
    check_revocation: bool = True,
    user: bool = False,
    locations: Locations | None = None,
) -> Requirement:
    """A requirement from a guard's keywords, which take strings for members of closed sets.

    :raises BadConfigurationError: if they contradict each other.
    :raises TypeError: if ``fresh`` is a duration.
    :raises ValueError: if a value is out of bounds.
    """
    type = parsers.member(TokenType)(type)
    if not check_revocation and type not in UNCHECKED_ALLOWED:
        raise BadConfigurationError(
            f"check_revocation=False with a {type} token: it is exchanged for others, so its "
            "revocation is always checked."
        )
    check_fresh(fresh)
    if max_age is not None and not fresh:
        raise BadConfigurationError(
            "max_age= needs fresh=True: it limits the time since the log-in."
        )
    return Requirement(
        type=type,
        optional=optional,
        on_invalid=parsers.member(OnInvalid)(on_invalid),
        fresh=fresh,
        max_age=None if max_age is None else _max_age(max_age),
        scopes=tuple(scope_list(scopes)),
        all_scopes=all_required,
        locations=None if locations is None else parsers.locations(locations),
        check_revocation=check_revocation,
        user=user,
    )


def _max_age(value: timedelta | int) -> int:
    try:
        return parsers.seconds(value)
    except ValueError as error:
        raise ValueError(f"max_age: {error}") from None
