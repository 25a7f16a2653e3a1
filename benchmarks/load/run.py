"""A run: gunicorn serves all contenders and wrk asks them in turn; then ours alone is strained."""

from __future__ import annotations

import json
import random
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

from benchmarks.harness import vet
from benchmarks.stores.apps import BuiltInSQL
from benchmarks.stores.kinds import OURS, THEIRS
from benchmarks.stores.servers import AbsentError
from flask_authx.settings.options import Settings

from .places import STORES, Place, place
from .site import BARE, Site

_ROOT = Path(__file__).parents[2]
_SCRIPT = Path(__file__).with_name("requests.lua")
#: Seconds that a worker may take to start, or a client waits for an answer.
_PATIENCE = 120
#: The options of gunicorn, by kind of worker.
KINDS: Mapping[str, Sequence[str]] = {
    "gthread": ("-w", "2", "-k", "gthread", "--threads", "32"),
    "gevent": ("-w", "2", "-k", "gevent"),
}
#: What strains ours: as many clients as threads for a store that is far or late; a crowd, and
#: a few with revoked tokens, for a process that is busy.
_STRAINED, _WAITING, _CROWD, _FEW = "gthread", 64, 200, 16
#: Of stores: what it is called, seconds by which one answer in so many is late, connections, the
#: bar. A store that is far away has one for each thread, or as many as by default.
_FEW_CONNECTIONS, _ONE_EACH = Settings().store_connections, 32
_DISTANCES = (
    ("20 ms away", 0.02, 1, _FEW_CONNECTIONS, 0.0),
    ("20 ms away, a connection a thread", 0.02, 1, _ONE_EACH, 0.0),
    ("60 ms away", 0.06, 1, _FEW_CONNECTIONS, 0.0),
    ("60 ms away, a connection a thread", 0.06, 1, _ONE_EACH, 0.0),
    ("one answer in 1000 late", 0.4, 1000, _FEW_CONNECTIONS, 0.002),
)


@dataclass(frozen=True)
class Answers:
    """What became of the requests of some clients.

    :param refused: answers that were not good.
    :param lost: requests without an answer.
    """

    answers: int
    seconds: float
    refused: int
    lost: int

    @classmethod
    def parse(cls, said: str) -> Answers:
        """From the last line that wrk has printed."""
        return cls(**json.loads(said.splitlines()[-1]))

    @property
    def pace(self) -> float:
        """Good answers a second."""
        return (self.answers - self.refused) / self.seconds

    @property
    def share(self) -> float:
        """The share of the requests that were refused or lost."""
        return (self.refused + self.lost) / max(self.answers + self.lost, 1)

    def inverted(self) -> Answers:
        """With what passed in the place of what was refused: for tokens that must not pass."""
        return Answers(self.answers, self.seconds, self.answers - self.refused, 0)


Round: TypeAlias = dict[str, Answers]


@dataclass(frozen=True)
class Trial:
    """What ours has borne.

    :param bar: the largest share of the requests that may be refused.
    """

    label: str
    answers: Answers
    bar: float = 0.0


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    :param seconds: of each measurement.
    :param rounds: in which the contenders take turns.
    """

    stores: Sequence[str] = STORES
    kinds: Sequence[str] = tuple(KINDS)
    clients: Sequence[int] = (16, 64, 200)
    seconds: int = 3
    rounds: int = 2


@dataclass
class Results:
    """What a run has found.

    :param rounds: by kind of worker and number of clients.
    :param absent: why a store was left out.
    """

    plan: Plan
    rounds: dict[tuple[str, int], list[Round]]
    trials: list[Trial] = field(default_factory=list[Trial])
    absent: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def stores(self) -> list[str]:
        """Those that were there."""
        return [store for store in self.plan.stores if store not in self.absent]


def run(plan: Plan) -> Results:
    """Measure; what is under way is told on the standard error.

    :raises UnfitContenderError: if a contender does not do its work.
    """
    results = Results(plan, {})
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="authx-bench-")))
        contest = _Contest(stack, folder)
        contest.add(None)
        places: list[Place] = []
        for store in plan.stores:
            try:
                places.append(place(store, stack, folder))
            except AbsentError as error:
                results.absent[store] = str(error)
            else:
                contest.add(places[-1])
        for kind in plan.kinds:
            with contest.served(kind) as ports:
                for clients in plan.clients:
                    _tell(f"{kind}, {clients} clients")
                    results.rounds[kind, clients] = [
                        contest.round(ports, clients, plan.seconds) for _ in range(plan.rounds)
                    ]
        for one in places if _STRAINED in plan.kinds else []:
            _tell(f"{one.store}, strained")
            results.trials += contest.strain(one, plan.seconds * plan.rounds)
    return results


class _Contest:
    """The contenders and their tokens.

    :param stack: ends what they need.
    """

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self._stack, self._folder = stack, folder
        self._secret = secrets.token_urlsafe(32)
        self._sites = [Site(BARE, self._secret)]
        self._log = folder / "log"

    def _site(self, who: str, at: Place | None) -> Site:
        if at is None:
            return Site(who, self._secret)
        return Site(who, self._secret, at.store, at.address())

    def add(self, at: Place | None) -> None:
        """Both of them on a store, or without one.

        :raises UnfitContenderError: if one of them does not do its work.
        """
        for site in (self._site(who, at) for who in (OURS, THEIRS)):
            built = site.build()
            if isinstance(built, BuiltInSQL):
                built.create()
                self._stack.callback(built.close)
            guard = built.guard(site.name)
            vet([guard])
            self._sites.append(site)
            self._tokens(site).write_text("\n".join(guard.tokens))
            self._tokens(site, "revoked").write_text("\n".join(guard.revoked.values()))

    def _tokens(self, site: Site, which: str = "good") -> Path:
        # A bare route gets what the guard gets that it is compared with.
        name = OURS if site.who == BARE else site.name
        return self._folder / f"{which} tokens, {name}"

    @contextmanager
    def served(self, kind: str, *sites: Site) -> Generator[dict[Site, int]]:
        """All contenders, or some sites, when they are ready; as their ports."""
        words = ["gunicorn", *KINDS[kind], "--no-control-socket"]
        words += ["--bind", "fd://{}", "benchmarks.load.site:create()"]
        with ExitStack() as stack:
            ports = {
                site: stack.enter_context(listening(words, self._log, site.environment()))
                for site in sites or self._sites
            }
            for site, port in ports.items():
                self._ask(site, port)
            yield ports

    def _ask(self, site: Site, port: int) -> None:
        token = self._tokens(site).read_text().splitlines()[0]
        headers = {"Authorization": f"Bearer {token}"}
        request = urllib.request.Request(f"http://127.0.0.1:{port}/", headers=headers)
        try:
            urllib.request.urlopen(request, timeout=_PATIENCE).close()
        except OSError as error:
            raise RuntimeError(f"{site.name} is not served:\n{self._log.read_text()}") from error

    def round(self, ports: Mapping[Site, int], clients: int, seconds: int) -> Round:
        """Each contender once, in random order."""
        return {
            site.name: _load(port, {self._tokens(site): clients}, seconds)[0]
            for site, port in random.sample([*ports.items()], len(ports))
        }

    def strain(self, at: Place, seconds: int) -> Iterator[Trial]:
        """Ours on a store that is far or late, and in a process that is busy."""
        site = self._site(OURS, at)
        if at.server is not None:
            for label, away, every, connections, bar in _DISTANCES:
                words = ["benchmarks.load.distance", "{}", *map(str, (*at.server, away, every))]
                with listening(words, self._log) as line:
                    far = replace(site, url=at.address(line), connections=connections)
                    [found] = self._strained(far, seconds, {self._tokens(far): _WAITING})
                yield Trial(f"{at.store}, {label}", found, bar)
        busy = replace(site, on_error="accept", busy=True)
        loads = {self._tokens(busy): _CROWD, self._tokens(busy, "revoked"): _FEW}
        good, revoked = self._strained(busy, seconds, loads)
        yield Trial(f"{at.store}, busy, accept", good)
        yield Trial(f"{at.store}, busy, accept: revoked that passed", revoked.inverted())

    def _strained(self, site: Site, seconds: int, loads: Mapping[Path, int]) -> list[Answers]:
        with self.served(_STRAINED, site) as ports:
            return _load(ports[site], loads, seconds)


def _load(port: int, loads: Mapping[Path, int], seconds: int) -> list[Answers]:
    """What becomes of the requests of clients, all at the same time.

    :param loads: how many clients have the tokens of a file.
    """
    with ExitStack() as stack:
        running: list[subprocess.Popen[str]] = []
        for tokens, clients in loads.items():
            command = ["wrk", "-t", "1", "-c", str(clients), "-d", f"{seconds}s"]
            command += ["--timeout", f"{_PATIENCE}s", "-s", str(_SCRIPT)]
            command += [f"http://127.0.0.1:{port}/", "--", str(tokens)]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            running.append(stack.enter_context(process))
            stack.callback(process.kill)
        return [Answers.parse(process.communicate()[0]) for process in running]


@contextmanager
def listening(
    words: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
) -> Generator[int]:
    """A module of Python in a process of its own, on a port of this machine.

    :param words: its name and arguments, ``{}`` for the descriptor of its socket.
    :param log: what it prints is added to it.
    """
    # It inherits a socket that listens already: nobody has to wait or to guess a port.
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as listener, log.open("a") as output:
        fd = listener.fileno()
        command = [sys.executable, "-m", *(word.format(fd) for word in words)]
        with subprocess.Popen(
            command, cwd=_ROOT, env=environment, pass_fds=[fd], stdout=output, stderr=output
        ) as process:
            try:
                yield listener.getsockname()[1]
            finally:
                # Gunicorn ends at once; it would let its workers wait for clients otherwise.
                process.send_signal(signal.SIGINT)
                try:
                    process.wait(_PATIENCE)
                except subprocess.TimeoutExpired:
                    process.kill()


def _tell(what: str) -> None:
    print(f"... {what}", file=sys.stderr, flush=True)
