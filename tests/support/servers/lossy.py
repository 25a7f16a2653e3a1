"""A connection to a server on which the answer to a request gets lost."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Self


class LossyLine:
    """Passes bytes between clients and a server on this machine, each way as they come.

    :param port: of the server.
    """

    def __init__(self, port: int) -> None:
        self._server = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = []
        #: What is in the request whose answer is lost next.
        self._marker: bytes | None = None
        self._times = 0
        #: Whether the client is left waiting for it.
        self._late = False
        #: How many answers have been lost.
        self.lost = 0

    def lose_answer(self, marker: bytes, *, late: bool = False, times: int = 1) -> None:
        """Close the connection instead of passing on the answer to the next such request.

        :param late: leave the connection open, so that the client waits until it gives up.
        :param times: the number of such requests.
        """
        self._late, self._times = late, times
        self._marker = marker

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for one in [self._listener, *self._sockets]:
            _hang_up(one)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._server))
                self._sockets += [client, server]
                loses = threading.Event()
                for pump in (self._pass_requests, self._pass_answers):
                    arguments = (client, server, loses)
                    threading.Thread(target=pump, args=arguments, daemon=True).start()

    def _pass_requests(
        self, client: socket.socket, server: socket.socket, loses: threading.Event
    ) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                if self._marker is not None and self._marker in data:
                    self._times -= 1
                    if not self._times:
                        self._marker = None
                    loses.set()
                server.sendall(data)
        _hang_up(server)

    def _pass_answers(
        self, client: socket.socket, server: socket.socket, loses: threading.Event
    ) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                if loses.is_set():
                    self.lost += 1
                    if self._late:
                        continue
                    break
                client.sendall(data)
        _hang_up(client)
        _hang_up(server)


def _hang_up(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
