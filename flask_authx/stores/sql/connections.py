"""A store's own connections to an SQL database, separate from the app's pool.

Each statement on them is its own transaction. A call waits for one of them for at most
:data:`WAIT_LIMIT` or the timeout; from then on it waits for a lock or a response for at most the
timeout.
"""

from __future__ import annotations

import contextlib
import functools
import os
import weakref
from collections.abc import Callable, Generator
from typing import Protocol, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from flask_authx.errors import BadConfigurationError
from flask_authx.stores.base import MAX_CONNECTIONS, StoreBusyError, StoreError

from .connecting import StoreConnection, connect, has_gone, is_in_memory, separate_engine
from .deadlines import DeadlineThread
from .pool import Pool
from .tables import missing_in_database

__all__ = ("MAINTENANCE_TIMEOUT", "Connections", "Run", "StoreConnection")

T = TypeVar("T")

_DIALECTS = ("sqlite", "postgresql", "mysql", "mariadb")
#: Seconds that one statement of maintenance may take: a batch of a prune, a count.
MAINTENANCE_TIMEOUT = 30.0
#: The thread that enforces deadlines, by process: a server may fork without Python's hooks, as
#: uWSGI does, and a child has no thread of its parent.
_threads: dict[int, DeadlineThread] = {}


class Run(Protocol):
    """Runs work on a connection."""

    def __call__(self, work: Callable[[StoreConnection], T], /) -> T:
        """Run the work and return its result."""
        ...


class Connections:
    """Runs statements on connections of its own.

    :param engine: defines how the app connects: URL, arguments and events.
    :param timeout: seconds.
    :param size: the maximum number of connections of a process.
    :raises BadConfigurationError: if the database is not SQLite, PostgreSQL, MariaDB or MySQL.
    """

    def __init__(self, engine: sa.Engine, timeout: float, size: int = MAX_CONNECTIONS) -> None:
        if engine.dialect.name not in _DIALECTS:
            raise BadConfigurationError(
                "revocations and sessions are stored in SQLite, PostgreSQL, MariaDB or MySQL, and "
                f"not in {engine.dialect.name}: use redis:// or a bind of another database."
            )
        self.in_memory: bool = is_in_memory(engine)
        self.engine: sa.Engine = separate_engine(engine)
        #: SQLite has no server that could die, hang or be replaced.
        self._is_sqlite: bool = self.engine.dialect.name == "sqlite"
        self._timeout = timeout
        self._size = 1 if self.in_memory else size
        #: Whether connections stay open for later calls, which any thread may make.
        self._reuse = True
        #: By process, as :data:`_threads`. A child leaves its parent's connections alone.
        self._pools: dict[int, Pool] = {}

    @classmethod
    def shared(cls, engine: sa.Engine, timeout: float, size: int) -> Connections:
        """Those that others with the same engine, timeout and size use, or new ones."""
        return _shared.setdefault((engine, timeout, size), cls(engine, timeout, size))

    def _pool(self) -> Pool:
        pid = os.getpid()
        thread = _threads.setdefault(pid, DeadlineThread())
        made = Pool(
            functools.partial(self._connect, thread, self._timeout),
            self._size,
            self._timeout,
            thread,
            server=not self._is_sqlite,
        )
        return self._pools.setdefault(pid, made)

    def _connect(self, thread: DeadlineThread, timeout: float) -> StoreConnection:
        try:
            connection = connect(self.engine, timeout)
        except DBAPIError as error:
            raise _error_for(error) from None
        if connection.deadline is not None:
            thread.add(connection.deadline, timeout)
        return connection

    def close(self) -> None:
        """Close the connections that are not in use."""
        if (pool := self._pools.get(os.getpid())) is not None:
            pool.close()

    def run(self, work: Callable[[StoreConnection], T]) -> T:
        """Run the work on a connection that no other thread uses, and return its result.

        If the server has closed the connection, or takes no more writes, the work runs once more on
        a new one.

        :raises StoreBusyError: if all connections stay in use, or a lock is not released.
        """
        pool = self._pools.get(os.getpid()) or self._pool()
        connection = pool.take()
        proven = connection.proven
        try:
            return self._call(pool, connection, work)
        except DBAPIError as error:
            if not proven or not self._is_stale(error, connection):
                raise _error_for(error, connection) from None
        connection = pool.take()
        try:
            return self._call(pool, connection, work)
        except DBAPIError as error:
            raise _error_for(error, connection) from None

    def _call(
        self, pool: Pool, connection: StoreConnection, work: Callable[[StoreConnection], T]
    ) -> T:
        usable = False
        try:
            result = _run_on(connection, pool.thread, self._timeout, work)
            # A result that arrives late is valid, but its socket has been shut down meanwhile.
            usable = not connection.timed_out
        except DBAPIError as error:
            # An SQLite connection stays usable: a lock is what usually fails a call.
            usable = self._is_sqlite
            if self._is_stale(error, connection):
                pool.close_like(connection)
            raise
        finally:
            # After any other exception an unread response may be left on the connection.
            if usable and self._reuse:
                connection.proven = True
                pool.give(connection)
            else:
                pool.drop(connection)
        return result

    def _is_stale(self, error: DBAPIError, connection: StoreConnection) -> bool:
        """Whether a new connection would help: the server, not the deadline, has ended this one."""
        if "same thread" in str(error.orig):
            # An app's own creator of SQLite connections may tie each to its thread.
            self._reuse = False
            return True
        return has_gone(error) and not connection.timed_out

    @contextlib.contextmanager
    def maintenance(self) -> Generator[Run]:
        """A function that runs maintenance work on a new connection, with a longer timeout.

        It takes none of the connections that requests use.
        """
        if self.in_memory:
            # There is only one connection.
            yield self.run
            return
        pool = self._pools.get(os.getpid()) or self._pool()
        connection = pool.open(functools.partial(self._connect, pool.thread, MAINTENANCE_TIMEOUT))

        def call(work: Callable[[StoreConnection], T]) -> T:
            try:
                return _run_on(connection, pool.thread, MAINTENANCE_TIMEOUT, work)
            except DBAPIError as error:
                raise _error_for(error, connection) from None

        try:
            yield call
        finally:
            connection.close()


def _run_on(
    connection: StoreConnection,
    thread: DeadlineThread,
    timeout: float,
    work: Callable[[StoreConnection], T],
) -> T:
    deadline = connection.deadline
    if deadline is None:
        return work(connection)
    deadline.due = thread.now + timeout
    try:
        thread.ensure_running()
        return work(connection)
    finally:
        deadline.stop()


def _error_for(error: DBAPIError, connection: StoreConnection | None = None) -> Exception:
    """The error to raise for a driver's error."""
    if "database is locked" in str(error.orig):
        return StoreBusyError("the SQLite file stayed locked by another connection")
    if connection is not None and connection.timed_out:
        return StoreError("the database did not respond in time")
    missing = missing_in_database(error)
    return error if missing is None else StoreError(missing)


_shared: weakref.WeakValueDictionary[tuple[sa.Engine, float, int], Connections] = (
    weakref.WeakValueDictionary()
)
