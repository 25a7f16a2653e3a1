"""What the stores of revocations and sessions share: tables with keys of 16 bytes, and pruning.

Keys are hashes, so a range of them is a random sample of all rows.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import sqlalchemy as sa

from flask_authx.stores.base import Pruned, Risk

from .connections import Connections, Run, StoreConnection
from .risks import durability_risks, missing_table
from .tables import TableWording
from .time import Time
from .uncommitted_writes import OwnWrites, Writer

#: The number of rows that a batch of a prune examines.
BATCH = 5000
#: Seconds between two batches, for other writes.
BATCH_PAUSE = 0.01


class RowStore:
    """A table, the connections of its store, and its maintenance.

    :param table: with columns ``key`` and ``expires_at``. In a database in memory it is created.
    :param wording: how errors describe the table.
    :param own_writes: the state of the caller's own transaction in the same SQLite file.
    :param clock: seconds since 1970-01-01 UTC, for SQLite.
    """

    def __init__(
        self,
        connections: Connections,
        table: sa.Table,
        wording: TableWording,
        own_writes: OwnWrites | None,
        clock: Callable[[], float],
    ) -> None:
        self.table: sa.Table = table
        #: The hash that the rows are ordered by.
        self._order: sa.Column[bytes] = next(iter(table.primary_key.columns))
        self._wording = wording
        self._time = Time(connections.engine.dialect.name, clock)
        self._connections = connections
        self._writer = Writer(self._connections, own_writes, wording)
        if self._connections.in_memory:
            self._connections.run(
                lambda connection: self.table.create(connection.sqlalchemy, checkfirst=True)
            )

    @property
    def per_process(self) -> bool:
        """Whether rows are visible only in this process: so in a database in memory."""
        return self._connections.in_memory

    def close(self) -> None:
        """Close the connections that are not in use. Later calls open new ones."""
        self._connections.close()

    def sweep(self, limit: int, /) -> int:
        """Remove the expired ones of some rows, which begin at a random key."""
        # By key, not by the order of the rows: a subject may have more rows than the limit.
        key, expires_at, moment = self.table.c.key, self.table.c.expires_at, self._time.parameters()
        rows = sa.select(key, expires_at).where(key >= os.urandom(16)).order_by(key).limit(limit)
        sample = rows.subquery()
        query = sa.select(sample.c.key).where(sample.c.expires_at < self._time.seconds)
        expired = self._connections.run(
            lambda connection: connection.sqlalchemy.execute(query, moment).scalars().all()
        )
        if not expired:
            return 0
        # The expiry of a row may have been extended since.
        remove = sa.delete(self.table).where(key.in_(expired), expires_at < self._time.seconds)
        return self._connections.run(functools.partial(delete_rows, remove, moment))

    def prune(self) -> Iterator[Pruned]:
        """Remove all rows that have expired, in the order of their hashes."""
        order, expired = self._order, self.table.c.expires_at < self._time.seconds
        with self._connections.maintenance() as run:
            last = b""
            while True:
                batch = sa.select(order).where(order > last).order_by(order)
                end = _scalar(run, batch.offset(BATCH - 1).limit(1))
                bounds = [order > last] if end is None else [order > last, order <= end]
                remove = sa.delete(self.table).where(*bounds, expired)
                removed = run(functools.partial(delete_rows, remove, self._time.parameters()))
                if end is None:
                    yield Pruned(removed, 1.0)
                    return
                # Hashes are evenly distributed, so the last one shows the progress.
                yield Pruned(removed, int.from_bytes(end[:4], "big") / 2**32)
                last = end
                time.sleep(BATCH_PAUSE)

    def risks(self) -> Iterator[Risk]:
        """A missing table, and settings of the server under which a commit may be lost."""
        wording = self._wording
        if self._connections.in_memory:
            yield Risk(
                f"{wording.plural} are stored in an SQLite database in the memory of each process: "
                f"a restart {wording.after_restart}, and each worker sees only its own.",
                "put the database into a file, or use another store.",
            )
            return
        with self._connections.maintenance() as run:
            yield from run(
                lambda connection: [
                    *missing_table(connection.sqlalchemy, self.table, wording.without_table)
                ]
            )
            yield from run(
                lambda connection: [*durability_risks(connection.sqlalchemy, wording.plural)]
            )


class Query:
    """A query by keys, compiled to the driver's SQL.

    :param names: the names of its parameters, in the order in which it contains them.
    """

    def __init__(
        self, engine: sa.Engine, query: sa.Select[*tuple[Any, ...]], names: tuple[str, ...]
    ) -> None:
        compiled = query.compile(
            dialect=engine.dialect,
            schema_translate_map=engine.get_execution_options().get("schema_translate_map", {}),
            render_schema_translate=True,
        )
        self.text: str = str(compiled)
        self._names = names
        #: How many keys it takes.
        self.number: int = len(names)
        self._positional = engine.dialect.positional

    def values(self, *keys: bytes) -> Any:
        """The parameters that the driver takes for these keys."""
        return keys if self._positional else dict(zip(self._names, keys, strict=True))


def delete_rows(
    remove: sa.Delete, parameters: dict[str, object], connection: StoreConnection
) -> int:
    """Execute a DELETE and return the number of rows that it has removed."""
    return connection.sqlalchemy.execute(remove, parameters).rowcount


def _scalar(run: Run, query: sa.Select[Any]) -> Any:
    return run(lambda connection: connection.sqlalchemy.execute(query).scalar())
