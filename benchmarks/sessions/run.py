"""A run: what a refresh asks of each store, then refreshes, lists and ends among few and many."""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.acceptance import Contender
from benchmarks.harness import Round, measure, vet
from benchmarks.keys import KeyPair, generate
from benchmarks.stores.apps import Guarded
from benchmarks.stores.servers import AbsentError

from .apps import App, Listing, Refreshing, RevokingAll, Stores
from .counting import Cost, Counted, cost
from .in_redis import Redis
from .kinds import Bench, Kind, MariaDB, Memory, PostgreSQL, SQLite
from .logins import EACH, Logins

KINDS: Mapping[str, type[Kind]] = {
    "sqlite": SQLite,
    "postgresql": PostgreSQL,
    "mariadb": MariaDB,
    "redis": Redis,
    "memory": Memory,
}
GUARDED, REFRESH, LIST, REVOKE = "guarded request", "refresh", "list", "revoke all"
#: The most logins that are opened through the app to be refreshed, at each size.
_OPENED = 2000
#: Requests whose store calls are counted.
_COUNTED = 20
#: Of each revocation in a round, at the most: nobody's logins can be ended twice.
_ENDS = 4
#: A store that keeps failing is left alone for a second.
_PAUSE = 1.1


def named(what: str, store: str, size: int) -> str:
    """What a contender is called."""
    return f"{what}, {store}, {size}"


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    :param rounds: in each block, of each store.
    :param calls: of each contender in each round.
    """

    stores: Sequence[str] = tuple(KINDS)
    sizes: Sequence[int] = (10_000, 1_000_000)
    #: The stores take turns in so many blocks, so that no slow minute is one store's alone.
    blocks: int = 4
    rounds: int = 20
    calls: int = 20

    @property
    def ends(self) -> int:
        """How many users' logins are ended in each round."""
        users = self.sizes[0] // EACH // 2
        return max((n for n in range(2, _ENDS + 1) if self._ended(n) <= users), default=0)

    @property
    def opened(self) -> int:
        """How many logins are opened, at each size, so that hardly one is refreshed twice."""
        before = 2 * self.calls + 10
        return min(_OPENED, self.blocks * (before + self.rounds * (self.calls + 1)))

    def _ended(self, each: int) -> int:
        """How many users that takes, with what goes before the first round of a block."""
        before = 1 + (min(each, 3) + 1) + (each + 1)
        return self.blocks * (before + self.rounds * (each + 1))


@dataclass
class Results:
    """What a run has found."""

    plan: Plan
    versions: dict[str, str] = field(default_factory=dict[str, str])
    #: Why a store was left out.
    absent: dict[str, str] = field(default_factory=dict[str, str])
    #: What a guarded request and a refresh ask, by store.
    costs: dict[str, dict[str, Cost]] = field(default_factory=dict[str, dict[str, Cost]])
    rounds: dict[str, list[Round]] = field(default_factory=dict[str, list[Round]])
    #: Users' logins are used up as they are ended, so these are rounds of their own.
    ends: dict[str, list[Round]] = field(default_factory=dict[str, list[Round]])
    #: Rounds that do not count, since a store did not answer in time.
    late: int = 0

    @property
    def stores(self) -> list[type[Kind]]:
        """The kinds that were there."""
        return [kind for kind in KINDS.values() if kind.name in self.versions]

    def data(self) -> dict[str, Any]:
        """All of it, for a file."""
        return asdict(self)


def run(plan: Plan) -> Results:
    """Measure; what is under way is told on the standard error.

    :raises UnfitContenderError: if a contender does not do its work.
    """
    results = Results(plan)
    keys = generate("HS256")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="authx-bench-")))
        kinds = [*_open(Bench(stack, folder, plan.sizes), plan, results)]
        fields: dict[str, tuple[list[Contender], list[Contender]]] = {}
        for kind in kinds:
            fields[kind.name] = _filled(kind, keys, plan)
            results.costs[kind.name] = _costs(kind, keys)
        for block in range(plan.blocks):
            for name, (field_, ends) in fields.items():
                _tell(f"timing {name}, block {block + 1} of {plan.blocks}")
                timed = _timed(field_, plan, results)
                results.rounds.setdefault(name, []).extend(timed)
                if ends:
                    ended = measure(ends, plan.rounds, plan.ends, time.perf_counter_ns)
                    results.ends.setdefault(name, []).extend(ended)
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


def _filled(kind: Kind, keys: KeyPair, plan: Plan) -> tuple[list[Contender], list[Contender]]:
    """What is timed in turn, and what uses users up."""
    field_: list[Contender] = []
    ends: list[Contender] = []
    for place, size in enumerate(kind.sizes):
        app = App(keys, kind.settings(place))
        logins = Logins(size, app.index)
        _tell(f"filling {kind.name} with {size:,} logins")
        kind.fill(app, place, logins)
        users = [*range(logins.users)]
        random.Random(size).shuffle(users)
        half, quarter = logins.users // 2, logins.users // 4
        ending, listed, opened = users[:half], users[half : half + quarter], users[half + quarter :]
        pairs = app.open(_uids(opened[: plan.opened]))
        field_.append(Refreshing(named(REFRESH, kind.name, size), app, pairs))
        if place == 0:
            field_.append(app.guarded(named(GUARDED, kind.name, size), _uids(opened[:64])))
        if kind.grows:
            first = logins.of(listed[0])
            field_.append(Listing(named(LIST, kind.name, size), app, _uids(listed), first))
            ends.append(RevokingAll(named(REVOKE, kind.name, size), app, _uids(ending)))
    return field_, ends


def _uids(users: Sequence[int]) -> list[str]:
    return [f"user{number}" for number in users]


def _costs(kind: Kind, keys: KeyPair) -> dict[str, Cost]:
    tally: Counter[str] = Counter()
    stores, tap = kind.counted()
    blocklist: Any = Counted(stores.blocklist, tally)
    sessions: Any = Counted(stores.sessions, tally)
    app = App(keys, {}, Stores(blocklist, sessions))
    guarded, refresh = app.guarded(GUARDED, ["counted"]), app.open(["counted", "counted"])
    refreshing = Refreshing(REFRESH, app, refresh)
    vet([guarded, refreshing])
    return {one.name: cost(one.call, _COUNTED, tally, tap) for one in (guarded, refreshing)}


def _timed(contenders: Sequence[Contender], plan: Plan, results: Results) -> Iterator[Round]:
    asked = [one for one in contenders if isinstance(one, Guarded | Refreshing)]
    # A store waits for its server, so it is the time on the wall that counts.
    for taken in measure(contenders, plan.rounds, plan.calls, time.perf_counter_ns):
        if not any(one.refusals for one in asked):
            yield taken
            continue
        # What is refused is fast.
        results.late += 1
        time.sleep(_PAUSE)
        for one in asked:
            one.refusals = 0


def _tell(what: str) -> None:
    print(f"... {what}", file=sys.stderr, flush=True)
