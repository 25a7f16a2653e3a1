"""The caller's own uncommitted writes in an SQLite file: a store must not wait for them."""

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

from .connections import Connections, Held, is_in_memory
from .tables import REVOCATIONS, Words

T = TypeVar("T")


class Transaction(IntEnum):
    """How far the caller's own transaction in an SQLite file has come."""

    NONE = 0
    #: It may have written, but nothing shows that.
    OPEN = 1
    #: It has changed rows, so it holds the file's one lock for writing.
    WRITING = 2


#: Says how far the caller's own transaction has come.
OwnWrites: TypeAlias = Callable[[], Transaction]


class Writer:
    """Runs writes, unless the caller's own uncommitted ones lock the SQLite file.

    :param own_writes: how far the caller's transaction has come; ``None`` where it doesn't matter.
    """

    def __init__(
        self,
        connections: Connections,
        own_writes: OwnWrites | None,
        words: Words = REVOCATIONS,
    ) -> None:
        self._connections = connections
        self._own_writes: OwnWrites = own_writes or (lambda: Transaction.NONE)
        self._words = words

    def refuse_own_writes(self) -> None:
        """Refuse what would wait for the caller itself.

        :raises UncommittedWritesError: then, and it says what to do.
        """
        if self._own_writes() is Transaction.WRITING:
            raise self._in_the_way()

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
        raise self._in_the_way()

    def _in_the_way(self) -> UncommittedWritesError:
        words = self._words
        return UncommittedWritesError(
            f"db.session holds uncommitted writes in the SQLite file that {words.one} must be "
            "written to, and SQLite has one writer at a time: call db.session.commit() before "
            f"{words.before}, or give the {words.many} a file of their own: a bind in "
            'SQLALCHEMY_BINDS, and JWT_BLOCKLIST = "sqlalchemy://its_bind_key".'
        )


def uncommitted_writes(
    session: scoped_session[Any], engine: sa.Engine, in_context: Callable[[], bool]
) -> OwnWrites | None:
    """Says whether the session of the current context has uncommitted writes in an SQLite file.

    ``None`` for other databases, which have more than one writer or are the store's own.

    :param session: the app's ``db.session``.
    :param in_context: whether there is a context that a session can belong to.
    """
    if engine.dialect.name != "sqlite" or is_in_memory(engine):
        return None
    if session not in _listening:
        _listening.add(session)
        event.listen(session, "after_begin", _remember)
    path = _file(engine)

    def state() -> Transaction:
        # A session isn't made in order to look at it.
        if not in_context() or not session.registry.has():
            return Transaction.NONE
        begun = session().info.get(_BEGUN, ())
        states = [_transaction(*one) for one in begun if _file(one[0].engine) == path]
        return max(states, default=Transaction.NONE)

    return state


#: The sessions that are listened to.
_listening: WeakSet[scoped_session[Any]] = WeakSet()
#: In ``session.info``: its connections to SQLite, and the changes that each had made before.
_BEGUN = "flask_authx"


def _remember(session: Any, transaction: Any, connection: Any) -> None:
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
    # A savepoint, or a recipe that begins each transaction itself, need not have written yet.
    return Transaction.WRITING if driver.total_changes > changes_before else Transaction.OPEN


def _file(engine: sa.Engine) -> Path:
    """The file of an SQLite database, however its URL spells it."""
    name = (engine.url.database or "").removeprefix("file:").partition("?")[0]
    return Path(name).resolve()
