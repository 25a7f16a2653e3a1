"""The kinds of stores: filled with few logins and with many, in places of the benchmark's own."""

from __future__ import annotations

import platform
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import sqlalchemy as sa

from benchmarks.stores.apps import TIMEOUT
from benchmarks.stores.servers import databases
from flask_authx import MemoryBlocklist, MemorySessions, SQLAlchemyBlocklist, SQLAlchemySessions

from .apps import App, Stores
from .counting import Tap
from .logins import Logins, Row

#: Rows that are sent together.
_BATCH = 20_000


@dataclass
class Bench:
    """What all kinds share in a run.

    :param stack: ends everything that a kind starts.
    :param folder: is removed at the end.
    :param sizes: the numbers of logins, the largest last.
    """

    stack: ExitStack
    folder: Path
    sizes: Sequence[int]

    def tap(self, host: str, port: int) -> Tap:
        """A line to a server."""
        tap = Tap(host, port)
        self.stack.callback(tap.close)
        return tap


class Kind(ABC):
    """A kind of store.

    :raises AbsentError: if what it needs isn't there.
    """

    name: ClassVar[str]
    #: Whether it is for so many logins that it matters how many.
    grows: ClassVar[bool] = True

    def __init__(self, bench: Bench) -> None:
        self.bench = bench

    @property
    def sizes(self) -> Sequence[int]:
        """The numbers of logins that it is filled with."""
        return self.bench.sizes if self.grows else self.bench.sizes[:1]

    @abstractmethod
    def version(self) -> str:
        """What runs the store."""

    @abstractmethod
    def settings(self, place: int) -> Mapping[str, object]:
        """How an app names the store that is to hold the logins of a size."""

    @abstractmethod
    def fill(self, app: App, place: int, logins: Logins) -> None:
        """Put them in, in the store's own format."""

    @abstractmethod
    def counted(self) -> tuple[Stores, Tap | None]:
        """Store objects on the smallest, and the line to their server if there is one."""


class Memory(Kind):
    """The memory of this process."""

    name = "memory"
    grows = False

    def version(self) -> str:
        """Python's own."""
        return f"Python {platform.python_version()}"

    def settings(self, place: int) -> Mapping[str, object]:
        """Its URL."""
        return {"JWT_BLOCKLIST": "memory://"}

    def fill(self, app: App, place: int, logins: Logins) -> None:
        """Nothing: more of a dict makes no difference."""

    def counted(self) -> tuple[Stores, Tap | None]:
        """New ones."""
        return Stores(MemoryBlocklist(), MemorySessions()), None


class SQL(Kind):
    """A kind of SQL database.

    :param urls: one for each size.
    """

    def __init__(self, bench: Bench, urls: Sequence[sa.URL]) -> None:
        super().__init__(bench)
        self._urls = urls

    def settings(self, place: int) -> Mapping[str, object]:
        """Its URL, for Flask-SQLAlchemy."""
        return {"SQLALCHEMY_DATABASE_URI": self._urls[place], "JWT_BLOCKLIST": "sqlalchemy://"}

    def fill(self, app: App, place: int, logins: Logins) -> None:
        """Make the tables and put the logins in."""
        if app.db is None:
            raise TypeError("an app without a database")
        with app.app.app_context():
            app.db.create_all()
        app.trust_older()
        self.bench.stack.callback(app.close)
        engine = sa.create_engine(self._urls[place], poolclass=sa.NullPool)
        with engine.connect() as connection:
            self._load(connection, app.db.metadata.tables["authx_sessions"], map(_values, logins))
            connection.commit()
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql(self._settle)

    #: Does what the server would do by itself sooner or later, so that it isn't while timed.
    _settle: ClassVar[str]

    def _load(
        self, connection: sa.Connection, table: sa.Table, rows: Iterator[Mapping[str, object]]
    ) -> None:
        for batch in _batches(rows):
            connection.execute(sa.insert(table), batch)

    def counted(self) -> tuple[Stores, Tap | None]:
        """On a line that is counted, if there is a server."""
        url, tap = self._urls[0], None
        if url.host is not None:
            tap = self.bench.tap(url.host, url.port or self._port)
            url = url.set(host="127.0.0.1", port=tap.port)
        engine = sa.create_engine(url)
        blocklist = SQLAlchemyBlocklist(engine, timeout=TIMEOUT)
        sessions = SQLAlchemySessions(engine, timeout=TIMEOUT)
        for store in (blocklist, sessions):
            self.bench.stack.callback(store.close)
        return Stores(blocklist, sessions), tap

    _port: ClassVar[int] = 0

    def _said(self, statement: str) -> str:
        engine = sa.create_engine(self._urls[0], poolclass=sa.NullPool)
        with engine.connect() as connection:
            return str(connection.exec_driver_sql(statement).scalar())


class SQLite(SQL):
    """A file in WAL mode for each size."""

    name = "SQLite"
    _settle = "PRAGMA wal_checkpoint(TRUNCATE)"

    def __init__(self, bench: Bench) -> None:
        files = [str(bench.folder / f"logins-{size}.db") for size in bench.sizes]
        super().__init__(bench, [sa.URL.create("sqlite", database=file) for file in files])

    def version(self) -> str:
        """The library's."""
        return f"SQLite {sqlite3.sqlite_version}"

    def _load(
        self, connection: sa.Connection, table: sa.Table, rows: Iterator[Mapping[str, object]]
    ) -> None:
        for setting in ("journal_mode = WAL", "cache_size = -262144", "synchronous = OFF"):
            connection.exec_driver_sql(f"PRAGMA {setting}")
        super()._load(connection, table, rows)


class Server(SQL):
    """A database for each size, on a server that an environment variable names."""

    _variable: ClassVar[str]
    _default: ClassVar[str]

    def __init__(self, bench: Bench) -> None:
        names = [f"logins_{size}" for size in bench.sizes]
        urls = bench.stack.enter_context(databases(self._variable, self._default, names))
        super().__init__(bench, urls)


class PostgreSQL(Server):
    """On the server of ``TEST_POSTGRES_URL``."""

    name = "PostgreSQL"
    _variable = "TEST_POSTGRES_URL"
    _default = "postgresql+psycopg://root@127.0.0.1/test"
    _port = 5432
    _settle = "VACUUM ANALYZE authx_sessions"

    def version(self) -> str:
        """The server's."""
        return f"PostgreSQL {self._said('SHOW server_version')}".split(" (")[0]

    def _load(
        self, connection: sa.Connection, table: sa.Table, rows: Iterator[Mapping[str, object]]
    ) -> None:
        columns = [column.name for column in table.columns]
        into = f"COPY {table.name} ({', '.join(columns)}) FROM STDIN"
        driver: Any = connection.connection.cursor()
        with driver as cursor, cursor.copy(into) as copy:
            for row in rows:
                copy.write_row([row[name] for name in columns])
        # SQLAlchemy does not know that there is anything to commit.
        connection.connection.commit()


class MariaDB(Server):
    """On the server of ``TEST_MARIADB_URL``."""

    name = "MariaDB"
    _variable = "TEST_MARIADB_URL"
    _default = "mysql+pymysql://root@127.0.0.1/test"
    _port = 3306
    _settle = "ANALYZE TABLE authx_sessions"

    def version(self) -> str:
        """The server's."""
        return f"MariaDB {self._said('SELECT VERSION()')}".split("-", maxsplit=1)[0]


def _values(row: Row) -> dict[str, object]:
    """What our store writes."""
    session = row.session
    return {
        "key": row.key,
        "subject": row.subject,
        "sid": session.sid,
        "sub": session.sub,
        "began": session.began,
        "epoch": session.epoch,
        "ends": session.ends,
        "generation": session.generation,
        "rotated_at": session.rotated_at,
        "last_seen": session.last_seen,
        "expires_at": session.expires,
        "user_agent": session.user_agent,
        "address": session.address,
        "name": session.name,
    }


def _batches(rows: Iterable[Mapping[str, object]]) -> Iterator[list[Mapping[str, object]]]:
    rest = iter(rows)
    while batch := [*islice(rest, _BATCH)]:
        yield batch
