from __future__ import annotations

import contextlib
import gc
import math
import os
import resource
import socket
import weakref
from collections.abc import Generator, Iterator

import pytest

from flask_authx.stores.sql.deadlines import Deadline

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


def is_cut(pair: Pair) -> bool:
    """Whether it is cut off at both ends."""
    return (pair[0].recv(1), pair[1].recv(1)) == (b"", b"")


def test_an_overdue_call_is_cut_off_at_both_ends(pair: Pair) -> None:
    deadline = Deadline(pair[0].fileno())
    deadline.due = 10.0
    deadline.enforce(10.0)
    assert (deadline.expired, deadline.due) == (True, math.inf)
    assert is_cut(pair)


def test_a_call_in_time_is_left_alone(pair: Pair) -> None:
    deadline = Deadline(pair[0].fileno())
    deadline.due = 10.0
    deadline.enforce(9.9)
    assert (deadline.expired, deadline.due) == (False, 10.0)
    assert is_open(pair)


def test_without_a_call_there_is_nothing_to_cut_off(pair: Pair) -> None:
    deadline = Deadline(pair[0].fileno())
    deadline.enforce(1e9)
    deadline.due = 10.0
    deadline.stop()
    # A thread that found it overdue a moment ago comes too late.
    deadline.enforce(1e9)
    assert not deadline.expired
    assert is_open(pair)


def test_an_overdue_call_whose_response_has_arrived_is_left_to_read_it(pair: Pair) -> None:
    """The process is late, and not the store."""
    deadline = Deadline(pair[0].fileno())
    pair[1].sendall(b"a response")
    deadline.due = 10.0
    deadline.enforce(20.0)
    assert (deadline.expired, deadline.due) == (False, 10.0)
    assert pair[0].recv(100) == b"a response"
    # It was a part of one, and no more comes.
    deadline.enforce(20.0)
    assert deadline.expired
    assert is_cut(pair)


def test_the_drivers_own_descriptor_stays_open(pair: Pair) -> None:
    deadline = Deadline(pair[0].fileno())
    deadline.due = 0.0
    deadline.enforce(1.0)
    os.fstat(pair[0].fileno())
    deadline.close()
    os.fstat(pair[0].fileno())


def test_another_socket_that_got_the_descriptor_is_left_alone(pair: Pair) -> None:
    ours, theirs = socket.socketpair()
    number = ours.fileno()
    deadline = Deadline(number)
    deadline.due = 0.0
    # The driver closes its own, and the system gives the number away.
    ours.close()
    os.dup2(pair[0].fileno(), number)
    deadline.enforce(1.0)
    assert deadline.expired
    assert is_open(pair)
    os.close(number)
    theirs.close()


def lowest_free() -> int:
    found = os.open(os.devnull, os.O_RDONLY)
    os.close(found)
    return found


@pytest.mark.parametrize("how", ["closed", "collected"])
def test_no_descriptor_is_left_behind(pair: Pair, how: str) -> None:
    gc.collect()
    before = lowest_free()
    for _ in range(3):
        deadline = Deadline(pair[0].fileno())
        deadline.due = 0.0
        deadline.enforce(1.0)
        if how == "closed":
            deadline.close()
            deadline.close()
        del deadline
        gc.collect()
    # What earlier tests have left may be closed meanwhile.
    assert lowest_free() <= before


def test_a_connection_that_has_ended_already_is_no_error() -> None:
    ours, theirs = socket.socketpair()
    deadline = Deadline(ours.fileno())
    deadline.due = 0.0
    ours.shutdown(socket.SHUT_RDWR)
    ours.close()
    theirs.close()
    deadline.enforce(1.0)
    assert deadline.due in (0.0, math.inf)


def test_a_deadline_is_collected_with_its_connection(pair: Pair) -> None:
    deadline = Deadline(pair[0].fileno())
    reference = weakref.ref(deadline)
    del deadline
    gc.collect()
    assert reference() is None


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
    deadline.due = 0.0
    with no_descriptors():
        with pytest.raises(OSError, match="open files"):
            os.dup(pair[0].fileno())
        deadline.enforce(1.0)
    assert deadline.expired
    assert is_cut(pair)
