"""What all stores share: errors, limits, and the values that describe their state."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from flask_authx.tracebacks import outline

P = ParamSpec("P")
T = TypeVar("T")
_log = logging.getLogger("flask_authx")

#: Seconds within which a connection to a server must be open, unless a store's timeout is longer.
CONNECT_TIMEOUT = 1.5
#: Seconds that a call waits for one of the store's connections, unless its timeout is longer.
WAIT_LIMIT = 1.5
#: Seconds after which a connection is replaced: after a fail-over the server's name may lead to
#: another server, while the old one still accepts commands.
MAX_AGE = 60.0
#: Seconds after which its successor is opened, while calls go on using it.
RENEW_AGE = 0.75 * MAX_AGE
#: Connections that a process holds to a store, at most, unless told otherwise.
MAX_CONNECTIONS = 10


#: Microseconds in a second.
MICROSECONDS = 10**6


#: Whether a call is refused as busy at once where another one would wait for a connection.
never_waits: ContextVar[bool] = ContextVar("flask_authx_never_waits", default=False)


def system_clock() -> float:
    """Seconds since 1970-01-01 UTC, by the function that :mod:`time` has at this moment.

    A test that replaces that function also moves the clocks that were created before.
    """
    return time.time()


#: By its owner: what is told how long a call has waited for a connection. They are of the process,
#: whose connections several apps may share.
wait_listeners: dict[object, Callable[[str, float], None]] = {}


def reports_wait(kind: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Decorate a function that waits for a connection: tells how long each call has taken.

    A listener that raises is logged. The connection that was waited for is handed out all the same.

    :param kind: of the store: "sql" or "redis".
    """

    def decorate(wait: Callable[P, T]) -> Callable[P, T]:
        @functools.wraps(wait)
        def waiting(*args: P.args, **kwargs: P.kwargs) -> T:
            began = time.monotonic()
            try:
                return wait(*args, **kwargs)
            finally:
                _tell_listeners(kind, time.monotonic() - began)

        return waiting

    return decorate


def _tell_listeners(kind: str, seconds: float) -> None:
    # A copy: apps are created and metrics are set up while others wait.
    for listener in wait_listeners.copy().values():
        try:
            listener(kind, seconds)
        except Exception as error:  # noqa: BLE001 - an app's code may raise any exception
            _log.error("a listener to the waits for a connection raised %s", outline(error))


class StoreError(Exception):
    """A store is unavailable."""

    #: Why a request is refused then, for the log: a fixed text.
    reason = "the store has failed"


class StoreBusyError(StoreError):
    """A store is too busy to complete this call in time; it has not failed."""

    reason = "the store is busy"


class UncommittedWritesError(RuntimeError):
    """The app's own uncommitted writes block the store: a programming error, not a failure."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """The progress of a prune.

    :param removed: the number of entries that the last batch has removed.
    :param share: how much of the store has been searched, from 0 to 1.
    """

    removed: int
    share: float


@dataclass(frozen=True, slots=True)
class Risk:
    """How a store could lose or miss a revocation, and how to fix it.

    :param fatal: whether the store is unusable until it is fixed.
    """

    problem: str
    fix: str
    fatal: bool = False
