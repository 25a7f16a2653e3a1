"""A refresh whose process is killed, before or after it moved the login on, can be tried again."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import create_server
from typing import Any

import pytest

from tests.support import ROOT, bearer, parts
from tests.support.servers.session_site import KILL, SETTINGS
from tests.support.sessions_process import LASTING, PATIENCE, settings_on

pytestmark = pytest.mark.slow

#: How often a process is killed at each point.
TIMES = 5


@contextmanager
def gunicorn(settings: dict[str, Any], log: Path) -> Generator[int]:
    """Gunicorn with two workers, which it replaces when they are killed; gives the port."""
    with create_server(("127.0.0.1", 0), backlog=128) as listener, log.open("w") as output:
        command = [
            # With the app loaded before it forks, a new worker is there at once.
            *(sys.executable, "-m", "gunicorn", "-w", "2", "--preload", "--no-control-socket"),
            *("--bind", f"fd://{listener.fileno()}"),
            "tests.support.servers.session_site:application()",
        ]
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, SETTINGS: json.dumps(settings)},
            stdout=output,
            stderr=output,
            pass_fds=[listener.fileno()],
        )
        try:
            yield listener.getsockname()[1]
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, and the process that gave it."""

    status: int
    worker: int
    body: Any


@dataclass(frozen=True, slots=True)
class Client:
    """Sends each request on a connection of its own, to whichever process takes it."""

    port: int

    def send(
        self, method: str, path: str, token: str | None = None, kill: str | None = None
    ) -> Answer:
        """What is answered.

        :param kill: when the process is to be killed.
        :raises ConnectionError: if nothing is.
        """
        headers = ({} if token is None else bearer(token)) | ({} if kill is None else {KILL: kill})
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as line:
            line.request(method, path, headers=headers)
            response = line.getresponse()
            content = response.read()
            is_json = response.headers.get_content_type() == "application/json"
            body = json.loads(content) if is_json else None
            return Answer(response.status, int(response.headers["X-Worker"]), body)

    def login(self, sub: str) -> dict[str, str]:
        """The tokens of a new login."""
        answer = self.send("POST", f"/login/{sub}")
        assert answer.status == 200
        tokens: dict[str, str] = answer.body
        return tokens

    def refresh(self, token: str) -> Answer:
        """What a refresh is answered, which must go well."""
        answer = self.send("POST", "/refresh", token)
        assert answer.status == 200, answer
        return answer

    def generation(self, sub: str) -> int:
        """That of a user's only login, as its row has it."""
        ((generation, _),) = self.send("GET", f"/rows/{sub}").body["rows"]
        return int(generation)

    def killed(self, path: str, token: str, point: str) -> set[int]:
        """Send a request in vain; the processes that may answer from now on."""
        before = self.workers()
        with pytest.raises(ConnectionError):
            self.send("POST", path, token, point)
        after = self.workers()
        assert len(before - after) == 1
        return after

    def workers(self) -> set[int]:
        """The processes that answer."""
        found: set[int] = set()
        deadline = time.monotonic() + PATIENCE
        while len(found) < 2:
            assert time.monotonic() < deadline, f"only {len(found)} workers answer"
            found.add(self.send("GET", "/worker").worker)
        return found


@pytest.fixture(scope="module", params=LASTING)
def client(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Generator[Client]:
    """Talks to two processes with a store."""
    folder: Path = tmp_path_factory.mktemp("store")
    with (
        settings_on(request.param, folder) as settings,
        gunicorn(settings, folder / "log") as port,
    ):
        yield Client(port)


def generation_of(answer: Answer) -> int:
    """That of the refresh token in an answer."""
    return int(parts(answer.body["refresh"])[1]["gen"])


# Whether the row has been moved on by then.
@pytest.mark.parametrize(("point", "moved"), [("minting", 0), ("answering", 1)])
def test_a_refresh_whose_process_was_killed_can_be_tried_again(
    client: Client, point: str, moved: int
) -> None:
    """Issue 4: kill -9 between consume and answer leaves the client able to retry"""
    for number in range(TIMES):
        sub = f"{point}-{number}"
        tokens = client.login(sub)
        left = client.killed("/refresh", tokens["refresh"], point)
        assert client.generation(sub) == moved
        answer = client.refresh(tokens["refresh"])
        assert answer.worker in left
        assert generation_of(answer) == client.generation(sub) == 1
        # Both of its tokens are good, and so is the access token of the log-in.
        for access in (tokens["access"], answer.body["access"]):
            assert client.send("GET", "/guarded", access).status == 200
        following = client.refresh(answer.body["refresh"])
        assert generation_of(following) == client.generation(sub) == 2


def test_a_refresh_whose_processes_are_killed_one_after_the_other_moves_on_by_one(
    client: Client,
) -> None:
    tokens = client.login("unlucky")
    for _ in range(TIMES):
        client.killed("/refresh", tokens["refresh"], "answering")
        assert client.generation("unlucky") == 1
    answer = client.refresh(tokens["refresh"])
    assert generation_of(answer) == client.generation("unlucky") == 1


def test_a_log_out_whose_process_was_killed_at_its_end_holds(client: Client) -> None:
    tokens = client.login("leaver")
    client.killed("/logout", tokens["access"], "answering")
    for method, path, token in (
        ("GET", "/guarded", tokens["access"]),
        ("POST", "/refresh", tokens["refresh"]),
    ):
        answer = client.send(method, path, token)
        assert (answer.status, answer.body["error_type"]) == (401, "RevokedTokenError")
    assert client.send("GET", "/rows/leaver").body["rows"] == []
    # It wasn't answered, so it is sent again.
    assert client.send("POST", "/logout", tokens["access"]).status == 200
