"""Where the stores are: places of the benchmark's own, gone at the end."""

from __future__ import annotations

import sqlite3
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from benchmarks.stores.servers import databases, redis_server

#: The variable that says where a server is, what it says by default, and a server's usual port.
_SERVERS = {
    "PostgreSQL": ("TEST_POSTGRES_URL", "postgresql+psycopg://root@127.0.0.1/test", 5432),
    "MariaDB": ("TEST_MARIADB_URL", "mariadb+pymysql://root@127.0.0.1/test", 3306),
}
STORES = (*_SERVERS, "SQLite", "Redis")


@dataclass(frozen=True)
class Place:
    """A store for both.

    :param server: its host and port; nothing for a file.
    """

    store: str
    url: sa.URL
    server: tuple[str, int] | None = None

    def address(self, port: int | None = None) -> str:
        """As a setting has it.

        :param port: that of a line to it on this machine.
        """
        url = self.url if port is None else self.url.set(host="127.0.0.1", port=port)
        return url.render_as_string(hide_password=False)


def place(store: str, stack: ExitStack, folder: Path) -> Place:
    """A new one, until the end of the stack.

    :raises AbsentError: if its server is not there.
    """
    if store == "SQLite":
        file = folder / "load.db"
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
        return Place(store, sa.URL.create("sqlite", database=str(file)))
    if store == "Redis":
        server = ("127.0.0.1", stack.enter_context(redis_server(folder)))
        return Place(store, sa.URL.create("redis", None, None, *server, "0"), server)
    variable, default, port = _SERVERS[store]
    [url] = stack.enter_context(databases(variable, default, ["load"]))
    return Place(store, url, (url.host or "127.0.0.1", url.port or port))
