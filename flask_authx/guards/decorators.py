"""The decorators: functions that check the request and then call the view."""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

from flask import Flask, Request

from flask_authx.app.state import state_of, this_app, this_request
from flask_authx.app.view_registry import mark_guarded, unwrap
from flask_authx.errors import AuthXException
from flask_authx.http.callbacks import Callbacks
from flask_authx.http.requirement import Requirement, requirement_from

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
        app, current = this_app(), this_request()
        try:
            check_request(state_of(app, callbacks), current, requirement)
        except AuthXException as error:
            _refuse_client(app, current, error)
            raise
        return view(*args, **kwargs)

    @functools.wraps(view)
    async def guarded_async(*args: Any, **kwargs: Any) -> Any:
        await check_request_async(state_of(this_app(), callbacks), this_request(), requirement)
        return await view(*args, **kwargs)

    outer = guarded_async if inspect.iscoroutinefunction(view) else guarded
    mark_guarded(callbacks, requirement, outer, view)
    return cast(F, outer)


#: The key of Flask-SocketIO in ``app.extensions``.
SOCKETIO = "socketio"


def _refuse_client(app: Flask, current: Request, error: AuthXException) -> None:
    """Keep the client of a Flask-SocketIO event out, if the guard is on the handler of one.

    To Socket.IO any other exception of a connect handler is no refusal: the client is connected,
    and receives what is sent to all. It need not send a further event, so a client whose token is
    not accepted any more is disconnected.

    :raises flask_socketio.ConnectionRefusedError: in a connect handler, with the ``error_type``.
    """
    event: Any = getattr(current, "event", None)
    if SOCKETIO not in app.extensions or not isinstance(event, dict):
        return
    # The app has loaded it.
    flask_socketio: Any = importlib.import_module("flask_socketio")
    if cast("dict[str, Any]", event).get("message") == "connect":
        raise flask_socketio.ConnectionRefusedError(error.error_type.value) from None
    if error.code == 401:
        flask_socketio.disconnect()


def guard_or_decorator(
    callbacks: Callbacks, view: Any, options: Mapping[str, Any], keywords: Any, **fixed: Any
) -> Any:
    """The guarded view, or without a view the decorator that guards one: bare and called alike.

    The parameters and errors are :func:`requirement_of`'s.
    """
    requirement = requirement_of(options, keywords, **fixed)
    if view is None:
        return functools.partial(guard, callbacks, requirement)
    return guard(callbacks, requirement, view)


def is_guard_decorator(decorator: Any) -> bool:
    """Whether this is a decorator of an ``AuthX`` object, which calls nothing of the app."""
    return any(
        layer is guard
        # A method of an AuthX object that is used without parentheses.
        or isinstance(getattr(getattr(layer, "__self__", None), "_callbacks", None), Callbacks)
        for layer in unwrap(decorator)
    )


def requirement_of(options: Mapping[str, Any], keywords: Any, **fixed: Any) -> Requirement:
    """A requirement from the keywords that an app gave.

    :param keywords: the ``TypedDict`` of the allowed keywords.
    :param fixed: the keywords of this kind of guard.
    :raises TypeError: if the app gave others: a guard must not be weaker than it looks.
    """
    for name in options:
        if name not in keywords.__optional_keys__:
            known = ", ".join(sorted(keywords.__optional_keys__))
            raise TypeError(f"this guard has no option {name!r}; it takes {known}")
    return requirement_from(**options, **fixed)
