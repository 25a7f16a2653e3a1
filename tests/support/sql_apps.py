"""Apps that have a table of their own beside the revocations, in any SQL database."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from flask import Flask
from flask_sqlalchemy import SQLAlchemy

from flask_authx import AuthX, current_token
from tests.support import SECRET, access_token
from tests.support.databases import database_url
from tests.support.spy_store import works

#: A naming convention of an app's.
NAMED = {"pk": "pk_of_%(table_name)s", "ix": "ix_of_%(column_0_label)s"}
KINDS = ("sqlite", "postgresql", "mariadb")


@dataclass(eq=False)
class Site:
    """An app, its database, and a model ``Note(text)``, whose texts are unique.

    :param url: of its default database.
    """

    app: Flask
    authx: AuthX
    db: SQLAlchemy
    Note: Any
    url: str

    def committed(self) -> list[str]:
        """The texts of the notes that others see."""
        return [row[0] for row in self.outside("SELECT text FROM note ORDER BY text")]

    def entries(self) -> int:
        """How many revocations others see, without the mark of the scope."""
        return int(self.outside("SELECT count(*) FROM authx_blocklist WHERE kind <> 3")[0][0])

    def outside(self, statement: str) -> list[Any]:
        """What a statement finds on a new connection; none of the app's."""
        return rows(self.url, statement)

    def write(self, text: str) -> None:
        """Add a note to the session of the current context, and send it to the database."""
        self.db.session.add(self.Note(text=text))
        self.db.session.flush()


def rows(url: str, statement: str) -> list[Any]:
    """What a statement finds on a connection of its own."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        return [*connection.exec_driver_sql(statement)]


def server_time(site: Site) -> int:
    """The time of a database server, in whole seconds."""
    is_postgresql = site.url.startswith("postgresql")
    now = "floor(extract(epoch FROM now()))" if is_postgresql else "UNIX_TIMESTAMP()"
    return int(site.outside(f"SELECT {now}")[0][0])


def records(site: Site) -> list[tuple[Any, ...]]:
    """What the audit trail says, in the order in which it was written, and as others see it."""
    found = site.outside("SELECT * FROM authx_audit ORDER BY id")
    columns = ("at", "instance", "actor", "kind", "value", "keep", "reason")
    return [tuple(getattr(row, column) for column in columns) for row in found]


class SQLApps:
    """Makes apps, and closes what they have opened.

    :param folder: for SQLite's files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._made: list[Site] = []

    def __call__(
        self,
        kind: str,
        *,
        db: SQLAlchemy | None = None,
        tables: bool = True,
        before: Callable[[Flask, SQLAlchemy], object] | None = None,
        authx: AuthX | None = None,
        clock: Callable[[], float] = time.time,
        **config: Any,
    ) -> Site:
        """An app on a database of this kind, or of this URL.

        A slow machine is no fault here: the store may take its time unless a test says otherwise.

        :param tables: whether to make them anew.
        :param before: is called when Flask-SQLAlchemy is set up and AuthX is not.
        """
        url = kind if "://" in kind else database_url(kind, self.folder)
        app = Flask("tests", instance_path=str(self.folder))
        app.config.from_mapping(JWT_SECRET_KEY=SECRET, JWT_STORE_TIMEOUT=10)
        app.config.from_mapping(SQLALCHEMY_DATABASE_URI=url, JWT_BLOCKLIST="sqlalchemy://")
        app.config.from_mapping(config)
        db = SQLAlchemy() if db is None else db
        db.init_app(app)
        if before is not None:
            before(app, db)
        if authx is None:
            authx = AuthX(clock=clock)
        authx.init_app(app)

        @app.get("/guarded")
        @authx.token_required
        def guarded() -> dict[str, str]:
            return {"sub": current_token.sub}

        site = Site(app, authx, db, note_model(db), url)
        self._made.append(site)
        if tables:
            with app.app_context():
                for engine in db.engines.values():
                    _drop_all(engine)
                db.create_all()
        return site

    def close(self) -> None:
        """Close the connections of all apps."""
        for site in self._made:
            with site.app.app_context():
                for engine in site.db.engines.values():
                    engine.dispose()


def _drop_all(engine: sa.Engine) -> None:
    """Drop what a test before this has left, whichever of the tables it had."""
    with engine.begin() as connection:
        for table in ("authx_blocklist", "authx_sessions", "authx_audit", "note"):
            connection.exec_driver_sql(f"DROP TABLE IF EXISTS {table}")


def note_model(db: SQLAlchemy) -> Any:
    """A model of the app's own."""
    base: Any = db.Model
    for mapper in base.registry.mappers:
        if mapper.class_.__name__ == "Note":
            return mapper.class_
    columns = {
        "id": sa.Column(sa.Integer, primary_key=True),
        "text": sa.Column(sa.String(50), unique=True),
    }
    return type("Note", (base,), {"__tablename__": "note", **columns})


def revokes(site: Site) -> bool:
    """Whether a token is good until it is revoked."""
    token = access_token(site.app, site.authx, uuid.uuid4().hex)
    before = works(site.app, token)
    with site.app.app_context():
        site.authx.revoke_token(token)
    return before and not works(site.app, token)


@contextlib.contextmanager
def new_schema(sql_app: SQLApps) -> Generator[str]:
    """A new schema in PostgreSQL, removed when the apps are closed."""
    name = f"tests_{uuid.uuid4().hex[:8]}"
    engine = sa.create_engine(
        database_url("postgresql", sql_app.folder), isolation_level="AUTOCOMMIT"
    )
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE SCHEMA {name}")
        try:
            yield name
        finally:
            sql_app.close()
            connection.exec_driver_sql(f"DROP SCHEMA {name} CASCADE")
    engine.dispose()
