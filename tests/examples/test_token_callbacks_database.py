"""What the example ``token_callbacks`` keeps: its table of revoked tokens and its secret."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from examples.token_callbacks import authx, create_app, db, revoke, revoked_token
from tests.support import SECRET, b64, bearer, ec_key, private_pem, unb64
from tests.support.answers import FAULT, OK, REVOKED, outcome

pytestmark = pytest.mark.usefixtures("own_settings")

#: The order of the curve P-256 (FIPS 186).
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def make(folder: Path, **config: object) -> Flask:
    return create_app({"JWT_SECRET_KEY": SECRET, **config}, str(folder))


def log_in(app: Flask) -> str:
    response: Any = app.test_client().post("/login", json={"username": "ann"})
    token: str = response.json["access_token"]
    return token


def rows(app: Flask) -> set[str]:
    with app.app_context(), db.engine.connect() as connection:
        return set(connection.scalars(sa.select(revoked_token.c.jti)))


def execute(app: Flask, statement: sa.Executable) -> None:
    with app.app_context(), db.engine.begin() as connection:
        connection.execute(statement)


def test_the_table_holds_no_token(tmp_path: Path) -> None:
    app = make(tmp_path)
    token = log_in(app)
    assert outcome(app.test_client().delete("/logout", headers=bearer(token))) == OK
    assert len(rows(app)) == 1
    stored = (tmp_path / "token_callbacks.db").read_bytes()
    assert not any(part.encode() in stored for part in token.split("."))


def test_a_logout_removes_rows_of_expired_tokens_and_no_others(tmp_path: Path) -> None:
    """USERS 44."""
    app = make(tmp_path)
    now = int(time.time())
    old = [{"jti": f"old-{number}", "exp": now - 7200} for number in range(150)]
    recent = [{"jti": "just-expired", "exp": now - 60}, {"jti": "live", "exp": now + 60}]
    execute(app, sa.insert(revoked_token).values([*old, *recent]))
    app.test_client().delete("/logout", headers=bearer(log_in(app)))
    # A hundred at a time, so that no logout takes long.
    assert sum(jti.startswith("old-") for jti in rows(app)) == 50
    app.test_client().delete("/logout", headers=bearer(log_in(app)))
    assert not any(jti.startswith("old-") for jti in rows(app))
    assert rows(app) >= {"just-expired", "live"}


def test_a_token_that_two_logouts_revoke_at_once_is_no_conflict(tmp_path: Path) -> None:
    """USERS 40."""
    app = make(tmp_path)
    raw = log_in(app)
    with app.app_context():
        # Both have passed the guard before either has written.
        token = authx.verify_token(raw)
        revoke(token)
        revoke(token)
    assert rows(app) == {token.jti}


def test_the_twin_of_a_revoked_token_is_revoked(tmp_path: Path) -> None:
    """SECURITY A.1 18, USERS 35."""
    key = private_pem(ec_key())
    app = create_app({"JWT_ALGORITHM": "ES256", "JWT_PRIVATE_KEY": key}, str(tmp_path))
    client = app.test_client()
    token = log_in(app)
    signed, _, signature = token.rpartition(".")
    r, s = unb64(signature)[:32], int.from_bytes(unb64(signature)[32:], "big")
    twin = f"{signed}.{b64(r + (P256_ORDER - s).to_bytes(32, 'big'))}"
    assert outcome(client.get("/profile", headers=bearer(twin))) == OK
    client.delete("/logout", headers=bearer(token))
    response: Any = client.get("/profile", headers=bearer(twin))
    assert outcome(response) == REVOKED
    assert response.json["msg"] == "The token has been revoked"


def test_a_logout_that_was_not_written_is_a_503(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """SECURITY A.18 318."""
    app = make(tmp_path)
    token = log_in(app)
    execute(
        app,
        sa.text(
            "CREATE TRIGGER full BEFORE INSERT ON revoked_token "
            "BEGIN SELECT RAISE(ABORT, 'the disk is full'); END"
        ),
    )
    response = app.test_client().delete("/logout", headers=bearer(token))
    assert outcome(response) == FAULT
    assert response.headers["Retry-After"] == "1"
    assert "the disk is full" in caplog.text
    assert token not in caplog.text


def test_the_secret_from_the_environment_goes_before_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLASK_JWT_SECRET_KEY", SECRET)
    app = create_app(instance_path=str(tmp_path))
    assert app.config["JWT_SECRET_KEY"] == SECRET
    assert [path.name for path in tmp_path.iterdir()] == ["token_callbacks.db"]


def test_a_new_table_under_a_kept_secret_is_warned_about(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        make(tmp_path)
        assert "change the key" in caplog.text
        caplog.clear()
        make(tmp_path)
        assert caplog.text == ""


def test_a_first_start_says_nothing_of_a_loss(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        create_app(instance_path=str(tmp_path))
    assert caplog.text == ""
