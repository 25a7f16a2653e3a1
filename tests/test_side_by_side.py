"""Test runs side by side: each process has a Redis database and ports of its own."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import uuid
from collections.abc import Generator
from typing import Any

import pytest
import redis

from tests.support import ROOT
from tests.support.databases import REDIS_DATABASES, redis_database, redis_url
from tests.support.servers.private import PORTS, free_port, program, redis_server
from tests.support.servers.reserved import reserve

pytestmark = pytest.mark.slow

#: Prints the value of an expression and holds its reservation until stdin is closed.
HOLD = """
import sys
{imports}
print({expression}, flush=True)
sys.stdin.read()
"""
#: What the expressions use. Each process imports no more than it needs: that takes the longest.
IMPORTS = {
    "Popen": "from subprocess import DEVNULL, Popen",
    "redis_url": "from tests.support.databases import redis_url",
    "free_port": "from tests.support.servers.private import free_port",
    "reserve": "from tests.support.servers.reserved import reserve",
}


def start(expression: str) -> subprocess.Popen[str]:
    imports = "\n".join(line for name, line in IMPORTS.items() if name in expression)
    return subprocess.Popen(
        [sys.executable, "-c", HOLD.format(imports=imports, expression=expression)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@contextlib.contextmanager
def processes(number: int, expression: str) -> Generator[list[subprocess.Popen[str]]]:
    """As many processes, started at the same time."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(start(expression)) for _ in range(number)]


def run_id(url: str) -> str:
    """What tells a Redis server from any other."""
    untyped: Any = redis.Redis
    with untyped.from_url(url, socket_timeout=10, decode_responses=True) as client:
        found: str = client.info("server")["run_id"]
        return found


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_no_two_processes_have_the_same_number() -> None:
    with processes(5, f"reserve('{uuid.uuid4()}', 4)") as started:
        assert sorted(map(line, started)) == ["0", "1", "2", "3", "None"]


def test_the_number_of_a_killed_process_is_free_again() -> None:
    what = str(uuid.uuid4())
    with processes(2, f"reserve('{what}', 2)") as (one, other):
        freed = line(one)
        assert {freed, line(other)} == {"0", "1"}
        assert reserve(what, 2) is None
        one.kill()
        one.wait(60)
        assert reserve(what, 2) == int(freed)


def test_what_a_process_starts_does_not_hold_its_number() -> None:
    what = str(uuid.uuid4())
    child = "Popen(['sleep', '60'], stdin=DEVNULL, stdout=DEVNULL).pid"
    with processes(1, f"reserve('{what}', 1), {child}") as (parent,):
        number, orphan = line(parent).split()
        try:
            assert number == "0"
            parent.kill()
            parent.wait(60)
            assert reserve(what, 1) == 0
        finally:
            subprocess.run(["kill", orphan], check=True)


def test_each_process_has_a_redis_database_of_its_own() -> None:
    own = redis_url()
    assert redis_url() == own
    with processes(2, "redis_url()") as started:
        assert len({own, *map(line, started)}) == 3


def test_each_process_has_ports_of_its_own() -> None:
    own = {free_port() for _ in range(PORTS)}
    with processes(1, "*(free_port() for _ in range(100))") as (other,):
        assert own.isdisjoint(map(int, line(other).split()))


def test_where_all_databases_are_in_use_a_named_server_fails_and_another_one_is_started() -> None:
    if program("redis-server") is None:
        pytest.skip("there is no redis-server")
    with redis_server() as server:
        for _ in REDIS_DATABASES:
            assert reserve(f"redis {run_id(server.url)}", len(REDIS_DATABASES)) is not None
        with pytest.raises(pytest.fail.Exception, match=r"all 8 Redis databases .* in use"):
            redis_database(server.url, or_private=False)
        private = redis_database(server.url, or_private=True)
        assert run_id(private) != run_id(server.url)
