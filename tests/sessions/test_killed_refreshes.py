"""A refresh whose process is killed, before or after it moved the session on, can be repeated."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support import bearer, parts
from tests.support.answers import OK, REVOKED, Outcome
from tests.support.servers.session_site import KILL
from tests.support.sessions_process import LASTING, PATIENCE, gunicorn, settings_on

pytestmark = pytest.mark.slow

#: How often a process is killed at each point.
TIMES = 2
#: Two workers, which are replaced when they are killed: with the app loaded before it forks, a new
#: worker is there at once.
WORKERS = ("-w", "2", "--preload")


@dataclass(frozen=True, slots=True)
class Reply:
    """A response, and the process that gave it."""

    outcome: Outcome
    worker: int
    body: Any


@dataclass(frozen=True, slots=True)
class Client:
    """Sends each request on a connection of its own, to whichever process takes it."""

    port: int

    def send(
        self, method: str, path: str, token: str | None = None, kill: str | None = None
    ) -> Reply:
        """The response to a request.

        :param kill: when the process is to be killed.
        :raises ConnectionError: if there is none.
        """
        headers = ({} if token is None else bearer(token)) | ({} if kill is None else {KILL: kill})
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as line:
            line.request(method, path, headers=headers)
            response = line.getresponse()
            content = response.read()
            is_json = response.headers.get_content_type() == "application/json"
            body: Any = json.loads(content) if is_json else None
            error_type = body["error_type"] if is_json and response.status >= 400 else None
            found = Outcome(response.status, error_type)
            found.sent = f"{method} {path} with {headers}"
            return Reply(found, int(response.headers["X-Worker"]), body)

    def login(self, sub: str) -> dict[str, str]:
        """The tokens of a new session."""
        reply = self.send("POST", f"/login/{sub}")
        assert reply.outcome == OK
        tokens: dict[str, str] = reply.body
        return tokens

    def refresh(self, token: str) -> Reply:
        """The response to a refresh, which must be accepted."""
        reply = self.send("POST", "/refresh", token)
        assert reply.outcome == OK
        return reply

    def generation(self, sub: str) -> int:
        """That of a user's only session, as its row has it."""
        ((generation, _),) = self.send("GET", f"/rows/{sub}").body["rows"]
        return int(generation)

    def killed(self, path: str, token: str, point: str) -> set[int]:
        """Send a request whose process is killed; returns the processes after that."""
        before = self.workers()
        with pytest.raises(ConnectionError):
            self.send("POST", path, token, point)
        after = self.workers()
        assert len(before - after) == 1, f"workers {before} before the kill, {after} after it"
        return after

    def workers(self) -> set[int]:
        """The processes that respond."""
        found: set[int] = set()
        deadline = time.monotonic() + PATIENCE
        while len(found) < 2:
            assert time.monotonic() < deadline, f"only {len(found)} workers respond"
            found.add(self.send("GET", "/worker").worker)
        return found


@pytest.fixture(scope="module", params=LASTING)
def client(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Generator[Client]:
    """Talks to two processes with a store."""
    folder: Path = tmp_path_factory.mktemp("store")
    settings = settings_on(request.param, folder)
    with gunicorn("session_site", settings, folder / "log", *WORKERS) as port:
        yield Client(port)


def generation_of(reply: Reply) -> int:
    """That of the refresh token in a response."""
    return int(parts(reply.body["refresh"])[1]["gen"])


# Whether the row has been moved on by then.
@pytest.mark.parametrize(("point", "moved"), [("minting", 0), ("answering", 1)])
def test_a_refresh_whose_process_was_killed_can_be_repeated(
    client: Client, point: str, moved: int
) -> None:
    """Issue 4: kill -9 between consume and answer leaves the client able to retry"""
    for number in range(TIMES):
        sub = f"{point}-{number}"
        tokens = client.login(sub)
        left = client.killed("/refresh", tokens["refresh"], point)
        assert client.generation(sub) == moved
        reply = client.refresh(tokens["refresh"])
        assert reply.worker in left
        assert generation_of(reply) == client.generation(sub) == 1
        # Both of its tokens are valid, and so is the access token of the log-in.
        for access in (tokens["access"], reply.body["access"]):
            assert client.send("GET", "/guarded", access).outcome == OK
        following = client.refresh(reply.body["refresh"])
        assert generation_of(following) == client.generation(sub) == 2


def test_a_refresh_whose_processes_are_killed_one_after_the_other_moves_on_by_one(
    client: Client,
) -> None:
    tokens = client.login("unlucky")
    for _ in range(TIMES):
        client.killed("/refresh", tokens["refresh"], "answering")
        assert client.generation("unlucky") == 1
    reply = client.refresh(tokens["refresh"])
    assert generation_of(reply) == client.generation("unlucky") == 1


def test_a_log_out_whose_process_was_killed_at_its_end_holds(client: Client) -> None:
    tokens = client.login("leaver")
    client.killed("/logout", tokens["access"], "answering")
    for method, path, token in (
        ("GET", "/guarded", tokens["access"]),
        ("POST", "/refresh", tokens["refresh"]),
    ):
        assert client.send(method, path, token).outcome == REVOKED
    assert client.send("GET", "/rows/leaver").body["rows"] == []
    # It got no response, so it is sent again.
    assert client.send("POST", "/logout", tokens["access"]).outcome == OK
