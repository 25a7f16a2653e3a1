"""The check-up of an app: what all checks say, for people and scripts to read."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from flask import Flask

from flask_authx.app.state import states
from flask_authx.errors import BadConfigurationError

from .checks import APP_CHECKS, CHECKS, broken
from .findings import Finding, Level, Subject

#: Columns of a terminal, and of what stands to the left of the text.
_WIDTH = 80
_MARGIN = 9


@dataclass(frozen=True, slots=True)
class Entry:
    """What a check has found, or that it is content (``None``).

    :param instance: the name of the ``AuthX`` object; ``None`` if it is about the app as a whole.
    """

    check: str
    instance: str | None
    finding: Finding | None

    @property
    def level(self) -> Level:
        """How bad it is."""
        return self.finding.level if self.finding else Level.OK

    def to_dict(self) -> dict[str, str | None]:
        """The entry as JSON."""
        found = self.finding
        return {
            "level": self.level,
            "check": self.check,
            "instance": self.instance,
            "setting": found.about if found else None,
            "problem": found.problem if found else None,
            "fix": (found.fix or None) if found else None,
        }


def examine(app: Flask) -> list[Entry]:
    """What all checks say of the app and all its ``AuthX`` objects, the worst first."""
    entries = [
        entry for name, check in APP_CHECKS.items() for entry in _entries(name, None, check(app))
    ]
    for instance, state in states(app).items():
        for name, check in CHECKS.items():
            entries += _entries(name, instance, check(Subject(app, state)))
    return sorted(_once(entries), key=lambda entry: [*Level].index(entry.level), reverse=True)


def refused(error: BadConfigurationError) -> list[Entry]:
    """What is to say of an app whose set-up fails: nothing else can be looked at."""
    return [*_entries("set-up", None, broken(error))]


def _entries(check: str, instance: str | None, found: Iterable[Finding]) -> Iterator[Entry]:
    findings: list[Finding | None] = [*found]
    for finding in findings or [None]:
        yield Entry(check, instance, finding)


def _once(entries: list[Entry]) -> Iterator[Entry]:
    """Without what several ``AuthX`` objects suffer from alike, such as a misplaced guard."""
    seen: set[Finding] = set()
    for entry in entries:
        if entry.finding not in seen:
            yield entry
        if entry.finding is not None:
            seen.add(entry.finding)


def report(entries: list[Entry]) -> Iterator[str]:
    """The lines to print, the worst first."""
    for finding in (entry.finding for entry in entries if entry.finding):
        yield f"{finding.level:<{_MARGIN}}{finding.about}"
        yield from _paragraph(finding.problem)
        if finding.fix:
            yield from _paragraph(f"Fix: {finding.fix}")
    troubled = {entry.check for entry in entries if entry.finding}
    content = dict.fromkeys(entry.check for entry in entries if entry.check not in troubled)
    if content:
        yield from _paragraph(", ".join(content), Level.OK)
    levels = [entry.level for entry in entries]
    yield ", ".join(
        f"{level}s: {levels.count(level)}" for level in (Level.ERROR, Level.WARNING, Level.HINT)
    )


def _paragraph(text: str, before: str = "") -> list[str]:
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=f"{before:<{_MARGIN}}",
        subsequent_indent=" " * _MARGIN,
        break_long_words=False,
        break_on_hyphens=False,
    )
