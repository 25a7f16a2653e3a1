"""Opening connections to an SQL database: as the app does, but not from its pool."""

from __future__ import annotations

import contextlib
import inspect
import math
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool, StaticPool

from flask_authx.stores.base import StoreError

from .deadlines import Deadline

T = TypeVar("T")


class StoreConnection:
    """An open connection. One thread at a time uses it.

    :param timeout: the seconds that the server gives a statement.
    :param pooled: whether a pooler shares it with other clients.
    """

    def __init__(
        self, connection: sa.Connection, timeout: float, *, in_memory: bool, pooled: bool
    ) -> None:
        self.sqlalchemy: sa.Connection = connection
        #: A database in memory would be lost with its only connection, which is never too old.
        self.opened_at: float = math.inf if in_memory else time.monotonic()
        self.used_at: float = self.opened_at
        #: Whether a call has succeeded on it.
        self.proven: bool = False
        #: Which generation of the pool it belongs to.
        self.generation: int = 0
        self._timeout = timeout
        self._in_memory, self._pooled = in_memory, pooled
        #: One cursor for all calls of :meth:`fetch`.
        self._cursor: Any = connection.connection.cursor()
        descriptor = descriptor_of(connection)
        self.deadline: Deadline | None = None if descriptor is None else Deadline(descriptor)

    def fetch(self, query: str, values: Any) -> list[Any]:
        """Run a query on the driver's own cursor and return the rows.

        For queries that every request makes. A result through SQLAlchemy takes several times as
        long as SQLite needs for the query itself, and half as long as PostgreSQL needs.

        :param query: SQL with the driver's placeholders.
        :raises DBAPIError: if it fails.
        """
        dialect = self.sqlalchemy.dialect
        driver: Any = self._cursor.connection
        try:
            self._cursor.execute(query, values)
            rows: list[Any] = self._cursor.fetchall()
        except dialect.loaded_dbapi.Error as error:
            closed = dialect.is_disconnect(error, driver, self._cursor)
            failure: Exception = DBAPIError.instance(
                query,
                None,
                error,
                dialect.loaded_dbapi.Error,
                connection_invalidated=closed,
                dialect=dialect,
            )
        else:
            return rows
        raise failure

    def write(self, work: Callable[[StoreConnection], T]) -> T:
        """Run work that writes, and commit it durably.

        Behind a pooler it is a transaction with its own settings: those of a session would fall on
        other clients.
        """
        if not self._pooled:
            return work(self)
        settings = _postgresql_settings(self._timeout, local=True)
        self.sqlalchemy.exec_driver_sql(f"BEGIN ISOLATION LEVEL READ COMMITTED; SELECT {settings}")
        result = work(self)
        self.sqlalchemy.exec_driver_sql("COMMIT")
        return result

    @property
    def closed(self) -> bool:
        """Whether it has been closed."""
        return self.sqlalchemy.closed

    @property
    def timed_out(self) -> bool:
        """Whether a call has exceeded its deadline, so that the connection is unusable."""
        return self.deadline is not None and self.deadline.expired

    def close(self) -> None:
        """Close the connection without waiting for a server that may hang."""
        if self.deadline is not None:
            self.deadline.close()
        if not self._in_memory:
            with contextlib.suppress(Exception):
                self.sqlalchemy.invalidate()
        with contextlib.suppress(Exception):
            self.sqlalchemy.close()


#: What checks a driver's options without connecting: all that the URL and the driver's module say.
_CHECKS: dict[str, Callable[[Any, Sequence[Any], Mapping[str, Any]], object]] = {
    "psycopg": lambda dbapi, words, options: dbapi.conninfo.make_conninfo(*words, **options),
    "psycopg2": lambda dbapi, words, options: dbapi.extensions.make_dsn(*words, **options),
    "pymysql": lambda dbapi, words, options: dbapi.connect(*words, **options, defer_connect=True),
}


#: What PyMySQL answers with an error of its own code, in the order in which it reads them.
_MISREAD = {
    "ssl": "a URL can't set ssl: set ssl_ca=/path/to/ca.pem, or remove it",
    "charset": "it does not know the charset: set utf8mb4, or remove it",
}
_TLS_FILES = ("ssl_ca", "ssl_cert", "ssl_key")


def driver_problem(engine: sa.Engine) -> str | None:
    """Why each connection would fail before it reaches a server or file, if so."""
    dialect, url = engine.dialect, engine.url
    if dialect.is_async:
        return (
            f"the driver {dialect.driver} is async, and the store calls it from any thread: name a "
            "driver that is not, such as postgresql+psycopg or mysql+pymysql"
        )
    if dialect.name == "sqlite" and url.database and not is_in_memory(engine):
        # SQLite creates a file, and never its folder. A name that is a URI is left to it.
        if not url.database.startswith("file:") and not Path(url.database).parent.is_dir():
            return "the folder of the SQLite file does not exist: create it, or correct the URL"
        return None
    check = _CHECKS.get(dialect.driver)
    if check is None:
        return None
    words, options = dialect.create_connect_args(url)
    if dialect.driver != "pymysql":
        # Those of the driver itself are not the server's.
        own = inspect.signature(dialect.loaded_dbapi.connect).parameters
        options = {name: value for name, value in options.items() if name not in own}
    try:
        check(dialect.loaded_dbapi, words, options)
    except Exception as error:  # noqa: BLE001 - each driver has errors of its own
        text = _reason(error, url)
        if url.password and str(url.password) in text:
            text = type(error).__name__
        return f"the driver {dialect.driver} rejects the URL of the database: {text}"
    return None


def _reason(error: Exception, url: sa.URL) -> str:
    """What a driver says of a URL, or the option where it speaks of its own code."""
    text = " ".join(str(error).split())
    if isinstance(error, AttributeError):
        return next((said for option, said in _MISREAD.items() if option in url.query), text)
    if isinstance(error, OSError):
        # PyMySQL reads the files itself. The error names none.
        files = {name: str(url.query[name]) for name in _TLS_FILES if name in url.query}
        missing = {name: file for name, file in files.items() if not Path(file).is_file()}
        named = ", ".join(f"{name}={file}" for name, file in (missing or files).items())
        return f"{named}: {error.strerror or text}" if named else text
    return text


def connect(engine: sa.Engine, timeout: float) -> StoreConnection:
    """Open a connection whose statements are committed one by one.

    :raises StoreError: if the server is a standby, or read-only.
    """
    connection = engine.connect()
    try:
        connection.execution_options(isolation_level="AUTOCOMMIT")
        pooled = _inspect(connection)
        if pooled:
            # A statement that one server connection has prepared is unknown to the next.
            driver: Any = connection.connection.dbapi_connection
            if hasattr(driver, "prepare_threshold"):
                driver.prepare_threshold = None
        else:
            for statement in _settings_for(connection.dialect, timeout):
                connection.exec_driver_sql(statement)
        in_memory = is_in_memory(engine)
        return StoreConnection(connection, timeout, in_memory=in_memory, pooled=pooled)
    except BaseException:
        connection.invalidate()
        connection.close()
        raise


def _inspect(connection: sa.Connection) -> bool:
    """Whether a pooler such as PgBouncer is between the client and PostgreSQL, in one round trip.

    :raises StoreError: if the server is a standby, or read-only.
    """
    query = {
        "postgresql": "SELECT pg_is_in_recovery(), pg_backend_pid()",
        "mysql": "SELECT @@global.read_only, 0",
        "mariadb": "SELECT @@global.read_only, 0",
    }.get(connection.dialect.name)
    if query is None:
        return False
    [[refuses, pid]] = connection.exec_driver_sql(query)
    if str(refuses) not in ("False", "0", "OFF"):
        state = "in recovery" if "recovery" in query else "read-only"
        raise StoreError(f"the database server is {state}: it is a standby, or under maintenance")
    return _is_pooled(connection, pid)


def is_pooled(connection: sa.Connection) -> bool:
    """Whether a pooler such as PgBouncer is between the client and PostgreSQL."""
    if connection.dialect.name != "postgresql":
        return False
    return _is_pooled(connection, connection.exec_driver_sql("SELECT pg_backend_pid()").scalar())


def _is_pooled(connection: sa.Connection, pid: Any) -> bool:
    # A pooler tells its clients of a process that is none of PostgreSQL's.
    driver: Any = connection.connection.dbapi_connection
    told = getattr(getattr(driver, "info", None), "backend_pid", None)
    return connection.dialect.name == "postgresql" and told is not None and told != pid


def _settings_for(dialect: sa.Dialect, timeout: float) -> Iterator[str]:
    """The statements that set up a connection: timeouts, and durable commits.

    As few as possible: each is a round trip, and one deadline covers all that opens a connection.
    """
    milliseconds = max(1, math.floor(timeout * 1000))
    if dialect.name == "sqlite":
        yield f"PRAGMA busy_timeout = {milliseconds}"
        yield "PRAGMA synchronous = FULL"
        # In KiB, allocated on demand. The inner pages of a million rows exceed the default, 2 MiB.
        yield "PRAGMA cache_size = -8192"
    elif dialect.name == "postgresql":
        # Under a stricter level, two concurrent revocations under one key could fail.
        isolation = "set_config('default_transaction_isolation', 'read committed', false)"
        yield f"SELECT {_postgresql_settings(timeout, local=False)}, {isolation}"
    else:
        if getattr(dialect, "is_mariadb", False):
            limit = f"max_statement_time = {timeout}"
        else:
            limit = f"max_execution_time = {milliseconds}"
        lock = f"innodb_lock_wait_timeout = {max(1, math.ceil(timeout))}"
        yield f"SET SESSION {lock}, {limit}"
        # Without gap locks a prune doesn't block other writes.
        yield "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED"


def _postgresql_settings(timeout: float, *, local: bool) -> str:
    """What a query selects that sets them for the session, or for the transaction alone."""
    # A statement that waits for a lock would outlive a client that hangs up.
    limit = max(1, math.floor(timeout * 1000))
    return (
        f"set_config('statement_timeout', '{limit}', {local}), "
        "CASE current_setting('synchronous_commit') WHEN 'off' "
        f"THEN set_config('synchronous_commit', 'on', {local}) END"
    )


def is_in_memory(engine: sa.Engine) -> bool:
    """Whether the database is an in-memory SQLite database."""
    database = engine.url.database or ""
    return engine.dialect.name == "sqlite" and (
        database in ("", ":memory:") or "mode=memory" in str(engine.url) or ":memory:" in database
    )


def separate_engine(engine: sa.Engine) -> sa.Engine:
    """An engine that connects as the app's engine does, but doesn't use its pool."""
    if is_in_memory(engine):
        return sa.create_engine(
            "sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False}
        )

    def connect() -> Any:
        # A copy of the app's pool connects with the same arguments, creator and events. A new copy
        # each time includes events that were added since.
        pooled = engine.pool.recreate().connect()
        pooled.detach()
        return pooled.dbapi_connection

    # No rollback when a connection is closed: each statement has been committed. The dialect is the
    # app's: one of its own would ask the server for its version and more once again.
    pool = NullPool(connect, dialect=engine.dialect, reset_on_return=None)
    separate = sa.Engine(pool, engine.dialect, engine.url)
    schemas = engine.get_execution_options().get("schema_translate_map")
    return separate.execution_options(schema_translate_map=schemas) if schemas else separate


def descriptor_of(connection: sa.Connection) -> int | None:
    """The descriptor of a connection's socket; ``None`` if there is none or it can't be found."""
    driver: Any = connection.connection.dbapi_connection
    # PyMySQL is the only common driver without a public fileno().
    source: Any = driver if hasattr(driver, "fileno") else getattr(driver, "_sock", None)
    return None if source is None else int(source.fileno())


def _codes(error: BaseException) -> set[object]:
    """The SQLSTATE of PostgreSQL, and the number of MariaDB and MySQL."""
    driver: Any = getattr(error, "orig", None)
    states = {getattr(driver, "sqlstate", None), getattr(driver, "pgcode", None)}
    return states | {*getattr(driver, "args", ())[:1]}


def has_gone(error: DBAPIError) -> bool:
    """Whether the connection is lost, or its server goes away or takes no writes."""
    return error.connection_invalidated or bool(_codes(error) & {"57P01", "25006", 1290, 1836})


#: How a server says that it has as many connections as it may have. A pooler quotes its words.
_FULL_WORDS = ("too many", "connection slots are reserved")
_FULL_CODES = {"53300", 1040, 1203, 1226}
#: What else a server says of a client that it doesn't admit, or of its memory: classes of
#: PostgreSQL's SQLSTATE, and the numbers of MariaDB and MySQL.
_REFUSED_CLASSES = ("28", "3D", "42", "53")
_REFUSED_NUMBERS = {1041, 1044, 1045, 1049, 1129, 1130, 1135, 1698, 1820, 1862, 3118, 3159, 4151}
#: What libpq puts before the message of a server, in whichever language, and before no other.
_SEVERITY = re.compile(r"\S:  \S")
#: The messages of a server that starts, stops or is a standby, and of a pooler without a server.
_NOT_IN_SERVICE = (
    *("the database system is", "shutting down", "server login", "server conn crashed"),
    *("cannot connect to server", "query_wait_timeout"),
)


def is_refusal(error: BaseException) -> bool:
    """Whether the server itself has refused a connection, and so is there and in service.

    Most often it has too many. Silence is none, nor is a server that starts, stops or is read-only:
    another may have its place.
    """
    if not isinstance(error, DBAPIError):
        return False
    driver: Any = error.orig
    text, [number] = str(driver), driver.args[:1] or [None]
    if _codes(error) & _FULL_CODES or any(words in text for words in _FULL_WORDS):
        return True
    if isinstance(number, int):
        return number in _REFUSED_NUMBERS
    if state := getattr(driver, "sqlstate", None) or getattr(driver, "pgcode", None):
        return str(state).startswith(_REFUSED_CLASSES)
    # libpq gives the refusal of a connection as a text only, in the server's language.
    return _SEVERITY.search(text) is not None and not any(word in text for word in _NOT_IN_SERVICE)
