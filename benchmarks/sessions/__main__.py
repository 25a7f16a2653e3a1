"""The command line: ``python -m benchmarks.sessions --help``."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.harness import UnfitContenderError

from . import report
from .run import KINDS, Plan, run

#: What is few beside many: so many times fewer, but enough users for some rounds.
_SHARE, _FEWEST = 100, 1_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print the tables; 1 if a contender was not fit to be timed."""
    options = _parser().parse_args(arguments)
    plan = _plan(options)
    if not plan.ends:
        print("There are too few users for so many rounds: more --rows, or less.", file=sys.stderr)
        return 2
    try:
        results = run(plan)
    except UnfitContenderError as error:
        print(error, file=sys.stderr)
        return 1
    if not results.stores:
        for name, reason in results.absent.items():
            print(f"{name} is left out: {reason}.", file=sys.stderr)
        return 1
    print(report.caption(results))
    for line in report.tables(results):
        print(line)
    if options.json is not None:
        Path(options.json).write_text(json.dumps(results.data()) + "\n", encoding="utf-8")
    return 0


def _plan(options: argparse.Namespace) -> Plan:
    plan = Plan(tuple(options.stores))
    if options.quick:
        plan = replace(plan, sizes=(1_000, 20_000), blocks=1, rounds=5, calls=10)
    given = {name: getattr(options, name) for name in ("blocks", "rounds", "calls")}
    if options.rows is not None:
        given["sizes"] = (max(options.rows // _SHARE, _FEWEST), options.rows)
    return replace(plan, **{name: value for name, value in given.items() if value is not None})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.sessions",
        description="What logins that are kept in a store cost, few and many.",
    )
    parser.add_argument(
        "--stores", nargs="+", choices=tuple(KINDS), default=tuple(KINDS), help="default: all"
    )
    parser.add_argument(
        "--rows",
        type=_rows,
        metavar="N",
        help=f"logins, beside a {_SHARE}th of them; default: {Plan.sizes[1]}",
    )
    parser.add_argument("--blocks", type=_count, help=f"in turn; default: {Plan.blocks}")
    parser.add_argument("--rounds", type=_count, help=f"in each block; default: {Plan.rounds}")
    parser.add_argument("--calls", type=_count, help=f"in each round; default: {Plan.calls}")
    parser.add_argument("--json", metavar="FILE", help="also write all that was measured to a file")
    parser.add_argument("--quick", action="store_true", help="few rounds: a look, not a figure")
    return parser


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return count


def _rows(text: str) -> int:
    rows = int(text)
    if rows <= _FEWEST:
        raise argparse.ArgumentTypeError(f"must be more than {_FEWEST}")
    return rows


def _end(number: int, _frame: object) -> None:
    sys.exit(128 + number)


if __name__ == "__main__":
    # Servers and databases of its own are put away, however it is ended.
    signal.signal(signal.SIGTERM, _end)
    sys.exit(main())
