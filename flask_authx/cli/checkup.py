"""``flask authx routes`` and ``flask authx doctor``: who guards what, and what is risky."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator

import click

from flask_authx import startup
from flask_authx.app.state import AppState
from flask_authx.doctor import report
from flask_authx.doctor.findings import Level
from flask_authx.errors import BadConfigurationError
from flask_authx.guards.routes import Route, routes_of

from .group import authx, chosen_states, echo_json, load_app

# routes


@authx.command("routes", with_appcontext=False)
@click.option("--json", "as_json", is_flag=True, help="Write JSON, for scripts.")
@click.option("--name", help="Show the guards of this AuthX object only.")
@click.option(
    "--unguarded", is_flag=True, help="Show only what nobody guards; fails if there is any."
)
@click.pass_context
def routes(ctx: click.Context, *, as_json: bool, name: str | None, unguarded: bool) -> None:
    """Show every route and who guards it.

    Fails if a guard protects nothing, or if the app would not serve for another reason.
    """
    found: list[Route] = []
    problems: list[str] = []
    try:
        app = load_app(ctx)
        looked_at = chosen_states(app, name)
        found = routes_of(app, looked_at)
        problems = _audit(looked_at)
    except BadConfigurationError as error:
        problems = [*error.problems]
    if unguarded:
        found = [route for route in found if route.unguarded]
    if as_json:
        echo_json({"problems": problems, "routes": [route.to_dict() for route in found]})
    else:
        for line in table(found):
            click.echo(line)
        for problem in problems:
            click.echo(f"Error: {problem}", err=True)
    ctx.exit(1 if problems or (unguarded and found) else 0)


def _audit(looked_at: Iterable[AppState]) -> list[str]:
    """Why the app would not serve, each reason once."""
    problems: dict[str, None] = {}
    for state in looked_at:
        problems.update(dict.fromkeys(startup.problems_of(state)))
    return [*problems]


# doctor


@authx.command("doctor", with_appcontext=False)
@click.option("--json", "as_json", is_flag=True, help="Write JSON, for scripts.")
@click.pass_context
def check_up(ctx: click.Context, *, as_json: bool) -> None:
    """Look for what is risky, missing or left over in the app's settings.

    Fails if there is an error. Warnings and hints are for you to weigh.
    """
    try:
        app = load_app(ctx)
        chosen_states(app, None)
        entries = report.examine(app)
    except BadConfigurationError as error:
        entries = report.setup_failure(error)
    if as_json:
        echo_json([entry.to_dict() for entry in entries])
    else:
        for line in report.report_lines(entries):
            click.echo(line)
    ctx.exit(1 if any(entry.level is Level.ERROR for entry in entries) else 0)


#: Columns of a terminal.
_WIDTH = 80


def table(found: list[Route]) -> Iterator[str]:
    """The lines of a table, 80 columns wide as far as that can be."""
    several = len({guard.instance for route in found for guard in route.guards}) > 1
    cells = [
        (
            route.rule,
            " ".join(route.methods),
            "; ".join(
                f"{guard} [{guard.instance}]" if several else str(guard) for guard in route.guards
            ),
        )
        for route in found
    ]
    rows = [("Rule", "Methods", "Guarded by"), *cells]
    # A longer rule stands on a line of its own, so that one doesn't push all others to the right.
    first = min(max(len(row[0]) for row in rows), _WIDTH // 3)
    second = min(max(len(row[1]) for row in rows), _WIDTH // 3)
    for rule, methods, guards in rows:
        if len(rule) > first:
            yield rule
        lines = textwrap.wrap(guards, _WIDTH - first - second - 4, break_long_words=False)
        shown = "" if len(rule) > first else rule
        yield f"{shown:<{first}}  {methods:<{second}}  {lines[0]}"
        for line in lines[1:]:
            yield f"{'':<{first + second + 4}}{line}"
