"""``flask authx doctor``: what is risky, missing or left over, and what to do about it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from flask_authx import AuthX
from tests.doctor.support import PROXY, app_with, by_token, entries, found
from tests.support import OTHER_SECRET, SECRET, make_app, private_key_for, private_pem
from tests.support.cli import Result, flask, run


def test_nothing_but_the_proxy_is_said_of_a_well_set_up_app() -> None:
    app = app_with()
    done = run(app, "doctor")
    assert found(app) == {PROXY}
    assert done.code == 0
    assert done.stdout.endswith("errors: 0, warnings: 0, hints: 1\n")


def test_every_check_answers_and_each_finding_has_a_problem_and_a_fix() -> None:
    app = app_with(None, TOKEN_LOCATION=["headers", "query"], CACHE_SIZE=0)
    by_level: dict[bool, list[dict[str, str | None]]] = {True: [], False: []}
    for entry in entries(app):
        by_level[entry["level"] == "ok"].append(entry)
    assert {"PyJWT", "CSRF", "leeway"} <= {entry["check"] for entry in by_level[True]}
    assert len(by_level[False]) == 4
    for entry in by_level[False]:
        assert entry["setting"]
        assert entry["problem"]
        assert entry["fix"]


def test_a_changed_setting_is_an_error() -> None:
    """USERS 92: config set late."""
    app = app_with()
    app.config["JWT_REALM"] = "late"
    assert found(app) == {PROXY, ("error", "JWT_REALM")}
    assert run(app, "doctor").code == 1


def test_a_misplaced_guard_is_one_error_however_many_objects_there_are() -> None:
    """USERS 84: a guard above ``@route`` is detected."""
    app, authx = make_app()
    app.config["ADMIN_JWT_SECRET_KEY"] = OTHER_SECRET
    AuthX(app, name="admin")

    def view() -> str:
        return ""

    app.add_url_rule("/x", "x", view)
    authx.token_required(view)
    problems = [entry["problem"] or "" for entry in entries(app) if entry["level"] == "error"]
    assert len(problems) == 1
    assert "protects nothing" in problems[0]
    assert run(app, "doctor").code == 1


def test_all_objects_are_looked_at_each_under_its_own_prefix() -> None:
    """USERS 91: two named instances in one app."""
    app = app_with()
    app.config["ADMIN_JWT_SECRET_KEY"] = OTHER_SECRET
    app.config["ADMIN_JWT_DECODE_LEEWAY"] = 100
    AuthX(app, name="admin")
    assert found(app) == {
        PROXY,
        ("hint", "ADMIN_JWT_HEADER_NAME"),
        ("warning", "ADMIN_JWT_DECODE_LEEWAY"),
        ("warning", "ADMIN_JWT_REVOCATION_REQUIRED"),
    }
    assert {entry["instance"] for entry in entries(app)} == {None, "authx", "admin"}
    # The leeway of one is fine and the other's isn't: the check is not content.
    assert "leeway" not in run(app, "doctor").stdout.split("ok  ")[1]


def test_an_app_without_authx_is_told_of_init_app() -> None:
    done = run(Flask("tests"), "doctor")
    assert done.code == 1
    assert "init_app" in done.stdout


@pytest.mark.parametrize(
    "config",
    [
        {"SECRET_KEY": SECRET, "PREVIOUS_SECRET_KEY": OTHER_SECRET},
        {"PRIVATE_KEY": private_pem(private_key_for("ES256")), "ALGORITHM": "ES256"},
        {"SECRET_KEY": SECRET, "TOKEN_LOCATION": "query", "DECODE_LEEWAY": 100},
    ],
)
def test_no_secret_is_ever_shown(config: dict[str, Any]) -> None:
    app = app_with(by_token, **config)
    app.config["SECRET_KEY"] = SECRET
    shown = run(app, "doctor").output + run(app, "doctor", "--json").output
    material = [SECRET, OTHER_SECRET, *(config.get("PRIVATE_KEY", "").splitlines()[1:-1])]
    for secret in material:
        assert secret[:12] not in shown


APP = """
from flask import Flask
from flask_authx import AuthX

def create_app():
    app = Flask(__name__)
    app.config.update({config!r})
    AuthX(app)
    return app
"""


def doctor(folder: Path, *arguments: str, **config: Any) -> Result:
    (folder / "service.py").write_text(APP.format(config=config))
    return flask(folder, "--app", "service", "authx", "doctor", *arguments)


@pytest.mark.slow
def test_doctor_as_a_user_types_it(tmp_path: Path) -> None:
    done = doctor(tmp_path, JWT_SECRET_KEY=SECRET)
    assert done.code == 0, done.stderr
    assert "warning  JWT_REVOCATION_REQUIRED\n" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [(), ("--json",)])
def test_an_app_that_can_not_be_set_up_gets_a_list_and_no_traceback(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    """USERS 30: a short secret is an error at start-up; all problems are told together."""
    done = doctor(
        tmp_path, *arguments, JWT_SECRET_KEY="a-short-one", JWT_HEADR_NAME="X", JWT_REALM='"'
    )
    assert done.code == 1
    assert done.stderr == ""
    assert "a-short-one" not in done.stdout
    settings = ["JWT_HEADR_NAME", "JWT_REALM", "JWT_SECRET_KEY"]
    if arguments:
        found = json.loads(done.stdout)
        assert [(entry["level"], entry["setting"]) for entry in found] == [
            ("error", setting) for setting in settings
        ]
    else:
        lines = done.stdout.splitlines()
        assert [line[9:] for line in lines if line.startswith("error ")] == settings
        assert lines[-1] == "errors: 3, warnings: 0, hints: 0"
