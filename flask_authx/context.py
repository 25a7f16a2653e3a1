"""Where things are kept: an app's state on the app, a request's identity on the request.

Not in ``g``: an app context that was pushed outside of a request is shared by all requests inside
it, and one request's identity would be the next one's.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from flask import Flask, Request, current_app, has_request_context, request
from werkzeug.local import LocalProxy

from .callbacks import Instance
from .codec import Codec
from .errors import AuthXException, SubjectNotFoundError
from .mint import Mint
from .settings import Settings
from .tokens import Token
from .verifier import Demand, Memory, Verifier

T = TypeVar("T")

#: The key in ``app.extensions``, and of the identity among a request's attributes.
EXTENSION = "authx"
_IDENTITY = "_flask_authx"


@dataclass(slots=True, eq=False)
class AppState:
    """All that one ``AuthX`` object keeps for one app."""

    instance: Instance
    prefix: str
    settings: Settings
    codec: Codec
    verifier: Verifier
    mint: Mint
    #: The app's settings as they were read, to notice later changes.
    seen: dict[str, Any] = field(repr=False)
    #: What the before_request hook asks, by endpoint and method; made at the first request.
    plan: dict[str, dict[str, Demand | None]] | None = None

    def dress(self, error: AuthXException) -> AuthXException:
        """Give an error the words that the settings ask for."""
        error.realm = self.settings.realm
        error.message_key = self.settings.error_message_key
        return error


def states(app: Flask) -> dict[str, AppState]:
    """The states of an app's ``AuthX`` objects, by name."""
    found: dict[str, AppState] = app.extensions.setdefault(EXTENSION, {})
    return found


def state_of(app: Flask, instance: Instance) -> AppState:
    """The state of this ``AuthX`` object on this app.

    :raises RuntimeError: if it has none, naming ``init_app``.
    """
    state: AppState | None = app.extensions.get(EXTENSION, {}).get(instance.name)
    if state is None or state.instance is not instance:
        raise RuntimeError(
            f"this AuthX object ({instance.name!r}) is not set up on the app {app.name!r}: "
            "call authx.init_app(app)"
        )
    return state


def current_state(instance: Instance) -> AppState:
    """The state on the current app."""
    return state_of(this_app(), instance)


def this_app() -> Flask:
    """The current app itself, not its proxy."""
    return cast(Flask, cast(Any, current_app)._get_current_object())


def this_request() -> Request:
    """The current request itself, not its proxy."""
    return cast(Request, cast(Any, request)._get_current_object())


def memory_of(current: Request, instance: Instance) -> Memory:
    """What one ``AuthX`` object knows of a request."""
    memories: dict[Instance, Memory] = vars(current).setdefault(_IDENTITY, {})
    memory = memories.get(instance)
    if memory is None:
        memory = memories[instance] = Memory()
    return memory


def identify(current: Request, instance: Instance, token: Token) -> None:
    """Make this the request's token: what :data:`current_token` stands for from now on."""
    memories: dict[Instance, Memory] = vars(current)[_IDENTITY]
    memory = memories[instance]
    if memory.token is not token:
        memory.token = token
        memory.user.clear()
    # The last one wins where a request passes the guards of several AuthX objects.
    memories[instance] = memories.pop(instance)


def _identity() -> tuple[Instance, Memory] | None:
    memories: dict[Instance, Memory] = (
        vars(this_request()).get(_IDENTITY, {}) if has_request_context() else {}
    )
    for instance in reversed(memories):
        if memories[instance].token is not None:
            return instance, memories[instance]
    return None


def _find_token() -> Token:
    identity = _identity()
    if identity is None or identity[1].token is None:
        raise RuntimeError(
            "nobody is authenticated here: guard the view with @authx.token_required, or test "
            "`if current_token:` first under @authx.optional_token"
        )
    return identity[1].token


def _find_user() -> Any:
    identity = _identity()
    if identity is None:
        raise RuntimeError(
            "nobody is authenticated here: guard the view with @authx.token_required, or test "
            "`if current_user:` first under @authx.optional_token"
        )
    instance, memory = identity
    return load_user(current_state(instance), memory)


def load_user(state: AppState, memory: Memory) -> Any:
    """The user of the request's token, asked for at most once; ``None`` if there is no token.

    :raises SubjectNotFoundError: if the app knows no such user.
    :raises RuntimeError: if the app has not said how to load one.
    """
    load = state.instance.subject
    if memory.token is None:
        return None
    if load is None:
        raise RuntimeError(
            "there is no callback that loads users: "
            "register one with @authx.set_callback_get_model_instance"
        )
    if not memory.user:
        user = load(memory.token.sub, memory.token)
        if inspect.isawaitable(user):
            user = wait(this_app(), _result, user)
        memory.user.append(user)
    if memory.user[0] is None:
        raise state.dress(SubjectNotFoundError())
    return memory.user[0]


async def _result(awaitable: Any) -> Any:
    return await awaitable


def wait(app: Flask, function: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> T:
    """The result of an ``async`` function, from code that can't await it."""
    run = cast(Callable[..., T], app.async_to_sync(function))
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return run(*args)
    # In an async view the thread has its loop already: this one result comes from another thread.
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(contextvars.copy_context().run, run, *args).result()


def step(line: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that has nothing to wait for."""
    try:
        line.send(None)
        while True:
            # An awaitable that its callback did not announce, by being ``async def``.
            line.throw(RuntimeError("this callback must be an `async def` function"))
    except StopIteration as done:
        return cast(T, done.value)


#: The token of the current request; falsy if there is none, and then its attributes are errors.
current_token: Token = cast(Token, LocalProxy(_find_token))
#: The user of the current request, loaded when it is first used; falsy if nobody is authenticated.
current_user: Any = LocalProxy(_find_user)
