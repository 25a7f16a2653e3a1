"""Starting the example ``stores``, and what can keep it from starting; the stores by URL."""

from __future__ import annotations

import functools
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from examples.stores import DEFAULT, create_app, settings_for
from tests.examples.shells import in_a_shell, printed
from tests.support import ROOT, bearer
from tests.support.answers import FAULT, INVALID, outcome
from tests.support.example_process import environment, refusal_to_start, restarting
from tests.support.stores_process import Stores

Start = Callable[[str], Stores]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts the example, again and again in the same folder; one is stopped before the next."""
    with restarting(functools.partial(Stores, tmp_path)) as start:
        yield start


@pytest.mark.slow
def test_a_lost_database_brings_no_revoked_token_back(start: Start, tmp_path: Path) -> None:
    example = start("sqlite:///stores.db")
    revoked, valid = example.tokens(), example.tokens()
    example.ask("POST", "/logout", revoked[0])
    example.stop()
    for file in tmp_path.glob("stores.db*"):
        file.unlink()
    example = start(example.store)
    assert "all users must log in again" in example.log
    for access, _ in (revoked, valid):
        assert example.use(access).outcome == INVALID
    example.check(accepted=example.tokens()[:1])


@pytest.mark.slow
def test_what_one_store_has_revoked_is_not_valid_with_another(start: Start) -> None:
    example = start("sqlite:///one.db")
    access, _ = example.tokens()
    example.ask("POST", "/logout", access)
    assert start("sqlite:///other.db").use(access).outcome == INVALID


@pytest.mark.slow
@pytest.mark.parametrize(
    ("store", "said"),
    [
        ("carrier-pigeon://x", "there is no store for 'carrier-pigeon'"),
        ("redis://:not-for-others@h:x", "can't be read as a Redis URL"),
        ("postgresql://nobody:not-for-others@127.0.0.1:1/x", "The database can't be used"),
        ("postgresql://nobody:not-for-others@h:x/x", "The database can't be used"),
    ],
)
def test_a_store_that_can_not_be_used_is_said_so_without_its_password(
    tmp_path: Path, store: str, said: str
) -> None:
    assert said in refusal(tmp_path, "--store", store)


@pytest.mark.slow
def test_a_port_in_use_is_said_so_and_nothing_is_written(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        output = refusal(tmp_path, "--port", str(port))
    assert f"Port {port} can't be used" in output
    assert "make demo-stores PORT=5001" in output
    assert "-m examples.stores --port 5001" in output
    assert list(tmp_path.iterdir()) == []


def refusal(folder: Path, *options: str) -> str:
    """What the example says when it doesn't start."""
    where = ["--port", "0", "--instance", str(folder)]
    output = refusal_to_start("examples.stores", [*where, *options])
    assert "not-for-others" not in output
    return output


# The command line


@pytest.mark.slow
def test_the_printed_commands_revoke_in_the_file_of_the_default(start: Start) -> None:
    """In the store that is served, as on others: test_stores.py."""
    example = start(DEFAULT)
    access, _ = example.tokens()
    lines = [line for line in printed(example) if re.search("export|authx revoke", line)]
    assert "Revoked all sessions of ann" in in_a_shell(lines)
    example.check(revoked=[access])


@pytest.mark.slow
@pytest.mark.parametrize("where", [":not-for-others@h/0", "h?password=not-for-others"])
def test_the_printed_commands_show_no_password(start: Start, where: str) -> None:
    example = start(f"redis://{where}")
    assert "not-for-others" not in example.log
    assert "export FLASK_STORE" not in example.log
    assert "set FLASK_STORE there" in example.log


@pytest.mark.slow
@pytest.mark.parametrize("command", ["doctor", "blocklist"])
def test_a_database_that_is_down_is_said_in_words_on_the_command_line(
    tmp_path: Path, command: str
) -> None:
    url = "postgresql://nobody:not-for-others@127.0.0.1:1/x"
    done = subprocess.run(
        [sys.executable, "-m", "flask", "--app", "examples.stores", "authx", command],
        cwd=ROOT,
        env=environment(FLASK_STORE=url, FLASK_INSTANCE=str(tmp_path)),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "The database can't be used" in done.stderr
    assert "Traceback" not in done.stderr
    assert "not-for-others" not in done.stderr


# The stores by URL


@pytest.mark.usefixtures("own_settings")
@pytest.mark.parametrize(
    ("store", "uri"),
    [
        ("sqlite:///file", "sqlite:///file"),
        ("postgres://h/d", "postgresql+psycopg://h/d"),
        (
            "postgresql://u:p@h:5/d?sslmode=require",
            "postgresql+psycopg://u:p@h:5/d?sslmode=require",
        ),
        ("postgresql+psycopg2://h/d", "postgresql+psycopg2://h/d"),
        ("mysql://u@h/d", "mysql+pymysql://u@h/d"),
        ("mariadb://u@h/d", "mariadb+pymysql://u@h/d"),
    ],
)
def test_a_database_is_reached_through_flask_sqlalchemy(store: str, uri: str) -> None:
    settings = settings_for(store)
    assert settings["SQLALCHEMY_DATABASE_URI"] == uri
    assert settings["JWT_BLOCKLIST"] == "sqlalchemy://"
    assert "JWT_AUDIT" in settings


@pytest.mark.usefixtures("own_settings")
@pytest.mark.parametrize(
    "store",
    [
        "redis://127.0.0.1:1/0",
        "redis+sentinel://127.0.0.1:1/mymaster/0",
        "redis+cluster://127.0.0.1:1",
    ],
)
def test_a_redis_that_does_not_answer_is_a_503(tmp_path: Path, store: str) -> None:
    client = create_app(store, str(tmp_path)).test_client()
    response = client.post("/login/ann")
    assert outcome(response) == FAULT
    assert response.headers["Retry-After"] == "1"
    assert outcome(client.post("/logout", headers=bearer("a.b.c"))) == INVALID
