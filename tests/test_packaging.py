"""The sdist and the wheel, and the wheel in an environment that holds only what it asks for."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.support import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("packaging")]


APP = """
from flask import Flask
from flask_authx import AuthX, current_token

app = Flask(__name__)
app.config["JWT_SECRET_KEY"] = "q8V1mZ0sR4xK7tN2bY9wE5uH3cJ6fL1aP0dG8kQ4rT7vX2zM5nB9hS3yW6eU1iO_"
authx = AuthX(app)
authx.set_callback_token_blocklist(lambda token: False)

@app.get("/")
@authx.token_required
def view():
    return current_token.sub

def main():
    with app.app_context():
        token = authx.create_access_token("ann")
    client = app.test_client()
    print(client.get("/", headers={"Authorization": f"Bearer {token}"}).text)
    print(client.get("/").status_code)
"""

ASYMMETRIC = """
from flask import Flask
from flask_authx import AuthX, BadConfigurationError

app = Flask(__name__)
app.config.update(JWT_ALGORITHM="RS256", JWT_PRIVATE_KEY="-----BEGIN PRIVATE KEY-----")
try:
    AuthX(app)
except BadConfigurationError as error:
    print(error)
"""


STORE = """
import sys
from flask import Flask
from flask_authx import AuthX, BadConfigurationError, current_token

SECRET = "q8V1mZ0sR4xK7tN2bY9wE5uH3cJ6fL1aP0dG8kQ4rT7vX2zM5nB9hS3yW6eU1iO_"

def served(url):
    app = Flask(__name__)
    app.config["JWT_SECRET_KEY"] = SECRET
    app.config["JWT_BLOCKLIST"] = url
    try:
        authx = AuthX(app)
    except BadConfigurationError as error:
        return error

    @app.get("/")
    @authx.token_required
    def view():
        authx.revoke_token()
        return current_token.sub

    with app.app_context():
        headers = {"Authorization": "Bearer " + authx.create_access_token("ann")}
    return [app.test_client().get("/", headers=headers).status_code for _ in range(2)]

for url in sys.argv[1:]:
    print(url, "says", *str(served(url)).splitlines())
"""


PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    """What a command prints; it must succeed. Nothing of this environment leads it."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist and the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("dist")
    # A build writes into the tree that it reads, so it is given a copy.
    tree = tmp_path_factory.mktemp("tree") / "copy"
    left = shutil.ignore_patterns(".venv*", ".git", ".*_cache", "build", "_build", "*.egg-info")
    shutil.copytree(ROOT, tree, ignore=left)
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, tree)
    return folder


@pytest.fixture(scope="module")
def python(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with the wheel and what it asks for."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", folder)
    made = folder / "bin" / "python"
    (wheel,) = built.glob("*.whl")
    # This environment's pip: to install one there takes as long as all the rest.
    run(*PIP, "--python", made, "install", "-q", "--no-compile", wheel)
    return made


def test_the_wheel_holds_the_package_and_nothing_else(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    code = {name for name in names if ".dist-info/" not in name}
    expected = {str(path.relative_to(ROOT)) for path in (ROOT / "flask_authx").rglob("*.py")}
    assert code == {*expected, "flask_authx/py.typed"}
    assert code > {"flask_authx/stores/__init__.py", "flask_authx/stores/redis/server.py"}
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_the_sdist_holds_all_that_a_packager_needs(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    files = ("LICENSE", "CHANGES", "README.md", "pyproject.toml", "setup.cfg", "docs/conf.py")
    helpers = ("tests/support/__init__.py", "tests/support/servers/site.py")
    assert names >= {*files, *helpers, "flask_authx/py.typed"}
    assert names >= {"examples/token_callbacks/__init__.py", "examples/stores/__init__.py"}
    assert names >= {"compose.yaml", "requirements/demo.txt"}
    assert not [name for name in names if "__pycache__" in name or name.endswith((".pyc", ".db"))]


def test_only_flask_and_pyjwt_come_with_it(python: Path) -> None:
    listed = run(*PIP, "--python", python, "list", "--format=freeze")
    names = {line.partition("==")[0].partition(" @")[0].lower() for line in listed.splitlines()}
    flask = {"blinker", "click", "flask", "itsdangerous", "jinja2", "markupsafe", "werkzeug"}
    assert names == {"flask-authx", "pyjwt", *flask}


def test_it_imports_and_serves_without_a_warning(python: Path, tmp_path: Path) -> None:
    assert run(python, "-W", "error", "-c", "import flask_authx", cwd=tmp_path) == ""
    (tmp_path / "app.py").write_text(APP)
    printed = run(python, "-W", "error", "-c", "import app; app.main()", cwd=tmp_path)
    assert printed.split() == ["ann", "401"]


def test_its_commands_are_there(python: Path, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    flask = python.with_name("flask")
    printed = run(flask, "authx", "--help", cwd=tmp_path)
    assert all(word in printed for word in ("generate-key", "routes", "doctor", "revoke", "prune"))
    assert len(run(flask, "authx", "generate-key", cwd=tmp_path).strip()) >= 43
    assert "view" in run(flask, "authx", "routes", cwd=tmp_path)


def test_a_key_pair_without_cryptography_says_what_to_install(python: Path, tmp_path: Path) -> None:
    (tmp_path / "asymmetric.py").write_text(ASYMMETRIC)
    assert "flask-authx[crypto]" in run(python, "asymmetric.py", cwd=tmp_path)


def test_a_store_works_or_says_what_to_install(python: Path, tmp_path: Path) -> None:
    (tmp_path / "store.py").write_text(STORE)
    urls = ["memory://", "sqlalchemy://", "redis://h/0", "redis+cluster://h"]
    # One process for them all.
    said = run(python, "-W", "ignore:.*memory.*", "store.py", *urls, cwd=tmp_path)
    assert dict(line.split(" says ", 1) for line in said.splitlines()) == {
        "memory://": "[200, 401]",
        "sqlalchemy://": "JWT_BLOCKLIST needs Flask-SQLAlchemy: "
        "pip install flask-authx[sqlalchemy]",
        "redis://h/0": "JWT_BLOCKLIST needs the package redis: pip install flask-authx[redis]",
        "redis+cluster://h": "JWT_BLOCKLIST needs the package redis: "
        "pip install flask-authx[redis]",
    }
