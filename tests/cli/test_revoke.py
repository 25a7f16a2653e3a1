"""``flask authx revoke``: what it revokes, what it prints, and its exit codes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from flask_authx import AuthX, session_revoked, subject_revoked, token_revoked
from tests.support import OTHER_SECRET, Clock, access_token, make_app, reforge, refresh_token
from tests.support.cli import DONE, LATER, NOT_SO, USAGE, flask, run
from tests.support.corpus import check_all
from tests.support.spy_store import SpyStore, decoded, login, new_token, spied, store_app, works


@pytest.mark.parametrize("create", [access_token, refresh_token])
@pytest.mark.parametrize("around", ["{}", "{}\n", "  {}\r\n"])
def test_a_token_from_the_standard_input(create: Any, around: str) -> None:
    app, authx, _ = spied()
    token, other = create(app, authx), create(app, authx)
    claims = decoded(app, authx, token)
    done = run(app, "revoke", "--token-stdin", stdin=around.format(token))
    what = f"Revoked the {claims.type} token {claims.jti} of ann.\n"
    assert done == (DONE, what, "")
    path = "/guarded" if create is access_token else "/refresh"
    assert not works(app, token, path)
    assert works(app, other, path)
    assert token not in done.output


def test_a_session() -> None:
    app, authx, _ = spied()
    access, refresh, sid = login(app, authx)
    other, _, _ = login(app, authx)
    assert run(app, "revoke", "--session", sid) == (DONE, f"Revoked the session {sid}.\n", "")
    assert not works(app, access)
    assert not works(app, refresh, "/refresh")
    assert works(app, other)


def test_a_user() -> None:
    app, authx, _ = spied()
    access, _, _ = login(app, authx)
    other, _, _ = login(app, authx, "bob")
    what = "Revoked all sessions of ann that have begun so far.\n"
    assert run(app, "revoke", "--subject", "ann") == (DONE, what, "")
    assert not works(app, access)
    assert works(app, other)
    assert works(app, login(app, authx)[0])


def test_a_user_except_one_session() -> None:
    app, authx, _ = spied()
    kept, _, sid = login(app, authx)
    other, _, _ = login(app, authx)
    what = f"Revoked all sessions of ann that have begun so far, except the session {sid}.\n"
    assert run(app, "revoke", "--subject", "ann", "--keep", sid) == (DONE, what, "")
    assert works(app, kept)
    assert not works(app, other)


def test_doing_it_twice_is_fine() -> None:
    app, authx, _ = spied()
    token, claims = new_token(app, authx)
    for _ in range(2):
        assert run(app, "revoke", "--token-stdin", stdin=token).code == DONE
        assert run(app, "revoke", "--session", claims.sid).code == DONE
        assert run(app, "revoke", "--subject", "ann").code == DONE


def test_an_expired_token_is_no_error_and_nothing_to_do() -> None:
    """USERS 40"""
    app, authx, store = spied()
    old = reforge(access_token(app, authx), iat=1, nbf=1, auth_time=1, exp=2)
    store.calls.clear()
    done = run(app, "revoke", "--token-stdin", stdin=old)
    what = "The token has already expired: there was nothing to revoke.\n"
    assert done == (DONE, what, "")
    assert store.calls == []


def test_the_signals_say_who_and_why() -> None:
    app, authx, _ = spied()
    token, claims = new_token(app, authx)
    heard: list[dict[str, Any]] = []

    def receiver(sender: object, **kwargs: Any) -> None:
        heard.append(kwargs)

    for signal in (token_revoked, session_revoked, subject_revoked):
        signal.connect(receiver, app)
    run(app, "revoke", "--token-stdin", "--reason", "seen in a log", stdin=token)
    run(app, "revoke", "--session", claims.sid, "--reason", "lost phone")
    run(app, "revoke", "--subject", "ann")
    assert [one["reason"] for one in heard] == ["seen in a log", "lost phone", None]
    assert all(one["actor"].startswith("cli:") for one in heard)
    assert [one["name"] for one in heard] == ["authx"] * 3


# What can't be done


WRONG_USAGE: list[tuple[str, ...]] = [
    (),
    ("--reason", "x"),
    ("--session", "s", "--subject", "ann"),
    ("--token-stdin", "--session", "s"),
    ("--keep", "s"),
    ("--session", "s", "--keep", "s"),
    ("--token-stdin", "--keep", "s"),
    ("--token", "x.y.z"),
    ("x.y.z",),
    ("--name", "nobody", "--session", "s"),
]


def test_a_wrong_command_line_ends_with_2() -> None:
    app, _, store = spied()

    def check(arguments: tuple[str, ...]) -> None:
        code, out, err = run(app, "revoke", *arguments, stdin="x")
        assert (code, out) == (USAGE, "")
        assert "Error: " in err
        assert store.calls == []

    check_all([(str(arguments), arguments) for arguments in WRONG_USAGE], check)


UNUSABLE = [
    ("--session", ""),
    ("--session", "a b"),
    ("--session", "s" * 256),
    ("--subject", ""),
    ("--subject", " "),
    ("--subject", "s" * 256),
    ("--subject", "ann", "--keep", ""),
    ("--session", "s", "--reason", "r" * 1001),
]


def test_an_unusable_value_ends_with_1() -> None:
    app, _, store = spied()

    def check(arguments: tuple[str, ...]) -> None:
        code, out, err = run(app, "revoke", *arguments)
        assert (code, out) == (NOT_SO, "")
        assert err.startswith("Error: ")
        assert len(err.splitlines()) == 1
        assert store.calls == []

    check_all([(str(arguments), arguments) for arguments in UNUSABLE], check)


INVALID = ["", "\n", "x.y.z", "a b", b"\xff\xfe", access_token(*make_app(SECRET_KEY=OTHER_SECRET))]


@pytest.mark.parametrize("stdin", INVALID)
def test_an_invalid_token_ends_with_1(stdin: str | bytes) -> None:
    """SECURITY A.12 201"""
    app, _, store = spied()
    code, out, err = run(app, "revoke", "--token-stdin", stdin=stdin)
    assert (code, out) == (NOT_SO, "")
    assert err.startswith("Error: ")
    if isinstance(stdin, str) and len(stdin) > 5:
        assert stdin not in err
    assert store.calls == []


def test_without_a_store_it_ends_with_1_and_says_what_to_set() -> None:
    app, _ = make_app()
    code, out, err = run(app, "revoke", "--session", "s")
    assert (code, out) == (NOT_SO, "")
    assert 'app.config["JWT_BLOCKLIST"]' in err


def test_without_authx_it_ends_with_1_and_names_init_app() -> None:
    code, _, err = run(Flask("tests"), "revoke", "--session", "s")
    assert code == NOT_SO
    assert "authx.init_app(app)" in err


@pytest.mark.parametrize("what", ["token", "session", "subject"])
def test_a_store_that_fails_ends_with_3(what: str) -> None:
    app, authx, store = spied()
    token = access_token(app, authx)
    store.error = ConnectionError("down")
    arguments = {"token": ["--token-stdin"], "session": ["--session", "s"]}
    code, out, err = run(app, "revoke", *arguments.get(what, ["--subject", "ann"]), stdin=token)
    assert (code, out) == (LATER, "")
    assert err.startswith("Error: The revocation may not have been written")
    assert token not in err


# Which object


def two() -> tuple[Flask, AuthX, AuthX, list[SpyStore]]:
    stores = [SpyStore(), SpyStore()]
    app, authx = store_app(stores[0])
    app.config["ADMIN_JWT_SECRET_KEY"] = OTHER_SECRET
    return app, authx, AuthX(app, name="admin", blocklist=stores[1], clock=Clock()), stores


def test_with_several_objects_one_must_be_named() -> None:
    """USERS 91"""
    app, _, _, stores = two()
    code, _, err = run(app, "revoke", "--session", "s")
    assert code == USAGE
    assert "authx, admin" in err
    assert run(app, "revoke", "--session", "s", "--name", "other")[0] == USAGE
    assert [store.calls for store in stores] == [[], []]
    assert run(app, "revoke", "--session", "s", "--name", "admin").code == DONE
    assert [len(store.entries) for store in stores] == [0, 1]


def test_a_token_of_the_other_object_is_not_its_own() -> None:
    app, _, admin, stores = two()
    with app.app_context():
        token = admin.create_access_token("ann")
    assert run(app, "revoke", "--token-stdin", "--name", "authx", stdin=token).code == NOT_SO
    assert stores[0].entries == {}
    assert run(app, "revoke", "--token-stdin", "--name", "admin", stdin=token).code == DONE
    assert len(stores[1].entries) == 1


APP = """
from flask import Flask
from flask_authx import AuthX
from flask_sqlalchemy import SQLAlchemy

def create_app():
    app = Flask(__name__, static_folder=None)
    app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite:///{folder}/app.db"
    app.config["JWT_SECRET_KEY"] = {secret!r}
    app.config["JWT_BLOCKLIST"] = "sqlalchemy://"
    app.config["JWT_AUDIT"] = "30d"
    db = SQLAlchemy(app)
    AuthX(app)
    with app.app_context():
        db.create_all()
    return app
"""


@pytest.mark.slow
def test_all_three_commands_as_a_user_types_them(tmp_path: Path) -> None:
    (tmp_path / "service.py").write_text(APP.format(secret=OTHER_SECRET, folder=tmp_path))
    done = flask(tmp_path, "--app", "service", "authx", "revoke", "--session", "s")
    assert (done.code, done.stdout, done.stderr) == (0, "Revoked the session s.\n", "")
    done = flask(tmp_path, "--app", "service", "authx", "blocklist")
    assert (done.code, done.stderr) == (0, "")
    assert done.stdout.splitlines()[2].split() == ["session", "0", "0", "0", "0", "1", "1"]
    done = flask(tmp_path, "--app", "service", "authx", "prune")
    assert done.code == 0
    assert done.stdout == "Removed 0 expired revocations.\nRemoved 0 old audit records.\n"
    done = flask(tmp_path, "--app", "service", "authx", "revoke", "--token-stdin")
    assert (done.code, done.stdout) == (1, "")
    assert "Traceback" not in done.stderr
