"""uWSGI forks its workers in C, without Python's hooks: no worker uses another one's connection."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.stores.sites import settings_of, site
from tests.support import ROOT, SECRET, access_token, bearer
from tests.support.servers.private import free_port, program
from tests.support.servers.session_site import SETTINGS
from tests.support.waiting import until

CLIENTS, TOKENS, TURNS = 8, 5, 12


@contextlib.contextmanager
def uwsgi(settings: dict[str, Any], log: Path) -> Generator[int]:
    """uWSGI with two workers, whose master has asked the store; gives the port."""
    path = program(str(Path(sys.executable).with_name("uwsgi")), "uwsgi")
    if path is None:
        what = "uWSGI is not installed: pip install pyuwsgi"
        if os.environ.get("AUTHX_REQUIRE_SERVERS"):
            pytest.fail(what)
        pytest.skip(what)
    port = free_port()
    command = [
        *(path, "--master", "--processes", "2", "--http-socket", f"127.0.0.1:{port}"),
        *("--need-app", "--die-on-term", "--disable-logging", "--home", sys.prefix),
        *("--module", "tests.support.servers.uwsgi_site:application"),
    ]
    environment = {**os.environ, SETTINGS: json.dumps(settings), "PYTHONPATH": str(ROOT)}
    with log.open("w") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)

    def answers() -> bool:
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return True
        return False

    try:
        until(answers, what="uWSGI")
        yield port
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["postgresql", "psycopg2", "mariadb", "redis"])
def test_a_revoked_token_is_refused_by_workers_that_were_forked_in_c(
    kind: str, tmp_path: Path
) -> None:
    settings = settings_of(kind, tmp_path)
    settings |= {"JWT_SECRET_KEY": SECRET, "JWT_STORE_TIMEOUT": 10}
    app, authx = site(settings)
    valid, revoked = (
        [access_token(app, authx, f"{what}{number}") for number in range(TOKENS)]
        for what in ("valid", "revoked")
    )
    with app.app_context():
        for token in revoked:
            authx.revoke_token(token)

    def ask(path: str, token: str = "") -> tuple[int, str | None]:
        """The status of a response, and the worker."""
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
            connection.request("GET", path, headers=bearer(token) if token else {})
            response = connection.getresponse()
            return response.status, response.headers["X-Worker"]

    def client(number: int) -> Counter[tuple[bool, int, str | None]]:
        seen = Counter[tuple[bool, int, str | None]]()
        for turn in range(TURNS * TOKENS):
            is_revoked = (number + turn) % 2 == 0
            token = (revoked if is_revoked else valid)[turn % TOKENS]
            status, worker = ask("/guarded", token)
            seen[is_revoked, status, worker] += 1
        return seen

    def both_answer() -> bool:
        return len({*pool.map(ask, ["/worker"] * CLIENTS)}) == 2

    with uwsgi(settings, tmp_path / "log") as port, ThreadPoolExecutor(CLIENTS) as pool:
        until(both_answer, what="two workers")
        seen = sum(pool.map(client, range(CLIENTS)), Counter[tuple[bool, int, str | None]]())
    assert len({worker for _, _, worker in seen}) == 2
    statuses = {(is_revoked, status) for is_revoked, status, _ in seen}
    assert statuses == {(True, 401), (False, 200)}, (seen, (tmp_path / "log").read_text())
