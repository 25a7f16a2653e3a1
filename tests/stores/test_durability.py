"""What a revocation is worth when the process or the server is killed right after it returned."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from flask_authx import AuthX
from tests.stores.test_failures_common import Site, private, site
from tests.support import parts
from tests.support.answers import OK, REVOKED, Outcome
from tests.support.servers.private import Server

pytestmark = pytest.mark.slow

#: Seconds; a busy machine's time is no concern here, nor how long the store is given.
PATIENCE = 60
WAIT: dict[str, Any] = {"JWT_STORE_TIMEOUT": 10}

SERVERS: dict[str, tuple[str, ...]] = {
    "postgresql": ("postgresql",),
    # What a database may be told to put off is not put off here.
    "postgresql-lazy": ("postgresql", "synchronous_commit=off", "wal_writer_delay=10s"),
    "mariadb": ("mariadb",),
    "redis-everysec": ("redis", "--appendfsync", "everysec"),
    "redis-always": ("redis", "--appendfsync", "always"),
}

REVOCATIONS: dict[str, Callable[[AuthX, str], None]] = {
    "token": lambda authx, token: authx.revoke_token(token),
    "session": lambda authx, token: authx.revoke_session(parts(token)[1]["sid"]),
    "subject": lambda authx, token: authx.revoke_subject(parts(token)[1]["sub"]),
}


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with private(*SERVERS[request.param]) as started:
        yield started


def over_http(made: Site, what: str, token: str) -> None:
    """Revoke in a request, whose answer is seen before anybody goes on."""

    def view() -> str:
        REVOCATIONS[what](made.authx, token)
        return "revoked"

    made.app.add_url_rule("/revoke", "revoke", view, methods=["POST"])
    assert made.app.test_client().post("/revoke").status_code == 200


def revoke(url: str, what: str, token: str, done: Connection) -> None:
    """Runs in a process of its own: says so once the token is revoked, and waits to be killed."""
    with site(url, tables=False, **WAIT) as made:
        over_http(made, what, token)
        done.send("revoked")
        signal.pause()


def revoke_and_die(url: str, what: str, token: str) -> None:
    """Runs in a process of its own, which does nothing more after revoking."""
    with site(url, tables=False, **WAIT) as made, made.app.app_context():
        REVOCATIONS[what](made.authx, token)
        os.kill(os.getpid(), signal.SIGKILL)


def tell(url: str, tokens: list[str], answers: Connection) -> None:
    """Runs in a process of its own: what becomes of requests with these tokens."""
    with site(url, tables=False, **WAIT) as made:
        answers.send([made.outcome(token) for token in tokens])


def in_a_new_process(url: str, *tokens: str) -> list[Outcome]:
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    process = spawn.Process(target=tell, args=(url, [*tokens], there))
    process.start()
    try:
        assert here.poll(PATIENCE)
        answers: list[Outcome] = here.recv()
        process.join(PATIENCE)
    finally:
        process.kill()
        process.join()
    return answers


def start_revoking(url: str, what: str, token: str, kill: Callable[[], None]) -> None:
    """Revoke in another process, and kill as soon as it says that it is done."""
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    process = spawn.Process(target=revoke, args=(url, what, token, there))
    process.start()
    try:
        assert here.poll(PATIENCE)
        kill()
        assert here.recv() == "revoked"
    finally:
        process.kill()
        process.join()


@pytest.mark.parametrize("what", REVOCATIONS)
def test_a_revocation_outlives_a_killed_server(server: Server, what: str) -> None:
    """SECURITY A.12 213"""
    with site(server.url, **WAIT) as made:
        revoked, good = made.token(f"ann-{what}"), made.token("bob")
        assert made.outcome(revoked) == OK
    start_revoking(server.url, what, revoked, server.kill)
    server.start()
    assert in_a_new_process(server.url, revoked, good) == [REVOKED, OK]


def test_a_redis_without_its_append_only_file_would_have_forgotten() -> None:
    """What makes the test above able to fail."""
    with private("redis", "--appendonly", "no") as forgetful:
        with site(forgetful.url) as made:
            token = made.token()
        start_revoking(forgetful.url, "token", token, forgetful.kill)
        forgetful.start()
        assert in_a_new_process(forgetful.url, token) == [OK]


@pytest.mark.parametrize("what", REVOCATIONS)
def test_a_revocation_in_sqlite_outlives_its_killed_process(tmp_path: Path, what: str) -> None:
    file = tmp_path / "test.db"
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("PRAGMA journal_mode = WAL").fetchone() == ("wal",)
    url = f"sqlite+pysqlite:///{file}"
    with site(url, **WAIT) as made:
        revoked, good = made.token(), made.token("bob")
        assert made.outcome(revoked) == OK
    process = multiprocessing.get_context("spawn").Process(
        target=revoke_and_die, args=(url, what, revoked)
    )
    process.start()
    process.join(PATIENCE)
    assert process.exitcode == -signal.SIGKILL
    assert in_a_new_process(url, revoked, good) == [REVOKED, OK]
