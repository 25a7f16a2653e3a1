"""Sessions in an SQL database: SQLite, PostgreSQL, MariaDB and MySQL."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.exc import DataError

from flask_authx.stores.base import MAX_CONNECTIONS, MICROSECONDS, StoreBusyError, system_clock
from flask_authx.stores.session_store import NewSession, Session, Visit

from .connections import Connections, StoreConnection
from .rows import Query, RowStore, delete_rows
from .tables import SESSION_WORDING, sessions_table
from .uncommitted_writes import OwnWrites

T = TypeVar("T")

#: The columns of a :class:`Session`, with the attributes of other names.
_COLUMNS = (
    *("sid", "sub", "began", "epoch", "name", "generation", "rotated_at"),
    *("last_seen", "expires_at", "ends", "user_agent", "address"),
)
#: For each row of a limited list, how many of the subject's rows are searched.
_SEARCHED = 10
_LAST = "SELECT * FROM ({} LIMIT {:d}) AS found ORDER BY ends DESC LIMIT {:d}"
_ATTRIBUTES = tuple("expires" if name == "expires_at" else name for name in _COLUMNS)


class SQLAlchemySessions(RowStore):
    """Stores sessions in the table ``authx_sessions``, as durably as the database commits.

    The store has its own connections, as :class:`SQLAlchemyBlocklist` has, and for an in-memory
    SQLite database it creates one of its own. The texts of a row have at most 255 characters.

    :param engine: how to connect; its own connections are not used.
    :param metadata: where the table is defined, for migrations; by default a new one. The table
        must exist in the database: ``sessions.table.create(engine)`` creates it.
    :param timeout: the seconds after which a call fails.
    :param connections: how many a process may hold; stores with the same engine, timeout and number
        share them.
    :param own_writes: a function that returns the state of the caller's own transaction in the same
        SQLite file. If that has uncommitted writes, the methods that write raise
        :exc:`UncommittedWritesError`.
    :param clock: seconds since 1970-01-01 UTC, for SQLite. A server has its own clock.
    :raises BadConfigurationError: if the database is not SQLite, PostgreSQL, MariaDB or MySQL.
    """

    def __init__(  # noqa: PLR0913 - each by its name
        self,
        engine: sa.Engine,
        *,
        metadata: sa.MetaData | None = None,
        timeout: float = 0.25,
        connections: int = MAX_CONNECTIONS,
        own_writes: OwnWrites | None = None,
        clock: Callable[[], float] = system_clock,
    ) -> None:
        table = sessions_table(metadata or sa.MetaData())
        shared = Connections.shared(engine, timeout, connections)
        super().__init__(shared, table, SESSION_WORDING, own_writes, clock)
        self._get = self._query("key")
        self._of = self._query("subject")
        self._open = _insert_if_new(engine.dialect.name, table, self._time.seconds)

    def _query(self, name: str) -> Query:
        key = self.table.c[name]
        wanted = sa.bindparam("wanted", type_=key.type)
        columns = [self.table.c[column] for column in _COLUMNS]
        if not self._time.of_machine:
            columns.append(self._time.seconds)
        query = sa.select(*columns)
        return Query(self._connections.engine, query.where(key == wanted), ("wanted",))

    def open(self, key: bytes, subject: bytes, session: NewSession, /) -> None:
        """Add a row in a transaction of its own. An existing row stays as it is.

        :raises StoreBusyError: if the database can't store one of the texts.
        """
        visit = session.visit
        values: dict[str, object] = {
            "key": key,
            "subject": subject,
            "sid": session.sid,
            "sub": session.sub,
            "began": session.began,
            "epoch": session.epoch,
            "name": session.name,
            "generation": visit.generation,
            "user_agent": visit.user_agent,
            "address": visit.address,
            "lifetime": session.lifetime,
            "idle": min(visit.idle, session.lifetime),
            **self._time.parameters(),
        }
        self._write(lambda connection: connection.sqlalchemy.execute(self._open, values))

    def get(self, key: bytes, /) -> Session | None:
        """The row under a key."""
        rows = self._rows(self._get.text, self._get.values(key))
        return rows[0] if rows else None

    def move(self, key: bytes, generation: int, visit: Visit, /) -> bool:
        """Change a row if it still has this generation, by one UPDATE that is then committed.

        A call that fails may have changed the row: the server's response can be lost.

        :raises StoreBusyError: as :meth:`open` does.
        """
        columns, now = self.table.c, self._time.seconds
        idle_end = now + visit.idle
        changes: dict[str, object] = {
            "generation": visit.generation,
            "last_seen": now,
            "expires_at": sa.case((idle_end < columns.ends, idle_end), else_=columns.ends),
            "user_agent": visit.user_agent,
            "address": visit.address,
        }
        if visit.generation != generation:
            changes["rotated_at"] = now
        return self._update((columns.key == key, columns.generation == generation), changes)

    def rename(self, key: bytes, name: str | None, /) -> bool:
        """Set the name of a row.

        :raises StoreBusyError: as :meth:`open` does.
        """
        return self._update((self.table.c.key == key,), {"name": name})

    def end(self, key: bytes, /) -> bool | None:
        """Remove a row. If the statement has to be sent again and finds none, ``None``."""
        remove = sa.delete(self.table).where(self.table.c.key == key)
        attempts = itertools.count()

        def work(connection: StoreConnection) -> bool | None:
            again = next(attempts) > 0
            if delete_rows(remove, {}, connection):
                return True
            return None if again else False

        return self._write(work)

    def of(self, subject: bytes, limit: int | None = None, /) -> Sequence[Session]:
        """The rows of a subject, by one statement; up to a limit, those whose sessions end last.

        No index has them in that order. So if there are very many, those are of ten times as many.
        """
        text = self._of.text
        if limit is not None:
            text = _LAST.format(text, _SEARCHED * limit, limit)
        return self._rows(text, self._of.values(subject))

    def _rows(self, text: str, values: Any) -> list[Session]:
        rows = self._connections.run(lambda connection: connection.fetch(text, values))
        if self._time.of_machine:
            now = self._time.now() // MICROSECONDS
            rows = [(*row, now) for row in rows]
        return [_session(row) for row in rows]

    def _update(self, row: Sequence[sa.ColumnElement[bool]], changes: Mapping[str, object]) -> bool:
        """Change a row, and return whether it exists."""
        update = sa.update(self.table).where(*row).values(changes)
        exists = sa.select(sa.literal(1)).select_from(self.table).where(*row)
        moment = self._time.parameters()

        def work(connection: StoreConnection) -> bool:
            execute = connection.sqlalchemy.execute
            if execute(update, moment).rowcount:
                return True
            if connection.sqlalchemy.dialect.name not in ("mysql", "mariadb"):
                return False
            # MySQL doesn't count a row that already has these values, unless the connection was
            # opened with CLIENT.FOUND_ROWS, which an app's own creator may leave out.
            return execute(exists).first() is not None

        return self._write(work)

    def _write(self, work: Callable[[StoreConnection], T]) -> T:
        try:
            return self._writer.run(work)
        except (DataError, ValueError):
            # A NUL, or a character that the database's encoding lacks. The client may have sent it,
            # so the store must not count as failed.
            raise StoreBusyError("the database can't store a text of this session") from None


def _session(row: Sequence[Any]) -> Session:
    return Session(**dict(zip((*_ATTRIBUTES, "now"), row, strict=True)))


def _insert_if_new(dialect: str, table: sa.Table, now: Any) -> sa.Insert:
    """An INSERT that leaves an existing row: it may run again after its response was lost."""
    insert: Any = {"sqlite": sqlite, "postgresql": postgresql}.get(dialect, mysql).insert(table)
    insert = insert.values(
        rotated_at=now,
        last_seen=now,
        expires_at=now + sa.bindparam("idle", type_=sa.BigInteger),
        ends=now + sa.bindparam("lifetime", type_=sa.BigInteger),
    )
    statement: sa.Insert
    if dialect in ("mysql", "mariadb"):
        # INSERT IGNORE would ignore other errors as well.
        statement = insert.on_duplicate_key_update(key=table.c.key)
    else:
        # Without a target, for a conflict in either of the two unique indexes.
        statement = insert.on_conflict_do_nothing()
    return statement
