"""The command line: ``python -m benchmarks.load --help``."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
from collections.abc import Sequence

from benchmarks.harness import UnfitContenderError

from . import report
from .places import STORES
from .run import KINDS, Plan, run


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print the tables; 1 if wrk is missing or a contender was not fit."""
    options = _parser().parse_args(arguments)
    if shutil.which("wrk") is None:
        print("There is no program wrk: apt-get install wrk on Debian.", file=sys.stderr)
        return 1
    try:
        results = run(Plan(**vars(options)))
    except UnfitContenderError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(report.caption(results))
    for line in report.tables(results):
        print(line)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.load",
        description="What guards bear under load, next to Flask-JWT-Extended and its blocklists.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--stores", nargs="+", type=_store, choices=STORES, default=STORES, help="which"
    )
    parser.add_argument("--kinds", nargs="+", choices=[*KINDS], default=[*KINDS], help="of workers")
    parser.add_argument("--clients", nargs="+", type=_count, default=Plan.clients, help="how many")
    parser.add_argument("--seconds", type=_count, default=Plan.seconds, help="of a measurement")
    parser.add_argument("--rounds", type=_count, default=Plan.rounds, help="in turn")
    return parser


def _store(text: str) -> str:
    return next((store for store in STORES if store.lower() == text.lower()), text)


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return count


if __name__ == "__main__":
    # As Ctrl-C does: servers and databases of its own are put away, however it is ended.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
