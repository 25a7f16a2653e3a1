"""``flask authx settings`` and ``--version``."""

from __future__ import annotations

import json
import sys
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask
from flask.cli import ScriptInfo
from flask_sqlalchemy import SQLAlchemy

import flask_authx
from flask_authx import AuthX
from flask_authx.cli import authx as group
from flask_authx.cli.configuration import settings_in_use, without_passwords
from flask_authx.settings.options import Settings
from flask_authx.settings.reading import read_settings
from tests.settings.test_settings import BESIDE, ENVIRONMENT
from tests.support import OTHER_SECRET, ROOT, SECRET, Clock, make_app, private_pem, rsa_key
from tests.support.cli import DONE, NOT_SO, USAGE, flask, run
from tests.support.corpus import check_all


def shown(app: Flask, *arguments: str) -> dict[str, dict[str, Any]]:
    """What is printed as JSON, by the name of the setting."""
    code, out, err = run(app, "settings", "--json", *arguments)
    assert (code, err) == (DONE, "")
    return {one["name"]: one for one in json.loads(out)}


def test_each_setting_is_shown_in_the_order_of_the_page() -> None:
    app, _ = make_app()
    names = [f"JWT_{one.name.upper()}" for one in fields(Settings) if one.init]
    assert [*shown(app)] == names
    text = run(app, "settings").stdout
    assert [line.split()[0] for line in text.splitlines()] == names


def test_the_source_of_a_value_is_told() -> None:
    app, _ = make_app(
        ACCESS_TOKEN_EXPIRES="1h30m",
        REALM="api",
        REFRESH_GRACE=None,
        COOKIE_SECURE=False,
        TOKEN_LOCATION="cookies,headers",
        BLOCKLIST="memory://",
        SESSION_TRACKING=True,
    )
    found = shown(app)

    def told(name: str) -> tuple[Any, str, Any]:
        one = found[f"JWT_{name}"]
        return one["value"], one["source"], one["default"]

    assert told("ACCESS_TOKEN_EXPIRES") == (5400, "config", 900)
    assert told("REALM") == ("api", "config", "api")
    assert told("REFRESH_GRACE") == (60, "default", 60)
    assert told("TOKEN_LOCATION") == (["cookies", "headers"], "config", ["headers"])
    assert told("SESSIONS") == (True, "config, as JWT_SESSION_TRACKING", False)
    cookie = ("access_token", "derived from other settings", "__Host-access_token")
    assert told("ACCESS_COOKIE_NAME") == cookie
    assert told("ENCODE_ISSUER") == (None, "default", None)
    text = run(app, "settings").stdout
    for line in (
        "1h30m (config; default: 15m)",
        "20d (default)",
        "0.25 (default)",
        "none (default)",
    ):
        assert line in text


def test_each_kind_of_value_is_json_and_text() -> None:
    """As an environment variable sets it."""

    def check(name: str) -> None:
        app = Flask("tests")
        with pytest.MonkeyPatch.context() as environment:
            for one, text in {**BESIDE.get(name, {}), name.upper(): ENVIRONMENT[name][0]}.items():
                environment.setenv(f"FLASK_JWT_{one}", text)
            app.config.from_prefixed_env()
        settings, _ = read_settings(app.config)
        state: Any = SimpleNamespace(name="authx", settings=settings, initial_config=app.config)
        [found] = [one for one in settings_in_use(state) if one.name == f"JWT_{name.upper()}"]
        assert found.source == "config"
        assert json.loads(json.dumps(found.to_dict()))["value"] == found.value
        assert found.value != found.default
        assert found.text()

    check_all({name: name for name in ENVIRONMENT}, check)


def test_places_are_shown_as_they_are_written() -> None:
    places = [{"path": "/old"}, {"domain": "example.org"}]
    app, _ = make_app(TOKEN_LOCATION="cookies", COOKIE_FORMER=places)
    assert shown(app)["JWT_COOKIE_FORMER"]["value"] == places


def test_a_change_after_the_start_is_not_what_is_in_use() -> None:
    app, _ = make_app()
    app.config["JWT_REALM"] = "late"
    assert shown(app)["JWT_REALM"]["value"] == "api"


def test_no_secret_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    app, _ = make_app(
        SECRET_KEY=SECRET,
        PREVIOUS_SECRET_KEY=OTHER_SECRET,
        BLOCKLIST="redis://ann:open%20sesame@host:6379/0?client_name=shop",
    )
    for output in (run(app, "settings").output, run(app, "settings", "--json").output):
        for secret in (SECRET, OTHER_SECRET, "sesame"):
            assert secret not in output
        assert "redis://ann:***@host:6379/0?client_name=shop" in output
    assert shown(app)["JWT_SECRET_KEY"] == {
        "instance": "authx",
        "name": "JWT_SECRET_KEY",
        "value": "(hidden)",
        "source": "config",
        "default": None,
    }
    pem = private_pem(rsa_key())
    file = tmp_path / "key.pem"
    file.write_text(pem)
    for key, value in ((file, str(file)), (pem, "(hidden)"), (rsa_key(), "(hidden)")):
        app, _ = make_app(ALGORITHM="RS256", PRIVATE_KEY=key)
        assert shown(app)["JWT_PRIVATE_KEY"]["value"] == value


URLS = {
    "memory://": "memory://",
    "sqlalchemy://tokens": "sqlalchemy://tokens",
    "redis://host/0": "redis://host/0",
    "redis://:secret@host/0": "redis://:***@host/0",
    "redis://secret@host/0": "redis://***@host/0",
    "redis://ann:se@cret@host/0": "redis://ann:***@host/0",
    "redis://ann:secret@host?db=1&password=secret": "redis://ann:***@host?db=1&password=***",
    "redis://h?p%61ssword=secret": "redis://h?password=***",
    "rediss://h?ssl_password=secret&ssl_ca_certs=/etc/ca.pem": (
        "rediss://h?ssl_password=***&ssl_ca_certs=/etc/ca.pem"
    ),
    "redis+sentinel://:secret@a:1,b/m/0?sentinel_password=secret": (
        "redis+sentinel://:***@a:1,b/m/0?sentinel_password=***"
    ),
    "unix://ann:secret@/run/redis.sock?db=2": "unix://ann:***@/run/redis.sock?db=2",
}


def test_a_url_is_shown_without_its_passwords() -> None:
    def check(pair: tuple[str, str]) -> None:
        url, expected = pair
        assert without_passwords(url) == expected
        assert "secret" not in expected

    check_all([(url, (url, expected)) for url, expected in URLS.items()], check)


def test_each_object_has_its_prefix() -> None:
    app, _ = make_app()
    app.config.from_mapping(ADMIN_JWT_SECRET_KEY=OTHER_SECRET, ADMIN_JWT_REALM="admin")
    AuthX(app, name="admin", clock=Clock())
    assert shown(app)["ADMIN_JWT_REALM"]["instance"] == "admin"
    assert shown(app)["JWT_REALM"]["value"] == "api"
    only = shown(app, "--name", "admin")
    assert {one["instance"] for one in only.values()} == {"admin"}
    assert all(name.startswith("ADMIN_JWT_") for name in only)
    assert run(app, "settings", "--name", "nobody").code == USAGE


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_the_settings_fit_the_terminal(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    app, _ = make_app(
        ENCODE_AUDIENCE=[f"https://service-{number}.example" for number in range(20)],
        TRUSTED_ORIGINS=["https://" + "a" * 60 + ".example"],
    )
    lines = run(app, "settings").stdout.splitlines()
    assert max(map(len, lines)) <= columns
    assert "service-19" in "".join(line.strip() for line in lines)


def test_an_app_that_does_not_start_says_why_and_ends_with_1() -> None:
    def create() -> Flask:
        return make_app(SECRET_KEY="short", REALM='"')[0]

    code, out, err = run(Flask("tests"), "settings")
    assert (code, out) == (NOT_SO, "")
    assert "authx.init_app(app)" in err
    info = ScriptInfo(create_app=create)
    done = Flask("tests").test_cli_runner().invoke(group, ["settings"], obj=info)
    assert (done.exit_code, done.stdout) == (NOT_SO, "")
    assert done.stderr.startswith("Error: JWT_REALM: ")
    assert "JWT_SECRET_KEY" in done.stderr


def test_the_stores_are_not_asked(tmp_path: Path) -> None:
    app = Flask("tests")
    app.config.from_mapping(
        SQLALCHEMY_DATABASE_URI="postgresql+psycopg://127.0.0.1:1/db",
        JWT_SECRET_KEY=SECRET,
        JWT_BLOCKLIST="sqlalchemy://",
    )
    SQLAlchemy(app)
    AuthX(app)
    assert shown(app)["JWT_BLOCKLIST"]["value"] == "sqlalchemy://"


# The version


def test_the_version_is_that_of_the_distribution() -> None:
    assert flask_authx.__version__ == version("flask-authx")
    assert f'\nversion = "{flask_authx.__version__}"\n' in (ROOT / "pyproject.toml").read_text()
    assert "__version__" in dir(flask_authx)


def test_a_report_of_a_fault_begins_with_one_line() -> None:
    code, out, err = run(Flask("tests"), "--version")
    assert (code, err) == (DONE, "")
    python = ".".join(map(str, sys.version_info[:3]))
    assert out == (
        f"Flask-AuthX {version('flask-authx')} (Flask {version('flask')}, "
        f"PyJWT {version('pyjwt')}, Python {python})\n"
    )


@pytest.mark.slow
def test_the_version_needs_no_app(tmp_path: Path) -> None:
    done = flask(tmp_path, "authx", "--version")
    assert (done.code, done.stderr) == (DONE, "")
    assert done.stdout.startswith("Flask-AuthX ")
