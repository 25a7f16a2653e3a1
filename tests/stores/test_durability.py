"""Revocations outlive the process or the server that is killed right after they returned."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
from collections.abc import Callable, Generator
from contextlib import closing
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from flask_authx import AuthX
from tests.support import parts
from tests.support.answers import OK, REVOKED, Outcome, outcome
from tests.support.databases import private_server
from tests.support.failing import Site, failing, shared, site
from tests.support.processes import forked
from tests.support.servers.private import Server

pytestmark = pytest.mark.slow

#: Seconds; a busy machine's time is no concern here, nor how long the store is given.
PATIENCE = 60
WAIT: dict[str, Any] = {"JWT_STORE_TIMEOUT": 10}

#: The shared servers; ``everysec`` is what Redis does unless it is told otherwise.
SHARED = {"postgresql": "postgresql", "mariadb": "mariadb", "redis-everysec": "redis"}
OWN: dict[str, tuple[str, ...]] = {
    # What a database may be told to put off is not put off here.
    "postgresql-lazy": ("postgresql", "synchronous_commit=off", "wal_writer_delay=10s"),
    "redis-always": ("redis", "--appendfsync", "always"),
}

REVOCATIONS: dict[str, Callable[[AuthX, str], None]] = {
    "token": lambda authx, token: authx.revoke_token(token),
    "session": lambda authx, token: authx.revoke_session(parts(token)[1]["sid"]),
    "subject": lambda authx, token: authx.revoke_subject(parts(token)[1]["sub"]),
}


@contextlib.contextmanager
def server_like(kind: str) -> Generator[Server]:
    """The shared server where it has the options wanted, or else one of the test's own."""
    if kind in SHARED:
        yield shared(SHARED[kind])
    else:
        with private_server(*OWN[kind]) as started:
            yield started


def over_http(made: Site, what: str, token: str) -> None:
    """Revoke in a request, and go on when the client has its response."""

    def view() -> str:
        REVOCATIONS[what](made.authx, token)
        return "revoked"

    made.app.add_url_rule("/revoke", "revoke", view, methods=["POST"])
    assert outcome(made.app.test_client().post("/revoke")) == OK


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


def tell(url: str, tokens: list[str], outcomes: Connection) -> None:
    """Runs in a process of its own: what becomes of requests with these tokens."""
    with site(url, tables=False, **WAIT) as made:
        outcomes.send([made.outcome(token) for token in tokens])


def in_a_new_process(url: str, *tokens: str) -> list[Outcome]:
    here, there = forked.Pipe()
    process = forked.Process(target=tell, args=(url, [*tokens], there))
    process.start()
    try:
        assert here.poll(PATIENCE), "no response of a new process"
        outcomes: list[Outcome] = here.recv()
        process.join(PATIENCE)
    finally:
        process.kill()
        process.join()
    return outcomes


def start_revoking(url: str, what: str, token: str, kill: Callable[[], None]) -> None:
    """Revoke in another process, and kill as soon as it says that it is done."""
    here, there = forked.Pipe()
    process = forked.Process(target=revoke, args=(url, what, token, there))
    process.start()
    try:
        assert here.poll(PATIENCE), f"no word of the process that revokes a {what}"
        kill()
        assert here.recv() == "revoked"
    finally:
        process.kill()
        process.join()


@pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, marks=failing(kind.partition("-")[0])) for kind in [*SHARED, *OWN]],
)
def test_revocations_outlive_a_killed_server(kind: str) -> None:
    """SECURITY A.12 213"""
    with server_like(kind) as server:
        with site(server.url, **WAIT) as made:
            tokens = {what: made.token(f"ann-{what}") for what in REVOCATIONS}
            valid = made.token("bob")
            for token in tokens.values():
                assert made.outcome(token) == OK
        for what, token in tokens.items():
            start_revoking(server.url, what, token, server.kill)
            server.start()
        # What a kill has lost, the later ones don't bring back.
        outcomes = in_a_new_process(server.url, *tokens.values(), valid)
        assert dict(zip([*tokens, "valid"], outcomes, strict=True)) == {
            **dict.fromkeys(tokens, REVOKED),
            "valid": OK,
        }


def test_a_redis_without_its_append_only_file_forgets_and_revives_nothing() -> None:
    """Issue 13: a store that was emptied closes by itself. The test above could fail: on bob."""
    with private_server("redis", "--appendonly", "no") as forgetful:
        with site(forgetful.url) as made:
            token, valid = made.token(), made.token("bob")
            assert made.outcome(valid) == OK
        start_revoking(forgetful.url, "token", token, forgetful.kill)
        forgetful.start()
        assert in_a_new_process(forgetful.url, token, valid) == [REVOKED, REVOKED]
        with site(forgetful.url) as made:
            again = made.token("bob")
        assert in_a_new_process(forgetful.url, token, valid, again) == [REVOKED, REVOKED, OK]


def test_revocations_in_sqlite_outlive_their_killed_process(tmp_path: Path) -> None:
    """SECURITY A.5 106"""
    file = tmp_path / "test.db"
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("PRAGMA journal_mode = WAL").fetchone() == ("wal",)
    url = f"sqlite+pysqlite:///{file}"
    for what in REVOCATIONS:
        with site(url, **WAIT) as made:
            revoked, valid = made.token(f"ann-{what}"), made.token("bob")
            assert made.outcome(revoked) == OK
        process = forked.Process(target=revoke_and_die, args=(url, what, revoked))
        process.start()
        process.join(PATIENCE)
        assert process.exitcode == -signal.SIGKILL, (
            f"exit code of the process that revoked a {what}"
        )
        outcomes = in_a_new_process(url, revoked, valid)
        assert outcomes == [REVOKED, OK], f"after a {what} was revoked: {outcomes}"
