"""The connections of one process to one database: how many there are, and which call has which.

SQLAlchemy's QueuePool (``use_lifo``, ``reset_on_return=None``) would need less code here. It takes
4 us for a call, which is half of a look-up in SQLite, and fails these tests of test_pool.py and
test_renewal.py in tests/stores/sql: a server that has no room for one more costs no request; the
successor of an old connection is open before that is closed; those that wait get their turn; unused
connections are closed. It also leaves connecting to the driver, and none of the drivers has a limit
for resolving, connecting and the handshake together: tests/stores/test_failures.py, "silent port".
"""

from __future__ import annotations

import contextlib
import contextvars
import itertools
import math
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from flask_authx.stores.base import (
    CONNECT_TIMEOUT,
    MAX_AGE,
    RENEW_AGE,
    WAIT_LIMIT,
    StoreBusyError,
    StoreError,
    never_waits,
    reports_wait,
)

from .connecting import StoreConnection, is_refusal
from .deadlines import DeadlineThread

#: Seconds after which a connection that no call has used is closed, unless it is the only one.
UNUSED = 10.0
#: Seconds without a further attempt after the server has refused a connection beside others.
_REFUSED_PAUSE = 1.0
#: The number of attempts to connect that may hang in their drivers. At that number, a new attempt
#: is made only once in an interval, in seconds.
_MAX_HANGING, _RETRY_INTERVAL = 20, 15.0
_SILENT = "the database has answered no call in time"


class _Waiter:
    """A call that waits for a connection, and what it gets: one, an error, or room to open one."""

    def __init__(self) -> None:
        self.ended = threading.Event()
        self.connection: StoreConnection | None = None
        self.error: BaseException | None = None
        #: Whether it has stopped waiting. A connection that was meant for it is closed.
        self.left: bool = False
        # An app's code that connects may use current_app.
        self.context = contextvars.copy_context()

    def end(
        self, connection: StoreConnection | None = None, error: BaseException | None = None
    ) -> None:
        self.connection, self.error = connection, error
        self.ended.set()


@dataclass(eq=False, slots=True)
class _Attempt:
    """A thread that connects.

    :param started: a moment of :attr:`DeadlineThread.now`.
    :param waiter: the only one that its connection is for, if it isn't for any.
    :param replaces: the connection whose successor is opened.
    """

    started: float
    generation: int
    waiter: _Waiter | None = None
    replaces: StoreConnection | None = None


class Pool:
    """Connections, each used by one call at a time.

    :param connect: opens one.
    :param size: how many there may be.
    :param timeout: the seconds after which a call fails.
    :param thread: the thread that enforces deadlines, and counts seconds.
    :param server: whether there is a server, which may die, hang or be replaced. Connecting to it
        needs a thread, since drivers differ in how long they try.
    """

    def __init__(
        self,
        connect: Callable[[], StoreConnection],
        size: int,
        timeout: float,
        thread: DeadlineThread,
        *,
        server: bool,
    ) -> None:
        self.thread: DeadlineThread = thread
        self._connect = connect
        self._size, self._timeout = size, timeout
        self._server = server
        #: The one used last is used next, so that the others become superfluous.
        self._idle: deque[StoreConnection] = deque()
        #: Those that are too old to be used, unless the server then refuses their successors. They
        #: don't count as open.
        self._expired: deque[StoreConnection] = deque()
        self._waiters: deque[_Waiter] = deque()
        #: For all below, and to bring waiters and connections together.
        self._lock = threading.Lock()
        self._open = 0
        self._attempts: list[_Attempt] = []
        self._generation = 0
        self._refused_until = self._next_attempt = 0.0
        #: When the server itself has refused a connection, if it did so at the last attempt.
        self._refused_at = -math.inf
        #: When a call was answered last, by the thread's count.
        self._answered = 0.0
        # Runs when this object is collected, or when the program ends.
        weakref.finalize(self, _close_in, os.getpid(), self._idle, self._expired)
        if server:
            thread.add_chore(self._close_unneeded)

    def take(self) -> StoreConnection:
        """A connection for one call, to be given back or dropped.

        :raises StoreBusyError: if all stay in use.
        :raises StoreError: if the store doesn't answer, or the error of the driver.
        """
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                connection = self._wait()
            if connection.generation == self._generation:
                now = time.monotonic()
                if connection.opened_at > now - RENEW_AGE or self._is_usable(connection, now):
                    connection.used_at = now
                    return connection
            else:
                self.drop(connection)

    def give(self, connection: StoreConnection) -> None:
        """Give back a connection on which a call was answered."""
        self._answered = self.thread.now
        self._idle.append(connection)
        if self._waiters:
            self._serve()

    def drop(self, connection: StoreConnection) -> None:
        """Close a connection that no call may use."""
        connection.close()
        if connection.timed_out and self._is_silent():
            with self._lock:
                self._end_waiting(StoreError(_SILENT))
        self._release()

    def close(self) -> None:
        """Close the connections that are not in use; those in use are not used again."""
        with self._lock:
            self._generation += 1
            closed = [*self._expired]
            self._expired.clear()
            with contextlib.suppress(IndexError):
                while True:
                    closed.append(self._idle.popleft())
                    self._open -= 1
        close_all(closed)

    def close_like(self, connection: StoreConnection) -> None:
        """Close the others as well, after the server has ended this one."""
        if self._generation in (connection.generation, _replaced(connection)):
            self.close()

    def _close_unneeded(self) -> None:
        """Close what has a successor, and what no call has used for some time, but for one."""
        limit, closed = time.monotonic() - UNUSED, list[StoreConnection]()
        with self._lock, contextlib.suppress(IndexError):
            while self._open and self._expired and self._expired[0].used_at < limit:
                closed.append(self._expired.popleft())
            for one in self._idle.copy() if len(self._idle) > 1 else ():
                if one.generation != self._generation and self._take_out(one):
                    closed.append(one)
                    self._open -= 1
            # Calls take from the other end meanwhile.
            while len(self._idle) > 1 and self._idle[0].used_at < limit:
                closed.append(self._idle.popleft())
                self._open -= 1
        close_all(closed)
        if closed:
            self._serve()

    def _take_out(self, connection: StoreConnection) -> bool:
        """Whether a connection was idle; it is then used no more."""
        with contextlib.suppress(ValueError):
            self._idle.remove(connection)
            return True
        return False

    # Renewing

    def _is_usable(self, old: StoreConnection, now: float) -> bool:
        """Whether a call may use a connection that is old, while its successor is opened.

        It may not once it is too old: its server may be one that a fail-over has left behind.
        """
        if not self._server:
            if old.opened_at > now - MAX_AGE:
                return True
            self.drop(old)
            return False
        if max(old.opened_at, self._refused_at) > now - MAX_AGE:
            if now >= self._refused_until:
                self._start_successor(old)
            return True
        with self._lock:
            self._expired.append(old)
            self._open -= 1
        return False

    def _start_successor(self, old: StoreConnection) -> None:
        """Open the successor of a connection: one at a time, and while calls use that one."""
        with self._lock:
            if self._recent():
                return
            try:
                self._start(contextvars.copy_context(), self._connect, replaces=old)
            except (RuntimeError, StoreError) as error:
                self._give_up(error)

    def _admit(self, new: StoreConnection, old: StoreConnection | None) -> StoreConnection | None:
        """Add a connection to the pool; the one to close, of those that it makes superfluous.

        :param old: the one whose successor it is.
        """
        closed = None
        if old is not None and old.generation == self._generation and not old.closed:
            if self._take_out(old):
                closed = old
                self._open -= 1
            elif old not in self._expired:
                # A call has it, which gives it back.
                old.generation = _replaced(old)
        elif self._open >= self._size:
            return new
        if closed is None and self._expired:
            closed = self._expired.popleft()
        self._open += 1
        # In one step: no call that this connection is for starts another attempt.
        self._answered = self.thread.now
        self._idle.append(new)
        return closed

    def _note_refusal(self, error: BaseException) -> None:
        """After a server's own refusal, use the connections that there are, however old."""
        if not is_refusal(error):
            self._refused_at = -math.inf
            return
        self._refused_at = time.monotonic()
        while self._expired and self._open < self._size:
            self._open += 1
            self._idle.append(self._expired.pop())

    # Waiting

    @reports_wait("sql")
    def _wait(self) -> StoreConnection:
        if self._open >= (1 if self._server else self._size) and never_waits.get():
            raise StoreBusyError("all its connections are in use")
        waiter = _Waiter()
        with self._lock:
            self._waiters.append(waiter)
        try:
            self._serve()
            self._ends(waiter)
        except BaseException:
            # A signal, or a greenlet's timeout.
            if not self._withdraws(waiter):
                self._return(waiter)
            raise
        if self._withdraws(waiter):
            raise self._waited_in_vain()
        if waiter.error is not None:
            raise waiter.error
        return waiter.connection or self._open_reserved()

    def _withdraws(self, waiter: _Waiter) -> bool:
        """Whether a waiter has got nothing so far; it then gets nothing any more."""
        with self._lock, contextlib.suppress(ValueError):
            self._waiters.remove(waiter)
            return True
        return False

    def _return(self, waiter: _Waiter) -> None:
        if waiter.connection is not None:
            self.give(waiter.connection)
        elif waiter.error is None:
            self._release()

    def _release(self) -> None:
        """There is room for one more connection."""
        with self._lock:
            self._open -= 1
        if self._waiters:
            self._serve()

    def _ends(self, waiter: _Waiter) -> bool:
        """Wait for a connection; up to twice as long while the process has no CPU."""
        remaining = limit = max(WAIT_LIMIT, self._timeout)
        self.thread.ensure_running()
        due, last = self.thread.now + limit, time.monotonic() + 2 * limit
        while not waiter.ended.wait(remaining):
            remaining = min(due - self.thread.now, last - time.monotonic())
            if remaining <= 0:
                return False
        return True

    def _waited_in_vain(self) -> StoreError:
        if not self._open:
            return StoreError("connecting took too long")
        if self._server and self._is_silent():
            return StoreError(_SILENT)
        return StoreBusyError("all its connections stayed in use")

    def _is_silent(self) -> bool:
        """Whether the store has answered no call within the last timeout."""
        return self.thread.now - self._answered >= self._timeout

    def _end_waiting(self, error: BaseException) -> None:
        while self._waiters:
            self._waiters.popleft().end(error=error)

    def _serve(self) -> None:
        """Give those that wait what is idle, and let connections be opened for the others."""
        with self._lock:
            while self._waiters:
                try:
                    connection = self._idle.pop()
                except IndexError:
                    break
                self._waiters.popleft().end(connection)
            if self._server:
                self._grow()
            else:
                while self._waiters and self._open < self._size:
                    # Some connections to SQLite are tied to their threads.
                    self._open += 1
                    self._waiters.popleft().end()

    def _open_reserved(self) -> StoreConnection:
        try:
            connection = self._connect()
        except BaseException:
            self._release()
            raise
        connection.generation = self._generation
        return connection

    # Connecting to a server

    def open(self, connect: Callable[[], StoreConnection]) -> StoreConnection:
        """Open a connection beside those of the pool.

        :raises StoreError: if it takes too long, or the error of the driver.
        """
        if not self._server:
            return connect()
        waiter = _Waiter()
        with self._lock:
            self._start(waiter.context, connect, waiter)
        try:
            self._ends(waiter)
        finally:
            with self._lock:
                waiter.left = not waiter.ended.is_set()
        if waiter.error is not None:
            raise waiter.error
        if waiter.connection is None:
            raise StoreError("connecting took too long")
        return waiter.connection

    def _grow(self) -> None:
        """Start as many attempts to connect as there may be connections for those that wait."""
        if self._open and time.monotonic() < self._refused_until:
            return
        room = self._size - self._open
        if self._expired:
            # One more than there may be, until its predecessor is closed for it.
            room = min(room, max(room - len(self._expired), 1))
        wanted = min(len(self._waiters), room) - len(self._recent())
        try:
            for number in range(wanted):
                self._start(self._waiters[number].context.copy(), self._connect)
        except (RuntimeError, StoreError) as error:
            self._give_up(error)

    def _recent(self) -> list[_Attempt]:
        """The attempts for any waiter that have not taken too long."""
        oldest = self.thread.now - CONNECT_TIMEOUT
        return [one for one in self._attempts if one.waiter is None and one.started > oldest]

    def _give_up(self, error: BaseException) -> None:
        """Start no attempt for some time, and let no call wait if there is nothing to wait for."""
        self._refused_until = time.monotonic() + _REFUSED_PAUSE
        if not self._open and not self._recent():
            self._end_waiting(error)

    def _start(
        self,
        context: contextvars.Context,
        connect: Callable[[], StoreConnection],
        waiter: _Waiter | None = None,
        replaces: StoreConnection | None = None,
    ) -> None:
        """Start an attempt to connect. Its driver may hang for ever, so their number is limited.

        :raises StoreError: if many attempts hang, and the last one was started not long ago.
        """
        oldest = self.thread.now - CONNECT_TIMEOUT
        if sum(one.started <= oldest for one in self._attempts) >= _MAX_HANGING:
            now = time.monotonic()
            if now < self._next_attempt:
                raise StoreError("many attempts to connect are still waiting")
            self._next_attempt = now + _RETRY_INTERVAL
        attempt = _Attempt(self.thread.now, self._generation, waiter, replaces)
        threading.Thread(
            target=context.run,
            args=(self._run, attempt, connect),
            name="authx-connect",
            daemon=True,
        ).start()
        self._attempts.append(attempt)

    def _run(self, attempt: _Attempt, connect: Callable[[], StoreConnection]) -> None:
        try:
            connection = connect()
        except BaseException as error:  # noqa: BLE001 - raised in the thread that waits
            self._failed(attempt, error)
            return
        connection.generation = attempt.generation
        waiter = attempt.waiter
        with self._lock:
            self._attempts.remove(attempt)
            if waiter is None:
                closed = self._admit(connection, attempt.replaces)
            else:
                waiter.end(connection)
                closed = connection if waiter.left else None
        if closed is not None:
            closed.close()
        if waiter is None:
            self._serve()

    def _failed(self, attempt: _Attempt, error: BaseException) -> None:
        with self._lock:
            self._attempts.remove(attempt)
            if attempt.waiter is not None:
                attempt.waiter.end(error=error)
                return
            self._note_refusal(error)
            self._give_up(error)
        if self._idle:
            self._serve()


def _replaced(connection: StoreConnection) -> int:
    """The generation of a connection once it has a successor, and the one that it had before."""
    return ~connection.generation


def close_all(connections: Iterable[StoreConnection]) -> None:
    """Close connections that no call uses."""
    for connection in connections:
        connection.close()


def _close_in(pid: int, *held: deque[StoreConnection]) -> None:
    if os.getpid() == pid:
        close_all(itertools.chain(*held))
    else:
        _inherited.extend(held)


#: A parent's connections, referenced so that garbage collection in a child doesn't close them.
_inherited: list[deque[StoreConnection]] = []
