"""The routes of an app with their guards, for ``flask authx routes`` and ``doctor``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from flask import Flask
from werkzeug.routing import Rule

from flask_authx.app.state import AppState
from flask_authx.app.view_registry import functions_around_guards
from flask_authx.enums import OnInvalid
from flask_authx.http.requirement import Requirement

from .rules import ANY_METHOD, BUILT_IN, STATIC, UNGUARDED, called_by_method, guards_of


@dataclass(frozen=True, slots=True)
class Guard:
    """The requirement of one ``AuthX`` object for a route.

    :param by: what sets the requirement: the view, a blueprint, the app or a setting.
    :param requirement: ``None`` if no token is required.
    """

    instance: str
    by: str
    requirement: Requirement | None

    def __str__(self) -> str:
        if self.requirement is None:
            return self.by if self.by in (UNGUARDED, STATIC, BUILT_IN) else f"public ({self.by})"
        return f"{self.by}: {', '.join(_conditions(self.requirement))}"

    def to_dict(self) -> dict[str, Any]:
        """The guard as JSON: without a requirement only ``instance`` and ``by``."""
        requirement = self.requirement
        if requirement is None:
            return {"instance": self.instance, "by": self.by}
        locations = requirement.locations
        return {
            "instance": self.instance,
            "by": self.by,
            "type": requirement.type,
            "fresh": requirement.fresh,
            "max_age": requirement.max_age,
            "scopes": list(requirement.scopes),
            "all_scopes": requirement.all_scopes,
            "optional": requirement.optional,
            "on_invalid": requirement.on_invalid,
            "locations": None if locations is None else sorted(locations),
            "check_revocation": requirement.check_revocation,
            "user": requirement.user,
        }


@dataclass(frozen=True, slots=True)
class Route:
    """A URL rule, with those of its methods that have the same guards.

    :param around_guards: the functions around the view's guards, which can respond without them.
    """

    rule: str
    endpoint: str
    methods: tuple[str, ...]
    guards: tuple[Guard, ...]
    around_guards: tuple[str, ...] = ()

    @property
    def unguarded(self) -> bool:
        """Whether the route has no guard and is not marked as public either."""
        return all(guard.by == UNGUARDED for guard in self.guards)

    def to_dict(self) -> dict[str, Any]:
        """The route as JSON."""
        return {
            "rule": self.rule,
            "endpoint": self.endpoint,
            "methods": list(self.methods),
            "unguarded": self.unguarded,
            "guards": [guard.to_dict() for guard in self.guards],
            "around_guards": list(self.around_guards),
        }


def routes_of(app: Flask, app_states: Iterable[AppState]) -> list[Route]:
    """All routes with the guards of these ``AuthX`` objects, sorted by rule."""
    app_states = [*app_states]
    # Rules can be added to the map without a view; they serve nothing.
    rules = [rule for rule in app.url_map.iter_rules() if rule.endpoint in app.view_functions]
    routes = [route for rule in rules for route in _routes(app, app_states, rule)]
    return sorted(routes, key=lambda route: (route.rule, route.methods))


def _routes(app: Flask, app_states: list[AppState], rule: Rule) -> Iterator[Route]:
    """The routes of a rule: one for each set of guards and of functions around them."""
    found: dict[tuple[tuple[Guard, ...], tuple[str, ...]], list[str]] = {}
    by_state = [(state, _guards_by_method(state, rule.endpoint)) for state in app_states]
    outer = {
        method: (*functions_around_guards(called),)
        for method, called in called_by_method(app, rule.endpoint)
    }
    for method in sorted(_methods(rule)):
        guards = [
            Guard(state.name, by, requirement)
            for state, by_method in by_state
            for requirement, by in by_method.get(method)
            or by_method.get(ANY_METHOD, [(None, UNGUARDED)])
        ]
        around = outer.get(method, outer[ANY_METHOD])
        found.setdefault((_effective_guards(guards), around), []).append(method)
    host = rule.host or rule.subdomain or ""
    for (effective, around), methods in found.items():
        if "GET" in methods and "HEAD" in methods:
            methods.remove("HEAD")
        yield Route(host + rule.rule, rule.endpoint, tuple(methods), effective, around)


def _methods(rule: Rule) -> set[str]:
    methods = set(rule.methods or {ANY_METHOD})
    if getattr(rule, "provide_automatic_options", False):
        # Flask responds itself, without the guards.
        methods.discard("OPTIONS")
    return methods


def _guards_by_method(
    state: AppState, endpoint: str
) -> dict[str, list[tuple[Requirement | None, str]]]:
    by_method: dict[str, list[tuple[Requirement | None, str]]] = {}
    for method, requirement, by in guards_of(state, endpoint):
        by_method.setdefault(method, []).append((requirement, by))
    return by_method


def _effective_guards(guards: list[Guard]) -> tuple[Guard, ...]:
    """The guards that decide: all with a requirement, else one that makes the route public."""
    required = [guard for guard in guards if guard.requirement is not None]
    public = [guard for guard in guards if guard.by != UNGUARDED]
    return tuple(required or public[:1] or guards[:1])


def _conditions(requirement: Requirement) -> Iterator[str]:
    yield f"{requirement.type} token"
    if requirement.optional and requirement.on_invalid is OnInvalid.ERROR:
        yield "optional"
    elif requirement.optional:
        yield "optional, invalid ones ignored"
    if requirement.fresh:
        yield "fresh" if requirement.max_age is None else f"fresh for {requirement.max_age} s"
    if requirement.scopes:
        operator = " and " if requirement.all_scopes else " or "
        yield f"scope {operator.join(requirement.scopes)}"
    if requirement.locations is not None:
        yield f"in {' or '.join(sorted(requirement.locations))}"
    if requirement.user:
        yield "its user exists"
    if not requirement.check_revocation:
        yield "revocation not checked"
