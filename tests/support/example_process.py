"""The examples as processes of their own."""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar, cast

from tests.support import ROOT, bearer, reforge
from tests.support.answers import Outcome
from tests.support.waiting import until

DATABASE = "token_callbacks.db"
GUARDED = [("GET", "/token/mandatory"), ("GET", "/profile"), ("DELETE", "/logout")]

Started = TypeVar("Started", bound="Example")


def environment(**more: str) -> dict[str, str]:
    """That of an example: nothing of this process's settings leads it."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("FLASK_")}
    # A busy machine is no fault of the store.
    return clean | {"FLASK_JWT_STORE_TIMEOUT": "10"} | more


@dataclass
class Response:
    """What an example has responded with."""

    status: int
    headers: http.client.HTTPMessage
    body: Any
    #: The request, for messages.
    sent: str

    @property
    def outcome(self) -> Outcome:
        """The status and, if the body is one of our errors, its ``error_type``."""
        is_object = isinstance(self.body, dict)
        body = cast("dict[str, Any]", self.body if is_object else {})
        found = Outcome(self.status, body.get("error_type"))
        found.sent = self.sent
        return found


class Example:
    """An example as a process of its own, on a free port.

    :param settings: environment variables.
    """

    #: What is run.
    module: ClassVar[str]
    host: ClassVar[str] = "127.0.0.1"

    def __init__(self, folder: Path, *options: str, **settings: str) -> None:
        self.folder = folder
        self.log_file = folder / "log"
        self._options, self._settings = options, settings
        self.port = 0
        self.start()

    def start(self) -> None:
        """Start it; if it has been started before, then on the same port."""
        options = ["--port", str(self.port), "--instance", str(self.folder), *self._options]
        with self.log_file.open("w") as log:
            self.process = run(self.module, options, log, **self._settings)
        announced = re.compile(rf"on http://{re.escape(self.host)}:(\d+)\n")
        until(
            lambda: announced.search(self.log) or self.process.poll() is not None,
            timeout=60,
            what=f"the start of {self.module}",
        )
        found = announced.search(self.log)
        assert found is not None, f"{self.module} did not start:\n{self.log}"
        self.port = int(found[1])

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    def ask(
        self, method: str, path: str, token: str | None = None, body: object = None
    ) -> Response:
        headers = {} if token is None else bearer(token)
        if body is not None:
            headers["Content-Type"] = "application/json"
        text = body if isinstance(body, (str, type(None))) else json.dumps(body)
        sent = f"{method} {path} with {token or 'no token'}"
        if text is not None:
            sent += f" and {text[:300]}"
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.request(method, path, text, headers)
            response = connection.getresponse()
            found = json.loads(response.read())
            return Response(response.status, response.headers, found, sent)


class TokenCallbacks(Example):
    """The example ``token_callbacks``."""

    module = "examples.token_callbacks"

    def login(self) -> str:
        """An access token alone."""
        token = self.ask("POST", "/login", body={"username": "ann"}).body["access_token"]
        assert isinstance(token, str)
        return token

    def pair(self) -> tuple[str, str]:
        """An access token and a refresh token."""
        body = self.ask("POST", "/login", body={"username": "ann", "pair": True}).body
        return body["access_token"], body["refresh_token"]

    def logged_out(self) -> str:
        """A token that is revoked."""
        token = self.login()
        assert self.ask("DELETE", "/logout", token).body == "OK"
        return token

    def foreign(self) -> str:
        """A token right in everything, down to the kid, but for the key that signed it."""
        return reforge(self.login())


def run(module: str, options: list[str], log: Any, **settings: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", module, *options],
        cwd=ROOT,
        env=environment(**settings),
        stdout=log,
        stderr=subprocess.STDOUT,
        text=True,
    )


def refusal_to_start(module: str, options: list[str], **settings: str) -> str:
    """What an example says that does not start; it says it in words."""
    with run(module, options, subprocess.PIPE, **settings) as process:
        try:
            output, _ = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 1, f"it ended with {process.returncode} and said {output}"
    assert "Traceback" not in output
    return output


@contextmanager
def restarting(start: Callable[..., Started]) -> Generator[Callable[..., Started]]:
    """Starts an example, again and again; one is stopped before the next, and the last."""
    started: list[Started] = []

    def stop() -> None:
        for example in started:
            example.stop()

    def start_next(*options: str) -> Started:
        stop()
        started.append(start(*options))
        return started[-1]

    try:
        yield start_next
    finally:
        stop()
