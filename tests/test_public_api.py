"""What users import and what their type checkers see."""

from __future__ import annotations

import inspect
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from blinker import Signal

import flask_authx
from tests.support import ROOT
from tests.support.corpus import check_all


def run(*command: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The finished process; its interpreter is this one's."""
    return subprocess.run(
        [sys.executable, *command],
        cwd=cwd or ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_what_is_exported_is_listed_in_order_and_without_the_rest() -> None:
    names = flask_authx.__all__
    assert names == sorted(names)
    assert len(names) == len(set(names))
    public = {
        name
        for name, value in vars(flask_authx).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    late = {
        f"{kind}{what}"
        for kind in ("Memory", "Redis", "SQLAlchemy")
        for what in ("Blocklist", "Sessions")
    }
    assert public - late == set(names) - late


def test_what_is_imported_late_is_listed_and_star_imported_all_the_same() -> None:
    everything: dict[str, object] = {}
    exec("from flask_authx import *", everything)
    assert everything.keys() >= set(flask_authx.__all__)
    assert set(dir(flask_authx)) >= set(flask_authx.__all__)
    assert flask_authx.SQLAlchemyBlocklist is everything["SQLAlchemyBlocklist"]
    assert flask_authx.SQLAlchemySessions is everything["SQLAlchemySessions"]


def test_what_is_not_exported_is_missing_in_the_usual_way() -> None:
    assert not hasattr(flask_authx, "SQLAlchemyBlokclist")
    with pytest.raises(AttributeError, match="module 'flask_authx' has no attribute 'Blokclist'"):
        getattr(flask_authx, "Blokclist")  # noqa: B009 - type checkers know that it isn't there


def test_everything_that_is_exported_is_documented() -> None:
    check_all({name: name for name in flask_authx.__all__}, is_documented)


def is_documented(name: str) -> None:
    value = getattr(flask_authx, name)
    if name in ("current_token", "current_user") or isinstance(value, Signal):
        # Data has no docstring: its `#:` comment stands above it.
        module = "signals" if isinstance(value, Signal) else "app/identity"
        lines = (ROOT / "flask_authx" / f"{module}.py").read_text(encoding="utf-8").splitlines()
        [at] = [number for number, line in enumerate(lines) if line.startswith(f"{name}: ")]
        assert lines[at - 1].startswith("#: "), f"no comment above {lines[at]!r}"
        return
    assert inspect.getdoc(value), "no docstring"
    assert vars(value)["__doc__"], "an inherited docstring says nothing about this class"


def test_every_public_member_of_what_is_exported_is_documented() -> None:
    exported = [getattr(flask_authx, name) for name in flask_authx.__all__]
    classes = [value for value in exported if inspect.isclass(value)]
    undocumented = [
        f"{one.__name__}.{name}"
        for one in classes
        for name, member in vars(one).items()
        if not name.startswith("_")
        and (inspect.isfunction(member) or isinstance(member, property))
        and not inspect.getdoc(member)
    ]
    assert classes
    assert undocumented == []


def test_the_package_says_that_it_is_typed() -> None:
    """PEP 561."""
    assert (Path(flask_authx.__file__).parent / "py.typed").is_file()


WITHOUT_EXTRAS = """
import sys
from importlib.machinery import PathFinder

class Without(PathFinder):
    # Finds what is installed, as if these packages were not.
    extras = {"cryptography", "flask_sqlalchemy", "sqlalchemy", "asgiref", "redis"}

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.partition(".")[0] in cls.extras:
            return None
        return super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Without

from flask import Flask
from flask_authx import AuthX, BadConfigurationError, current_token

app = Flask("tests")
app.config["JWT_SECRET_KEY"] = "q8V1mZ0sR4xK7tN2bY9wE5uH3cJ6fL1a"
authx = AuthX(app)

@app.get("/")
@authx.token_required
def index():
    return current_token.sub

with app.app_context():
    token = authx.create_access_token("ann")
exec("from flask_authx import *", everything := {})
assert "MemoryBlocklist" in everything
assert "RedisBlocklist" not in everything and "SQLAlchemyBlocklist" not in everything

response = app.test_client().get("/", headers={"Authorization": f"Bearer {token}"})
assert response.text == "ann", response.text

other = Flask("other")
other.config["JWT_ALGORITHM"] = "EdDSA"
other.config["JWT_PRIVATE_KEY"] = "-----BEGIN PRIVATE KEY-----"
try:
    AuthX(other)
except BadConfigurationError as error:
    print(error)

for url in ("sqlalchemy://", "redis://localhost/0"):
    other = Flask("other")
    other.config["JWT_SECRET_KEY"] = app.config["JWT_SECRET_KEY"]
    other.config["JWT_BLOCKLIST"] = url
    try:
        AuthX(other)
    except BadConfigurationError as error:
        print(error)

async def callback(token):
    return False

try:
    authx.set_callback_token_blocklist(callback)
except BadConfigurationError as error:
    print(error)
"""


@pytest.mark.slow
def test_nothing_but_flask_and_pyjwt_is_needed_for_hmac() -> None:
    """And an app that lacks an extra is told which."""
    finished = run("-W", "error", "-c", WITHOUT_EXTRAS)
    assert finished.returncode == 0, finished.stderr
    assert "pip install flask-authx[crypto]" in finished.stdout
    assert "pip install flask[async]" in finished.stdout
    assert "pip install flask-authx[sqlalchemy]" in finished.stdout
    assert "pip install flask-authx[redis]" in finished.stdout


@pytest.mark.slow
def test_what_no_app_has_used_yet_is_not_imported() -> None:
    code = "import flask_authx, sys; print(*sys.modules)"
    loaded = {*run("-c", code).stdout.split()}
    assert "flask_authx.extension" in loaded
    unused = ("cli", "doctor", "blueprint", "stores.memory", "stores.redis", "stores.sql")
    assert loaded.isdisjoint(f"flask_authx.{name}" for name in unused)
    assert not any(name.startswith("flask_authx.actions.") for name in loaded)
    assert loaded.isdisjoint(("asyncio", "concurrent.futures"))


@pytest.mark.slow
def test_what_stores_need_is_imported_with_them() -> None:
    """SQLAlchemy alone takes longer to import than all the rest."""
    code = """
import sys
import flask_authx
heavy = {"sqlalchemy", "flask_sqlalchemy", "redis"}
print(*sorted(heavy & {*sys.modules}))
from flask_authx import SQLAlchemyBlocklist
print(SQLAlchemyBlocklist.__name__, *sorted(heavy & {*sys.modules}))
"""
    finished = run("-c", code)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.splitlines() == ["", "SQLAlchemyBlocklist sqlalchemy"]


#: Line by line what must be refused.
MISUSES = [
    ("bare", "bare('one')"),
    ("called", "called(1, size='2')"),
    ("later", "later('one')"),
    ("method", "Item().get('one')"),
    ("scoped", "scoped()"),
    ("type", "authx.token_required(type='other')"),
    ("location", "authx.token_required(locations=['body'])"),
    ("positional", "authx.token_required('refresh')"),
    ("on_invalid", "authx.optional_token(on_invalid='pass')"),
    ("read-only", "current_token.sub = 'root'"),
    ("identify", "authx.identify(optional=True).sub"),
    ("optional", "authx.get_token_from_request().token"),
]


@pytest.fixture(scope="module")
def users_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("user")
    shutil.copy(ROOT / "tests" / "support" / "typed_user.py", folder / "right.py")
    misuses = "\n".join(line for _, line in MISUSES)
    (folder / "wrong.py").write_text(f"from right import *\n{misuses}\n", encoding="utf-8")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("checker", ["mypy", "pyright"])
@pytest.mark.xdist_group("type checkers")
def test_a_decorated_view_keeps_its_signature(checker: str, users_files: Path) -> None:
    """USERS 109: both spellings of each guard, sync, async and on methods."""
    if checker == "mypy":
        command = ["mypy", "--strict", "--config-file=", "--cache-dir=.cache"]
    else:
        settings = '{"typeCheckingMode": "strict", "pythonVersion": "3.11"}'
        (users_files / "pyrightconfig.json").write_text(settings, encoding="utf-8")
        command = ["pyright", "--pythonpath", sys.executable]
    # Both at once: what takes long is reading what they import.
    done = run("-m", *command, "right.py", "wrong.py", cwd=users_files)
    said = done.stdout + done.stderr
    assert done.returncode == 1, said
    found = {(file, int(line)) for file, line in re.findall(r"(\w+\.py):(\d+):.*error", said)}
    assert [line for file, line in found if file == "right.py"] == [], said
    lines = {line for file, line in found if file == "wrong.py"}
    assert [what for line, (what, _) in enumerate(MISUSES, start=2) if line not in lines] == [], (
        said
    )
