"""Starting and stopping servers on free ports, and talking to them byte by byte."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from werkzeug.serving import make_server

from tests.support import ROOT

from .site import application


@contextmanager
def gunicorn(
    worker: str, log: Path, served: str = "tests.support.servers.site:application"
) -> Generator[int]:
    """Gunicorn with two workers; gives the port. Whatever happens, it is stopped."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener, log.open("w") as output:
        # It inherits a socket that listens already: nobody has to wait or to guess a port.
        command = [
            *(sys.executable, "-m", "gunicorn", "-w", "2", "--threads", "4", "-k", worker),
            *("--bind", f"fd://{listener.fileno()}", "--no-control-socket"),
            served,
        ]
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=output, stderr=output, pass_fds=[listener.fileno()]
        )
        try:
            yield listener.getsockname()[1]
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def development_server() -> AbstractContextManager[int]:
    """Werkzeug's own server, with threads."""
    return serving(application)


@contextmanager
def serving(app: Any) -> Generator[int]:
    """An app on a port, which is the value, in threads of this process."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def exchange(port: int, request: bytes, *, ends: bool = False) -> tuple[int, dict[str, str], bytes]:
    """The answer to these very bytes: status, headers by their names in lower case, body.

    :param ends: whether the client says that no more will come.
    """
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        answer = b""
        try:
            connection.sendall(request)
            if ends:
                connection.shutdown(socket.SHUT_WR)
            while received := connection.recv(65536):
                answer += received
        except ConnectionError:
            # A server may hang up on a request that is too long before it was all sent.
            pass
    head, _, body = answer.partition(b"\r\n\r\n")
    if not head:
        return 431, {}, b""
    status, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.split(": ", 1) for line in lines)
    return int(status.split()[1]), {name.lower(): value for name, value in pairs}, body


def request(
    *lines: bytes, target: bytes = b"/whoami", method: bytes = b"GET", version: bytes = b"HTTP/1.1"
) -> bytes:
    """A request with these header lines, whatever is in them."""
    start = b" ".join((method, target, version))
    every = [start, b"Host: localhost", b"Connection: close", *lines]
    return b"\r\n".join(every) + b"\r\n\r\n"
