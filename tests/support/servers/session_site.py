"""An app whose sessions are kept in rows, for the tests of several processes."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

from flask import Flask, Response, request
from flask_sqlalchemy import SQLAlchemy

from flask_authx import AuthX, TokenPair, current_token

#: The variable that holds the app's settings as JSON.
SETTINGS = "AUTHX_TEST_SETTINGS"
#: The header that says at which point of a refresh the process is to kill itself.
KILL = "X-Kill"


def create_app(settings: dict[str, Any]) -> Flask:
    """The app. Every response names the process that sent it, in ``X-Worker``.

    Any client may revoke anything: authorization is not what is tested.
    """
    app = Flask("tests")
    app.config.from_mapping(settings)
    if "SQLALCHEMY_DATABASE_URI" in settings:
        SQLAlchemy(app)
    authx = AuthX(app)
    kill_on_request(app, authx)

    @app.get("/worker")
    def worker() -> str:
        return ""

    @app.post("/login/<sub>")
    def login(sub: str) -> dict[str, Any]:
        return shown(authx, sub, authx.login(sub))

    @app.post("/refresh")
    def refresh() -> dict[str, Any]:
        pair = authx.refresh()
        return shown(authx, authx.decode_token(pair.refresh_token).sub, pair)

    @app.get("/guarded")
    @authx.token_required
    def guarded() -> str:
        return current_token.sub

    @app.get("/rows/<sub>")
    def rows(sub: str) -> dict[str, Any]:
        return {"rows": rows_of(authx, sub)}

    # The response to each comes after the session is revoked.

    @app.post("/logout")
    def logout() -> str:
        authx.logout()
        return ""

    @app.post("/revoke/session/<sid>")
    def revoke_session(sid: str) -> str:
        authx.revoke_session(sid)
        return ""

    @app.post("/revoke/subject/<sub>")
    def revoke_subject(sub: str) -> str:
        authx.revoke_subject(sub)
        return ""

    return app


def kill_on_request(app: Flask, authx: AuthX) -> None:
    """Let a request end its process as ``kill -9`` does: nothing is tidied up, nothing is sent."""

    def die_if(point: str) -> None:
        if request.headers.get(KILL) == point:
            os.kill(os.getpid(), signal.SIGKILL)

    @authx.set_callback_additional_claims
    def claims(uid: str) -> dict[str, Any]:
        die_if("minting")
        return {}

    @app.after_request
    def sign(response: Response) -> Response:
        die_if("answering")
        response.headers["X-Worker"] = str(os.getpid())
        return response


def shown(authx: AuthX, sub: str, pair: TokenPair) -> dict[str, Any]:
    """Tokens, and what the user's rows say right after they were made."""
    return {
        "access": pair.access_token,
        "refresh": pair.refresh_token,
        "rows": rows_of(authx, sub),
    }


def rows_of(authx: AuthX, sub: str) -> list[Any]:
    """The generation and the last client of each of a user's sessions."""
    return [[row.generation, row.user_agent] for row in authx.sessions(sub)]


def application() -> Flask:
    """What a server calls in each of its processes."""
    return create_app(json.loads(os.environ[SETTINGS]))
