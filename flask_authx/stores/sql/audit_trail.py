"""The audit trail: who revoked what, when and why, in a table of its own."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import asdict

import sqlalchemy as sa
from sqlalchemy.exc import DataError

from flask_authx.errors import BadConfigurationError
from flask_authx.stores.base import MAX_CONNECTIONS, StoreBusyError, system_clock
from flask_authx.stores.blocklist import Record
from flask_authx.stores.circuit_breaker import CallRecord, Observer, ProtectedStore

from .connections import Connections
from .rows import delete_rows
from .time import Time
from .uncommitted_writes import OwnWrites, Writer

#: The number of records that one DELETE removes.
BATCH = 5000


class SQLAuditTrail:
    """Writes records on connections of its own, each record in its own transaction.

    :param engine: how to connect.
    :param table: the table, from :func:`audit_table`.
    :param timeout: the seconds after which a call fails.
    :param connections: how many a process may hold, together with the stores that share them.
    :param own_writes: the state of the caller's own transaction in the same SQLite file.
    :param clock: seconds since 1970-01-01 UTC, for SQLite. A server has its own clock.
    :param observer: is told when the trail fails, and when it works again.
    :raises BadConfigurationError: if the database is in memory.
    """

    def __init__(  # noqa: PLR0913 - where it writes, and who is told
        self,
        engine: sa.Engine,
        table: sa.Table,
        *,
        timeout: float,
        connections: int = MAX_CONNECTIONS,
        own_writes: OwnWrites | None = None,
        clock: Callable[[], float] = system_clock,
        observer: Observer | None = None,
    ) -> None:
        self._table = table
        self._time = Time(engine.dialect.name, clock)
        self._connections = Connections.shared(engine, timeout, connections)
        self._writer = Writer(self._connections, own_writes)
        self._protected = ProtectedStore("audit records", observer, name="the audit trail")
        if self._connections.in_memory:
            raise BadConfigurationError(
                "an audit trail must last, and an SQLite database in memory doesn't: put the "
                "database into a file, or remove the setting."
            )

    def write(self, record: Record) -> None:
        """Add a record. It is committed when this returns.

        :raises StoreError: if it could not be written.
        :raises UncommittedWritesError: as :meth:`SQLAlchemyBlocklist.add` does.
        """
        self._protected.write(self._insert, record)

    def refuse_uncommitted_writes(self) -> None:
        """Refuse a revocation whose record could not be written.

        :raises UncommittedWritesError: as :meth:`write` does.
        """
        self._writer.refuse_uncommitted_writes()

    def measure(self, record: CallRecord) -> None:
        """Record each call to the store from now on."""
        self._protected.measure(record)

    def check(self) -> None:
        """Read from the table, unless that has succeeded within the last second.

        :raises StoreError: if it fails.
        """
        self._protected.check(self._read)

    def _read(self) -> None:
        first = sa.select(self._table.c.id).limit(1)
        self._connections.run(lambda connection: connection.sqlalchemy.execute(first).all())

    def _insert(self, record: Record) -> None:
        values = {**asdict(record), "kind": record.kind.value, **self._time.parameters()}
        add = sa.insert(self._table).values(at=self._time.seconds)
        try:
            self._writer.run(lambda connection: connection.sqlalchemy.execute(add, values))
        except (DataError, UnicodeError):
            # Only this record has failed, so the trail must not count as failed.
            raise StoreBusyError("the database's encoding can't store the record") from None

    def prune(self, instance: str, age: int) -> int:
        """Remove the records of an ``AuthX`` object that are older, and return their number.

        Other objects that use the table may keep theirs longer.

        :param age: seconds.

        :raises StoreError: if the database fails.
        """
        return self._protected.prune(self._prune, instance, age)

    def _prune(self, instance: str, age: int) -> int:
        table, total, moment = self._table, 0, self._time.parameters()
        old = (table.c.at < self._time.seconds - age, table.c.instance == instance)
        oldest = sa.select(table.c.id).where(*old).order_by(table.c.at).limit(BATCH)
        with self._connections.maintenance() as run:
            while True:
                ids = run(
                    lambda connection: connection.sqlalchemy.execute(oldest, moment).scalars().all()
                )
                if not ids:
                    return total
                remove = sa.delete(table).where(table.c.id.in_(ids))
                total += run(functools.partial(delete_rows, remove, {}))
