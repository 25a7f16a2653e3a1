"""Where the stores are: databases of the benchmark's own on standard servers, and Redis servers.

All of it is gone at the end.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import redis
import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

_HASH_SLOTS = 16384
#: Seconds that a server may take to start, or a Cluster to find together.
_PATIENCE = 20.0
#: A Cluster's nodes talk to each other on a port that is so much higher.
_BUS = 10000


class AbsentError(Exception):
    """A server can't be used; says why in a few words."""


@contextmanager
def databases(variable: str, default: str, names: Sequence[str]) -> Generator[list[sa.URL]]:
    """New databases on a server, as URLs.

    :param variable: the environment variable that says where the server is.
    :raises AbsentError: if it is not there.
    """
    url = sa.make_url(os.environ.get(variable, default))
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    force = " WITH (FORCE)" if engine.dialect.name == "postgresql" else ""
    own = [f"authx_bench_{os.getpid()}_{name}" for name in names]
    drop = [f"DROP DATABASE IF EXISTS {name}{force}" for name in own]
    try:
        _execute(engine, drop + [f"CREATE DATABASE {name}" for name in own])
    except SQLAlchemyError as error:
        first = str(error.__cause__).strip().splitlines()[0]
        raise AbsentError(f"{first} ({variable} says where it is)") from None
    try:
        yield [url.set(database=name) for name in own]
    finally:
        _execute(engine, drop)


def _execute(engine: sa.Engine, statements: Sequence[str]) -> None:
    with engine.connect() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


@contextmanager
def redis_server(folder: Path, *options: str) -> Generator[int]:
    """A server that keeps nothing on disk and has no other clients; as its port.

    :raises AbsentError: if there is no such program.
    """
    program = shutil.which("redis-server")
    if program is None:
        raise AbsentError("there is no program redis-server")
    port = _free_port()
    own = folder / str(port)
    own.mkdir()
    command = [program, "--bind", "127.0.0.1", "--port", str(port), "--dir", str(own)]
    command += ["--save", "", "--appendonly", "no", *options]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            with _client(port) as client:
                _wait(client.ping)
            yield port
        finally:
            process.terminate()


@contextmanager
def redis_cluster(folder: Path, size: int = 3) -> Generator[list[int]]:
    """A Cluster of so many masters; as their ports."""
    with ExitStack() as stack:
        ports = [
            stack.enter_context(redis_server(folder, "--cluster-enabled", "yes"))
            for _ in range(size)
        ]
        clients = [stack.enter_context(_client(port)) for port in ports]
        bounds = [place * _HASH_SLOTS // size for place in range(size + 1)]
        for number, client in enumerate(clients):
            # Else they would find out among themselves, which takes its time.
            client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            client.execute_command(
                "CLUSTER", "ADDSLOTS", *range(bounds[number], bounds[number + 1])
            )
            client.execute_command("CLUSTER", "MEET", "127.0.0.1", ports[0])
        for client in clients:
            _wait(lambda client=client: _formed(client, size))
        yield ports


def _formed(client: Any, size: int) -> bool:
    info: str = client.execute_command("CLUSTER", "INFO")
    return {"cluster_state:ok", f"cluster_size:{size}"} <= {*info.split()}


def _client(port: int) -> Any:
    untyped: Any = redis
    return untyped.Redis("127.0.0.1", port, socket_timeout=_PATIENCE, decode_responses=True)


def _wait(done: Any) -> None:
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        with suppress(redis.RedisError):
            if done():
                return
        time.sleep(0.02)
    raise AbsentError("a server of the benchmark's own did not start")


def _free_port() -> int:
    """A port that is free, and the one that a Cluster's node would also need."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port: int = first.getsockname()[1]
            if port + _BUS < 2**16:
                with suppress(OSError):
                    second.bind(("127.0.0.1", port + _BUS))
                    return port


def feed(nodes: Sequence[int], commands: Iterator[tuple[int, bytes]]) -> None:
    """Send commands that are answered with ``+OK``, many at a time.

    :param nodes: the ports of a server, or of a Cluster's masters in the order of their slots.
    :param commands: the hash slot of the key, and the command as it goes over the line.
    """
    heaps: list[list[bytes]] = [[] for _ in nodes]
    with ExitStack() as stack:
        lines = [stack.enter_context(socket.create_connection(("127.0.0.1", at))) for at in nodes]
        for slot, command in commands:
            # The first bound above the slot belongs to the next node.
            place = (slot * len(nodes) + len(nodes) - 1) // _HASH_SLOTS
            heap = heaps[place]
            heap.append(command)
            if len(heap) == 1000:
                _send(lines[place], heap)
        for line, heap in zip(lines, heaps, strict=True):
            _send(line, heap)


def _send(line: socket.socket, heap: list[bytes]) -> None:
    line.sendall(b"".join(heap))
    wanted = b"+OK\r\n" * len(heap)
    answer = b""
    while len(answer) < len(wanted):
        answer += line.recv(65536)
        if not wanted.startswith(answer):
            raise RuntimeError(f"Redis answered {answer[-100:]!r}")
    heap.clear()


def command(*words: bytes) -> bytes:
    """A command as it goes over the line."""
    parts = b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)
    return b"*%d\r\n%b" % (len(words), parts)
