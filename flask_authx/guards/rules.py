"""Which guard is for which endpoint: the view's own, its blueprint's or the app's."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from flask import Flask
from flask.views import MethodView

from flask_authx.app.registry import Mark, chain, maker_of, marks_of, rules_for
from flask_authx.app.state import AppState, this_request
from flask_authx.http.callbacks import Callbacks
from flask_authx.http.requirement import Requirement

from .check import check


def check_rules(app: Flask, state: AppState) -> None:
    """Check what the blueprint or the app asks of this request, if the view says nothing itself.

    :raises AuthXException: if the requirement isn't met.
    """
    current = this_request()
    endpoint = current.endpoint
    # Unmatched URLs have no endpoint, and Flask answers OPTIONS by itself where no view does.
    if endpoint is None or endpoint not in app.view_functions:
        return
    view = app.view_functions[endpoint]
    planned, asked = state.plan.get(endpoint, (None, {}))
    if planned is not view:
        asked = {
            method: None if who == OWN else requirement
            for method, requirement, who in guards_of(app, state, endpoint)
        }
        state.plan[endpoint] = (view, asked)
    requirement = asked.get(current.method, asked.get(ANY_METHOD))
    automatic = getattr(current.url_rule, "provide_automatic_options", False)
    if requirement is not None and not (automatic and current.method == "OPTIONS"):
        check(app, state, current, requirement)


#: Stands for all methods that a view doesn't name.
ANY_METHOD = "*"
#: Who makes a requirement: the view itself, whose guard the hook leaves alone, or nobody.
OWN, STATIC, BUILT_IN, NOBODY = "view", "static files", "its blueprint", "nobody"


def guards_of(
    app: Flask, state: AppState, endpoint: str
) -> Iterator[tuple[str, Requirement | None, str]]:
    """What is asked of a request for an endpoint: the method, the requirement and who makes it.

    ``None`` asks nothing. The view's own guard wins over its blueprint's, and the blueprint's, the
    inner one first, over the app's.
    """
    view = app.view_functions[endpoint]
    view_class = getattr(view, "view_class", None)
    dispatch = getattr(view_class, "dispatch_request", None)
    around = [mark for one in (view, view_class, dispatch) for mark in _own(state.callbacks, one)]
    outer, who = _rule_for(app, state, endpoint)
    for method, handler in _handlers(view_class):
        own = [*around, *_own(state.callbacks, handler)]
        if not own:
            yield method, outer, who
        for mark in own:
            yield method, mark.requirement, OWN


def _own(callbacks: Callbacks, view: Any) -> list[Mark]:
    return [mark for mark in marks_of(view) if mark.callbacks is callbacks]


def _handlers(view_class: Any) -> Iterator[tuple[str, Any]]:
    """The methods that a class-based view has functions for, and the function for all others."""
    named: dict[str, Any] = {}
    if inspect.isclass(view_class) and issubclass(view_class, MethodView):
        # Any other class answers as it likes, whatever its functions are called.
        named = {
            name: getattr(view_class, name.lower())
            for name in view_class.methods or ()
            if hasattr(view_class, name.lower())
        }
    if "GET" in named:
        # Flask answers HEAD with the view's GET.
        named.setdefault("HEAD", named["GET"])
    yield from named.items()
    yield ANY_METHOD, None


def _rule_for(app: Flask, state: AppState, endpoint: str) -> tuple[Requirement | None, str]:
    """The requirement of the innermost blueprint that has one, else of the app."""
    callbacks = state.callbacks
    names = endpoint.split(".")[:-1]
    owners: list[tuple[str, Any]] = [
        (f"blueprint {name}", app.blueprints[name])
        for name in (".".join(names[:end]) for end in range(len(names), 0, -1))
        if name in app.blueprints
    ]
    owners.append(("app", app))
    if _is_static(app, endpoint):
        return None, STATIC
    makers = map(maker_of, chain(app.view_functions[endpoint]))
    maker = next((one for one in makers if one is not None), None)
    if maker is not None:
        # It says itself what it needs, if anything.
        return None, BUILT_IN if maker is callbacks else NOBODY
    for who, owner in owners:
        if callbacks in rules_for(owner):
            return rules_for(owner)[callbacks], who
    if state.settings.protect_all:
        return Requirement(), f"{state.settings.prefix}PROTECT_ALL"
    return None, NOBODY


def _is_static(app: Flask, endpoint: str) -> bool:
    """Whether Flask itself answers this endpoint with a file, and not a view of that name."""
    name, _, last = endpoint.rpartition(".")
    view: Any = app.view_functions[endpoint]
    if last != "static":
        return False
    if name:
        blueprint: Any = app.blueprints.get(name)
        return blueprint is not None and bool(view == blueprint.send_static_file)
    return getattr(view, "__module__", None) == Flask.__module__
