"""Circuit breaker: a store that keeps failing is not called for a second.

Its failure then costs one timeout a second and not one for each request.
"""

from __future__ import annotations

import logging
import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from .base import StoreBusyError, StoreError, UncommittedWritesError

T = TypeVar("T")
_log = logging.getLogger("flask_authx")

#: Parts of a malformed connection string, which drivers quote: a password that was not escaped.
_QUOTED = re.compile(r"""[^\s'"]+@|(?<=percent-encoded token: ).+|(?<=missing "=" after ).+""")
#: What a store failed to do, for the log.
_TASKS = {
    "read": "",
    "write": "to write",
    "list": "to list",
    "inspect": "to report its configuration",
    "prune": "to remove what has expired",
}


class Observer(Protocol):
    """Is told when a store has failed, and when it works again."""

    def store_failed(self, store: str, operation: str, error_class: str) -> None:
        """A circuit has opened.

        :param error_class: the name of the last error's class.
        """
        ...

    def store_recovered(self, store: str, operation: str, seconds: float) -> None:
        """A circuit has closed.

        :param seconds: for how long it was open.
        """
        ...


@dataclass(slots=True, eq=False)
class _Outage:
    began: float
    #: When the store may be called again.
    retry_at: float


class CircuitBreaker:
    """Calls a store, unless it is failing.

    After 5 failures in a row, or when half of at least 20 calls of the last 10 seconds have failed,
    the circuit opens: the store is called once a second, until a call succeeds. A call that fails
    because the store is busy is neither a failure nor a success.

    There is no lock, which a fork could leave locked for ever. Counts may miss calls that end at
    the same moment; a circuit opens and closes once.

    :param name: what is called, for the log.
    :param clock: monotonic seconds. The default does not stand still where tests freeze time.
    :param store: what is called, for the fields of the log and the observer.
    :param operation: what the calls do: "read", "write", "list", "inspect" or "prune".
    """

    #: Seconds without calls after a failure, while the circuit is open.
    PAUSE = 1.0
    #: Failures in a row that open the circuit.
    IN_A_ROW = 5
    #: Or half of at least so many calls, within so many seconds.
    CALLS, WINDOW = 20, 10.0

    def __init__(
        self,
        name: str,
        clock: Callable[[], float] = time.monotonic,
        *,
        store: str = "store",
        operation: str = "read",
        observer: Observer | None = None,
    ) -> None:
        self._name = name
        self._failed = f"{name} failed {_TASKS[operation]}".rstrip()
        self._clock = clock
        self._store = store
        self._operation = operation
        self._observer = observer
        #: The outage, while the circuit is open. A dict, since setting and removing a key are
        #: atomic: one thread opens the circuit, and one closes it.
        self._outages: dict[str, _Outage] = {}
        self._in_a_row = self._calls = self._failures = 0
        #: About once a second: when, and the numbers of calls and failures until then.
        self._marks: tuple[tuple[float, int, int], ...] = ()
        self._next_mark = -math.inf
        #: By what is logged: when it was logged last.
        self._logged_at: dict[str, float] = {}

    def call(self, work: Callable[..., T], *args: object) -> T:
        """Call the work and return its result.

        :raises StoreError: if it fails, or is not called since the circuit is open.
        :raises StoreBusyError: if the store is busy.
        :raises UncommittedWritesError: if the app's own uncommitted writes block the store.
        """
        began = self._clock()
        # Only the success of a retry closes the circuit; other calls may have begun before the
        # failures.
        retrying = bool(self._outages)
        if retrying:
            self._check_pause(began)
        elif began >= self._next_mark:
            self._mark(began)
        try:
            result = work(*args)
        except UncommittedWritesError:
            raise
        except StoreBusyError as error:
            self._log_error(logging.WARNING, f"{self._name} is busy", error, began)
            raise
        except Exception as error:  # noqa: BLE001 - a store may raise any exception
            self._log_error(logging.ERROR, self._failed, error, began)
            self._count_failure(error)
            # A driver's error may contain a statement's parameters.
            message = f"{self._failed}: {error}" if isinstance(error, StoreError) else self._failed
        else:
            self._calls += 1
            self._in_a_row = 0
            if retrying:
                self._close()
            return result
        # Without a cause, which would be logged.
        raise StoreError(message)

    def is_open(self) -> bool:
        """Whether the store keeps failing, so that it is called once a second."""
        return bool(self._outages)

    def succeeded_lately(self) -> bool:
        """Whether a call has succeeded within the last second, and the circuit is closed."""
        if self._outages or not self._marks:
            return False
        marked_at, calls, failures = self._marks[-1]
        is_recent = self._clock() - marked_at <= 1
        return is_recent and self._calls - self._failures > calls - failures

    def _mark(self, now: float) -> None:
        self._next_mark = now + 1
        self._marks = (*self._marks[-10:], (now, self._calls, self._failures))

    def _check_pause(self, now: float) -> None:
        outage = self._outages.get("now")
        if outage is None:
            return
        if now < outage.retry_at:
            raise StoreError(f"{self._failed} less than a second ago")
        # Concurrent calls fail at once and don't wait for the outcome of this one.
        outage.retry_at = now + self.PAUSE

    def _count_failure(self, error: Exception) -> None:
        self._calls += 1
        self._failures += 1
        self._in_a_row += 1
        now = self._clock()
        outage = self._outages.get("now")
        if outage is not None:
            outage.retry_at = now + self.PAUSE
        elif self._in_a_row >= self.IN_A_ROW or self._half_failed(now):
            self._open(now, type(error).__name__)

    def _half_failed(self, now: float) -> bool:
        since = [mark for mark in self._marks if now - mark[0] <= self.WINDOW]
        if not since:
            return False
        _, calls, failures = since[0]
        calls, failures = self._calls - calls, self._failures - failures
        return calls >= self.CALLS and 2 * failures >= calls

    def _open(self, now: float, error_class: str) -> None:
        outage = _Outage(now, now + self.PAUSE)
        if self._outages.setdefault("now", outage) is not outage:
            return
        _log.error(
            "%s too often: it is called once a second until it works",
            self._failed,
            extra=self._fields(error_class=error_class),
        )
        if self._observer is not None:
            self._observer.store_failed(self._store, self._operation, error_class)

    def _close(self) -> None:
        outage = self._outages.pop("now", None)
        if outage is None:
            return
        # What was before no longer counts.
        self._marks, self._next_mark = (), -math.inf
        seconds = round(self._clock() - outage.began, 3)
        _log.warning("%s is available again", self._name, extra=self._fields(seconds=seconds))
        if self._observer is not None:
            self._observer.store_recovered(self._store, self._operation, seconds)

    def _log_error(self, level: int, what: str, error: Exception, began: float) -> None:
        now = self._clock()
        if now - self._logged_at.get(what, -math.inf) < self.PAUSE:
            return
        self._logged_at[what] = now
        # Drivers append the statement and lines of advice; the first line states the error.
        message = _QUOTED.sub("***", (str(error).strip().splitlines() or [""])[0])
        name = type(error).__name__
        fields = self._fields(seconds=round(now - began, 3), error_class=name)
        _log.log(level, "%s: %s: %s", what, name, message, extra=fields)

    def _fields(self, **more: object) -> dict[str, object]:
        return {"store": self._store, "operation": self._operation, **more}


class Call(Protocol):
    """Runs a call to a store."""

    def __call__(self, work: Callable[..., T], /, *args: object) -> T:
        """The result of the call.

        :raises StoreError: if it fails, or is not made since the last ones have failed.
        """
        ...


class CallRecord(Protocol):
    """Is told of each call to a store."""

    def __call__(self, store: str, operation: str, outcome: str, seconds: float, /) -> None:
        """Record a call.

        :param outcome: "ok", "busy" or "failed".
        """
        ...


def _measured(call: Call, store: str, operation: str, record: CallRecord) -> Call:
    """A call that is recorded."""

    def measured(work: Callable[..., T], *args: object) -> T:
        began, outcome = time.perf_counter(), "failed"
        try:
            result = call(work, *args)
            outcome = "ok"
        except StoreBusyError:
            outcome = "busy"
            raise
        finally:
            record(store, operation, outcome, time.perf_counter() - began)
        return result

    return measured


class ProtectedStore:
    """A circuit breaker for each kind of call to a store.

    They open independently: a store that refuses writes can still be queried, and one that is slow
    to list many rows still finds a single one.

    :param what: what the store contains, as a plural.
    :param name: of the store, for the log; by default "the store of" what it contains.
    """

    def __init__(
        self, what: str, observer: Observer | None = None, *, name: str | None = None
    ) -> None:
        def breaker(operation: str) -> CircuitBreaker:
            words = name or f"the store of {what}"
            return CircuitBreaker(words, store=what, operation=operation, observer=observer)

        self._what = what
        self._reader = breaker("read")
        #: Each calls a function and returns its result, or raises :exc:`StoreError`.
        self.read: Call = self._reader.call
        self.write: Call = breaker("write").call
        self.list: Call = breaker("list").call
        self.inspect: Call = breaker("inspect").call
        self.prune: Call = breaker("prune").call

    def is_down(self) -> bool:
        """Whether look-ups keep failing. One that has failed may have met a slow answer."""
        return self._reader.is_open()

    def measure(self, record: CallRecord) -> None:
        """Record each call from now on."""
        self.read = _measured(self.read, self._what, "read", record)
        self.write = _measured(self.write, self._what, "write", record)
        self.list = _measured(self.list, self._what, "list", record)
        self.inspect = _measured(self.inspect, self._what, "inspect", record)
        self.prune = _measured(self.prune, self._what, "prune", record)

    def check(self, look_up: Callable[[], object]) -> None:
        """Make a look-up, unless one has succeeded within the last second.

        :raises StoreError: if it fails.
        """
        if not self._reader.succeeded_lately():
            self.read(look_up)
