"""The app's callbacks. Which arguments each takes is examined when it is registered."""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, cast
from uuid import UUID

from flask_authx.errors import BadConfigurationError
from flask_authx.stores.blocklist import Blocklist
from flask_authx.stores.session_store import SessionStore
from flask_authx.tokens.new_token import Uid
from flask_authx.tokens.token import Token

#: Returns whether a token is revoked. Called with the raw token and the verified one.
RevocationCallback: TypeAlias = Callable[[str, Token], "bool | Awaitable[bool]"]
#: Returns the user of a verified token. Called with the subject and the token.
UserLoader: TypeAlias = Callable[[str, Token], Any]
#: Returns whether the claims of a verified token are accepted.
ClaimsCheck: TypeAlias = Callable[[dict[str, Any]], "bool | Awaitable[bool]"]
#: Returns the uid of an object that an app gives in place of one.
IdentityCallback: TypeAlias = Callable[[Any], Uid]
#: Returns additional claims for a new token. Called with the subject.
ClaimsCallback: TypeAlias = Callable[[str], Mapping[str, Any]]
#: Checks the credentials of a request to log in. Returns the uid or an object that has one, or
#: ``None`` to refuse. It may be async.
Authenticate: TypeAlias = Callable[[], object]
#: Waits for the result of an async callback, from code that cannot await it.
Wait: TypeAlias = Callable[[Awaitable[Any]], Any]


@dataclass(slots=True, weakref_slot=True, eq=False)
class Callbacks:
    """The name, callbacks and stores that one ``AuthX`` object was given.

    Everything else is kept for each app.
    """

    name: str
    #: A store that was given as ``blocklist=``, instead of the one that a setting names.
    blocklist: Blocklist | None = None
    #: A session store that was given as ``sessions=``.
    sessions: SessionStore | None = None
    is_revoked: RevocationCallback | None = None
    load_user: UserLoader | None = None
    additional_claims: ClaimsCallback | None = None
    verify_claims: ClaimsCheck | None = None
    identity: IdentityCallback | None = None
    #: Whether the revocation callback takes ``claims=``.
    revoked_takes_claims: bool = False
    #: Whether a guard looks for tokens in cookies, whatever the settings of an app say.
    guards_cookies: bool = False

    def uid_of(self, given: object) -> Uid:
        """The uid that an app gave, or that of the object that it gave. Only its type is checked.

        :raises TypeError: if the callback returned what is no uid.
        """
        if self.identity is None or given is None or isinstance(given, (str, int, UUID)):
            return cast(Uid, given)
        # Whatever the callback is annotated with.
        uid = cast(object, self.identity(given))
        if isinstance(uid, bool) or not isinstance(uid, (str, int, UUID)):
            raise TypeError(
                f"the identity callback returned {type(uid).__name__} for {type(given).__name__}: "
                "let it return the uid, a str, an int or a UUID"
            )
        return uid


def adapt_callback(callback: Callable[..., Any], purpose: str) -> Callable[[str, Token], Any]:
    """A function of a text and the token that calls the callback, with ``claims=`` if it takes it.

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
        # Some callables written in C have no signature. They get the positional argument only.
        return False
    except TypeError:
        raise BadConfigurationError(f"the {purpose} callback is not callable.") from None
    if _can_bind(signature, claims=None):
        return True
    if _can_bind(signature):
        return False
    raise BadConfigurationError(
        f"the {purpose} callback must take one positional argument, and may take claims=; "
        f"it takes {signature}."
    )


def _can_bind(signature: inspect.Signature, **keywords: None) -> bool:
    """Whether a call with one positional argument and these keywords fits."""
    try:
        signature.bind(None, **keywords)
    except TypeError:
        return False
    return True


def check_async(callback: Callable[..., Any], purpose: str) -> None:
    """Refuse an ``async def`` callback that Flask cannot run.

    :raises BadConfigurationError: if Flask's extra ``async`` isn't installed.
    """
    if is_async(callback) and importlib.util.find_spec("asgiref") is None:
        raise BadConfigurationError(
            f"the {purpose} callback is async, which needs: pip install flask[async]"
        )


def is_async(callback: Callable[..., Any]) -> bool:
    """Whether calling it returns an awaitable."""
    return inspect.iscoroutinefunction(callback) or inspect.iscoroutinefunction(
        getattr(callback, "__call__", None)  # noqa: B004 - for objects with an async __call__
    )
