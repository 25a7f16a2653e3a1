"""The group ``flask authx``, and what its commands share."""

from __future__ import annotations

import contextlib
import getpass
import json
from collections.abc import Callable, Generator
from typing import Any, TypeAlias

import click
from flask import Flask
from flask.cli import AppGroup, ScriptInfo

from flask_authx.app.state import EXTENSION, AppState, this_app
from flask_authx.errors import BadConfigurationError, JWTDecodeError, StoreUnavailableError
from flask_authx.stores.base import StoreError, UncommittedWritesError

authx: AppGroup = AppGroup(
    "authx", help="Keys, guarded routes, revocations, logins and a check-up for Flask-AuthX."
)


def load_app(ctx: click.Context) -> Flask:
    """The app.

    :raises BadConfigurationError: if its set-up fails with that.
    """
    return ctx.ensure_object(ScriptInfo).load_app()


def chosen_states(app: Flask, name: str | None) -> list[AppState]:
    """The app's ``AuthX`` objects, or the one of that name."""
    known: dict[str, AppState] = app.extensions.get(EXTENSION, {})
    if not known:
        raise BadConfigurationError(
            f"the app {app.name!r} has no AuthX object: call authx.init_app(app) in its set-up."
        )
    if name is not None and name not in known:
        raise click.BadParameter(
            f"the app has no AuthX object of that name; it has {', '.join(known)}.",
            param_hint="--name",
        )
    return [state for key, state in known.items() if name in (None, key)]


def echo_json(value: Any) -> None:
    """Write JSON to the standard output."""
    click.echo(json.dumps(value, indent=2))


#: What ``click.option`` makes.
Option: TypeAlias = Callable[[Callable[..., Any]], Callable[..., Any]]

name_option: Option = click.option("--name", help="The AuthX object, if the app has several.")
as_json_option: Option = click.option(
    "--json", "as_json", is_flag=True, help="Write JSON, for scripts."
)


def chosen(name: str | None) -> AppState:
    """The ``AuthX`` object of that name, or the app's only one."""
    known: dict[str, AppState] = this_app().extensions.get(EXTENSION, {})
    if not known:
        raise click.ClickException(
            "the app has no AuthX object: call authx.init_app(app) in its set-up"
        )
    if name is None and len(known) == 1:
        return next(iter(known.values()))
    if name not in known:
        problem = "the app has several AuthX objects" if name is None else "there is none so named"
        raise click.BadParameter(f"{problem}: choose from {', '.join(known)}.", param_hint="--name")
    return known[name]


def shared(state: AppState) -> AppState:
    """Refuse to work on a store that ends with this command."""
    if state.per_process:
        what = "BLOCKLIST keeps revocations"
        if state.per_process[0] is not state.revocations:
            what = "SESSIONS keeps logins"
        raise click.ClickException(
            f"{state.settings.prefix}{what} in the memory of each process: "
            "this command has a memory of its own, and no server sees it. Name a store that they "
            "share"
        )
    return state


class _UnavailableError(click.ClickException):
    """The store fails; perhaps not the next time."""

    exit_code = 3


@contextlib.contextmanager
def failures() -> Generator[None]:
    """Say what went wrong in a line, and end with the code for it."""
    try:
        yield
    except (StoreError, StoreUnavailableError) as error:
        what = getattr(error, "description", None) or str(error)
        what = f"{what[:1].upper()}{what[1:]}. See the line above, and try again."
        raise _UnavailableError(what) from None
    except JWTDecodeError as error:
        raise click.ClickException(f"that is no good token: {error.reason}") from None
    except (UncommittedWritesError, RuntimeError, ValueError) as error:
        raise click.ClickException(str(error)) from None


def user() -> str:
    """Who runs the command, as far as the system knows."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "unknown"
