"""The connections that a process holds to one Redis server.

redis-py resolves, connects, logs in, writes and reads. Which connection a call gets is decided
here, since redis-py's own pools

- open a connection in the call that needs it: a name with three dead addresses takes three times
  as long, a resolver that hangs has no limit, and a call fails on a full server although another
  gives its connection back at the same moment (test_waiting);
- keep a connection for ever, so that it may lead to a master that was replaced (test_ageing);
- have locks that a forked process may inherit locked (test_fork_threads);
- lock, count and look for unread data in each call: a fifth of a look-up's time with redis-py 8.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
import weakref
from collections import deque
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, TypeAlias

from redis import TimeoutError as RedisTimeoutError

from flask_authx.stores.base import (
    MAX_AGE,
    RENEW_AGE,
    WAIT_LIMIT,
    StoreBusyError,
    StoreError,
    never_waits,
    reports_wait,
)

from .connecting import is_refusal, refusing_replicas

#: Seconds without an attempt to open one more connection, after one that failed.
_PAUSE = 1.0
#: Seconds between two looks of a call that waits, at most.
_LOOK = 0.1
#: Seconds between two searches for idle connections that are too old.
_INTERVAL = 1.0


@dataclass(slots=True, eq=False)
class Held:
    """An open connection. One call at a time uses it.

    :param redis: the connection of redis-py.
    :param process: what holds it.
    :param opened_at: monotonic seconds, before it was asked where the server is.
    :param generation: older ones are closed when a server has gone away.
    :param replaced: whether its successor is open.
    :param used_at: when a call that has found it old returned it.
    """

    redis: Any
    process: _Process
    opened_at: float
    generation: int
    replaced: bool = False
    used_at: float = -math.inf


@dataclass(slots=True, eq=False)
class _Attempt:
    """A connection that is being opened.

    :param replaces: the one that is closed for it.
    """

    begun: float
    generation: int
    replaces: Held | None


#: Where a call waits: for a connection, or for the error of the attempt to open one.
_Waiting: TypeAlias = SimpleQueue[Held | BaseException]


class _Process:
    """What one process holds. A process that was forked has another."""

    def __init__(self) -> None:
        #: For what changes when a call finds no idle connection.
        self.lock: threading.Lock = threading.Lock()
        #: The last one is used first, so that those that are not needed grow old.
        self.idle: deque[Held] = deque()
        self.waiting: deque[_Waiting] = deque()
        self.attempts: list[_Attempt] = []
        #: Those of the client's own commands.
        self.lent: dict[Any, Held] = {}
        #: The number of open connections, idle or in use.
        self.open = 0
        self.generation = 0
        #: Of the master, as the Sentinels have last named it.
        self.address: tuple[str, int] | None = None
        self.answered_at: float = -math.inf
        #: When the server itself refused a connection, if it did so at the last attempt.
        self.refused_at: float = -math.inf
        #: Seconds without a response that calls have waited, and when one of them has last looked.
        self.silent: float = 0.0
        self.looked_at: float = -math.inf
        #: When one more connection may be tried, while others are open.
        self.grow_at: float = -math.inf


class StoreConnections:
    """Holds connections, and stands in the client in place of its pool.

    They become more with the number of calls at the same moment, and fewer with age.

    :param pool: of redis-py: how to connect, and to how many at most.
    :param asks_role: whether a replica is refused.
    """

    def __init__(self, pool: Any, *, asks_role: bool) -> None:
        self._pool = pool
        self._asks_role = asks_role
        options = pool.connection_kwargs
        self._timeout: float = options["socket_timeout"]
        self._connect_timeout: float = options.get("socket_connect_timeout") or self._timeout
        self._processes: dict[int, _Process] = {}

    def __getattr__(self, name: str) -> Any:
        """What the client asks its pool for, apart from connections."""
        return getattr(self._pool, name)

    @property
    def _process(self) -> _Process:
        pid = os.getpid()
        return self._processes.get(pid) or self._processes.setdefault(pid, _Process())

    def take(self) -> Held:
        """A connection for one call.

        :raises StoreBusyError: if none becomes free in time, and the server responds.
        :raises StoreError: if none becomes free in time, or the server is a replica.
        """
        process = self._process
        oldest = time.monotonic() - MAX_AGE
        while True:
            try:
                held = process.idle.pop()
            except IndexError:
                return self._wait(process)
            if held.generation == process.generation and (
                held.opened_at > oldest or process.refused_at > oldest
            ):
                return held
            self._close(process, held)

    def give_back(self, held: Held) -> None:
        """Take back a connection whose responses have all been read."""
        process = held.process
        now = process.answered_at = time.monotonic()
        young = held.opened_at > now - RENEW_AGE and held.generation == process.generation
        if young or not self._retire(process, held, now):
            process.idle.append(held)
            if process.waiting:
                _serve(process)

    def drop(self, held: Held, *, others: bool) -> None:
        """Close a connection whose call has failed.

        :param others: whether the server goes away or takes no writes: it is left by all calls.
        """
        process = held.process
        if others and held.generation == process.generation:
            self._leave_server(process)
        self._close(process, held)

    def close_old(self) -> bool:
        """Close idle connections that are too old; whether the process has any left."""
        process = self._process
        oldest = time.monotonic() - MAX_AGE
        for held in process.idle.copy():
            kept = process.refused_at > oldest and held.used_at > oldest
            if held.opened_at <= oldest and not kept:
                self._close_if_idle(process, held)
        return process.open > 0

    # What a client wants of its pool.

    def get_connection(self, *_words: object, **_options: object) -> Any:
        """A connection for a command of the client's own."""
        held = self.take()
        self._process.lent[held.redis] = held
        return held.redis

    def release(self, connection: Any) -> None:
        """Close a client's connection: after an error, redis-py may leave a response unread."""
        process = self._process
        held = process.lent.pop(connection, None)
        if held is None:
            # It is of the pool that this one replaces.
            connection.disconnect()
        else:
            self._close(process, held)

    def disconnect(self, *_words: object, **_options: object) -> None:
        """Close the idle connections, and the others when their calls return."""
        self._leave_server(self._process)

    close = disconnect

    # Waiting.

    @reports_wait("redis")
    def _wait(self, process: _Process) -> Held:
        """A connection that is given back, or opened for this call or for another."""
        if process.open and never_waits.get():
            raise StoreBusyError("all its connections are in use")
        mine: _Waiting = SimpleQueue()
        limit = WAIT_LIMIT if process.open else self._connect_timeout
        process.waiting.append(mine)
        try:
            self._grow(process)
            # One may have become idle before this call was among those that wait.
            _serve(process)
            result = self._receive(process, mine, limit)
        except Empty:
            late = _stop_waiting(process, mine)
            result = late if late is not None else self._in_vain(process, limit)
        except BaseException:
            if isinstance(late := _stop_waiting(process, mine), Held):
                self._offer(process, late)
            raise
        if isinstance(result, Held):
            return result
        raise result

    def _in_vain(self, process: _Process, limit: float) -> Exception:
        if not process.open:
            # As redis-py has it: a client of Sentinels then asks the next one.
            return RedisTimeoutError(f"no connection was opened within {limit:g} s")
        if process.silent > self._timeout:
            return StoreError(f"Redis has not responded to any call for {process.silent:.1f} s")
        return StoreBusyError(f"no connection has become free within {limit:g} s")

    def _receive(self, process: _Process, mine: _Waiting, limit: float) -> Held | BaseException:
        """What a call that waits is given.

        :param limit: seconds in which the process runs. Between two looks it may have had no CPU:
            of that time, little counts, since a process that is late is no late server.
        :raises Empty: if it is given nothing.
        """
        waited, interval = 0.0, min(_LOOK, self._timeout / 4)
        looked_at = self._look(process, interval)
        while waited < limit:
            with contextlib.suppress(Empty):
                return mine.get(timeout=min(interval, limit - waited))
            before, looked_at = looked_at, self._look(process, interval)
            waited += min(looked_at - before, 2 * interval)
        raise Empty

    def _look(self, process: _Process, interval: float) -> float:
        """Count for how long the server has been silent; the time now."""
        with process.lock:
            now = time.monotonic()
            if process.answered_at > process.looked_at:
                process.silent = 0.0
            since = max(process.answered_at, process.looked_at)
            process.silent += min(now - since, 2 * interval)
            process.looked_at = now
        return now

    def _offer(self, process: _Process, held: Held) -> None:
        process.idle.append(held)
        if process.waiting:
            _serve(process)

    # Opening.

    def _grow(self, process: _Process) -> None:
        """Open one more connection, if calls wait that no attempt is made for."""
        with process.lock:
            now = time.monotonic()
            opening = self._opening(process, now)
            if opening >= len(process.waiting) or process.open + opening >= self._size:
                return
            if process.open and now < process.grow_at:
                return
            if len(process.attempts) >= 2 * self._size:
                # They hang in their resolver, which has a limit of its own.
                return
            attempt = _Attempt(now, process.generation, None)
            process.attempts.append(attempt)
        self._start(process, attempt)

    @property
    def _size(self) -> int:
        size: int = self._pool.max_connections
        return size

    def _opening(self, process: _Process, now: float) -> int:
        """The number of attempts that calls still wait for."""
        oldest = now - self._connect_timeout
        return sum(attempt.begun > oldest for attempt in process.attempts)

    def _start(self, process: _Process, attempt: _Attempt) -> None:
        # In a thread, which alone limits how long a call waits for a resolver.
        try:
            threading.Thread(
                target=self._open, args=(process, attempt), name="authx-redis", daemon=True
            ).start()
        except RuntimeError as error:
            self._failed(process, attempt, error)

    def _open(self, process: _Process, attempt: _Attempt) -> None:
        try:
            connection = self._connected(attempt)
        except BaseException as error:  # noqa: BLE001 - whichever it is, the calls are told
            self._failed(process, attempt, error)
        else:
            self._opened(process, attempt, connection)

    def _connected(self, attempt: _Attempt) -> Any:
        options = {**self._pool.connection_kwargs}
        if self._asks_role:
            options["redis_connect_func"] = refusing_replicas(options.get("redis_connect_func"))
        connection = self._pool.connection_class(**options)
        try:
            connection.connect()
        except RedisTimeoutError:
            # One late response is no failure as long as calls wait for the connection anyway.
            if time.monotonic() - attempt.begun > self._connect_timeout:
                raise
            connection.connect()
        return connection

    def _failed(self, process: _Process, attempt: _Attempt, error: BaseException) -> None:
        """Tell the calls that wait, if there is no connection that they could wait for."""
        with process.lock:
            process.attempts.remove(attempt)
            now = time.monotonic()
            process.grow_at = now + _PAUSE
            process.refused_at = now if is_refusal(error) else -math.inf
            if not process.open and not self._opening(process, now):
                while process.waiting:
                    process.waiting.popleft().put(error)

    def _opened(self, process: _Process, attempt: _Attempt, connection: Any) -> None:
        process.answered_at = time.monotonic()
        held = Held(connection, process, attempt.begun, attempt.generation)
        replaced = attempt.replaces
        with process.lock:
            process.attempts.remove(attempt)
            process.open += 1
            surplus = process.open > self._size and replaced is None
        if surplus:
            # An attempt that was given up has succeeded after all.
            self._close(process, held)
            return
        _caretaker().watch(self)
        if hasattr(self._pool, "sentinel_manager"):
            self._follow(process, held)
        self._offer(process, held)
        if replaced is not None:
            replaced.replaced = True
            self._close_if_idle(process, replaced)

    def _follow(self, process: _Process, held: Held) -> None:
        """Leave the old master, if the Sentinels have named another."""
        address = (held.redis.host, held.redis.port)
        if process.address not in (None, address):
            self._leave_server(process)
            held.generation = process.generation
        process.address = address

    # Closing.

    def _retire(self, process: _Process, held: Held, now: float) -> bool:
        """Close a connection, or open its successor first; whether it has been closed."""
        held.used_at = now
        too_old = max(held.opened_at, process.refused_at) < now - MAX_AGE
        if held.replaced or too_old or held.generation != process.generation:
            self._close(process, held)
            return True
        with process.lock:
            if process.attempts or now < process.grow_at:
                return False
            # At the bound, the others serve until the successor is open.
            full = process.open >= self._size > 1
            attempt = _Attempt(now, process.generation, None if full else held)
            process.attempts.append(attempt)
        if full:
            self._close(process, held)
        self._start(process, attempt)
        return full

    def _leave_server(self, process: _Process) -> None:
        with process.lock:
            process.generation += 1
        with contextlib.suppress(IndexError):
            while True:
                self._close(process, process.idle.popleft())

    def _close_if_idle(self, process: _Process, held: Held) -> None:
        with contextlib.suppress(ValueError):
            process.idle.remove(held)
            self._close(process, held)

    def _close(self, process: _Process, held: Held) -> None:
        with contextlib.suppress(Exception):
            held.redis.disconnect()
        with process.lock:
            process.open -= 1
        if process.waiting:
            self._grow(process)


def _serve(process: _Process) -> None:
    """Give idle connections to the calls that wait, the first first."""
    with process.lock:
        while process.waiting:
            try:
                held = process.idle.pop()
            except IndexError:
                return
            process.waiting.popleft().put(held)


def _stop_waiting(process: _Process, mine: _Waiting) -> Held | BaseException | None:
    """What has come in the last moment, if anything has."""
    with process.lock:
        try:
            process.waiting.remove(mine)
        except ValueError:
            return mine.get_nowait()
    return None


class _Caretaker:
    """Closes idle connections that are too old, for all stores of a process, in one thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stores: weakref.WeakSet[StoreConnections] = weakref.WeakSet()
        self._runs = False

    def watch(self, store: StoreConnections) -> None:
        """Close the connections of this store, too."""
        with self._lock:
            self._stores.add(store)
            if not self._runs:
                # Without it, calls close what they find too old.
                with contextlib.suppress(RuntimeError):
                    thread = threading.Thread(target=self._run, name="authx-redis-age", daemon=True)
                    thread.start()
                    self._runs = True

    def _run(self) -> None:
        while True:
            time.sleep(_INTERVAL)
            with self._lock:
                if not sum(store.close_old() for store in self._stores):
                    self._runs = False
                    return


_caretakers: dict[int, _Caretaker] = {}


def _caretaker() -> _Caretaker:
    pid = os.getpid()
    return _caretakers.get(pid) or _caretakers.setdefault(pid, _Caretaker())
