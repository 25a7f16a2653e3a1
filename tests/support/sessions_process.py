"""Processes that send requests to an app at the same moment, each with many threads."""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from multiprocessing.synchronize import Barrier as ProcessBarrier
from pathlib import Path
from socket import create_server
from threading import Barrier
from typing import Any

import pytest
import redis
from flask import Flask
from sqlalchemy.pool import NullPool

from tests.support import ROOT, SECRET, bearer, parts
from tests.support.answers import OK, REVOKED, Outcome, ask, outcome
from tests.support.databases import app_on, private_server
from tests.support.servers.session_site import SETTINGS, create_app

#: Seconds that a busy machine may take.
PATIENCE = 60
#: The stores that outlast a process. The tests of one kind share a server, so they share a worker.
LASTING = [
    pytest.param(kind, marks=pytest.mark.xdist_group(f"sessions in {kind}"))
    for kind in ("sqlite", "postgresql", "mariadb", "redis")
]


@functools.cache
def _server(kind: str) -> str:
    """The URL of a private server that the tests of sessions share until this process ends."""
    running = contextlib.ExitStack()
    atexit.register(running.close)
    return running.enter_context(private_server(kind)).url


def settings_on(kind: str, folder: Path) -> dict[str, Any]:
    """The settings of an app whose sessions are in such a store, which is empty.

    SQL and Redis servers are private: they take more connections than a shared one has left.
    """
    settings: dict[str, Any] = {
        "JWT_SECRET_KEY": SECRET,
        "JWT_SESSIONS": True,
        "JWT_SESSION_DETAILS": ["user_agent"],
        # A process that gets no CPU for some seconds is no fault of the store.
        "JWT_STORE_TIMEOUT": PATIENCE,
        "JWT_REFRESH_GRACE": 600,
    }
    if kind == "memory":
        return {**settings, "JWT_BLOCKLIST": "memory://"}
    if kind == "redis":
        url = _server(kind)
        # Many of its commands have no types.
        untyped: Any = redis.Redis
        with untyped.from_url(url, socket_timeout=PATIENCE) as client:
            client.flushdb()
        return {**settings, "JWT_BLOCKLIST": url}
    settings["SQLALCHEMY_DATABASE_URI"] = (
        f"sqlite:///{folder / 'test.db'}" if kind == "sqlite" else _server(kind)
    )
    settings["JWT_BLOCKLIST"] = "sqlalchemy://"
    # For its tables. No connection is left open.
    app_on({**settings, "SQLALCHEMY_ENGINE_OPTIONS": {"poolclass": NullPool}})
    return settings


@contextlib.contextmanager
def gunicorn(module: str, settings: dict[str, Any], log: Path, *options: str) -> Generator[int]:
    """Gunicorn with an app of these settings in each of its workers; gives the port.

    :param module: of ``tests.support.servers``.
    """
    with create_server(("127.0.0.1", 0), backlog=128) as listener, log.open("w") as output:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "gunicorn", "--no-control-socket", *options),
                *("--bind", f"fd://{listener.fileno()}"),
                f"tests.support.servers.{module}:application()",
            ],
            cwd=ROOT,
            env={**os.environ, SETTINGS: json.dumps(settings)},
            stdout=output,
            stderr=output,
            pass_fds=[listener.fileno()],
        )
        try:
            yield listener.getsockname()[1]
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@dataclass(frozen=True, slots=True)
class Job:
    """A request.

    :param agent: the ``User-Agent`` that it names.
    """

    method: str
    path: str
    token: str | None = None
    agent: str = "test"

    def send(self, app: Flask) -> Reply:
        """The app's response."""
        headers = {"User-Agent": self.agent}
        if self.token is not None:
            headers |= bearer(self.token)
        response = ask(app, self.method, self.path, headers=headers)
        return Reply(outcome(response), response.get_json(silent=True))


@dataclass(frozen=True, slots=True)
class Reply:
    """A response, as another process can be told it."""

    outcome: Outcome
    body: Any

    @property
    def accepted(self) -> bool:
        """Whether a token was accepted; if not, it must be for being revoked."""
        assert self.outcome in (OK, REVOKED), f"{self.outcome}: {self.body}"
        return self.outcome == OK

    @property
    def generation(self) -> int:
        """That of the refresh token in it."""
        generation: int = parts(self.body["refresh"])[1]["gen"]
        return generation


class Fleet:
    """Processes with an app each, which know nothing of each other but the store."""

    def __init__(self, lines: Sequence[Connection]) -> None:
        self._lines = lines

    def send(self, jobs: Sequence[Sequence[Job]]) -> list[list[Reply]]:
        """The replies of each process to its jobs; all processes start at the same moment."""
        for line, own in zip(self._lines, jobs, strict=True):
            line.send([*own])
        replies: list[list[Reply]] = []
        for line in self._lines:
            assert line.poll(PATIENCE), f"a process has not replied for {PATIENCE} s"
            replies.append(line.recv())
        return replies

    def one(self, job: Job, process: int = 0) -> Reply:
        """The reply of one of the processes."""
        jobs: list[list[Job]] = [[] for _ in self._lines]
        jobs[process].append(job)
        return self.send(jobs)[process][0]

    def every(self, *jobs: Job) -> list[Reply]:
        """The replies of all processes to the same jobs."""
        return [reply for replies in self.send([jobs] * len(self._lines)) for reply in replies]


@contextlib.contextmanager
def fleet(settings: dict[str, Any], processes: int, threads: int) -> Generator[Fleet]:
    """Start processes that can each send as many requests at once as they have threads."""
    # One process imports all that they need, before it has any thread, and then forks.
    fork = multiprocessing.get_context("forkserver")
    fork.set_forkserver_preload([__name__])
    together = fork.Barrier(processes)
    lines: list[Connection] = []
    started: list[ForkServerProcess] = []
    try:
        for _ in range(processes):
            here, there = fork.Pipe()
            process = fork.Process(target=_serve, args=(settings, threads, there, together))
            lines.append(here)
            process.start()
            started.append(process)
            # So that the end of the process is the end of the line.
            there.close()
        yield Fleet(lines)
    finally:
        for process in started:
            process.kill()
            process.join()
        for line in lines:
            line.close()


def _serve(
    settings: dict[str, Any], threads: int, line: Connection, together: ProcessBarrier
) -> None:
    """Runs in a process of its own until that is killed."""
    app = create_app(settings)
    with ThreadPoolExecutor(threads) as pool:
        while True:
            jobs: list[Job] = line.recv()
            together.wait(PATIENCE)
            line.send(_at_once(app, pool, jobs, threads))


def _at_once(app: Flask, pool: ThreadPoolExecutor, jobs: list[Job], threads: int) -> list[Reply]:
    """The replies to some jobs, as many of them at the same moment as there are threads."""
    start = Barrier(max(1, min(len(jobs), threads)))
    first = start.parties

    def run(number: int, job: Job) -> Reply:
        if number < first:
            start.wait(PATIENCE)
        return job.send(app)

    return [*pool.map(run, range(len(jobs)), jobs)]
