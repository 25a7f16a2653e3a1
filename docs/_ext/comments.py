"""Reads the ``#:`` comments that document fields and variables in place."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType


@dataclass(frozen=True)
class Comment:
    """A name and what its ``#:`` comment says, in one line; empty if it has none."""

    name: str
    text: str
    #: Whether a blank line stands before it.
    after_blank: bool


def comments_of(module: ModuleType, class_name: str | None = None) -> Iterator[Comment]:
    """The comments above the assignments in a module, or in one of its classes, in order."""
    source = inspect.getsource(module)
    body = ast.parse(source).body
    if class_name is not None:
        body = next(
            node.body for node in body if isinstance(node, ast.ClassDef) and node.name == class_name
        )
    lines = source.splitlines()
    for node in body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and isinstance(target, ast.Name):
            yield _comment(target.id, lines, node.lineno - 1)


def _comment(name: str, lines: list[str], line: int) -> Comment:
    first = line
    while lines[first - 1].strip().startswith("#:"):
        first -= 1
    text = " ".join(lines[one].strip().removeprefix("#:").strip() for one in range(first, line))
    return Comment(name, text, after_blank=not lines[first - 1].strip())
