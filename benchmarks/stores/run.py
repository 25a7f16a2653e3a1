"""A run: stores are filled, guarded requests timed, then each store grows and is pruned."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from benchmarks.acceptance import Contender
from benchmarks.harness import Round, UnfitContenderError, measure
from benchmarks.keys import generate
from flask_authx import Kind as Revoked

from .apps import Guarded, bare
from .kinds import Bench, Kind
from .mix import mix, more
from .other import Cluster, Memory, Redis
from .servers import AbsentError
from .sql import MariaDB, PostgreSQL, SQLite

if TYPE_CHECKING:
    from .mix import Mix

T = TypeVar("T")

KINDS: Mapping[str, type[Kind]] = {
    "sqlite": SQLite,
    "postgresql": PostgreSQL,
    "mariadb": MariaDB,
    "redis": Redis,
    "cluster": Cluster,
    "memory": Memory,
}
BARE = "bare route"
#: Seconds. What is added and looked up on top ends then, however little it is.
_LONGEST = 12.0
#: A store that keeps failing is left alone for a second.
_PAUSE = 1.1


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    :param rounds: in each block, of each group of stores.
    :param calls: of each contender in each round.
    :param sample: what is added one by one and then looked up.
    """

    stores: Sequence[str] = tuple(KINDS)
    sizes: Sequence[int] = (1_000, 10_000, 100_000, 1_000_000)
    #: The groups take turns in so many blocks, so that no slow minute is one store's alone.
    blocks: int = 4
    rounds: int = 20
    calls: int = 30
    sample: int = 20_000


@dataclass
class Growth:
    """What became of the largest: how many, and how long it took altogether, in seconds."""

    added: int
    add_seconds: float
    looked_up: int
    look_up_seconds: float
    #: Nothing, where the store itself removes what has expired.
    pruned: int | None = None
    prune_seconds: float | None = None


@dataclass
class Results:
    """What a run has found."""

    plan: Plan
    versions: dict[str, str] = field(default_factory=dict[str, str])
    #: Why a store was left out.
    absent: dict[str, str] = field(default_factory=dict[str, str])
    #: By group.
    rounds: dict[str, list[Round]] = field(default_factory=dict[str, list[Round]])
    #: Rounds that do not count, since a store did not answer in time.
    late: int = 0
    growth: dict[str, Growth] = field(default_factory=dict[str, Growth])
    #: Bytes an entry, by store and by whose.
    weights: dict[str, dict[str, float]] = field(default_factory=dict[str, dict[str, float]])

    @property
    def stores(self) -> list[type[Kind]]:
        """The kinds that were there."""
        return [kind for kind in KINDS.values() if kind.name in self.versions]

    def data(self) -> dict[str, object]:
        """All of it, for a file."""
        return asdict(self)

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Results:
        """What :meth:`data` has made a file of."""
        results = cls(**data)
        results.plan = Plan(**data["plan"])
        results.growth = {name: Growth(**one) for name, one in data["growth"].items()}
        return results


def run(plan: Plan) -> Results:
    """Measure; what is under way is told on the standard error.

    :raises UnfitContenderError: if a contender does not do its work.
    """
    results = Results(plan)
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="authx-bench-"))
        keys = generate("HS256")
        mixes = [mix(size) for size in plan.sizes]
        bench = Bench(stack, Path(folder), keys, mixes)
        kinds = [*_open(bench, plan, results)]
        fields: dict[str, list[Contender]] = {}
        for kind in kinds:
            _tell(f"filling {kind.name}")
            fields.setdefault(kind.group, [bare(BARE, keys)]).extend(kind.contenders())
        for block in range(plan.blocks):
            for group, contenders in fields.items():
                _tell(f"timing {group}, block {block + 1} of {plan.blocks}")
                results.rounds.setdefault(group, []).extend(_timed(contenders, plan, results))
        for kind in kinds:
            _tell(f"growing {kind.name}")
            results.weights[kind.name] = {**kind.weights()}
            results.growth[kind.name] = _grown(kind, mixes[-1], plan.sample)
    return results


def _open(bench: Bench, plan: Plan, results: Results) -> Iterator[Kind]:
    for name in plan.stores:
        try:
            kind = KINDS[name](bench)
        except AbsentError as error:
            results.absent[KINDS[name].name] = str(error)
            continue
        results.versions[kind.name] = kind.version()
        yield kind


def _timed(contenders: Sequence[Contender], plan: Plan, results: Results) -> Iterator[Round]:
    guarded = [one for one in contenders if isinstance(one, Guarded)]
    for one in guarded:
        one.refusals = 0
    # A store waits for its server, so it is the time on the wall that counts.
    for taken in measure(contenders, plan.rounds, plan.calls, time.perf_counter_ns):
        if any(one.refusals for one in guarded):
            # What is refused is fast.
            results.late += 1
            time.sleep(_PAUSE)
            for one in guarded:
                one.refusals = 0
        else:
            yield taken


def _grown(kind: Kind, mixed: Mix, sample: int) -> Growth:
    store = kind.store()
    entries = [*more(sample)]
    added, add_seconds = _each(store.add, entries)
    # Three of the four keys that a request asks about, and one that is there.
    asked = [
        (other.key[::-1], entry.key, entry.key[::-1], other.key[8:] + entry.key[8:])
        for entry, other in zip(entries[:added], reversed(entries), strict=False)
    ]
    looked_up, look_up_seconds = _each(_finding(store.find), asked)
    growth = Growth(added, add_seconds, looked_up, look_up_seconds)
    if not kind.prunes_itself:
        aged = kind.aged(store)
        start = time.perf_counter()
        growth.pruned = sum(batch.removed for batch in aged.prune())
        growth.prune_seconds = time.perf_counter() - start
        _check_pruned(kind, growth.pruned, mixed)
    return growth


def _finding(
    find: Callable[[Sequence[bytes]], Sequence[object | None]],
) -> Callable[[Sequence[bytes]], object]:
    def look(keys: Sequence[bytes]) -> None:
        if sum(one is not None for one in find(keys)) != 1:
            raise UnfitContenderError("a store doesn't find what was added")

    return look


def _each(work: Callable[[T], object], things: Sequence[T]) -> tuple[int, float]:
    """How many it was done to, and the seconds that took."""
    start = time.perf_counter()
    done = 0
    taken = 0.0
    for thing in things:
        work(thing)
        done += 1
        taken = time.perf_counter() - start
        if taken > _LONGEST:
            break
    return done, taken


def _check_pruned(kind: Kind, pruned: int, mixed: Mix) -> None:
    """See that what was timed was done."""
    at_first = sum(mixed.expires(entry) < mixed.now for entry in mixed.entries)
    # Some have expired since the store was filled.
    by_now = sum(mixed.expires(entry) < time.time() for entry in mixed.entries)
    # Each app has revoked a token, a login and a subject of its own, which may have expired, too.
    if not at_first <= pruned <= by_now + len(Revoked):
        wanted = f"{at_first} to {by_now}"
        raise UnfitContenderError(f"{kind.name}: pruned {pruned} entries instead of {wanted}")


def _tell(what: str) -> None:
    print(f"... {what}", file=sys.stderr, flush=True)
