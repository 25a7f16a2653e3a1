"""An app that looks for tokens in JSON bodies, and for CSRF values in forms."""

from __future__ import annotations

from flask import Flask, request

from flask_authx import AuthX
from tests.support import SECRET

#: The longest JSON body in bytes that is searched for a token.
LIMIT = 8 * 8192


def create_app() -> tuple[Flask, AuthX]:
    app = Flask("tests")
    app.config["JWT_SECRET_KEY"] = SECRET
    app.config["JWT_TOKEN_LOCATION"] = ["headers", "cookies", "json"]
    app.config["JWT_CSRF_CHECK_FORM"] = True
    authx = AuthX(app)

    @app.post("/read")
    @authx.token_required
    def read() -> str:
        return str(len(request.get_data()))

    app.post("/unread")(authx.token_required(lambda: ""))
    app.post("/optional", endpoint="optional")(authx.optional_token(lambda: ""))
    return app, authx


site = create_app()
#: What a server imports.
application = site[0]
