"""docs/sessions.rst: logins that last, and how their owners look after them."""

from typing import Any

from flask import Flask, request
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from werkzeug.exceptions import BadRequest, Forbidden, NotFound
from werkzeug.security import check_password_hash, generate_password_hash

from flask_authx import AuthX, current_token, refresh_reuse_detected


class Base(DeclarativeBase):
    pass


# [settings]
app = Flask(__name__)
app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite:///app.sqlite3"
app.config["JWT_BLOCKLIST"] = "sqlalchemy://"
app.config["JWT_SESSIONS"] = True
app.config.from_prefixed_env()  # FLASK_JWT_SECRET_KEY becomes JWT_SECRET_KEY
db = SQLAlchemy(app, model_class=Base)
authx = AuthX(app)  # after db: it adds two tables to db's


# [rest]
class User(Base):
    __tablename__ = "user"

    name: Mapped[str] = mapped_column(primary_key=True)
    password: Mapped[str]
    role: Mapped[str] = mapped_column(default="reader")
    blocked: Mapped[bool] = mapped_column(default=False)


class Notice(Base):
    __tablename__ = "notice"

    id: Mapped[int] = mapped_column(primary_key=True)
    user: Mapped[str]
    text: Mapped[str]


with app.app_context():
    db.create_all()


@app.get("/profile")
@authx.token_required
def profile() -> dict[str, Any]:
    return {"user": current_token.sub, "role": current_token.claims["role"]}


# [callbacks]
@authx.set_callback_get_model_instance
def load_user(uid: str) -> User | None:
    user = db.session.get(User, uid)
    return None if user is None or user.blocked else user


@authx.set_callback_additional_claims
def role_of(uid: str) -> dict[str, Any]:
    return {"role": db.session.get_one(User, uid).role}


# [login]
@app.post("/login")
def login() -> dict[str, Any]:
    asked = request.get_json()
    user = load_user(str(asked["name"]))
    if user is None or not check_password_hash(user.password, str(asked["password"])):
        raise Forbidden("wrong name or password")
    try:
        return authx.login(user.name, name=asked.get("device")).to_dict()
    except (TypeError, ValueError) as error:
        raise BadRequest("that is no name for a device") from error


@app.post("/refresh")
@authx.public
def refresh() -> dict[str, Any]:
    return authx.refresh().to_dict()


@app.post("/logout")
@authx.public
def logout() -> dict[str, Any]:
    authx.logout()
    return {"logged_out": True}


# [scopes]
@app.post("/refresh-to-read")
def refresh_to_read() -> dict[str, Any]:
    return authx.refresh(scopes=["notes:read"]).to_dict()


# [reuse]
@refresh_reuse_detected.connect_via(app)
def on_reuse(_sender: Flask, *, sub: str, **_ids: Any) -> None:
    db.session.add(Notice(user=sub, text="A copy of your login was used. It is over."))
    db.session.commit()


# [list]
@app.get("/logins")
@authx.token_required
def logins() -> list[dict[str, Any]]:
    listed = authx.sessions(current_token.sub)
    return [{**one.to_dict(), "current": one.sid == current_token.sid} for one in listed]


def own(sid: str) -> str:
    """A sid, if it is one of the user's logins: no call below looks at whose it is."""
    if sid not in {one.sid for one in authx.sessions(current_token.sub)}:
        raise NotFound
    return sid


@app.put("/logins/<sid>")
@authx.token_required
def rename(sid: str) -> dict[str, Any]:
    try:
        authx.name_session(own(sid), request.get_json()["name"])
    except (TypeError, ValueError) as error:
        raise BadRequest("that is no name for a device") from error
    return {"renamed": sid}


@app.delete("/logins/<sid>")
@authx.token_required
def end(sid: str) -> dict[str, Any]:
    authx.revoke_session(own(sid), reason="ended by its owner")
    return {"ended": sid}


@app.delete("/logins")
@authx.token_required
def end_others() -> dict[str, Any]:
    authx.revoke_subject(current_token.sub, keep=current_token.sid)
    return {"kept": current_token.sid}


# [stepup]
@app.post("/confirm")
@authx.token_required
def confirm() -> dict[str, Any]:
    user = db.session.get_one(User, current_token.sub)
    if not check_password_hash(user.password, str(request.get_json()["password"])):
        raise Forbidden("wrong password")
    return {"access_token": authx.reauthenticate(user.name)}


@app.put("/password")
@authx.fresh_token_required(max_age=300)
def change_password() -> dict[str, Any]:
    user = db.session.get_one(User, current_token.sub)
    user.password = generate_password_hash(str(request.get_json()["password"]))
    db.session.commit()  # first: from here on nobody logs in with the old one
    authx.revoke_subject(user.name, keep=current_token.sid, reason="password changed")
    return {"changed": True}
