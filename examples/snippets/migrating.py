"""docs/migrating.rst: the table that an app kept for Flask-JWT-Extended, beside a store."""

from typing import Any

from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from flask_authx import AuthX, current_token


class Base(DeclarativeBase):
    pass


app = Flask(__name__)
app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite:///app.sqlite3"
app.config["JWT_BLOCKLIST"] = "sqlalchemy://"
app.config["JWT_ACCEPT_UNTYPED"] = True
app.config.from_prefixed_env()
db = SQLAlchemy(app, model_class=Base)
authx = AuthX(app)


class TokenBlocklist(Base):
    __tablename__ = "token_blocklist"

    id: Mapped[int] = mapped_column(primary_key=True)
    jti: Mapped[str] = mapped_column(index=True)


with app.app_context():
    db.create_all()


@app.get("/profile")
@authx.token_required
def profile() -> dict[str, Any]:
    return {"user": current_token.sub}


@app.delete("/logout")
def logout() -> dict[str, Any]:
    authx.logout()
    return {"logged_out": True}


# [both]
@authx.set_callback_token_blocklist
def is_in_the_old_table(_token: str, claims: dict[str, Any]) -> bool:
    found = select(TokenBlocklist.id).where(TokenBlocklist.jti == claims["jti"])
    return db.session.scalar(found) is not None
