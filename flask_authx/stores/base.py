"""What all stores have in common: how they fail, what they say of themselves, their limits."""

from __future__ import annotations

from dataclasses import dataclass

#: Seconds within which a connection to a server must be open, unless a store's timeout is longer.
CONNECT_TIMEOUT = 1.5
#: Seconds after which a connection is given up: its server's name may lead to another one by now,
#: and the old one may answer as if nothing had happened.
MAX_AGE = 60.0
#: Connections that a store holds open.
MAX_CONNECTIONS = 5


class StoreError(Exception):
    """A store can't answer now."""


class StoreBusyError(StoreError):
    """A store can't answer in time since others use it; it has not failed."""


class UncommittedWritesError(RuntimeError):
    """The app's own uncommitted writes stand in the way: the program is wrong, not the store."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """How far a prune has come.

    :param removed: the entries that the last batch has removed.
    :param share: how much has been looked through, from 0 to 1.
    """

    removed: int
    share: float


@dataclass(frozen=True, slots=True)
class Risk:
    """How a store could lose or miss a revocation, and what to do about it.

    :param fatal: whether nothing works before that is done.
    """

    problem: str
    fix: str
    fatal: bool = False
