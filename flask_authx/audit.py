"""Which check guards which endpoint; and the look over the whole app before its first request."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, cast

from flask import Flask

from .callbacks import Instance
from .context import AppState, states, this_request
from .errors import BadConfigurationError
from .guards import Mark, chain, check, marks_of, rules_for, serve, wrappers_of
from .verifier import Demand


def watch(app: Flask, state: AppState) -> None:
    """Register the before_request hook, which looks the app over at its first request.

    From then on it checks what blueprints and the app ask; where they ask nothing, it goes.
    """

    def authx_rules() -> None:
        if not state.started:
            start(app, state)
            if not state.has_rules:
                # Flask's call of an idle hook costs as much as finding a token. The list is a new
                # one, since a request may be walking the old.
                hooks = app.before_request_funcs
                hooks[None] = [hook for hook in hooks.get(None, []) if hook is not authx_rules]
        if state.has_rules:
            check_rules(app, state)

    app.before_request(authx_rules)


def check_rules(app: Flask, state: AppState) -> None:
    """Check what the blueprint or the app asks of this request, if the view says nothing itself.

    :raises AuthXException: if the demand isn't met.
    """
    current = this_request()
    endpoint = current.endpoint
    # Unmatched URLs have no endpoint, and Flask answers OPTIONS by itself where no view does.
    if endpoint is None or endpoint not in app.view_functions:
        return
    asked = state.plan.get(endpoint)
    if asked is None:
        asked = state.plan[endpoint] = {
            method: None if who == OWN else demand
            for method, demand, who in guards_of(app, state, endpoint)
        }
    demand = asked.get(current.method, asked.get(ANY_METHOD))
    automatic = getattr(current.url_rule, "provide_automatic_options", False)
    if demand is not None and not (automatic and current.method == "OPTIONS"):
        check(app, state, current, demand)


def start(app: Flask, state: AppState) -> None:
    """Let the app serve, if it is fit to.

    :raises BadConfigurationError: with every problem found.
    """
    problems = [*changed_settings(app, state), *misplaced_guards(app)]
    if state.settings.revocation_required and state.instance.revoked is None:
        problems.append(
            f"{state.settings.prefix}REVOCATION_REQUIRED is set and there is no revocation "
            "callback: register one with @authx.set_callback_token_blocklist."
        )
    if problems:
        raise BadConfigurationError(problems)
    owners: list[Any] = [app, *app.blueprints.values()]
    serve(state.instance, owners)
    state.has_rules = state.settings.protect_all or any(
        state.instance in rules_for(owner) for owner in owners
    )
    state.started = True


#: Stands for all methods that a view doesn't name.
ANY_METHOD = "*"
#: Who makes a demand: the view itself, whose guard the hook leaves alone, or nobody.
OWN, STATIC, NOBODY = "view", "static files", "nobody"


def guards_of(
    app: Flask, state: AppState, endpoint: str
) -> Iterator[tuple[str, Demand | None, str]]:
    """What is asked of a request for an endpoint: the method, the demand and who makes it.

    A demand of ``None`` is no demand. The view's own guard wins over its blueprint's, and the
    blueprint's, the inner one first, over the app's.
    """
    view = app.view_functions[endpoint]
    view_class = getattr(view, "view_class", None)
    dispatch = getattr(view_class, "dispatch_request", None)
    around = [mark for one in (view, view_class, dispatch) for mark in _own(state.instance, one)]
    outer, who = _rule_for(app, state, endpoint)
    for method, handler in _handlers(view_class):
        own = [*around, *_own(state.instance, handler)]
        if not own:
            yield method, outer, who
        for mark in own:
            yield method, mark.demand, OWN


def _own(instance: Instance, view: Any) -> list[Mark]:
    return [mark for mark in marks_of(view) if mark.instance is instance]


def _handlers(view_class: Any) -> Iterator[tuple[str, Any]]:
    """The methods that a class-based view has functions for, and the function for all others."""
    named = {
        name: getattr(view_class, name.lower())
        for name in getattr(view_class, "methods", None) or ()
        if hasattr(view_class, name.lower())
    }
    if "GET" in named:
        # Flask answers HEAD with the view's GET.
        named.setdefault("HEAD", named["GET"])
    yield from named.items()
    yield ANY_METHOD, None


def _rule_for(app: Flask, state: AppState, endpoint: str) -> tuple[Demand | None, str]:
    """The demand of the innermost blueprint that has one, else of the app."""
    instance = state.instance
    names = endpoint.split(".")[:-1]
    owners: list[tuple[str, Any]] = [
        (f"blueprint {name}", app.blueprints[name])
        for name in (".".join(names[:end]) for end in range(len(names), 0, -1))
        if name in app.blueprints
    ]
    owners.append(("app", app))
    owner = app.blueprints.get(".".join(names)) if names else app
    if endpoint.rpartition(".")[2] == "static" and owner is not None and owner.has_static_folder:
        return None, STATIC
    for who, owner in owners:
        if instance in rules_for(owner):
            return rules_for(owner)[instance], who
    if state.settings.protect_all:
        return Demand(), f"{state.settings.prefix}PROTECT_ALL"
    return None, NOBODY


def collisions(app: Flask, state: AppState) -> list[str]:
    """What a further ``AuthX`` object must not share with those that the app has."""
    problems: list[str] = []
    prefix = state.settings.prefix
    for other in states(app).values():
        if not other.codec.keys.by_kid.keys().isdisjoint(state.codec.keys.by_kid):
            problems.append(
                f"{prefix}*: a key is also one of {other.instance.name!r}: give each AuthX "
                "object its own, or the tokens of one open the doors of the other."
            )
        mine, others = _cookie_names(state), _cookie_names(other)
        problems += [
            f"{prefix}*_COOKIE_NAME: the cookie {name} is one of {other.instance.name!r}, "
            "too: give it another name."
            for name in sorted(mine & others)
        ]
    return problems


def _cookie_names(state: AppState) -> set[str]:
    if not state.settings.uses_cookies:
        return set()
    return {profile.cookie_name for profile in state.settings.profiles.values()}


def misplaced_guards(app: Flask) -> list[str]:
    """Guards that guard nothing, since Flask was given the function inside them."""
    routed: set[int] = {
        id(function) for view in app.view_functions.values() for function in chain(view)
    }
    instances = [state.instance for state in states(app).values()]
    problems: list[str] = []
    for endpoint, view in app.view_functions.items():
        around = wrappers_of(view, instances)
        if around and not any(id(wrapper) in routed for wrapper in around):
            name = getattr(view, "__qualname__", repr(view))
            problems.append(
                f"the guard of the view {name} (endpoint {endpoint!r}) protects nothing: it stands "
                "above @app.route, which has already taken the function without it; "
                "put the guard below, next to the function."
            )
    return problems


def changed_settings(app: Flask, state: AppState) -> list[str]:
    """Settings that were changed after they had been read."""
    now = snapshot(app, state.settings.prefix)
    return [
        f"{key} was changed after authx.init_app(app) had read it: set it before, since it has no "
        "effect now."
        for key in sorted({*now, *state.seen})
        if now.get(key, _ABSENT) != state.seen.get(key, _ABSENT)
    ]


_ABSENT = object()


def snapshot(app: Flask, prefix: str) -> dict[str, Any]:
    """The app's settings of that prefix, copied as far as they can be changed in place."""
    config = cast("dict[str, Any]", app.config)
    return {
        key: copy.copy(value) if type(value) in (list, set, dict) else value
        for key, value in config.items()
        if key.startswith(prefix)
    }
