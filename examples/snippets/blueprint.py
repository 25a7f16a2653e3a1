"""docs/blueprint.rst: the ready-made views."""

import secrets

from flask import Flask, request
from werkzeug.security import check_password_hash, generate_password_hash

from flask_authx import AuthX

PASSWORDS = {"ann": generate_password_hash("correct horse")}

app = Flask(__name__)
app.config["JWT_SECRET_KEY"] = secrets.token_urlsafe(32)  # new at each start: for this example only
app.config["JWT_BLOCKLIST"] = "memory://"  # for this example only
app.config["JWT_SESSIONS"] = True
app.config["JWT_TOKEN_LOCATION"] = ["headers", "json", "cookies"]
authx = AuthX(app)


# [register]
def authenticate() -> str | None:
    """Who sends this request to log in; ``None`` for nobody."""
    match request.get_json():
        case {"name": str(name), "password": str(password)}:
            return name if check_password_hash(PASSWORDS.get(name, ""), password) else None
        case _:
            return None


app.register_blueprint(authx.blueprint(authenticate=authenticate))
