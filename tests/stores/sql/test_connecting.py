from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from flask_authx.stores.base import StoreError
from flask_authx.stores.sql.connecting import connect, is_refusal, separate_engine
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


@contextlib.contextmanager
def refusing(severity: str, message: str) -> Generator[str]:
    """A server that refuses each client in PostgreSQL's protocol; its ``host:port``."""
    words = b"".join(
        key + text.encode() + bytes(1)
        for key, text in ((b"S", severity), (b"V", "FATAL"), (b"C", "53300"), (b"M", message))
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    with client:
                        # It asks for TLS before.
                        while client.recv(1000)[4:8] == b"\x04\xd2\x16\x2f":
                            client.sendall(b"N")
                        if message:
                            client.sendall(b"E" + struct.pack("!I", 5 + len(words)) + words)
                            client.sendall(bytes(1))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(30)


def refusal_of(url: str) -> Exception:
    """The error of connecting."""
    engine = sa.create_engine(url)
    try:
        connect(separate_engine(engine), 5).close()
    except Exception as error:  # noqa: BLE001 - the result
        return error
    raise AssertionError(f"{url} connects")


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
@pytest.mark.parametrize(
    ("severity", "message", "expected"),
    [
        ("FATAL", "sorry, too many clients already", True),
        ("FATAL", "tut mir leid, schon zu viele Verbindungen", True),
        ("ВАЖНО", "извините, уже слишком много клиентов", True),
        ("致命错误", "对不起, 已经有太多的客户", True),
        ("FATAL", "no more connections allowed (max_client_conn)", True),
        ("FATAL", 'role "app" is not permitted to log in', True),
        ("FATAL", "server login has been failing, cached error: sorry, too many clients", True),
        ("FATAL", "server login has been failing, cached error: connect failed", False),
        ("FATAL", "query_wait_timeout", False),
        ("FATAL", "the database system is starting up", False),
        ("FATAL", "the database system is not accepting connections", False),
        ("FATAL", "the database system is shutting down", False),
        ("", "", False),
    ],
)
def test_what_postgresql_or_a_pooler_says_in_any_language_is_its_refusal(
    driver: str, severity: str, message: str, *, expected: bool
) -> None:
    """But not of a server that isn't in service, nor that a line was cut."""
    with refusing(severity, message) as place:
        assert is_refusal(refusal_of(f"postgresql+{driver}://app@{place}/x")) is expected


@pytest.mark.parametrize("kind", ["postgresql", "psycopg2", "mariadb"])
def test_servers_refuse_and_closed_ports_do_not(kind: str, tmp_path: Path) -> None:
    url = sa.make_url(database_url(kind, tmp_path))
    shown = url.set(database="authx_no_such_database").render_as_string(hide_password=False)
    assert is_refusal(refusal_of(shown))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    shown = url.set(port=port).render_as_string(hide_password=False)
    assert not is_refusal(refusal_of(shown))
    assert not is_refusal(StoreError("the database server is in recovery"))
