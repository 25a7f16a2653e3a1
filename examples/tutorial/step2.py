from typing import Any

from flask import Flask, request
from flask_sqlalchemy import SQLAlchemy
from werkzeug.exceptions import Forbidden
from werkzeug.security import check_password_hash, generate_password_hash

from flask_authx import AuthX, current_token

app = Flask(__name__)
app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite:///app.sqlite3"
app.config["JWT_BLOCKLIST"] = "sqlalchemy://"
app.config.from_prefixed_env()  # FLASK_JWT_SECRET_KEY becomes JWT_SECRET_KEY
db = SQLAlchemy(app)
authx = AuthX(app)

with app.app_context():
    db.create_all()

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


@app.post("/refresh")
@authx.refresh_token_required
def refresh() -> dict[str, Any]:
    token = authx.create_access_token(uid=current_token.sub, login=current_token)
    return {"access_token": token}


@app.delete("/logout")
def logout() -> dict[str, Any]:
    authx.logout()
    return {"logged_out": True}
