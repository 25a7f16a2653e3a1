"""What a check receives, and what it reports."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from flask import Flask

from flask_authx.app.state import AppState
from flask_authx.enums import Location, TokenType
from flask_authx.guards import rules
from flask_authx.settings.options import Settings


class Level(StrEnum):
    """How severe a finding is, the most severe last."""

    OK = "ok"
    HINT = "hint"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One problem that a check has found.

    :param about: the name of the setting, or of a package or command.
    :param fix: what to do; empty where the problem includes it.
    """

    level: Level
    about: str
    problem: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Inspected:
    """One ``AuthX`` object on its app: what the checks inspect."""

    state: AppState

    @property
    def app(self) -> Flask:
        """The app of the ``AuthX`` object."""
        return self.state.app

    @property
    def settings(self) -> Settings:
        """The settings of the ``AuthX`` object."""
        return self.state.settings

    @property
    def revocable(self) -> bool:
        """Whether tokens can be revoked: there is a blocklist or a revocation callback."""
        return self.state.revocable

    def unless_development(self, level: Level) -> Level:
        """The level in production; only a hint in debug and testing mode."""
        return Level.HINT if self.app.debug or self.app.testing else level

    @property
    def locations(self) -> frozenset[Location]:
        """Where tokens are looked for: the locations of the settings and those of all guards."""
        of_guards = [
            requirement.locations or frozenset()
            for endpoint in self.app.view_functions
            for _, requirement, _ in rules.guards_of(self.state, endpoint)
            if requirement is not None
        ]
        return self.settings.token_location.union(*of_guards)

    @property
    def guards_refresh_tokens(self) -> bool:
        """Whether a view of the app requires a refresh token."""
        return any(
            requirement is not None and requirement.type is TokenType.REFRESH
            for endpoint in self.app.view_functions
            for _, requirement, _ in rules.guards_of(self.state, endpoint)
        )

    def setting(self, name: str) -> str:
        """The name of a setting in the app's config, with the prefix of this ``AuthX`` object."""
        return self.settings.prefix + name
