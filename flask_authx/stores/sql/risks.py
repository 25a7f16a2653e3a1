"""How an SQL database could lose or miss writes in its current configuration."""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa

from flask_authx.stores.base import Risk

from .connecting import descriptor_of, is_pooled


def missing_table(connection: sa.Connection, table: sa.Table, outcome: str) -> Iterator[Risk]:
    """A table that is missing.

    :param outcome: what happens while it is missing.
    """
    if not sa.inspect(connection).has_table(table.name, schema=table.schema):
        yield Risk(
            f"the table {table.fullname} is missing: {outcome}.",
            "create it with db.create_all(), or with flask db migrate and flask db upgrade.",
            fatal=True,
        )


def durability_risks(connection: sa.Connection, what: str) -> Iterator[Risk]:
    """Settings of the server under which a commit may be lost, or become visible late.

    :param what: what the database stores, as a plural.
    """
    name = connection.dialect.name
    if name != "sqlite" and descriptor_of(connection) is None:
        yield Risk(
            f"the driver {connection.dialect.driver} has no way to time out when a server hangs: "
            "requests may hang with it.",
            "use psycopg, psycopg2, PyMySQL or mysqlclient.",
        )
    if name == "sqlite":
        if connection.exec_driver_sql("PRAGMA journal_mode").scalar() != "wal":
            yield Risk(
                "the SQLite file is not in WAL mode: requests wait during every write.",
                f'run "PRAGMA journal_mode=WAL" once on {connection.engine.url.database}.',
            )
    elif name == "postgresql":
        if is_pooled(connection):
            yield Risk(
                "a pooler such as PgBouncer is between the app and PostgreSQL: each write takes "
                "three messages in place of one, and the server ends no look-up that waits.",
                "name PostgreSQL itself in a bind of SQLALCHEMY_BINDS.",
            )
        if connection.exec_driver_sql("SHOW transaction_read_only").scalar() == "on":
            yield _read_only(what)
        if connection.exec_driver_sql("SHOW fsync").scalar() == "off":
            yield Risk(
                f"PostgreSQL runs with fsync off: a power cut may lose {what} and more.",
                "set fsync = on.",
            )
    else:
        yield from _mysql_risks(connection, what)


def _read_only(what: str) -> Risk:
    """The risk of a server that lets this user read only. One in recovery is refused before."""
    return Risk(
        f"the database is read-only, or a replica: it accepts no {what}, and may return those of "
        "the primary late.",
        "name the primary server.",
    )


def _mysql_risks(connection: sa.Connection, what: str) -> Iterator[Risk]:
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
            "a node of the Galera cluster answers queries from what it has applied so far: "
            f"{what} written on one node are visible late on others.",
            "set wsrep_sync_wait to 1, or let all workers use one node.",
        )
