"""docs/locations.rst: places for tokens, chosen for one view."""

import secrets
from typing import Any

from flask import Flask

from flask_authx import AuthX, current_token

app = Flask(__name__)
app.config["JWT_SECRET_KEY"] = secrets.token_urlsafe(32)  # new at each start: for this example only
app.config["JWT_TOKEN_LOCATION"] = ["headers", "cookies"]
authx = AuthX(app)


# [view]
@app.get("/download")
@authx.token_required(locations=["query"])
def download() -> dict[str, Any]:
    return {"for": current_token.sub}


# [find]
@app.get("/token")
def token() -> dict[str, Any]:
    found = authx.get_token_from_request()
    return {"found": None if found is None else found.location}
