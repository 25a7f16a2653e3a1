"""docs/signals.rst: an audit trail of refused requests."""

import logging
import secrets
from typing import Any

from flask import Flask

from flask_authx import AuthX, AuthXException, token_refused, token_revoked

app = Flask(__name__)
app.config["JWT_SECRET_KEY"] = secrets.token_urlsafe(32)  # new at each start: for this example only
authx = AuthX(app)
log = logging.getLogger("audit")


# [receivers]
@token_refused.connect_via(app)
def on_refused(_sender: Flask, *, error: AuthXException, sub: str | None, **_ids: Any) -> None:
    log.warning("refused %s (%s) of %s", error.error_type, error.reason, sub)


@token_revoked.connect_via(app)
def on_revoked(_sender: Flask, *, sid: str | None, **_ids: Any) -> None:
    log.warning("somebody still uses the ended login %s", sid)


# [view]
@app.get("/profile")
@authx.token_required
def profile() -> dict[str, Any]:
    return {}
