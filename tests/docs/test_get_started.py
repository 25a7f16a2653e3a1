"""Does what docs/get-started.md says: in the test client, and once as written, in shells."""

from __future__ import annotations

import contextlib
import re
import runpy
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.docs.support import ANN
from tests.support import ROOT, bearer
from tests.support.answers import FAULT, MISSING, OK, REVOKED, Outcome, outcome
from tests.support.example_process import environment
from tests.support.servers.private import free_port
from tests.support.waiting import until

EXAMPLES = ROOT / "examples" / "tutorial"
PAGE = (ROOT / "docs" / "get-started.md").read_text("utf-8")
#: The language and the text of each block on the page, in order.
BLOCKS: list[tuple[str, str]] = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.M | re.S)
FAILED = Outcome(401, "LoginFailedError")


def test_each_app_on_the_page_is_a_file_of_the_examples() -> None:
    app, machines = (text for language, text in BLOCKS if language == "python")
    assert (EXAMPLES / "step1.py").read_text("utf-8") == app
    assert (EXAMPLES / "step2.py").read_text("utf-8") == f"{app}\n\n{machines}"


@pytest.fixture
def names(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[dict[str, Any]]:
    """The names of a step."""
    name: str = request.param
    monkeypatch.setenv("FLASK_JWT_STORE_TIMEOUT", "10")
    monkeypatch.setenv("FLASK_SQLALCHEMY_DATABASE_URI", f"sqlite:///{tmp_path / 'app.sqlite3'}")
    names = runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name=name)
    yield names
    with names["app"].app_context():
        names["db"].engine.dispose()


both_steps = pytest.mark.parametrize("names", ["step1", "step2"], indirect=True)
step_2 = pytest.mark.parametrize("names", ["step2"], indirect=True)


@both_steps
def test_the_profile_is_guarded(names: dict[str, Any]) -> None:
    client: FlaskClient = names["app"].test_client()
    assert outcome(client.get("/profile")) == MISSING
    pair: Any = client.post("/login", json=ANN).json
    assert (pair["expires_in"], pair["refresh_expires_in"]) == (900, 1728000)
    assert client.get("/profile", headers=bearer(pair["access_token"])).json == {"user": "ann"}


@both_steps
def test_each_failed_log_in_gets_the_same_json(names: dict[str, Any]) -> None:
    client: FlaskClient = names["app"].test_client()
    wrongs: list[Any] = [{**ANN, "password": "x"}, {**ANN, "name": "eve"}, [], {"name": 1}, None]
    for wrong in wrongs:
        assert outcome(client.post("/login", json=wrong)) == FAILED, f"for {wrong}"
    assert outcome(client.post("/login", data=ANN)) == FAILED
    assert outcome(client.post("/login", data="{", content_type="application/json")) == FAILED


@both_steps
def test_log_out_revokes_all_tokens_of_the_session(names: dict[str, Any]) -> None:
    client: FlaskClient = names["app"].test_client()
    pair: Any = client.post("/login", json=ANN).json
    another: Any = client.post("/login", json=ANN).json
    new: Any = client.post("/refresh", headers=bearer(pair["refresh_token"])).json
    assert new["refresh_token"] != pair["refresh_token"]
    access = bearer(new["access_token"])
    assert client.get("/profile", headers=access).json == {"user": "ann"}
    assert client.post("/logout", headers=access).json == {"logged_out": True}
    for tokens in (pair, new):
        response = client.get("/profile", headers=bearer(tokens["access_token"]))
        assert (response.status_code, response.json) == (
            401,
            {"msg": "The token has been revoked", "error_type": "RevokedTokenError"},
        )
        headers = bearer(tokens["refresh_token"])
        assert outcome(client.post("/refresh", headers=headers)) == REVOKED
    assert outcome(client.get("/profile", headers=bearer(another["access_token"]))) == OK


@both_steps
def test_without_its_tables_the_app_refuses(names: dict[str, Any]) -> None:
    client: FlaskClient = names["app"].test_client()
    pair: Any = client.post("/login", json=ANN).json
    with names["app"].app_context():
        names["db"].drop_all()
    assert outcome(client.get("/profile", headers=bearer(pair["access_token"]))) == FAULT
    assert outcome(client.post("/refresh", headers=bearer(pair["refresh_token"]))) == FAULT


@step_2
def test_a_machine_has_its_scope_and_a_user_has_not(names: dict[str, Any]) -> None:
    client: FlaskClient = names["app"].test_client()
    printed = names["app"].test_cli_runner().invoke(args=["machine-token"])
    machine = bearer(printed.output.strip())
    assert client.get("/reports", headers=machine).json == {"reports_for": "nightly-job"}
    assert outcome(client.post("/refresh", headers=machine)) == Outcome(
        401, "RefreshTokenRequiredError"
    )
    user: Any = client.post("/login", json=ANN).json
    assert outcome(client.get("/reports", headers=bearer(user["access_token"]))) == Outcome(
        403, "InsufficientScopeError"
    )
    with names["app"].app_context():
        names["authx"].revoke_subject("nightly-job")
    assert outcome(client.get("/reports", headers=machine)) == REVOKED
    assert outcome(client.get("/profile", headers=bearer(user["access_token"]))) == OK


# As written


class Terminal:
    """A shell in a folder, which runs one block after the other."""

    def __init__(self, shell: str, folder: Path, env: dict[str, str]) -> None:
        self._log = folder.parent / f"stderr-{len(env)}"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [shell], cwd=folder, env=env, text=True, bufsize=1, stderr=log,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            )  # fmt: skip

    def run(self, block: str) -> str:
        """What the block prints. It must succeed."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{block}\nprintf '\\nthe block ends with %s\\n' $?\n")
        process.stdin.flush()
        lines = list[str]()
        for line in process.stdout:
            if found := re.fullmatch(r"the block ends with (\d+)\n", line):
                assert found[1] == "0", f"{block}failed:\n{self._log.read_text()}"
                return "".join(lines)
            lines.append(line)
        raise AssertionError(f"the shell ended at {block}{self._log.read_text()}")

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()


class ServerTerminal(Terminal):
    """The terminal of the app: ``flask run`` keeps it until the next block, as Ctrl+C would."""

    def __init__(self, shell: str, folder: Path, port: int) -> None:
        # The commands are those of this environment: the page installs them with a network.
        path = f"{Path(sys.executable).parent}:{environment()['PATH']}"
        super().__init__(shell, folder, environment(PATH=path))
        self._port = port
        self._serves = False

    def run(self, block: str) -> str:
        self.stop()
        if not block.startswith("flask run"):
            return super().run(block)
        super().run(f"{block.strip()} >flask-run.log 2>&1 &")
        self._serves = True
        until(self._answers, timeout=60, what="the start of the app")
        return ""

    def stop(self) -> None:
        if self._serves:
            super().run("kill $!; wait $! || true")
        self._serves = False

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._port)):
            return True
        return False

    def close(self) -> None:
        self.stop()
        super().close()


def is_printed(shown: str, printed: str) -> bool:
    """Whether a block shows what was printed: ``...`` stands for any text."""
    parts = map(re.escape, shown.strip().split("..."))
    return re.fullmatch(".*".join(parts), printed.replace("\r", "").strip(), re.S) is not None


def test_what_is_printed_is_compared() -> None:
    assert is_printed("a\n...\nb\n", "a\r\nc\r\nb\r\n")
    assert not is_printed("a\n...\nb\n", "a\nc\nd")
    assert not is_printed("[a]", "a")


def test_blocks_can_be_copied_and_what_they_print_is_shown_after_them() -> None:
    for (language, text), (following, _) in pairwise(BLOCKS):
        assert language in {"sh", "python", "json", "text"}
        if language != "sh":
            continue
        # Interactive zsh takes neither comments nor an unquoted question mark.
        assert not re.search(r"^\$ |#|\?|!", text, re.M), text
        prints = re.search(r"^curl(?!.* -o )|^cat|^flask authx revoke", text, re.M) is not None
        assert prints == (following in {"json", "text"}), text


@pytest.mark.slow
@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_the_page_works_as_written(shell: str, tmp_path: Path) -> None:
    for program in (shell, "curl"):
        if shutil.which(program) is None:
            pytest.skip(f"there is no {program}")
    folder, port = tmp_path / "guarded", free_port()
    folder.mkdir()
    server, client = ServerTerminal(shell, folder, port), Terminal(shell, folder, environment())
    printed, compared, app = "", 0, list[str]()
    try:
        for language, text in BLOCKS:
            here = re.sub(r"(127\.0\.0\.1:|--port )8000\b", rf"\g<1>{port}", text)
            if language == "python":
                app.append(text)
                (folder / "app.py").write_text("\n\n".join(app))
            elif language != "sh":
                assert is_printed(here, printed), f"not {text} but {printed}"
                compared += 1
            elif re.search("^(curl|token)", text):
                printed = client.run(here)
            elif not re.search("python3 -m venv|pip install", text):
                printed = server.run(here)
        assert compared >= 11
        # Over restarts, too, the session is revoked.
        access = 'curl -s http://127.0.0.1:{}/profile -H "Authorization: Bearer $({})"'
        printed = client.run(access.format(port, "token access_token"))
        assert "RevokedTokenError" in printed
    finally:
        client.close()
        server.close()
