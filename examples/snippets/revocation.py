"""docs/revocation.rst: everything that takes tokens back."""

import logging
from datetime import timedelta
from typing import Any

from flask import Flask, request
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from werkzeug.exceptions import Forbidden
from werkzeug.security import check_password_hash, generate_password_hash

from flask_authx import AuthX, current_token, session_revoked, subject_revoked


class Base(DeclarativeBase):
    pass


# [store]
app = Flask(__name__)
app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite:///app.sqlite3"
app.config["JWT_BLOCKLIST"] = "sqlalchemy://"
app.config["JWT_AUDIT"] = timedelta(days=365)  # optional: who revoked what, when and why
app.config.from_prefixed_env()  # FLASK_JWT_SECRET_KEY becomes JWT_SECRET_KEY
db = SQLAlchemy(app, model_class=Base)
authx = AuthX(app)  # after db: it adds two tables to db's


# [rest]
class User(Base):
    __tablename__ = "user"

    name: Mapped[str] = mapped_column(primary_key=True)
    password: Mapped[str]
    reset_code: Mapped[str | None]
    blocked: Mapped[bool] = mapped_column(default=False)


with app.app_context():
    db.create_all()

log = logging.getLogger("logins")


@app.get("/profile")
@authx.token_required
def profile() -> dict[str, Any]:
    return {"user": current_token.sub}


# [login]
@app.post("/login")
def login() -> dict[str, Any]:
    asked = request.get_json()
    user = db.session.get(User, str(asked["name"]))
    if user is None:
        raise Forbidden("wrong name or password")
    pair = authx.create_token_pair(uid=user.name, fresh=True)
    db.session.rollback()  # so what is compared below is read after the tokens were made
    if user.blocked or not check_password_hash(user.password, str(asked["password"])):
        raise Forbidden("wrong name or password")
    return pair.to_dict()


# [logout]
@app.delete("/logout")
def logout() -> dict[str, Any]:
    authx.logout()
    return {"logged_out": True}


# [everywhere]
@app.delete("/logins")
@authx.token_required
def logout_everywhere() -> dict[str, Any]:
    authx.revoke_subject(current_token.sub)
    return {"logged_out": "everywhere"}


# [password]
@app.put("/password")
@authx.fresh_token_required
def change_password() -> dict[str, Any]:
    user = db.session.get_one(User, current_token.sub)
    user.password = generate_password_hash(request.get_json()["password"])
    db.session.commit()  # first: a revocation never waits for the app's transaction
    authx.revoke_subject(user.name, keep=current_token.sid, reason="password changed")
    return {"changed": True}


# [reset]
@app.post("/reset")
def reset_password() -> dict[str, Any]:
    asked = request.get_json()
    user = db.session.scalar(select(User).where(User.reset_code == str(asked["code"])))
    if user is None:
        raise Forbidden("this link has been used, or never was one")
    user.password = generate_password_hash(asked["password"])
    db.session.commit()
    authx.revoke_subject(user.name, reason="password reset")
    user.reset_code = None  # last: until here the link can be tried again
    db.session.commit()
    return {"reset": True}


# [block]
@app.post("/users/<name>/block")
@authx.scopes_required("users:block")
def block(name: str) -> dict[str, Any]:
    user = db.get_or_404(User, name)
    user.blocked = True  # the log-in looks at this: nobody is barred by a revocation
    db.session.commit()
    authx.revoke_subject(user.name, reason=request.get_json()["reason"])
    return {"blocked": name}


# [single]
def hand_out_and_take_back() -> tuple[bool, bool]:
    """A token for one purpose, and its end."""
    with app.app_context():
        token = authx.create_access_token("report-server", expiry=timedelta(days=7))
        before = authx.is_revoked(token)
        authx.revoke_token(token, reason="the report is done")
        return before, authx.is_revoked(token)


# [unchecked]
@app.get("/prices")
@authx.token_required(check_revocation=False)
def prices() -> dict[str, Any]:
    return {"coffee": 3}


# [listen]
@session_revoked.connect_via(app)
@subject_revoked.connect_via(app)
def on_revocation(
    _sender: Flask,
    *,
    actor: str | None,
    reason: str | None,
    sid: str | None = None,
    sub: str | None = None,
    **_more: Any,
) -> None:
    log.info("%s ended %s: %s", actor, sub or sid, reason)


# [trail]
def who_ended_logins_of(name: str) -> list[tuple[str | None, str | None]]:
    """Who revoked all logins of a user and why, the latest first."""
    trail = db.metadata.tables["authx_audit"].c
    asked = select(trail.actor, trail.reason).where(trail.kind == "subject", trail.value == name)
    with app.app_context():
        records = db.session.execute(asked.order_by(trail.id.desc()))
        return [(actor, reason) for actor, reason in records]


# [both]
def ask_a_callback_too(authx: AuthX) -> None:
    @authx.set_callback_token_blocklist
    def is_blocked(_token: str, claims: dict[str, Any]) -> bool:
        user = db.session.get(User, claims["sub"])
        return user is None or user.blocked
