"""Revocations among processes: another one sees them at once, and a fork breaks nothing."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.stores.process import CHILDREN, TURNS
from tests.stores.sites import SHARED, log_in, outcome_of, settings_of, site
from tests.support import access_token
from tests.support.answers import OK, REVOKED, Outcome

pytestmark = [
    pytest.mark.slow,
    # One process serves all of them.
    pytest.mark.xdist_group("stores-process"),
    pytest.mark.parametrize("kind", SHARED),
]


class Process:
    """The process, and the errors that it and its children write."""

    def __init__(self, errors: Path) -> None:
        self.errors = errors
        command = (sys.executable, "-W", "error::ResourceWarning", "-m", "tests.stores.process")
        with errors.open("w") as file:
            self.running = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=file, text=True
            )

    def ask(self, question: str, value: Any) -> Any:
        assert self.running.stdin is not None
        assert self.running.stdout is not None
        self.running.stdin.write(json.dumps([question, value]) + "\n")
        self.running.stdin.flush()
        line = self.running.stdout.readline()
        assert line, f"the process ended: {self.errors.read_text()}"
        return json.loads(line)

    def close(self) -> None:
        """Let it end; nothing has gone wrong by then, and nothing is left open."""
        with self.running:
            assert self.running.stdin is not None
            self.running.stdin.close()
            assert (self.running.wait(60), self.errors.read_text()) == (0, "")


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    made = Process(tmp_path_factory.mktemp("process") / "errors")
    yield made
    made.close()


def test_another_process_sees_a_revocation_at_once(
    process: Process, kind: str, tmp_path: Path
) -> None:
    """SECURITY A.12 219"""
    settings = settings_of(kind, tmp_path)
    app, authx = site(settings)
    assert process.ask("join", settings) == "joined"
    for turn in range(6):
        token = access_token(app, authx, f"ann{turn}")
        assert Outcome(*process.ask("outcome", token)) == OK
        if turn % 2:
            with app.app_context():
                authx.revoke_token(token)
        else:
            assert process.ask("revoke", token) == "revoked"
        assert Outcome(*process.ask("outcome", token)) == REVOKED, f"turn {turn}"
        assert outcome_of(app, token) == REVOKED


def test_a_fork_leaves_the_connections_of_each_process_alone(
    process: Process, kind: str, tmp_path: Path
) -> None:
    """SECURITY A.16 311: a parent that has used its store, and workers that all use it at once"""
    settings = settings_of(kind, tmp_path)
    # With the mark of its scope, or the first to ask would log that it is missing.
    log_in(*site(settings))
    name = f"authx-{uuid.uuid4().hex[:12]}"
    if kind == "redis":
        settings["JWT_BLOCKLIST"] += f"?client_name={name}"
    elif kind in ("postgresql", "psycopg2"):
        settings["SQLALCHEMY_DATABASE_URI"] += f"?application_name={name}"
    said = process.ask("fork", settings)
    assert (said["statuses"], process.errors.read_text()) == ([0] * (CHILDREN + TURNS), "")
    if kind != "sqlite":
        assert said["before"]
        # The parent goes on with the very connections that it had.
        assert {*said["before"]} <= {*said["after"]}
