"""``flask authx``: how the group is found, and ``generate-key``."""

from __future__ import annotations

import secrets
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from flask import Flask

from flask_authx import AuthX
from flask_authx.enums import Algorithm
from tests.support import SECRET, access_token
from tests.support.cli import Result, flask, run

SYMMETRIC = [algorithm for algorithm in Algorithm if algorithm.symmetric]
ASYMMETRIC = [algorithm for algorithm in Algorithm if not algorithm.symmetric]


def generate(*arguments: str) -> Result:
    return run(Flask("tests"), "generate-key", *arguments)


def creates(**config: object) -> bool:
    """Whether an app of these settings starts, creates a token and accepts it."""
    app = Flask("tests")
    app.config.from_mapping({f"JWT_{name}": value for name, value in config.items()})
    instance = AuthX(app)
    token = access_token(app, instance)
    with app.app_context():
        return instance.verify_token(token).sub == "ann"


@pytest.mark.slow
def test_generate_key_needs_no_app_and_prints_the_secret_alone(tmp_path: Path) -> None:
    """So that it can be piped: ``flask authx generate-key > secret``."""
    done = flask(tmp_path, "authx", "generate-key")
    assert done.code == 0
    assert creates(SECRET_KEY=done.stdout.removesuffix("\n"))
    assert "\n" not in done.stdout.removesuffix("\n")
    assert "FLASK_JWT_SECRET_KEY" in done.stderr
    assert "from_prefixed_env" in done.stderr


@pytest.mark.slow
def test_the_group_says_what_it_has(tmp_path: Path) -> None:
    done = flask(tmp_path, "authx", "--help")
    assert done.code == 0
    for command in ("generate-key", "routes", "doctor"):
        assert command in done.stdout


@pytest.mark.slow
def test_the_package_does_not_import_the_commands() -> None:
    """DESIGN 3: the core never imports what is built on top."""
    code = (
        "import sys, flask_authx; print([m for m in sys.modules if m.startswith('flask_authx.')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert "flask_authx.extension" in done.stdout
    for module in ("cli", "doctor", "checks", "routes"):
        assert f"flask_authx.{module}'" not in done.stdout


@pytest.mark.parametrize("algorithm", SYMMETRIC)
def test_a_secret_is_accepted_for_its_algorithm(algorithm: Algorithm) -> None:
    done = generate("--algorithm", algorithm.value)
    assert done.code == 0
    assert creates(SECRET_KEY=done.stdout.strip(), ALGORITHM=algorithm)


def test_secrets_are_new_each_time() -> None:
    assert generate().stdout != generate().stdout


def test_a_secret_that_looks_like_a_key_is_not_given_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """SECURITY A.1 9: what ``init_app`` would refuse, by whatever chance, is made anew."""
    made = iter(["ab" * 43, SECRET])

    def chance(size: int) -> str:
        return next(made)

    monkeypatch.setattr(secrets, "token_urlsafe", chance)
    assert generate().stdout == f"{SECRET}\n"


def test_the_hint_for_the_environment_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLASK_JWT_SECRET_KEY", generate().stdout.strip())
    app = Flask("tests")
    app.config.from_prefixed_env()
    assert access_token(app, AuthX(app))


@pytest.mark.parametrize("algorithm", ASYMMETRIC)
def test_a_private_key_is_accepted_for_its_algorithm(algorithm: Algorithm) -> None:
    done = generate("--algorithm", algorithm.value)
    assert done.code == 0
    assert done.stdout.startswith("-----BEGIN PRIVATE KEY-----\n")
    assert done.stdout.endswith("\n-----END PRIVATE KEY-----\n")
    assert creates(PRIVATE_KEY=done.stdout, ALGORITHM=algorithm)


def test_an_unknown_algorithm_is_refused_with_the_choices() -> None:
    done = generate("--algorithm", "none")
    assert done.code == 2
    assert "'HS256'" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("algorithm", ["RS256", "ES512", "EdDSA"])
def test_out_writes_a_pair_of_files_and_no_key_to_the_terminal(
    tmp_path: Path, algorithm: str
) -> None:
    out = tmp_path / "key.pem"
    done = generate("--algorithm", algorithm, "--out", str(out))
    assert done.code == 0
    assert done.stdout == ""
    assert "KEY-----" not in done.stderr
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    public = tmp_path / "key.pem.pub"
    assert "PRIVATE" not in public.read_text()
    assert f'app.config["JWT_PRIVATE_KEY"] = pathlib.Path({str(out)!r})' in done.stderr
    # The public file is the other half: a mismatch is refused by init_app.
    assert creates(PRIVATE_KEY=out, PUBLIC_KEY=public, ALGORITHM=algorithm)


def test_out_writes_a_secret_without_a_public_half(tmp_path: Path) -> None:
    out = tmp_path / "secret"
    done = generate("--out", str(out))
    assert done.code == 0
    assert f'app.config["JWT_SECRET_KEY"] = pathlib.Path({str(out)!r})' in done.stderr
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]
    assert creates(SECRET_KEY=out)


@pytest.mark.parametrize("there", ["key.pem", "key.pem.pub"])
def test_a_file_that_exists_is_never_overwritten(tmp_path: Path, there: str) -> None:
    (tmp_path / there).write_text("precious")
    done = generate("--algorithm", "EdDSA", "--out", str(tmp_path / "key.pem"))
    assert done.code == 1
    assert there in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == [there]
    assert (tmp_path / there).read_text() == "precious"


def test_a_link_to_nowhere_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "key").symlink_to(tmp_path / "elsewhere")
    assert generate("--out", str(tmp_path / "key")).code == 1
    assert not (tmp_path / "elsewhere").exists()


def test_a_folder_that_is_not_there_is_told_without_a_traceback(tmp_path: Path) -> None:
    done = generate("--out", str(tmp_path / "nowhere" / "key"))
    assert done.code == 1
    assert "No such file or directory" in done.stderr
    assert done.stdout == ""


def test_without_cryptography_one_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives", None)
    done = generate("--algorithm", "RS256")
    assert done.code == 1
    assert "pip install flask-authx[crypto]" in done.stderr
    assert generate("--algorithm", "HS512").code == 0
