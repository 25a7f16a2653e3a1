"""What all stores share: errors, limits, and the values that describe their state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

#: Seconds within which a connection to a server must be open, unless a store's timeout is longer.
CONNECT_TIMEOUT = 1.5
#: Seconds after which a connection is replaced: after a fail-over the server's name may lead to
#: another server, while the old one still accepts commands.
MAX_AGE = 60.0
#: Connections that a store holds open.
MAX_CONNECTIONS = 5


#: By its owner: what is told how long a call has waited for a connection. One process shares its
#: connections, whichever app a call is of.
wait_listeners: dict[object, Callable[[str, float], None]] = {}


def report_wait(kind: str, seconds: float) -> None:
    """Tell that a call has waited for a connection, whether or not it got one.

    :param kind: of the store: "sql" or "redis".
    """
    for listener in wait_listeners.values():
        listener(kind, seconds)


class StoreError(Exception):
    """A store is unavailable."""


class StoreBusyError(StoreError):
    """A store is too busy to complete this call in time; it has not failed."""


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
