"""Rows of revoked sessions, and stores of two kinds beside each other."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask

from flask_authx import AuthX, MemorySessions, StoreBusyError
from flask_authx.cli import authx as group
from tests.support import SECRET, Clock
from tests.support.answers import REVOKED, outcome
from tests.support.browsers import FrailSessions
from tests.support.session_sites import site
from tests.support.spy_store import SpyStore


def test_a_revocation_of_all_sessions_removes_the_rows_of_the_revoked_ones() -> None:
    """A row describes its user's device, and is not needed any more."""
    here = site()
    pairs = [here.log_in() for _ in range(3)]
    others = here.log_in("bob")
    with here.app.app_context():
        here.authx.revoke_subject("ann", keep=here.sid(pairs[1]))
    assert [here.is_kept(pair) for pair in pairs] == [False, True, False]
    assert here.is_kept(others)


@pytest.mark.parametrize("failing", ["of", "end"])
def test_a_session_is_revoked_though_its_row_cannot_be_removed(failing: str) -> None:
    here = site()
    pair = here.log_in()
    here.logins.fail(failing, error=StoreBusyError("busy"))
    with here.app.app_context():
        here.authx.revoke_subject("ann")
    here.logins.heal()
    assert here.is_kept(pair)
    assert here.listed() == []
    assert outcome(here.ask(pair.refresh_token)) == REVOKED


def app_with(blocklist: Any, sessions: Any) -> tuple[Flask, AuthX]:
    app = Flask("tests")
    app.config["JWT_SECRET_KEY"] = SECRET
    return app, AuthX(app, blocklist=blocklist, sessions=sessions, clock=Clock())


@pytest.mark.parametrize("arguments", [["sessions", "ann"], ["sessions", "revoke", "a"], ["prune"]])
def test_a_command_refuses_sessions_in_the_memory_of_each_process(arguments: list[str]) -> None:
    app, _ = app_with(SpyStore(), MemorySessions())
    done = app.test_cli_runner().invoke(group, arguments)
    assert done.exit_code == 1, done.output
    assert "JWT_SESSIONS keeps sessions in the memory of each process" in done.stderr


def test_several_processes_with_sessions_of_their_own_are_warned() -> None:
    app, _ = app_with(SpyStore(), MemorySessions())
    with pytest.warns(RuntimeWarning, match="JWT_SESSIONS keeps sessions in the memory of each"):
        app.test_client().get("/", environ_overrides={"wsgi.multiprocess": True})


def test_each_store_is_pruned_with_a_line_of_its_own() -> None:
    clock = Clock()
    app, authx = app_with(SpyStore(), FrailSessions(clock))
    with app.app_context():
        authx.login("ann")
    done = app.test_cli_runner().invoke(group, ["prune"])
    assert done.stdout == "Removed 0 expired revocations.\nRemoved 0 expired sessions.\n"
