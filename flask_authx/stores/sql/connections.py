"""A store's own connections to an SQL database, separate from the app's pool.

A few connections stay open, and each statement on them is its own transaction. A call waits for a
connection, a lock or a response for at most the timeout; opening a connection may take longer.
"""

from __future__ import annotations

import contextlib
import contextvars
import math
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool, StaticPool

from flask_authx.stores.base import (
    CONNECT_TIMEOUT,
    MAX_AGE,
    MAX_CONNECTIONS,
    StoreBusyError,
    StoreError,
    reports_wait,
)

from .deadlines import Deadline, DeadlineThread
from .tables import missing_in_database

T = TypeVar("T")


#: Seconds that one statement of maintenance may take: a batch of a prune, a count.
MAINTENANCE_TIMEOUT = 30.0
#: The number of attempts to connect that may hang in their drivers. At that number, a new attempt
#: is made only once in an interval, in seconds.
_MAX_HANGING, _RETRY_INTERVAL = 20, 15.0


class StoreConnection:
    """An open connection. One thread at a time uses it."""

    def __init__(self, connection: sa.Connection, *, in_memory: bool) -> None:
        self.sqlalchemy: sa.Connection = connection
        self.opened_at: float = time.monotonic()
        self._in_memory = in_memory
        #: One cursor for all calls of :meth:`fetch`.
        self._cursor: Any = connection.connection.cursor()
        descriptor = descriptor_of(connection)
        self.deadline: Deadline | None = None if descriptor is None else Deadline(descriptor)

    def fetch(self, query: str, values: Any) -> list[Any]:
        """Run a query on the driver's own cursor and return the rows.

        For queries that every request makes. A result through SQLAlchemy takes several times as
        long as SQLite needs for the query itself, and half as long as PostgreSQL needs.

        :param query: SQL with the driver's placeholders.
        :raises DBAPIError: if it fails.
        """
        dialect = self.sqlalchemy.dialect
        driver: Any = self._cursor.connection
        try:
            self._cursor.execute(query, values)
            rows: list[Any] = self._cursor.fetchall()
        except dialect.loaded_dbapi.Error as error:
            closed = dialect.is_disconnect(error, driver, self._cursor)
            failure: Exception = DBAPIError.instance(
                query,
                None,
                error,
                dialect.loaded_dbapi.Error,
                connection_invalidated=closed,
                dialect=dialect,
            )
        else:
            return rows
        raise failure

    @property
    def timed_out(self) -> bool:
        """Whether a call has exceeded its deadline, so that the connection is unusable."""
        return self.deadline is not None and self.deadline.expired

    def close(self) -> None:
        """Close the connection without sending anything to a server that may hang."""
        if not self._in_memory:
            # A database in memory would be lost with its only connection.
            with contextlib.suppress(Exception):
                self.sqlalchemy.invalidate()
        with contextlib.suppress(Exception):
            self.sqlalchemy.close()


class Run(Protocol):
    """Runs work on a connection."""

    def __call__(self, work: Callable[[StoreConnection], T], /) -> T:
        """Run the work and return its result."""
        ...


class Connections:
    """Runs statements on connections of its own.

    :param engine: defines how the app connects: URL, arguments and events.
    :param timeout: seconds.
    :param size: the maximum number of open connections.
    """

    def __init__(self, engine: sa.Engine, timeout: float, size: int = MAX_CONNECTIONS) -> None:
        self.in_memory: bool = is_in_memory(engine)
        self.engine: sa.Engine = _separate_engine(engine, in_memory=self.in_memory)
        #: SQLite has no server that could die, hang or be replaced.
        self._is_sqlite: bool = self.engine.dialect.name == "sqlite"
        self._timeout = timeout
        #: Whether connections stay open for later calls, which any thread may make.
        self._reuse = True
        self._size = 1 if self.in_memory else size
        self._reset()
        _all.add(self)

    def _reset(self) -> None:
        self._idle: deque[StoreConnection] = deque()
        # Runs when this object is collected, or when the program ends.
        self._finalizer = weakref.finalize(self, _close_all, self._idle)
        self._free = threading.Semaphore(self._size)
        #: Threads of attempts to connect that took too long.
        self._hanging: list[threading.Thread] = []
        self._next_attempt = 0.0
        # With this interval a call ends at most a tenth of its time early.
        self._deadline_thread = DeadlineThread(self._timeout / 10)

    def after_fork(self) -> Any:
        """Drop the parent's connections without closing them, since the parent still uses them.

        :returns: the parent's connections, which must not be garbage-collected.
        """
        inherited = self._idle
        self._finalizer.detach()
        self._reset()
        return inherited

    def close(self) -> None:
        """Close the connections that are not in use."""
        _close_all(self._idle)

    def run(self, work: Callable[[StoreConnection], T]) -> T:
        """Run the work on a connection that no other thread uses, and return its result.

        If the server has closed the connection, the work runs once more on a new one.

        :raises StoreBusyError: if all connections stay in use, or a lock is not released.
        """
        due = time.monotonic() + self._timeout
        waited = not self._free.acquire(blocking=False)
        if waited and not self._wait():
            raise StoreBusyError("all its connections stayed in use")
        try:
            had_idle = bool(self._idle)
            connection = self._take_idle()
            if waited and not had_idle and self._reuse:
                # The call that was waited for has closed its connection, so it has failed. This
                # call must not wait for a new connection as well.
                raise StoreBusyError("the call before it failed")
            return self._run_or_reconnect(connection, work, due)
        finally:
            self._free.release()

    @reports_wait("sql")
    def _wait(self) -> bool:
        return self._free.acquire(timeout=self._timeout)

    def _run_or_reconnect(
        self,
        connection: StoreConnection | None,
        work: Callable[[StoreConnection], T],
        due: float,
    ) -> T:
        if connection is not None:
            try:
                return self._call(connection, work, due)
            except DBAPIError as error:
                if not self._is_stale(error, connection):
                    raise self._error_for(error, connection) from None
            # The other idle connections are stale, too.
            _close_all(self._idle)
        new: StoreConnection | None = None
        try:
            new = self._open(self._timeout)
            return self._call(new, work, time.monotonic() + self._timeout)
        except DBAPIError as error:
            raise self._error_for(error, new) from None

    def _error_for(self, error: DBAPIError, connection: StoreConnection | None) -> Exception:
        """The error to raise for a driver's error.

        Closes all idle connections to a server: its name may lead to another server by now.
        """
        if "database is locked" in str(error.orig):
            return StoreBusyError("the SQLite file stayed locked by another connection")
        missing = missing_in_database(error)
        if missing is not None:
            return StoreError(missing)
        if not self._is_sqlite:
            _close_all(self._idle)
        if connection is not None and connection.timed_out:
            return StoreError("the database did not respond in time")
        return error

    def _is_stale(self, error: DBAPIError, connection: StoreConnection) -> bool:
        """Whether a new connection would help: the server, not the deadline, has closed this."""
        if "same thread" in str(error.orig):
            # An app's own creator of SQLite connections may tie each to its thread.
            self._reuse = False
            return True
        return error.connection_invalidated and not connection.timed_out

    @contextlib.contextmanager
    def maintenance(self) -> Generator[Run]:
        """A function that runs maintenance work on a new connection, with a longer timeout.

        It takes none of the connections that requests use.
        """
        if self.in_memory:
            # There is only one connection.
            yield self.run
            return
        connection = self._open(MAINTENANCE_TIMEOUT)

        def call(work: Callable[[StoreConnection], T]) -> T:
            due = time.monotonic() + MAINTENANCE_TIMEOUT
            try:
                return self._call(connection, work, due, keep=False)
            except DBAPIError as error:
                raise self._error_for(error, connection) from None

        try:
            yield call
        finally:
            connection.close()

    def _take_idle(self) -> StoreConnection | None:
        oldest = time.monotonic() - MAX_AGE
        with contextlib.suppress(IndexError):
            while True:
                connection = self._idle.pop()
                if connection.opened_at > oldest or self.in_memory:
                    return connection
                connection.close()
        return None

    def _call(
        self,
        connection: StoreConnection,
        work: Callable[[StoreConnection], T],
        due: float,
        *,
        keep: bool = True,
    ) -> T:
        deadline = connection.deadline
        usable = False
        try:
            if deadline is None:
                result = work(connection)
            else:
                with deadline.until(due):
                    self._deadline_thread.ensure_running()
                    result = work(connection)
            # A result that arrives late is valid, but its socket has been shut down meanwhile.
            usable = deadline is None or not deadline.expired
        except DBAPIError:
            # An SQLite connection stays usable: a lock is what usually fails a call.
            usable = self._is_sqlite
            raise
        finally:
            # After any other exception an unread response may be left on the connection.
            if not usable or (keep and not self._reuse):
                connection.close()
            elif keep:
                self._idle.append(connection)
        return result

    def _open(self, timeout: float) -> StoreConnection:
        """Open a connection, in a thread, since drivers differ in how long they try."""
        if self._is_sqlite:
            # Opening a file never blocks, and some connections are tied to their thread.
            return self._connect(timeout)
        self._limit_attempts()
        future: Future[StoreConnection] = Future()
        # An app's code that connects may use current_app.
        context = contextvars.copy_context()
        thread = threading.Thread(
            target=context.run,
            args=(self._connect_in_thread, future, timeout),
            name="authx-connect",
            daemon=True,
        )
        thread.start()
        try:
            connection = future.result(max(CONNECT_TIMEOUT, self._timeout))
        except TimeoutError:
            if future.cancel():
                self._hanging = [*self._hanging, thread]
                raise StoreError("connecting took too long") from None
            # The connection was opened between the timeout and the attempt to cancel.
            connection = future.result()
        if connection.deadline is not None:
            self._deadline_thread.add(connection.deadline)
        return connection

    def _limit_attempts(self) -> None:
        """Limit the attempts to connect that hang in their driver, possibly for ever.

        :raises StoreError: if there are many of them, and the last attempt was not long ago.
        """
        self._hanging = [thread for thread in self._hanging if thread.is_alive()]
        if len(self._hanging) >= _MAX_HANGING:
            now = time.monotonic()
            if now < self._next_attempt:
                raise StoreError("many attempts to connect are still waiting")
            self._next_attempt = now + _RETRY_INTERVAL

    def _connect_in_thread(self, future: Future[StoreConnection], timeout: float) -> None:
        try:
            connection = self._connect(timeout)
        except BaseException as error:  # noqa: BLE001 - raised in the thread that waits
            if future.set_running_or_notify_cancel():
                future.set_exception(error)
        else:
            if future.set_running_or_notify_cancel():
                future.set_result(connection)
            else:
                connection.close()

    def _connect(self, timeout: float) -> StoreConnection:
        connection = self.engine.connect()
        try:
            connection.execution_options(isolation_level="AUTOCOMMIT")
            for statement in settings_for(connection.dialect, timeout):
                connection.exec_driver_sql(statement)
            return StoreConnection(connection, in_memory=self.in_memory)
        except BaseException:
            connection.invalidate()
            connection.close()
            raise


def _close_all(idle: deque[StoreConnection]) -> None:
    with contextlib.suppress(IndexError):
        while True:
            idle.pop().close()


def is_in_memory(engine: sa.Engine) -> bool:
    """Whether the database is an in-memory SQLite database."""
    database = engine.url.database or ""
    return engine.dialect.name == "sqlite" and (
        database in ("", ":memory:") or "mode=memory" in str(engine.url) or ":memory:" in database
    )


def _separate_engine(engine: sa.Engine, *, in_memory: bool) -> sa.Engine:
    """An engine that connects as the app's engine does, but doesn't use its pool."""
    if in_memory:
        return sa.create_engine(
            "sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False}
        )

    def connect() -> Any:
        # A copy of the app's pool connects with the same arguments, creator and events. A new copy
        # each time includes events that were added since.
        pooled = engine.pool.recreate().connect()
        pooled.detach()
        return pooled.dbapi_connection

    # No rollback when a connection is closed: each statement has been committed.
    separate = sa.create_engine(
        engine.url, creator=connect, poolclass=NullPool, pool_reset_on_return=None
    )
    schemas = engine.get_execution_options().get("schema_translate_map")
    return separate.execution_options(schema_translate_map=schemas) if schemas else separate


def settings_for(dialect: sa.Dialect, timeout: float) -> Iterator[str]:
    """The statements that set up a new connection: timeouts, and durable commits."""
    milliseconds = max(1, math.floor(timeout * 1000))
    if dialect.name == "sqlite":
        yield f"PRAGMA busy_timeout = {milliseconds}"
        yield "PRAGMA synchronous = FULL"
        # In KiB, allocated on demand. The inner pages of a million rows exceed the default, 2 MiB.
        yield "PRAGMA cache_size = -8192"
    elif dialect.name == "postgresql":
        yield f"SET statement_timeout = {milliseconds}"
        # Under a stricter level, two concurrent revocations under one key could fail.
        yield "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED"
        yield (
            "SELECT set_config('synchronous_commit', 'on', false) "
            "WHERE current_setting('synchronous_commit') = 'off'"
        )
    else:
        yield f"SET SESSION innodb_lock_wait_timeout = {max(1, math.ceil(timeout))}"
        # Without gap locks a prune doesn't block other writes.
        yield "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED"
        if getattr(dialect, "is_mariadb", False):
            yield f"SET SESSION max_statement_time = {timeout}"
        else:
            yield f"SET SESSION max_execution_time = {milliseconds}"


def descriptor_of(connection: sa.Connection) -> int | None:
    """The descriptor of a connection's socket; ``None`` if there is none or it can't be found."""
    driver: Any = connection.connection.dbapi_connection
    # PyMySQL is the only common driver without a public fileno().
    source: Any = driver if hasattr(driver, "fileno") else getattr(driver, "_sock", None)
    return None if source is None else int(source.fileno())


_all: weakref.WeakSet[Connections] = weakref.WeakSet()
#: A parent's connections, referenced so that garbage collection in a child doesn't close them.
_inherited: list[Any] = []


def _after_fork() -> None:
    _inherited.extend(connections.after_fork() for connections in [*_all])


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
