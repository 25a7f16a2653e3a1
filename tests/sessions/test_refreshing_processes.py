"""Many who refresh one token at once leave one good generation; whoever ends the login wins."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from tests.support import parts
from tests.support.answers import OK
from tests.support.sessions_process import STORES, Answer, Fleet, Job, fleet, settings_on

pytestmark = pytest.mark.slow

PROCESSES, THREADS = 4, 13
ROUNDS = 200
#: Logins, and how often each is refreshed by everybody.
LOGINS, LIFE = 20, 10
#: Those who refresh in each process while the login is being ended.
FEW = 3


@pytest.fixture(scope="module", params=STORES)
def kind(request: pytest.FixtureRequest) -> str:
    """A kind of store."""
    kind: str = request.param
    return kind


@pytest.fixture(scope="module")
def settings(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Generator[dict[str, Any]]:
    """An app's settings."""
    folder: Path = tmp_path_factory.mktemp("store")
    with settings_on(kind, folder) as made:
        yield made


@pytest.fixture(scope="module")
def processes(kind: str, settings: dict[str, Any]) -> Generator[list[Fleet]]:
    """Processes with an app each: a single one, if it alone sees the store."""
    number, threads = (1, 50) if kind == "memory" else (PROCESSES, THREADS)
    with fleet(settings, number, threads) as started:
        yield [started]


def width_of(kind: str) -> list[int]:
    """How many threads each process has for those who refresh at once."""
    return [50] if kind == "memory" else [THREADS] * PROCESSES


def raced(crowd: Fleet, width: list[int], token: str) -> list[Answer]:
    """What all threads of all processes get who refresh one token at once."""
    jobs = [
        [Job("POST", "/refresh", token, f"{process}-{thread}") for thread in range(threads)]
        for process, threads in enumerate(width)
    ]
    return [answer for answers in crowd.send(jobs) for answer in answers]


def test_of_all_who_refresh_one_token_at_once_one_moves_the_login_on(
    kind: str, processes: list[Fleet]
) -> None:
    """Issue 4: 50 threads and 4 processes leave one live generation

    The client that the row names is the one that moved it on. Each answer says what the row was
    right after it: had another moved the row as well, some of them would name that one.
    """
    (crowd,), width = processes, width_of(kind)
    seed = random.randrange(2**32)
    rng = random.Random(seed)
    for number in range(LOGINS):
        sub = f"user-{number}"
        token: str = crowd.one(Job("POST", f"/login/{sub}")).body["refresh"]
        for generation in range(1, LIFE + 1):
            answers = raced(crowd, width, token)
            where = f"seed {seed}, {sub}, generation {generation}"
            assert Counter(answer.outcome for answer in answers) == {OK: sum(width)}, where
            assert {answer.generation for answer in answers} == {generation}, where
            (row,) = answers[0].body["rows"]
            assert row[0] == generation, where
            assert all(answer.body["rows"] == [row] for answer in answers), where
            # Later, and wherever it is looked at.
            listed = crowd.every(Job("GET", f"/rows/{sub}"))
            assert [one.body for one in listed] == [{"rows": [row]}] * len(width), where
            chosen = rng.choice(answers).body
            assert all(
                one.accepted for one in crowd.every(Job("GET", "/guarded", chosen["access"]))
            )
            # Whichever of them is used next is the good one.
            token = chosen["refresh"]


def ending(number: int, sub: str, login: dict[str, str]) -> Job:
    """A way to end a login: each in its turn."""
    sid = parts(login["access"])[1]["sid"]
    return (
        Job("POST", "/logout", login["access"]),
        Job("POST", "/logout", login["refresh"]),
        Job("POST", f"/revoke/session/{sid}"),
        Job("POST", f"/revoke/subject/{sub}"),
    )[number % 4]


def test_whatever_ends_a_login_wins_over_all_who_refresh_it(
    kind: str, processes: list[Fleet]
) -> None:
    """Issue 4: a logout or revoke-all that races a refresh always wins"""
    (crowd,) = processes
    number_of_processes = len(width_of(kind))
    few = FEW * PROCESSES // number_of_processes
    outcomes: Counter[bool] = Counter()
    for number in range(ROUNDS):
        sub, place = f"leaver-{number}", number // 4
        login = crowd.one(Job("POST", f"/login/{sub}"), place % number_of_processes).body
        jobs = [[Job("POST", "/refresh", login["refresh"])] * few for _ in width_of(kind)]
        # Not always the last of its process to be started.
        own = jobs[place % number_of_processes]
        index = number % (few + 1)
        own.insert(index, ending(number, sub, login))
        answers = crowd.send(jobs)
        assert answers[place % number_of_processes].pop(index).outcome == OK
        refreshed = [answer for each in answers for answer in each]
        outcomes.update(answer.accepted for answer in refreshed)
        minted = [login, *(answer.body for answer in refreshed if answer.accepted)]
        check_dead(crowd, sub, minted)
    # Had one always been first, it would say nothing.
    print(dict(outcomes))
    assert len(outcomes) == 2


def check_dead(crowd: Fleet, sub: str, minted: list[dict[str, str]]) -> None:
    """No process accepts one of these tokens, whichever way, or lists the login."""
    uses = [Job("GET", "/guarded", pair["access"]) for pair in minted]
    uses += [Job("POST", "/refresh", pair["refresh"]) for pair in minted]
    assert not any(answer.accepted for answer in crowd.every(*uses))
    assert all(one.body == {"rows": []} for one in crowd.every(Job("GET", f"/rows/{sub}")))
