"""Who a request is from: ``current_token`` and ``current_user``."""

from __future__ import annotations

import inspect
from typing import Any, cast

from flask import Request, has_request_context
from werkzeug.local import LocalProxy

from flask_authx.errors import SubjectNotFoundError
from flask_authx.http.context import RequestContext
from flask_authx.tokens.token import Token

from .awaiting import result_of, wait
from .state import AppState, this_app, this_request

_IDENTITY = "_flask_authx"


def identify(
    current: Request, state: AppState, memory: RequestContext, token: Token, raw: str
) -> None:
    """Make this the request's token: what :data:`current_token` stands for from now on.

    The last one wins where a request passes the guards of several ``AuthX`` objects.
    """
    if memory.token is not token:
        memory.token, memory.raw, memory.user = token, raw, None
    setattr(current, _IDENTITY, (state, memory, token))


def forget(current: Request, memory: RequestContext) -> None:
    """Make the request nobody's, whoever an earlier guard has admitted."""
    memory.token = memory.raw = memory.user = None
    setattr(current, _IDENTITY, None)


def _identity(name: str) -> tuple[AppState, RequestContext, Token]:
    identity = getattr(this_request(), _IDENTITY, None) if has_request_context() else None
    if identity is None:
        raise RuntimeError(
            "nobody is authenticated here: guard the view with @authx.token_required, or test "
            f"`if {name}:` first under @authx.optional_token"
        )
    found: tuple[AppState, RequestContext, Token] = identity
    return found


def _find_token() -> Token:
    return _identity("current_token")[2]


def _find_user() -> Any:
    state, memory, _ = _identity("current_user")
    return load_user(state, memory)


def load_user(state: AppState, memory: RequestContext) -> Any:
    """The user of the request's token, asked for at most once; ``None`` if there is no token.

    :raises SubjectNotFoundError: if the app knows no such user.
    :raises RuntimeError: if the app has not said how to load one.
    """
    load = state.callbacks.subject
    if memory.token is None:
        return None
    if load is None:
        raise RuntimeError(
            "there is no callback that loads users: "
            "register one with @authx.set_callback_get_model_instance"
        )
    if memory.user is None:
        user = load(memory.token.sub, memory.token)
        if inspect.isawaitable(user):
            user = wait(this_app(), result_of, user)
        memory.user = (user,)
    if memory.user[0] is None:
        raise state.dress(SubjectNotFoundError())
    return memory.user[0]


class _UserProxy(LocalProxy[Any]):
    """A proxy whose truth is the user's: what the user callback raises does not mean "nobody"."""

    __slots__ = ()

    def __bool__(self) -> bool:
        identity = getattr(this_request(), _IDENTITY, None) if has_request_context() else None
        # Once it has been said that there is no such user, the error's own page finds nobody.
        return identity is not None and identity[1].user != (None,) and bool(_find_user())


#: The token of the current request; falsy if there is none, and then its attributes are errors.
current_token: Token = cast(Token, LocalProxy(_find_token))
#: The user of the current request, loaded when it is first used; falsy if nobody is authenticated.
current_user: Any = _UserProxy(_find_user)
