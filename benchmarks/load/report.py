"""From rounds to tables: good answers a second, ratios, and whether each bar is met."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from importlib.metadata import version

from benchmarks.report import Spread
from benchmarks.stores.kinds import OURS, THEIRS

from .run import Results, Round, Trial
from .site import BARE

_PACKAGES = (
    *("gunicorn", "gevent", "Flask", "SQLAlchemy", "Flask-SQLAlchemy", "psycopg", "PyMySQL"),
    *("redis", "PyJWT", "Flask-JWT-Extended"),
)
#: Ours of the bare route without a store, and of the peer's with one: at least so many times.
BARE_BAR = 0.9
BARS = {"PostgreSQL": 2.5, "Redis": 1.8}


def caption(results: Results) -> str:
    """What was measured, and with what."""
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    plan = results.plan
    return (
        f"Python {platform.python_version()}, {packages}.\n"
        f"Good answers a second and the share refused: {plan.rounds} round(s) of {plan.seconds} s "
        "for each contender, in turn."
    )


def pace(rounds: Sequence[Round], name: str) -> float:
    """Good answers a second: the median of the rounds."""
    return Spread.of([one[name].pace for one in rounds]).median


def share(rounds: Sequence[Round], name: str) -> float:
    """The share that was refused or lost: the largest of the rounds."""
    return max(one[name].share for one in rounds)


def ratio(rounds: Sequence[Round], name: str, against: str) -> float:
    """How many times the good answers of another of the same round: the median."""
    pairs = [(one[name].pace, one[against].pace) for one in rounds]
    return Spread.of([mine / other for mine, other in pairs if other > 0]).median


def at_least(bar: float | None, found: Sequence[float]) -> str:
    """The bar and whether all meet it; empty without one."""
    if bar is None:
        return ""
    return f">= {bar:g} {'met' if all(one >= bar for one in found) else 'missed'}"


def at_most(bar: float, found: Sequence[float]) -> str:
    """The bar of shares and whether all meet it."""
    return f"<= {bar * 100:g} % {'met' if all(one <= bar for one in found) else 'missed'}"


def tables(results: Results) -> Iterator[str]:
    """The lines of all tables."""
    for name, reason in results.absent.items():
        yield f"{name} is left out: {reason}."
    for kind in results.plan.kinds:
        yield ""
        yield _head(kind, *(f"{clients} clients" for clients in results.plan.clients))
        columns = [results.rounds[kind, clients] for clients in results.plan.clients]
        yield from _paces(results, columns)
        yield from _ratios(results, columns)
    if results.trials:
        yield ""
    yield from map(_trial, results.trials)


def _paces(results: Results, columns: Sequence[Sequence[Round]]) -> Iterator[str]:
    names = [BARE, THEIRS, OURS]
    names += [f"{who}, {store}" for store in results.stores for who in (THEIRS, OURS)]
    for name in names:
        shares = [share(rounds, name) for rounds in columns]
        paces = [pace(rounds, name) for rounds in columns]
        verdict = at_most(0, shares) if name.startswith(OURS) else ""
        yield f"{_head(name, *map(_cell, paces, shares))}   {verdict}".rstrip()


def _ratios(results: Results, columns: Sequence[Sequence[Round]]) -> Iterator[str]:
    pairs: list[tuple[str, str, float | None]] = [(OURS, BARE, BARE_BAR), (OURS, THEIRS, None)]
    pairs += [
        (f"{OURS}, {store}", f"{THEIRS}, {store}", BARS.get(store)) for store in results.stores
    ]
    for mine, other, bar in pairs:
        found = [ratio(rounds, mine, other) for rounds in columns]
        cells = [f"{one:.2f}" for one in found]
        yield f"{_head(f'{mine} / {other}', *cells)}   {at_least(bar, found)}".rstrip()


def _trial(one: Trial) -> str:
    cell = _cell(one.answers.pace, one.answers.share)
    return f"{_head(one.label, cell)}   {at_most(one.bar, [one.answers.share])}"


def _cell(pace: float, share: float) -> str:
    return f"{pace:,.0f}" + (f" ({share:.2%})" if share else "")


def _head(what: str, *columns: str) -> str:
    return f"{what:52}" + "".join(f"{column:>18}" for column in columns)
