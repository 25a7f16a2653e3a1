"""What tests of the connections to database servers share."""

from __future__ import annotations

import contextlib
import threading
import uuid
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import sqlalchemy as sa

from flask_authx.stores.sql.connections import Connections, StoreConnection
from tests.support.waiting import until

SERVERS = ("postgresql", "psycopg2", "mariadb")
#: The number that the server has given a connection.
PID = {"postgresql": "SELECT pg_backend_pid()", "mariadb": "SELECT connection_id()"}
PID["psycopg2"] = PID["postgresql"]


class Server:
    """A database of this process on a server, and one connection that administers it."""

    def __init__(self, kind: str, url: str, run: Callable[[str], Any]) -> None:
        self.kind = kind
        self.url = url
        self.run = run

    def connections(
        self, timeout: float = 30, size: int = 10, url: str | None = None
    ) -> Connections:
        return Connections(sa.create_engine(url or self.url), timeout, size)

    def pid(self, connection: StoreConnection) -> int:
        [(pid,)] = connection.fetch(PID[self.kind], ())
        return int(pid)

    def are_open(self, *pids: int) -> list[bool]:
        """Which of these connections the server has."""
        table, name = ("pg_stat_activity", "pid")
        if self.kind == "mariadb":
            table, name = ("information_schema.processlist", "id")
        found = {row[0] for row in self.run(f"SELECT {name} FROM {table}")}
        return [pid in found for pid in pids]

    def end(self, pid: int) -> None:
        """End a connection, as an administrator does."""
        self.run(f"KILL {pid}" if self.kind == "mariadb" else f"SELECT pg_terminate_backend({pid})")
        until(lambda: self.are_open(pid) == [False])


def at_once(
    connections: Connections, calls: int, work: Callable[[StoreConnection], int]
) -> set[int]:
    """The results of calls that each hold a connection until all of them have one."""
    together = threading.Barrier(calls)

    def call(_: int) -> int:
        def meet(connection: StoreConnection) -> int:
            together.wait(60)
            return work(connection)

        return connections.run(meet)

    with ThreadPoolExecutor(calls) as pool:
        return {*pool.map(call, range(calls))}


@contextlib.contextmanager
def user_with(server: Server, most: int) -> Generator[tuple[str, Callable[[int], Any]]]:
    """The URL of a user who may have so many connections, and what changes the number."""
    name = f"authx_{uuid.uuid4().hex[:10]}"
    url = sa.make_url(server.url).set(username=name, password="secret")
    if server.kind == "mariadb":
        user, limit = f"{name}@'127.0.0.1'", "WITH MAX_USER_CONNECTIONS"
        server.run(f"CREATE USER {user} IDENTIFIED BY 'secret'")
        server.run(f"GRANT ALL ON {url.database}.* TO {user}")
        change = "USER"
    else:
        user, limit, change = name, "CONNECTION LIMIT", "ROLE"
        server.run(f"CREATE ROLE {user} LOGIN PASSWORD 'secret'")

    def limit_to(number: int) -> None:
        server.run(f"ALTER {change} {user} {limit} {number}")
        if server.kind == "mariadb":
            server.run("FLUSH USER_RESOURCES")

    limit_to(most)
    yield url.render_as_string(hide_password=False), limit_to
    server.run(f"DROP {change} {user}")
