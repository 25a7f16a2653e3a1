"""Timing: contenders interleaved in random order, in several processes, one at a time.

Run as a program it is one of these processes: takes a :class:`Plan` as JSON, prints its rounds.
"""

from __future__ import annotations

import gc
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeAlias

from .acceptance import Contender
from .contenders import contenders
from .keys import generate

#: Microseconds a call, by contender: what one round has shown.
Round: TypeAlias = dict[str, float]
#: Microseconds. Signing with RSA from PEM text takes tens of milliseconds a call.
_LONGEST_SERIES = 100_000.0
#: How a process ends that has found an unfit contender; Python's own failures end with 1.
_UNFIT = 3


class UnfitContenderError(Exception):
    """A contender does not do the work that it would be timed for."""


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    algorithms: tuple[str, ...]
    processes: int = 5
    #: In each process. Many short ones: the nearer in time two contenders are, the likelier it is
    #: that the machine was the same for both.
    rounds: int = 40
    #: Of each contender in each round; fewer of one that takes milliseconds.
    calls: int = 50


@dataclass
class Outcome:
    """What was measured for one algorithm."""

    #: The characters of each contender's token.
    token_lengths: dict[str, int]
    rounds: list[Round]


def vet(field: Sequence[Contender]) -> None:
    """Let nobody start who accepts what must be refused, or refuses what must be accepted.

    :raises UnfitContenderError: with every fault of every contender.
    """
    faults = [f"{one.name}: {fault}" for one in field for fault in one.faults()]
    if faults:
        raise UnfitContenderError("\n".join(faults))


def measure(
    field: Sequence[Contender],
    rounds: int,
    calls: int,
    # The process's own time: what others run on a shared machine in between is not counted.
    clock: Callable[[], int] = time.process_time_ns,
) -> Iterator[Round]:
    """Time the contenders, each in every round, in another order each time.

    :param clock: nanoseconds. Another than the process's own time is for contenders that wait.
    :raises UnfitContenderError: before anything is timed.
    """
    vet(field)
    series = {one.name: _series(one, calls, clock) for one in field}
    # What lives until the end needs no look at each collection.
    gc.collect()
    gc.freeze()
    order = list(field)
    try:
        for _ in range(rounds):
            random.shuffle(order)
            yield {one.name: _time(one, series[one.name], clock) for one in order}
    finally:
        gc.unfreeze()


def _series(one: Contender, calls: int, clock: Callable[[], int]) -> int:
    """Warm a contender up, and find out how many calls of it one round can afford."""
    _time(one, min(calls, 3), clock)
    # A clock may be too coarse for what takes next to nothing.
    taken = max(_time(one, min(calls, 20), clock), 0.01)
    return max(2, min(calls, int(_LONGEST_SERIES / taken)))


def _time(one: Contender, calls: int, clock: Callable[[], int]) -> float:
    call = one.call
    # A collection would fall on whoever happens to be running.
    gc.collect()
    gc.disable()
    try:
        with one.around():
            # The first call alone, since it finds the processor's caches full of somebody else's.
            call()
            start = clock()
            for _ in range(calls):
                call()
            taken = clock() - start
    finally:
        gc.enable()
    return taken / calls / 1000


def run(plan: Plan) -> dict[str, Outcome]:
    """Measure in processes of their own, so that no one hash seed or memory layout decides.

    :raises UnfitContenderError: if a contender does not do its work.
    :raises RuntimeError: if a process fails.
    """
    outcomes: dict[str, Outcome] = {}
    for _ in range(plan.processes):
        for algorithm, (token_lengths, rounds) in _in_process(plan).items():
            outcome = outcomes.setdefault(algorithm, Outcome(token_lengths, []))
            outcome.rounds += rounds
    return outcomes


def _in_process(plan: Plan) -> dict[str, tuple[dict[str, int], list[Round]]]:
    done = subprocess.run(
        [sys.executable, "-m", __name__, json.dumps(asdict(plan))],
        cwd=Path(__file__).parents[1],
        env={**os.environ, "PYTHONHASHSEED": str(random.randrange(1, 2**32))},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode == _UNFIT:
        raise UnfitContenderError(done.stdout.strip())
    if done.returncode != 0:
        raise RuntimeError("a process of the benchmark broke off, and has said why")
    found: dict[str, tuple[dict[str, int], list[Round]]] = json.loads(done.stdout)
    return found


def _main(text: str) -> None:
    plan = Plan(**json.loads(text))
    found: dict[str, tuple[dict[str, int], list[Round]]] = {}
    for algorithm in plan.algorithms:
        field = list(contenders(generate(algorithm)))
        try:
            rounds = list(measure(field, plan.rounds, plan.calls))
        except UnfitContenderError as error:
            print(error)
            sys.exit(_UNFIT)
        found[algorithm] = ({one.name: one.token_length for one in field}, rounds)
    print(json.dumps(found))


if __name__ == "__main__":
    _main(sys.argv[1])
