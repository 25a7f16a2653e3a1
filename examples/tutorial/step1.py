from typing import Any

from flask import Flask, request
from werkzeug.exceptions import Forbidden
from werkzeug.security import check_password_hash, generate_password_hash

from flask_authx import AuthX, current_token

app = Flask(__name__)
app.config.from_prefixed_env()  # FLASK_JWT_SECRET_KEY becomes JWT_SECRET_KEY
authx = AuthX(app)

USERS = {"ann": generate_password_hash("correct horse")}
NOBODY = generate_password_hash("compared with when there is no such user")


def knows(name: str, password: str) -> bool:
    return check_password_hash(USERS.get(name, NOBODY), password)


@app.post("/login")
def login() -> dict[str, Any]:
    match request.get_json():
        case {"username": str(name), "password": str(password)} if knows(name, password):
            return authx.create_token_pair(uid=name, fresh=True).to_dict()
        case _:
            raise Forbidden("wrong name or password")


@app.get("/profile")
@authx.token_required
def profile() -> dict[str, Any]:
    return {"user": current_token.sub}
