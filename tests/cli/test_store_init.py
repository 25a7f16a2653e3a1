"""``flask authx store init`` and ``revoke --all``: a new store, a restored one, everybody out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask_sqlalchemy import SQLAlchemy

from flask_authx import AuthX
from flask_authx.sessions.revocations import Revocations
from tests.support import SECRET, access_token
from tests.support.cli import DONE, NOT_SO, USAGE, printed, run


def without_store() -> tuple[Flask, AuthX]:
    app = Flask("before")
    app.config["JWT_SECRET_KEY"] = SECRET
    return app, AuthX(app)


def with_store(folder: Path, **config: Any) -> tuple[Flask, AuthX]:
    app = Flask("tests")
    app.config.from_mapping(
        JWT_SECRET_KEY=SECRET,
        JWT_BLOCKLIST="sqlalchemy://",
        SQLALCHEMY_DATABASE_URI=f"sqlite:///{folder}/app.db",
        **config,
    )
    db = SQLAlchemy(app)
    authx = AuthX(app)
    with app.app_context():
        db.create_all()
    return app, authx


@pytest.fixture
def made(tmp_path: Path) -> tuple[Flask, AuthX]:
    return with_store(tmp_path)


def revoked(app: Flask, authx: AuthX, *tokens: str) -> list[bool]:
    with app.app_context():
        return [authx.is_revoked(token) for token in tokens]


def test_a_store_that_is_added_trusts_older_sessions_if_it_is_told_to(
    made: tuple[Flask, AuthX],
) -> None:
    app, authx = made
    older = access_token(*without_store())
    said = printed(app, "store", "init", "--trust-older")
    assert said == "Wrote the entry of the scope authx.\n"
    assert revoked(app, authx, older, access_token(app, authx)) == [False, False]


def test_what_a_store_has_lost_is_not_trusted_although_older_sessions_are(
    made: tuple[Flask, AuthX],
) -> None:
    app, authx = made
    older = access_token(*without_store())
    token, ended = (access_token(app, authx) for _ in range(2))
    with app.app_context():
        authx.revoke_session(authx.decode_token(ended).sid)
        db: Any = app.extensions["sqlalchemy"]
        db.session.execute(db.metadata.tables["authx_blocklist"].delete())
        db.session.commit()
    assert printed(app, "store", "init", "--trust-older") == "Wrote the entry of the scope authx.\n"
    assert revoked(app, authx, older, token, ended) == [False, True, True]


def test_older_sessions_are_revoked_otherwise(made: tuple[Flask, AuthX]) -> None:
    app, authx = made
    older = access_token(*without_store())
    assert printed(app, "store", "init") == "Wrote the entry of the scope authx.\n"
    assert revoked(app, authx, older, access_token(app, authx)) == [True, False]


def test_what_is_there_is_not_written_again(made: tuple[Flask, AuthX]) -> None:
    app, authx = made
    token, older = access_token(app, authx), access_token(*without_store())
    there = "The store has the entry of the scope authx already."
    assert printed(app, "store", "init") == f"{there}\n"
    result = run(app, "store", "init", "--trust-older")
    assert (result.code, result.stderr) == (NOT_SO, f"Error: {there} Nothing was changed\n")
    assert revoked(app, authx, token, older) == [False, True]


def test_a_request_that_comes_first_is_not_hidden(
    made: tuple[Flask, AuthX], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The running app writes the entry between the command's look-up and its write."""
    app, authx = made
    access_token(app, authx)
    caplog.clear()

    def has_none(_: Revocations) -> bool:
        return False

    monkeypatch.setattr(Revocations, "has_mark", has_none)
    there = "The store has the entry of the scope authx already."
    result = run(app, "store", "init", "--trust-older")
    assert (result.code, result.stderr) == (NOT_SO, f"Error: {there} Nothing was changed\n")
    assert "all older sessions are revoked" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["store", "init", "--restored"], "Revoked all sessions of the scope authx that have "),
        (["revoke", "--all"], "Revoked all sessions of all users that have "),
    ],
)
def test_everybody_is_logged_out_and_can_log_in_again(
    arguments: list[str], said: str, made: tuple[Flask, AuthX]
) -> None:
    app, authx = made
    before = [access_token(app, authx, uid) for uid in ("ann", "bob")]
    assert printed(app, *arguments) == f"{said}begun so far.\n"
    after = access_token(app, authx)
    assert revoked(app, authx, *before, after) == [True, True, False]
    # In one second, too.
    printed(app, *arguments)
    assert revoked(app, authx, after) == [True]


@pytest.mark.parametrize(
    "arguments",
    [
        ["store", "init", "--restored", "--trust-older"],
        ["revoke", "--all", "--subject", "ann"],
        ["revoke", "--all", "--keep", "s"],
    ],
)
def test_contradicting_options_are_refused(arguments: list[str], made: tuple[Flask, AuthX]) -> None:
    assert run(made[0], *arguments).code == USAGE


def test_two_services_with_one_scope_share_their_revocations(tmp_path: Path) -> None:
    one = with_store(tmp_path, JWT_STORE_SCOPE="shop")
    other = with_store(tmp_path, JWT_STORE_SCOPE="shop")
    apart = with_store(tmp_path)
    token = access_token(*one)
    assert revoked(*other, token) == [False]
    with one[0].app_context():
        one[1].revoke_token(token)
    assert revoked(*other, token) == [True]
    assert run(apart[0], "store", "init").code == DONE
    # Its scope is another, which knows nothing of this session.
    assert revoked(*apart, token) == [True]
