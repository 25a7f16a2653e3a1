"""A line to a server on which responses get lost."""

from __future__ import annotations

import http.client
import threading
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self


class Line:
    """Hands requests on to a server, and back its responses; some of these are dropped.

    :param port: of the server on this machine.
    :param path: whose responses are dropped.
    :param drop: how many of them.
    """

    def __init__(self, port: int, path: str, *, drop: int) -> None:
        line = self
        #: How often the path was asked for.
        self.asked = 0

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                with closing(http.client.HTTPConnection("127.0.0.1", port)) as server:
                    server.request(self.command, self.path, body, dict(self.headers.items()))
                    response = server.getresponse()
                    content = response.read()
                if self.path == path:
                    line.asked += 1
                    if line.asked <= drop:
                        return
                self.send_response(response.status)
                for name, value in response.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def do_POST(self) -> None:
                self.do_GET()

            def log_request(self, code: object = "-", size: object = "-") -> None:
                """Not on the standard error."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
