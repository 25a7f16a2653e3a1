"""The stores in SQL databases: ``sqlalchemy://`` beside a model that is asked through the ORM."""

from __future__ import annotations

import sqlite3
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, ClassVar, TypeAlias

import psycopg
import pymysql
import sqlalchemy as sa

from benchmarks.acceptance import Contender
from flask_authx import Blocklist, SQLAlchemyBlocklist
from flask_authx import Kind as Revoked

from .apps import TIMEOUT, BuiltInSQL, ours_in_sql, theirs_in_sql
from .kinds import OURS, THEIRS, Bench, Kind, Look, lookups, named, untyped
from .mix import Mix
from .servers import databases

Row: TypeAlias = tuple[object, ...]

_OURS = ("key", "expires_at", "kind", "cutoff", "keep", "keep_after")
_THEIRS = ("jti", "created_at")
_KINDS = [*Revoked]
_FIND = "SELECT cutoff, keep, keep_after FROM authx_blocklist WHERE {} IN ({})"


def _rows(mix: Mix) -> Iterator[Row]:
    """What our store writes."""
    for entry in mix.entries:
        kind, keep_after = _KINDS.index(entry.kind), None if entry.keep is None else -1
        yield (entry.key, mix.expires(entry), kind, mix.until(entry), entry.keep, keep_after)


class _SQL(Kind):
    """A kind of SQL database.

    :param places: a URL for ours and one for theirs at each size; they may be the same.
    """

    def __init__(self, bench: Bench, places: Sequence[tuple[sa.URL, sa.URL]]) -> None:
        super().__init__(bench)
        self._places = places
        self._engines = {
            who: sa.create_engine(url, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
            for who, url in zip((OURS, THEIRS), places[-1], strict=True)
        }
        self._tables: dict[str, str] = {}

    def contenders(self) -> Iterator[Contender]:
        """Ours and the peer's at each size, and the look-ups at the largest."""
        keys = self.bench.keys
        for mix, (our_place, their_place) in zip(self.bench.mixes, self._places, strict=True):
            size, now = len(mix.entries), datetime.now()  # noqa: DTZ005 - as its model has it
            ours, theirs = ours_in_sql(keys, our_place), theirs_in_sql(keys, their_place)
            self._fill(ours, our_place, _OURS, _rows(mix))
            self._fill(theirs, their_place, _THEIRS, ((jti, now) for jti in mix.jtis))
            yield ours.guard(named(OURS, self.name, size))
            yield theirs.guard(named(THEIRS, self.name, size))
            self._tables = {OURS: ours.table, THEIRS: theirs.table}
        yield from lookups(self, self._floor(self._places[-1][0]))

    def _fill(
        self, built: BuiltInSQL, place: sa.URL, columns: Sequence[str], rows: Iterator[Row]
    ) -> None:
        built.create()
        self.bench.stack.callback(built.close)
        engine = sa.create_engine(place, poolclass=sa.NullPool)
        connection = engine.raw_connection()
        try:
            self._load(connection, built.table, columns, rows)
            connection.commit()
        finally:
            connection.close()
        self._settle(engine, built.table)

    def _load(
        self, connection: Any, table: str, columns: Sequence[str], rows: Iterator[Row]
    ) -> None:
        cursor = connection.cursor()
        marks = ", ".join([self._mark] * len(columns))
        names = ", ".join(self._quoted(column) for column in columns)
        statement = f"INSERT INTO {table} ({names}) VALUES ({marks})"
        while batch := [*islice(rows, 20_000)]:
            cursor.executemany(statement, batch)
            connection.commit()
        cursor.close()

    #: How the driver marks a parameter.
    _mark: ClassVar[str] = "%s"

    def _quoted(self, column: str) -> str:
        return column

    def _settle(self, engine: sa.Engine, table: str) -> None:
        """Do what the server would do by itself sooner or later, so that it isn't while timed."""

    def store(self) -> Blocklist:
        """Our store object on the largest."""
        store = SQLAlchemyBlocklist(sa.create_engine(self._places[-1][0]), timeout=TIMEOUT)
        self.bench.stack.callback(store.close)
        return store

    def weights(self) -> Mapping[str, float]:
        """Bytes an entry with all indexes."""
        size = self.bench.sizes[-1]
        return {who: self._bytes(who, table) / size for who, table in self._tables.items()}

    def _scalar(self, who: str, *statements: str) -> Any:
        """What the last of some statements says."""
        with self._engines[who].connect() as connection:
            answers = [connection.exec_driver_sql(one).scalar() for one in statements]
        return answers[-1]

    @abstractmethod
    def _bytes(self, who: str, table: str) -> int: ...

    @abstractmethod
    def _floor(self, place: sa.URL) -> Look:
        """The same statement, by the driver."""


class SQLite(_SQL):
    """A file in WAL mode for each."""

    name = "SQLite"
    group = "SQLite"
    bar = 0.10
    bytes_bar = 70
    _mark = "?"

    def __init__(self, bench: Bench) -> None:
        places = [
            tuple(
                sa.URL.create("sqlite", database=str(bench.folder / f"{whose}-{size}.db"))
                for whose in ("ours", "theirs")
            )
            for size in bench.sizes
        ]
        super().__init__(bench, [(ours, theirs) for ours, theirs in places])

    def version(self) -> str:
        """The library's."""
        return f"SQLite {sqlite3.sqlite_version}"

    def _load(
        self, connection: Any, table: str, columns: Sequence[str], rows: Iterator[Row]
    ) -> None:
        cursor = connection.cursor()
        for setting in ("journal_mode = WAL", "cache_size = -262144", "synchronous = OFF"):
            cursor.execute(f"PRAGMA {setting}")
        cursor.close()
        super()._load(connection, table, columns, rows)

    def _bytes(self, who: str, table: str) -> int:
        self._scalar(who, "PRAGMA wal_checkpoint(TRUNCATE)")
        size: int = self._scalar(
            who, "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
        )
        return size

    def _floor(self, place: sa.URL) -> Look:
        connection = sqlite3.connect(str(place.database), isolation_level=None)
        self.bench.stack.callback(connection.close)
        statement = _FIND.format("key", "?, ?, ?, ?")
        return lambda keys: connection.execute(statement, keys).fetchall()


class _Server(_SQL):
    _variable: ClassVar[str]
    _default: ClassVar[str]

    def __init__(self, bench: Bench) -> None:
        names = [str(size) for size in bench.sizes]
        urls = bench.stack.enter_context(databases(self._variable, self._default, names))
        super().__init__(bench, [(url, url) for url in urls])


class PostgreSQL(_Server):
    """A database for each size, on the server of ``TEST_POSTGRES_URL``."""

    name = "PostgreSQL"
    group = "PostgreSQL"
    bar = 0.20
    bytes_bar = 165
    _variable = "TEST_POSTGRES_URL"
    _default = "postgresql+psycopg://root@127.0.0.1/test"

    def version(self) -> str:
        """The server's."""
        return f"PostgreSQL {self._scalar(OURS, 'SHOW server_version')}".split(" (")[0]

    def _load(
        self, connection: Any, table: str, columns: Sequence[str], rows: Iterator[Row]
    ) -> None:
        into = f"COPY {table} ({', '.join(columns)}) FROM STDIN"
        with connection.cursor() as cursor, cursor.copy(into) as copy:
            for row in rows:
                copy.write_row(row)

    def _settle(self, engine: sa.Engine, table: str) -> None:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql(f"VACUUM ANALYZE {table}")

    def _bytes(self, who: str, table: str) -> int:
        size: int = self._scalar(who, f"SELECT pg_total_relation_size('{table}')")
        return size

    def _floor(self, place: sa.URL) -> Look:
        plain = place.set(drivername="postgresql")
        connection = psycopg.connect(
            plain.render_as_string(hide_password=False), autocommit=True, prepare_threshold=0
        )
        self.bench.stack.callback(connection.close)
        cursor = connection.cursor(binary=True)
        statement = untyped(_FIND.format("key", "%s, %s, %s, %s"))
        return lambda keys: cursor.execute(statement, keys, prepare=True).fetchall()


class MariaDB(_Server):
    """A database for each size, on the server of ``TEST_MARIADB_URL``."""

    name = "MariaDB"
    group = "MariaDB"
    _variable = "TEST_MARIADB_URL"
    _default = "mysql+pymysql://root@127.0.0.1/test"

    def version(self) -> str:
        """The server's."""
        return f"MariaDB {self._scalar(OURS, 'SELECT VERSION()')}".split("-")[0]

    def _quoted(self, column: str) -> str:
        return f"`{column}`"

    def _settle(self, engine: sa.Engine, table: str) -> None:
        with engine.connect() as connection:
            connection.exec_driver_sql(f"ANALYZE TABLE {table}")

    def _bytes(self, who: str, table: str) -> int:
        size: int = self._scalar(
            who,
            "SELECT data_length + index_length FROM information_schema.tables "
            f"WHERE table_schema = DATABASE() AND table_name = '{table}'",
        )
        return size

    def _floor(self, place: sa.URL) -> Look:
        connection = pymysql.connect(
            host=place.host,
            port=place.port or 3306,
            user=place.username,
            password=place.password or "",
            database=place.database,
            autocommit=True,
        )
        self.bench.stack.callback(connection.close)
        cursor = connection.cursor()
        statement = _FIND.format("`key`", "%s, %s, %s, %s")

        def look(keys: Sequence[bytes]) -> object:
            cursor.execute(statement, tuple(keys))
            return cursor.fetchall()

        return look
