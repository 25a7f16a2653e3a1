"""Circuit breaker: a store that has failed is not called for a second.

A failure then costs one timeout a second and not one for each request.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from typing import Protocol, TypeVar

from .base import StoreBusyError, StoreError, UncommittedWritesError

T = TypeVar("T")
_log = logging.getLogger("flask_authx")


class CircuitBreaker:
    """Calls a store, unless it failed less than a second ago.

    :param name: what is called, for the log.
    :param clock: monotonic seconds.
    :param task: what the calls do, for the log: "to write".
    """

    #: Seconds without calls after a failure.
    PAUSE = 1.0

    def __init__(
        self, name: str, clock: Callable[[], float] = time.monotonic, *, task: str = ""
    ) -> None:
        self._name = name
        self._failed = f"{name} failed {task}".rstrip()
        self._clock = clock
        #: When the store may be called again; 0 while it works. There is no lock: two calls at the
        #: same moment do no harm.
        self._retry_at = 0.0
        self._logged_at = -math.inf

    def call(self, work: Callable[..., T], *args: object) -> T:
        """Call the work and return its result.

        :raises StoreError: if it fails, or is not called since it has just failed.
        :raises UncommittedWritesError: if the app's own uncommitted writes block the store.
        """
        # Only the success of a retry closes the circuit; other calls may have begun before the
        # failure.
        retrying = bool(self._retry_at)
        if retrying:
            now = self._clock()
            if now < self._retry_at:
                raise StoreError(f"{self._failed} less than a second ago")
            # Concurrent calls fail at once and don't wait for the outcome of this one.
            self._retry_at = now + self.PAUSE
        try:
            result = work(*args)
        except UncommittedWritesError:
            raise
        except StoreBusyError as error:
            self._log_error(error)
            raise
        except Exception as error:  # noqa: BLE001 - a store may raise any exception
            self._retry_at = self._clock() + self.PAUSE
            self._log_error(error)
        else:
            if retrying:
                self._retry_at = 0.0
                _log.warning("%s is available again", self._name)
            return result
        # Without a cause: a driver's error may contain a statement's parameters, and it is logged.
        raise StoreError(self._failed)

    def _log_error(self, error: Exception) -> None:
        now = self._clock()
        if now - self._logged_at >= self.PAUSE:
            self._logged_at = now
            # Drivers append lines of advice; the first line states the error.
            message = (str(error).strip().splitlines() or [""])[0]
            _log.error("%s: %s: %s", self._failed, type(error).__name__, message)


class Call(Protocol):
    """Runs a call to a store."""

    def __call__(self, work: Callable[..., T], /, *args: object) -> T:
        """The result of the call.

        :raises StoreError: if it fails, or is not made since another has just failed.
        """
        ...


class ProtectedStore:
    """A circuit breaker for each kind of call to a store.

    They fail independently: a store that refuses writes can still be queried.

    :param what: what the store contains, as a plural, for the log.
    """

    def __init__(self, what: str) -> None:
        store = f"the store of {what}"
        #: Each calls a function and returns its result, or raises :exc:`StoreError`.
        self.read: Call = CircuitBreaker(store).call
        self.write: Call = CircuitBreaker(store, task="to write").call
        self.inspect: Call = CircuitBreaker(store, task="to report its configuration").call
        self.prune: Call = CircuitBreaker(store, task="to remove what has expired").call
