"""A lock that no fork can leave locked in a child."""

from __future__ import annotations

import os
import threading


class ProcessLock:
    """A lock among the threads of one process. A forked child has its own, which is free.

    Some servers fork in C, where none of Python's hooks runs: uWSGI does.
    """

    def __init__(self) -> None:
        self._locks: dict[int, threading.Lock] = {}

    def __enter__(self) -> None:
        # One atomic step: of two threads, both get the lock of one.
        self._locks.setdefault(os.getpid(), threading.Lock()).acquire()

    def __exit__(self, *_: object) -> None:
        self._locks[os.getpid()].release()
