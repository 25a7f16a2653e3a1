"""The functions of Flask-JWT-Extended on Flask-AuthX, so that views can move one at a time.

``JWT_SESSIONS`` stays off: the two functions that create tokens do not open stored sessions.
"""

# ruff: noqa: FBT001, FBT002 - the functions take what those of Flask-JWT-Extended take
from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, TypeVar, cast

from flask import current_app, has_request_context, request

from flask_authx import AuthX, Token, current_token

V = TypeVar("V", bound=Callable[..., Any])
authx = AuthX()
#: In the environment of a request: the tokens whose sessions go on in it.
_TOKENS = "migration.tokens"


def jwt_required(
    optional: bool = False,
    fresh: bool = False,
    refresh: bool = False,
    locations: str | list[str] | None = None,
    skip_revocation_check: bool = False,
) -> Callable[[V], V]:
    options: dict[str, Any] = {"locations": locations, "fresh": fresh}
    options["type"] = "refresh" if refresh else "access"
    options["check_revocation"] = not skip_revocation_check
    guard = authx.optional_token(**options) if optional else authx.token_required(**options)

    def guarded(view: V) -> V:
        @functools.wraps(view)
        def checked(*args: Any, **kwargs: Any) -> Any:
            request.environ[_TOKENS] = [current_token] if current_token else []
            return current_app.ensure_sync(view)(*args, **kwargs)

        return guard(cast(V, checked))

    return guarded


def get_jwt() -> dict[str, Any]:
    return current_token.claims if current_token else {}


def get_jwt_identity() -> str | None:
    return current_token.sub if current_token else None


def create_access_token(
    identity: Any,
    fresh: bool = False,
    expires_delta: timedelta | None = None,
    additional_claims: Mapping[str, Any] | None = None,
) -> str:
    options: dict[str, Any] = {"expiry": expires_delta, "data": additional_claims, "fresh": fresh}
    return _create(authx.create_access_token, identity, options)


def create_refresh_token(
    identity: Any,
    expires_delta: timedelta | None = None,
    additional_claims: Mapping[str, Any] | None = None,
) -> str:
    options: dict[str, Any] = {"expiry": expires_delta, "data": additional_claims}
    return _create(authx.create_refresh_token, identity, options)


def _create(create: Callable[..., str], identity: Any, options: dict[str, Any]) -> str:
    # All tokens that a request creates for a user are of one session, which a log-out revokes: that
    # of the token that jwt_required has accepted, or else the one that the first of them begins.
    tokens: list[Token] = []
    if has_request_context():
        tokens = request.environ.setdefault(_TOKENS, tokens)
    for token in tokens:
        # It is an error if the token is another user's.
        with contextlib.suppress(ValueError):
            return create(identity, login=token, **options)
    created = create(identity, **options)
    tokens.append(authx.decode_token(created))
    return created
