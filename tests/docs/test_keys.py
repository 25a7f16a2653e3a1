"""Runs the code of docs/keys.md."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest
from flask import Flask

from flask_authx import AuthX, BadConfigurationError, current_token
from tests.docs.support import DOCS, page
from tests.support import OTHER_SECRET, SECRET, access_token, bearer
from tests.support.answers import INVALID, OK, Outcome, outcome


def response_to(token: str, app: Flask, authx: AuthX) -> Outcome:
    """The outcome of a request with the token to a guarded view of the app."""
    if "index" not in app.view_functions:

        @app.get("/")
        @authx.token_required
        def index() -> dict[str, str]:
            return {"user": current_token.sub}

    return outcome(app.test_client().get("/", headers=bearer(token)))


def with_secret(secret: str) -> tuple[Flask, AuthX]:
    app = Flask(__name__)
    app.config["JWT_SECRET_KEY"] = secret
    return app, AuthX(app)


def test_keys_in_pairs() -> None:
    with page("keys") as names:
        token = access_token(names.issuer, names.authx)
        assert response_to(token, names.verifier, names.authx) == OK
        with pytest.raises(BadConfigurationError, match="JWT_PRIVATE_KEY"):
            access_token(names.verifier, names.authx)
        for accepted in (token, access_token(*with_secret(SECRET))):
            assert response_to(accepted, names.app, names.authx) == OK
        assert response_to(access_token(*with_secret(OTHER_SECRET)), names.app, names.authx) == (
            INVALID
        )


def rotated(
    names: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, new: str, old: str
) -> tuple[Flask, AuthX]:
    """The page's app with the settings that its section about rotation sets."""
    section = (DOCS / "keys.md").read_text("utf-8").partition("## Rotate keys")[2]
    settings = re.findall(r'^export (\w+)="the (new|old) secret"$', section, re.MULTILINE)
    assert [which for _, which in settings] == ["new", "old"]
    for name, which in settings:
        monkeypatch.setenv(name, {"new": new, "old": old}[which])
    return names.create_app(), names.authx


def test_keys_rotate_and_sessions_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = (access_token(*with_secret(secret)) for secret in (SECRET, OTHER_SECRET))
    with page("keys") as names:
        assert response_to(old, names.create_app(), names.authx) == OK
        assert response_to(old, *rotated(names, monkeypatch, OTHER_SECRET, SECRET)) == OK
        assert response_to(new, *rotated(names, monkeypatch, OTHER_SECRET, SECRET)) == OK
        assert response_to(old, *with_secret(OTHER_SECRET)) == INVALID
        # The order for several processes: first only verified with, then signed with.
        assert response_to(new, *rotated(names, monkeypatch, SECRET, OTHER_SECRET)) == OK
