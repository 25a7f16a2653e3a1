"""The identity of a request: ``current_token`` and ``current_user``.

Kept on the request and not in ``g``: an app context that was pushed outside of a request is shared
by all requests inside it, and would hand one request's identity to the next.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Generator
from typing import Any, cast

from flask import Request, has_request_context
from werkzeug.exceptions import HTTPException
from werkzeug.local import LocalProxy

from flask_authx.errors import AuthXException, SubjectNotFoundError
from flask_authx.http.context import RequestContext
from flask_authx.sessions.revocations import Revocations
from flask_authx.signals import Actor, user_actor
from flask_authx.tokens.token import Token
from flask_authx.tracebacks import OutlinedError, outline

from .state import AppState, context_of, this_request

#: The attribute of a request.
_IDENTITY = "_flask_authx"


def set_identity(
    current: Request, state: AppState, context: RequestContext, token: Token, raw: str
) -> None:
    """Make this the request's token, and :data:`current_token`.

    If a request passes the guards of several ``AuthX`` objects, the last one decides.
    """
    context.token, context.raw = token, raw
    setattr(current, _IDENTITY, (state, context, token))


def clear_identity(current: Request, context: RequestContext) -> None:
    """Make the request anonymous, also if an earlier guard has accepted a token."""
    context.token = context.raw = None
    setattr(current, _IDENTITY, None)


def accepted_token(state: AppState) -> Token | None:
    """The token that a guard of this object has accepted for the request, if there is a request."""
    return context_of(this_request(), state).token if has_request_context() else None


def actor_of_request(state: AppState, default: Actor | None) -> Actor | None:
    """The user of the token accepted for the request, for the audit trail and signals."""
    token = accepted_token(state)
    return default if token is None else user_actor(token.sub)


@contextlib.contextmanager
def revoking(state: AppState) -> Generator[Revocations]:
    """The store to write a revocation to. The rest of the request checks its tokens anew.

    Also after a failure, since the revocation may have been written.

    :raises RuntimeError: if there is no store.
    """
    try:
        yield state.require_revocations()
    finally:
        if has_request_context():
            context_of(this_request(), state).forget_verdicts()


def _identity(name: str) -> tuple[AppState, RequestContext, Token]:
    identity = getattr(this_request(), _IDENTITY, None) if has_request_context() else None
    if identity is None:
        raise RuntimeError(
            "no token has been accepted here: guard the view with @authx.token_required, or test "
            f"`if {name}:` first under @authx.optional_token"
        )
    found: tuple[AppState, RequestContext, Token] = identity
    return found


def _find_token() -> Token:
    return _identity("current_token")[2]


def _find_user() -> Any:
    state, context, _ = _identity("current_user")
    with state.worded:
        return load_user(state, context)


def load_user(state: AppState, context: RequestContext) -> Any:
    """The user of the request's token; ``None`` if there is no token.

    The errors are :func:`user_of`'s.
    """
    token, raw = context.token, context.raw
    return None if token is None or raw is None else user_of(state, context, token, raw)


def user_of(state: AppState, context: RequestContext, token: Token, raw: str) -> Any:
    """The user of a token that need not be the request's yet, loaded once in a request.

    :param raw: the text of the token.
    :raises SubjectNotFoundError: if the app has no such user.
    :raises RuntimeError: if no callback loads users.
    :raises HTTPException: that of the callback, such as ``abort(403)``.
    :raises OutlinedError: in place of any other exception of the callback.
    """
    if raw not in context.users:
        user = _call_loader(state, token)
        # The callback may have loaded another one.
        context.users = {**context.users, raw: user}
    if context.users[raw] is None:
        raise SubjectNotFoundError("the user callback returned None")
    return context.users[raw]


def _call_loader(state: AppState, token: Token) -> Any:
    load = state.callbacks.load_user
    if load is None:
        raise RuntimeError(
            "there is no callback that loads users: "
            "register one with @authx.set_callback_get_model_instance"
        )
    try:
        user = load(token.sub, token)
        return state.wait(user) if inspect.isawaitable(user) else user
    except HTTPException as error:
        if isinstance(error, AuthXException):
            error.reason_is_logged = False
        raise
    except Exception as error:  # noqa: BLE001 - of the app's code, which may have had the claims
        what = f"the user callback raised {outline(error)}"
    # Raised here: Flask logs the words of an error's context as well.
    raise OutlinedError(what)


class _UserProxy(LocalProxy[Any]):
    """A proxy that is true if the user is. An error of the user callback is not hidden."""

    __slots__ = ()

    def __bool__(self) -> bool:
        identity = getattr(this_request(), _IDENTITY, None) if has_request_context() else None
        if identity is None:
            return False
        context: RequestContext = identity[1]
        # After SubjectNotFoundError the user is falsy, so that the error's page can be rendered.
        is_gone = context.raw in context.users and context.users[context.raw] is None
        return not is_gone and bool(_find_user())


#: The token of the current request; falsy if there is none, and then its attributes are errors.
current_token: Token = cast(Token, LocalProxy(_find_token))
#: The user of the current request, loaded when it is first used; falsy if the request is anonymous.
current_user: Any = _UserProxy(_find_user)
