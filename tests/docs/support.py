"""The code of the documentation's pages, to be run."""

from __future__ import annotations

import builtins
import re
import sys
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any

from flask.testing import FlaskClient
from flask_sqlalchemy import SQLAlchemy
from sybil import Document, Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser

from tests.support import ROOT

DOCS = ROOT / "docs"
#: Who can log in to the apps of the pages.
ANN = {"name": "ann", "password": "correct horse"}
_SYBIL = Sybil(parsers=[PythonCodeBlockParser(), SkipParser()])


@contextmanager
def page(name: str) -> Generator[SimpleNamespace]:
    """The names that the blocks of Python on a page define, run in order as one program.

    Blocks in comments, which only tests see, are run as well.
    """
    with _run(name) as names:
        yield names


@contextmanager
def section(name: str, heading: str) -> Generator[SimpleNamespace]:
    """The same for one section of a page, where each section is a program of its own."""
    start, end = _sections(name)[heading]
    with _run(name, start, end) as names:
        yield names


def section_text(name: str, heading: str) -> str:
    """The text of a section, of which its heading is the first line."""
    start, end = _sections(name)[heading]
    return (DOCS / f"{name}.md").read_text("utf-8")[start:end]


def headings(name: str) -> list[str]:
    """The headings of the second level of a page."""
    return [heading for heading, _ in _headings(name, "##")]


def parts_of(name: str, heading: str) -> list[str]:
    """The headings of the third level in a section."""
    start, end = _sections(name)[heading]
    return [part for part, place in _headings(name, "###") if start < place < end]


def blocks(text: str, language: str) -> list[str]:
    """The blocks of code in a text that are in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def _sections(name: str) -> dict[str, tuple[int, int]]:
    """Where each section of a page, and each part of a section, begins and ends."""
    length = len((DOCS / f"{name}.md").read_text("utf-8"))
    sections = _headings(name, "##")
    both = sorted([*sections, *_headings(name, "###")], key=lambda found: found[1])
    return {
        **_up_to_the_next(both, length),
        **_up_to_the_next(sections, length),
    }


def _headings(name: str, level: str) -> list[tuple[str, int]]:
    """The headings of a level, and where they begin."""
    text = (DOCS / f"{name}.md").read_text("utf-8")
    return [(one[1], one.start()) for one in re.finditer(rf"^{level} (.+)$", text, re.MULTILINE)]


def _up_to_the_next(found: list[tuple[str, int]], length: int) -> dict[str, tuple[int, int]]:
    ends = [*(place for _, place in found[1:]), length]
    return {one: (place, end) for (one, place), end in zip(found, ends, strict=True)}


@contextmanager
def _run(name: str, start: int = 0, end: int = sys.maxsize) -> Generator[SimpleNamespace]:
    document: Document = _SYBIL.parse(DOCS / f"{name}.md")
    names: dict[str, Any] = document.namespace
    names["__name__"] = f"page_{name}".replace("-", "_")
    with ExitStack() as stack:
        stack.callback(_dispose, names)
        for example in document.examples():
            if start <= example.start < end:
                example.evaluate()
        # Sybil takes them away after each block, and functions of the page run later.
        names["__builtins__"] = builtins
        yield SimpleNamespace(**names)


def _dispose(names: dict[str, Any]) -> None:
    """Close the connections of a page's databases, and take its metrics from their registry."""
    prometheus: Any = sys.modules.get("prometheus_client")
    if prometheus is not None:
        kinds = (prometheus.Counter, prometheus.Gauge)
        for metric in [one for one in names.values() if isinstance(one, kinds)]:
            prometheus.REGISTRY.unregister(metric)
    for db in [one for one in names.values() if isinstance(one, SQLAlchemy)]:
        with names["app"].app_context():
            for engine in db.engines.values():
                engine.dispose()


@contextmanager
def with_users(name: str, *users: dict[str, Any]) -> Generator[SimpleNamespace]:
    """A page whose app has a database, with these users in it."""
    with page(name) as names:
        with names.app.app_context():
            names.db.session.add_all(names.User(**user) for user in users)
            names.db.session.commit()
        yield names


def log_in(client: FlaskClient, **asked: Any) -> dict[str, Any]:
    """The tokens of a new session of Ann's."""
    response = client.post("/login", json={**ANN, **asked})
    assert response.status_code == 200, f"the log-in failed: {response.text}"
    pair: dict[str, Any] = response.get_json()
    return pair
