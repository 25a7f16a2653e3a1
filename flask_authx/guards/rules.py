"""Which guards apply to an endpoint: the view's own, its blueprint's or the app's.

The before_request hook also checks what the view's own guards require, since a cache or another
decorator around a guard may respond without calling it. Where no rule of any ``AuthX`` object
applies, it leaves a guard that nothing is around to check for itself: after the app's own hooks,
which its callbacks may need.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any, cast

from flask import Flask
from flask.views import MethodView

from flask_authx.app.state import AppState, states, this_request
from flask_authx.app.view_registry import (
    Around,
    Mark,
    built_in_owner,
    functions_around_guards,
    marks_of,
    rules_for,
    unwrap,
)
from flask_authx.http.callbacks import Callbacks
from flask_authx.http.requirement import Requirement

from .check import check_for_guards
from .decorators import is_guard_decorator

#: Stands for all methods that a view does not name.
ANY_METHOD = "*"
#: Where a requirement comes from, besides apps, blueprints and settings.
OWN, STATIC, BUILT_IN, UNGUARDED = "view", "static files", "AuthX blueprint", "no guard"


def check_rules(state: AppState) -> None:
    """Check what the guards of the view require of this request, or else its blueprint or the app.

    The guards do not check it again.

    :raises AuthXException: if a requirement is not met.
    """
    app, current = state.app, this_request()
    endpoint = current.endpoint
    # Unmatched URLs have no endpoint, and an endpoint may have no view.
    if endpoint is None or endpoint not in app.view_functions:
        return
    view = app.view_functions[endpoint]
    cached_view, by_method = state.endpoint_rules.get(endpoint, (None, {}))
    if cached_view is not view:
        by_method = _requirements(state, endpoint)
        state.endpoint_rules[endpoint] = (view, by_method)
    requirements = by_method.get(current.method)
    if requirements is None:
        requirements = by_method[ANY_METHOD]
    automatic = getattr(current.url_rule, "provide_automatic_options", False)
    if automatic and current.method == "OPTIONS":
        return
    for requirement in requirements:
        check_for_guards(state, current, requirement)


def _requirements(state: AppState, endpoint: str) -> dict[str, tuple[Requirement, ...]]:
    """What the hook checks for each method of an endpoint, the outermost guard first."""
    is_protected = _is_protected(state.app, endpoint)
    # The guards of other methods will be called, and check for themselves.
    own_too = {
        method
        for method, called in called_by_method(state.app, endpoint)
        if is_protected or functions_around_guards(called)
    }
    # Keys are in order, and equal requirements are checked once.
    by_method: dict[str, dict[Requirement, None]] = {}
    for method, requirement, source in guards_of(state, endpoint):
        asked = by_method.setdefault(method, {})
        if requirement is not None and (source != OWN or method in own_too):
            asked[requirement] = None
    return {method: (*asked,) for method, asked in by_method.items()}


def _is_protected(app: Flask, endpoint: str) -> bool:
    """Whether an ``AuthX`` object protects the app, or a blueprint that the endpoint is in."""
    objects = states(app).values()
    return any(one.settings.protect_all for one in objects) or any(
        rules_for(target).get(one.callbacks) is not None
        for _, target in _targets(app, endpoint)
        for one in objects
    )


def guards_of(state: AppState, endpoint: str) -> Iterator[tuple[str, Requirement | None, str]]:
    """The requirements of an endpoint: for each method, the requirement and where it comes from.

    ``None`` requires nothing. The view's own guards win over its blueprint's, an inner blueprint's
    over an outer one's, and a blueprint's over the app's.
    """
    outer, source = _rule_for(state, endpoint)
    for method, called in called_by_method(state.app, endpoint):
        own = [mark for target in called for mark in _own_marks(state.callbacks, target)]
        if not own:
            yield method, outer, source
        for mark in own:
            yield method, mark.requirement, OWN


def called_by_method(app: Flask, endpoint: str) -> Iterator[tuple[str, list[Any]]]:
    """For each method, the functions and the class that a request to an endpoint passes through.

    The outermost is first. :data:`ANY_METHOD` comes last, and is always there.
    """
    view = app.view_functions[endpoint]
    view_class = getattr(view, "view_class", None)
    dispatch = getattr(view_class, "dispatch_request", None)
    for method, handler in _handlers(view_class):
        yield method, [view, view_class, dispatch, *_method_decorators(view_class, method), handler]


def _method_decorators(view_class: Any, method: str) -> Iterator[Any]:
    """What Flask-RESTful and Flask-RESTX put around a method at each request, outermost first."""
    if not inspect.isclass(view_class) or not any(
        base.__name__ == "Resource" and base.__module__.partition(".")[0] in _RESTFUL
        for base in view_class.__mro__
    ):
        return
    decorators: Any = getattr(view_class, "method_decorators", ())
    if isinstance(decorators, Mapping):
        if method == "HEAD" and not hasattr(view_class, "head"):
            # Such a request is answered by ``get``.
            method = "GET"
        decorators = cast("Mapping[str, Any]", decorators).get(method.lower(), ())
    for decorator in reversed([*decorators]):
        # A guard has to be made to have marks. Other decorators are left alone.
        yield decorator(lambda: None) if is_guard_decorator(decorator) else Around(decorator)


#: The frameworks whose ``Resource`` has ``method_decorators``.
_RESTFUL = frozenset({"flask_restful", "flask_restx"})


def _own_marks(callbacks: Callbacks, view: Any) -> list[Mark]:
    return [mark for mark in marks_of(view) if mark.callbacks is callbacks]


def _handlers(view_class: Any) -> Iterator[tuple[str, Any]]:
    """The methods that a class-based view has functions for, and the function for all others."""
    named: dict[str, Any] = {}
    # Only MethodView chooses a function by the method's name.
    if inspect.isclass(view_class) and issubclass(view_class, MethodView):
        named = {
            name: getattr(view_class, name.lower())
            for name in view_class.methods or ()
            if hasattr(view_class, name.lower())
        }
    if "GET" in named:
        # Flask calls the view's GET for HEAD.
        named.setdefault("HEAD", named["GET"])
    yield from named.items()
    yield ANY_METHOD, None


def _rule_for(state: AppState, endpoint: str) -> tuple[Requirement | None, str]:
    """The requirement of the innermost blueprint that has one, else of the app."""
    app, callbacks = state.app, state.callbacks
    if _is_static(app, endpoint):
        return None, STATIC
    for function in unwrap(app.view_functions[endpoint]):
        owner = built_in_owner(function)
        if owner is not None:
            # The views of ``authx.blueprint()`` have their own guards, or need none.
            return None, BUILT_IN if owner is callbacks else UNGUARDED
    for source, target in _targets(app, endpoint):
        rules = rules_for(target)
        if callbacks in rules:
            return rules[callbacks], source
    if state.settings.protect_all:
        return Requirement(), f"{state.settings.prefix}PROTECT_ALL"
    return None, UNGUARDED


def _targets(app: Flask, endpoint: str) -> Iterator[tuple[str, Any]]:
    """The blueprints that an endpoint is in, the innermost first, and the app."""
    names = endpoint.split(".")[:-1]
    for end in range(len(names), 0, -1):
        name = ".".join(names[:end])
        if name in app.blueprints:
            yield f"blueprint {name}", app.blueprints[name]
    yield "app", app


def _is_static(app: Flask, endpoint: str) -> bool:
    """Whether Flask itself serves files for this endpoint, rather than a view of that name."""
    name, _, last = endpoint.rpartition(".")
    view: Any = app.view_functions[endpoint]
    if last != "static":
        return False
    if name:
        blueprint: Any = app.blueprints.get(name)
        return blueprint is not None and bool(view == blueprint.send_static_file)
    return getattr(view, "__module__", None) == Flask.__module__
