"""The registry of guarded and public views, and of the rules of blueprints and apps.

Views are the keys of weak dictionaries, and get no attributes: ``functools.wraps`` would copy those
to functions that have no guard.
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

from flask_authx.enums import Location
from flask_authx.http.callbacks import Callbacks
from flask_authx.http.requirement import Requirement

Rules: TypeAlias = "WeakKeyDictionary[Callbacks, Requirement | None]"


@dataclass(frozen=True, slots=True, eq=False)
class Mark:
    """The requirement of a guard on a view, or ``None`` if the view is marked as public."""

    callbacks: Callbacks
    requirement: Requirement | None


#: By function or view class, innermost first.
_marks: WeakKeyDictionary[Any, list[Mark]] = WeakKeyDictionary()
#: By the function that was wrapped: the guards around it, if they still exist.
_wrappers: WeakKeyDictionary[Any, list[tuple[ref[Any], Callbacks]]] = WeakKeyDictionary()
#: By app or blueprint.
_rules: WeakKeyDictionary[Any, Rules] = WeakKeyDictionary()
#: By app or blueprint: the ``AuthX`` objects whose rules can no longer be changed.
_frozen: WeakKeyDictionary[Any, WeakSet[Callbacks]] = WeakKeyDictionary()
#: By blueprint of :meth:`AuthX.blueprint`, and by its views: the ``AuthX`` object.
_built_in: WeakKeyDictionary[Any, Callbacks] = WeakKeyDictionary()


def mark_guarded(
    callbacks: Callbacks, requirement: Requirement, guarded: Callable[..., Any], view: Any
) -> None:
    """Register a guard.

    :param guarded: the function that checks requests, and then calls the view.
    """
    _note_cookies(callbacks, requirement)
    _marks.setdefault(guarded, []).append(Mark(callbacks, requirement))
    if not has_request_context():
        # A guard that is made during a request is not registered: Flask can't have been given the
        # function inside it by mistake, and the lists would grow with each request.
        for inner in filter(_is_definition, unwrap(view)):
            _wrappers.setdefault(inner, []).append((ref(guarded), callbacks))


def mark_public(callbacks: Callbacks, target: Any) -> None:
    """Mark a view, a view class or a blueprint as public."""
    if isinstance(target, Blueprint):
        add_rule(callbacks, target, None)
    elif _is_definition(target := getattr(target, "__func__", target)):
        _marks.setdefault(target, []).append(Mark(callbacks, None))
    else:
        raise TypeError("@authx.public goes on a view function, a view class or a blueprint")


def add_rule(callbacks: Callbacks, target: object, requirement: Requirement | None) -> None:
    """Set what the hook requires for all views of an app or a blueprint.

    :param requirement: ``None`` makes them public.
    :raises RuntimeError: if the app has already responded to a request.
    """
    if not isinstance(target, (Flask, Blueprint)):
        raise TypeError("authx.protect takes an app or a blueprint: decorate a view with a guard")
    rules = _rules.setdefault(target, WeakKeyDictionary())
    # A factory may repeat the rules of a blueprint for each app that it makes.
    unchanged = callbacks in rules and rules[callbacks] == requirement
    if not unchanged and callbacks in _frozen.get(target, ()):
        raise RuntimeError(
            "the app has already responded to a request: call authx.protect or authx.public before"
        )
    rules[callbacks] = requirement
    if requirement is not None:
        _note_cookies(callbacks, requirement)


def _note_cookies(callbacks: Callbacks, requirement: Requirement) -> None:
    """Note a guard that looks for tokens in cookies: new tokens need a CSRF value for it."""
    if Location.COOKIES in (requirement.locations or ()):
        callbacks.guards_cookies = True


def mark_built_in(callbacks: Callbacks, target: Blueprint | Callable[..., Any]) -> None:
    """Register a blueprint of :meth:`AuthX.blueprint`, or a view of it, to which no rules apply."""
    _built_in[target] = callbacks


def built_in_owner(target: object) -> Callbacks | None:
    """The ``AuthX`` object of such a blueprint or view; ``None`` for any other."""
    try:
        return _built_in.get(target)
    except TypeError:
        # A view of the app that can't be hashed, or can't be a weak reference.
        return None


def freeze_rules(callbacks: Callbacks, targets: Iterable[Flask | Blueprint]) -> None:
    """Allow no further change of these rules: the app begins to respond to requests."""
    for target in targets:
        _frozen.setdefault(target, WeakSet()).add(callbacks)


def rules_for(target: object) -> Rules:
    """The rules of an app or blueprint, by ``AuthX`` object."""
    return _rules.get(target, WeakKeyDictionary())


def marks_of(view: Any) -> Iterator[Mark]:
    """The marks of a view or a view class, of all ``AuthX`` objects, outermost first."""
    for function in filter(_is_definition, unwrap(view)):
        yield from reversed(_marks.get(function, []))


def wrappers_of(function: Any, all_callbacks: Iterable[Callbacks]) -> list[Any]:
    """The guards of these objects around a function; ``None`` for one that no longer exists."""
    inner = next(filter(_is_definition, unwrap(function)), None)
    wrappers = [] if inner is None else _wrappers.get(inner, [])
    return [wrapper() for wrapper, callbacks in wrappers if callbacks in all_callbacks]


@dataclass(frozen=True, slots=True)
class Around:
    """Stands for the function that a decorator will put around a view, when a request comes."""

    decorator: Any
    #: What is inside it is not known before.
    __wrapped__: None = None


def functions_around_guards(called: Iterable[Any]) -> list[str]:
    """The names of the functions around a view's guards, each of which can respond without them.

    :param called: what a request passes through, the outermost first.
    """
    layers = [layer for target in called for layer in unwrap(target)]
    guards = [number for number, layer in enumerate(layers) if _is_guard(layer)]
    around = layers[: guards[-1]] if guards else []
    names = [qualified_name(layer) for layer in around if _is_wrapper(layer)]
    return [name for name in dict.fromkeys(names) if name not in _RENDERERS]


#: What these frameworks put around each resource, to render what it returns.
_RENDERERS = frozenset({"flask_restful.Api.output", "flask_restx.api.Api.output"})


def _is_guard(layer: Any) -> bool:
    return _is_definition(layer) and any(mark.requirement for mark in _marks.get(layer, ()))


def _is_wrapper(layer: Any) -> bool:
    """Whether this is a function around another one, and neither a guard nor ours."""
    wraps = layer.__class__ not in _INNER and hasattr(layer, "__wrapped__")
    return wraps and not _is_guard(layer) and built_in_owner(layer) is None


def qualified_name(function: Any) -> str:
    """Where a function is defined: its module, and the class or function around it.

    ``functools.wraps`` gives a wrapper the names of the function inside it, but not its code.
    """
    if isinstance(function, Around):
        layers = unwrap(function.decorator)
        function = next(layer for layer in layers if layer.__class__ not in _INNER)
    if inspect.isfunction(function):
        outer = function.__code__.co_qualname.partition(".<locals>")[0]
        return f"{function.__globals__['__name__']}.{outer}"
    kind: type = function.__class__
    return f"{kind.__module__}.{kind.__qualname__}"


def _is_definition(target: object) -> bool:
    """Whether this is a function or a class. Two other callables can be equal, and share a key."""
    return inspect.isfunction(target) or inspect.isclass(target)


#: The attribute with the function inside, by type; ``__wrapped__`` for any other.
_INNER: dict[type, str] = {functools.partial: "func", types.MethodType: "__func__"}


def unwrap(view: Any) -> Iterator[Any]:
    """A view and the functions inside it, outermost first: wrapped, bound to an object, partial."""
    seen: set[int] = set()
    while view is not None and id(view) not in seen:
        seen.add(id(view))
        yield view
        view = getattr(view, _INNER.get(view.__class__, "__wrapped__"), None)
