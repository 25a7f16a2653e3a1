"""From rounds to a table: overheads, ratios with their spread, and whether each bar is met."""

from __future__ import annotations

import math
import platform
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version

from . import contenders as names
from .harness import Outcome, Round

_PACKAGES = ("Flask", "Werkzeug", "PyJWT", "cryptography", "Flask-JWT-Extended")


@dataclass(frozen=True)
class Row:
    """A line of the table.

    :param bare: what is taken off, since it is not the guard's; nothing for minting.
    :param against: the row whose cost is one.
    :param bar: the ratio that must not be exceeded.
    """

    name: str
    bare: str | None = None
    against: str | None = None
    bar: float | None = None


ROWS = (
    Row(names.BARE),
    Row(names.PYJWT, names.BARE, names.FJE),
    Row(names.FJE, names.BARE),
    Row(names.SEEN, names.BARE, names.FJE, 0.05),
    Row(names.CALLBACK, names.BARE, names.FJE),
    Row(names.UNSEEN, names.BARE, names.PYJWT, 1.35),
    Row(names.BARE_POST),
    Row(names.FJE_COOKIE, names.BARE_POST),
    Row(names.COOKIE, names.BARE_POST, names.FJE_COOKIE, 0.15),
    Row(names.PYJWT_MINT),
    Row(names.FJE_MINT, None, names.PYJWT_MINT),
    Row(names.MINT, None, names.PYJWT_MINT, 1.5),
)
_BY_NAME = {row.name: row for row in ROWS}


@dataclass(frozen=True)
class Spread:
    """The median and the quartiles of some numbers."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, numbers: Sequence[float]) -> Spread:
        """The spread of the numbers; all ``nan`` if there are none."""
        if not numbers:
            return cls(math.nan, math.nan, math.nan)
        if len(numbers) == 1:
            return cls(numbers[0], numbers[0], numbers[0])
        return cls(*statistics.quantiles(numbers, n=4, method="inclusive"))


def cost(row: Row, one: Round) -> float:
    """What a contender took in a round, beyond the bare route of the same round; microseconds."""
    return one[row.name] - (one[row.bare] if row.bare is not None else 0.0)


def costs(row: Row, rounds: Sequence[Round]) -> Spread:
    """What a contender took, over all rounds."""
    return Spread.of([cost(row, one) for one in rounds])


def ratios(row: Row, rounds: Sequence[Round]) -> Spread | None:
    """What a contender took as a share of what its reference took in the same round."""
    if row.against is None:
        return None
    return shares(row, _BY_NAME[row.against], rounds)


def shares(row: Row, reference: Row, rounds: Sequence[Round]) -> Spread:
    """What one took as a share of what another took in the same round."""
    pairs = [(cost(row, one), cost(reference, one)) for one in rounds]
    # A reference that cost nothing is noise: there is no share of it.
    return Spread.of([mine / other for mine, other in pairs if other > 0])


def verdict(row: Row, ratio: Spread | None) -> str:
    """The bar and whether it is met; empty for a row without one."""
    if row.bar is None or ratio is None:
        return ""
    return f"<= {row.bar:g} {'met' if ratio.median <= row.bar else 'missed'}"


def caption(processes: int, calls: int) -> str:
    """What was measured, and with what."""
    versions = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    return (
        f"Python {platform.python_version()}, {versions}.\n"
        f"Median [quartiles] over the rounds of {processes} process(es), {calls} calls a round and "
        "contender, microseconds a call.\n"
        "Guarded routes: what they take beyond the bare route of the same round. Minting: the call."
    )


def table(outcomes: Mapping[str, Outcome]) -> Iterator[str]:
    """The lines of the table."""
    for algorithm, outcome in outcomes.items():
        yield ""
        lengths = outcome.token_lengths
        yield (
            f"{algorithm}, {len(outcome.rounds)} rounds; characters a token: "
            f"PyJWT {lengths[names.PYJWT]}, Flask-JWT-Extended {lengths[names.FJE]} "
            f"(cookie {lengths[names.FJE_COOKIE]}), ours {lengths[names.SEEN]} "
            f"(cookie {lengths[names.COOKIE]})"
        )
        yield f"{'':40}{'microseconds':>28}   {'ratio':<24}{'bar':<17}of"
        for row in ROWS:
            yield _line(row, outcome.rounds).rstrip()


def _line(row: Row, rounds: Sequence[Round]) -> str:
    took, ratio = costs(row, rounds), ratios(row, rounds)
    amount = f"{took.median:.1f} [{took.low:.1f} .. {took.high:.1f}]"
    share = "" if ratio is None else f"{ratio.median:.3f} [{ratio.low:.3f} .. {ratio.high:.3f}]"
    return f"{row.name:40}{amount:>28}   {share:<24}{verdict(row, ratio):<17}{row.against or ''}"


def data(outcomes: Mapping[str, Outcome], processes: int, calls: int) -> dict[str, object]:
    """All that was measured, for a file."""
    return {
        "python": platform.python_version(),
        "versions": {name: version(name) for name in _PACKAGES},
        "processes": processes,
        "calls": calls,
        "algorithms": {
            algorithm: {"token_lengths": outcome.token_lengths, "rounds": outcome.rounds}
            for algorithm, outcome in outcomes.items()
        },
    }
