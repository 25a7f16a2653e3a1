"""Deadlines for calls to a database server.

Most drivers wait for a response as long as the connection is open, and a server that hangs keeps
it open for ever. So a thread checks the calls in progress and shuts down the socket of each that is
overdue: the driver then raises the error that it raises when a server dies. The thread refers to a
connection only by its file descriptor.
"""

from __future__ import annotations

import contextlib
import math
import socket
import threading
import time
from collections.abc import Generator
from weakref import WeakSet


class Deadline:
    """The deadline of the call in progress on one connection.

    :param descriptor: the file descriptor of the connection's socket.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._due = math.inf
        # Held during a shutdown, so that the descriptor can't be closed and reused meanwhile.
        self._lock = threading.Lock()
        #: Whether a call has exceeded its deadline. The connection is then unusable.
        self.expired: bool = False

    @contextlib.contextmanager
    def until(self, due: float) -> Generator[None]:
        """Let a call run until this moment of :func:`time.monotonic`."""
        self._due = due
        try:
            yield
        finally:
            with self._lock:
                self._due = math.inf

    def is_overdue(self, now: float) -> bool:
        """Whether the call in progress has exceeded its deadline."""
        return self._due <= now

    @property
    def idle(self) -> bool:
        """Whether no call is in progress."""
        return self._due == math.inf

    def enforce(self, now: float) -> None:
        """Shut down the socket if the call is overdue."""
        with self._lock:
            if self.is_overdue(now):
                self.expired, self._due = True, math.inf
                with contextlib.suppress(OSError):
                    shared = socket.socket(fileno=self._descriptor)
                    try:
                        shared.shutdown(socket.SHUT_RDWR)
                    finally:
                        # The descriptor belongs to the driver, which closes it.
                        shared.detach()


class DeadlineThread:
    """Enforces the deadlines of a process, in a thread that ends when no calls are made.

    :param interval: seconds between two checks. A call is ended up to that much before its
        deadline.
    :param idle_timeout: seconds without a call after which the thread ends.
    """

    def __init__(self, interval: float, *, idle_timeout: float = 10.0) -> None:
        self._interval = interval
        self._idle_timeout = idle_timeout
        self._deadlines: WeakSet[Deadline] = WeakSet()
        self._running = False
        self._lock = threading.Lock()

    def add(self, deadline: Deadline) -> None:
        """Enforce a further deadline."""
        with self._lock:
            self._deadlines.add(deadline)

    def ensure_running(self) -> None:
        """Start the thread unless it runs. To be called after a call's deadline has been set."""
        if not self._running:
            with self._lock:
                if not self._running:
                    threading.Thread(target=self._run, name="authx-deadlines", daemon=True).start()
                    self._running = True

    def _run(self) -> None:
        last_call = time.monotonic()
        while True:
            time.sleep(self._interval)
            now = time.monotonic()
            with self._lock:
                busy = [deadline for deadline in self._deadlines if not deadline.idle]
                if busy:
                    last_call = now
                elif now - last_call > self._idle_timeout:
                    self._running = False
                    # A call whose deadline is set from now on starts another thread. A deadline
                    # that was set before is found here.
                    if all(deadline.idle for deadline in self._deadlines):
                        return
                    self._running = True
            for deadline in busy:
                deadline.enforce(now + self._interval)
