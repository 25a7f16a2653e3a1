"""What keeps an overdue call from ever being ended: a watch asleep, no thread, no descriptor."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import threading
import time
from collections.abc import Generator, Iterator

import pytest

from flask_authx.stores.sql.deadlines import Deadline, DeadlineThread
from tests.stores.sql.test_deadlines import Pair

#: Seconds within which a call is ended, even on a machine that has much to do.
SOON = 10.0


class Switching(Deadline):
    """Is given a call in the moment after a watch has found it idle."""

    watch: DeadlineThread
    call: contextlib.AbstractContextManager[None] | None = None

    @property
    def idle(self) -> bool:
        found = super().idle
        if found and self.call is None:
            # Another thread runs here.
            self.call = self.until(time.monotonic())
            self.call.__enter__()
            self.watch.ensure_running()
        return found


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(SOON)
        theirs.settimeout(SOON)
        yield ours, theirs


def watching() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "authx-deadlines"}


def ends(thread: threading.Thread) -> None:
    thread.join(SOON)
    assert not thread.is_alive()


def waits_until_cut(watch: DeadlineThread, deadline: Deadline, pair: Pair) -> None:
    """Call, and wait for a response that never comes."""
    with deadline.until(time.monotonic()):
        watch.ensure_running()
        assert pair[0].recv(1) == b""
    assert deadline.expired


def test_a_watch_ends_without_calls_and_is_woken_by_the_next(pair: Pair) -> None:
    before = watching()
    watch, deadline = DeadlineThread(0.01, idle_timeout=0.05), Deadline(pair[0].fileno())
    watch.add(deadline)
    watch.ensure_running()
    [first] = watching() - before
    ends(first)
    waits_until_cut(watch, deadline, pair)
    for thread in watching() - before:
        ends(thread)


def test_a_call_that_begins_as_the_watch_falls_asleep_is_ended(pair: Pair) -> None:
    before = watching()
    # It goes to sleep at the first look.
    watch, deadline = DeadlineThread(0.1, idle_timeout=0.05), Switching(pair[0].fileno())
    deadline.watch = watch
    watch.add(deadline)
    watch.ensure_running()
    assert pair[0].recv(1) == b""
    assert deadline.call is not None
    assert deadline.expired
    deadline.call.__exit__(None, None, None)
    for thread in watching() - before:
        ends(thread)


def test_a_thread_that_could_not_start_is_started_the_next_time(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch, deadline = DeadlineThread(0.01), Deadline(pair[0].fileno())
    watch.add(deadline)

    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        for _ in range(2):
            with (
                pytest.raises(RuntimeError, match="new thread"),
                deadline.until(time.monotonic() + 99),
            ):
                watch.ensure_running()
    waits_until_cut(watch, deadline, pair)


@contextlib.contextmanager
def no_descriptors() -> Generator[None]:
    """All that this process may have are in use."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_call_is_ended_where_no_descriptor_is_left(pair: Pair) -> None:
    """Servers that hang are what uses them up."""
    deadline = Deadline(pair[0].fileno())
    with deadline.until(0.0):
        with no_descriptors():
            with pytest.raises(OSError, match="open files"):
                os.dup(pair[0].fileno())
            deadline.enforce(1.0)
        assert deadline.expired
        assert pair[1].recv(1) == b""
        assert pair[0].recv(1) == b""
