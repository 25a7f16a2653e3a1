"""Concurrent refreshes with one token leave one valid generation; a revocation wins over them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Generator
from dataclasses import dataclass

import pytest

from tests.support import parts
from tests.support.answers import OK
from tests.support.sessions_process import LASTING, Fleet, Job, Reply, fleet, settings_on

pytestmark = pytest.mark.slow

#: A store in memory is seen by one process, with as many threads as the others have together.
PROCESSES, THREADS = 4, 13
#: Sessions, and how often each is refreshed by all.
SESSIONS, LIFE = 3, 5
#: How often a session is revoked while it is refreshed: once in each way by each process.
REVOCATIONS = 16
#: The refreshes of each process meanwhile.
FEW = 3


@dataclass(frozen=True, slots=True)
class Crowd:
    """Processes, and how many threads each of them has."""

    fleet: Fleet
    processes: int
    threads: int

    def refresh(self, token: str) -> list[Reply]:
        """The replies to all threads of all processes, which refresh one token at once."""
        jobs = [
            [
                Job("POST", "/refresh", token, f"{process}-{thread}")
                for thread in range(self.threads)
            ]
            for process in range(self.processes)
        ]
        return [reply for replies in self.fleet.send(jobs) for reply in replies]


@pytest.fixture(scope="module", params=["memory", *LASTING])
def crowd(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Generator[Crowd]:
    """Processes with an app each, on one store."""
    settings = settings_on(request.param, tmp_path_factory.mktemp("store"))
    processes, threads = (1, 50) if request.param == "memory" else (PROCESSES, THREADS)
    with fleet(settings, processes, threads) as started:
        yield Crowd(started, processes, threads)


def test_of_concurrent_refreshes_with_one_token_one_moves_the_session_on(crowd: Crowd) -> None:
    """SECURITY A.13 233; Issue 4: 50 threads and 4 processes leave one live generation

    The client that the row names is the one that moved it on. Each reply says what the row was
    right after it: had another moved the row as well, some of them would name that one.
    """
    seed = random.randrange(2**32)
    rng = random.Random(seed)
    for number in range(SESSIONS):
        sub = f"user-{number}"
        token: str = crowd.fleet.one(Job("POST", f"/login/{sub}")).body["refresh"]
        for generation in range(1, LIFE + 1):
            replies = crowd.refresh(token)
            where = f"seed {seed}, {sub}, generation {generation}"
            outcomes = Counter(reply.outcome for reply in replies)
            assert outcomes == {OK: crowd.processes * crowd.threads}, f"{where}: {outcomes}"
            generations = {reply.generation for reply in replies}
            assert generations == {generation}, f"{where}: tokens of generations {generations}"
            rows = {str(reply.body["rows"]) for reply in replies}
            (row,) = replies[0].body["rows"]
            assert (rows, row[0]) == ({str([row])}, generation), f"{where}: rows {rows}"
            # Later, and in whichever process.
            listed = crowd.fleet.every(Job("GET", f"/rows/{sub}"))
            assert [one.body for one in listed] == [{"rows": [row]}] * crowd.processes, where
            chosen = rng.choice(replies).body
            for reply in crowd.fleet.every(Job("GET", "/guarded", chosen["access"])):
                assert reply.outcome == OK, where
            # Whichever of them is used next is the valid one.
            token = chosen["refresh"]


def revocation(number: int, sub: str, login: dict[str, str]) -> Job:
    """Four ways to revoke a session, in turn."""
    sid = parts(login["access"])[1]["sid"]
    return (
        Job("POST", "/logout", login["access"]),
        Job("POST", "/logout", login["refresh"]),
        Job("POST", f"/revoke/session/{sid}"),
        Job("POST", f"/revoke/subject/{sub}"),
    )[number % 4]


def test_a_revocation_wins_over_concurrent_refreshes(crowd: Crowd) -> None:
    """Issue 4: a logout or revoke-all that races a refresh always wins"""
    few = FEW * PROCESSES // crowd.processes
    outcomes: Counter[bool] = Counter()
    for number in range(REVOCATIONS):
        sub = f"leaver-{number}"
        # Each way and each process has it in all places among the refreshes.
        process, index = number // 4 % crowd.processes, (number + number // 4) % (few + 1)
        login = crowd.fleet.one(Job("POST", f"/login/{sub}"), process).body
        jobs = [[Job("POST", "/refresh", login["refresh"])] * few for _ in range(crowd.processes)]
        jobs[process].insert(index, revocation(number, sub, login))
        replies = crowd.fleet.send(jobs)
        assert replies[process].pop(index).outcome == OK
        refreshed = [reply for each in replies for reply in each]
        outcomes.update(reply.accepted for reply in refreshed)
        created = [login, *(reply.body for reply in refreshed if reply.accepted)]
        check_revoked(crowd.fleet, sub, created)
    # A race that always ends the same way would prove nothing.
    print(dict(outcomes))
    assert outcomes.keys() == {True, False}, f"refreshes accepted: {dict(outcomes)}"


def check_revoked(processes: Fleet, sub: str, created: list[dict[str, str]]) -> None:
    """No process accepts one of these tokens for anything, or lists the session."""
    uses = [Job("GET", "/guarded", pair["access"]) for pair in created]
    uses += [Job("POST", "/refresh", pair["refresh"]) for pair in created]
    for reply in processes.every(*uses):
        assert not reply.accepted, f"{sub} is revoked, and {reply.outcome}"
    for listed in processes.every(Job("GET", f"/rows/{sub}")):
        assert listed.body == {"rows": []}, f"the session of {sub} is revoked"
