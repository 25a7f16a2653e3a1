"""The checks before the first request, and the before_request hook that applies the rules."""

from __future__ import annotations

import contextlib
import inspect
import logging
import warnings
from collections.abc import Iterator
from typing import Any, TypeAlias

from flask import Flask

from flask_authx.app.build import snapshot
from flask_authx.app.cookie_paths import blueprint_path
from flask_authx.app.state import AppState, states, this_request
from flask_authx.app.view_registry import (
    built_in_owner,
    freeze_rules,
    marks_of,
    rules_for,
    unwrap,
    wrappers_of,
)
from flask_authx.guards.decorators import SOCKETIO
from flask_authx.guards.rules import check_rules, guards_of

from .enums import SameSite
from .errors import BadConfigurationError

_log = logging.getLogger("flask_authx")

#: The endpoint of the blueprint that needs no stored sessions.
READY = "ready"


def register_hook(state: AppState) -> None:
    """Register the before_request hook.

    At the first request it checks the app. From then on it applies the rules of the app and its
    blueprints; if no ``AuthX`` object of the app has any, it removes itself.
    """

    def authx_rules() -> None:
        if not state.started:
            start(state)
            _warn(state)
            if not state.has_rules:
                # A hook that does nothing costs as much as finding a token. The list is replaced,
                # since another request may be iterating over it.
                hooks = state.app.before_request_funcs
                hooks[None] = [hook for hook in hooks.get(None, []) if hook is not authx_rules]
        if state.has_rules:
            check_rules(state)

    state.app.before_request(authx_rules)


def start(state: AppState) -> None:
    """Check the app, and freeze its rules.

    :raises BadConfigurationError: with every problem found.
    """
    problems = problems_of(state)
    if problems:
        raise BadConfigurationError(problems)
    # A rule of one object is also about the guards of the others: each is to know them all.
    owners: list[Any] = [state.app, *state.app.blueprints.values()]
    for one in states(state.app).values():
        freeze_rules(one.callbacks, owners)
        state.has_rules |= one.settings.protect_all or any(
            one.callbacks in rules_for(owner) for owner in owners
        )
    state.started = True


# Problems: the app does not serve


def problems_of(state: AppState) -> list[str]:
    """The problems because of which the app does not serve. Nothing is changed."""
    problems = [
        *changed_settings(state),
        *misplaced_guards(state.app),
        *blueprint_problems(state),
        *missing_user_callback(state),
        *async_socketio_handlers(state),
    ]
    prefix = state.settings.prefix
    revocation = (
        f"set {prefix}BLOCKLIST, or register a callback with @authx.set_callback_token_blocklist."
    )
    if state.settings.implicit_refresh_deltatime is not None and not state.revocable:
        problems.append(
            f"{prefix}IMPLICIT_REFRESH_DELTATIME renews access tokens for as long as a session "
            "lasts, and there is neither a store of revocations nor a revocation callback to end "
            f"that: {revocation}"
        )
    if state.settings.revocation_required and not state.revocable:
        problems.append(
            f"{prefix}REVOCATION_REQUIRED is set, and there is neither a store of revocations nor "
            f"a revocation callback: {revocation}"
        )
    return problems


def changed_settings(state: AppState) -> list[str]:
    """Settings that were changed after ``init_app`` had read them."""
    now = snapshot(state.app, state.settings.prefix)
    return [
        f"{key} was changed after authx.init_app(app) had read it: set it before, since it has no "
        "effect now."
        for key in sorted({*now, *state.initial_config})
        if now.get(key, _ABSENT) != state.initial_config.get(key, _ABSENT)
    ]


_ABSENT = object()


def misplaced_guards(app: Flask) -> list[str]:
    """Guards without effect, since Flask was given the function inside the guard."""
    given: list[tuple[str, Any]] = [
        (f"the view {name!r}", view) for name, view in app.view_functions.items()
    ]
    for owner, hooks in app.before_request_funcs.items():
        given += [(f"the before_request hook of {owner or app.name!r}", hook) for hook in hooks]
    reached: set[int] = {id(layer) for _, function in given for layer in unwrap(function)}
    all_callbacks = [state.callbacks for state in states(app).values()]
    problems: list[str] = []
    for what, function in given:
        guards = wrappers_of(function, all_callbacks)
        is_public = any(mark.requirement is None for mark in marks_of(function))
        if guards and not is_public and not any(id(guard) in reached for guard in guards):
            name = getattr(function, "__qualname__", repr(function))
            problems.append(
                f"a guard of {name} protects nothing: Flask was given the function inside it as "
                f"{what}. Put the guard below @app.route, next to the function; if it is open on "
                "purpose, mark it with @authx.public."
            )
    return problems


def blueprint_problems(state: AppState) -> Iterator[str]:
    """Problems because of which :meth:`AuthX.blueprint` would not work."""
    app = state.app
    own = [name for name, one in app.blueprints.items() if built_in_owner(one) is state.callbacks]
    needs_sessions = not any(f"{name}.{READY}" in app.view_functions for name in own)
    if own and state.sessions is None and needs_sessions:
        yield (
            f"{state.settings.prefix}SESSIONS must be True: the blueprint {own[0]!r} needs stored "
            "sessions."
        )
    if state.uses_cookies and state.settings.refresh_cookie_path is None:
        try:
            blueprint_path(state)
        except BadConfigurationError as error:
            yield from error.problems
    mine = _routes(state)
    for other in states(app).values():
        if other is not state and mine & _routes(other):
            yield (
                f"the blueprint {own[0]!r} has the same URLs as that of {other.name!r}, whose "
                "views would be called instead: give it another url_prefix."
            )


def missing_user_callback(state: AppState) -> Iterator[str]:
    """The views that are to be closed to deleted users, if no callback loads users."""
    if state.callbacks.load_user is not None:
        return
    for endpoint in state.app.view_functions:
        asked = [requirement for _, requirement, _ in guards_of(state, endpoint)]
        if any(requirement is not None and requirement.user for requirement in asked):
            yield (
                f"the guard of the view {endpoint!r} has user=True, and no callback loads users: "
                "register one with @authx.set_callback_get_model_instance."
            )


def async_socketio_handlers(state: AppState) -> Iterator[str]:
    """Guards on handlers that Flask-SocketIO calls and does not await: nothing in them runs."""
    handlers = [
        (namespace, event, handler)
        for by_namespace in _socketio_handlers(state.app)
        for namespace, by_event in by_namespace.items()
        for event, handler in by_event.items()
        if inspect.iscoroutinefunction(handler)
    ]
    for namespace, event, handler in handlers:
        marks = [mark for mark in marks_of(handler) if mark.callbacks is state.callbacks]
        if any(mark.requirement is not None for mark in marks):
            yield (
                f"a guard of the Flask-SocketIO handler of {event!r} (namespace {namespace!r}) "
                "protects nothing: Flask-SocketIO does not await an async def. Make the handler a "
                "plain function."
            )


_Handlers: TypeAlias = dict[str, dict[str, Any]]


def _socketio_handlers(app: Flask) -> tuple[_Handlers, _Handlers]:
    """What Flask-SocketIO calls, by namespace and event: functions, and methods of classes."""
    server: Any = getattr(app.extensions.get(SOCKETIO), "server", None)
    registered: _Handlers = getattr(server, "handlers", {})
    objects: dict[str, Any] = getattr(server, "namespace_handlers", {})
    functions = {
        # Flask-SocketIO has put a function of its own around each.
        namespace: {event: getattr(one, "__wrapped__", one) for event, one in by_event.items()}
        for namespace, by_event in registered.items()
    }
    methods = {
        namespace: {
            name.removeprefix("on_"): getattr(one, name)
            for name in dir(one)
            if name.startswith("on_")
        }
        for namespace, one in objects.items()
    }
    return functions, methods


def _routes(state: AppState) -> set[tuple[str | None, str | None, str]]:
    """The URLs of an object's blueprints."""
    app = state.app
    return {
        (rule.host, rule.subdomain, rule.rule)
        for rule in app.url_map.iter_rules()
        if built_in_owner(app.view_functions.get(rule.endpoint)) is state.callbacks
    }


def collisions(state: AppState) -> list[str]:
    """Keys, cookies and subjects that an ``AuthX`` object shares with another one of the app."""
    problems: list[str] = []
    prefix = state.settings.prefix
    for other in states(state.app).values():
        if not other.codec.keys.by_kid.keys().isdisjoint(state.codec.keys.by_kid):
            problems.append(
                f"{prefix}*: a key is also one of {other.name!r}: give each AuthX object its own, "
                "or each accepts the tokens of the other."
            )
        if _share_scope(state, other):
            problems.append(
                f"{prefix}STORE_SCOPE is also that of {other.name!r}: a revocation for a user of "
                "one would apply to the user of the other with the same uid. Remove it, so that "
                "each object has a scope of its own."
            )
        mine, others = _cookie_names(state), _cookie_names(other)
        problems += [
            f"{prefix}*_COOKIE_NAME: the cookie {name} is also one of {other.name!r}: give it "
            "another name."
            for name in sorted(mine & others)
        ]
    return problems


def _share_scope(state: AppState, other: AppState) -> bool:
    """Whether two objects have the same lookup keys: in whichever stores, for they may be one."""
    if state.revocations is None or other.revocations is None:
        return False
    mine, others = (
        (one.settings.issuer, one.settings.scope_name(one.name)) for one in (state, other)
    )
    return mine == others


def _cookie_names(state: AppState) -> set[str]:
    if not state.uses_cookies:
        return set()
    profiles = state.settings.profiles.values()
    names = {profile.cookie_name for profile in profiles}
    if state.settings.csrf_in_cookies:
        names.update(profile.csrf_cookie_name for profile in profiles)
    if state.settings.companion_name is not None:
        names.add(state.settings.companion_name)
    return names


# Warnings: the app serves


def _warn(state: AppState) -> None:
    """Log what is dangerous in production, and warn of it."""
    if state.app.debug or state.app.testing:
        return
    for what in (
        *_worker_warnings(state),
        *_cookie_warnings(state),
        *socketio_warnings(state),
    ):
        _log.critical(what)
        # Where warnings are errors it is not one: the log has it, and the app serves.
        with contextlib.suppress(RuntimeWarning):
            warnings.warn(what, RuntimeWarning, stacklevel=2)


def _worker_warnings(state: AppState) -> Iterator[str]:
    """Warn of a store for each of several processes.

    Whether there are several is in the WSGI environ (``wsgi.multiprocess``, PEP 3333).
    """
    if not state.per_process or not this_request().environ.get("wsgi.multiprocess"):
        return
    prefix = state.settings.prefix
    if state.per_process[0] is state.revocations:
        yield (
            f"{prefix}BLOCKLIST keeps revocations in the memory of each process, and there are "
            "several: a token that one of them has revoked is accepted by the others. Name a store "
            "that they share, such as sqlalchemy:// or redis://host/0."
        )
    else:
        yield (
            f"{prefix}SESSIONS keeps sessions in the memory of each process, and there are "
            "several: each refuses the refresh tokens of the others. Give AuthX a store that they "
            "share (sessions=)."
        )


def _cookie_warnings(state: AppState) -> Iterator[str]:
    """Warn of cookies that are sent unencrypted, or with requests from other sites."""
    settings = state.settings
    if not state.uses_cookies:
        return
    if not settings.cookie_secure:
        yield (
            f"{settings.prefix}COOKIE_SECURE is off: browsers send tokens over plain http, where "
            "anyone on the network path can read them. Remove the setting and serve by https."
        )
    if not settings.cookie_csrf_protect and settings.cookie_samesite is SameSite.NONE:
        yield (
            f"{settings.prefix}COOKIE_CSRF_PROTECT is off and {settings.prefix}COOKIE_SAMESITE is "
            "None: a page of any site can send requests in the name of its visitor. Remove one of "
            "the two settings."
        )


def socketio_warnings(state: AppState) -> Iterator[str]:
    """Warn of Flask-SocketIO in an app that is protected as a whole: no hook runs for its events.

    A guard on the connect handlers, or ``public``, says that the app has taken care of it: but not
    on an ``async def``, which Flask-SocketIO does not await.
    """
    rule = rules_for(state.app).get(state.callbacks)
    if SOCKETIO not in state.app.extensions or not (state.settings.protect_all or rule):
        return
    functions, methods = _socketio_handlers(state.app)
    connect = [
        functions.get(namespace, {}).get("connect")
        or functions.get("*", {}).get("connect")
        or methods.get(namespace, {}).get("connect")
        for namespace in {*functions, *methods}
    ]
    if not connect or not all(
        not inspect.iscoroutinefunction(handler)
        and any(mark.callbacks is state.callbacks for mark in marks_of(handler))
        for handler in connect
    ):
        yield (
            "Flask-SocketIO is on, and its events pass no before_request hook: anybody can connect "
            f"although the app is protected ({state.settings.prefix}PROTECT_ALL or "
            "authx.protect(app)). Put @authx.token_required on the connect handler of each "
            "namespace; if it verifies the token itself, mark it with @authx.public."
        )
