"""Tables whose rows are found by keys of 16 bytes: what their stores have in common.

Keys are hashes, so a stretch of them is a fair sample of all rows.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from flask_authx.errors import BadConfigurationError
from flask_authx.stores.base import Pruned, Risk

from .connections import Connections, Held, Run
from .own_writes import OwnWrites, Writer
from .risks import lossy, missing
from .tables import Words

#: Rows that a batch of a prune looks at, and seconds that it leaves to others after each.
BATCH = 5000
REST = 0.01

_DIALECTS = ("sqlite", "postgresql", "mysql", "mariadb")


class RowStore:
    """A table on connections of the store's own, and the maintenance of it.

    :param engine: how to connect; none of its connections are used.
    :param table: has a ``key`` and an ``expires_at``. In memory it is created here.
    :param timeout: the seconds after which a call fails.
    :param own_writes: says how far the caller's own transaction in the same SQLite file has come.
    :raises BadConfigurationError: if it is a database that the stores don't know.
    """

    def __init__(
        self,
        engine: sa.Engine,
        table: sa.Table,
        words: Words,
        *,
        timeout: float,
        own_writes: OwnWrites | None,
    ) -> None:
        if engine.dialect.name not in _DIALECTS:
            raise BadConfigurationError(
                f"{words.many} are kept in SQLite, PostgreSQL, MariaDB or MySQL, and not in "
                f"{engine.dialect.name}: use redis:// or a bind of another database."
            )
        self.table: sa.Table = table
        #: The column of hashes in whose order the rows lie.
        self._path: sa.Column[bytes] = next(iter(table.primary_key.columns))
        self._words = words
        self._connections = Connections(engine, timeout)
        self._writer = Writer(self._connections, own_writes, words)
        if self._connections.in_memory:
            self._connections.run(lambda held: self.table.create(held.connection, checkfirst=True))

    @property
    def per_process(self) -> bool:
        """Whether other processes don't see what is kept here: only so in memory."""
        return self._connections.in_memory

    def close(self) -> None:
        """Close the connections that are not in use. Others are opened when they are needed."""
        self._connections.close()

    def sweep(self, before: int, limit: int, /) -> int:
        """Remove the expired ones among some rows, found wherever a random hash points."""
        # Along the keys, whatever the rows lie by: a subject may have more of them than the limit.
        key, expires_at = self.table.c.key, self.table.c.expires_at
        sample = sa.select(key, expires_at).where(key >= os.urandom(16)).order_by(key)
        rows = self._connections.run(
            lambda held: held.connection.execute(sample.limit(limit)).all()
        )
        expired = [row[0] for row in rows if row[1] < before]
        if not expired:
            return 0
        # One may have been given longer since.
        remove = sa.delete(self.table).where(key.in_(expired), expires_at < before)
        return self._connections.run(functools.partial(removed_by, remove))

    def prune(self, before: int, /) -> Iterator[Pruned]:
        """Remove all rows that expired before a moment, walking along the hashes."""
        path = self._path
        with self._connections.long() as run:
            last = b""
            while True:
                batch = sa.select(path).where(path > last).order_by(path)
                end = _scalar(run, batch.offset(BATCH - 1).limit(1))
                stretch = [path > last] if end is None else [path > last, path <= end]
                remove = sa.delete(self.table).where(*stretch, self.table.c.expires_at < before)
                removed = run(functools.partial(removed_by, remove))
                if end is None:
                    yield Pruned(removed, 1.0)
                    return
                # How far they have come is how much has been done.
                yield Pruned(removed, int.from_bytes(end[:4], "big") / 2**32)
                last = end
                time.sleep(REST)

    def risks(self) -> Iterator[Risk]:
        """A table that isn't there, and settings of the server under which a commit may be lost."""
        words = self._words
        if self._connections.in_memory:
            yield Risk(
                f"{words.many} are kept in an SQLite database in the memory of each process: a "
                f"restart {words.forgotten}, and with several workers each knows only its own.",
                "put the database into a file, or name another store.",
            )
            return
        with self._connections.long() as run:
            yield from run(lambda held: [*missing(held.connection, self.table, words.missing)])
            yield from run(lambda held: [*lossy(held.connection, words.many)])


class Query:
    """A query by keys, as text in a driver's terms.

    :param names: those of its parameters, in the order in which they stand in it.
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
        self._positional = engine.dialect.positional

    def values(self, *keys: bytes) -> Any:
        """The keys as the driver takes them."""
        return keys if self._positional else dict(zip(self._names, keys, strict=True))


def removed_by(remove: sa.Delete, held: Held) -> int:
    """How many rows a DELETE has removed."""
    return held.connection.execute(remove).rowcount


def _scalar(run: Run, query: sa.Select[Any]) -> Any:
    return run(lambda held: held.connection.execute(query).scalar())
