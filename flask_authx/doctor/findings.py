"""What a check-up finds, and what it looks at."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from flask import Flask

from flask_authx.app.state import AppState
from flask_authx.enums import Location
from flask_authx.guards import rules
from flask_authx.settings.options import Settings


class Level(StrEnum):
    """How bad it is, the worst last."""

    OK = "ok"
    HINT = "hint"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found.

    :param about: the setting, or what else it is about.
    :param fix: what to do; empty where the problem says it.
    """

    level: Level
    about: str
    problem: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Subject:
    """What a check looks at: one ``AuthX`` object on its app."""

    app: Flask
    state: AppState

    @property
    def settings(self) -> Settings:
        """Its settings."""
        return self.state.settings

    @property
    def revocable(self) -> bool:
        """Whether anybody can say that a token is revoked."""
        return self.state.revocable

    @property
    def locations(self) -> frozenset[Location]:
        """Where tokens are looked for: by the settings, or by a guard that names it for itself."""
        named = [
            requirement.locations or frozenset()
            for endpoint in self.app.view_functions
            for _, requirement, _ in rules.guards_of(self.state, endpoint)
            if requirement is not None
        ]
        return self.settings.token_location.union(*named)

    def setting(self, name: str) -> str:
        """The name of a setting in the app's config."""
        return self.state.settings.prefix + name
