"""The decorators: a check in front of a view."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any, TypeVar, cast

from flask_authx.app.registry import mark
from flask_authx.app.state import state_of, this_app, this_request
from flask_authx.enums import MAY_GO_UNCHECKED, Locations, TokenType, TokenTypeName
from flask_authx.errors import BadConfigurationError
from flask_authx.http.callbacks import Callbacks
from flask_authx.http.requirement import Requirement
from flask_authx.settings import parsers
from flask_authx.tokens.scopes import scope_list

from .check import check_request, check_request_async

F = TypeVar("F", bound=Callable[..., Any])


def guard(callbacks: Callbacks, requirement: Requirement, view: F) -> F:
    """The view with a check before it.

    :raises TypeError: if it is not a view function.
    """
    if inspect.isclass(view) or not callable(view):
        raise TypeError(
            "a guard goes on a function: for a class-based view use its `decorators` list or its "
            "methods, and give options by keyword, as in @authx.token_required(type='refresh')"
        )

    @functools.wraps(view)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        check_request(state_of(this_app(), callbacks), this_request(), requirement)
        return view(*args, **kwargs)

    @functools.wraps(view)
    async def guarded_async(*args: Any, **kwargs: Any) -> Any:
        await check_request_async(state_of(this_app(), callbacks), this_request(), requirement)
        return await view(*args, **kwargs)

    outer = guarded_async if inspect.iscoroutinefunction(view) else guarded
    mark(callbacks, requirement, outer, view)
    return cast(F, outer)


def requirement_from(
    *,
    check_revocation: bool = True,
    type: TokenTypeName = "access",
    max_age: timedelta | int | None = None,
    scopes: Iterable[str] = (),
    all_required: bool = True,
    locations: Locations | None = None,
    **asked: Any,
) -> Requirement:
    """A requirement from what the public edge takes: strings for the members of closed sets."""
    type = parsers.member(TokenType)(type)
    if not check_revocation and type not in MAY_GO_UNCHECKED:
        raise BadConfigurationError(
            f"check_revocation=False with a {type} token: it mints others, so whether it is "
            "revoked is always asked."
        )
    if max_age is not None and not asked.get("fresh"):
        raise BadConfigurationError("max_age= goes with fresh=True: it is about log-ins.")
    return Requirement(
        type=type,
        max_age=None if max_age is None else _max_age(max_age),
        check_revocation=check_revocation,
        scopes=tuple(scope_list(scopes)),
        all_scopes=all_required,
        locations=None if locations is None else parsers.locations(locations),
        **asked,
    )


def _max_age(value: timedelta | int) -> int:
    try:
        return parsers.seconds(value)
    except ValueError as error:
        raise ValueError(f"max_age: {error}") from None
