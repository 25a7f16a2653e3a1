"""Runs the code of docs/signals.md."""

from __future__ import annotations

import re

import pytest
from flask.testing import FlaskClient

from tests.docs.support import page
from tests.support import access_token, bearer


def test_signals(caplog: pytest.LogCaptureFixture) -> None:
    with page("signals") as names:
        client: FlaskClient = names.app.test_client()
        headers = bearer(access_token(names.app, names.authx))
        client.get("/profile")
        with names.app.test_request_context(headers=headers):
            names.authx.logout()
        client.get("/profile", headers=headers)
    said = [record.getMessage() for record in caplog.records if record.name == "audit"]
    missing = "the request has no token in headers"
    assert said[0] == f"refused with MissingTokenError ({missing}), user None"
    assert re.fullmatch(r"user:ann has revoked the session [\w-]{22}", said[1])
    revoked = "the store has a revocation of the token, its session or its user"
    assert said[2] == f"refused with RevokedTokenError ({revoked}), user ann"
    assert re.fullmatch(r"the revoked session [\w-]{22} is still in use", said[3])
