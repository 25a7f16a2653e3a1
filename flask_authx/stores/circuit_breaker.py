"""A store that has failed is left alone for a moment.

So its failure costs one wait a second and not one a request.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from typing import TypeVar

from .base import StoreBusyError, StoreError, UncommittedWritesError

T = TypeVar("T")
_log = logging.getLogger("flask_authx")


class CircuitBreaker:
    """Calls a store, unless it failed less than a second ago.

    :param what: what it is that is called, for the log.
    :param clock: seconds that only ever grow.
    :param how: what it fails to do, for the log.
    """

    #: Seconds.
    PAUSE = 1.0

    def __init__(
        self, what: str, clock: Callable[[], float] = time.monotonic, *, how: str = ""
    ) -> None:
        self._what = what
        self._failed = f"{what} failed {how}".rstrip()
        self._clock = clock
        #: When it may be tried again; 0 while it works. Without a lock: two that try at the same
        #: moment do no harm.
        self._retry_at = 0.0
        self._logged_at = -math.inf

    def call(self, work: Callable[..., T], *args: object) -> T:
        """What the work returns.

        :raises StoreError: if it fails, or is not tried since it has just failed.
        :raises UncommittedWritesError: if the app itself stands in its way.
        """
        # Only this call's success would say that it works again; others may have begun before.
        trying = bool(self._retry_at)
        if trying:
            now = self._clock()
            if now < self._retry_at:
                raise StoreError(f"{self._failed} a moment ago")
            # Whoever comes meanwhile doesn't wait for the outcome of this.
            self._retry_at = now + self.PAUSE
        try:
            answer = work(*args)
        except UncommittedWritesError:
            raise
        except StoreBusyError as error:
            self._note(error)
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, there is no answer
            self._retry_at = self._clock() + self.PAUSE
            self._note(error)
        else:
            if trying:
                self._retry_at = 0.0
                _log.warning("%s answers again", self._what)
            return answer
        # Without a cause: a driver's error may hold a statement's parameters, and it is logged.
        raise StoreError(self._failed)

    def _note(self, error: Exception) -> None:
        now = self._clock()
        if now - self._logged_at >= self.PAUSE:
            self._logged_at = now
            # Drivers add lines of advice; the first says what happened.
            what = (str(error).strip().splitlines() or [""])[0]
            _log.error("%s: %s: %s", self._failed, type(error).__name__, what)


class ProtectedStore:
    """A circuit breaker for each kind of call to a store.

    They fail apart from each other: a store that takes no writes can still be queried.

    :param what: what is kept in the store, as a plural, for the log.
    """

    def __init__(self, what: str) -> None:
        store = f"the store of {what}"
        #: Each runs a call and returns its result, or raises :exc:`StoreError`.
        self.read = CircuitBreaker(store).call
        self.write = CircuitBreaker(store, how="to write").call
        self.inspect = CircuitBreaker(store, how="to say how it is set up").call
        self.prune = CircuitBreaker(store, how="to remove what has expired").call
