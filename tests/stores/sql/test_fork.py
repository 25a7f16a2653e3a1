"""A server may fork an app that has used its store."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stores.sql.servers import PID, SERVERS
from tests.support.databases import database_url

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("kind", SERVERS)
def test_each_process_has_connections_and_deadlines_of_its_own(kind: str, tmp_path: Path) -> None:
    command = (sys.executable, "-m", "tests.stores.sql.forking")
    done = subprocess.run(
        (*command, database_url(kind, tmp_path), PID[kind]),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    seen = json.loads(done.stdout)
    assert seen["status"] == 0
    for one in ("before", "during", "after", "child"):
        assert seen[one]["wrong"] == 0, f"{one}: answers to other questions"
    # The parent goes on with those that it had, and the child has none of them.
    parent = {*seen["before"]["pids"], *seen["during"]["pids"], *seen["after"]["pids"]}
    assert {*seen["before"]["pids"]} & {*seen["after"]["pids"]}
    assert not {*seen["child"]["pids"]} & parent
    assert seen["child"]["ended"]
