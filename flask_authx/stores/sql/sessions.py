"""Sessions in an SQL database: SQLite, PostgreSQL, MariaDB and MySQL."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.exc import DataError

from flask_authx.stores.base import StoreBusyError
from flask_authx.stores.session_store import Session, Visit

from .connections import StoreConnection
from .rows import Query, RowStore, delete_rows
from .tables import SESSION_WORDING, sessions_table
from .uncommitted_writes import OwnWrites

T = TypeVar("T")

#: The columns of a :class:`Session`, in the order that :func:`_session` takes.
_SESSION = ("sid", "sub", "created", "ends", "name")
_VISIT = ("generation", "rotated_at", "last_seen", "expires_at", "user_agent", "address")


class SQLAlchemySessions(RowStore):
    """Stores sessions in the table ``authx_sessions``, as durably as the database commits.

    The store has its own connections, as :class:`SQLAlchemyBlocklist` has, and for an in-memory
    SQLite database it creates one of its own. The texts of a row have at most 255 characters.

    :param engine: how to connect; its own connections are not used.
    :param metadata: where the table is defined, for migrations; by default a new one. The table
        must exist in the database: ``sessions.table.create(engine)`` creates it.
    :param timeout: the seconds after which a call fails.
    :param own_writes: a function that returns the state of the caller's own transaction in the same
        SQLite file. If that has uncommitted writes, the methods that write raise
        :exc:`UncommittedWritesError`.
    :raises BadConfigurationError: if the database is not SQLite, PostgreSQL, MariaDB or MySQL.
    """

    def __init__(
        self,
        engine: sa.Engine,
        *,
        metadata: sa.MetaData | None = None,
        timeout: float = 0.25,
        own_writes: OwnWrites | None = None,
    ) -> None:
        table = sessions_table(metadata or sa.MetaData())
        super().__init__(engine, table, SESSION_WORDING, timeout=timeout, own_writes=own_writes)
        self._get = self._query("key")
        self._of = self._query("subject")
        self._open = _insert_if_new(engine.dialect.name, table)

    def _query(self, name: str) -> Query:
        key = self.table.c[name]
        wanted = sa.bindparam("wanted", type_=key.type)
        query = sa.select(*(self.table.c[column] for column in _SESSION + _VISIT))
        return Query(self._connections.engine, query.where(key == wanted), ("wanted",))

    def open(self, key: bytes, subject: bytes, session: Session, /) -> None:
        """Add a row in a transaction of its own. An existing row stays as it is.

        :raises StoreBusyError: if the database can't store one of the texts.
        """
        values = {name: getattr(session, name) for name in _SESSION}
        values |= {"key": key, "subject": subject, **_changes(session.visit)}
        self._write(lambda connection: connection.sqlalchemy.execute(self._open, values))

    def get(self, key: bytes, /) -> Session | None:
        """The row under a key."""
        rows = self._rows(self._get, key)
        return rows[0] if rows else None

    def move(self, key: bytes, generation: int, visit: Visit, /) -> bool:
        """Change a row if it still has this generation, by one UPDATE that is then committed.

        A call that fails may have changed the row: the server's response can be lost.

        :raises StoreBusyError: as :meth:`open` does.
        """
        row = (self.table.c.key == key, self.table.c.generation == generation)
        return self._update(row, _changes(visit))

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
            if delete_rows(remove, connection):
                return True
            return None if again else False

        return self._write(work)

    def of(self, subject: bytes, limit: int | None = None, /) -> Sequence[Session]:
        """The rows of a subject, by one statement."""
        return self._rows(self._of, subject, "" if limit is None else f" LIMIT {limit:d}")

    def _rows(self, query: Query, key: bytes, clause: str = "") -> list[Session]:
        text, values = query.text + clause, query.values(key)
        rows = self._connections.run(lambda connection: connection.fetch(text, values))
        return [_session(row) for row in rows]

    def _update(self, row: Sequence[sa.ColumnElement[bool]], changes: Mapping[str, object]) -> bool:
        """Change a row, and return whether it exists."""
        columns = self.table.c
        update = sa.update(self.table).where(*row).values(changes)
        as_wanted = (columns[name].is_not_distinct_from(value) for name, value in changes.items())
        unchanged = sa.select(sa.literal(1)).where(*row, *as_wanted)

        def work(connection: StoreConnection) -> bool:
            execute = connection.sqlalchemy.execute
            if execute(update).rowcount:
                return True
            if connection.sqlalchemy.dialect.name not in ("mysql", "mariadb"):
                return False
            # MySQL doesn't count a row that already has these values, unless the connection was
            # opened with CLIENT.FOUND_ROWS, which an app's own creator may leave out.
            return execute(unchanged).first() is not None

        return self._write(work)

    def _write(self, work: Callable[[StoreConnection], T]) -> T:
        try:
            return self._writer.run(work)
        except (DataError, ValueError):
            # A NUL, or a character that the database's encoding lacks. The client may have sent it,
            # so the store must not count as failed.
            raise StoreBusyError("the database can't store a text of this session") from None


def _changes(visit: Visit) -> dict[str, str | int | None]:
    """The columns that a refresh changes."""
    return {
        "generation": visit.generation,
        "rotated_at": visit.rotated_at,
        "last_seen": visit.last_seen,
        "expires_at": visit.expires,
        "user_agent": visit.user_agent,
        "address": visit.address,
    }


def _session(row: Sequence[Any]) -> Session:
    sid, sub, created, ends, name, generation, rotated_at, last_seen, expires, *client = row
    user_agent, address = client
    visit = Visit(
        generation=generation,
        rotated_at=rotated_at,
        last_seen=last_seen,
        expires=expires,
        user_agent=user_agent,
        address=address,
    )
    return Session(sid=sid, sub=sub, created=created, ends=ends, visit=visit, name=name)


def _insert_if_new(dialect: str, table: sa.Table) -> sa.Insert:
    """An INSERT that leaves an existing row: it may run again after its response was lost."""
    insert: Any = {"sqlite": sqlite, "postgresql": postgresql}.get(dialect, mysql).insert(table)
    statement: sa.Insert
    if dialect in ("mysql", "mariadb"):
        # INSERT IGNORE would ignore other errors as well.
        statement = insert.on_duplicate_key_update(key=table.c.key)
    else:
        # Without a target, for a conflict in either of the two unique indexes.
        statement = insert.on_conflict_do_nothing()
    return statement
