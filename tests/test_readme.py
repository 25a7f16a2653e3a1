"""What the README says is so."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .support import SECRET, bearer

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The names that the README's only block of Python defines."""
    monkeypatch.setenv("FLASK_JWT_SECRET_KEY", SECRET)
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names: dict[str, Any] = {"__name__": "readme"}
    exec(compile(code, "README.md", "exec"), names)
    return names


def test_the_app_logs_in_and_out(names: dict[str, Any]) -> None:
    client = names["app"].test_client()
    assert client.delete("/logout").json["error_type"] == "MissingTokenError"
    pair = client.post("/login/ann").json
    assert client.delete("/logout", headers=bearer(pair["refresh_token"])).status_code == 401
    first, second = (
        client.delete("/logout", headers=bearer(pair["access_token"])) for _ in range(2)
    )
    assert (first.status_code, first.text) == (200, "OK")
    assert (second.status_code, second.json["error_type"]) == (401, "RevokedTokenError")


def test_the_lifetimes_are_those_of_the_table(names: dict[str, Any]) -> None:
    pair = names["app"].test_client().post("/login/ann").json
    assert (pair["expires_in"], pair["refresh_expires_in"]) == (15 * 60, 20 * 86400)
    assert "access tokens 15 minutes, refresh tokens 20 days" in README


def test_the_generated_key_is_one_that_the_app_takes(
    names: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [sys.executable, "-m", "flask", "authx", "generate-key"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert len(done.stdout.split()) == 1
    monkeypatch.setenv("FLASK_JWT_SECRET_KEY", done.stdout.strip())
    app = type(names["app"])("generated")
    app.config.from_prefixed_env()
    names["AuthX"]().init_app(app)


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)]+)\)", README))
def test_a_link_leads_to_a_file(target: str) -> None:
    assert (ROOT / target).is_file()


@pytest.mark.parametrize("target", re.findall(r"\bmake ([a-z-]+)$|`make ([a-z-]+)`", README, re.M))
def test_a_command_is_one_of_the_makefile(target: tuple[str, str]) -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(rf"^{''.join(target)}:", makefile, re.MULTILINE)
