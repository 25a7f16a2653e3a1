"""The thread that ends overdue calls: it counts the process's own time, and misses none."""

from __future__ import annotations

import gc
import logging
import socket
import threading
import time
import weakref
from collections.abc import Iterator

import pytest

from flask_authx.stores.sql.deadlines import Deadline, DeadlineThread
from tests.stores.sql.test_deadlines import Pair
from tests.support.waiting import until

#: Seconds within which a call is ended, even on a machine that has much to do.
SOON = 30.0


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(SOON)
        theirs.settimeout(SOON)
        yield ours, theirs


def running() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "authx-deadlines"}


def ends(thread: threading.Thread) -> None:
    thread.join(SOON)
    assert not thread.is_alive()


def waits_until_cut(thread: DeadlineThread, deadline: Deadline, pair: Pair) -> None:
    """Call, and wait for a response that never comes."""
    deadline.due = thread.now
    thread.ensure_running()
    assert pair[0].recv(1) == b""
    assert deadline.expired


def test_a_wait_ends_and_not_before_its_time(pair: Pair) -> None:
    thread, deadline = DeadlineThread(), Deadline(pair[0].fileno())
    thread.add(deadline, 0.1)
    began = time.monotonic()
    deadline.due = thread.now + 0.1
    thread.ensure_running()
    assert pair[0].recv(1) == b""
    # A look may come one interval early.
    assert time.monotonic() - began > 0.08
    assert deadline.expired


def test_several_waits_end_each_in_its_time() -> None:
    thread = DeadlineThread()
    pairs = [socket.socketpair() for _ in range(4)]
    deadlines = [Deadline(ours.fileno()) for ours, _ in pairs]
    for deadline in deadlines:
        thread.add(deadline, 0.1)
    taken: dict[int, float] = {}

    def wait(number: int) -> None:
        began = time.monotonic()
        deadlines[number].due = 1e9 if number == 3 else thread.now + 0.1 * (number + 1)
        thread.ensure_running()
        pairs[number][0].recv(1)
        taken[number] = time.monotonic() - began

    threads = [threading.Thread(target=wait, args=(number,)) for number in range(4)]
    for one in threads:
        one.start()
    for one in threads[:3]:
        one.join(SOON)
    assert threads[3].is_alive()
    pairs[3][1].sendall(b"a response")
    threads[3].join(SOON)
    assert [deadline.expired for deadline in deadlines] == [True, True, True, False]
    assert all(taken[number] > 0.1 * (number + 1) - 0.02 for number in range(3))
    for both in pairs:
        for one_end in both:
            one_end.close()


def test_time_in_which_the_process_did_not_run_does_not_count(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each look finds that an hour has passed, as in a process that was stopped."""
    thread, deadline = DeadlineThread(), Deadline(pair[0].fileno())
    thread.add(deadline, 1.0)
    sleep, looks = time.sleep, list[float]()
    hours = iter(range(10**6))

    def stopped(seconds: float) -> None:
        looks.append(seconds)
        sleep(0.001)

    with monkeypatch.context() as patch:
        patch.setattr(time, "sleep", stopped)
        patch.setattr(time, "monotonic", lambda: 3600.0 * next(hours))
        deadline.due = thread.now + 1.0
        thread.ensure_running()
        pair[0].recv(1)
    # A look counts as at most two intervals, of a tenth of the timeout each.
    assert len(looks) >= 5
    assert deadline.expired


def test_one_thread_is_started_however_many_call(pair: Pair) -> None:
    thread, deadline = DeadlineThread(), Deadline(pair[0].fileno())
    thread.add(deadline, 0.1)
    before = running()
    deadline.due = 1e9
    for _ in range(50):
        thread.ensure_running()
    assert len(running() - before) == 1
    deadline.stop()


def test_a_thread_ends_without_calls_and_is_started_by_the_next(pair: Pair) -> None:
    before = running()
    thread, deadline = DeadlineThread(idle_timeout=0.05), Deadline(pair[0].fileno())
    thread.add(deadline, 0.1)
    thread.ensure_running()
    [first] = running() - before
    ends(first)
    waits_until_cut(thread, deadline, pair)
    for one in running() - before:
        ends(one)


class Switching(Deadline):
    """Is given a call in the moment after the thread has found it idle."""

    thread: DeadlineThread
    _due: float = float("inf")
    called = False

    @property
    def due(self) -> float:
        found = self._due
        if found == float("inf") and not self.called and hasattr(self, "thread"):
            # Another thread runs here.
            self.called, self._due = True, self.thread.now
            self.thread.ensure_running()
        return found

    @due.setter
    def due(self, value: float) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        self._due = value


def test_a_call_that_begins_as_the_thread_ends_is_ended(pair: Pair) -> None:
    before = running()
    # It ends at the first look.
    thread, deadline = DeadlineThread(idle_timeout=0.01), Switching(pair[0].fileno())
    thread.add(deadline, 1.0)
    deadline.thread = thread
    thread.ensure_running()
    assert pair[0].recv(1) == b""
    assert deadline.called
    assert deadline.expired
    for one in running() - before:
        ends(one)


def test_a_thread_that_could_not_start_is_started_the_next_time(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    thread, deadline = DeadlineThread(), Deadline(pair[0].fileno())
    thread.add(deadline, 0.1)

    def start(one: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        for _ in range(2):
            with pytest.raises(RuntimeError, match="new thread"):
                thread.ensure_running()
    waits_until_cut(thread, deadline, pair)


def test_no_connection_is_kept_alive(pair: Pair) -> None:
    thread, deadline = DeadlineThread(), Deadline(pair[0].fileno())
    thread.add(deadline, 10.0)
    reference = weakref.ref(deadline)
    del deadline
    gc.collect()
    assert reference() is None


class Sweeper:
    """Counts how often it was called."""

    def __init__(self) -> None:
        self.calls = 0

    def sweep(self) -> None:
        self.calls += 1


def test_a_chore_is_done_at_every_look_and_keeps_nothing_alive(pair: Pair) -> None:
    thread, deadline, sweeper = DeadlineThread(), Deadline(pair[0].fileno()), Sweeper()
    thread.add(deadline, 0.01)
    thread.add_chore(sweeper.sweep)
    thread.ensure_running()
    until(lambda: sweeper.calls > 2)
    finalizer = weakref.finalize(sweeper, int)
    sweeper = Sweeper()

    def is_collected() -> bool:
        gc.collect()
        return not finalizer.alive

    until(is_collected)
    waits_until_cut(thread, deadline, pair)


class Failing(Sweeper):
    """Raises at each call, once it may."""

    def __init__(self, error: BaseException, times: int = 1000) -> None:
        super().__init__()
        self.may_raise = threading.Event()
        self._error, self._times = error, times

    def sweep(self) -> None:
        assert self.may_raise.wait(SOON)
        super().sweep()
        if self.calls <= self._times:
            raise self._error


def test_a_chore_that_raises_is_logged_and_ends_neither_the_others_nor_deadlines(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    thread, deadline = DeadlineThread(), Deadline(pair[0].fileno())
    failing, sweeper = Failing(IndexError("with a secret")), Sweeper()
    failing.may_raise.set()
    for one in (failing, sweeper):
        thread.add_chore(one.sweep)
    thread.add(deadline, 0.01)
    thread.ensure_running()
    until(lambda: failing.calls > 2)
    until(lambda: sweeper.calls > 2)
    waits_until_cut(thread, deadline, pair)
    [line] = [one for one in caplog.records if one.name == "flask_authx"]
    assert line.levelno == logging.ERROR
    assert "Failing.sweep" in line.getMessage()
    assert "raised IndexError" in line.getMessage()
    assert "secret" not in caplog.text


def test_a_deadline_that_cannot_be_enforced_leaves_the_others_theirs(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    thread, deadline = DeadlineThread(), Deadline(pair[0].fileno())
    other, their_end = socket.socketpair()
    broken = Deadline(other.fileno())

    def refuse(now: float) -> None:
        raise OSError(9, "Bad file descriptor")

    monkeypatch.setattr(broken, "enforce", refuse)
    with other, their_end:
        thread.add(broken, 0.1)
        thread.add(deadline, 0.1)
        broken.due = thread.now
        for _ in range(3):
            before = thread.now
            thread.ensure_running()
            until(lambda: thread.now > before)  # noqa: B023
        waits_until_cut(thread, deadline, pair)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_is_ended_from_outside_is_started_by_the_next_call(pair: Pair) -> None:
    """As by a greenlet's kill, which is no error of a chore."""
    before = running()
    thread, deadline = DeadlineThread(), Deadline(pair[0].fileno())
    ending = Failing(SystemExit(), times=1)
    thread.add_chore(ending.sweep)
    thread.add(deadline, 0.1)
    thread.ensure_running()
    [first] = running() - before
    ending.may_raise.set()
    ends(first)
    waits_until_cut(thread, deadline, pair)
    until(lambda: ending.calls > 1)
