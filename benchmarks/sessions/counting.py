"""How often a store is asked: its calls one by one, and the turns on the line to its server."""

from __future__ import annotations

import select
import socket
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

_READS = frozenset({"find", "find_dated", "get", "of"})
_WRITES = frozenset({"add", "add_if_absent", "open", "move", "rename", "end", "sweep"})
#: Calls that don't count.
_BEFORE = 10


class Counted:
    """A store whose reads and writes are counted.

    :param tally: by ``read`` and ``write``.
    """

    def __init__(self, store: object, tally: Counter[str]) -> None:
        self._store = store
        self._tally = tally

    def __getattr__(self, name: str) -> Any:
        member: Any = getattr(self._store, name)
        if name not in _READS | _WRITES:
            return member
        kind = "read" if name in _READS else "write"

        def counted(*arguments: object) -> object:
            self._tally[kind] += 1
            return member(*arguments)

        return counted


class Tap:
    """A line to a server that counts its turns: something asked after something answered.

    :param port: where the server is.
    """

    def __init__(self, host: str, port: int) -> None:
        self.turns = 0
        self._server = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections. Those that there are end with their clients."""
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._server)
                threading.Thread(target=self._carry, args=(near, far), daemon=True).start()

    def _carry(self, near: socket.socket, far: socket.socket) -> None:
        for line in (near, far):
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        waiting = False
        with near, far, suppress(OSError):
            while True:
                for source in select.select([near, far], [], [])[0]:
                    data = source.recv(65536)
                    if not data:
                        return
                    if source is near and not waiting:
                        self.turns += 1
                    waiting = source is near
                    (far if source is near else near).sendall(data)


@dataclass(frozen=True)
class Cost:
    """What one request asks of its store.

    :param turns: round trips to the server; nothing where there is none.
    """

    reads: float
    writes: float
    turns: float | None


def cost(call: Callable[[], object], times: int, tally: Counter[str], tap: Tap | None) -> Cost:
    """What a request asks, on average over so many."""
    # Connections are opened first, and drivers prepare what comes again and again.
    for _ in range(_BEFORE):
        call()
    tally.clear()
    before = 0 if tap is None else tap.turns
    for _ in range(times):
        call()
    turns = None if tap is None else (tap.turns - before) / times
    return Cost(tally["read"] / times, tally["write"] / times, turns)
