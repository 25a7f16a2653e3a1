from __future__ import annotations

import gc
import math
import os
import socket
import threading
import time
import weakref
from collections.abc import Iterator

import pytest

from flask_authx.stores.sql.deadlines import Deadline, DeadlineThread

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        # A test that would hang fails instead.
        ours.settimeout(30)
        theirs.settimeout(30)
        yield ours, theirs


def is_open(pair: Pair) -> bool:
    """Whether what one end sends still arrives at the other."""
    ours, theirs = pair
    try:
        theirs.sendall(b"x")
    except OSError:
        return False
    return ours.recv(1) == b"x"


def test_an_overdue_call_is_cut_off_at_both_ends(pair: Pair) -> None:
    deadline = Deadline(pair[0].fileno())
    with deadline.until(10.0):
        assert not deadline.idle
        assert deadline.is_overdue(10.0)
        deadline.enforce(10.0)
        assert deadline.expired
        assert pair[0].recv(1) == b""
        assert pair[1].recv(1) == b""
    assert deadline.idle


def test_a_call_in_time_is_left_alone(pair: Pair) -> None:
    deadline = Deadline(pair[0].fileno())
    with deadline.until(10.0):
        assert not deadline.is_overdue(9.9)
        deadline.enforce(9.9)
    assert not deadline.expired
    assert is_open(pair)


def test_without_a_call_there_is_nothing_to_cut_off(pair: Pair) -> None:
    deadline = Deadline(pair[0].fileno())
    assert deadline.idle
    deadline.enforce(1e9)
    with deadline.until(10.0):
        pass
    # A thread that found it overdue a moment ago comes too late.
    deadline.enforce(1e9)
    assert not deadline.expired
    assert is_open(pair)


def test_a_call_that_fails_is_no_longer_watched(pair: Pair) -> None:
    deadline = Deadline(pair[0].fileno())
    with pytest.raises(KeyError), deadline.until(10.0):
        raise KeyError
    assert deadline.idle
    assert not deadline.is_overdue(1e9)


def test_the_drivers_own_descriptor_stays_open(pair: Pair) -> None:
    deadline = Deadline(pair[0].fileno())
    with deadline.until(0.0):
        deadline.enforce(1.0)
    os.fstat(pair[0].fileno())


def test_no_descriptor_is_left_behind(pair: Pair) -> None:
    deadline = Deadline(pair[0].fileno())
    lowest = os.dup(pair[0].fileno())
    os.close(lowest)
    for _ in range(3):
        with deadline.until(0.0):
            deadline.enforce(1.0)
    found = os.dup(pair[0].fileno())
    os.close(found)
    assert found <= lowest


def test_a_socket_that_is_closed_already_is_no_error() -> None:
    ours, theirs = socket.socketpair()
    deadline = Deadline(ours.fileno())
    ours.close()
    theirs.close()
    with deadline.until(0.0):
        deadline.enforce(1.0)
    assert deadline.expired


def test_a_watch_ends_a_wait_and_not_before_its_time(pair: Pair) -> None:
    watch, deadline = DeadlineThread(0.01), Deadline(pair[0].fileno())
    watch.add(deadline)
    begun = time.monotonic()
    with deadline.until(begun + 0.1):
        watch.ensure_running()
        assert pair[0].recv(1) == b""
    # A look may come one interval early.
    assert time.monotonic() - begun > 0.08
    assert deadline.expired


def test_a_watch_ends_several_waits_each_in_its_time() -> None:
    watch = DeadlineThread(0.01)
    pairs = [socket.socketpair() for _ in range(4)]
    deadlines = [Deadline(ours.fileno()) for ours, _ in pairs]
    for deadline in deadlines:
        watch.add(deadline)
    taken: dict[int, float] = {}

    def wait(number: int) -> None:
        begun = time.monotonic()
        with deadlines[number].until(math.inf if number == 3 else begun + 0.1 * (number + 1)):
            watch.ensure_running()
            pairs[number][0].recv(1)
        taken[number] = time.monotonic() - begun

    threads = [threading.Thread(target=wait, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads[:3]:
        thread.join(30)
    assert threads[3].is_alive()
    pairs[3][1].sendall(b"a response")
    threads[3].join(30)
    assert [deadline.expired for deadline in deadlines] == [True, True, True, False]
    assert all(taken[number] > 0.1 * (number + 1) - 0.02 for number in range(3))
    for both in pairs:
        for one in both:
            one.close()


def test_calls_in_time_use_a_connection_again_and_again(pair: Pair) -> None:
    watch, deadline = DeadlineThread(0.001), Deadline(pair[0].fileno())
    watch.add(deadline)
    for _ in range(200):
        with deadline.until(time.monotonic() + 30):
            watch.ensure_running()
            assert is_open(pair)
    assert not deadline.expired


def test_waking_starts_one_thread_however_many_call(pair: Pair) -> None:
    watch, deadline = DeadlineThread(0.01), Deadline(pair[0].fileno())
    watch.add(deadline)
    before = threading.active_count()
    with deadline.until(time.monotonic() + 30):
        for _ in range(50):
            watch.ensure_running()
        assert threading.active_count() <= before + 1


def test_a_watch_keeps_no_connection_alive(pair: Pair) -> None:
    watch, deadline = DeadlineThread(10.0), Deadline(pair[0].fileno())
    watch.add(deadline)
    reference = weakref.ref(deadline)
    del deadline
    gc.collect()
    assert reference() is None
