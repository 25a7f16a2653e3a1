from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from flask_authx.stores.sql.connecting import connect, separate_engine
from tests.support.databases import database_url

SERVERS = ["postgresql", "mariadb"]


@pytest.fixture(params=SERVERS)
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sa.Engine]:
    made = sa.create_engine(database_url(request.param, tmp_path))
    yield made
    made.dispose()


def opened(engine: sa.Engine) -> tuple[sa.Connection, list[str]]:
    """A connection for the store, and the statements that opened it."""
    separate, statements = separate_engine(engine), list[str]()

    def note(_conn: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    event.listen(separate, "before_cursor_execute", note)
    return connect(separate, 0.25).sqlalchemy, statements


def test_a_connection_is_open_after_few_round_trips(engine: sa.Engine) -> None:
    """One deadline covers them all, and a database may be 60 ms away."""
    connection, statements = opened(engine)
    assert len(statements) <= {"postgresql": 2}.get(engine.dialect.name, 3), statements
    # SQLAlchemy asks a server for its version and more, once a dialect.
    assert connection.dialect is engine.dialect
    connection.close()


def test_a_statement_that_waits_ends_on_the_server_too(engine: sa.Engine) -> None:
    connection, _ = opened(engine)
    settings = (
        {"statement_timeout": "250ms", "transaction_isolation": "read committed"}
        if engine.dialect.name == "postgresql"
        else {
            "innodb_lock_wait_timeout": "1",
            "max_statement_time": "0.25",
            "tx_isolation": "READ-COMMITTED",
        }
    )
    for name, value in settings.items():
        query = f"SHOW {name}" if engine.dialect.name == "postgresql" else f"SELECT @@{name}"
        assert str(connection.exec_driver_sql(query).scalar()) == value, name
    connection.close()


@pytest.mark.parametrize(
    ("before", "after"), [("off", "on"), ("remote_apply", "remote_apply"), ("local", "local")]
)
def test_postgresql_confirms_a_commit_when_it_is_durable(
    before: str, after: str, tmp_path: Path
) -> None:
    """What is durable already may be more than that, by the server's configuration."""
    options = {"options": f"-c synchronous_commit={before}"}
    engine = sa.create_engine(database_url("postgresql", tmp_path), connect_args=options)
    connection, _ = opened(engine)
    assert connection.exec_driver_sql("SHOW synchronous_commit").scalar() == after
    connection.close()
    engine.dispose()
