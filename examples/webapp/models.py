"""The app's tables. Flask-AuthX adds its own for sessions and revocations."""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from werkzeug.security import check_password_hash, generate_password_hash


class Base(DeclarativeBase):
    pass


db = SQLAlchemy(metadata=Base.metadata)

# Compared with if there is no user of that name, so that the time of the answer doesn't show
# whether there is one.
DUMMY_HASH = generate_password_hash("no user has this password")


def now() -> datetime:
    """The time in UTC, without a time zone, since SQLite stores none."""
    return datetime.now(UTC).replace(tzinfo=None)


class User(Base):
    __tablename__ = "user"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(64), unique=True)
    password_hash: Mapped[str] = mapped_column(sa.String(255))

    def set_password(self, password: str) -> None:
        self.password_hash = generate_password_hash(password)

    def has_password(self, password: str) -> bool:
        return check_password_hash(self.password_hash, password)

    @staticmethod
    def named(name: str) -> User | None:
        return db.session.scalar(sa.select(User).where(User.name == name))

    @staticmethod
    def authenticated(name: str, password: str) -> User | None:
        """The user of that name, if the password is right."""
        user = User.named(name)
        right = check_password_hash(DUMMY_HASH if user is None else user.password_hash, password)
        return user if right else None


class Note(Base):
    __tablename__ = "note"

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(sa.ForeignKey(User.id), index=True)
    text: Mapped[str] = mapped_column(sa.Text)
    created: Mapped[datetime] = mapped_column(default=now)


class Notice(Base):
    """A notice for a user that a copy of a session was used. Deleted when the user has read it."""

    __tablename__ = "notice"

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(sa.ForeignKey(User.id), index=True)
    created: Mapped[datetime] = mapped_column(default=now)
