"""docs/errors.rst: an answer of the app's own for one of the errors."""

import secrets
from typing import Any

from flask import Flask

from flask_authx import AuthX, TokenExpiredError

app = Flask(__name__)
app.config["JWT_SECRET_KEY"] = secrets.token_urlsafe(32)  # new at each start: for this example only
authx = AuthX(app)


# [handler]
@app.errorhandler(TokenExpiredError)
def on_expired(error: TokenExpiredError) -> tuple[dict[str, str], int, dict[str, str]]:
    return {**error.data, "msg": "please refresh"}, 401, dict(error.get_headers())


# [view]
@app.get("/profile")
@authx.token_required
def profile() -> dict[str, Any]:
    return {}
