"""Starting the example ``stores``, again and on any store; and its command line."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask.cli import ScriptInfo

from examples.stores import DEFAULT, create_app, settings_for
from flask_authx.cli import authx as group
from tests.support import ROOT, bearer
from tests.support.stores_process import LASTING, STORES, Stores, environment, url_of


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("FLASK_")]:
        monkeypatch.delenv(name)
    for name, value in environment().items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], Stores]]:
    """Starts the example, again and again in the same folder; one is stopped before the next."""
    started: list[Stores] = []

    def start(store: str) -> Stores:
        for example in started:
            example.stop()
        started.append(Stores(tmp_path, store))
        return started[-1]

    yield start
    for example in started:
        example.stop()


@pytest.mark.parametrize("kind", STORES)
def test_a_restart_brings_no_revoked_token_back(
    start: Callable[[str], Stores], kind: str, tmp_path: Path
) -> None:
    """USERS 42."""
    example = start(url_of(kind, tmp_path))
    login, user, good = example.tokens(), example.tokens("eve"), example.tokens("joe")
    example.ask("POST", "/logout", login[0])
    example.ask("POST", "/logout-everywhere", user[0])
    example = start(example.store)
    if kind == "memory":
        # It has forgotten what it revoked, so it accepts nothing from before.
        for access, _ in (login, user, good):
            answer = example.ask("GET", "/profile", access)
            assert answer.body["error_type"] == "JWTDecodeError"
        return
    assert not any(example.opens(token) for token in (*login, *user))
    assert all(example.opens(token) for token in good)
    (secret,) = tmp_path.glob("*.secret")
    assert secret.stat().st_mode & 0o777 == 0o600


def test_a_lost_database_brings_no_revoked_token_back(
    start: Callable[[str], Stores], tmp_path: Path
) -> None:
    example = start("sqlite:///stores.db")
    revoked, good = example.tokens(), example.tokens()
    example.ask("POST", "/logout", revoked[0])
    example.stop()
    for file in tmp_path.glob("stores.db*"):
        file.unlink()
    example = start(example.store)
    assert "everybody must log in again" in example.log
    for access, _ in (revoked, good):
        assert example.ask("GET", "/profile", access).body["error_type"] == "JWTDecodeError"
    assert example.opens(example.tokens()[0])


def test_what_one_store_has_revoked_opens_nothing_with_another(
    start: Callable[[str], Stores],
) -> None:
    example = start("sqlite:///one.db")
    access, _ = example.tokens()
    example.ask("POST", "/logout", access)
    answer = start("sqlite:///other.db").ask("GET", "/profile", access)
    assert answer.body["error_type"] == "JWTDecodeError"


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


def test_a_port_in_use_is_said_so_and_nothing_is_written(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        output = refusal(tmp_path, "--port", str(port))
    assert f"Port {port} can't be used" in output
    assert "-m examples.stores --port 5001" in output
    assert list(tmp_path.iterdir()) == []


def refusal(folder: Path, *options: str) -> str:
    """What the example says when it doesn't start."""
    command = [sys.executable, "-m", "examples.stores", "--port", "0", "--instance", str(folder)]
    done = subprocess.run(
        [*command, *options],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stdout
    assert "not-for-others" not in done.stdout
    return done.stdout


# The command line


@pytest.mark.parametrize("kind", LASTING)
def test_the_command_line_revokes_what_the_running_app_then_refuses(
    start: Callable[[str], Stores], kind: str, tmp_path: Path
) -> None:
    example = start(url_of(kind, tmp_path))
    access, refresh = example.tokens()
    app = create_app(example.store, str(tmp_path))
    assert "Revoked the access token" in command(app, "revoke", "--token-stdin", stdin=access)
    assert [example.opens(access), example.opens(refresh)] == [False, True]
    said = command(app, "revoke", "--subject", "ann", "--reason", "asked by phone")
    assert "Revoked all sessions of ann" in said
    assert not example.opens(refresh)
    counts = json.loads(command(app, "blocklist", "--json"))["counts"]
    assert sum(counts["token"].values()) >= 1
    assert sum(counts["subject"].values()) >= 1
    # Other tests of this process have left expired ones on the servers.
    removed = "Redis removes expired" if kind == "redis" else r"Removed [\d,]+ expired revocations"
    assert re.search(removed, command(app, "prune"))
    assert not example.opens(access)
    hints = json.loads(command(app, "doctor", "--json"))
    assert {entry["level"] for entry in hints} <= {"ok", "hint", "warning"}
    assert {entry["check"]: entry["level"] for entry in hints}["unguarded views"] == "ok"


def command(app: Flask, *arguments: str, stdin: str = "") -> str:
    """What ``flask authx`` prints for the app."""
    info = ScriptInfo(create_app=lambda: app)
    done = app.test_cli_runner().invoke(group, arguments, obj=info, input=stdin)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_the_printed_session_does_what_it_says(
    start: Callable[[str], Stores], kind: str, tmp_path: Path
) -> None:
    example = start(url_of(kind, tmp_path))
    found = (
        r"HTTP/1.1 401|\"name\":\"ann\"|other logins|logged out|stolen|nothing is written|Revoked"
    )
    assert re.findall(found + "|errors: 0", in_a_shell(printed(example))) == [
        *('"name":"ann"', "other logins", "HTTP/1.1 401", "Revoked", '"name":"ann"'),
        *("logged out", "logged out", "HTTP/1.1 401", "Revoked"),
        *("HTTP/1.1 401", "Revoked", "stolen" if kind == "sqlite" else "nothing is written"),
        *("Revoked", "errors: 0"),
    ]


@pytest.mark.parametrize("kind", ["redis", "postgresql", "file in the folder"])
def test_the_printed_commands_revoke_in_the_store_that_is_served(
    start: Callable[[str], Stores], kind: str, tmp_path: Path
) -> None:
    example = start(url_of(kind, tmp_path) if kind in LASTING else DEFAULT)
    access, _ = example.tokens()
    lines = [line for line in printed(example) if re.search("export|authx revoke", line)]
    assert "Revoked all sessions of ann" in in_a_shell(lines)
    assert not example.opens(access)


def test_no_commands_are_printed_for_a_memory(start: Callable[[str], Stores]) -> None:
    example = start("memory://")
    assert "flask" not in "".join(printed(example))
    assert "a memory is seen by its own process alone" in example.log


@pytest.mark.parametrize("where", [":not-for-others@h/0", "h?password=not-for-others"])
def test_the_printed_commands_show_no_password(start: Callable[[str], Stores], where: str) -> None:
    example = start(f"redis://{where}")
    assert "not-for-others" not in example.log
    assert "export FLASK_STORE" not in example.log
    assert "set FLASK_STORE there" in example.log


def printed(example: Stores) -> list[str]:
    """The lines that the example asks its user to try."""
    return [line for line in example.log.splitlines() if line.startswith("    ")]


def in_a_shell(lines: list[str]) -> str:
    """What the lines write in another terminal."""
    if shutil.which("curl") is None:
        pytest.skip("there is no curl")
    done = subprocess.run(
        ["sh", "-euc", "\n".join(lines)],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout


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
    answer = client.post("/login/ann")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert client.post("/logout", headers=bearer("a.b.c")).status_code == 401
