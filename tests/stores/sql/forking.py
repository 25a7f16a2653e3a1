"""A process that forks after it has used its connections.

Run with ``-m``, the URL of a database and the query for a connection's number. It prints what
parent and child have seen.
"""

from __future__ import annotations

import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import sqlalchemy as sa

from flask_authx.stores.base import StoreError
from flask_authx.stores.sql.connections import Connections, StoreConnection

THREADS, CALLS = 4, 100


def ask(connections: Connections, query: str, first: int) -> dict[str, Any]:
    """Ask many questions at once, and return the connections and the number of wrong answers."""

    def call(number: int) -> tuple[int, bool]:
        def work(connection: StoreConnection) -> tuple[int, bool]:
            [(pid,)] = connection.fetch(query, ())
            [(answer,)] = connection.fetch(f"SELECT {number}", ())
            return int(pid), answer == number

        return connections.run(work)

    with ThreadPoolExecutor(THREADS) as pool:
        answers = [*pool.map(call, range(first, first + CALLS))]
    return {
        "pids": sorted({pid for pid, _ in answers}),
        "wrong": sum(not right for _, right in answers),
    }


def is_ended(connections: Connections, dialect: str) -> bool:
    """Whether a call without a response ends in time: a thread of this process must end it."""
    sleep = "pg_sleep(60)" if dialect == "postgresql" else "SLEEP(60)"
    unset = "statement_timeout" if dialect == "postgresql" else "max_statement_time"

    def hang(connection: StoreConnection) -> None:
        connection.sqlalchemy.exec_driver_sql(f"SET {unset} = 0")
        connection.fetch(f"SELECT {sleep}", ())

    try:
        connections.run(hang)
    except StoreError:
        return True
    return False


def main(url: str, query: str) -> None:
    engine = sa.create_engine(url)
    connections = Connections(engine, 2)
    before = ask(connections, query, 0)
    ready, told = os.pipe()
    # The package has no hooks of its own. A fork in C would leave it to chance whether the child's
    # interpreter still switches between threads: tests/stores/test_uwsgi.py has that of a server.
    child = os.fork()
    if not child:
        found = ask(connections, query, 1000)
        found["ended"] = is_ended(connections, engine.dialect.name)
        os.write(told, json.dumps(found).encode("ascii"))
        os._exit(0)
    os.close(told)
    during = ask(connections, query, 2000)
    _, status = os.waitpid(child, 0)
    after = ask(connections, query, 3000)
    with os.fdopen(ready) as pipe:
        of_child = json.loads(pipe.read() or "null")
    parent = {"before": before, "during": during, "after": after}
    print(json.dumps({**parent, "child": of_child, "status": status}))


if __name__ == "__main__":
    main(*sys.argv[1:])
