"""The parts of the reference that are written from the code: settings, errors, values, answers.

``authx-settings``
    A table of the settings from the named one to the next blank line in ``settings/options.py``.
``authx-errors``
    Every error class, in the order of ``errors.py``.
``authx-members``
    The members of an enum, each with its ``#:`` comment.
``authx-data``
    A module's variables, each with its ``#:`` comment.
``authx-answer``
    An error as the client gets it.
``authx-command``
    The help of a command.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import fields
from importlib import import_module
from pathlib import Path

import click
from comments import Comment, comments_of
from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.addnodes import desc_parameter, desc_sig_name, pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_id, make_refnode

import flask_authx
from flask_authx import (
    AuthXException,
    InsufficientScopeError,
    cli,
    errors,
)
from flask_authx.errors import CrossOriginError, CSRFError
from flask_authx.http import requirement
from flask_authx.settings import options as settings
from flask_authx.settings import parsers
from flask_authx.settings.options import Settings

_log = logging.getLogger(__name__)
_SHOWN = "authx_settings_shown"


def blocks() -> dict[str, list[Comment]]:
    """The settings with their comments, a block between two blank lines each, by its first one."""
    found: dict[str, list[Comment]] = {}
    block: list[Comment] = []
    readable = {one.name for one in fields(Settings) if one.init}
    for comment in comments_of(settings, "Settings"):
        if comment.name not in readable:
            continue
        if comment.after_blank or not block:
            block = found.setdefault(setting_name(comment.name), [])
        block.append(comment)
    return found


def setting_name(field_name: str) -> str:
    """What a field of ``Settings`` is called in ``app.config``."""
    return "JWT_" + field_name.upper()


def default_of(field_name: str) -> str:
    """A setting's default as reStructuredText."""
    one = next(one for one in fields(Settings) if one.name == field_name)
    if not one.repr or one.default in (None, frozenset()):
        return "none"
    if one.metadata["parse"] in (parsers.lifetime, parsers.seconds):
        return duration(one.default)
    if one.metadata["parse"] is parsers.timeout:
        return f"{one.default:g} seconds"
    if field_name == "cache_size":
        return f"{one.default // 1024**2} MiB"
    if isinstance(one.default, frozenset):
        return ", ".join(f"``{item}``" for item in sorted(one.default))
    if one.default == "":
        return "empty"
    return f"``{one.default}``"


def duration(seconds: int) -> str:
    """Seconds in the largest unit that measures them exactly."""
    units = {"day": 86400, "hour": 3600, "minute": 60, "second": 1}
    unit = next(unit for unit, size in units.items() if seconds >= size and seconds % size == 0)
    number = seconds // units[unit]
    return f"{number} {unit}{'' if number == 1 else 's'}"


def error_classes() -> Iterator[type[AuthXException]]:
    """The public classes a client can be answered with, in the order of the source."""
    for value in vars(errors).values():
        if inspect.isclass(value) and issubclass(value, AuthXException):
            yield value


def example_of(error: type[AuthXException]) -> AuthXException:
    """An instance, with what its class needs to be told."""
    if issubclass(error, InsufficientScopeError):
        return error(["users:read"])
    if issubclass(error, CSRFError) and not issubclass(error, CrossOriginError):
        return error("X-CSRF-TOKEN")
    return error()


class SettingsTable(SphinxDirective):
    """``.. authx-settings:: JWT_ALGORITHM``: the block that begins with this setting."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        block = blocks().get(self.arguments[0])
        if block is None:
            raise self.error(f"no block of settings begins with {self.arguments[0]}")
        lines = [
            ".. list-table::",
            "   :header-rows: 1",
            "   :class: authx-settings",
            "   :widths: 36 19 45",
            "",
            "   * - Setting",
            "     - Default",
            "     - Meaning",
        ]
        for comment in block:
            lines += [
                f"   * - .. authx-setting:: {setting_name(comment.name)}",
                f"     - {default_of(comment.name)}",
                f"     - {comment.text}",
            ]
        shown: set[str] = self.env.metadata[self.env.docname].setdefault(_SHOWN, set())
        shown.add(self.arguments[0])
        self.env.note_dependency(settings.__file__)
        return self.parse_text_to_nodes("\n".join(lines))


class Setting(SphinxDirective):
    """A setting's name in the table, which ``:confval:`` finds."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        name = self.arguments[0]
        node_id = make_id(self.env, self.state.document, "confval", name)
        place = nodes.paragraph("", "", nodes.literal(name, name), ids=[node_id])
        self.state.document.note_explicit_target(place)
        self.env.domains.standard_domain.note_object("confval", name, node_id, location=place)
        return [place]


class Errors(SphinxDirective):
    """``.. authx-errors::``: every error class with what it puts on the wire."""

    def run(self) -> list[nodes.Node]:
        lines: list[str] = []
        for error in error_classes():
            if error.__name__ not in flask_authx.__all__:
                raise self.error(f"{error.__name__} is not public")
            lines += [f".. py:exception:: {error.__name__}", "   :module: flask_authx", ""]
            lines += [f"   {line}" for line in (inspect.getdoc(error) or "").splitlines()]
            lines += ["", f"   {_facts(error)}", ""]
        self.env.note_dependency(errors.__file__)
        return self.parse_text_to_nodes("\n".join(lines))


def _facts(error: type[AuthXException]) -> str:
    parents = [base.__name__ for base in error.__bases__ if base.__module__ == errors.__name__]
    facts = [f":exc:`~flask_authx.{parents[0]}`"] if parents else []
    if error.code is not None and hasattr(error, "error_type"):
        challenge = f"with ``{error.error}``" if error.error else "without an ``error``"
        facts += [
            f"{error.code}",
            f"``error_type`` ``{error.error_type.value}``",
            f"challenge {challenge}" if error.challenges else "no challenge",
            f"“{example_of(error).description}”",
        ]
    return " · ".join(facts)


class Members(SphinxDirective):
    """``.. authx-members:: flask_authx.errors ErrorType``: an enum's values and what they mean."""

    required_arguments = 2

    def run(self) -> list[nodes.Node]:
        module, name = import_module(self.arguments[0]), self.arguments[1]
        kind = getattr(module, name)
        lines = [f".. py:class:: {name}", "   :module: flask_authx", ""]
        lines += [f"   {line}" for line in (inspect.getdoc(kind) or "").splitlines()]
        for comment in comments_of(module, name):
            lines += ["", f"   .. py:attribute:: {comment.name}"]
            lines += [f"      :value: {kind[comment.name].value!r}", "", f"      {comment.text}"]
        self.env.note_dependency(str(module.__file__))
        return self.parse_text_to_nodes("\n".join(lines))


class Data(SphinxDirective):
    """``.. authx-data:: flask_authx.signals token_accepted``: a variable and what it is."""

    required_arguments = 2
    option_spec = {"type": directives.unchanged}  # noqa: RUF012 - how docutils declares options

    def run(self) -> list[nodes.Node]:
        module, name = import_module(self.arguments[0]), self.arguments[1]
        texts = {comment.name: comment.text for comment in comments_of(module)}
        if name not in texts:
            raise self.error(f"{name} has no #: comment")
        lines = [f".. py:data:: {name}", "   :module: flask_authx"]
        if "type" in self.options:
            lines.append(f"   :type: {self.options['type']}")
        lines += ["", f"   {texts[name]}"]
        self.env.note_dependency(str(module.__file__))
        return self.parse_text_to_nodes("\n".join(lines))


class Answer(SphinxDirective):
    """``.. authx-answer:: MissingTokenError``: the response that this error is."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        text = answer(getattr(flask_authx, self.arguments[0]))
        return [nodes.literal_block(text, text, language="http")]


def answer(error: type[AuthXException]) -> str:
    """The response of an error as HTTP text."""
    example = example_of(error)
    headers = "\n".join(f"{name}: {value}" for name, value in example.get_headers())
    return f"HTTP/1.1 {error.code} {error().name}\n{headers}\n\n{example.get_body().strip()}"


def trim_code(_app: Sphinx, document: nodes.document) -> None:
    """Take the blank lines off the end of included code."""
    for block in document.findall(nodes.literal_block):
        block.rawsource = block.astext().rstrip() + "\n"
        block[:] = [nodes.Text(block.rawsource)]


def spell_out_keywords(_app: Sphinx, document: nodes.document) -> None:
    """Write the keywords of a guard where the code has ``**options: Unpack[...]`` (PEP 692)."""
    for parameter in document.findall(desc_parameter):
        listed = re.fullmatch(r"\*\*options: Unpack\[(\w+)\]", parameter.astext())
        if listed is None:
            continue
        keywords = getattr(requirement, listed[1])
        hints = {name: hint.__forward_arg__ for name, hint in keywords.__annotations__.items()}
        varargs = any(one.astext().startswith("*") for one in parameter.parent if one != parameter)
        new = [] if varargs else [desc_parameter("", "", desc_sig_name("", "*"))]
        for name in GUARD_KEYWORDS:
            if name in hints:
                new.append(desc_parameter("", "", desc_sig_name("", name)))
                new[-1] += nodes.Text(f": {hints[name]} = {GUARD_KEYWORDS[name].default!r}")
        parameter.replace_self(new)


#: In the order of the code, with their defaults.
GUARD_KEYWORDS = inspect.signature(requirement.requirement_from).parameters


def check_complete(_app: Sphinx, env: BuildEnvironment) -> None:
    """Warn of settings that no page shows."""
    shown: set[str] = set().union(*(meta.get(_SHOWN, set()) for meta in env.metadata.values()))
    for missing in sorted(blocks().keys() - shown):
        _log.warning("the settings from %s on are in no table: add authx-settings", missing)


class Command(SphinxDirective):
    """``.. authx-command:: routes``: what ``flask authx routes --help`` says.

    Of a group it is what each of its commands says.
    """

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        for file in Path(cli.__file__).parent.glob("*.py"):
            self.env.note_dependency(str(file))
        command = cli.authx.commands[self.arguments[0]]
        texts = helps_of(command, f"flask authx {self.arguments[0]}")
        return [nodes.literal_block(text, text, language="text") for text in texts]


def helps_of(command: click.Command, name: str) -> Iterator[str]:
    """A command's help, or that of each command in a group."""
    if not isinstance(command, click.Group):
        yield help_of(command, name)
        return
    for inner in command.commands.values():
        yield from helps_of(inner, f"{name} {inner.name}")


def help_of(command: click.Command, name: str) -> str:
    """A command's help as a terminal shows it."""
    return command.get_help(click.Context(command, info_name=name, max_content_width=88))


def find_public(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, contnode: nodes.TextElement
) -> nodes.reference | None:
    """Link what a signature says by the module it is defined in to its public name."""
    package, _, name = node.get("reftarget", "").rpartition(".")
    if not package.startswith("flask_authx.") or name not in flask_authx.__all__:
        return None
    known = env.domains.python_domain.objects.get(f"flask_authx.{name}")
    if known is None:
        return None
    return make_refnode(
        app.builder, node["refdoc"], known.docname, known.node_id, contnode, f"flask_authx.{name}"
    )


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directives."""
    app.add_directive("authx-settings", SettingsTable)
    app.add_directive("authx-setting", Setting)
    app.add_directive("authx-errors", Errors)
    app.add_directive("authx-members", Members)
    app.add_directive("authx-data", Data)
    app.add_directive("authx-answer", Answer)
    app.add_directive("authx-command", Command)
    app.connect("doctree-read", trim_code)
    # Before the types become links to follow.
    app.connect("doctree-read", spell_out_keywords)
    app.connect("missing-reference", find_public)
    app.connect("env-check-consistency", check_complete)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
