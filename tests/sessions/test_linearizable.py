"""A revocation in one process is in force in all processes from the moment it returns."""

from __future__ import annotations

import json
import os
import random
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.pool import NullPool

from tests.support import SECRET, bearer, databases, parts
from tests.support.linearizable import Checker, Due, Event, History, Login, Question, Revocation
from tests.support.sessions_process import PATIENCE, gunicorn

pytestmark = pytest.mark.slow

WORKERS, CLIENTS, REVOCATIONS = 4, 8, 600
OPTIONS = ("-w", str(WORKERS), "-k", "gthread", "--threads", "3", "--keep-alive", "300")
USERS = [f"user-{number}" for number in range(6)]
#: How often what is revoked, of a hundred.
KINDS = {"token": 35, "session": 30, "subject": 20, "others": 15}


@dataclass(frozen=True, slots=True)
class Reply:
    """A response, the moments between which it was given, and the process that gave it."""

    start: float
    end: float
    worker: int
    status: int
    body: Any

    @property
    def when(self) -> dict[str, Any]:
        """What all events have."""
        return {"start": self.start, "end": self.end, "worker": self.worker}


class Line:
    """A connection that is kept open, and so leads to one and the same process."""

    def __init__(self, port: int) -> None:
        self._http = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)

    def send(self, method: str, path: str, token: str | None = None) -> Reply:
        """Send a request."""
        headers = {} if token is None else bearer(token)
        # One clock for all processes: Linux counts from the machine's start.
        start = time.monotonic()
        self._http.request(method, path, headers=headers)
        response = self._http.getresponse()
        content = response.read()
        end = time.monotonic()
        worker = int(response.headers["X-Worker"])
        json_sent = response.headers.get_content_type() == "application/json"
        body = json.loads(content) if json_sent else None
        return Reply(start, end, worker, response.status, body)

    def close(self) -> None:
        """Hang up."""
        self._http.close()


@contextmanager
def lines(port: int) -> Generator[list[Line]]:
    """A connection to each process."""
    found: dict[int, Line] = {}
    deadline = time.monotonic() + PATIENCE
    try:
        while len(found) < WORKERS:
            assert time.monotonic() < deadline, f"only {len(found)} workers accept connections"
            line = Line(port)
            # The first process that is awake takes it.
            if found.setdefault(line.send("GET", "/worker").worker, line) is not line:
                line.close()
        yield [*found.values()]
    finally:
        for line in found.values():
            line.close()


@dataclass(frozen=True, slots=True)
class Held:
    """A token, and what it says."""

    raw: str
    type: str
    jti: str
    sid: str
    sub: str

    @classmethod
    def read(cls, raw: str) -> Held:
        """Read one."""
        claims = parts(raw)[1]
        return cls(raw, *(claims[name] for name in ("type", "jti", "sid", "sub")))


class Tokens:
    """The tokens that all clients have, valid and revoked ones: of each user the latest."""

    def __init__(self) -> None:
        self._held: defaultdict[str, deque[Held]] = defaultdict(lambda: deque(maxlen=16))
        self._lock = threading.Lock()

    def add(self, held: Held) -> None:
        """Let all clients use a token."""
        with self._lock:
            self._held[held.sub].append(held)

    def pick(self, rng: random.Random, sub: str, type: str | None = None) -> Held | None:
        """One of a user's tokens, of a type or of any; ``None`` if there is none."""
        with self._lock:
            held = [one for one in self._held[sub] if type in (None, one.type)]
        return rng.choice(held) if held else None


class Client:
    """Logs in, refreshes, revokes and asks, and keeps what it saw.

    :param lines: one to each process; each request goes to a random one.
    """

    def __init__(self, lines: list[Line], tokens: Tokens, rng: random.Random) -> None:
        self._lines = lines
        self._tokens = tokens
        self._rng = rng
        self.seen = History()

    def step(self) -> None:
        """One revocation, and what fits around it."""
        rng, sub = self._rng, self._rng.choice(USERS)
        target = self._tokens.pick(rng, sub) or self._log_in(sub)
        (kind,) = rng.choices([*KINDS], [*KINDS.values()])
        self._revoke(kind, target)
        # At once, and once more of what may be covered or kept or neither.
        self._ask(target)
        self._ask(self._tokens.pick(rng, sub))
        if kind == "subject" or rng.random() < 0.5:
            self._ask(self._log_in(sub))
        if rng.random() < 0.5:
            self._ask(self._tokens.pick(rng, sub, "refresh"))
        self._ask(self._tokens.pick(rng, rng.choice(USERS)))

    def _send(self, method: str, path: str, token: str | None = None) -> Reply:
        return self._rng.choice(self._lines).send(method, path, token)

    def _log_in(self, sub: str) -> Held:
        reply = self._send("POST", f"/login/{sub}")
        assert reply.status == 200, reply
        held = [Held.read(raw) for raw in reply.body]
        self.seen.logins.append(Login(**reply.when, sid=held[0].sid, sub=sub))
        for one in held:
            self._tokens.add(one)
        return held[0]

    def _revoke(self, kind: str, target: Held) -> None:
        what: dict[str, Any]
        match kind:
            case "token":
                path, what = "token", {"kind": "token", "value": target.jti}
            case "session":
                path, what = f"session/{target.sid}", {"kind": "session", "value": target.sid}
            case "subject":
                path, what = f"subject/{target.sub}", {"kind": "subject", "value": target.sub}
            case _:
                path = f"subject/{target.sub}?keep={target.sid}"
                what = {"kind": "subject", "value": target.sub, "keep": target.sid}
        reply = self._send("POST", f"/revoke/{path}", target.raw if kind == "token" else None)
        assert reply.status == 200, reply
        self.seen.revocations.append(Revocation(**reply.when, **what))

    def _ask(self, held: Held | None) -> None:
        """Use a token: an access token for a view, a refresh token for another access token."""
        if held is None:
            return
        refresh = held.type == "refresh"
        method, path = ("POST", "/refresh") if refresh else ("GET", "/guarded")
        reply = self._send(method, path, held.raw)
        accepted = reply.status == 200
        assert accepted or reply.status == 401, reply
        assert accepted or reply.body["error_type"] == "RevokedTokenError", reply
        self.seen.questions.append(
            Question(**reply.when, jti=held.jti, sid=held.sid, accepted=accepted)
        )
        if accepted and refresh:
            created = Held.read(reply.body[0])
            self._tokens.add(created)
            # What was created during a revocation is used after it.
            self._ask(created)


def history_of(port: int, seed: str) -> History:
    """What all clients see, in no order."""
    tokens = Tokens()

    def run(number: int) -> History:
        with lines(port) as mine:
            client = Client(mine, tokens, random.Random(f"{seed}-{number}"))
            for _ in range(REVOCATIONS // CLIENTS):
                client.step()
            return client.seen

    seen = History()
    with ThreadPoolExecutor(CLIENTS) as pool:
        for history in pool.map(run, range(CLIENTS)):
            seen.extend(history)
    return seen


def workers_of(events: list[Any]) -> set[int]:
    each: list[Event] = events
    return {event.worker for event in each}


@pytest.fixture(params=["postgresql", "redis"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[dict[str, Any]]:
    # A process that gets no CPU for some seconds is no fault of the store.
    common = {"JWT_SECRET_KEY": SECRET, "JWT_STORE_TIMEOUT": PATIENCE}
    if request.param == "redis":
        # The shared one has too few databases for each test run to have its own for so long.
        with databases.private_server("redis") as server:
            yield {**common, "JWT_BLOCKLIST": server.url}
    else:
        on_server = databases.settings_for(request.param, tmp_path)
        # For its tables. No connection is left open.
        options = {"SQLALCHEMY_ENGINE_OPTIONS": {"poolclass": NullPool}}
        databases.app_on({**common, **on_server, **options})
        yield {**common, **on_server}


def test_a_revocation_in_one_process_is_in_force_in_all(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    """SECURITY A.12 219 220, USERS 38 39 41 47"""
    seed = os.environ.get("AUTHX_TEST_SEED") or str(time.time_ns())
    print(f"AUTHX_TEST_SEED={seed}")
    with gunicorn("revoking_site", settings, tmp_path / "log", *OPTIONS) as port:
        history = history_of(port, seed)
    assert len(history.revocations) == REVOCATIONS
    for events in (history.logins, history.revocations, history.questions):
        assert len(workers_of(events)) == WORKERS
    checker = Checker(history)
    violations = [*checker.violations()]
    assert not violations, f"AUTHX_TEST_SEED={seed}: {len(violations)}, such as {violations[:3]}"
    # A history that leaves most questions open would prove nothing.
    due = Counter(map(checker.due, history.questions))
    print(dict(due))
    assert min(due[one] for one in (Due.ACCEPTED, Due.REFUSED_ELSEWHERE)) > REVOCATIONS / 2, due
