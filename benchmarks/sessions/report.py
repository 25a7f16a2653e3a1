"""From rounds to tables: what is asked of a store, ratios with their spread, and the bars."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib.metadata import version

from benchmarks.report import Row, Spread, costs
from benchmarks.stores.report import Comparison

from .counting import Cost
from .kinds import Kind
from .logins import EACH
from .run import GUARDED, LIST, REFRESH, REVOKE, Results, named

_PACKAGES = ("Flask", "SQLAlchemy", "Flask-SQLAlchemy", "psycopg", "PyMySQL", "redis", "PyJWT")
#: From the smallest to the largest.
GROWTH_BAR = 1.25
#: Reads and writes of a refresh beyond those of a guarded request.
MORE_BAR = (1, 1)


def caption(results: Results) -> str:
    """What was measured, and with what."""
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    plan = results.plan
    return (
        f"Python {platform.python_version()}, {packages}.\n"
        f"{', '.join(dict.fromkeys(results.versions.values()))}.\n"
        f"Median [quartiles] over {plan.blocks * plan.rounds} rounds, at most {plan.calls} calls a "
        "round and contender, microseconds a call (HS256).\n"
        f"{EACH} logins a user; each call is about another user."
    )


def tables(results: Results) -> Iterator[str]:
    """The lines of all tables."""
    for name, reason in results.absent.items():
        yield f"{name} is left out: {reason}."
    if results.late:
        yield f"{results.late} rounds don't count, since a store did not answer in time."
    yield from _asked(results)
    yield from _beside_guarded(results)
    for what, whose in ((REFRESH, "rounds"), (LIST, "rounds"), (REVOKE, "ends")):
        yield from _growth(results, what, whose)


def more(results: Results, kind: type[Kind]) -> Cost:
    """What a refresh asks of a store beyond what a guarded request does."""
    guarded, refresh = (results.costs[kind.name][what] for what in (GUARDED, REFRESH))
    turns = None
    if refresh.turns is not None and guarded.turns is not None:
        turns = refresh.turns - guarded.turns
    return Cost(refresh.reads - guarded.reads, refresh.writes - guarded.writes, turns)


def more_verdict(cost: Cost) -> str:
    """The bar, and whether it is met: by reads, by writes and by round trips."""
    reads, writes = MORE_BAR
    met = cost.reads <= reads and cost.writes <= writes
    if cost.turns is not None:
        met = met and cost.turns <= reads + writes
    return f"<= {reads} + {writes} {'met' if met else 'missed'}"


def flatness(results: Results, kind: type[Kind], what: str, rounds: str) -> Comparison:
    """The same among the most logins and among the fewest."""
    smallest, largest = min(results.plan.sizes), max(results.plan.sizes)
    mine = Row(named(what, kind.name, largest), bar=GROWTH_BAR)
    before = Row(named(what, kind.name, smallest))
    return Comparison(mine, before, getattr(results, rounds)[kind.name])


def beside_guarded(results: Results, kind: type[Kind]) -> Comparison:
    """A refresh and a guarded request among the fewest."""
    size = min(results.plan.sizes)
    refresh, guarded = (Row(named(what, kind.name, size)) for what in (REFRESH, GUARDED))
    return Comparison(refresh, guarded, results.rounds[kind.name])


def _asked(results: Results) -> Iterator[str]:
    yield ""
    yield f"{_head('reads + writes (round trips)', GUARDED, REFRESH, 'more')}   bar"
    for kind in results.stores:
        costs_ = results.costs[kind.name]
        columns = [costs_[GUARDED], costs_[REFRESH], more(results, kind)]
        verdict = more_verdict(columns[-1])
        yield f"{_head(kind.name, *map(_count, columns))}   {verdict}"


def _beside_guarded(results: Results) -> Iterator[str]:
    yield ""
    what = f"{min(results.plan.sizes):,} logins"
    yield f"{_head(what, GUARDED, REFRESH)}   ratio"
    for kind in results.stores:
        yield _line(kind.name, beside_guarded(results, kind))


def _growth(results: Results, what: str, rounds: str) -> Iterator[str]:
    smallest, largest = min(results.plan.sizes), max(results.plan.sizes)
    yield ""
    yield f"{_head(f'{what}, by logins', f'{smallest:,}', f'{largest:,}')}   {'ratio':<24}bar"
    for kind in results.stores:
        if kind.grows:
            yield _line(kind.name, flatness(results, kind, what, rounds))


def _head(what: str, *columns: str) -> str:
    return f"{what:36}" + "".join(f"{column:>29}" for column in columns)


def _line(label: str, one: Comparison) -> str:
    before, mine = (_amount(costs(row, one.rounds)) for row in (one.against, one.row))
    ratio = one.ratio
    share = f"{ratio.median:.3f} [{ratio.low:.3f} .. {ratio.high:.3f}]"
    return f"{_head(label, before, mine)}   {share:<24}{one.verdict}".rstrip()


def _amount(took: Spread) -> str:
    return f"{took.median:.1f} [{took.low:.1f} .. {took.high:.1f}]"


def _count(cost: Cost) -> str:
    turns = "" if cost.turns is None else f" ({cost.turns:g})"
    return f"{cost.reads:g} + {cost.writes:g}{turns}"
