"""Revocations in an SQL database: SQLite, PostgreSQL, MariaDB and MySQL."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql, sqlite

from flask_authx.errors import BadConfigurationError

from .connections import Connections, Held, Run, descriptor_of
from .entries import (
    ALL,
    FOREVER,
    Cutoff,
    Entry,
    Kind,
    OwnWrites,
    Pruned,
    Risk,
    StoreBusyError,
    Transaction,
    UncommittedWritesError,
)
from .tables import blocklist_table

T = TypeVar("T")

#: Rows that a batch of a prune looks at, and seconds that it leaves to others after each.
BATCH = 5000
REST = 0.01

_KINDS = [*Kind]
_DIALECTS = ("sqlite", "postgresql", "mysql", "mariadb")


class SQLAlchemyBlocklist:
    """Keeps revocations in a table, ``authx_blocklist``. They last as what the database commits.

    It has connections of its own, so it neither commits nor rolls back what the app is at, nor
    waits for the app's pool. In an in-memory SQLite database it has one of its own, which only this
    process sees.

    :param engine: how to connect; none of its connections are used.
    :param metadata: where the table is defined, for migrations; by default one of its own. The
        table must exist in the database: ``blocklist.table.create(engine)`` makes it.
    :param timeout: the seconds after which a call fails.
    :param own_writes: says how far the caller's own transaction in the same SQLite file has come.
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
        if engine.dialect.name not in _DIALECTS:
            raise BadConfigurationError(
                "revocations are kept in SQLite, PostgreSQL, MariaDB or MySQL, and not in "
                f"{engine.dialect.name}: use redis:// or a bind of another database."
            )
        self.table: sa.Table = blocklist_table(metadata or sa.MetaData())
        self._connections = Connections(engine, timeout)
        self._writer = Writer(self._connections, own_writes)
        self._find = _Find(self._connections.engine, self.table)
        self._add = _upsert(engine.dialect.name, self.table)
        if self._connections.in_memory:
            self._connections.run(lambda held: self.table.create(held.connection, checkfirst=True))

    @property
    def per_process(self) -> bool:
        """Whether other processes don't see what is added here: only so in memory."""
        return self._connections.in_memory

    def close(self) -> None:
        """Close the connections that are not in use. Others are opened when they are needed."""
        self._connections.close()

    def find(self, keys: Sequence[bytes], /) -> Sequence[Cutoff]:
        """The cut-offs of the entries under these keys, one to three, by one statement."""
        first, *others = keys
        second, third = [*others, first, first][:2]
        values = self._find.values(first, second, third)
        rows = self._connections.run(lambda held: held.fetch(self._find.text, values))
        return [_cutoff(*row) for row in rows]

    def add(self, entry: Entry, /) -> None:
        """Add an entry, in a transaction of its own. It is committed when this returns.

        :raises UncommittedWritesError: if the caller has uncommitted writes in the same SQLite
            file: it would wait for itself.
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
        self._writer.run(lambda held: held.connection.execute(self._add, values))

    def sweep(self, before: int, limit: int, /) -> int:
        """Remove the expired ones among some entries, found wherever a random key points."""
        key, expires_at = self.table.c.key, self.table.c.expires_at
        sample = sa.select(key, expires_at).where(key >= os.urandom(16)).order_by(key).limit(limit)
        rows = self._connections.run(lambda held: held.connection.execute(sample).all())
        expired = [row[0] for row in rows if row[1] < before]
        if not expired:
            return 0
        remove = sa.delete(self.table).where(key.in_(expired), expires_at < before)
        return self._connections.run(functools.partial(removed_by, remove))

    def prune(self, before: int, /) -> Iterator[Pruned]:
        """Remove all entries that expired before a moment, walking along the keys."""
        key = self.table.c.key
        with self._connections.long() as run:
            last = b""
            while True:
                batch = sa.select(key).where(key > last).order_by(key).offset(BATCH - 1).limit(1)
                end = _scalar(run, batch)
                stretch = [key > last] if end is None else [key > last, key <= end]
                remove = sa.delete(self.table).where(*stretch, self.table.c.expires_at < before)
                removed = run(functools.partial(removed_by, remove))
                if end is None:
                    yield Pruned(removed, 1.0)
                    return
                # Keys are hashes: how far they have come is how much has been done.
                yield Pruned(removed, int.from_bytes(end[:4], "big") / 2**32)
                last = end
                time.sleep(REST)

    def count(self, bounds: Sequence[int], /) -> Mapping[Kind, Sequence[int]]:
        """How many entries of each kind expire before which bound. Looks at the whole table."""
        counts = {kind: [0] * (len(bounds) + 1) for kind in Kind}
        expires_at = self.table.c.expires_at
        whens = [(expires_at < bound, place) for place, bound in enumerate(bounds)]
        place: sa.ColumnElement[int] = (
            sa.case(*whens, else_=len(bounds)) if whens else sa.literal_column("0", sa.Integer)
        )
        query = sa.select(self.table.c.kind, place.label("place"), sa.func.count()).group_by(
            self.table.c.kind, sa.text("place")
        )
        with self._connections.long() as run:
            for kind, found, number in run(lambda held: held.connection.execute(query).all()):
                counts[_KINDS[kind]][found] = number
        return counts

    def risks(self) -> Iterator[Risk]:
        """A table that isn't there, and settings of the server under which a commit may be lost."""
        if self._connections.in_memory:
            yield Risk(
                "revocations are kept in an SQLite database in the memory of each process: a "
                "restart forgets them, and with several workers each knows only its own.",
                "put the database into a file, or name another store.",
            )
            return
        with self._connections.long() as run:
            yield from run(lambda held: [*_missing(held.connection, self.table)])
            yield from run(lambda held: [*_lossy(held.connection)])


class Writer:
    """Runs writes, unless the caller's own uncommitted ones lock the SQLite file.

    :param own_writes: how far the caller's transaction has come; ``None`` where it doesn't matter.
    """

    def __init__(self, connections: Connections, own_writes: OwnWrites | None) -> None:
        self._connections = connections
        self._own_writes: OwnWrites = own_writes or (lambda: Transaction.NONE)

    def refuse_own_writes(self) -> None:
        """Refuse what would wait for the caller itself.

        :raises UncommittedWritesError: then, and it says what to do.
        """
        if self._own_writes() is Transaction.WRITING:
            raise _own_writes_in_the_way()

    def run(self, work: Callable[[Held], T]) -> T:
        """What the work returns.

        :raises UncommittedWritesError: if the caller's own writes are in its way.
        """
        self.refuse_own_writes()
        try:
            return self._connections.run(work)
        except StoreBusyError:
            # A transaction that is open and shows no changes can hold the lock all the same.
            if self._own_writes() is Transaction.NONE:
                raise
        raise _own_writes_in_the_way()


def _own_writes_in_the_way() -> UncommittedWritesError:
    return UncommittedWritesError(
        "db.session holds uncommitted writes in the SQLite file that a revocation must be written "
        "to, and SQLite has one writer at a time: call db.session.commit() before you revoke, or "
        "give the revocations a file of their own: a bind in SQLALCHEMY_BINDS, and "
        'JWT_BLOCKLIST = "sqlalchemy://its_bind_key".'
    )


class _Find:
    """The query for three keys, as text in a driver's terms."""

    def __init__(self, engine: sa.Engine, table: sa.Table) -> None:
        key = table.c.key
        three = [sa.bindparam(name, type_=key.type) for name in ("first", "second", "third")]
        query = sa.select(table.c.cutoff, table.c.keep, table.c.keep_after).where(key.in_(three))
        compiled = query.compile(
            dialect=engine.dialect,
            schema_translate_map=engine.get_execution_options().get("schema_translate_map", {}),
            render_schema_translate=True,
        )
        self.text: str = str(compiled)
        self._positional = engine.dialect.positional

    def values(self, *keys: bytes) -> Any:
        """The keys as the driver takes them."""
        if self._positional:
            return keys
        return dict(zip(("first", "second", "third"), keys, strict=True))


def _cutoff(until: int | None, keep: bytes | None, keep_after: int | None) -> Cutoff:
    if until is None:
        return ALL
    # psycopg2 gives a memoryview.
    return Cutoff(until, keep and bytes(keep), -1 if keep_after is None else keep_after)


def _upsert(dialect: str, table: sa.Table) -> sa.Insert:
    """What :meth:`Entry.then` says, as one statement, so that two processes can't both miss it."""
    old = table.c
    insert: Any = {"sqlite": sqlite, "postgresql": postgresql}.get(dialect, mysql).insert(table)
    new: Any = insert.inserted if dialect in ("mysql", "mariadb") else insert.excluded
    # In this order: MySQL's later assignments see the values of the earlier ones.
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
                # What ends everything goes on to.
                (old.cutoff.is_(None), None),
                (moved, old.cutoff + 1),
                else_=new.cutoff,
            ),
        ),
    ]
    added: sa.Insert = (
        insert.on_duplicate_key_update(changes)
        if dialect in ("mysql", "mariadb")
        else insert.on_conflict_do_update(index_elements=[old.key], set_=dict(changes))
    )
    return added


def removed_by(remove: sa.Delete, held: Held) -> int:
    """How many rows a DELETE has removed."""
    return held.connection.execute(remove).rowcount


def _scalar(run: Run, query: sa.Select[Any]) -> Any:
    return run(lambda held: held.connection.execute(query).scalar())


def _missing(connection: sa.Connection, table: sa.Table) -> Iterator[Risk]:
    if not sa.inspect(connection).has_table(table.name, schema=table.schema):
        yield Risk(
            f"the table {table.fullname} is missing: every guarded request is answered with 503.",
            "create it with db.create_all(), or with flask db migrate and flask db upgrade.",
        )


def _lossy(connection: sa.Connection) -> Iterator[Risk]:
    name = connection.dialect.name
    if name != "sqlite" and descriptor_of(connection) is None:
        yield Risk(
            f"the driver {connection.dialect.driver} gives no way to end a wait for a server that "
            "hangs: requests may hang with it.",
            "use psycopg, psycopg2, PyMySQL or mysqlclient.",
        )
    if name == "sqlite":
        if connection.exec_driver_sql("PRAGMA journal_mode").scalar() != "wal":
            yield Risk(
                "the SQLite file is not in WAL mode: requests wait while anybody writes.",
                f'run "PRAGMA journal_mode=WAL" once on {connection.engine.url.database}.',
            )
    elif name == "postgresql":
        if connection.exec_driver_sql("SHOW transaction_read_only").scalar() == "on":
            yield _READ_ONLY
        if connection.exec_driver_sql("SHOW fsync").scalar() == "off":
            yield Risk(
                "PostgreSQL runs with fsync off: a power cut may lose revocations and more.",
                "set fsync = on.",
            )
    else:
        yield from _lossy_mysql(connection)


#: A replica, or a server that is being maintained.
_READ_ONLY = Risk(
    "the database is read-only, or a replica: it takes no revocations, and may know others late.",
    "name the primary server.",
)


def _lossy_mysql(connection: sa.Connection) -> Iterator[Risk]:
    if str(connection.exec_driver_sql("SELECT @@global.read_only").scalar()) in ("1", "ON"):
        yield _READ_ONLY
    if connection.exec_driver_sql("SELECT @@innodb_flush_log_at_trx_commit").scalar() != 1:
        yield Risk(
            "innodb_flush_log_at_trx_commit is not 1: a crash may lose the last second's "
            "revocations.",
            "set it to 1.",
        )
    galera: dict[str, str] = {
        row[0]: row[1]
        for row in connection.exec_driver_sql(
            "SHOW VARIABLES WHERE variable_name IN ('wsrep_on', 'wsrep_sync_wait')"
        )
    }
    if galera.get("wsrep_on") == "ON" and galera.get("wsrep_sync_wait") == "0":
        yield Risk(
            "the Galera cluster answers a node's questions from what it has applied so far: a "
            "revocation on one node is seen late on others.",
            "set wsrep_sync_wait to 1, or let all workers use one node.",
        )
