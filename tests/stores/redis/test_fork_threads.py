"""A forked process whose threads ask Redis at the same moment: none uses the parent's connection.

Run as a program, this forks a child for each step of a call. The package has no hooks of a fork, so
that of a server which is written in C is the same to it:

- ``inside``: for each step of the store's first call in the child. Just then another thread of the
  child asks as well.
- ``between``: at each step of a call of the parent, which may hold a lock or a connection then. The
  child asks for itself.
"""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
import redis

from flask_authx import RedisBlocklist
from flask_authx.stores.redis import connections, server
from tests.support import ROOT
from tests.support.databases import redis_url

KEY = bytes(16)
#: Of the test: more than the steps there are.
MANY = 1500
CODE = {server.__file__, connections.__file__}
#: Seconds after which a child that waits for ever is ended by a signal.
PATIENCE = 30


class Own(redis.Connection):
    """A connection that ends any process but that which has made it, if it sends on it."""

    def send_packed_command(self, *args: Any, **kwargs: Any) -> None:
        if self.pid != os.getpid():
            os._exit(1)
        # Half of it has no types.
        parent: Any = super()
        parent.send_packed_command(*args, **kwargs)


class Steps:
    """Does something when a call has come to a step.

    :param step: which instruction; each line, if there is none.
    """

    def __init__(self, work: Callable[[], None], step: int = 0) -> None:
        self.work = work
        self.step = step
        self.event = "opcode" if step else "line"
        self.done = 0

    def trace(self, frame: FrameType, event: str, _: object) -> Any:
        if frame.f_code.co_filename not in CODE:
            return None
        frame.f_trace_opcodes = self.event == "opcode"
        if event == self.event:
            self.done += 1
            if not self.step or self.done == self.step:
                self.work()
        return self.trace

    def run(self, call: Callable[[], object]) -> None:
        sys.settrace(self.trace)
        call()
        sys.settrace(None)


def in_child(work: Callable[[], int]) -> int:
    """Do this in a forked process, which ends with the result; return that."""
    child = os.fork()
    if not child:
        sys.settrace(None)
        signal.alarm(PATIENCE)
        status = 2
        try:
            status = work()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def inside(store: RedisBlocklist) -> int:
    def ask_twice(step: int) -> int:
        others: list[threading.Thread] = []

        def intrude() -> None:
            others.append(threading.Thread(target=store.find, args=([KEY],)))
            others[0].start()
            # It may have to wait until the other goes on.
            others[0].join(0.02)

        Steps(intrude, step).run(lambda: store.find([KEY]))
        for other in others:
            other.join(PATIENCE)
        return 0 if others else 3

    # Every third is near enough to what it does.
    for step in itertools.count(1, 3):
        status = in_child(lambda: ask_twice(step))  # noqa: B023
        if status == 3 or step > MANY:
            return step
        assert status == 0, f"the parent's connection was used after step {step}"
        store.find([KEY])
    raise AssertionError


def between(store: RedisBlocklist) -> int:
    statuses: list[int] = []

    def ask() -> int:
        store.find([KEY])
        return 0

    steps = Steps(lambda: statuses.append(in_child(ask)))
    # One that opens a connection, and one that finds it.
    for _ in range(2):
        steps.run(lambda: store.find([KEY]))
    assert {*statuses} == {0}, statuses
    store.find([KEY])
    return len(statuses)


def run(url: str, which: str) -> None:
    untyped: Any = redis
    pool = untyped.ConnectionPool.from_url(url, connection_class=Own, socket_timeout=10)
    store = RedisBlocklist(untyped.Redis(connection_pool=pool))
    if which == "inside":
        store.find([KEY])
    print({"inside": inside, "between": between}[which](store))


@pytest.mark.slow
@pytest.mark.parametrize("which", ["inside", "between"])
def test_no_thread_of_a_forked_process_uses_the_parent_s_connection(which: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", __name__, redis_url(), which],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert 20 < int(done.stdout) < MANY


if __name__ == "__main__":
    run(*sys.argv[1:])
