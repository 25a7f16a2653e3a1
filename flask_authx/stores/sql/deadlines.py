"""Deadlines for calls to a database server.

No option of psycopg, psycopg2 and mysqlclient ends the wait for a server that is stopped: without
this module the fault "hanging" of tests/stores/test_failures.py has no end. One thread of a process
shuts down the socket of each call that is overdue, and the driver raises the error that it raises
when a server dies.
"""

from __future__ import annotations

import contextlib
import logging
import math
import select
import socket
import threading
import time
from collections.abc import Callable
from weakref import WeakMethod, WeakSet, finalize

from flask_authx.tracebacks import outline

_log = logging.getLogger("flask_authx")
#: Seconds between two lines of the log on what has failed in the thread.
_LOG_INTERVAL = 60.0


class Deadline:
    """The deadline of the call in progress on the connection whose socket has this descriptor."""

    def __init__(self, descriptor: int) -> None:
        # A duplicate: the driver may close its own at any moment, and its number may then be that
        # of another socket.
        self._descriptor = socket.dup(descriptor)
        #: Closes the duplicate. To be called when no call is in progress.
        self.close: Callable[[], object] = finalize(self, socket.close, self._descriptor)
        #: The moment of :attr:`DeadlineThread.now` when the call is overdue; infinite without one.
        self.due: float = math.inf
        #: Whether a call has exceeded its deadline. The connection is then unusable.
        self.expired: bool = False
        # A call that ends while it is found overdue is not cut off.
        self._lock = threading.Lock()

    def stop(self) -> None:
        """The call has ended."""
        with self._lock:
            self.due = math.inf

    def enforce(self, now: float) -> None:
        """Shut down the socket if the call is overdue, unless its response has arrived."""
        with self._lock:
            if self.due > now or _is_readable(self._descriptor):
                return
            self.expired, self.due = True, math.inf
            shared = socket.socket(fileno=self._descriptor)
            with contextlib.suppress(OSError):
                shared.shutdown(socket.SHUT_RDWR)
            shared.detach()


def _is_readable(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


class DeadlineThread:
    """Enforces the deadlines of a process, in a thread that ends some seconds after a last call."""

    def __init__(self, idle_timeout: float = 15.0) -> None:
        #: Seconds as this thread counts them: slower than a clock while the process has no CPU,
        #: since a process that is late is no late store.
        self.now: float = 0.0
        self.running: bool = False
        self._interval, self._idle_timeout = 0.025, idle_timeout
        self._deadlines: WeakSet[Deadline] = WeakSet()
        self._chores: list[WeakMethod[Callable[[], None]]] = []
        self._lock = threading.Lock()
        self._logged_at: float = -math.inf

    def add(self, deadline: Deadline, timeout: float) -> None:
        """Enforce a further deadline, at most a tenth of a call's timeout early."""
        with self._lock:
            self._deadlines.add(deadline)
            self._interval = min(self._interval, timeout / 10)

    def add_chore(self, method: Callable[[], None]) -> None:
        """Call a method at every look, as long as its object exists. What it raises is logged."""
        with self._lock:
            self._chores.append(WeakMethod(method))

    def ensure_running(self) -> None:
        """Start the thread unless it runs. To be called after a call's deadline has been set."""
        if not self.running:
            with self._lock:
                if not self.running:
                    threading.Thread(target=self._run, name="authx-deadlines", daemon=True).start()
                    self.running = True

    def _run(self) -> None:
        try:
            self._look_until_idle()
        except BaseException:
            with self._lock:
                # The next call starts another thread.
                self.running = False
            raise

    def _look_until_idle(self) -> None:
        last_call, looked = self.now, time.monotonic()
        while True:
            time.sleep(self._interval)
            before, looked = looked, time.monotonic()
            self.now += min(looked - before, 2 * self._interval)
            if self._look():
                last_call = self.now
            elif self.now - last_call > self._idle_timeout:
                with self._lock:
                    self.running = False
                    # A call whose deadline is set from now on starts another thread. A deadline
                    # that was set before is found here.
                    if all(deadline.due == math.inf for deadline in self._deadlines):
                        return
                    self.running = True

    def _look(self) -> bool:
        """Enforce the deadlines, and return whether a call is in progress."""
        with self._lock:
            busy = [deadline for deadline in self._deadlines if deadline.due < math.inf]
            chores = self._chores = [chore for chore in self._chores if chore() is not None]
        for deadline in busy:
            self._attempt(deadline.enforce, self.now)
        for chore in chores:
            if (method := chore()) is not None:
                self._attempt(method)
        return bool(busy)

    def _attempt(self, task: Callable[..., None], *args: float) -> None:
        """Do one task of a look. Whatever it raises, the others are done, now and later."""
        try:
            task(*args)
        except Exception as error:  # noqa: BLE001 - the thread has to go on
            now = time.monotonic()
            if now - self._logged_at >= _LOG_INTERVAL:
                self._logged_at = now
                name = getattr(task, "__qualname__", "a task")
                _log.error("%s, in the thread for overdue calls, raised %s", name, outline(error))
