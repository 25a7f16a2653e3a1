"""Processes that send requests to an app at the same moment, each with many threads."""

from __future__ import annotations

import contextlib
import multiprocessing
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from multiprocessing.synchronize import Barrier as ProcessBarrier
from pathlib import Path
from threading import Barrier
from typing import Any

from flask import Flask
from sqlalchemy.pool import NullPool

from tests.stores.test_failures_common import private
from tests.support import SECRET, bearer, parts
from tests.support.answers import OK, REVOKED, Outcome, ask, outcome
from tests.support.databases import app_on
from tests.support.servers.session_site import create_app

#: Seconds that a busy machine may take.
PATIENCE = 60
#: The stores that outlast a process.
LASTING = ("sqlite", "postgresql", "mariadb", "redis")
STORES = ("memory", *LASTING)


@contextlib.contextmanager
def settings_on(kind: str, folder: Path) -> Generator[dict[str, Any]]:
    """The settings of an app whose logins are in such a store, on a server of the test's own."""
    settings = {
        "JWT_SECRET_KEY": SECRET,
        "JWT_SESSIONS": True,
        "JWT_SESSION_DETAILS": ["user_agent"],
        # On a slow machine an answer may be late, and a round long: that is no fault.
        "JWT_STORE_TIMEOUT": 10,
        "JWT_REFRESH_GRACE": 600,
    }
    with contextlib.ExitStack() as stack:
        if kind == "sqlite":
            settings["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{folder / 'test.db'}"
        elif kind in ("postgresql", "mariadb"):
            settings["SQLALCHEMY_DATABASE_URI"] = stack.enter_context(private(kind)).url
        if "SQLALCHEMY_DATABASE_URI" in settings:
            settings["JWT_BLOCKLIST"] = "sqlalchemy://"
            # For its tables. No connection is left open.
            app_on({**settings, "SQLALCHEMY_ENGINE_OPTIONS": {"poolclass": NullPool}})
        elif kind == "redis":
            settings["JWT_BLOCKLIST"] = stack.enter_context(private(kind)).url
        else:
            settings["JWT_BLOCKLIST"] = "memory://"
        yield settings


@dataclass(frozen=True, slots=True)
class Job:
    """A request.

    :param agent: the ``User-Agent`` that it names.
    """

    method: str
    path: str
    token: str | None = None
    agent: str = "test"

    def send(self, app: Flask) -> Answer:
        """What the app answers."""
        headers = {"User-Agent": self.agent}
        if self.token is not None:
            headers |= bearer(self.token)
        response = ask(app, self.method, self.path, headers=headers)
        return Answer(outcome(response), response.get_json(silent=True))


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer to a request."""

    outcome: Outcome
    body: Any

    @property
    def accepted(self) -> bool:
        """Whether a token was; if not, because it is revoked and for no other reason."""
        assert self.outcome in (OK, REVOKED), self
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

    def send(self, jobs: Sequence[Sequence[Job]]) -> list[list[Answer]]:
        """What each process answers to its jobs; all are begun at the same moment."""
        for line, own in zip(self._lines, jobs, strict=True):
            line.send([*own])
        answers: list[list[Answer]] = []
        for line in self._lines:
            assert line.poll(PATIENCE), "a process doesn't answer"
            answers.append(line.recv())
        return answers

    def one(self, job: Job, process: int = 0) -> Answer:
        """What one of the processes answers."""
        jobs: list[list[Job]] = [[] for _ in self._lines]
        jobs[process].append(job)
        return self.send(jobs)[process][0]

    def every(self, *jobs: Job) -> list[Answer]:
        """What all of the processes answer to the same jobs."""
        return [answer for answers in self.send([jobs] * len(self._lines)) for answer in answers]


@contextlib.contextmanager
def fleet(settings: dict[str, Any], processes: int, threads: int) -> Generator[Fleet]:
    """Start processes that can each send as many requests at once as they have threads."""
    spawn = multiprocessing.get_context("spawn")
    together = spawn.Barrier(processes)
    lines: list[Connection] = []
    started: list[SpawnProcess] = []
    try:
        for _ in range(processes):
            here, there = spawn.Pipe()
            process = spawn.Process(target=_serve, args=(settings, threads, there, together))
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


def _at_once(app: Flask, pool: ThreadPoolExecutor, jobs: list[Job], threads: int) -> list[Answer]:
    """The answers to some jobs, as many of them at the same moment as there are threads."""
    start = Barrier(max(1, min(len(jobs), threads)))
    first = start.parties

    def run(number: int, job: Job) -> Answer:
        if number < first:
            start.wait(PATIENCE)
        return job.send(app)

    return [*pool.map(run, range(len(jobs)), jobs)]
