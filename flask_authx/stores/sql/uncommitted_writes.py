"""The caller's own uncommitted writes in an SQLite file: a store that waits for them deadlocks."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from pathlib import Path
from typing import Any, TypeAlias, TypeVar
from weakref import WeakSet

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.orm import scoped_session

from flask_authx.stores.base import StoreBusyError, UncommittedWritesError

from .connecting import StoreConnection, is_in_memory
from .connections import Connections
from .tables import REVOCATION_WORDING, TableWording

T = TypeVar("T")


class Transaction(IntEnum):
    """The state of the caller's own transaction in an SQLite file."""

    NONE = 0
    #: It may hold the write lock, but no changed rows show it.
    OPEN = 1
    #: It has changed rows, so it holds the file's only write lock.
    WRITING = 2


#: Returns the state of the caller's own transaction.
OwnWrites: TypeAlias = Callable[[], Transaction]


class Writer:
    """Runs writes, unless the caller's own uncommitted writes lock the SQLite file.

    :param own_writes: the state of the caller's transaction; ``None`` where it doesn't matter.
    :param wording: how errors describe the table.
    """

    def __init__(
        self,
        connections: Connections,
        own_writes: OwnWrites | None,
        wording: TableWording = REVOCATION_WORDING,
    ) -> None:
        self._connections = connections
        self._own_writes: OwnWrites = own_writes or (lambda: Transaction.NONE)
        self._wording = wording

    def refuse_uncommitted_writes(self) -> None:
        """Refuse a write that would wait for the caller's own transaction.

        :raises UncommittedWritesError: with the fix, if that transaction has changed rows.
        """
        if self._own_writes() is Transaction.WRITING:
            raise self._uncommitted_writes()

    def run(self, work: Callable[[StoreConnection], T]) -> T:
        """Run the work and return its result.

        :raises UncommittedWritesError: if the caller's own writes lock the file.
        """
        self.refuse_uncommitted_writes()
        try:
            return self._connections.run(lambda connection: connection.write(work))
        except StoreBusyError:
            # An open transaction can hold the lock although it has changed no rows.
            if self._own_writes() is Transaction.NONE:
                raise
        raise self._uncommitted_writes()

    def _uncommitted_writes(self) -> UncommittedWritesError:
        wording = self._wording
        return UncommittedWritesError(
            f"db.session holds uncommitted writes in the SQLite file that {wording.singular} must "
            "be written to, and SQLite has one writer at a time: call db.session.commit() before "
            f"{wording.commit_before}, or give the {wording.plural} a file of their own: add a "
            "bind to SQLALCHEMY_BINDS and name it in the URL of the store, as "
            '"sqlalchemy://its_bind_key".'
        )


def uncommitted_writes(
    session: scoped_session[Any], engine: sa.Engine, in_context: Callable[[], bool]
) -> OwnWrites | None:
    """A function that returns the state of the current context's transaction in an SQLite file.

    ``None`` for other databases: they have several writers, or belong to the store alone.

    :param session: the app's ``db.session``.
    :param in_context: whether there is a context that a session can belong to.
    """
    if engine.dialect.name != "sqlite" or is_in_memory(engine):
        return None
    if session not in _listening:
        _listening.add(session)
        event.listen(session, "after_begin", _record_begin)
    path = _file(engine)

    def state() -> Transaction:
        # session() would create a session where there is none.
        if not in_context() or not session.registry.has():
            return Transaction.NONE
        begun = session().info.get(_BEGUN, ())
        states = [
            _transaction(connection, changes_before)
            for connection, changes_before in begun
            if _file(connection.engine) == path
        ]
        return max(states, default=Transaction.NONE)

    return state


#: The sessions that have the listener.
_listening: WeakSet[scoped_session[Any]] = WeakSet()
#: The key in ``session.info`` of the session's SQLite connections, each with the number of changes
#: that it had made before the transaction.
_BEGUN = "flask_authx"


def _record_begin(session: Any, transaction: Any, connection: Any) -> None:
    if connection.dialect.name == "sqlite" and not transaction.nested:
        driver = connection.connection.dbapi_connection
        begun = [one for one in session.info.get(_BEGUN, ()) if not one[0].closed]
        session.info[_BEGUN] = [*begun, (connection, driver.total_changes)]


def _transaction(connection: Any, changes_before: int) -> Transaction:
    if connection.closed or connection.invalidated:
        return Transaction.NONE
    driver = connection.connection.dbapi_connection
    if not driver.in_transaction:
        return Transaction.NONE
    # A transaction that was begun explicitly, or by a savepoint, may not have written yet.
    return Transaction.WRITING if driver.total_changes > changes_before else Transaction.OPEN


def _file(engine: sa.Engine) -> Path:
    """The absolute path of an SQLite file, whichever form its URL has."""
    name = (engine.url.database or "").removeprefix("file:").partition("?")[0]
    return Path(name).resolve()
