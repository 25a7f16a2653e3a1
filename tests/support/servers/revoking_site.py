"""An app that logs in, refreshes and revokes on request, for the tests of several processes."""

from __future__ import annotations

import json
import os
from typing import Any

from flask import Flask, Response, request
from flask_sqlalchemy import SQLAlchemy

from flask_authx import AuthX, current_token

from .session_site import SETTINGS


def create_app(settings: dict[str, Any]) -> Flask:
    """The app. Every response names the process that sent it, in ``X-Worker``.

    Any client may revoke anything: authorization is not what is tested.
    """
    app = Flask("tests")
    app.config.from_mapping(settings)
    if "SQLALCHEMY_DATABASE_URI" in settings:
        SQLAlchemy(app)
    authx = AuthX(app)

    @app.after_request
    def sign(response: Response) -> Response:
        response.headers["X-Worker"] = str(os.getpid())
        return response

    @app.get("/worker")
    def worker() -> str:
        return ""

    @app.post("/login/<sub>")
    def login(sub: str) -> list[str]:
        pair = authx.create_token_pair(sub)
        return [pair.access_token, pair.refresh_token]

    @app.post("/refresh")
    @authx.refresh_token_required
    def refresh() -> list[str]:
        return [authx.create_access_token(current_token.sub, login=current_token)]

    @app.get("/guarded")
    @authx.token_required
    def guarded() -> str:
        return current_token.sub

    # The response to each comes after the revocation has returned.

    @app.post("/revoke/token")
    def revoke_token() -> str:
        authx.revoke_token(authx.get_token_from_request(optional=False))
        return ""

    @app.post("/revoke/session/<sid>")
    def revoke_session(sid: str) -> str:
        authx.revoke_session(sid)
        return ""

    @app.post("/revoke/subject/<sub>")
    def revoke_subject(sub: str) -> str:
        authx.revoke_subject(sub, keep=request.args.get("keep"))
        return ""

    return app


def application() -> Flask:
    """What a server calls in each of its processes."""
    return create_app(json.loads(os.environ[SETTINGS]))
