"""Logins in an SQL database: SQLite, PostgreSQL, MariaDB and MySQL."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.exc import DataError

from flask_authx.stores.base import StoreBusyError
from flask_authx.stores.session_store import Session, Visit

from .connections import Held
from .own_writes import OwnWrites
from .rows import Query, RowStore, removed_by
from .tables import LOGINS, sessions_table

T = TypeVar("T")

#: What of a row makes a :class:`Session`, in the order that :func:`_session` takes.
_LOGIN = ("sid", "sub", "created", "ends", "name")
_VISIT = ("generation", "rotated_at", "last_seen", "expires_at", "user_agent", "address")


class SQLAlchemySessions(RowStore):
    """Keeps logins in a table, ``authx_sessions``. They last as what the database commits.

    It has connections of its own, as :class:`SQLAlchemyBlocklist` has, and like there, an in-memory
    SQLite database is one of its own. The texts of a row have at most 255 characters.

    :param engine: how to connect; none of its connections are used.
    :param metadata: where the table is defined, for migrations; by default one of its own. The
        table must exist in the database: ``sessions.table.create(engine)`` makes it.
    :param timeout: the seconds after which a call fails.
    :param own_writes: says how far the caller's own transaction in the same SQLite file has come.
        While it writes there, each method that does so raises :exc:`UncommittedWritesError`.
    :raises BadConfigurationError: if the database is none of those above.
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
        super().__init__(engine, table, LOGINS, timeout=timeout, own_writes=own_writes)
        self._get = self._query("key")
        self._of = self._query("subject")
        self._open = _insert_if_new(engine.dialect.name, table)

    def _query(self, name: str) -> Query:
        column = self.table.c[name]
        wanted = sa.bindparam("wanted", type_=column.type)
        query = sa.select(*(self.table.c[one] for one in (*_LOGIN, *_VISIT)))
        return Query(self._connections.engine, query.where(column == wanted), ("wanted",))

    def open(self, key: bytes, subject: bytes, session: Session, /) -> None:
        """Add a row, in a transaction of its own. One that is there stays as it is.

        :raises StoreBusyError: if the database can't hold one of the texts.
        """
        values = {name: getattr(session, name) for name in _LOGIN}
        values |= {"key": key, "subject": subject, **_changes(session.visit)}
        self._write(lambda held: held.connection.execute(self._open, values))

    def get(self, key: bytes, /) -> Session | None:
        """The row under a key."""
        rows = self._rows(self._get, key)
        return rows[0] if rows else None

    def move(self, key: bytes, generation: int, visit: Visit, /) -> bool:
        """Change a row if it is still of a generation, by one UPDATE that is then committed.

        If the server's answer is lost, the row may have been changed by this call all the same.

        :raises StoreBusyError: as :meth:`open` does.
        """
        row = (self.table.c.key == key, self.table.c.generation == generation)
        return self._change(row, _changes(visit))

    def rename(self, key: bytes, name: str | None, /) -> bool:
        """Give a row a name.

        :raises StoreBusyError: as :meth:`open` does.
        """
        return self._change((self.table.c.key == key,), {"name": name})

    def end(self, key: bytes, /) -> bool:
        """Remove a row."""
        remove = sa.delete(self.table).where(self.table.c.key == key)
        return self._write(functools.partial(removed_by, remove)) == 1

    def of(self, subject: bytes, /) -> Sequence[Session]:
        """The rows of a subject, by one statement."""
        return self._rows(self._of, subject)

    def _rows(self, query: Query, key: bytes) -> list[Session]:
        values = query.values(key)
        return [
            _session(row)
            for row in self._connections.run(lambda held: held.fetch(query.text, values))
        ]

    def _change(self, row: Sequence[sa.ColumnElement[bool]], changes: Mapping[str, object]) -> bool:
        """Change a row, and say whether it was there."""
        columns = self.table.c
        update = sa.update(self.table).where(*row).values(changes)
        as_asked = (columns[name].is_not_distinct_from(value) for name, value in changes.items())
        unchanged = sa.select(sa.literal(1)).where(*row, *as_asked)

        def work(held: Held) -> bool:
            if held.connection.execute(update).rowcount:
                return True
            if held.connection.dialect.name not in ("mysql", "mariadb"):
                return False
            # An app's own way of connecting may leave out the flag by which rows count that
            # already were as they should be.
            return held.connection.execute(unchanged).first() is not None

        return self._write(work)

    def _write(self, work: Callable[[Held], T]) -> T:
        try:
            return self._writer.run(work)
        except (DataError, ValueError):
            # A NUL, or a character that the database's encoding lacks. A client may have sent it,
            # and that is no reason to leave the store alone.
            raise StoreBusyError("the database can't hold a text of this login") from None


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
    """Adds a row unless its key is there: whoever lost the answer to it may ask once more."""
    insert: Any = {"sqlite": sqlite, "postgresql": postgresql}.get(dialect, mysql).insert(table)
    added: sa.Insert = (
        # IGNORE would pass over other faults as well.
        insert.on_duplicate_key_update(key=table.c.key)
        if dialect in ("mysql", "mariadb")
        # Whichever of its two unique indexes notices first.
        else insert.on_conflict_do_nothing()
    )
    return added
