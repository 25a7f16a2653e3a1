"""The tables, as SQLAlchemy knows them. Migrations see them like any other of the app's."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

BLOCKLIST = "authx_blocklist"
SESSIONS = "authx_sessions"
AUDIT = "authx_audit"

_KEY = sa.LargeBinary(16).with_variant(mysql.BINARY(16), "mysql", "mariadb")
#: SQLite numbers rows only in a column of just this type.
_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def blocklist_table(metadata: sa.MetaData) -> sa.Table:
    """The table of revocations: one row for each token, login or subject, small and without text.

    Times are seconds since 1970-01-01 UTC. There is no index beside the primary key: keys are
    hashes, so a stretch of them is a fair sample, and pruning walks along them.
    """
    known = _known(metadata, BLOCKLIST)
    if known is not None:
        return known
    return sa.Table(
        BLOCKLIST,
        metadata,
        sa.Column("key", _KEY, primary_key=True),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        #: 0 for a token, 1 for a session, 2 for a subject.
        sa.Column("kind", sa.SmallInteger, nullable=False),
        #: NULL: there is no login that the entry doesn't end.
        sa.Column("cutoff", sa.BigInteger),
        sa.Column("keep_after", sa.BigInteger),
        sa.Column("keep", _KEY),
        # SQLite then keeps the rows in the index itself: half the size, and one look-up less.
        sqlite_with_rowid=False,
    )


def sessions_table(metadata: sa.MetaData) -> sa.Table:
    """The table of logins: one row for each that goes on, whatever number of times it is refreshed.

    The primary key begins with the subject, so that SQLite and MySQL keep a subject's rows beside
    each other: a list is read in one place, however many rows there are. Times are seconds since
    1970-01-01 UTC. Rows are pruned as those of :func:`blocklist_table`, along the subjects, so
    ``expires_at``, which each refresh changes, has no index.
    """
    known = _known(metadata, SESSIONS)
    if known is not None:
        return known
    return sa.Table(
        SESSIONS,
        metadata,
        #: Made from the subject, for the list of one's logins.
        sa.Column("subject", _KEY, primary_key=True),
        #: Made from the sid: what a refresh finds the row by.
        sa.Column("key", _KEY, primary_key=True, unique=True),
        sa.Column("sid", sa.String(255), nullable=False),
        sa.Column("sub", sa.String(255), nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("ends", sa.BigInteger, nullable=False),
        #: How many refreshes there have been.
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("rotated_at", sa.BigInteger, nullable=False),
        sa.Column("last_seen", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        #: Of the last client; NULL where the app doesn't keep it.
        sa.Column("user_agent", sa.String(255)),
        sa.Column("address", sa.String(255)),
        #: What its owner calls it.
        sa.Column("name", sa.String(255)),
        # Whatever the database's own is: names may be in any script.
        mysql_charset="utf8mb4",
        mariadb_charset="utf8mb4",
        sqlite_with_rowid=False,
    )


def audit_table(metadata: sa.MetaData) -> sa.Table:
    """The table that says who revoked what, when and why. It is written to and never changed."""
    known = _known(metadata, AUDIT)
    if known is not None:
        return known
    return sa.Table(
        AUDIT,
        metadata,
        sa.Column("id", _ID, primary_key=True),
        #: Seconds since 1970-01-01 UTC.
        sa.Column("at", sa.BigInteger, nullable=False, index=True),
        #: The name of the ``AuthX`` object.
        sa.Column("instance", sa.String(64), nullable=False),
        #: The subject of the token with which it was asked for; NULL if there was none.
        sa.Column("actor", sa.String(255)),
        #: What was revoked: ``token``, ``session`` or ``subject``, and its jti, sid or sub.
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("value", sa.String(255), nullable=False),
        #: The sid that a revocation of all others kept.
        sa.Column("keep", sa.String(255)),
        sa.Column("reason", sa.Text),
        # Whatever the database's own is: subjects and reasons may be in any script.
        mysql_charset="utf8mb4",
        mariadb_charset="utf8mb4",
    )


def _known(metadata: sa.MetaData, name: str) -> sa.Table | None:
    """The table, if another app with the same metadata has defined it already."""
    return metadata.tables.get(f"{metadata.schema}.{name}" if metadata.schema else name)


@dataclass(frozen=True, slots=True)
class Words:
    """How a store speaks of what it keeps.

    :param many: a plural.
    :param one: the same with an article.
    :param before: what the app should have committed before.
    :param forgotten: what a restart of a process does if they are in its memory.
    :param missing: what comes of a table that isn't there.
    """

    many: str
    one: str
    before: str
    forgotten: str
    missing: str


REVOCATIONS = Words(
    many="revocations",
    one="a revocation",
    before="you revoke",
    forgotten="forgets them",
    missing="every guarded request is answered with 503",
)
LOGINS = Words(
    many="logins",
    one="a login",
    before="login() and refresh()",
    forgotten="ends them all",
    missing="every log-in and every refresh is answered with 503",
)
