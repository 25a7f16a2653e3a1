"""From rounds to tables: overheads, ratios with their spread, and whether each bar is met."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version

from benchmarks.harness import Round
from benchmarks.report import Row, Spread, costs, shares, verdict

from .kinds import FLOOR, LOOKUP, OURS, THEIRS, Kind, named
from .other import Cluster, Redis
from .run import BARE, Growth, Results

_PACKAGES = ("Flask", "SQLAlchemy", "Flask-SQLAlchemy", "psycopg", "PyMySQL", "redis", "PyJWT")
#: From the smallest to the largest.
GROWTH_BAR = 1.25


@dataclass(frozen=True)
class Comparison:
    """One row's cost as a share of another's, in the same round."""

    row: Row
    against: Row
    rounds: list[Round]

    @property
    def ratio(self) -> Spread:
        """The median and quartiles over the rounds."""
        return shares(self.row, self.against, self.rounds)

    @property
    def verdict(self) -> str:
        """The bar and whether it is met."""
        return verdict(self.row, self.ratio)


def caption(results: Results) -> str:
    """What was measured, and with what."""
    packages = ", ".join(f"{name} {version(name)}" for name in (*_PACKAGES, THEIRS))
    plan = results.plan
    return (
        f"Python {platform.python_version()}, {packages}.\n"
        f"{', '.join(dict.fromkeys(results.versions.values()))}.\n"
        f"Median [quartiles] over {plan.blocks * plan.rounds} rounds, at most {plan.calls} calls a "
        "round and contender, microseconds a call.\n"
        "Guarded requests (HS256): what they take beyond the bare route of the same round."
    )


def requests(results: Results, kind: type[Kind]) -> Iterator[tuple[int, Comparison]]:
    """Ours beside the peer's, by size."""
    largest = max(results.plan.sizes)
    for size in results.plan.sizes:
        bar = kind.bar if size == largest else None
        mine = Row(named(OURS, kind.name, size), BARE, bar=bar)
        theirs = Row(named(THEIRS, kind.name, size), BARE)
        yield size, Comparison(mine, theirs, results.rounds[kind.group])


def flatness(results: Results, kind: type[Kind]) -> Comparison:
    """Ours at the largest size beside ours at the smallest."""
    largest, smallest = max(results.plan.sizes), min(results.plan.sizes)
    mine = Row(named(OURS, kind.name, largest), BARE, bar=GROWTH_BAR)
    before = Row(named(OURS, kind.name, smallest), BARE)
    return Comparison(mine, before, results.rounds[kind.group])


def floor(results: Results, kind: type[Kind]) -> Comparison | None:
    """Our look-up beside the driver's; ``None`` if that wasn't timed."""
    rounds = results.rounds[kind.group]
    mine, lowest = Row(f"{LOOKUP}, {kind.name}"), Row(f"{FLOOR}, {kind.name}")
    return Comparison(mine, lowest, rounds) if lowest.name in rounds[0] else None


def cluster_against_server(results: Results) -> Comparison | None:
    """Ours on a Cluster beside the peer's on one server; ``None`` if one of them is not there."""
    if not {Cluster, Redis} <= {*results.stores}:
        return None
    largest = max(results.plan.sizes)
    mine = Row(named(OURS, Cluster.name, largest), BARE)
    theirs = Row(named(THEIRS, Redis.name, largest), BARE)
    return Comparison(mine, theirs, results.rounds[Cluster.group])


def tables(results: Results) -> Iterator[str]:
    """The lines of all tables."""
    for name, reason in results.absent.items():
        yield f"{name} is left out: {reason}."
    if results.late:
        yield f"{results.late} rounds don't count, since a store did not answer in time."
    yield from _requests(results)
    yield from _flatness(results)
    yield from _floors(results)
    yield from _growth(results)
    yield from _weights(results)


def _head(what: str, *columns: str) -> str:
    return f"{what:36}" + "".join(f"{column:>29}" for column in columns)


def _requests(results: Results) -> Iterator[str]:
    yield ""
    yield f"{_head('guarded request', THEIRS, 'ours')}   {'ratio':<24}bar"
    for kind in results.stores:
        for size, one in requests(results, kind):
            label = f"{kind.name}, {size:,} entries"
            if one.against.name in one.rounds[0]:
                yield _line(label, one)
            else:
                yield f"{label:36}{'':29}{_amount(costs(one.row, one.rounds)):>29}"
    crossed = cluster_against_server(results)
    if crossed is not None:
        yield _line("Redis Cluster / theirs on one Redis", crossed)


def _flatness(results: Results) -> Iterator[str]:
    smallest, largest = min(results.plan.sizes), max(results.plan.sizes)
    yield ""
    what = "guarded request, ours, by entries"
    yield f"{_head(what, f'{smallest:,}', f'{largest:,}')}   {'ratio':<24}bar"
    for kind in results.stores:
        yield _line(kind.name, flatness(results, kind))


def _floors(results: Results) -> Iterator[str]:
    yield ""
    yield f"{_head('one look-up, largest', 'driver alone', 'our store')}   ratio"
    for kind in results.stores:
        one = floor(results, kind)
        if one is not None:
            yield _line(kind.name, one)


def _line(label: str, one: Comparison) -> str:
    theirs, mine = (_amount(costs(row, one.rounds)) for row in (one.against, one.row))
    ratio = one.ratio
    share = f"{ratio.median:.3f} [{ratio.low:.3f} .. {ratio.high:.3f}]"
    return f"{label:36}{theirs:>29}{mine:>29}   {share:<24}{one.verdict}".rstrip()


def _amount(took: Spread) -> str:
    return f"{took.median:.1f} [{took.low:.1f} .. {took.high:.1f}]"


def _growth(results: Results) -> Iterator[str]:
    yield ""
    what = f"{max(results.plan.sizes):,} entries and more"
    yield _head(what, "added", "looked up", "pruned")
    for kind in results.stores:
        growth = results.growth[kind.name]
        yield _head(kind.name, *_paces(growth))


def _paces(growth: Growth) -> Iterator[str]:
    yield _pace(growth.added, growth.add_seconds)
    yield _pace(growth.looked_up, growth.look_up_seconds)
    if growth.pruned is None or growth.prune_seconds is None:
        yield "by the server itself"
    else:
        yield _pace(growth.pruned, growth.prune_seconds)


def _pace(number: int, seconds: float) -> str:
    return f"{number:,} in {seconds:.1f} s: {number / max(seconds, 1e-9):,.0f}/s"


def _weights(results: Results) -> Iterator[str]:
    yield ""
    yield f"{_head(f'bytes an entry, {max(results.plan.sizes):,}', THEIRS, 'ours')}   bar"
    for kind in results.stores:
        weights = results.weights[kind.name]
        if weights:
            columns = [f"{weights[who]:.1f}" for who in (THEIRS, OURS)]
            yield f"{_head(kind.name, *columns)}   {weight_verdict(kind, weights[OURS])}".rstrip()


def weight_verdict(kind: type[Kind], weight: float) -> str:
    """The bar of the bytes, and whether it is met; empty without one."""
    if kind.bytes_bar is None:
        return ""
    return f"<= {kind.bytes_bar} {'met' if weight <= kind.bytes_bar else 'missed'}"
