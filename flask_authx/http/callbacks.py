"""The app's own callbacks, and which arguments each takes: examined when it is registered."""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from flask_authx.errors import BadConfigurationError
from flask_authx.stores.blocklist import Blocklist
from flask_authx.stores.session_store import SessionStore
from flask_authx.tokens.create import Uid
from flask_authx.tokens.token import Token

#: Whether a token is revoked. It gets the raw token and the verified one.
RevocationCallback: TypeAlias = Callable[[str, Token], "bool | Awaitable[bool]"]
#: The user of a verified token. It gets the subject and the token.
UserLoader: TypeAlias = Callable[[str, Token], Any]
#: Additional claims for a user's new token. It gets the subject.
ClaimsCallback: TypeAlias = Callable[[str], Mapping[str, Any]]
#: The app's own check of who sends a request to log in. It returns the uid, or None to refuse.
Authenticate: TypeAlias = Callable[[], Uid | Awaitable[Uid | None] | None]
#: Waits for the result of an async callback, from code that cannot await it.
Wait: TypeAlias = Callable[[Awaitable[Any]], Any]


@dataclass(slots=True, weakref_slot=True, eq=False)
class Callbacks:
    """What one ``AuthX`` object was given: its name, its callbacks and its stores.

    Everything else belongs to an app.
    """

    name: str
    #: A store of revocations made by the program, instead of one that a setting names.
    blocklist: Blocklist | None = None
    #: A session store made by the program.
    sessions: SessionStore | None = None
    revoked: RevocationCallback | None = None
    user: UserLoader | None = None
    claims: ClaimsCallback | None = None
    #: Whether the revocation callback takes ``claims=``.
    revoked_takes_claims: bool = False


def with_claims(callback: Callable[..., Any], purpose: str) -> Callable[[str, Token], Any]:
    """The callback as a function of a text and a token, whether or not it takes ``claims=``.

    :raises BadConfigurationError: if it can't be called with one positional argument.
    """
    check_async(callback, purpose)
    if takes_claims(callback, purpose):
        return lambda value, token: callback(value, claims=token.claims)
    return lambda value, _: callback(value)


def takes_claims(callback: Callable[..., Any], purpose: str) -> bool:
    """Whether a callback takes ``claims=`` beside its positional argument.

    :raises BadConfigurationError: if it can't be called with one positional argument.
    """
    try:
        signature = inspect.signature(callback)
    except ValueError:
        # Some callables written in C have none: they get the positional argument alone.
        return False
    except TypeError:
        raise BadConfigurationError(f"the {purpose} callback is not callable.") from None
    for keywords, answer in (({"claims": None}, True), ({}, False)):
        try:
            signature.bind(None, **keywords)
        except TypeError:
            continue
        return answer
    raise BadConfigurationError(
        f"the {purpose} callback must take one positional argument, and may take claims=; "
        f"it takes {signature}."
    )


def check_async(callback: Callable[..., Any], purpose: str) -> None:
    """Refuse an ``async def`` callback that Flask cannot run.

    :raises BadConfigurationError: if Flask's extra ``async`` isn't installed.
    """
    if is_async(callback) and importlib.util.find_spec("asgiref") is None:
        raise BadConfigurationError(
            f"the {purpose} callback is async, which needs: pip install flask[async]"
        )


def is_async(callback: Callable[..., Any]) -> bool:
    """Whether calling it gives something to be awaited."""
    return inspect.iscoroutinefunction(callback) or inspect.iscoroutinefunction(
        getattr(callback, "__call__", None)  # noqa: B004 - for objects with an async __call__
    )
