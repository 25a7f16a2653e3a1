"""docs/signals.rst: a log of refused requests and of revocations."""

import logging
import secrets
from typing import Any

from flask import Flask

from flask_authx import (
    AuthX,
    AuthXException,
    revoked_token_used,
    session_revoked,
    token_refused,
)

app = Flask(__name__)
app.config["JWT_SECRET_KEY"] = secrets.token_urlsafe(32)  # new at each start: for this example only
app.config["JWT_BLOCKLIST"] = "memory://"
authx = AuthX(app)
log = logging.getLogger("audit")


# [receivers]
@token_refused.connect_via(app)
def on_refused(_sender: Flask, *, error: AuthXException, sub: str | None, **_ids: Any) -> None:
    log.warning("refused %s (%s) of %s", error.error_type, error.reason, sub)


@revoked_token_used.connect_via(app)
def on_revoked_token(_sender: Flask, *, sid: str | None, **_ids: Any) -> None:
    log.warning("somebody still uses the ended login %s", sid)


@session_revoked.connect_via(app)
def on_revocation(_sender: Flask, *, sid: str, actor: str | None, **_more: Any) -> None:
    log.warning("%s has ended the login %s", actor, sid)


# [view]
@app.get("/profile")
@authx.token_required
def profile() -> dict[str, Any]:
    return {}
