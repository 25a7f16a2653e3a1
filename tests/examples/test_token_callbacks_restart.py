"""Starting the example ``token_callbacks``, again, and what can keep it from starting."""

from __future__ import annotations

import functools
import socket
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.answers import FAULT, INVALID, OK, REVOKED
from tests.support.example_process import (
    DATABASE,
    GUARDED,
    TokenCallbacks,
    refusal_to_start,
    restarting,
)

pytestmark = pytest.mark.slow

MODULE = TokenCallbacks.module
Start = Callable[[], TokenCallbacks]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts the example, again and again in the same folder; one is stopped before the next."""
    with restarting(functools.partial(TokenCallbacks, tmp_path)) as start:
        yield start


def test_a_restart_keeps_tokens_and_revocations(start: Start) -> None:
    example = start()
    valid, revoked = example.login(), example.logged_out()
    example = start()
    assert example.ask("GET", "/profile", valid).outcome == OK
    assert example.ask("GET", "/profile", revoked).outcome == REVOKED
    secret = example.folder / "token_callbacks.secret"
    assert secret.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("loss", ["file", "table"])
def test_a_lost_database_is_a_503_and_brings_no_revoked_token_back(start: Start, loss: str) -> None:
    """USERS 42."""
    example = start()
    valid, revoked = example.login(), example.logged_out()
    database = example.folder / DATABASE
    if loss == "file":
        database.unlink()
    else:
        with closing(sqlite3.connect(database)) as connection:
            connection.execute("DROP TABLE revoked_token")
    for method, path in GUARDED:
        for token in (valid, revoked):
            response = example.ask(method, path, token)
            assert response.outcome == FAULT
            assert response.headers["Retry-After"] == "1"
    assert "Restore it from a backup. If it is lost, restart the app" in example.log
    assert valid not in example.log
    example = start()
    assert "all users must log in again" in example.log
    for token in (revoked, valid):
        assert example.ask("GET", "/profile", token).outcome == INVALID
    assert example.ask("GET", "/profile", example.login()).outcome == OK


def test_a_port_in_use_is_said_so_and_nothing_is_written(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        output = refusal_to_start(MODULE, ["--port", str(port), "--instance", str(tmp_path)])
    assert f"Port {port} can't be used" in output
    assert "make demo PORT=5001" in output
    assert "-m examples.token_callbacks --port 5001" in output
    assert list(tmp_path.iterdir()) == []


def test_a_mistyped_setting_is_named(tmp_path: Path) -> None:
    options = ["--port", "0", "--instance", str(tmp_path)]
    output = refusal_to_start(MODULE, options, FLASK_JWT_ACCES_TOKEN_EXPIRES="60")
    assert "JWT_ACCES_TOKEN_EXPIRES" in output
    assert "did you mean JWT_ACCESS_TOKEN_EXPIRES?" in output


def test_a_database_that_is_none_is_said_so(tmp_path: Path) -> None:
    (tmp_path / DATABASE).write_text("this is not a database at all" * 40)
    output = refusal_to_start(MODULE, ["--port", "0", "--instance", str(tmp_path)])
    assert "The database can't be used" in output
