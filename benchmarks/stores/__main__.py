"""The command line: ``python -m benchmarks.stores --help``."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.harness import UnfitContenderError

from . import chart, report
from .run import KINDS, Plan, run


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print the tables; 1 if a contender was not fit to be timed."""
    options = _parser().parse_args(arguments)
    try:
        results = run(_plan(options))
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
    if options.chart is not None:
        chart.draw(results, Path(options.chart))
    return 0


def _plan(options: argparse.Namespace) -> Plan:
    plan = Plan(tuple(options.stores))
    if options.quick:
        plan = replace(plan, sizes=(1_000, 10_000), blocks=1, rounds=5, calls=10, sample=500)
    sizes = None if options.entries is None else tuple(sorted({*options.entries}))
    given = {name: getattr(options, name) for name in ("blocks", "rounds", "calls", "sample")}
    given["sizes"] = sizes
    return replace(plan, **{name: value for name, value in given.items() if value is not None})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.stores",
        description="What a store of revocations costs, next to Flask-JWT-Extended's blocklists.",
    )
    parser.add_argument(
        "--stores", nargs="+", choices=tuple(KINDS), default=tuple(KINDS), help="default: all"
    )
    sizes = " ".join(map(str, Plan.sizes))
    parser.add_argument(
        "--entries", nargs="+", type=_count, metavar="N", help=f"in a store; default: {sizes}"
    )
    parser.add_argument("--blocks", type=_count, help=f"in turn; default: {Plan.blocks}")
    parser.add_argument("--rounds", type=_count, help=f"in each block; default: {Plan.rounds}")
    parser.add_argument("--calls", type=_count, help=f"in each round; default: {Plan.calls}")
    parser.add_argument(
        "--sample", type=_count, help=f"added and looked up one by one; default: {Plan.sample}"
    )
    parser.add_argument("--json", metavar="FILE", help="also write all that was measured to a file")
    parser.add_argument("--chart", metavar="FILE", help="also draw the overheads, as SVG")
    parser.add_argument("--quick", action="store_true", help="few rounds: a look, not a figure")
    return parser


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return count


def _end(number: int, _frame: object) -> None:
    sys.exit(128 + number)


if __name__ == "__main__":
    # Servers and databases of its own are put away, however it is ended.
    signal.signal(signal.SIGTERM, _end)
    sys.exit(main())
