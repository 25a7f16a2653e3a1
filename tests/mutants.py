"""Mutation testing: does a test notice when one expression of the package is changed?

``python -m tests.mutants --seed 11`` draws mutants by a seed, changes one at a time in a copy of
this tree, and runs the tests that touch its lines, until the first one fails. What was run, and
which test noticed, is kept as JSON lines; ``--against FILE`` names what an earlier list says was
noticed and is no longer.
"""

from __future__ import annotations

import argparse
import ast
import collections
import copy
import functools
import json
import os
import pathlib
import queue
import random
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import coverage

ROOT = pathlib.Path(__file__).parent.parent
PACKAGE = "flask_authx"
#: Half of the mutants are drawn from these; a folder counts with all that is in it.
CRITICAL = (
    "keys/",
    "stores/",
    "tokens/codec.py",
    "http/verifier.py",
    "sessions/rotation.py",
)
#: The tests tried first. Most mutants go no further.
FIRST = 40
#: At most so many tests are run on a mutant. What is read at start-up is touched by nearly every
#: test.
MOST = 150
#: Slow tests are run where fewer fast ones than this touch a mutant's lines; at most so many.
FEW = 20
#: A mutant may loop for ever; no fast test takes as many seconds.
TIMEOUT = 60

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.FloorDiv: ast.Mult,
    ast.Div: ast.Mult,
    ast.Mod: ast.Add,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.LShift: ast.RShift,
}


@dataclass(frozen=True)
class Mutant:
    """One changed expression or statement.

    :param line: the first line of the statement whose tests are run, and ``last`` its last one.
    :param start: where the old text starts, in bytes, and ``stop`` where it stops.
    """

    file: str
    line: int
    last: int
    start: int
    stop: int
    old: str
    new: str

    @property
    def name(self) -> str:
        return f"{self.file}:{self.line}: {_short(self.old)} -> {_short(self.new)}"


@dataclass(frozen=True)
class Result:
    """What became of a mutant; ``by`` is the test that noticed it."""

    mutant: str
    noticed: bool
    by: str
    tests: int
    seconds: float


def _short(text: str) -> str:
    return " ".join(text.split())[:70]


# Which changes there are.


def _changes(node: ast.AST) -> Iterator[ast.AST | None]:
    """What to put in the place of a node; ``None`` takes the statement away."""
    yield from _of_values(node)
    yield from _of_operators(node)
    yield from _of_statements(node)


def _of_operators(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.Compare(ops=[operator]) if type(operator) in COMPARISONS:
            yield _with(node, ops=[COMPARISONS[type(operator)]()])
        case ast.BoolOp(op=operator):
            yield _with(node, op=ast.Or() if isinstance(operator, ast.And) else ast.And())
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield operand
        case ast.BinOp(op=operator) if type(operator) in ARITHMETIC:
            yield _with(node, op=ARITHMETIC[type(operator)]())
        case ast.IfExp(body=body, orelse=orelse):
            yield body
            yield orelse
        case ast.Call(keywords=[*_, ast.keyword(arg=str())]):
            yield _with(node, keywords=node.keywords[:-1])
        case _:
            pass


def _of_values(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(value) | float(value)):
            yield ast.Constant(value + 1)
        # What a sentence says is no behaviour.
        case ast.Constant(value=str(value)) if value and " " not in value:
            yield ast.Constant(value + "x")
        case _:
            pass


def _of_statements(node: ast.AST) -> Iterator[ast.AST | None]:
    match node:
        case ast.Return(value=ast.expr() as value) if not isinstance(value, ast.Constant):
            yield ast.Return(ast.Constant(None))
        case ast.Expr(value=ast.Call()) | ast.Raise() | ast.AugAssign() | ast.Delete():
            yield None
        case ast.Break():
            yield ast.Continue()
        case ast.Continue():
            yield ast.Break()
        case _:
            pass


def _with(node: ast.AST, **fields: Any) -> ast.AST:
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed


def _bodies(tree: ast.Module) -> Iterator[ast.stmt]:
    """The statements inside functions, but for docstrings and what only type checkers read.

    What runs at import belongs to no test's context, so it is left out.
    """
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if any(ast.unparse(decorator) == "overload" for decorator in node.decorator_list):
            continue
        for statement in node.body:
            if not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)):
                yield from _statements(statement)


def _statements(statement: ast.stmt) -> Iterator[ast.stmt]:
    # Nested functions are found by themselves.
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return
    yield statement
    for name in ("body", "orelse", "finalbody"):
        for child in getattr(statement, name, []):
            yield from _statements(child)
    for part in (*getattr(statement, "handlers", []), *getattr(statement, "cases", [])):
        for child in part.body:
            yield from _statements(child)


def _own_nodes(statement: ast.stmt) -> Iterator[ast.AST]:
    """The nodes of a statement, without those of the statements and annotations in it."""
    waiting: list[ast.AST] = [statement]
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, ast.JoinedStr):
            continue
        waiting += [
            child
            for child in ast.iter_child_nodes(node)
            if isinstance(child, ast.expr | ast.keyword | ast.withitem | ast.comprehension)
            and child is not getattr(node, "annotation", None)
        ]


def mutants_of(file: str, source: bytes) -> Iterator[Mutant]:
    """Every mutant of a module, in the order of its text."""
    starts = [0]
    for text in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(text))
    for statement in _bodies(ast.parse(source)):
        body = getattr(statement, "body", None) or getattr(statement, "cases", None)
        first = statement.lineno
        head = body[0] if body else None
        last = getattr(head, "lineno", 0) - 1 if head is not None else statement.end_lineno or first
        for node in _own_nodes(statement):
            for changed in _changes(node):
                assert isinstance(node, ast.expr | ast.stmt)
                start = starts[node.lineno - 1] + node.col_offset
                stop = starts[(node.end_lineno or 0) - 1] + (node.end_col_offset or 0)
                old = source[start:stop].decode()
                if changed is None:
                    new = "pass"
                else:
                    new = ast.unparse(ast.fix_missing_locations(changed))
                    if isinstance(node, ast.expr) and not isinstance(changed, ast.Constant):
                        new = f"({new})"
                yield Mutant(file, first, max(first, last), start, stop, old, new)


def mutated(mutant: Mutant, source: bytes) -> bytes:
    """The module with the change in it."""
    return source[: mutant.start] + mutant.new.encode() + source[mutant.stop :]


@functools.cache
def _all() -> tuple[list[Mutant], list[Mutant]]:
    """Every mutant of :data:`CRITICAL`, and every other one."""
    critical: list[Mutant] = []
    others: list[Mutant] = []
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        file = path.relative_to(ROOT / PACKAGE).as_posix()
        part = critical if file.startswith(CRITICAL) else others
        part.extend(mutants_of(file, path.read_bytes()))
    return critical, others


def draw(seed: int, number: int) -> list[Mutant]:
    """So many mutants, half of them from :data:`CRITICAL`; the seed decides which."""
    critical, others = _all()
    chance = random.Random(seed)
    half = number // 2
    print(
        f"seed {seed}: {half} of {len(critical)} in {', '.join(CRITICAL)}, {number - half} of "
        f"{len(others)} elsewhere",
        flush=True,
    )
    return [*chance.sample(critical, half), *chance.sample(others, number - half)]


# Which tests are run.


class Contexts:
    """Which tests touch which lines, by coverage's dynamic contexts.

    :param files: what ``pytest --cov --cov-context=test`` has written, for the fast tests and for
        the slow ones.
    """

    def __init__(self, files: Sequence[str]) -> None:
        self._lines: dict[str, dict[int, set[str]]] = {}
        #: How many lines of the package each test touches, and in which of the files it was found.
        self._size: collections.Counter[str] = collections.Counter()
        self._found_in: dict[str, int] = {}
        for position, file in enumerate(files):
            data = coverage.CoverageData(file)
            data.read()
            for measured in data.measured_files():
                self._read(measured, data, position)

    def _read(self, measured: str, data: coverage.CoverageData, position: int) -> None:
        inside = measured.rpartition(f"/{PACKAGE}/")[2]
        lines = self._lines.setdefault(inside, {})
        for number, contexts in data.contexts_by_lineno(measured).items():
            tests = {context.rpartition("|")[0] for context in contexts} - {""}
            lines.setdefault(number, set()).update(tests)
            self._size.update(tests)
            for test in tests:
                self._found_in.setdefault(test, position)

    def tests(self, mutant: Mutant) -> list[str]:
        """The tests that touch a mutant's lines.

        First come those of the module's own room, since ``tests/`` has the rooms of the package,
        and then those that touch most of the module.
        """
        lines = self._lines.get(mutant.file, {})
        inside = collections.Counter(test for tests in lines.values() for test in tests)
        found: set[str] = set()
        for number in range(mutant.line, mutant.last + 1):
            found |= lines.get(number, set())
        room = f"tests/{mutant.file.rpartition('/')[0] or 'test_' + mutant.file[:-3]}"
        ordered = sorted(
            found,
            key=lambda test: (not test.startswith(room), -inside[test], self._size[test], test),
        )
        fast, slow = ([one for one in ordered if self._found_in[one] == n] for n in (0, 1))
        return fast[:MOST] + (slow[:FEW] if len(fast) < FEW else [])


class Workplace:
    """A copy of the tree, in which mutants are tried one after the other."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        shutil.rmtree(folder, ignore_errors=True)
        kept = shutil.ignore_patterns(
            ".venv*", ".git", "__pycache__", ".*_cache", "build", "_build"
        )
        shutil.copytree(ROOT, folder, ignore=kept)
        (folder / ".venv").symlink_to(ROOT / ".venv")
        self._written = 1_000_000_000

    def try_out(self, mutant: Mutant, tests: list[str]) -> Result:
        """Run the tests on the mutant; the first that fails has noticed it."""
        path = self.folder / PACKAGE / mutant.file
        source = path.read_bytes()
        changed = mutated(mutant, source)
        # What is no Python would be noticed by every test.
        ast.parse(changed)
        started = time.monotonic()
        by = ""
        self._write(path, changed)
        try:
            for part in (tests[:FIRST], _by_file(tests[FIRST:])):
                by = by or self._first_failure(part)
        finally:
            self._write(path, source)
        return Result(mutant.name, bool(by), by, len(tests), round(time.monotonic() - started, 1))

    def _first_failure(self, tests: list[str]) -> str:
        """The first test that fails, and fails again by itself: a busy machine is no mutant."""
        while tests:
            failed, told = self._run(tests)
            if failed not in tests:
                return told
            if again := self._run([failed])[1]:
                return again
            tests = [test for test in tests if test != failed]
        return ""

    def _write(self, path: pathlib.Path, source: bytes) -> None:
        path.write_bytes(source)
        # Bytecode is known by its source's size and second; no two of ours share one.
        self._written += 10
        os.utime(path, (self._written, self._written))

    def _run(self, tests: list[str]) -> tuple[str, str]:
        """Which test failed, and what is said of that; two empty texts if none did."""
        arguments = self.folder / "tests.txt"
        arguments.write_text("\n".join(tests) + "\n")
        command = [sys.executable, "-m", "pytest", "-n0", "-x", "-q", "--no-header", "--tb=line"]
        command += ["-o", f"faulthandler_timeout={TIMEOUT}", "-o", "faulthandler_exit_on_timeout=1"]
        environ = {**os.environ, "PYTHONPATH": str(self.folder), "AUTHX_REQUIRE_SERVERS": "1"}
        environ.pop("PYTHONDONTWRITEBYTECODE", None)
        run = subprocess.run(
            [*command, f"@{arguments}"],
            cwd=self.folder,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        if run.returncode == 0:
            return "", ""
        for line in run.stdout.splitlines():
            if found := re.match("(?:FAILED|ERROR) (tests/.+)", line):
                told = found[1]
                matching = (test for test in tests if told == test or told.startswith(test + " - "))
                return max(matching, key=len, default=""), told[:200]
        return "", f"pytest ended with {run.returncode}: {run.stdout[-200:]}"


def _by_file(tests: list[str]) -> list[str]:
    """The tests of a file together, so that its fixtures are made once."""
    order = {file: n for n, file in enumerate(dict.fromkeys(t.partition("::")[0] for t in tests))}
    return sorted(tests, key=lambda test: order[test.partition("::")[0]])


# The command.


def _work(
    folder: pathlib.Path,
    waiting: queue.SimpleQueue[Mutant],
    contexts: Contexts,
    out: pathlib.Path,
    lock: threading.Lock,
) -> None:
    place = Workplace(folder)
    while True:
        try:
            mutant = waiting.get_nowait()
        except queue.Empty:
            return
        result = place.try_out(mutant, contexts.tests(mutant))
        with lock, out.open("a") as file:
            file.write(json.dumps(asdict(result)) + "\n")


def read(path: pathlib.Path) -> dict[str, Result]:
    """What is in a list, by the mutant's name."""
    if not path.exists():
        return {}
    results = [Result(**json.loads(line)) for line in path.read_text().splitlines()]
    return {result.mutant: result for result in results}


def report(results: dict[str, Result], before: dict[str, Result]) -> bool:
    """Print what nobody noticed, and say whether all that was noticed before still is."""
    missed = [result for result in results.values() if not result.noticed]
    for result in missed:
        print(f"missed  {result.mutant}  ({result.tests} tests)")
    lost = [result.mutant for result in missed if (b := before.get(result.mutant)) and b.noticed]
    for name in lost:
        print(f"lost    {name}: {before[name].by}")
    print(f"{len(results) - len(missed)} of {len(results)} mutants noticed, {len(lost)} lost")
    return not lost


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--number", type=int, default=200)
    parser.add_argument("--contexts", nargs=2, required=True, metavar=("FAST", "SLOW"))
    parser.add_argument("--out", type=pathlib.Path, required=True, help="is added to, and resumed")
    parser.add_argument("--against", type=pathlib.Path, help="an earlier list of the same seed")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--folder", type=pathlib.Path, default=ROOT / "build" / "mutants")
    options = parser.parse_args()
    contexts = Contexts(options.contexts)
    done = read(options.out)
    waiting: queue.SimpleQueue[Mutant] = queue.SimpleQueue()
    for mutant in draw(options.seed, options.number):
        if mutant.name not in done:
            waiting.put(mutant)
    lock = threading.Lock()
    threads = [
        threading.Thread(
            target=_work, args=(options.folder / str(n), waiting, contexts, options.out, lock)
        )
        for n in range(options.workers)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    before = read(options.against) if options.against else {}
    return 0 if report(read(options.out), before) else 1


if __name__ == "__main__":
    sys.exit(main())
