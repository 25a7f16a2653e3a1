"""Waiting for a condition instead of for a time, and a clock that is set instead of waiting."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Generator

import pytest

#: Between two looks, in seconds.
INTERVAL = 0.005


def until(
    condition: Callable[[], object],
    *,
    timeout: float = 30,
    what: str = "",
    interval: float = INTERVAL,
) -> None:
    """Return once the condition holds; fail, naming it, if it does not within the timeout.

    :param timeout: in seconds: for machines that are slow or busy, since it costs only those that
        would fail anyway.
    :param interval: in seconds, between two looks: longer where looking costs something.
    """
    # Nothing sets it: waiting for it hands the processor to others.
    pause = threading.Event()
    due = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > due:
            raise AssertionError(f"{what or condition} did not come about within {timeout} s")
        pause.wait(interval)


@contextlib.contextmanager
def later_by(monkeypatch: pytest.MonkeyPatch, seconds: float) -> Generator[None]:
    """The process's monotonic clock is ahead, as if this time had passed."""
    now = time.monotonic
    with monkeypatch.context() as patch:
        patch.setattr(time, "monotonic", lambda: now() + seconds)
        yield
