"""``flask authx sessions`` as a user types it, and with several ``AuthX`` objects."""

from __future__ import annotations

from pathlib import Path

import pytest
from flask import Flask

from flask_authx import AuthX
from tests.support import OTHER_SECRET, SECRET, Clock
from tests.support.browsers import FrailSessions
from tests.support.cli import DONE, USAGE, Result, flask, run
from tests.support.databases import app_on, settings_for
from tests.support.spy_store import SpyStore

APP = """
from flask import Flask
from flask_authx import AuthX
from flask_sqlalchemy import SQLAlchemy

def create_app():
    app = Flask(__name__, static_folder=None)
    app.config.update({config!r})
    db = SQLAlchemy(app)
    AuthX(app)
    with app.app_context():
        db.create_all()
    return app
"""


@pytest.mark.slow
def test_sessions_as_a_user_lists_and_revokes_them(tmp_path: Path) -> None:
    config = {
        "JWT_SECRET_KEY": SECRET,
        "JWT_SESSIONS": True,
        **settings_for("sqlite", tmp_path),
    }
    (tmp_path / "service.py").write_text(APP.format(config=config))
    app, authx = app_on(config)
    with app.app_context():
        sids = [authx.decode_token(authx.login("ann").access_token).sid for _ in range(2)]

    def authx_sessions(*arguments: str) -> Result:
        return flask(tmp_path, "--app", "service", "authx", "sessions", *arguments)

    code, out, err = authx_sessions("ann")
    assert (code, err) == (0, "")
    assert {line.split()[0] for line in out.splitlines()[1:]} == set(sids)
    assert authx_sessions("revoke", sids[0]) == (0, f"Revoked the session {sids[0]} of ann.\n", "")
    with app.app_context():
        assert [session.sid for session in authx.sessions("ann")] == sids[1:]
    code, out, err = authx_sessions()
    assert code in {0, 2}
    assert "UID" in out + err
    code, out, _ = authx_sessions("--help")
    assert code == 0
    assert "revoke" in out


def test_with_several_objects_one_must_be_named() -> None:
    """USERS 91"""
    clock = Clock()
    app = Flask("tests")
    app.config.from_mapping(JWT_SECRET_KEY=SECRET, ADMIN_JWT_SECRET_KEY=OTHER_SECRET)
    AuthX(app, blocklist=SpyStore(), sessions=FrailSessions(clock), clock=clock)
    admin = AuthX(
        app, name="admin", blocklist=SpyStore(), sessions=FrailSessions(clock), clock=clock
    )
    with app.app_context():
        sid = admin.decode_token(admin.login("ann").access_token).sid
    code, _, err = run(app, "sessions", "ann")
    assert code == USAGE
    assert "authx, admin" in err
    assert run(app, "sessions", "ann", "--name", "authx") == (
        DONE,
        "",
        "ann has no active sessions.\n",
    )
    assert sid in run(app, "sessions", "ann", "--name", "admin")[1]
    assert run(app, "sessions", "revoke", sid)[0] == USAGE
    assert run(app, "sessions", "revoke", sid, "--name", "admin")[0] == DONE
    with app.app_context():
        assert admin.sessions("ann") == []
