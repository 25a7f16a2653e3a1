"""How an SQL database could lose or miss what is written to it, as it is set up now."""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa

from flask_authx.stores.base import Risk

from .connections import descriptor_of


def missing(connection: sa.Connection, table: sa.Table, outcome: str) -> Iterator[Risk]:
    """A table that isn't there.

    :param outcome: what comes of that.
    """
    if not sa.inspect(connection).has_table(table.name, schema=table.schema):
        yield Risk(
            f"the table {table.fullname} is missing: {outcome}.",
            "create it with db.create_all(), or with flask db migrate and flask db upgrade.",
            fatal=True,
        )


def lossy(connection: sa.Connection, what: str) -> Iterator[Risk]:
    """Settings of the server under which a commit may be lost, or be seen late.

    :param what: what is kept there, as a plural.
    """
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
            yield _read_only(what)
        if connection.exec_driver_sql("SHOW fsync").scalar() == "off":
            yield Risk(
                f"PostgreSQL runs with fsync off: a power cut may lose {what} and more.",
                "set fsync = on.",
            )
    else:
        yield from _lossy_mysql(connection, what)


def _read_only(what: str) -> Risk:
    """That of a replica, or of a server that is being maintained."""
    return Risk(
        f"the database is read-only, or a replica: it takes no {what}, and may know others late.",
        "name the primary server.",
    )


def _lossy_mysql(connection: sa.Connection, what: str) -> Iterator[Risk]:
    if str(connection.exec_driver_sql("SELECT @@global.read_only").scalar()) in ("1", "ON"):
        yield _read_only(what)
    if connection.exec_driver_sql("SELECT @@innodb_flush_log_at_trx_commit").scalar() != 1:
        yield Risk(
            f"innodb_flush_log_at_trx_commit is not 1: a crash may lose the last second's {what}.",
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
            "the Galera cluster answers a node's questions from what it has applied so far: "
            f"{what} on one node are seen late on others.",
            "set wsrep_sync_wait to 1, or let all workers use one node.",
        )
