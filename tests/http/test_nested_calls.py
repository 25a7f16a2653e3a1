"""What stays as it is where calls are nested: an error's realm, a request's token, a verdict."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, request

from flask_authx import AuthX, Location, RevokedTokenError, current_token, token_accepted
from tests.support import SECRET, bearer
from tests.support.answers import INVALID, NO_CSRF, OK, outcome

OTHER_SECRET = SECRET[::-1]


def test_an_error_keeps_the_realm_of_the_object_that_raised_it() -> None:
    """A callback of one object may call another one."""
    app = Flask("tests")
    app.config["JWT_SECRET_KEY"], app.config["ADMIN_JWT_SECRET_KEY"] = SECRET, OTHER_SECRET
    app.config["JWT_REALM"], app.config["ADMIN_JWT_REALM"] = "users", "admins"
    authx, admin = AuthX(app), AuthX(app, name="admin")

    @authx.set_callback_additional_claims
    def claims(uid: str) -> dict[str, Any]:
        admin.verify_token(uid)
        return {}

    @app.post("/login")
    def login() -> str:
        return authx.create_access_token("no.such.token")

    response = app.test_client().post("/login")
    assert outcome(response) == INVALID
    assert 'realm="admins"' in response.headers["WWW-Authenticate"]


def test_a_token_that_a_hook_has_got_is_its_own() -> None:
    """SECURITY A.4: what is changed there changes no guard, neither its token nor its location."""
    app = Flask("tests")
    app.config["JWT_SECRET_KEY"] = SECRET
    app.config["JWT_TOKEN_LOCATION"] = ["cookies"]
    app.config["JWT_BLOCKLIST"] = "memory://"
    authx = AuthX(app)

    @app.before_request
    def look() -> None:
        found = authx.get_token_from_request()
        if found is not None:
            found.location, found.csrf = Location.HEADERS, "x"

    @app.post("/guarded")
    @authx.token_required
    def guarded() -> str:
        return current_token.sub

    @app.post("/logout")
    def logout() -> str:
        authx.logout()
        return ""

    with app.app_context():
        token = authx.create_access_token("ann")
    client = app.test_client()
    client.set_cookie("__Host-access_token", token, secure=True)
    for path in ("/guarded", "/logout"):
        assert outcome(client.post(path, base_url="https://localhost")) == NO_CSRF


def test_a_guard_looks_at_the_request_as_it_is_now() -> None:
    """A hook of the app may have put another token there."""
    app = Flask("tests")
    app.config["JWT_SECRET_KEY"] = SECRET
    authx = AuthX(app)
    with app.app_context():
        ann, bob = authx.create_access_token("ann"), authx.create_access_token("bob")

    @app.before_request
    def impersonate() -> None:
        authx.get_token_from_request()
        request.environ["HTTP_AUTHORIZATION"] = f"Bearer {bob}"

    @app.get("/guarded")
    @authx.token_required
    def guarded() -> str:
        return current_token.sub

    assert app.test_client().get("/guarded", headers=bearer(ann)).text == "bob"


def test_a_receiver_in_an_async_view_waits_for_an_async_callback_by_itself() -> None:
    app = Flask("tests")
    app.config["JWT_SECRET_KEY"] = SECRET
    authx = AuthX(app)
    seen: list[str] = []

    @authx.set_callback_token_blocklist
    async def is_revoked(token: str) -> bool:
        return token == other

    @app.get("/guarded")
    @authx.token_required
    async def guarded() -> str:
        return ""

    with app.app_context():
        token, other = authx.create_access_token("ann"), authx.create_access_token("ann")

    def accepted(_: Flask, **keywords: Any) -> None:
        request.environ["HTTP_AUTHORIZATION"] = f"Bearer {other}"
        with pytest.raises(RevokedTokenError):
            authx.token_required(lambda: "")()
        seen.append(keywords["jti"])

    with token_accepted.connected_to(accepted, app):
        assert outcome(app.test_client().get("/guarded", headers=bearer(token))) == OK
    assert len(seen) == 1


@pytest.mark.slow
def test_the_verbs_are_imported_before_the_first_request() -> None:
    """Workers share them, and an upgrade under a running worker does not break a log-out."""
    code = f"""
import sys
from flask import Flask
from flask_authx import AuthX
app = Flask("tests")
app.config.update(JWT_SECRET_KEY={SECRET!r}, JWT_BLOCKLIST="memory://", JWT_SESSIONS=True)
AuthX(app)
print(*sorted(name for name in sys.modules if name.startswith("flask_authx.actions.")))
"""
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    verbs = {name.rpartition(".")[2] for name in run.stdout.split()}
    assert {"login", "refresh", "logout", "revoke", "list_sessions", "create_tokens"} <= verbs


@pytest.mark.slow
def test_a_folder_named_redis_is_no_package(tmp_path: Path) -> None:
    """Projects with a server have one, beside the app."""
    (tmp_path / "redis").mkdir()
    code = f"""
import sys
sys.path[:] = [path for path in sys.path if "site-packages" not in path] + sys.path
from importlib.machinery import PathFinder
class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.partition(".")[0] == "redis":
            return super().find_spec(name, path or [{str(tmp_path)!r}], target)
        return super().find_spec(name, path, target)
sys.meta_path[sys.meta_path.index(PathFinder)] = Without
from flask import Flask
from flask_authx import *
app = Flask("tests")
app.config.update(JWT_SECRET_KEY={SECRET!r}, JWT_BLOCKLIST="redis://host/0")
try:
    AuthX(app)
except BadConfigurationError as error:
    print(error)
"""
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert "pip install flask-authx[redis]" in run.stdout
