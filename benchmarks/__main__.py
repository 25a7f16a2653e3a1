"""The command line: ``python -m benchmarks --help``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from . import report
from .harness import Plan, UnfitContenderError, run
from .keys import ALGORITHMS


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print the table; 1 if a contender was not fit to be timed."""
    options = _parser().parse_args(arguments)
    plan = _plan(options)
    print(report.caption(plan.processes, plan.calls), flush=True)
    try:
        outcomes = run(plan)
    except UnfitContenderError as error:
        print(error, file=sys.stderr)
        return 1
    for line in report.table(outcomes):
        print(line)
    if options.json is not None:
        text = json.dumps(report.data(outcomes, plan.processes, plan.calls))
        Path(options.json).write_text(text + "\n", encoding="utf-8")
    return 0


def _plan(options: argparse.Namespace) -> Plan:
    plan = Plan(tuple(options.algorithms))
    if options.quick:
        plan = replace(plan, processes=2, rounds=5, calls=40)
    given = {name: getattr(options, name) for name in ("processes", "rounds", "calls")}
    return replace(plan, **{name: value for name, value in given.items() if value is not None})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="What a guarded request and a minted token cost, next to the peers.",
    )
    parser.add_argument(
        "--algorithms", nargs="+", choices=ALGORITHMS, default=ALGORITHMS, help="default: all"
    )
    parser.add_argument("--processes", type=_count, help=f"default: {Plan.processes}")
    parser.add_argument("--rounds", type=_count, help=f"in each process; default: {Plan.rounds}")
    parser.add_argument("--calls", type=_count, help=f"in each round; default: {Plan.calls}")
    parser.add_argument("--json", metavar="FILE", help="also write all rounds to a file")
    parser.add_argument("--quick", action="store_true", help="few rounds: a look, not a figure")
    return parser


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return count


if __name__ == "__main__":
    sys.exit(main())
