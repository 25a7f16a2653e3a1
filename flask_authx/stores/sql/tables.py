"""The tables as SQLAlchemy objects. Migrations treat them like the app's own tables."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.exc import DBAPIError

BLOCKLIST = "authx_blocklist"
SESSIONS = "authx_sessions"
AUDIT = "authx_audit"

_KEY = sa.LargeBinary(16).with_variant(mysql.BINARY(16), "mysql", "mariadb")
#: SQLite generates row numbers only in a column of type INTEGER.
_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def blocklist_table(metadata: sa.MetaData) -> sa.Table:
    """The table of revocations: one small row for each revoked token, session or subject.

    Times are seconds since 1970-01-01 UTC. The primary key is the only index: keys are hashes, so
    a range of them is a random sample, and pruning goes through them in order.
    """
    existing = _existing(metadata, BLOCKLIST)
    if existing is not None:
        return existing
    return sa.Table(
        BLOCKLIST,
        metadata,
        sa.Column("key", _KEY, primary_key=True),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        #: 0 for a token, 1 for a session, 2 for a subject, 3 for the whole scope.
        sa.Column("kind", sa.SmallInteger, nullable=False),
        #: Microseconds. NULL: the entry revokes everything under its key.
        sa.Column("cutoff", sa.BigInteger),
        sa.Column("keep_after", sa.BigInteger),
        sa.Column("keep", _KEY),
        # SQLite then stores the rows in the index itself: half the size and one look-up less.
        sqlite_with_rowid=False,
    )


def sessions_table(metadata: sa.MetaData) -> sa.Table:
    """The table of sessions: one row for each active session.

    The primary key begins with the subject, so that SQLite and MySQL store a subject's rows next to
    each other and read a list of them from one place. Times are seconds since 1970-01-01 UTC.
    Pruning goes through the subjects in order, as in :func:`blocklist_table`, so ``expires_at``,
    which each refresh changes, needs no index.
    """
    existing = _existing(metadata, SESSIONS)
    if existing is not None:
        return existing
    return sa.Table(
        SESSIONS,
        metadata,
        #: The hash of the subject, for the list of a user's sessions.
        sa.Column("subject", _KEY, primary_key=True),
        #: The hash of the sid, by which a refresh finds the row.
        sa.Column("key", _KEY, primary_key=True, unique=True),
        sa.Column("sid", sa.String(255), nullable=False),
        sa.Column("sub", sa.String(255), nullable=False),
        #: Microseconds, by the clock of the store of revocations.
        sa.Column("began", sa.BigInteger, nullable=False),
        #: The cut-off of the scope at that moment.
        sa.Column("epoch", sa.BigInteger),
        sa.Column("ends", sa.BigInteger, nullable=False),
        #: The number of refreshes so far.
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("rotated_at", sa.BigInteger, nullable=False),
        sa.Column("last_seen", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        #: The client of the last refresh; NULL where the app doesn't store it.
        sa.Column("user_agent", sa.String(255)),
        sa.Column("address", sa.String(255)),
        #: The name that its user has given it.
        sa.Column("name", sa.String(255)),
        # Independent of the database's default: names may be in any script.
        mysql_charset="utf8mb4",
        mariadb_charset="utf8mb4",
        sqlite_with_rowid=False,
    )


def audit_table(metadata: sa.MetaData) -> sa.Table:
    """The table of the audit trail: who revoked what, when and why. Its rows never change."""
    existing = _existing(metadata, AUDIT)
    if existing is not None:
        return existing
    return sa.Table(
        AUDIT,
        metadata,
        sa.Column("id", _ID, primary_key=True),
        #: Seconds since 1970-01-01 UTC.
        sa.Column("at", sa.BigInteger, nullable=False, index=True),
        #: The name of the ``AuthX`` object.
        sa.Column("instance", sa.String(64), nullable=False),
        #: ``user:`` and the subject of the request's token, ``user-sha256:`` and its digest if that
        #: is too long, or ``cli:`` and the name of the system's user; NULL if none is known.
        sa.Column("actor", sa.String(255)),
        #: What was revoked: ``token``, ``session``, ``subject`` or ``scope``, and its jti, sid, sub
        #: or name.
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("value", sa.String(255), nullable=False),
        #: The sid of the session that a revocation of all others kept.
        sa.Column("keep", sa.String(255)),
        sa.Column("reason", sa.Text),
        # Independent of the database's default: subjects and reasons may be in any script.
        mysql_charset="utf8mb4",
        mariadb_charset="utf8mb4",
    )


def _existing(metadata: sa.MetaData, name: str) -> sa.Table | None:
    """The table, if another app with the same metadata has defined it already."""
    return metadata.tables.get(f"{metadata.schema}.{name}" if metadata.schema else name)


@dataclass(frozen=True, slots=True)
class TableWording:
    """How error messages describe the content of a table.

    :param plural: what its rows are.
    :param singular: one of them, with an article.
    :param commit_before: the calls before which the app must commit its own writes.
    :param after_restart: what a restart does to rows in the memory of a process.
    :param without_table: what happens while the table is missing.
    """

    plural: str
    singular: str
    commit_before: str
    after_restart: str
    without_table: str


REVOCATION_WORDING = TableWording(
    plural="revocations",
    singular="a revocation",
    commit_before="you revoke, and before the first log-in",
    after_restart="loses them",
    without_table="every guarded request gets a 503 response",
)
SESSION_WORDING = TableWording(
    plural="sessions",
    singular="a session",
    commit_before="login() and refresh()",
    after_restart="ends them all",
    without_table="every log-in and every refresh gets a 503 response",
)


def missing_in_database(error: DBAPIError) -> str | None:
    """What the database lacks, and how to create it, if that is why a statement has failed."""
    driver: Any = error.orig
    # A SQLSTATE of PostgreSQL is an attribute, a number of MariaDB and MySQL the first argument.
    state = getattr(driver, "sqlstate", None) or getattr(driver, "pgcode", None)
    codes, text = {state, next(iter(driver.args), None)}, str(driver)
    table = re.search(rf"{BLOCKLIST}|{SESSIONS}|{AUDIT}", f"{text} {error.statement}")
    if table is None:
        return None
    if codes & {"42P01", 1146} or "no such table" in text:
        return f"the table {table[0]} is missing: run `flask db upgrade`, or call db.create_all()"
    if codes & {"42703", 1054} or "no such column" in text or "has no column named" in text:
        return f"the table {table[0]} lacks a column: run `flask db upgrade`"
    return None
