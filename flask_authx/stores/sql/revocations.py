"""Revocations in an SQL database: SQLite, PostgreSQL, MariaDB and MySQL."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql, sqlite

from flask_authx.stores.base import MAX_CONNECTIONS, system_clock
from flask_authx.stores.blocklist import ALL, Cutoff, Dated, Entry, Kind

from .connections import Connections, StoreConnection
from .rows import Query, RowStore
from .tables import REVOCATION_WORDING, blocklist_table
from .time import Time
from .uncommitted_writes import OwnWrites

_KINDS = [*Kind]
#: The parameters of the query for four keys, and of that for eight.
_FOUR = ("first", "second", "third", "fourth")
_EIGHT = (*_FOUR, "fifth", "sixth", "seventh", "eighth")
#: The expiry of an entry that is kept for ever.
_NEVER = 2**53


class SQLAlchemyBlocklist(RowStore):
    """Stores revocations in the table ``authx_blocklist``, as durably as the database commits.

    The store has its own connections: it neither commits nor rolls back the app's transaction, and
    never waits for the app's pool. For an in-memory SQLite database it creates one of its own,
    which only this process sees.

    :param engine: how to connect; its own connections are not used.
    :param metadata: where the table is defined, for migrations; by default a new one. The table
        must exist in the database: ``blocklist.table.create(engine)`` creates it.
    :param timeout: the seconds after which a call fails.
    :param connections: how many a process may hold; stores with the same engine, timeout and number
        share them.
    :param own_writes: a function that returns the state of the caller's own transaction in the same
        SQLite file.
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
        table = blocklist_table(metadata or sa.MetaData())
        shared = Connections.shared(engine, timeout, connections)
        super().__init__(shared, table, REVOCATION_WORDING, own_writes, clock)
        columns = (table.c.key, table.c.cutoff, table.c.keep, table.c.keep_after)
        wanted, any_of_eight = (
            table.c.key.in_([sa.bindparam(name, type_=table.c.key.type) for name in names])
            for names in (_FOUR, _EIGHT)
        )
        self._columns = sa.select(*columns)
        engine = self._connections.engine
        self._find = Query(engine, self._columns.where(wanted), _FOUR)
        self._find_eight = Query(engine, self._columns.where(any_of_eight), _EIGHT)
        # One row with the time, beside each entry or beside none.
        time = sa.select(self._time.microseconds.label("now")).subquery()
        dated = sa.select(time.c.now, *columns).select_from(time.outerjoin(table, wanted))
        self._find_dated = Query(engine, dated, _FOUR)
        self._add, self._add_if_absent = _inserts(engine.dialect.name, table, self._time)

    def find(self, keys: Sequence[bytes], /) -> Sequence[Cutoff | None]:
        """The cut-offs of the entries under these keys, one to eight, by one statement."""
        query = self._find if len(keys) <= len(_FOUR) else self._find_eight
        return _in_order(keys, self._rows_of(query, keys))

    def find_dated(self, keys: Sequence[bytes], /) -> Dated:
        """The cut-offs of the entries under these keys, and the database's time."""
        if self._time.of_machine:
            now = self._time.now()
            return Dated(now, self.find(keys))
        rows = self._rows_of(self._find_dated, keys)
        # Without an entry there is one row, whose key is NULL.
        found = [row[1:] for row in rows if row[1] is not None]
        return Dated(rows[0][0], _in_order(keys, found))

    def _rows_of(self, query: Query, keys: Sequence[bytes]) -> list[Any]:
        values = query.values(*keys, *[keys[0]] * (query.number - len(keys)))
        return self._connections.run(lambda connection: connection.fetch(query.text, values))

    def add(self, entry: Entry, /) -> None:
        """Add an entry in a transaction of its own. It is committed when this returns.

        :raises UncommittedWritesError: if the caller has uncommitted writes in the same SQLite
            file, for which this call would wait.
        """
        values = self._values(entry)
        self._writer.run(lambda connection: connection.sqlalchemy.execute(self._add, values))

    def add_if_absent(self, entry: Entry, /) -> Cutoff:
        """Add an entry unless there is one under its key, and return the cut-off that counts.

        :raises UncommittedWritesError: as :meth:`add` does.
        """
        values = self._values(entry)
        query = self._columns.where(self.table.c.key == entry.key)

        def work(connection: StoreConnection) -> Any:
            connection.sqlalchemy.execute(self._add_if_absent, values)
            return connection.sqlalchemy.execute(query).one()

        return _cutoff(*self._writer.run(work)[1:])

    def _values(self, entry: Entry) -> dict[str, object]:
        return {
            "key": entry.key,
            "kind": _KINDS.index(entry.kind),
            "lifetime": entry.lifetime,
            "ahead": entry.ahead,
            "keep": entry.keep,
            "keep_after": None if entry.keep is None else -1,
            **self._time.parameters(),
        }

    def count(self, bounds: Sequence[int], /) -> Mapping[Kind, Sequence[int]]:
        """The number of entries of each kind that expire before each bound. Reads all rows."""
        counts = {kind: [0] * (len(bounds) + 1) for kind in Kind}
        left = self.table.c.expires_at - self._time.seconds
        whens = [(left < bound, place) for place, bound in enumerate(bounds)]
        place: sa.ColumnElement[int] = sa.literal_column("0", sa.Integer)
        if whens:
            place = sa.case(*whens, else_=len(bounds))
        query = sa.select(self.table.c.kind, place.label("place"), sa.func.count()).group_by(
            self.table.c.kind, sa.text("place")
        )
        values = self._time.parameters()
        with self._connections.maintenance() as run:
            rows = run(lambda connection: connection.sqlalchemy.execute(query, values).all())
        for kind, bound, number in rows:
            counts[_KINDS[kind]][bound] = number
        return counts


def _in_order(keys: Sequence[bytes], rows: Sequence[Any]) -> list[Cutoff | None]:
    """The cut-offs of rows that may be in any order, in that of the keys."""
    # psycopg2 returns a memoryview.
    found = {bytes(row[0]): _cutoff(*row[1:]) for row in rows}
    return [found.get(key) for key in keys]


def _cutoff(until: int | None, keep: bytes | None, keep_after: int | None) -> Cutoff:
    if until is None:
        return ALL
    return Cutoff(until, keep and bytes(keep), -1 if keep_after is None else keep_after)


def _inserts(dialect: str, table: sa.Table, time: Time) -> tuple[sa.Insert, sa.Insert]:
    """The statements of :meth:`Blocklist.add` and :meth:`Blocklist.add_if_absent`.

    Each is one statement, so that concurrent calls can't lose an entry.
    """
    wide = {name: sa.bindparam(name, type_=sa.BigInteger) for name in ("lifetime", "ahead")}
    insert: Any = {"sqlite": sqlite, "postgresql": postgresql}.get(dialect, mysql).insert(table)
    insert = insert.values(
        # A sum with NULL is NULL.
        expires_at=sa.func.coalesce(time.seconds + wide["lifetime"], _NEVER),
        cutoff=time.microseconds + wide["ahead"],
    )
    if dialect in ("mysql", "mariadb"):
        update = insert.on_duplicate_key_update(_changes(table.c, insert.inserted))
        # INSERT IGNORE would ignore other errors as well.
        return update, insert.on_duplicate_key_update(key=table.c.key)
    update = insert.on_conflict_do_update(
        index_elements=[table.c.key], set_=dict(_changes(table.c, insert.excluded))
    )
    return update, insert.on_conflict_do_nothing()


def _changes(old: Any, new: Any) -> list[tuple[str, sa.ColumnElement[Any]]]:
    """:meth:`Cutoff.then`, in this order: MySQL's later assignments see the earlier ones."""
    return [
        (
            "expires_at",
            sa.case((old.expires_at > new.expires_at, old.expires_at), else_=new.expires_at),
        ),
        ("keep_after", sa.case((old.keep == new.keep, old.keep_after), else_=old.cutoff)),
        ("keep", new.keep),
        (
            "cutoff",
            sa.case(
                # An entry that revokes everything stays so.
                (old.cutoff.is_(None), None),
                (old.cutoff + 1 > new.cutoff, old.cutoff + 1),
                else_=new.cutoff,
            ),
        ),
    ]
