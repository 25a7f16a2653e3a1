"""Two apps in one process, with a secret each: what the servers of the tests serve."""

from __future__ import annotations

import time

from flask import Flask
from flask_cors import CORS
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from flask_authx import AuthX, current_token
from tests.support import OTHER_SECRET, SECRET


def create_app(secret: str) -> tuple[Flask, AuthX]:
    """An app that looks for tokens wherever a request line or a header can hold one."""
    app = Flask("tests")
    app.config["JWT_SECRET_KEY"] = secret
    app.config["JWT_TOKEN_LOCATION"] = ["headers", "cookies", "query"]
    authx = AuthX(app)
    CORS(app, origins=["https://front.example"], expose_headers=["WWW-Authenticate"])

    @app.route("/whoami", methods=["GET", "POST"])
    @authx.token_required
    def whoami() -> str:
        before = current_token.sub
        # Another request gets its turn here, under threads and under gevent.
        time.sleep(0.0005)
        return before if current_token.sub == before else "two users in one request"

    return app, authx


first, second = create_app(SECRET), create_app(OTHER_SECRET)
#: What a server imports.
application = DispatcherMiddleware(first[0], {"/other": second[0]})
