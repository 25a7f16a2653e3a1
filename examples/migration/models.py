"""The tables of the app, before and after."""

from __future__ import annotations

from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from werkzeug.security import generate_password_hash


class Base(DeclarativeBase):
    pass


db = SQLAlchemy(metadata=Base.metadata)


class User(Base):
    __tablename__ = "user"

    name: Mapped[str] = mapped_column(primary_key=True)
    password: Mapped[str]
    role: Mapped[str]


class TokenBlocklist(Base):
    __tablename__ = "token_blocklist"

    id: Mapped[int] = mapped_column(primary_key=True)
    jti: Mapped[str] = mapped_column(index=True)


def make_tables(app: Flask) -> None:
    # A real app has migrations, and other passwords.
    with app.app_context():
        db.create_all()
        if db.session.get(User, "ann") is None:
            password = generate_password_hash("correct horse")
            db.session.add(User(name="ann", password=password, role="editor"))
            db.session.commit()
