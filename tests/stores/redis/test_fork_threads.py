"""A forked process whose threads ask Redis at the same moment: none uses the parent's connection.

Run as a program, this forks a child for each step of the store's first call in it: just then
another thread of the child asks as well.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
from types import FrameType
from typing import Any

import pytest
import redis

from flask_authx import RedisBlocklist
from flask_authx.stores.redis import server as redis_server
from tests.support import ROOT
from tests.support.databases import redis_url

KEY = bytes(16)
#: Of the test: more than the steps there are.
MANY = 400


class Own(redis.Connection):
    """A connection that ends any process but that which has made it, if it sends on it."""

    made_in: int = 0

    def connect(self) -> None:
        if not self.is_connected:
            self.made_in = os.getpid()
        parent: Any = super()
        parent.connect()

    def send_command(self, *args: Any, **kwargs: Any) -> None:
        if self.made_in != os.getpid():
            os._exit(1)
        parent: Any = super()
        parent.send_command(*args, **kwargs)


class Intruder:
    """Lets another thread ask when the store's call has come to a step."""

    def __init__(self, store: RedisBlocklist, step: int) -> None:
        self.store = store
        self.left = step
        self.thread: threading.Thread | None = None

    def trace(self, frame: FrameType, event: str, _: object) -> Any:
        if frame.f_code.co_filename != redis_server.__file__:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            self.left -= 1
            if self.left == 0:
                self.thread = threading.Thread(target=self.store.find, args=([KEY],))
                self.thread.start()
                # It may have to wait until the other goes on.
                self.thread.join(0.02)
        return self.trace


def run(url: str) -> None:
    untyped: Any = redis
    pool = untyped.ConnectionPool.from_url(url, connection_class=Own, socket_timeout=10)
    store = RedisBlocklist(untyped.Redis(connection_pool=pool))
    store.find([KEY])
    steps = 0
    for steps in itertools.count(1):
        child = os.fork()
        if not child:
            intruder = Intruder(store, steps)
            sys.settrace(intruder.trace)
            store.find([KEY])
            sys.settrace(None)
            if intruder.thread is None:
                os._exit(3)
            intruder.thread.join(30)
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status == 3 or steps == MANY:
            break
        assert status == 0, f"the parent's connection was used after step {steps}"
        store.find([KEY])
    print(steps)


@pytest.mark.slow
def test_no_thread_of_a_forked_process_uses_the_parent_s_connection() -> None:
    done = subprocess.run(
        [sys.executable, "-m", __name__, redis_url()],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert 20 < int(done.stdout) < MANY


if __name__ == "__main__":
    run(sys.argv[1])
