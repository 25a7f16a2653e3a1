"""Runs the tutorial of the documentation: in the test client, and once as a real process."""

from __future__ import annotations

import difflib
import json
import os
import re
import runpy
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.support import ROOT, SECRET, bearer
from tests.support.answers import FAULT, MISSING, OK, REVOKED, Outcome, outcome

ANN = {"username": "ann", "password": "correct horse"}


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {
        "FLASK_JWT_SECRET_KEY": SECRET,
        "FLASK_SQLALCHEMY_DATABASE_URI": f"sqlite:///{tmp_path / 'app.sqlite3'}",
    }


def run_step(name: str) -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "examples" / "tutorial" / f"{name}.py"), run_name=name)


def test_step_1_guards_the_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLASK_JWT_SECRET_KEY", SECRET)
    client: FlaskClient = run_step("step1")["app"].test_client()
    assert outcome(client.get("/profile")) == MISSING
    wrongs: list[Any] = [{**ANN, "password": "x"}, {**ANN, "username": "eve"}, [], {"username": 1}]
    for wrong in wrongs:
        assert outcome(client.post("/login", json=wrong)) == Outcome(403)
    pair: Any = client.post("/login", json=ANN).json
    assert (pair["expires_in"], pair["refresh_expires_in"]) == (900, 1728000)
    assert client.get("/profile", headers=bearer(pair["access_token"])).json == {"user": "ann"}


@pytest.fixture
def step2(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    namespace = run_step("step2")
    yield namespace
    with namespace["app"].app_context():
        namespace["db"].engine.dispose()


def test_step_2_revokes_all_tokens_of_the_session(step2: dict[str, Any]) -> None:
    client: FlaskClient = step2["app"].test_client()
    pair: Any = client.post("/login", json=ANN).json
    another: Any = client.post("/login", json=ANN).json
    refreshed: Any = client.post("/refresh", headers=bearer(pair["refresh_token"])).json
    access = bearer(refreshed["access_token"])
    assert client.get("/profile", headers=access).json == {"user": "ann"}
    assert client.delete("/logout", headers=access).json == {"logged_out": True}
    for token in (pair["access_token"], refreshed["access_token"]):
        response = client.get("/profile", headers=bearer(token))
        assert (response.status_code, response.json) == (
            401,
            {"msg": "The token has been revoked", "error_type": "RevokedTokenError"},
        )
    assert outcome(client.post("/refresh", headers=bearer(pair["refresh_token"]))) == REVOKED
    assert outcome(client.get("/profile", headers=bearer(another["access_token"]))) == OK


def test_step_2_refuses_without_its_table(step2: dict[str, Any]) -> None:
    client: FlaskClient = step2["app"].test_client()
    pair: Any = client.post("/login", json=ANN).json
    with step2["app"].app_context():
        step2["db"].drop_all()
    assert outcome(client.get("/profile", headers=bearer(pair["access_token"]))) == FAULT


@pytest.fixture
def server(environment: dict[str, str]) -> Iterator[str]:
    """The address of step 2, served by ``flask run`` on a free port."""
    command = [sys.executable, "-m", "flask", "--app", "examples.tutorial.step2", "run", "--port=0"]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **environment, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        try:
            said = iter(process.stderr.readline, "")
            found = (re.search(r"Running on (http://\S+)", line) for line in said)
            yield next(match[1] for match in found if match)
        finally:
            process.terminate()


def fetch(url: str, method: str, headers: dict[str, str], body: Any = None) -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", **headers}
    asked = urllib.request.Request(url, data, headers, method=method)
    try:
        with urllib.request.urlopen(asked, timeout=30) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


@pytest.mark.slow
def test_it_works_as_a_real_process(server: str) -> None:
    assert fetch(f"{server}/profile", "GET", {})[0] == 401
    status, pair = fetch(f"{server}/login", "POST", {}, ANN)
    assert status == 200
    access = bearer(pair["access_token"])
    assert fetch(f"{server}/profile", "GET", access) == (200, {"user": "ann"})
    assert fetch(f"{server}/logout", "DELETE", access) == (200, {"logged_out": True})
    assert fetch(f"{server}/profile", "GET", access)[1]["error_type"] == "RevokedTokenError"


def test_the_lines_that_step_2_adds_are_emphasised() -> None:
    folder = ROOT / "examples" / "tutorial"
    before, after = (
        (folder / f"{step}.py").read_text("utf-8").splitlines() for step in ("step1", "step2")
    )
    changes = difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
    added = {
        number + 1
        for tag, _, _, start, end in changes
        if tag != "equal"
        for number in range(start, end)
    }
    page = (ROOT / "docs" / "tutorial.rst").read_text("utf-8")
    spans = re.findall(r"(\d+)(?:-(\d+))?", page.split(":emphasize-lines:")[1].splitlines()[0])
    shown = {
        number for first, last in spans for number in range(int(first), int(last or first) + 1)
    }
    filled = {number for number, line in enumerate(after, 1) if line}
    assert shown & filled == added & filled
