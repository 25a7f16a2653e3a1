"""Runs all checks on an app, and formats the results for people and scripts."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from flask import Flask

from flask_authx.app.state import states
from flask_authx.errors import BadConfigurationError

from .checks import APP_CHECKS, CHECKS, configuration_problems
from .findings import Finding, Inspected, Level

#: The width of the report in columns, and of the column for the level.
_WIDTH = 80
_MARGIN = 9


@dataclass(frozen=True, slots=True)
class CheckResult:
    """A finding of a check, or ``None`` if the check has found no problem.

    :param instance: the name of the ``AuthX`` object; ``None`` for a check of the whole app.
    """

    check: str
    instance: str | None
    finding: Finding | None

    @property
    def level(self) -> Level:
        """How severe the finding is."""
        return self.finding.level if self.finding else Level.OK

    def to_dict(self) -> dict[str, str | None]:
        """The result as JSON."""
        finding = self.finding
        return {
            "level": self.level,
            "check": self.check,
            "instance": self.instance,
            "setting": finding.about if finding else None,
            "problem": finding.problem if finding else None,
            "fix": (finding.fix or None) if finding else None,
        }


def examine(app: Flask) -> list[CheckResult]:
    """The results of all checks on the app and its ``AuthX`` objects, the most severe first."""
    results: list[CheckResult] = []
    for name, app_check in APP_CHECKS.items():
        results += _results(name, None, app_check(app))
    for instance, state in states(app).items():
        for name, check in CHECKS.items():
            results += _results(name, instance, check(Inspected(state)))
    levels = [*Level]
    return sorted(
        _without_duplicates(results), key=lambda result: levels.index(result.level), reverse=True
    )


def setup_failure(error: BadConfigurationError) -> list[CheckResult]:
    """The results for an app whose set-up fails, so that no check can run."""
    return _results("set-up", None, configuration_problems(error))


def _results(check: str, instance: str | None, findings: Iterable[Finding]) -> list[CheckResult]:
    results = [CheckResult(check, instance, finding) for finding in findings]
    return results or [CheckResult(check, instance, None)]


def _without_duplicates(results: Iterable[CheckResult]) -> Iterator[CheckResult]:
    """Each finding once, although several ``AuthX`` objects report a misplaced guard, say."""
    seen: set[Finding] = set()
    for result in results:
        if result.finding not in seen:
            yield result
        if result.finding is not None:
            seen.add(result.finding)


def report_lines(results: list[CheckResult]) -> Iterator[str]:
    """The lines to print: each finding, the checks without one, and how many of each level."""
    for finding in (result.finding for result in results if result.finding):
        yield f"{finding.level:<{_MARGIN}}{finding.about}"
        yield from _paragraph(finding.problem)
        if finding.fix:
            yield from _paragraph(f"Fix: {finding.fix}")
    failed = {result.check for result in results if result.finding}
    passed = dict.fromkeys(result.check for result in results if result.check not in failed)
    if passed:
        yield from _paragraph(", ".join(passed), Level.OK)
    levels = [result.level for result in results]
    yield ", ".join(
        f"{level}s: {levels.count(level)}" for level in (Level.ERROR, Level.WARNING, Level.HINT)
    )


def _paragraph(text: str, margin: str = "") -> list[str]:
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=f"{margin:<{_MARGIN}}",
        subsequent_indent=" " * _MARGIN,
        break_long_words=False,
        break_on_hyphens=False,
    )
