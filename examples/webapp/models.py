"""What the app keeps. The logins and what revokes them are tables of Flask-AuthX's beside these."""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from werkzeug.security import check_password_hash, generate_password_hash


class Base(DeclarativeBase):
    pass


db = SQLAlchemy(metadata=Base.metadata)

# Whether a name exists can't be told from how long the answer takes.
NOBODY = generate_password_hash("compared with when there is no such user")


def now() -> datetime:
    """SQLite keeps no time zone: all times are in UTC."""
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
    def who_knows(name: str, password: str) -> User | None:
        """The user of that name, if the password is theirs."""
        user = User.named(name)
        right = check_password_hash(NOBODY if user is None else user.password_hash, password)
        return user if right else None


class Note(Base):
    __tablename__ = "note"

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(sa.ForeignKey(User.id), index=True)
    text: Mapped[str] = mapped_column(sa.Text)
    created: Mapped[datetime] = mapped_column(default=now)


class Notice(Base):
    """That a copy of a user's login was used, until they have read it."""

    __tablename__ = "notice"

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(sa.ForeignKey(User.id), index=True)
    created: Mapped[datetime] = mapped_column(default=now)
