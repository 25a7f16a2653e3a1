"""The time of a database, in SQL: a server's own clock, or for SQLite that of the machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from flask_authx.stores.base import MICROSECONDS

#: Microseconds and seconds since 1970-01-01 UTC, at the beginning of the statement.
_SERVERS = {
    "postgresql": (
        "CAST(extract(epoch FROM statement_timestamp()) * 1000000 AS BIGINT)",
        "CAST(floor(extract(epoch FROM statement_timestamp())) AS BIGINT)",
    ),
    "mysql": (
        "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))",
        "TIMESTAMPDIFF(SECOND, '1970-01-01', UTC_TIMESTAMP())",
    ),
}
_SERVERS["mariadb"] = _SERVERS["mysql"]


class Time:
    """The time as expressions for statements, in seconds and in microseconds.

    :param dialect: the name of SQLAlchemy's dialect.
    :param clock: seconds since 1970-01-01 UTC, for SQLite.
    """

    def __init__(self, dialect: str, clock: Callable[[], float]) -> None:
        self._clock = clock
        #: Whether it is that of the machine: a statement then needs :meth:`parameters`.
        self.of_machine: bool = dialect not in _SERVERS
        self.microseconds: Any = sa.bindparam("now_microseconds", type_=sa.BigInteger)
        self.seconds: Any = sa.bindparam("now_seconds", type_=sa.BigInteger)
        if not self.of_machine:
            self.microseconds, self.seconds = (
                sa.literal_column(text, sa.BigInteger) for text in _SERVERS[dialect]
            )

    def now(self) -> int:
        """The machine's time in microseconds since 1970-01-01 UTC."""
        return int(self._clock() * MICROSECONDS)

    def parameters(self) -> dict[str, object]:
        """The parameters of a statement that contains the time."""
        if not self.of_machine:
            return {}
        now = self.now()
        return {"now_microseconds": now, "now_seconds": now // MICROSECONDS}
