"""Before the first request: whether the app is fit to serve. Then the hook that guards it."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from typing import Any

from flask import Flask

from flask_authx.actions import set_cookies
from flask_authx.app.build import snapshot
from flask_authx.app.registry import chain, maker_of, marks_of, rules_for, serve, wrappers_of
from flask_authx.app.state import AppState, states, this_request
from flask_authx.guards.rules import check_rules

from .enums import SameSite
from .errors import BadConfigurationError

_log = logging.getLogger("flask_authx")


def watch(app: Flask, state: AppState) -> None:
    """Register the before_request hook, which looks the app over at its first request.

    From then on it checks what blueprints and the app ask; where they ask nothing, it goes.
    """

    def authx_rules() -> None:
        if not state.started:
            start(app, state)
            warn_of_workers(app, state)
            warn_of_plain_cookies(app, state)
            warn_of_open_cookies(app, state)
            if not state.has_rules:
                # Flask's call of an idle hook costs as much as finding a token. The list is a new
                # one, since a request may be walking the old.
                hooks = app.before_request_funcs
                hooks[None] = [hook for hook in hooks.get(None, []) if hook is not authx_rules]
        if state.has_rules:
            check_rules(app, state)

    app.before_request(authx_rules)


def problems_of(app: Flask, state: AppState) -> list[str]:
    """Why the app isn't fit to serve. Only a look: nothing is changed."""
    problems = [
        *changed_settings(app, state),
        *misplaced_guards(app),
        *homeless(app, state),
    ]
    if state.settings.implicit_refresh_deltatime is not None and not state.revocable:
        problems.append(
            f"{state.settings.prefix}IMPLICIT_REFRESH_DELTATIME renews tokens for weeks, and there "
            "is neither a store of revocations nor a revocation callback to end that: set "
            f"{state.settings.prefix}BLOCKLIST, or register a callback with "
            "@authx.set_callback_token_blocklist."
        )
    if state.settings.revocation_required and not state.revocable:
        problems.append(
            f"{state.settings.prefix}REVOCATION_REQUIRED is set and there is neither a store of "
            f"revocations nor a revocation callback: set {state.settings.prefix}BLOCKLIST, or "
            "register a callback with @authx.set_callback_token_blocklist."
        )
    return problems


def start(app: Flask, state: AppState) -> None:
    """Let the app serve, if it is fit to.

    :raises BadConfigurationError: with every problem found.
    """
    problems = problems_of(app, state)
    if problems:
        raise BadConfigurationError(problems)
    owners: list[Any] = [app, *app.blueprints.values()]
    serve(state.callbacks, owners)
    state.has_rules = state.settings.protect_all or any(
        state.callbacks in rules_for(owner) for owner in owners
    )
    state.started = True


def warn_of_workers(app: Flask, state: AppState) -> None:
    """Say so loudly if several processes serve, and each keeps revocations to itself.

    The server says whether there are several (``wsgi.multiprocess``, PEP 3333).
    """
    if not state.per_process:
        return
    several = bool(this_request().environ.get("wsgi.multiprocess"))
    if several and not (app.debug or app.testing):
        what = (
            f"{state.settings.prefix}BLOCKLIST keeps revocations in the memory of each process, "
            "and there are several: a token that one of them has revoked is accepted by the "
            "others. Name a store that they share, such as sqlalchemy:// or redis://host/0."
            if state.per_process[0] is state.revocations
            else f"{state.settings.prefix}SESSIONS keeps logins in the memory of each process, and "
            "there are several: each refuses the refresh tokens of the others. Give AuthX a store "
            "that they share (sessions=)."
        )
        _log.critical(what)
        warnings.warn(what, RuntimeWarning, stacklevel=2)


def warn_of_open_cookies(app: Flask, state: AppState) -> None:
    """Say so loudly if any site can act for a user."""
    settings = state.settings
    bare = not settings.cookie_csrf_protect and settings.cookie_samesite is SameSite.NONE
    if settings.uses_cookies and bare and not (app.debug or app.testing):
        what = (
            f"{settings.prefix}COOKIE_CSRF_PROTECT is off and {settings.prefix}COOKIE_SAMESITE is "
            "None: any site can make a browser send requests in its user's name. Remove one of the "
            "two."
        )
        _log.critical(what)
        warnings.warn(what, RuntimeWarning, stacklevel=2)


def warn_of_plain_cookies(app: Flask, state: AppState) -> None:
    """Say so loudly if tokens cross the network in the clear."""
    settings = state.settings
    if settings.uses_cookies and not settings.cookie_secure and not (app.debug or app.testing):
        what = (
            f"{settings.prefix}COOKIE_SECURE is off: browsers send tokens over plain http, where "
            "anybody on the way can read them. Remove the setting and serve by https."
        )
        _log.critical(what)
        warnings.warn(what, RuntimeWarning, stacklevel=2)


def collisions(app: Flask, state: AppState) -> list[str]:
    """What a further ``AuthX`` object must not share with those that the app has."""
    problems: list[str] = []
    prefix = state.settings.prefix
    for other in states(app).values():
        if not other.codec.keys.by_kid.keys().isdisjoint(state.codec.keys.by_kid):
            problems.append(
                f"{prefix}*: a key is also one of {other.name!r}: give each AuthX "
                "object its own, or the tokens of one open the doors of the other."
            )
        if _shares_users(state, other):
            problems.append(
                f"{prefix}ENCODE_ISSUER is that of {other.name!r}, and so is the store: "
                "what is revoked of a user of one is revoked of the other's user of that uid. Give "
                "each object an issuer of its own, or none."
            )
        mine, others = _cookie_names(state), _cookie_names(other)
        problems += [
            f"{prefix}*_COOKIE_NAME: the cookie {name} is one of {other.name!r}, "
            "too: give it another name."
            for name in sorted(mine & others)
        ]
    return problems


def _shares_users(state: AppState, other: AppState) -> bool:
    """Whether two objects find each other's revocations and logins under the same keys."""
    mine, others = state.settings, other.settings
    named = mine.blocklist is not None and not mine.blocklist.startswith("memory:")
    same_store = named and mine.blocklist == others.blocklist
    return same_store and mine.issuer is not None and mine.issuer == others.issuer


def _cookie_names(state: AppState) -> set[str]:
    if not state.settings.uses_cookies:
        return set()
    profiles = state.settings.profiles.values()
    names = {profile.cookie_name for profile in profiles}
    if state.settings.csrf_in_cookies:
        names.update(profile.csrf_cookie_name for profile in profiles)
    return names


def misplaced_guards(app: Flask) -> list[str]:
    """Guards that guard nothing, since Flask was given the function inside them."""
    given: list[tuple[str, Any]] = [
        (f"the view {name!r}", view) for name, view in app.view_functions.items()
    ]
    for owner, hooks in app.before_request_funcs.items():
        given += [(f"the before_request hook of {owner or app.name!r}", hook) for hook in hooks]
    reached: set[int] = {id(function) for _, taken in given for function in chain(taken)}
    all_callbacks = [state.callbacks for state in states(app).values()]
    problems: list[str] = []
    for what, function in given:
        around = wrappers_of(function, all_callbacks)
        is_open = any(mark.requirement is None for mark in marks_of(function))
        if around and not is_open and not any(id(wrapper) in reached for wrapper in around):
            name = getattr(function, "__qualname__", repr(function))
            problems.append(
                f"a guard of {name} protects nothing: Flask was given the function inside it as "
                f"{what}. Put the guard below @app.route, next to the function; if it is open on "
                "purpose, mark it with @authx.public."
            )
    return problems


def homeless(app: Flask, state: AppState) -> Iterator[str]:
    """What keeps a blueprint of ours from working."""
    own = [name for name, one in app.blueprints.items() if maker_of(one) is state.callbacks]
    if own and state.sessions is None:
        yield (
            f"{state.settings.prefix}SESSIONS must be True: the blueprint {own[0]!r} is about "
            "logins that are kept in a store."
        )
    if state.settings.uses_cookies and state.settings.refresh_cookie_path is None:
        try:
            set_cookies.home(app, state)
        except BadConfigurationError as error:
            yield from error.problems
    mine = _own_rules(app, state)
    for other in states(app).values():
        if other is not state and mine & _own_rules(app, other):
            yield (
                f"the blueprint {own[0]!r} is on the path of that of {other.name!r}, "
                "which would answer in its place: give it another url_prefix."
            )


def _own_rules(app: Flask, state: AppState) -> set[tuple[str | None, str | None, str]]:
    """Where the views of an object's blueprints are."""
    return {
        (rule.host, rule.subdomain, rule.rule)
        for rule in app.url_map.iter_rules()
        if maker_of(app.view_functions.get(rule.endpoint)) is state.callbacks
    }


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
