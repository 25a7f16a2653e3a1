"""Readiness: whether the stores of one ``AuthX`` object answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from flask_authx.process_lock import ProcessLock
from flask_authx.stores.base import StoreBusyError, StoreError, never_waits

#: Seconds for which an answer is shared.
_SHARED = 1.0


@dataclass(frozen=True, slots=True)
class Readiness:
    """Which stores answer. True if all of them do, or if there are none.

    :param stores: by "revocations", "sessions" and "audit records", those that the app has.
    """

    stores: Mapping[str, bool]

    def __bool__(self) -> bool:
        return all(self.stores.values())


class Checkable(Protocol):
    """What has a store that can be asked."""

    def check(self) -> None:
        """Make a look-up, unless one has succeeded within the last second.

        :raises StoreError: if it fails.
        """
        ...


class ReadinessCheck:
    """Asks stores at most once a second, for all threads.

    It asks as a request does, by a look-up on a connection that the store has: a server that is
    full refuses new connections, while look-ups on open ones succeed. A store that requests use is
    not asked, and no connection is waited for, so look-ups have them all and a probe has its answer
    soon. One that has failed is in use again as soon as it answers, also if no requests come
    meanwhile.

    :param stores: by their names.
    :param clock: monotonic seconds. The default does not stand still where tests freeze time.
    """

    def __init__(
        self, stores: Mapping[str, Checkable], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stores = stores
        self._clock = clock
        self._lock = ProcessLock()
        self._last: tuple[float, Readiness] | None = None

    def __call__(self) -> Readiness:
        """Which stores answer."""
        with self._lock:
            last = self._last
            if last is not None and self._clock() - last[0] < _SHARED:
                return last[1]
            token = never_waits.set(True)
            try:
                answer = Readiness({name: _answers(one) for name, one in self._stores.items()})
            finally:
                never_waits.reset(token)
            self._last = (self._clock(), answer)
            return answer


def _answers(store: Checkable) -> bool:
    try:
        store.check()
    except StoreBusyError:
        # It has not failed, and a process without requests would leave the others more of them.
        return True
    except StoreError:
        return False
    return True
