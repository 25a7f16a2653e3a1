"""What the README says is so."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask.cli import ScriptInfo

from flask_authx.app.stores import REDIS_SCHEMES as SCHEMES
from flask_authx.cli import authx as group
from tests.support import ROOT, SECRET, bearer
from tests.support.answers import MISSING, OK, REVOKED, Outcome, outcome
from tests.support.databases import SERVERS

README = (ROOT / "README.md").read_text()


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """The names that the README's only block of Python defines."""
    monkeypatch.setenv("FLASK_JWT_SECRET_KEY", SECRET)
    monkeypatch.setenv("FLASK_JWT_STORE_TIMEOUT", "10")
    monkeypatch.setenv("FLASK_SQLALCHEMY_DATABASE_URI", f"sqlite:///{tmp_path}/app.db")
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names: dict[str, Any] = {"__name__": "readme"}
    exec(compile(code, "README.md", "exec"), names)
    yield names
    with names["app"].app_context():
        names["db"].engine.dispose()


def test_the_app_logs_in_and_out(names: dict[str, Any]) -> None:
    client = names["app"].test_client()
    assert outcome(client.get("/profile")) == MISSING
    pair = client.post("/login/ann").json
    access, refresh = bearer(pair["access_token"]), bearer(pair["refresh_token"])
    assert outcome(client.get("/profile", headers=refresh)) == Outcome(
        401, "AccessTokenRequiredError"
    )
    assert client.get("/profile", headers=access).json == {"name": "ann"}
    for _ in range(2):
        response = client.post("/logout", headers=access)
        assert (response.status_code, response.text) == (200, "OK")
    assert outcome(client.get("/profile", headers=access)) == REVOKED
    with names["app"].app_context():
        assert names["authx"].is_revoked(pair["refresh_token"])


def test_a_new_password_revokes_all_sessions_but_one(names: dict[str, Any]) -> None:
    client = names["app"].test_client()
    phone, laptop = (
        bearer(client.post("/login/ann").json["access_token"]) for _ in ("phone", "laptop")
    )
    assert client.post("/password", headers=laptop).text == "OK"
    assert outcome(client.get("/profile", headers=phone)) == REVOKED
    assert outcome(client.get("/profile", headers=laptop)) == OK


@pytest.mark.parametrize("line", re.findall(r"^flask authx .*", README, re.M))
def test_a_command_line_does_what_the_readme_says(names: dict[str, Any], line: str) -> None:
    app = names["app"]
    info = ScriptInfo(create_app=lambda: app)
    done = app.test_cli_runner().invoke(group, shlex.split(line)[2:], obj=info)
    assert done.exit_code == 0, done.output
    said = {"revoke": "ann", "blocklist": "subject", "prune": "Removed", "doctor": "errors: 0"}
    assert said[shlex.split(line)[2]] in done.output


def test_each_store_of_the_table_is_one() -> None:
    rows = re.findall(r"^\| (`.*://.*?) \|", README, re.M)
    schemes = {url.partition(":")[0] for row in rows for url in re.findall(r"`(.*?)`", row)}
    assert schemes == {"memory", "sqlalchemy", "redis", "redis+sentinel", "redis+cluster"}
    assert schemes <= {"memory", "sqlalchemy", *SCHEMES}


@pytest.mark.parametrize("kind", SERVERS)
def test_the_servers_are_named_as_the_tests_name_them(kind: str) -> None:
    variable, url = SERVERS[kind]
    assert f"`{variable}`" in README
    contributing = (ROOT / "CONTRIBUTING.md").read_text()
    assert f"| `{variable}` | `{url}` |" in contributing
    compose = (ROOT / "compose.yaml").read_text()
    assert f"\n  {kind}:\n" in compose
    port = urlsplit(url).port
    assert f'"127.0.0.1:{port}:{port}"' in compose


@pytest.mark.parametrize("kind", SERVERS)
def test_the_example_is_shown_with_the_servers_of_compose(kind: str) -> None:
    parts = urlsplit(SERVERS[kind][1])
    scheme = {"mariadb": "mysql"}.get(kind, kind)
    shown = f"STORE={scheme}://{parts.netloc.removesuffix(f':{parts.port}')}{parts.path}"
    assert f"make demo-stores {shown}\n" in README
    assert shown in (ROOT / "compose.yaml").read_text()


def test_the_lifetimes_are_those_of_the_table(names: dict[str, Any]) -> None:
    pair = names["app"].test_client().post("/login/ann").json
    assert (pair["expires_in"], pair["refresh_expires_in"]) == (15 * 60, 20 * 86400)
    assert "access tokens 15 minutes, refresh tokens 20 days" in README


@pytest.mark.slow
def test_the_generated_key_is_one_that_the_app_takes(
    names: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [sys.executable, "-m", "flask", "authx", "generate-key"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert len(done.stdout.split()) == 1
    monkeypatch.setenv("FLASK_JWT_SECRET_KEY", done.stdout.strip())
    app = type(names["app"])("generated")
    app.config.from_prefixed_env()
    app.config["JWT_BLOCKLIST"] = "memory://"
    names["AuthX"]().init_app(app)


def test_links_lead_to_files() -> None:
    targets = {*re.findall(r"\]\(([^)]+)\)", README)}
    assert targets
    assert [target for target in targets if not (ROOT / target).is_file()] == []


def test_commands_are_those_of_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text()
    found = re.findall(r"\bmake ([a-z-]+)$|`make ([a-z-]+)`", README, re.M)
    targets = {"".join(one) for one in found}
    assert targets
    assert targets - {*re.findall(r"^([a-z-]+):", makefile, re.M)} == set()
