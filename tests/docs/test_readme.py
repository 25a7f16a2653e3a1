"""What the README says is so."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask.cli import ScriptInfo

from flask_authx.app.stores import REDIS_SCHEMES as SCHEMES
from flask_authx.cli import authx as group
from flask_authx.settings.options import Settings
from tests.docs.support import page
from tests.support import ROOT, SECRET, bearer
from tests.support.answers import MISSING, OK, REVOKED, Outcome, outcome
from tests.support.databases import SERVERS

README = (ROOT / "README.md").read_text()


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """The names that the README's blocks of Python define, run in order as one program."""
    monkeypatch.setenv("FLASK_JWT_SECRET_KEY", SECRET)
    monkeypatch.setenv("FLASK_JWT_STORE_TIMEOUT", "10")
    monkeypatch.setenv("FLASK_SQLALCHEMY_DATABASE_URI", f"sqlite:///{tmp_path}/app.db")
    code = "\n".join(re.findall(r"```python\n(.*?)```", README, re.DOTALL))
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
    assert client.get("/profile", headers=access).json == {"user": "ann"}
    for _ in range(2):
        assert client.post("/auth/logout", headers=access).status_code == 204
    assert outcome(client.get("/profile", headers=access)) == REVOKED
    assert outcome(client.post("/auth/refresh", headers=refresh)) == REVOKED


def test_the_app_of_the_front_page_logs_in_and_out() -> None:
    with page("index") as names:
        client = names.app.test_client()
        assert outcome(client.get("/profile")) == MISSING
        pair = client.post("/login/ann").json
        access = bearer(pair["access_token"])
        assert client.get("/profile", headers=access).json == {"user": "ann"}
        new = client.post("/auth/refresh", headers=bearer(pair["refresh_token"])).json
        assert client.post("/auth/logout", headers=access).status_code == 204
        for tokens in (pair, new):
            headers = bearer(tokens["access_token"])
            assert outcome(client.get("/profile", headers=headers)) == REVOKED
    first = (ROOT / "docs" / "index.md").read_text().split("```")[0]
    assert README.startswith(first), "README and front page say what it is in the same words"


def test_a_refresh_replaces_both_tokens_and_the_sessions_are_listed(names: dict[str, Any]) -> None:
    client = names["app"].test_client()
    old = client.post("/login/ann").json
    # Twice, as two browser tabs do: the second one is within the grace period.
    headers = bearer(old["refresh_token"])
    tabs = [client.post("/auth/refresh", headers=headers).json for _ in range(2)]
    for new in tabs:
        assert new["refresh_token"] != old["refresh_token"]
        access = bearer(new["access_token"])
        assert outcome(client.get("/profile", headers=access)) == OK
        listed = client.get("/auth/sessions", headers=access).json["sessions"]
        assert [one["current"] for one in listed] == [True]


def test_a_new_password_revokes_all_sessions_but_one(names: dict[str, Any]) -> None:
    client = names["app"].test_client()
    phone, laptop = (
        bearer(client.post("/login/ann").json["access_token"]) for _ in ("phone", "laptop")
    )
    assert client.post("/password", headers=laptop).json == {"changed": True}
    assert outcome(client.get("/profile", headers=phone)) == REVOKED
    assert outcome(client.get("/profile", headers=laptop)) == OK


@pytest.mark.parametrize("line", re.findall(r"^flask authx .*", README, re.M))
def test_a_command_line_does_what_the_readme_says(names: dict[str, Any], line: str) -> None:
    app = names["app"]
    info = ScriptInfo(create_app=lambda: app)
    done = app.test_cli_runner().invoke(group, shlex.split(line)[2:], obj=info)
    assert done.exit_code == 0, done.output
    said = {
        "revoke": "Revoked all sessions of ann",
        "sessions": "ann has no active sessions",
        "blocklist": "subject",
        "prune": "Removed",
        "doctor": "errors: 0",
    }
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
    defaults = {one.name: one.default for one in fields(Settings) if one.init}
    assert defaults["session_lifetime"] == 90 * 86400
    assert "access tokens 15 minutes, refresh tokens 20 days, sessions 90 days" in README
    assert defaults["refresh_grace"] == 60
    assert "a grace period of 60 seconds" in README


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


def test_the_first_block_installs_an_extra_that_exists() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    installed = re.findall(r'pip install "(.*?)\[(.*?)\]"', README)
    assert {name for name, _ in installed} == {project["name"], "."}
    extras = {extra for _, listed in installed for extra in listed.split(",")}
    assert extras <= {*project["optional-dependencies"]}


def test_links_lead_to_files() -> None:
    targets = {target.partition("#")[0] for target in re.findall(r"\]\(([^)]+)\)", README)}
    assert targets
    assert [target for target in targets if not (ROOT / target).is_file()] == []


def test_blocks_can_be_copied() -> None:
    lines = "".join(re.findall(r"```sh\n(.*?)```", README, re.DOTALL)).splitlines()
    assert lines
    assert [line for line in lines if line.startswith("$ ") or "#" in line] == []


def test_commands_are_those_of_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text()
    found = re.findall(r"\bmake ([a-z-]+)(?: [A-Z]+=\S*)?$|`make ([a-z-]+)[ `]", README, re.M)
    targets = {"".join(one) for one in found}
    assert targets >= {"demo", "test", "docs"}
    assert targets - {*re.findall(r"^([a-z-]+):", makefile, re.M)} == set()
    variables = {*re.findall(r"`make [a-z-]+ ([A-Z]+)=|^make [a-z-]+ ([A-Z]+)=", README, re.M)}
    for variable in {"".join(one) for one in variables}:
        assert re.search(rf"\$\{{{variable}\b|\$\({variable}\)", makefile), variable
