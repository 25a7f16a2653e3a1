"""A store's own connections to an SQL database, beside the app's pool and never from it.

They are few, held open, and each statement on them is a transaction of its own. A call waits for
at most the timeout, for a connection, for a lock or for an answer; opening a connection may take
a little longer.
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
)

from .deadlines import Deadline, DeadlineThread

T = TypeVar("T")


#: Seconds that one statement of maintenance may take: a batch of a prune, a count.
LONG_TIMEOUT = 30.0
#: Attempts to connect that may hang in their drivers, before others are made only rarely: seconds.
_MANY, _RARELY = 20, 15.0


class Held:
    """An open connection. One thread at a time uses it."""

    def __init__(self, connection: sa.Connection, *, in_memory: bool) -> None:
        self.connection: sa.Connection = connection
        self.born: float = time.monotonic()
        self._in_memory = in_memory
        #: Cheap, and made anew only with the connection.
        self._cursor: Any = connection.connection.cursor()
        descriptor = descriptor_of(connection)
        self.leash: Deadline | None = None if descriptor is None else Deadline(descriptor)

    def fetch(self, query: str, values: Any) -> list[Any]:
        """The rows of a query in the driver's own terms, asked on a cursor that is kept.

        For what every request asks. SQLAlchemy's way to a result takes several times as long as
        SQLite's answer, and half as long as PostgreSQL's.

        :raises DBAPIError: if it fails.
        """
        dialect = self.connection.dialect
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

    def close(self) -> None:
        """Hang up, without a word to a server that may not be listening."""
        if not self._in_memory:
            # What is in memory would be lost with its only connection.
            with contextlib.suppress(Exception):
                self.connection.invalidate()
        with contextlib.suppress(Exception):
            self.connection.close()


class Run(Protocol):
    """Runs work on a connection."""

    def __call__(self, work: Callable[[Held], T], /) -> T:
        """What the work returns."""
        ...


class Connections:
    """Runs statements on connections of its own.

    :param engine: says how the app connects: to where, with which arguments and events.
    :param timeout: seconds.
    :param size: the most connections that are held.
    """

    def __init__(self, engine: sa.Engine, timeout: float, size: int = MAX_CONNECTIONS) -> None:
        self.in_memory: bool = is_in_memory(engine)
        self.engine: sa.Engine = _own(engine, in_memory=self.in_memory)
        #: SQLite: there is no server that could be gone, hang or be another one.
        self._is_sqlite: bool = self.engine.dialect.name == "sqlite"
        self._timeout = timeout
        #: Whether a connection may go from thread to thread, and so is held open.
        self._share = True
        self._size = 1 if self.in_memory else size
        self._reset()
        _all.add(self)

    def _reset(self) -> None:
        self._idle: deque[Held] = deque()
        # When this is not used any more, or the program ends.
        self._finalizer = weakref.finalize(self, _close_all, self._idle)
        self._free = threading.Semaphore(self._size)
        self._given_up: list[threading.Thread] = []
        self._next_attempt = 0.0
        # Thin enough to end a call within a tenth of its time before it is over.
        self._watch = DeadlineThread(self._timeout / 10)

    def after_fork(self) -> Any:
        """Forget the parent's connections, without closing what the parent still uses."""
        left = self._idle
        self._finalizer.detach()
        self._reset()
        return left

    def close(self) -> None:
        """Close the connections that are not in use."""
        _close_all(self._idle)

    def run(self, work: Callable[[Held], T]) -> T:
        """What the work returns, on a connection of this thread's for so long.

        If the connection turns out to have been closed by the server, the work is done once more
        on a new one.

        :raises StoreBusyError: if all connections stay in use, or a lock is not given up.
        """
        due = time.monotonic() + self._timeout
        waited = not self._free.acquire(blocking=False)
        if waited and not self._free.acquire(timeout=self._timeout):
            raise StoreBusyError("all its connections stayed in use")
        try:
            left = bool(self._idle)
            held = self._take()
            if waited and not left and self._share:
                # Whoever had it has just hung up. That connecting goes better is not worth waiting.
                raise StoreBusyError("the call before it failed")
            return self._tried(held, work, due)
        finally:
            self._free.release()

    def _tried(self, held: Held | None, work: Callable[[Held], T], due: float) -> T:
        if held is not None:
            try:
                return self._call(held, work, due)
            except DBAPIError as error:
                if not self._is_stale(error, held):
                    raise self._judged(error, held) from None
            # Those that were left open with it are no better.
            _close_all(self._idle)
        made: Held | None = None
        try:
            made = self._open(self._timeout)
            return self._call(made, work, time.monotonic() + self._timeout)
        except DBAPIError as error:
            raise self._judged(error, made) from None

    def _judged(self, error: DBAPIError, held: Held | None) -> Exception:
        """What to make of a failure. A server may have become another one behind its name.

        So after a failure all connections to servers are made anew.
        """
        if "database is locked" in str(error.orig):
            return StoreBusyError("the SQLite file stayed locked by another connection")
        if not self._is_sqlite:
            _close_all(self._idle)
        if held is not None and held.leash is not None and held.leash.cut:
            return StoreError("no answer came in time")
        return error

    def _is_stale(self, error: DBAPIError, held: Held) -> bool:
        """Whether a new connection would do better: the server has hung up, and not we."""
        if "same thread" in str(error.orig):
            # An app's own creator of SQLite connections may tie each to its thread.
            self._share = False
            return True
        return error.connection_invalidated and not (held.leash is not None and held.leash.cut)

    @contextlib.contextmanager
    def long(self) -> Generator[Run]:
        """A connection for maintenance, whose calls may take longer; as a function that runs work.

        Nobody who asks about a token waits for it.
        """
        if self.in_memory:
            # There is one connection, and its counts are those of whoever used it last.
            yield self.run
            return
        held = self._open(LONG_TIMEOUT)

        def call(work: Callable[[Held], T]) -> T:
            return self._call(held, work, time.monotonic() + LONG_TIMEOUT, keep=False)

        try:
            yield call
        finally:
            held.close()

    def _take(self) -> Held | None:
        oldest = time.monotonic() - MAX_AGE
        with contextlib.suppress(IndexError):
            while True:
                held = self._idle.pop()
                if held.born > oldest or self.in_memory:
                    return held
                held.close()
        return None

    def _call(
        self,
        held: Held,
        work: Callable[[Held], T],
        due: float,
        *,
        keep: bool = True,
    ) -> T:
        leash = held.leash
        sound = False
        try:
            if leash is None:
                answer = work(held)
            else:
                with leash.held(due):
                    self._watch.wake()
                    answer = work(held)
            # A late answer is one; but the line has been cut meanwhile.
            sound = leash is None or not leash.cut
        except DBAPIError:
            # SQLite's fail for a lock, and are as good as before.
            sound = self._is_sqlite
            raise
        finally:
            # Whatever else ends a call may have left an answer on the line.
            if not sound or (keep and not self._share):
                held.close()
            elif keep:
                self._idle.append(held)
        return answer

    def _open(self, timeout: float) -> Held:
        """A new connection. It is opened in a thread, since drivers differ in how long they try."""
        if self._is_sqlite:
            # A file keeps nobody waiting, and some connections stay with their thread.
            return self._connected(timeout)
        self._spare_threads()
        future: Future[Held] = Future()
        # An app's way of connecting may ask for the current app.
        context = contextvars.copy_context()
        thread = threading.Thread(
            target=context.run,
            args=(self._connect, future, timeout),
            name="authx-connect",
            daemon=True,
        )
        thread.start()
        try:
            held = future.result(max(CONNECT_TIMEOUT, self._timeout))
        except TimeoutError:
            if future.cancel():
                self._given_up = [*self._given_up, thread]
                raise StoreError("connecting took too long") from None
            # It was made at the last moment.
            held = future.result()
        if held.leash is not None:
            self._watch.add(held.leash)
        return held

    def _spare_threads(self) -> None:
        """Let attempts that were given up, and may wait for ever in their driver, not pile up.

        :raises StoreError: if there are many of them, and the last attempt was not long ago.
        """
        self._given_up = [thread for thread in self._given_up if thread.is_alive()]
        if len(self._given_up) >= _MANY:
            now = time.monotonic()
            if now < self._next_attempt:
                raise StoreError("many attempts to connect are still waiting")
            self._next_attempt = now + _RARELY

    def _connect(self, future: Future[Held], timeout: float) -> None:
        try:
            held = self._connected(timeout)
        except BaseException as error:  # noqa: BLE001 - it belongs to whoever waits
            if future.set_running_or_notify_cancel():
                future.set_exception(error)
        else:
            if future.set_running_or_notify_cancel():
                future.set_result(held)
            else:
                held.close()

    def _connected(self, timeout: float) -> Held:
        connection = self.engine.connect()
        try:
            connection.execution_options(isolation_level="AUTOCOMMIT")
            for statement in settings_for(connection.dialect, timeout):
                connection.exec_driver_sql(statement)
            return Held(connection, in_memory=self.in_memory)
        except BaseException:
            connection.invalidate()
            connection.close()
            raise


def _close_all(idle: deque[Held]) -> None:
    with contextlib.suppress(IndexError):
        while True:
            idle.pop().close()


def is_in_memory(engine: sa.Engine) -> bool:
    """Whether the database is one of SQLite's that live in a process."""
    database = engine.url.database or ""
    return engine.dialect.name == "sqlite" and (
        database in ("", ":memory:") or "mode=memory" in str(engine.url) or ":memory:" in database
    )


def _own(engine: sa.Engine, *, in_memory: bool) -> sa.Engine:
    """An engine with a pool of its own, which connects as the app's engine does."""
    if in_memory:
        return sa.create_engine(
            "sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False}
        )

    def connect() -> Any:
        # A pool like the app's, for what it does to connect: arguments, a creator, events. A new
        # one each time, for events that have been added since.
        made = engine.pool.recreate().connect()
        made.detach()
        return made.dbapi_connection

    # Nothing is rolled back on a connection that is closed: it commits each statement itself.
    own = sa.create_engine(
        engine.url, creator=connect, poolclass=NullPool, pool_reset_on_return=None
    )
    schemas = engine.get_execution_options().get("schema_translate_map")
    return own.execution_options(schema_translate_map=schemas) if schemas else own


def settings_for(dialect: sa.Dialect, timeout: float) -> Iterator[str]:
    """What is set on a new connection: how long a statement may take, and that commits last."""
    milliseconds = max(1, math.floor(timeout * 1000))
    if dialect.name == "sqlite":
        yield f"PRAGMA busy_timeout = {milliseconds}"
        yield "PRAGMA synchronous = FULL"
        # KiB, taken as they are needed. With 2 MiB the inner pages of a million rows don't fit.
        yield "PRAGMA cache_size = -8192"
    elif dialect.name == "postgresql":
        yield f"SET statement_timeout = {milliseconds}"
        # Else two that revoke the same at once could fail one another.
        yield "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED"
        yield (
            "SELECT set_config('synchronous_commit', 'on', false) "
            "WHERE current_setting('synchronous_commit') = 'off'"
        )
    else:
        yield f"SET SESSION innodb_lock_wait_timeout = {max(1, math.ceil(timeout))}"
        # No locks on the gaps between rows: a prune then holds up nobody.
        yield "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED"
        if getattr(dialect, "is_mariadb", False):
            yield f"SET SESSION max_statement_time = {timeout}"
        else:
            yield f"SET SESSION max_execution_time = {milliseconds}"


def descriptor_of(connection: sa.Connection) -> int | None:
    """The descriptor of a connection's socket; ``None`` if there is none or it can't be found."""
    driver: Any = connection.connection.dbapi_connection
    # PyMySQL, alone among the common drivers, keeps its socket to itself.
    source: Any = driver if hasattr(driver, "fileno") else getattr(driver, "_sock", None)
    return None if source is None else int(source.fileno())


_all: weakref.WeakSet[Connections] = weakref.WeakSet()
#: A parent's connections, kept from being closed by a child that has only inherited them.
_inherited: list[Any] = []


def _after_fork() -> None:
    _inherited.extend(connections.after_fork() for connections in [*_all])


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
