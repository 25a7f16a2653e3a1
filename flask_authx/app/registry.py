"""The record of what is guarded: marks on views, rules of blueprints and apps.

Kept beside the functions, in weak registries, and not on them: a wrapper's attributes are copied by
``functools.wraps``, its identity isn't.
"""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary, WeakSet, ref

from flask import Blueprint, Flask, has_request_context

from flask_authx.http.callbacks import Callbacks
from flask_authx.http.requirement import Requirement

Rules: TypeAlias = "WeakKeyDictionary[Callbacks, Requirement | None]"


@dataclass(frozen=True, slots=True, eq=False)
class Mark:
    """What an ``AuthX`` object knows of a view: its requirement, or ``None`` if it is public."""

    callbacks: Callbacks
    requirement: Requirement | None


#: By the function or view class that carries them, innermost first.
_marks: WeakKeyDictionary[Any, list[Mark]] = WeakKeyDictionary()
#: By the function that was wrapped: the guards around it, which may be gone, and whose they are.
_wrappers: WeakKeyDictionary[Any, list[tuple[ref[Any], Callbacks]]] = WeakKeyDictionary()
#: By app or blueprint.
_rules: WeakKeyDictionary[Any, Rules] = WeakKeyDictionary()
#: By app or blueprint: the objects by whose rules requests have been answered.
_serving: WeakKeyDictionary[Any, WeakSet[Callbacks]] = WeakKeyDictionary()
#: The blueprints that ``AuthX`` objects have made, and their views, and whose each is.
_made: WeakKeyDictionary[Any, Callbacks] = WeakKeyDictionary()


def mark(callbacks: Callbacks, requirement: Requirement, outer: Any, view: Any) -> None:
    """Note that a function guards what it wraps."""
    _marks.setdefault(outer, []).append(Mark(callbacks, requirement))
    if not has_request_context():
        # One that is made while serving can't have been routed above, and would never be forgotten.
        for inner in filter(_is_definition, chain(view)):
            _wrappers.setdefault(inner, []).append((ref(outer), callbacks))


def mark_public(callbacks: Callbacks, target: Any) -> None:
    """Mark a view, a view class or a blueprint as public."""
    if isinstance(target, Blueprint):
        add_rule(callbacks, target, None)
    elif _is_definition(target := getattr(target, "__func__", target)):
        _marks.setdefault(target, []).append(Mark(callbacks, None))
    else:
        raise TypeError("@authx.public goes on a view function, a view class or a blueprint")


def add_rule(callbacks: Callbacks, target: object, requirement: Requirement | None) -> None:
    """Set what the hook asks for all views of an app or a blueprint; ``None`` is nothing."""
    if not isinstance(target, (Flask, Blueprint)):
        raise TypeError("authx.protect takes an app or a blueprint; a view gets a guard of its own")
    rules = _rules.setdefault(target, WeakKeyDictionary())
    # A factory may say the same again for each app that it makes.
    said = callbacks in rules and rules[callbacks] == requirement
    if not said and callbacks in _serving.get(target, ()):
        raise RuntimeError(
            "the app has already answered a request: call authx.protect or authx.public before"
        )
    rules[callbacks] = requirement


def made_by(callbacks: Callbacks, made: Blueprint | Callable[..., Any]) -> None:
    """Note whose a blueprint or a view is. No object's rules are for such a view."""
    _made[made] = callbacks


def maker_of(target: object) -> Callbacks | None:
    """Whose ``AuthX`` object's a blueprint or a view is; ``None`` for one of the app's."""
    try:
        return _made.get(target)
    except TypeError:
        # A view of the app that can't be hashed or referred to weakly.
        return None


def serve(callbacks: Callbacks, targets: Iterable[Flask | Blueprint]) -> None:
    """Take no other rules for these: requests have been answered by those that there are."""
    for target in targets:
        _serving.setdefault(target, WeakSet()).add(callbacks)


def rules_for(target: object) -> Rules:
    """The rules of an app or blueprint, by ``AuthX`` object."""
    return _rules.get(target, WeakKeyDictionary())


def marks_of(view: Any) -> Iterator[Mark]:
    """What has been said about a view or a view class, by any ``AuthX`` object, outermost first."""
    for function in filter(_is_definition, chain(view)):
        yield from reversed(_marks.get(function, []))


def wrappers_of(function: Any, all_callbacks: Iterable[Callbacks]) -> list[Any]:
    """The guards that these objects put around a function; ``None`` for one that is gone."""
    inner = next(filter(_is_definition, chain(function)), None)
    made = [] if inner is None else _wrappers.get(inner, [])
    return [wrapper() for wrapper, callbacks in made if callbacks in all_callbacks]


def _is_definition(target: object) -> bool:
    """Whether this is a function or a class; other callables can be equal and not the same."""
    return inspect.isfunction(target) or inspect.isclass(target)


#: Where a callable keeps what it was made of.
_INSIDE: dict[type, str] = {functools.partial: "func", types.MethodType: "__func__"}


def chain(view: Any) -> Iterator[Any]:
    """A function and all that it wraps, binds or completes, outermost first."""
    seen: set[int] = set()
    while view is not None and id(view) not in seen:
        seen.add(id(view))
        yield view
        view = getattr(view, _INSIDE.get(view.__class__, "__wrapped__"), None)
