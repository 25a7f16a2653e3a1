"""Starting the example ``token_callbacks``, again, and what can keep it from starting."""

from __future__ import annotations

import socket
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.example_process import DATABASE, GUARDED, Example, refusal_to_start


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[], Example]]:
    """Starts the example, again and again in the same folder; one is stopped before the next."""
    started: list[Example] = []

    def start() -> Example:
        for example in started:
            example.stop()
        started.append(Example(tmp_path))
        return started[-1]

    yield start
    for example in started:
        example.stop()


def test_a_restart_keeps_tokens_and_revocations(start: Callable[[], Example]) -> None:
    example = start()
    good, revoked = example.login(), example.logged_out()
    example = start()
    assert example.ask("GET", "/profile", good).status == 200
    assert example.ask("GET", "/profile", revoked).body["error_type"] == "RevokedTokenError"
    secret = example.folder / "token_callbacks.secret"
    assert secret.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("loss", ["file", "table"])
def test_a_lost_database_is_a_503_and_brings_no_revoked_token_back(
    start: Callable[[], Example], loss: str
) -> None:
    """USERS 42."""
    example = start()
    good, revoked = example.login(), example.logged_out()
    database = example.folder / DATABASE
    if loss == "file":
        database.unlink()
    else:
        with closing(sqlite3.connect(database)) as connection:
            connection.execute("DROP TABLE revoked_token")
    for method, path in GUARDED:
        for token in (good, revoked):
            answer = example.ask(method, path, token)
            assert (answer.status, answer.body["error_type"]) == (503, "StoreUnavailableError")
            assert answer.headers["Retry-After"] == "1"
    assert "Put it back from a backup; or, if it is lost, stop the app and start it" in example.log
    assert good not in example.log
    example = start()
    assert "everybody must log in again" in example.log
    assert example.ask("GET", "/profile", revoked).status == 401
    assert example.ask("GET", "/profile", good).status == 401
    assert example.ask("GET", "/profile", example.login()).status == 200


def test_a_port_in_use_is_said_so_and_nothing_is_written(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        output = refusal_to_start(["--port", str(port), "--instance", str(tmp_path)])
    assert f"Port {port} can't be used" in output
    assert "--port 5001" in output
    assert list(tmp_path.iterdir()) == []


def test_a_mistyped_setting_is_named(tmp_path: Path) -> None:
    options = ["--port", "0", "--instance", str(tmp_path)]
    output = refusal_to_start(options, FLASK_JWT_ACCES_TOKEN_EXPIRES="60")
    assert "JWT_ACCES_TOKEN_EXPIRES" in output
    assert "did you mean JWT_ACCESS_TOKEN_EXPIRES?" in output


def test_a_database_that_is_none_is_said_so(tmp_path: Path) -> None:
    (tmp_path / DATABASE).write_text("this is not a database at all" * 40)
    output = refusal_to_start(["--port", "0", "--instance", str(tmp_path)])
    assert "The database can't be used" in output
