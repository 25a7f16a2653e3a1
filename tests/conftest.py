"""What tests are given, and how a failing one speaks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import Clock
from tests.support.answers import Outcome
from tests.support.sql_apps import SQLApps


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still until it is moved."""
    return Clock()


@pytest.fixture
def sql_app(tmp_path: Path) -> Iterator[SQLApps]:
    """Makes apps on SQL databases; their connections are closed at the end of the test."""
    with contextlib.closing(SQLApps(tmp_path)) as apps:
        yield apps


def pytest_assertrepr_compare(op: str, left: Any, right: Any) -> list[str] | None:
    """A wrong answer to a request in one line, so that pytest's own last line says it, too."""
    if op == "==" and isinstance(left, Outcome) and left.sent:
        came = Outcome(*left)
        return [f"sent {left.sent}, came {came!r}, expected {right!r}"]
    return None
