"""The example ``token_callbacks`` as a process of its own."""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support import ROOT, bearer, reforge

DATABASE = "token_callbacks.db"
GUARDED = [("GET", "/token/mandatory"), ("GET", "/profile"), ("DELETE", "/logout")]


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: Any


class Example:
    """The example as a process of its own, on a free port."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log_file = folder / "log"
        with self.log_file.open("w") as log:
            self.process = run(["--port", "0", "--instance", str(folder)], log)
        self.port = self._port()

    def _port(self) -> int:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if found := re.search(r"on http://127\.0\.0\.1:(\d+)\n", self.log):
                return int(found[1])
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        self.stop()
        pytest.fail(f"the example did not start:\n{self.log}")

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()

    def ask(self, method: str, path: str, token: str | None = None, body: object = None) -> Answer:
        headers = {} if token is None else bearer(token)
        if body is not None:
            headers["Content-Type"] = "application/json"
        text = body if isinstance(body, (str, type(None))) else json.dumps(body)
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.request(method, path, text, headers)
            response = connection.getresponse()
            return Answer(response.status, response.headers, json.loads(response.read()))

    def login(self) -> str:
        token = self.ask("POST", "/login", body={"username": "ann"}).body["access_token"]
        assert isinstance(token, str)
        return token

    def pair(self) -> tuple[str, str]:
        body = self.ask("POST", "/login", body={"username": "ann", "pair": True}).body
        return body["access_token"], body["refresh_token"]

    def logged_out(self) -> str:
        token = self.login()
        assert self.ask("DELETE", "/logout", token).body == "OK"
        return token

    def foreign(self) -> str:
        # Right in everything, down to the kid, but for the key that signed it.
        return reforge(self.login())


def run(options: list[str], log: Any, **environment: str) -> subprocess.Popen[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("FLASK_")}
    return subprocess.Popen(
        [sys.executable, "-m", "examples.token_callbacks", *options],
        cwd=ROOT,
        env=clean | environment,
        stdout=log,
        stderr=subprocess.STDOUT,
        text=True,
    )


def refusal_to_start(options: list[str], **environment: str) -> str:
    with run(options, subprocess.PIPE, **environment) as process:
        try:
            output, _ = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 1
    assert "Traceback" not in output
    return output
