"""Waiting for a condition instead of for a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

#: Between two looks, in seconds.
INTERVAL = 0.005


def until(condition: Callable[[], object], *, timeout: float = 30, what: str = "") -> None:
    """Return once the condition holds; fail, naming it, if it does not within the timeout.

    :param timeout: in seconds: for machines that are slow or busy, since it costs only those that
        would fail anyway.
    """
    # Nothing sets it: waiting for it hands the processor to others.
    pause = threading.Event()
    due = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > due:
            raise AssertionError(f"{what or condition} did not come about within {timeout} s")
        pause.wait(INTERVAL)
