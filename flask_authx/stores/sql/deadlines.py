"""An end to every wait for a database.

Most drivers wait for an answer as long as the connection stands, and that of a server which hangs
stands for ever. So a thread looks at the calls under way and hangs up on those that are overdue:
the driver then fails as it does when a server dies. It knows connections only by their descriptor.
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
    """The deadline of one connection, while a call is under way on it.

    :param descriptor: the connection's socket.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._due = math.inf
        # Held while hanging up, so that the descriptor can't be closed and given to another file.
        self._lock = threading.Lock()
        #: Whether a call has been ended.
        self.cut: bool = False

    @contextlib.contextmanager
    def held(self, due: float) -> Generator[None]:
        """Allow a call until this moment of :func:`time.monotonic`."""
        self._due = due
        try:
            yield
        finally:
            with self._lock:
                self._due = math.inf

    def overdue(self, now: float) -> bool:
        """Whether a call should have ended."""
        return self._due <= now

    @property
    def idle(self) -> bool:
        """Whether no call is under way."""
        return self._due == math.inf

    def cut_off(self, now: float) -> None:
        """Hang up, if the call is overdue."""
        with self._lock:
            if self.overdue(now):
                self.cut, self._due = True, math.inf
                with contextlib.suppress(OSError):
                    line = socket.socket(fileno=self._descriptor)
                    try:
                        line.shutdown(socket.SHUT_RDWR)
                    finally:
                        # It is the driver's, who closes it.
                        line.detach()


class DeadlineThread:
    """Looks after the leashes of a process, in a thread that ends when there is nothing to do.

    :param interval: seconds between two looks. A call is ended up to that much before its time.
    """

    #: Seconds without a call after which the thread ends.
    _PATIENCE = 10.0

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._leashes: WeakSet[Deadline] = WeakSet()
        self._awake = False
        self._lock = threading.Lock()

    def add(self, leash: Deadline) -> None:
        """Look after a further leash."""
        with self._lock:
            self._leashes.add(leash)

    def wake(self) -> None:
        """See to it that somebody looks. Called when a call's deadline has been set."""
        if not self._awake:
            with self._lock:
                if not self._awake:
                    threading.Thread(target=self._look, name="authx-watch", daemon=True).start()
                    self._awake = True

    def _look(self) -> None:
        last_call = time.monotonic()
        while True:
            time.sleep(self._interval)
            now = time.monotonic()
            with self._lock:
                busy = [leash for leash in self._leashes if not leash.idle]
                if busy:
                    last_call = now
                elif now - last_call > self._PATIENCE:
                    self._awake = False
                    # Whoever sets a deadline from now on wakes another; before, it is seen here.
                    if all(leash.idle for leash in self._leashes):
                        return
                    self._awake = True
            for leash in busy:
                leash.cut_off(now + self._interval)
