"""Runs the code of docs/outside-requests.md."""

from __future__ import annotations

import time

import pytest
import time_machine

from flask_authx import RevokedTokenError
from tests.docs.support import page
from tests.support import access_token, bearer
from tests.support.answers import Outcome, Spy, outcome


def test_outside_of_requests() -> None:
    with page("outside-requests") as names:
        raw = access_token(names.app, names.authx, scopes=["reports:write"])
        assert names.on_connect({"token": raw}).startswith("hello ann, until ")
        assert names.on_connect({"token": "x"}) == "closed: JWTDecodeError"
        assert names.on_connect({}) == "closed: JWTDecodeError"
        assert names.run_report(raw) == "report for ann"
        names.authx.set_callback_token_blocklist(Spy(True))
        with pytest.raises(RevokedTokenError):
            names.run_report(raw)
        assert names.who_is_it(raw).startswith("access token of ann, session ")


def test_a_task_gets_the_subject_of_a_checked_token() -> None:
    with page("outside-requests") as names:
        client = names.app.test_client()
        plain = bearer(access_token(names.app, names.authx))
        allowed = bearer(access_token(names.app, names.authx, scopes=["reports:write"]))
        refused = outcome(client.post("/reports", headers=plain))
        assert refused == Outcome(403, "InsufficientScopeError")
        assert outcome(client.post("/reports", headers=allowed)) == Outcome(202)
        assert names.tasks.get_nowait() == "ann"
        assert names.tasks.empty()


def test_an_expired_token_ends_its_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLASK_JWT_BLOCKLIST", "memory://")
    with page("outside-requests") as names:
        raw = access_token(names.app, names.authx)
        assert names.end_session_of(raw) == "valid until now"
        with pytest.raises(RevokedTokenError):
            names.run_report(raw)
        with time_machine.travel(time.time() + 86400):
            assert names.end_session_of(raw) == "expired"
