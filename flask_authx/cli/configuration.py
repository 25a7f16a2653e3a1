"""``flask authx settings``: the settings in use, and where each comes from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import Field, dataclass, fields
from enum import Enum
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qsl, urlencode

import click

from flask_authx.app.state import AppState
from flask_authx.errors import BadConfigurationError
from flask_authx.settings import parsers
from flask_authx.settings.options import Settings
from flask_authx.settings.reading import AUTHX_NAMES

from .group import as_json_option, authx, echo_json, load_app, selected_states
from .layout import pairs, printable, terminal_width

_HIDDEN = "(hidden)"
_DURATIONS = (parsers.seconds, parsers.positive_duration, parsers.lifetime)
_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingInUse:
    """One setting of one ``AuthX`` object. What is secret is hidden.

    :param value: as JSON.
    :param source: ``config``; ``default``; or ``derived``, by other settings. If the config has it
        under another name, ``config`` with that name.
    """

    instance: str
    name: str
    value: Any
    source: str
    default: Any
    is_duration: bool

    def to_dict(self) -> dict[str, Any]:
        """The setting as JSON; durations are seconds."""
        return {
            "instance": self.instance,
            "name": self.name,
            "value": self.value,
            "source": self.source,
            "default": self.default,
        }

    def text(self) -> str:
        """The value, and in brackets where it comes from."""
        told = self.source
        if self.source != "default":
            told += f"; default: {self._written(self.default)}"
        return f"{self._written(self.value)} ({told})"

    def _written(self, value: Any) -> str:
        if value is None:
            return "none"
        if isinstance(value, list):
            items = cast("list[object]", value)
            return ", ".join(printable(str(item)) for item in items) or "none"
        if self.is_duration:
            return _duration(value)
        return printable(str(value)) or "empty"


@authx.command("settings", with_appcontext=False)
@as_json_option
@click.option("--name", help="Show the settings of this AuthX object only.")
@click.pass_context
def settings(ctx: click.Context, *, as_json: bool, name: str | None) -> None:
    """Show each setting with its value, where that comes from, and its default.

    Keys, secrets and the passwords in URLs are hidden.
    """
    try:
        app_states = selected_states(load_app(ctx), name)
    except BadConfigurationError as error:
        raise click.ClickException(str(error)) from None
    in_use = [one for state in app_states for one in settings_in_use(state)]
    if as_json:
        echo_json([one.to_dict() for one in in_use])
        return
    for line in pairs([(one.name, one.text()) for one in in_use], terminal_width()):
        click.echo(line)


def settings_in_use(state: AppState) -> Iterator[SettingInUse]:
    """The settings of one ``AuthX`` object, in the order of the documentation."""
    for one in fields(Settings):
        if one.init:
            value = getattr(state.settings, one.name)
            yield SettingInUse(
                instance=state.name,
                name=state.settings.prefix + one.name.upper(),
                value=_shown(one, value),
                source=_source(state, one, value),
                default=_shown(one, one.default),
                is_duration=one.metadata["parse"] in _DURATIONS,
            )


def _source(state: AppState, one: Field[Any], value: object) -> str:
    prefix, config = state.settings.prefix, state.initial_config
    if config.get(prefix + one.name.upper()) is not None:
        return "config"
    for theirs, ours in AUTHX_NAMES.items():
        if ours == one.name.upper() and config.get(prefix + theirs) is not None:
            return f"config, as {prefix}{theirs}"
    return "default" if value == one.default else "derived from other settings"


def _shown(one: Field[Any], value: Any) -> Any:
    """A value as JSON, without what is secret."""
    parse = one.metadata["parse"]
    if value is None:
        return None
    if parse is parsers.unchecked:
        # The path of a file with a key is not secret.
        return str(value) if isinstance(value, Path) else _HIDDEN
    if parse is parsers.store_url:
        return without_passwords(value)
    if isinstance(value, frozenset):
        return sorted(map(str, cast("frozenset[object]", value)))
    if parse is parsers.former_places:
        return [
            {name: text for name, text in place._asdict().items() if text is not None}
            for place in cast("tuple[parsers.FormerPlace, ...]", value)
        ]
    if isinstance(value, tuple):
        return [*cast("tuple[str, ...]", value)]
    if isinstance(value, Enum):
        return value.value
    return value if isinstance(value, (str, int, float)) else str(value)


def without_passwords(url: str) -> str:
    """A store's URL, without the passwords before the hosts and in the query."""
    address, mark, query = url.partition("?")
    scheme, _, rest = address.partition("://")
    # An @ in a password should be escaped, and may not be.
    credentials, at, place = rest.rpartition("@")
    if at:
        user, colon, _ = credentials.partition(":")
        credentials = f"{user}:***" if colon else "***"
    options = [
        (name, "***" if "pass" in name.lower() else value)
        for name, value in parse_qsl(query, keep_blank_values=True)
    ]
    return f"{scheme}://{credentials}{at}{place}{mark}{urlencode(options, safe='/:,*')}"


def _duration(seconds: int) -> str:
    """A duration as it is written in a setting, such as ``1h30m``."""
    text = ""
    for unit, size in _UNITS.items():
        number, seconds = divmod(seconds, size)
        text += f"{number}{unit}" if number else ""
    return text or "0s"
