import time
from typing import Any

from flask import Flask, request
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import String
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from werkzeug.exceptions import Forbidden
from werkzeug.security import check_password_hash, generate_password_hash

from flask_authx import AuthX, current_token

app = Flask(__name__)
app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite:///app.sqlite3"
app.config.from_prefixed_env()  # FLASK_JWT_SECRET_KEY becomes JWT_SECRET_KEY
authx = AuthX(app)


class Base(DeclarativeBase):
    pass


db = SQLAlchemy(app, model_class=Base)


class EndedLogin(Base):
    __tablename__ = "ended_login"

    sid: Mapped[str] = mapped_column(String(255), primary_key=True)
    ended_at: Mapped[int]


with app.app_context():
    db.create_all()

USERS = {"ann": generate_password_hash("correct horse")}
NOBODY = generate_password_hash("compared with when there is no such user")


@authx.set_callback_token_blocklist
def is_token_revoked(_token: str, claims: dict[str, Any]) -> bool:
    return db.session.get(EndedLogin, claims["sid"]) is not None


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
@authx.token_required
def logout() -> dict[str, Any]:
    row = insert(EndedLogin).values(sid=current_token.sid, ended_at=int(time.time()))
    db.session.execute(row.on_conflict_do_nothing())  # logging out twice at once is fine
    db.session.commit()
    return {"logged_out": True}
