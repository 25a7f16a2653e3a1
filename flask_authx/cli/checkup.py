"""``flask authx routes`` and ``flask authx doctor``: the guards of all routes, and all risks."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator

import click

from flask_authx import startup
from flask_authx.app.state import AppState
from flask_authx.doctor.findings import Level
from flask_authx.doctor.report import examine, report_lines, setup_failure
from flask_authx.errors import BadConfigurationError
from flask_authx.guards.route_table import Route, routes_of

from .group import as_json_option, authx, echo_json, load_app, selected_states

#: The width of a table in columns.
_WIDTH = 80

# routes


@authx.command("routes", with_appcontext=False)
@as_json_option
@click.option("--name", help="Show the guards of this AuthX object only.")
@click.option(
    "--unguarded",
    is_flag=True,
    help="Show only routes without a guard that aren't marked public; the exit code is 1 if there "
    "are any.",
)
@click.pass_context
def routes(ctx: click.Context, *, as_json: bool, name: str | None, unguarded: bool) -> None:
    """Show every route with its guard.

    The exit code is 1 if a guard protects nothing, or if the app would refuse to serve requests.
    """
    found: list[Route] = []
    problems: list[str] = []
    try:
        app = load_app(ctx)
        app_states = selected_states(app, name)
        found = routes_of(app, app_states)
        problems = _startup_problems(app_states)
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


def _startup_problems(app_states: Iterable[AppState]) -> list[str]:
    """Why the app would refuse to serve, without duplicates."""
    problems = [problem for state in app_states for problem in startup.problems_of(state)]
    return [*dict.fromkeys(problems)]


def table(found: list[Route]) -> Iterator[str]:
    """The lines of a table, at most 80 columns wide unless a single word is longer."""
    several = len({guard.instance for route in found for guard in route.guards}) > 1
    rows = [("Rule", "Methods", "Guarded by")]
    for route in found:
        guards = [
            f"{guard} [{guard.instance}]" if several else str(guard) for guard in route.guards
        ]
        if route.around_guards:
            guards.append(f"inside {', '.join(route.around_guards)}")
        rows.append((route.rule, " ".join(route.methods), "; ".join(guards)))
    # A longer rule gets a line of its own, so that the other columns keep their width.
    first = min(max(len(row[0]) for row in rows), _WIDTH // 3)
    second = min(max(len(row[1]) for row in rows), _WIDTH // 3)
    for rule, methods, guarded_by in rows:
        cell = rule
        if len(rule) > first:
            yield rule
            cell = ""
        lines = textwrap.wrap(guarded_by, _WIDTH - first - second - 4, break_long_words=False)
        yield f"{cell:<{first}}  {methods:<{second}}  {lines[0]}"
        for line in lines[1:]:
            yield f"{'':<{first + second + 4}}{line}"


# doctor


@authx.command("doctor", with_appcontext=False)
@as_json_option
@click.pass_context
def doctor(ctx: click.Context, *, as_json: bool) -> None:
    """Check the app's settings and stores, and list problems and risks.

    The exit code is 1 if there is an error. Warnings and hints do not change it.
    """
    try:
        app = load_app(ctx)
        selected_states(app, None)
        results = examine(app)
    except BadConfigurationError as error:
        results = setup_failure(error)
    if as_json:
        echo_json([result.to_dict() for result in results])
    else:
        for line in report_lines(results):
            click.echo(line)
    ctx.exit(1 if any(result.level is Level.ERROR for result in results) else 0)
