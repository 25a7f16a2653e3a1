"""Every route of an app and who guards it, for people and scripts to read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from flask import Flask
from werkzeug.routing import Rule

from flask_authx.app.state import AppState
from flask_authx.enums import OnInvalid
from flask_authx.http.requirement import Requirement

from .rules import ANY_METHOD, BUILT_IN, NOBODY, STATIC, guards_of

#: Who guards what no guard, rule or setting speaks of.


@dataclass(frozen=True, slots=True)
class Guard:
    """What one ``AuthX`` object asks, and who told it to; ``None`` asks nothing."""

    instance: str
    by: str
    requirement: Requirement | None

    def __str__(self) -> str:
        if self.requirement is None:
            return self.by if self.by in (NOBODY, STATIC, BUILT_IN) else f"public ({self.by})"
        return f"{self.by}: {', '.join(_words(self.requirement))}"

    def to_dict(self) -> dict[str, Any]:
        """The guard as JSON; without a requirement only who it is that asks nothing."""
        plain: dict[str, Any] = {"instance": self.instance, "by": self.by}
        if self.requirement is None:
            return plain
        locations = self.requirement.locations
        return {
            **plain,
            "type": self.requirement.type,
            "fresh": self.requirement.fresh,
            "max_age": self.requirement.max_age,
            "scopes": list(self.requirement.scopes),
            "all_scopes": self.requirement.all_scopes,
            "optional": self.requirement.optional,
            "on_invalid": self.requirement.on_invalid,
            "locations": None if locations is None else sorted(locations),
            "check_revocation": self.requirement.check_revocation,
        }


@dataclass(frozen=True, slots=True)
class Route:
    """A rule with those of its methods that are guarded alike."""

    rule: str
    endpoint: str
    methods: tuple[str, ...]
    guards: tuple[Guard, ...]

    @property
    def unguarded(self) -> bool:
        """Whether nobody has said anything about it, not even that it is public."""
        return all(guard.by == NOBODY for guard in self.guards)

    def to_dict(self) -> dict[str, Any]:
        """The route as JSON."""
        return {
            "rule": self.rule,
            "endpoint": self.endpoint,
            "methods": list(self.methods),
            "unguarded": self.unguarded,
            "guards": [guard.to_dict() for guard in self.guards],
        }


def routes_of(app: Flask, looked_at: Iterable[AppState]) -> list[Route]:
    """All routes, sorted, as these ``AuthX`` objects guard them."""
    # Others than Flask itself can put rules on the map; one without a view serves nothing.
    rules = [rule for rule in app.url_map.iter_rules() if rule.endpoint in app.view_functions]
    looked_at = [*looked_at]
    found = [route for rule in rules for route in _routes(looked_at, rule)]
    return sorted(found, key=lambda route: (route.rule, route.methods))


def _routes(looked_at: list[AppState], rule: Rule) -> Iterator[Route]:
    groups: dict[tuple[Guard, ...], list[str]] = {}
    by_method = [(state, _by_method(state, rule.endpoint)) for state in looked_at]
    for method in sorted(_methods(rule)):
        guards = [
            Guard(state.name, who, requirement)
            for state, guards in by_method
            for requirement, who in guards.get(method) or guards.get(ANY_METHOD, [(None, NOBODY)])
        ]
        groups.setdefault(tuple(_telling(guards)), []).append(method)
    host = rule.host or rule.subdomain or ""
    for guards_alike, methods in groups.items():
        if "GET" in methods and "HEAD" in methods:
            methods.remove("HEAD")
        yield Route(host + rule.rule, rule.endpoint, tuple(methods), guards_alike)


def _methods(rule: Rule) -> set[str]:
    methods = set(rule.methods or {ANY_METHOD})
    if getattr(rule, "provide_automatic_options", False):
        # Flask answers it by itself, and no guard is asked.
        methods.discard("OPTIONS")
    return methods


def _by_method(state: AppState, endpoint: str) -> dict[str, list[tuple[Requirement | None, str]]]:
    found: dict[str, list[tuple[Requirement | None, str]]] = {}
    for method, requirement, who in guards_of(state, endpoint):
        found.setdefault(method, []).append((requirement, who))
    return found


def _telling(guards: list[Guard]) -> list[Guard]:
    """Those that count: whatever is asked; else who says that nothing is; else nobody."""
    return (
        [guard for guard in guards if guard.requirement is not None]
        or [guard for guard in guards if guard.by != NOBODY][:1]
        or guards[:1]
    )


def _words(requirement: Requirement) -> Iterator[str]:
    yield f"{requirement.type} token"
    if requirement.optional:
        yield (
            "optional"
            if requirement.on_invalid is OnInvalid.ERROR
            else "optional, bad ones ignored"
        )
    if requirement.fresh:
        yield "fresh" if requirement.max_age is None else f"fresh for {requirement.max_age} s"
    if requirement.scopes:
        yield f"scope {(' and ' if requirement.all_scopes else ' or ').join(requirement.scopes)}"
    if requirement.locations is not None:
        yield f"in {' or '.join(sorted(requirement.locations))}"
    if not requirement.check_revocation:
        yield "revocation not checked"
