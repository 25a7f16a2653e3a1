"""The parts of the pages that are written from the code, as Markdown.

A page holds them as text between two HTML comments, the first of which says what is called here;
``make tables`` writes them anew, and a test compares them.
"""

from __future__ import annotations

import inspect
import json
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from enum import EnumType
from importlib import import_module
from typing import Any, get_overloads

import click
from comments import Comment, comments_of

import flask_authx
from flask_authx import AuthXException, InsufficientScopeError, cli, errors
from flask_authx.errors import CrossOriginError, CSRFError
from flask_authx.http import requirement
from flask_authx.settings import options, parsers
from flask_authx.settings.options import Settings

#: The widest line of code in a page.
_WIDTH = 88
#: The keywords of guards, in the order of the code, with their defaults.
_GUARD_KEYWORDS = inspect.signature(requirement.requirement_from).parameters


def markdown(text: str) -> str:
    """A docstring or comment, written in reStructuredText, as Markdown."""
    text = re.sub(r"(?<![\w`])``([^`]+)``", r"`\1`", text)
    text = re.sub(r":(?:meth|func):`~?(?:[\w.]+\.)?(\w+)`", r"`\1()`", text)
    return re.sub(r":\w+:`~?(?:[\w.]+\.)?(\w+)`", r"`\1`", text)


# Settings


def blocks() -> dict[str, list[Comment]]:
    """The settings with their comments, a block between two blank lines each, by its first one."""
    found: dict[str, list[Comment]] = {}
    block: list[Comment] = []
    readable = {one.name for one in fields(Settings) if one.init}
    for comment in comments_of(options, "Settings"):
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
    """A setting's default as Markdown."""
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
        return ", ".join(f"`{item}`" for item in sorted(one.default))
    if one.default == "":
        return "empty"
    return f"`{one.default}`"


def duration(seconds: int) -> str:
    """Seconds in the largest unit that measures them exactly."""
    units = {"day": 86400, "hour": 3600, "minute": 60, "second": 1}
    unit = next(unit for unit, size in units.items() if seconds >= size and seconds % size == 0)
    number = seconds // units[unit]
    return f"{number} {unit}{'' if number == 1 else 's'}"


def settings(first: str) -> str:
    """The settings of the block that begins with this one, each under a heading of its own."""
    return "\n\n".join(
        f"### {setting_name(one.name)}\n\n"
        f"{_wrapped(f'Default: {default_of(one.name)}. {markdown(one.text)}')}"
        for one in blocks()[first]
    )


def _wrapped(text: str, indent: str = "") -> str:
    return textwrap.fill(
        text, 100, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


# Errors and closed sets


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


def answer(name: str) -> str:
    """The response of an error as HTTP text."""
    error = getattr(flask_authx, name)
    example = example_of(error)
    headers = "\n".join(f"{name}: {value}" for name, value in example.get_headers())
    return _fenced(
        "http", f"HTTP/1.1 {error.code} {error().name}\n{headers}\n\n{example.get_body().strip()}"
    )


def error_table() -> str:
    """Every error that a client can get: status, ``error_type`` and text."""
    rows = [
        (f"`{error.__name__}`", str(error.code), f"`{error.error_type.value}`", _text_of(error))
        for error in error_classes()
        if error.code is not None and hasattr(error, "error_type")
    ]
    return _table(("Class", "Status", "`error_type`", "Text"), rows)


def error_details() -> str:
    """Every error class: its docstring, its parent and its challenge."""
    parts: list[str] = []
    for error in error_classes():
        parents = [base.__name__ for base in error.__bases__ if base.__module__ == errors.__name__]
        facts = [f"A kind of `{parents[0]}`."] if parents else []
        if error.code is not None and hasattr(error, "error_type"):
            challenge = f'with `error="{error.error}"`' if error.error else "without `error`"
            facts.append(f"Challenge {challenge}." if error.challenges else "No challenge.")
        parts.append(f"### {error.__name__}\n\n{_described(error)}\n\n{' '.join(facts)}".strip())
    return "\n\n".join(parts)


def error_names() -> str:
    """All error classes in a line."""
    names = ["BadConfigurationError", *(error.__name__ for error in error_classes())]
    return _wrapped(", ".join(f"[`{name}`](errors.md#{name.lower()})" for name in names) + ".")


def _text_of(error: type[AuthXException]) -> str:
    return str(example_of(error).description)


def members(path: str) -> str:
    """The members of an enum: value and comment."""
    module, _, name = path.rpartition(".")
    owner = import_module(module)
    kind = getattr(owner, name)
    rows = [(f"`{kind[one.name].value}`", markdown(one.text)) for one in comments_of(owner, name)]
    return _table(("Value", "Meaning"), rows)


def variables(path: str, *names: str) -> str:
    """Variables of a module, each with its comment."""
    texts = {one.name: one.text for one in comments_of(import_module(path))}
    rows = [(f"`{name}`", markdown(texts[name])) for name in names or texts]
    return _table(("Name", "Meaning"), rows)


# Commands


def command(name: str) -> str:
    """What ``flask authx NAME --help`` says; of a group, what each of its commands says."""
    return "\n\n".join(
        _fenced("text", text) for text in _helps(cli.authx.commands[name], f"flask authx {name}")
    )


def _helps(one: click.Command, name: str) -> Iterator[str]:
    if not isinstance(one, click.Group):
        yield one.get_help(click.Context(one, info_name=name, max_content_width=_WIDTH))
        return
    for inner in one.commands.values():
        yield from _helps(inner, f"{name} {inner.name}")


# The API


#: Classes whose objects only the package creates.
_CREATED_BY_US = {"Token", "TokenPair", "Session", "Visit"}


def api(*names: str, level: int = 2, methods: bool = True) -> str:
    """Public classes: signature and docstring, and those of their methods.

    :param level: of the headings of classes; those of methods are one deeper.
    """
    return "\n\n".join(
        part for name in names for part in _entry(name, "#" * level, methods=methods)
    )


def _entry(name: str, heading: str, *, methods: bool) -> Iterator[str]:
    value = getattr(flask_authx, name)
    yield f"{heading} {name}"
    if isinstance(value, EnumType):
        yield _described(value)
        yield members(f"{value.__module__}.{name}")
        return
    if not (
        name in _CREATED_BY_US
        or issubclass(value, Exception)
        or getattr(value, "_is_protocol", False)
    ):
        yield _fenced("python", _signature(name, value))
    yield _described(value)
    if not methods:
        return
    for method, member in vars(value).items():
        if not method.startswith("_") and (inspect.isfunction(member) or _is_property(member)):
            yield f"{heading}# {name}.{method}"
            if inspect.isfunction(member):
                yield _fenced("python", _signature(method, member, bound=True))
                yield _described(member)
            else:
                getter = getattr(member, "fget", None) or member.func
                returns = _Source(inspect.signature(getter).return_annotation)
                yield f"`{returns}`. {_described(member)}"


def _is_property(member: object) -> bool:
    return isinstance(member, property) or hasattr(member, "func")


class _Source:
    """An annotation as it is written."""

    def __init__(self, text: object) -> None:
        self.text = text if isinstance(text, str) else inspect.formatannotation(text)

    def __repr__(self) -> str:
        return self.text


def _signature(name: str, value: Callable[..., Any], *, bound: bool = False) -> str:
    # Of a decorator, the form with keywords.
    found = inspect.signature([value, *get_overloads(value)][-1])
    empty = inspect.Parameter.empty
    written = [_written(one) for one in [*_parameters(found.parameters.values())][bound:]]
    returns = found.return_annotation
    result = "" if inspect.isclass(value) or returns is empty else f" -> {_Source(returns)}"
    line = f"{name}{inspect.Signature(written)}{result}"
    if len(line) <= _WIDTH:
        return line
    inner = str(inspect.Signature(written))[1:-1]
    return f"{name}(\n    " + ",\n    ".join(_split(inner)) + f",\n){result}"


def _written(one: inspect.Parameter) -> inspect.Parameter:
    if one.annotation is not inspect.Parameter.empty:
        one = one.replace(annotation=_Source(one.annotation))
    if isinstance(one.default, str):
        return one.replace(default=_Source(json.dumps(one.default)))
    return one.replace(default=_Source("...")) if inspect.isroutine(one.default) else one


def _split(text: str) -> list[str]:
    """A list of parameters at the commas that are in no brackets."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "[(") - (character in "])")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


def _parameters(given: Iterable[inspect.Parameter]) -> Iterator[inspect.Parameter]:
    """With the keywords of a guard where the code has ``**options: Unpack[...]`` (PEP 692)."""
    for one in given:
        listed = re.fullmatch(r"Unpack\[(\w+)\]", str(one.annotation))
        if listed is None:
            yield one
            continue
        hints = getattr(requirement, listed[1]).__annotations__
        for name, keyword in _GUARD_KEYWORDS.items():
            if name in hints:
                hint = getattr(hints[name], "__forward_arg__", hints[name])
                yield keyword.replace(annotation=hint, kind=inspect.Parameter.KEYWORD_ONLY)


def _described(value: object) -> str:
    """A docstring as Markdown, with a list of its parameters and errors."""
    text = markdown(inspect.getdoc(value) or "")
    head, *listed = re.split(r"^:(?=param |raises? |returns?:)", text, flags=re.MULTILINE)
    parts = [head.strip()]
    lines: list[str] = []
    for one in listed:
        kind, _, rest = one.partition(":")
        what, _, name = kind.partition(" ")
        label = {"param": f"`{name}`", "raises": f"Raises `{name}`"}.get(what, "Returns")
        lines.append(_wrapped(f"- {label}: {' '.join(rest.split())}", "  "))
    if lines:
        parts.append("\n".join(lines))
    return "\n\n".join(part for part in parts if part)


def _fenced(language: str, text: str) -> str:
    return f"```{language}\n{text.strip()}\n```"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(
        f"| {' | '.join(one.replace('|', '&#124;') for one in line)} |" for line in lines
    )
