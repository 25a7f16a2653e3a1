"""The group ``flask authx``, and what its commands share."""

from __future__ import annotations

import contextlib
import getpass
import json
import platform
from collections.abc import Callable, Generator
from importlib.metadata import version
from typing import Any, TypeAlias

import click
from flask import Flask
from flask.cli import AppGroup, ScriptInfo

from flask_authx.app.state import AppState, states, this_app
from flask_authx.errors import BadConfigurationError, JWTDecodeError, StoreUnavailableError
from flask_authx.signals import Actor
from flask_authx.stores.base import StoreError, UncommittedWritesError

authx: AppGroup = AppGroup(
    "authx",
    help="Keys, settings, guarded routes, tokens, revocations, sessions and a check-up for "
    "Flask-AuthX.",
)
click.version_option(
    version("flask-authx"),
    message=(
        f"Flask-AuthX %(version)s (Flask {version('flask')}, PyJWT {version('pyjwt')}, "
        f"Python {platform.python_version()})"
    ),
)(authx)

_NO_AUTHX = "the app has no AuthX object: call authx.init_app(app) in its set-up"


def load_app(ctx: click.Context) -> Flask:
    """The app.

    :raises BadConfigurationError: if its set-up raises that.
    """
    return ctx.ensure_object(ScriptInfo).load_app()


def selected_states(app: Flask, name: str | None) -> list[AppState]:
    """The ``AuthX`` object of that name, or all objects of the app.

    :raises BadConfigurationError: if the app has none.
    """
    known = states(app)
    if not known:
        raise BadConfigurationError(f"{_NO_AUTHX}.")
    if name is None:
        return [*known.values()]
    if name not in known:
        raise click.BadParameter(
            f"the app has no AuthX object of that name; it has {', '.join(known)}.",
            param_hint="--name",
        )
    return [known[name]]


def selected_state(name: str | None) -> AppState:
    """The ``AuthX`` object of that name, or the only one of the app."""
    known = states(this_app())
    if not known:
        raise click.ClickException(_NO_AUTHX)
    if name is None and len(known) == 1:
        return next(iter(known.values()))
    if name in known:
        return known[name]
    problem = "the app has several AuthX objects"
    if name is not None:
        problem = "the app has no AuthX object of that name"
    raise click.BadParameter(f"{problem}: choose from {', '.join(known)}.", param_hint="--name")


def echo_json(value: Any) -> None:
    """Write JSON to the standard output."""
    click.echo(json.dumps(value, indent=2))


#: A decorator that ``click.option`` returns.
Option: TypeAlias = Callable[[Callable[..., Any]], Callable[..., Any]]

name_option: Option = click.option("--name", help="The AuthX object, if the app has several.")
as_json_option: Option = click.option(
    "--json", "as_json", is_flag=True, help="Write JSON, for scripts."
)


def require_shared_store(state: AppState) -> None:
    """Refuse a store in the memory of this process: servers don't see what is written there."""
    if not state.per_process:
        return
    problem = "BLOCKLIST keeps revocations"
    if state.per_process[0] is not state.revocations:
        problem = "SESSIONS keeps sessions"
    raise click.ClickException(
        f"{state.settings.prefix}{problem} in the memory of each process: this command has its own "
        "memory, which no server sees. Configure a store that all processes share"
    )


class _StoreFailureError(click.ClickException):
    """A store fails; the command may succeed later."""

    exit_code = 3

    def __init__(self, problem: str) -> None:
        super().__init__(f"{problem[:1].upper()}{problem[1:]}. See the line above, and try again.")


@contextlib.contextmanager
def reported_errors() -> Generator[None]:
    """Turn errors into a line of text and the exit code."""
    try:
        yield
    except StoreError as error:
        raise _StoreFailureError(str(error)) from None
    except StoreUnavailableError as error:
        raise _StoreFailureError(error.description or error.message) from None
    except JWTDecodeError as error:
        raise click.ClickException(f"the token is invalid: {error.reason}") from None
    except (UncommittedWritesError, RuntimeError, ValueError) as error:
        raise click.ClickException(str(error)) from None


def system_actor() -> Actor:
    """The actor of a revocation from the command line: ``cli:`` and the system's user, if known."""
    try:
        return Actor(f"cli:{getpass.getuser()}")
    except (OSError, KeyError, ImportError):
        return Actor("cli:")
