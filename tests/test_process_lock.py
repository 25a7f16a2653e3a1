"""A process that forks while a thread of it is at work leaves the child nothing that waits."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import pytest

from flask_authx import Entry, Kind, MemoryBlocklist
from flask_authx.process_lock import ProcessLock
from flask_authx.stores.memory import MemorySessions
from flask_authx.tokens.cache import TokenCache
from tests.stores.contract import new_key, new_session
from tests.support import NOW
from tests.support.codecs import claims_of, make_codec, token_of


class Stop:
    """Where the first thread that comes waits."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.passable = threading.Event()

    def __call__(self) -> None:
        self.reached.set()
        self.passable.wait()


class StopText(str):
    """A text at which a look-up stops."""

    stop: Stop

    def __hash__(self) -> int:
        self.stop()
        return super().__hash__()


class StopBytes(bytes):
    """A key at which a look-up stops."""

    stop: Stop

    def __hash__(self) -> int:
        self.stop()
        return super().__hash__()


@contextmanager
def a_thread_in(work: Callable[[], object], stop: Stop) -> Generator[None]:
    """Meanwhile, a thread is in the midst of this work."""
    thread = threading.Thread(target=work)
    thread.start()
    assert stop.reached.wait(30)
    try:
        yield
    finally:
        stop.passable.set()
        thread.join()


def in_child(work: Callable[[], object]) -> int:
    """The exit code of a child that does this work; negative if it had to be ended."""
    pid = os.fork()
    if pid == 0:
        signal.alarm(30)
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def cache(stop: Stop) -> tuple[Callable[[], object], Callable[[], object]]:
    codec = make_codec()
    one = TokenCache(100_000)
    tokens = [token_of(codec, claims_of(jti=f"jti-{number}")) for number in range(2)]
    first, second = (codec.decode(token, NOW) for token in tokens)
    stuck = StopText(tokens[0])
    stuck.stop = stop

    def other() -> None:
        one.put(tokens[1], codec.keys, second)
        assert one.get(tokens[1], codec.keys) is second
        one.clear()

    return lambda: one.put(stuck, codec.keys, first), other


def revocations(stop: Stop) -> tuple[Callable[[], object], Callable[[], object]]:
    store, key = MemoryBlocklist(), new_key()
    stuck = StopBytes(new_key())
    stuck.stop = stop

    def other() -> None:
        store.add(Entry(key, Kind.TOKEN, 100))
        assert len(store.find([key])) == 1
        assert store.count([])[Kind.TOKEN] == [1]

    return lambda: store.add(Entry(stuck, Kind.TOKEN, 100)), other


def sessions(stop: Stop) -> tuple[Callable[[], object], Callable[[], object]]:
    store, key, subject = MemorySessions(), new_key(), new_key()
    stuck = StopBytes(new_key())
    stuck.stop = stop

    def other() -> None:
        store.open(key, subject, new_session())
        assert len(store.of(subject)) == 1
        assert store.end(key)
        assert store.of(subject) == []

    return lambda: store.open(stuck, subject, new_session()), other


# From 3.12 on, Python warns that such a child may hang, which is what is tested.
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize("make", [cache, revocations, sessions])
def test_a_child_of_a_process_with_a_thread_at_work_does_not_wait_for_it(
    make: Callable[[Stop], Any],
) -> None:
    stop = Stop()
    work, other = make(stop)
    with a_thread_in(work, stop):
        assert in_child(other) == 0


def test_a_cache_counts_anew_in_a_child() -> None:
    """What a thread of the parent had begun when it forked is not counted for ever."""
    codec = make_codec()
    one = TokenCache(100_000)
    tokens = [token_of(codec, claims_of(jti=f"jti-{number}")) for number in range(3)]
    for token in tokens[:2]:
        one.put(token, codec.keys, codec.decode(token, NOW))

    def child() -> None:
        assert one.get(tokens[0], codec.keys) is not None
        one.put(tokens[2], codec.keys, codec.decode(tokens[2], NOW))
        assert len(one) == 1
        one.put(tokens[1], codec.keys, codec.decode(tokens[1], NOW))
        assert len(one) == 2

    assert in_child(child) == 0
    assert len(one) == 2


def test_the_lock_lets_one_thread_in_at_a_time() -> None:
    lock, stop, order = ProcessLock(), Stop(), list[str]()

    def first() -> None:
        with lock:
            stop()
            order.append("first")

    def second() -> None:
        with lock:
            order.append("second")

    with a_thread_in(first, stop):
        other = threading.Thread(target=second)
        other.start()
        other.join(0.05)
        assert order == []
    other.join()
    assert order == ["first", "second"]
