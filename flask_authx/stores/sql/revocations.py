"""Revocations in an SQL database: SQLite, PostgreSQL, MariaDB and MySQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql, sqlite

from flask_authx.stores.blocklist import ALL, FOREVER, Cutoff, Entry, Kind

from .rows import Query, RowStore
from .tables import REVOCATION_WORDING, blocklist_table
from .uncommitted_writes import OwnWrites

_KINDS = [*Kind]
#: The parameters of the query for three keys.
_THREE = ("first", "second", "third")


class SQLAlchemyBlocklist(RowStore):
    """Stores revocations in the table ``authx_blocklist``, as durably as the database commits.

    The store has its own connections: it neither commits nor rolls back the app's transaction, and
    never waits for the app's pool. For an in-memory SQLite database it creates one of its own,
    which only this process sees.

    :param engine: how to connect; its own connections are not used.
    :param metadata: where the table is defined, for migrations; by default a new one. The table
        must exist in the database: ``blocklist.table.create(engine)`` creates it.
    :param timeout: the seconds after which a call fails.
    :param own_writes: a function that returns the state of the caller's own transaction in the same
        SQLite file.
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
        table = blocklist_table(metadata or sa.MetaData())
        super().__init__(engine, table, REVOCATION_WORDING, timeout=timeout, own_writes=own_writes)
        three = [sa.bindparam(name, type_=table.c.key.type) for name in _THREE]
        query = sa.select(table.c.cutoff, table.c.keep, table.c.keep_after)
        found = query.where(table.c.key.in_(three))
        self._find = Query(self._connections.engine, found, _THREE)
        self._add = _upsert(engine.dialect.name, table)

    def find(self, keys: Sequence[bytes], /) -> Sequence[Cutoff]:
        """The cutoffs of the entries under these keys, one to three, by one statement."""
        first, *others = keys
        second, third = [*others, first, first][:2]
        values = self._find.values(first, second, third)
        rows = self._connections.run(lambda connection: connection.fetch(self._find.text, values))
        return [_cutoff(*row) for row in rows]

    def add(self, entry: Entry, /) -> None:
        """Add an entry in a transaction of its own. It is committed when this returns.

        :raises UncommittedWritesError: if the caller has uncommitted writes in the same SQLite
            file, for which this call would wait.
        """
        cutoff = entry.cutoff
        values: dict[str, object] = {
            "key": entry.key,
            "kind": _KINDS.index(entry.kind),
            "expires_at": entry.expires,
            "cutoff": cutoff.until if cutoff.until < FOREVER else None,
            "keep": cutoff.keep,
            "keep_after": None if cutoff.keep is None else cutoff.keep_after,
        }
        self._writer.run(lambda connection: connection.sqlalchemy.execute(self._add, values))

    def count(self, bounds: Sequence[int], /) -> Mapping[Kind, Sequence[int]]:
        """The number of entries of each kind that expire before each bound. Reads all rows."""
        counts = {kind: [0] * (len(bounds) + 1) for kind in Kind}
        expires_at = self.table.c.expires_at
        whens = [(expires_at < bound, place) for place, bound in enumerate(bounds)]
        place: sa.ColumnElement[int] = sa.literal_column("0", sa.Integer)
        if whens:
            place = sa.case(*whens, else_=len(bounds))
        query = sa.select(self.table.c.kind, place.label("place"), sa.func.count()).group_by(
            self.table.c.kind, sa.text("place")
        )
        with self._connections.maintenance() as run:
            rows = run(lambda connection: connection.sqlalchemy.execute(query).all())
        for kind, bound, number in rows:
            counts[_KINDS[kind]][bound] = number
        return counts


def _cutoff(until: int | None, keep: bytes | None, keep_after: int | None) -> Cutoff:
    if until is None:
        return ALL
    # psycopg2 returns a memoryview.
    return Cutoff(until, keep and bytes(keep), -1 if keep_after is None else keep_after)


def _upsert(dialect: str, table: sa.Table) -> sa.Insert:
    """:meth:`Entry.then` as one statement, so that concurrent calls can't lose an entry."""
    old = table.c
    insert: Any = {"sqlite": sqlite, "postgresql": postgresql}.get(dialect, mysql).insert(table)
    new: Any = insert.inserted if dialect in ("mysql", "mariadb") else insert.excluded
    # In this order, since MySQL's later assignments use the values of the earlier ones.
    moved = old.cutoff + 1 > new.cutoff
    stays = sa.case((moved, old.expires_at + 1), else_=old.expires_at)
    changes: list[tuple[str, sa.ColumnElement[Any]]] = [
        ("expires_at", sa.case((stays > new.expires_at, stays), else_=new.expires_at)),
        (
            "keep_after",
            sa.case(
                (old.keep == new.keep, old.keep_after), else_=sa.func.coalesce(old.cutoff, FOREVER)
            ),
        ),
        ("keep", new.keep),
        (
            "cutoff",
            sa.case(
                # An entry that revokes everything stays so.
                (old.cutoff.is_(None), None),
                (moved, old.cutoff + 1),
                else_=new.cutoff,
            ),
        ),
    ]
    statement: sa.Insert
    if dialect in ("mysql", "mariadb"):
        statement = insert.on_duplicate_key_update(changes)
    else:
        statement = insert.on_conflict_do_update(index_elements=[old.key], set_=dict(changes))
    return statement
