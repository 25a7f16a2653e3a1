"""Servers of a test's own, on free ports and in folders of their own: to be killed and stopped.

Those that refuse to run as root run as the user that their package has made.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import redis
import sqlalchemy as sa

from tests.support.waiting import until

from .reserved import reserve

#: Seconds that a server may take to start on a busy machine.
PATIENCE = 60.0
#: The ports of the first test process; those of the next ones follow. Linux gives outgoing
#: connections ports from 32768 on.
FIRST_PORT, PORTS, PROCESSES = 20_000, 100, 100


@functools.cache
def _ports() -> Iterator[int]:
    """The ports of this process in turn, so that one is not used again soon."""
    block = reserve("ports", PROCESSES)
    assert block is not None, f"{PROCESSES} test processes already use private servers"
    first = FIRST_PORT + block * PORTS
    return itertools.cycle(range(first, first + PORTS))


def free_port() -> int:
    """A port without a listener, which no other test process and no outgoing connection takes.

    The kernel's own choice (port 0) is free only for the moment: while a server starts, or between
    its stop and its restart, the kernel may give its port away.
    """
    for port in itertools.islice(_ports(), PORTS):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise RuntimeError("All ports of this process have listeners")


class Server:
    """A server process and its children.

    :param command: what starts it, in the foreground.
    :param url: where it answers.
    :param ready: raises as long as it doesn't answer.
    :param user: whom it runs as, if we are root.
    """

    def __init__(
        self,
        command: list[str],
        url: str,
        folder: Path,
        ready: Callable[[], object],
        user: str | None = None,
    ) -> None:
        self.command = command
        self.url = url
        self.folder = folder
        self.user = user
        self._ready = ready
        self._process: subprocess.Popen[Any] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with (self.folder / "log").open("ab") as log:
            process = self._process = subprocess.Popen(
                self.command,
                cwd=self.folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **as_user(self.user),
            )
        self._wait(process)

    def _wait(self, process: subprocess.Popen[Any]) -> None:
        """Return when it answers."""

        def answers() -> bool:
            with contextlib.suppress(Exception):  # each server has its own way of not being ready
                self._ready()
                return True
            if process.poll() is not None:
                raise RuntimeError((self.folder / "log").read_text("utf-8"))
            return False

        until(answers, timeout=PATIENCE, what=f"a response of {self.url}", interval=0.05)

    def repair(self) -> None:
        """Make it run and answer, whether it was killed, is paused or runs already."""
        if self._process is None or self._process.poll() is not None:
            self.start()
        else:
            self.resume()
            self._wait(self._process)

    def signal(self, number: int) -> None:
        """Send a signal to it and all its children."""
        assert self._process is not None
        # A server's children may be sessions of their own, as PostgreSQL's are.
        for pid in [self._process.pid, *descendants(self._process.pid)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self) -> None:
        """As ``kill -9`` does, and without a moment between it and its children."""
        assert self._process is not None
        self.pause()
        pids = [self._process.pid, *descendants(self._process.pid)]
        self.signal(signal.SIGKILL)
        self._process.wait()
        # A child that lingers holds on to what the next server needs.
        until(lambda: all(states(pid) <= {"Z", "X"} for pid in pids), timeout=PATIENCE)

    def pause(self) -> None:
        """Leave it standing with its connections open; when this returns, no thread of it runs."""
        assert self._process is not None
        pid = self._process.pid

        def stopped() -> bool:
            # Again each time: a child forked after its parent's children were listed got no signal.
            self.signal(signal.SIGSTOP)
            return all(states(one) <= {"T", "Z", "X"} for one in [pid, *descendants(pid)])

        until(stopped, timeout=PATIENCE, what="a process that stands")

    def resume(self) -> None:
        """Let it go on."""
        self.signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it, whatever state it is in."""
        if self._process is not None and self._process.poll() is None:
            self.resume()
            self.kill()


def states(pid: int) -> set[str]:
    """The states of a process's threads, as ``ps`` names them."""
    found: set[str] = set()
    for status in Path(f"/proc/{pid}/task").glob("*/stat"):
        with contextlib.suppress(OSError):
            found.add(status.read_text("utf-8", "replace").rpartition(")")[2].split()[0])
    return found


def descendants(pid: int) -> list[int]:
    """The children of a process, and theirs."""
    found: list[int] = []
    for listing in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, listing.read_text("ascii").split()):
                found += [child, *descendants(child)]
    return found


def as_user(user: str | None) -> dict[str, Any]:
    """What makes a subprocess run as a user, if we may."""
    if user is None or os.geteuid() != 0:
        return {}
    entry = pwd.getpwnam(user)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def program(*names: str) -> str | None:
    """The path of the first of these programs that is installed."""
    folders = [os.environ.get("PATH", ""), "/usr/sbin", *map(str, _postgres_folders())]
    for name in names:
        if (found := shutil.which(name, path=os.pathsep.join(folders))) is not None:
            return found
    return None


def _postgres_folders() -> list[Path]:
    return sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)


@contextlib.contextmanager
def folder_for(user: str | None) -> Generator[Path]:
    """A new folder that belongs to a user, and is removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="authx-"))
    try:
        if as_user(user):
            shutil.chown(folder, user, as_user(user)["group"])
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _running(server: Server) -> Generator[Server]:
    try:
        server.start()
        yield server
    finally:
        server.stop()


def _asks(url: str) -> Callable[[], object]:
    def ask() -> None:
        engine = sa.create_engine(url, poolclass=sa.NullPool)
        with engine.connect() as connection:
            connection.exec_driver_sql("SELECT 1")

    return ask


@contextlib.contextmanager
def postgresql(*settings: str) -> Generator[Server]:
    """PostgreSQL with an empty database ``postgres``; settings as ``name=value``."""
    initdb, postgres = program("initdb"), program("postgres")
    assert initdb is not None
    assert postgres is not None
    user, port = "postgres", free_port()
    with folder_for(user) as folder:
        data = folder / "data"
        subprocess.run(
            [initdb, "-D", data, "-A", "trust", "-U", "root", "-E", "UTF8", "--no-sync"],
            check=True,
            capture_output=True,
            cwd=folder,
            **as_user(user),
        )
        command = [postgres, "-D", str(data), "-p", str(port), "-h", "127.0.0.1", "-k", str(folder)]
        for setting in settings:
            command += ["-c", setting]
        url = f"postgresql+psycopg://root@127.0.0.1:{port}/postgres"
        with _running(Server(command, url, folder, _asks(url), user)) as server:
            yield server


@contextlib.contextmanager
def pgbouncer(url: str, *settings: str) -> Generator[Server]:
    """PgBouncer with transaction pooling before a PostgreSQL; settings as ``name=value``."""
    found, target, user, port = program("pgbouncer"), sa.make_url(url), "postgres", free_port()
    assert found is not None
    with folder_for(user) as folder:
        configuration = folder / "pgbouncer.ini"
        configuration.write_text(
            f"[databases]\n{target.database} = host={target.host} port={target.port} "
            f"dbname={target.database} user={target.username}\n"
            f"[pgbouncer]\nlisten_addr=127.0.0.1\nlisten_port={port}\nunix_socket_dir=\n"
            "auth_type=any\npool_mode=transaction\n" + "\n".join(settings),
            encoding="ascii",
        )
        configuration.chmod(0o644)
        pooled = target.set(host="127.0.0.1", port=port).render_as_string(hide_password=False)
        command = [found, str(configuration)]
        with _running(Server(command, pooled, folder, _asks(pooled), user)) as server:
            yield server


@contextlib.contextmanager
def mariadb(*options: str) -> Generator[Server]:
    """MariaDB with an empty database ``test``; options as ``--name=value``."""
    install, mariadbd = program("mariadb-install-db"), program("mariadbd")
    assert install is not None
    assert mariadbd is not None
    user, port = "mysql", free_port()
    with folder_for(user) as folder:
        data = folder / "data"
        subprocess.run(
            [
                *(install, "--no-defaults", f"--datadir={data}"),
                *("--auth-root-authentication-method=normal", "--skip-test-db"),
            ],
            check=True,
            capture_output=True,
            cwd=folder,
            **as_user(user),
        )
        (data / "test").mkdir()
        if as_user(user):
            shutil.chown(data / "test", user, as_user(user)["group"])
        command = [
            *(mariadbd, "--no-defaults", f"--datadir={data}", f"--port={port}"),
            *(f"--socket={folder / 'socket'}", "--bind-address=127.0.0.1"),
            *("--skip-name-resolve", "--innodb-buffer-pool-size=32M", *options),
        ]
        url = f"mariadb+pymysql://root@127.0.0.1:{port}/test"
        with _running(Server(command, url, folder, _asks(url), user)) as server:
            yield server


def _redis(folder: Path, port: int, *options: str) -> Server:
    redis_server = program("redis-server")
    assert redis_server is not None
    command = [
        *(redis_server, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)),
        *("--save", "", *options),
    ]

    def ask() -> None:
        with _client(port) as client:
            client.ping()

    return Server(command, f"redis://127.0.0.1:{port}/0", folder, ask)


def _client(port: int) -> Any:
    # Many of its commands have no types.
    return redis.Redis(port=port, socket_timeout=5, socket_connect_timeout=1, decode_responses=True)


@contextlib.contextmanager
def redis_server(*options: str) -> Generator[Server]:
    """Redis with an append-only file; options as on its command line."""
    with (
        folder_for(None) as folder,
        _running(_redis(folder, free_port(), "--appendonly", "yes", *options)) as server,
    ):
        yield server


@contextlib.contextmanager
def redis_cluster() -> Generator[tuple[str, list[Server]]]:
    """A Cluster of three masters; gives its URL and its servers."""
    with contextlib.ExitStack() as stack:
        servers: list[Server] = []
        ports = [free_port() for _ in range(3)]
        for port in ports:
            folder = stack.enter_context(folder_for(None))
            # The bus would take a port of its own 10000 above, which may not exist.
            options = ("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
            servers.append(stack.enter_context(_running(_redis(folder, port, *options))))
        redis_cli = program("redis-cli")
        assert redis_cli is not None
        hosts = [f"127.0.0.1:{port}" for port in ports]
        subprocess.run(
            [redis_cli, "--cluster", "create", *hosts, "--cluster-yes"],
            check=True,
            capture_output=True,
            timeout=PATIENCE,
        )
        until(
            lambda: all(_cluster_is_ok(port) for port in ports),
            timeout=PATIENCE,
            what="a Cluster that is ok",
        )
        yield f"redis+cluster://{','.join(hosts)}", servers


def _cluster_is_ok(port: int) -> bool:
    with _client(port) as client:
        return (
            re.search(r"cluster_state\W+ok", str(client.execute_command("CLUSTER INFO")))
            is not None
        )


@contextlib.contextmanager
def redis_sentinel() -> Generator[tuple[str, Server, Server]]:
    """A master, a replica and a Sentinel; gives the URL, the master and the replica."""
    with contextlib.ExitStack() as stack:
        master = stack.enter_context(redis_server())
        port = master.url.rpartition(":")[2].partition("/")[0]
        replica = stack.enter_context(redis_server("--replicaof", "127.0.0.1", port))
        folder = stack.enter_context(folder_for(None))
        watch = free_port()
        configuration = folder / "sentinel.conf"
        configuration.write_text(
            f"port {watch}\ndir {folder}\nbind 127.0.0.1\n"
            f"sentinel monitor authx 127.0.0.1 {port} 1\n"
            "sentinel down-after-milliseconds authx 500\n"
            "sentinel failover-timeout authx 3000\n",
            encoding="ascii",
        )
        sentinel = _redis(folder, watch)
        sentinel.command = [sentinel.command[0], str(configuration), "--sentinel"]
        stack.enter_context(_running(sentinel))
        with _client(watch) as client:
            until(
                lambda: client.execute_command("SENTINEL", "replicas", "authx"),
                timeout=PATIENCE,
                what="a replica that the Sentinel knows",
            )
        yield f"redis+sentinel://127.0.0.1:{watch}/authx/0", master, replica
