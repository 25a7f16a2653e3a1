"""The benchmark under load: what is counted, how ratios are made, and that it runs. No timing."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from select import select
from typing import NoReturn

import pytest

from benchmarks.load import report
from benchmarks.load.__main__ import main
from benchmarks.load.run import Answers, Plan, Results, Round, Trial, listening
from benchmarks.load.site import BARE, Site
from benchmarks.stores.kinds import OURS, THEIRS
from tests.support import ROOT
from tests.support.servers.private import descendants, states
from tests.support.waiting import until

SAID = """Running 1s test @ http://127.0.0.1:8000/
  1 threads and 16 connections
  Non-2xx or 3xx responses: 20
{"answers": 1020, "seconds": 2.000000, "refused": 20, "lost": 4}
"""


def answers(pace: int, refused: int = 0, lost: int = 0) -> Answers:
    return Answers(2 * pace + refused, 2.0, refused, lost)


def a_round(bare: int, theirs: int, ours: int) -> Round:
    paces = {BARE: bare, THEIRS: theirs, OURS: ours}
    paces |= {f"{THEIRS}, Redis": theirs // 2, f"{OURS}, Redis": ours // 2}
    return {name: answers(pace) for name, pace in paces.items()}


class TestCounting:
    def test_what_wrk_has_counted_is_its_last_line(self) -> None:
        found = Answers.parse(SAID)
        assert found == Answers(1020, 2.0, 20, 4)
        assert found.pace == 500
        assert found.share == 24 / 1024

    def test_of_tokens_that_must_not_pass_those_that_did_are_the_share(self) -> None:
        assert Answers(1000, 2.0, 998, 4).inverted().share == 0.002
        assert Answers(1000, 2.0, 1000, 0).inverted().share == 0

    def test_no_answer_at_all_is_no_good_one(self) -> None:
        assert Answers(0, 2.0, 0, 16).share == 1
        assert Answers(0, 2.0, 0, 0).pace == 0

    def test_a_workers_arguments_hold_no_password(self) -> None:
        site = Site(OURS, "key", "Redis", "redis://:word@127.0.0.1/0")
        assert "word" not in repr(site)
        assert "key" not in repr(site)
        assert any("word" in value and "key" in value for value in site.environment().values())


class TestArithmetic:
    def test_a_ratio_is_taken_within_a_round(self) -> None:
        rounds = [a_round(1000, 400, 900), a_round(500, 200, 450)]
        assert report.ratio(rounds, OURS, BARE) == 0.9
        assert report.pace(rounds, OURS) == 675

    def test_a_reference_without_a_good_answer_gives_no_ratio(self) -> None:
        rounds = [a_round(1000, 0, 900), a_round(1000, 450, 900)]
        assert report.ratio(rounds, OURS, THEIRS) == 2
        assert report.at_least(1, [report.ratio(rounds[:1], OURS, THEIRS)]).endswith("missed")

    def test_the_worst_round_says_what_was_refused(self) -> None:
        refused = {**a_round(10, 10, 10), OURS: answers(45, refused=10)}
        assert report.share([a_round(10, 10, 10), refused], OURS) == 0.1

    @pytest.mark.parametrize(("worst", "said"), [(1.8, "met"), (1.79, "missed")])
    def test_a_ratio_meets_its_bar_with_any_number_of_clients(
        self, worst: float, said: str
    ) -> None:
        assert report.at_least(1.8, [2.5, worst, 1.9]) == f">= 1.8 {said}"
        assert report.at_least(None, [worst]) == ""

    @pytest.mark.parametrize(("worst", "said"), [(0.002, "met"), (0.0021, "missed")])
    def test_a_share_meets_its_bar_with_its_value(self, worst: float, said: str) -> None:
        assert report.at_most(0.002, [0.0, worst]) == f"<= 0.2 % {said}"

    def test_the_bars_are_those_of_the_project(self) -> None:
        assert report.BARE_BAR == 0.9
        assert report.BARS == {"PostgreSQL": 2.5, "Redis": 1.8}

    def test_the_tables_show_each_ratio_what_was_refused_and_what_is_missing(self) -> None:
        found = Results(Plan(("MariaDB", "Redis"), ("gthread",), (16, 64)), {})
        found.absent["MariaDB"] = "connection refused"
        worse = {**a_round(100, 50, 89), f"{OURS}, Redis": answers(88, refused=24)}
        found.rounds = {("gthread", 16): [a_round(100, 50, 90)], ("gthread", 64): [worse]}
        found.trials = [Trial("Redis, 20 ms away", answers(95, lost=10))]
        lines = [line.split() for line in report.tables(found)]
        assert " ".join(lines[0]) == "MariaDB is left out: connection refused."
        told = [" ".join(line) for line in lines[1:]]
        assert "ours 90 89 <= 0 % met" in told
        assert "ours, Redis 45 88 (12.00%) <= 0 % missed" in told
        assert "ours / bare route 0.90 0.89 >= 0.9 missed" in told
        assert "ours, Redis / Flask-JWT-Extended, Redis 1.80 3.52 >= 1.8 met" in told
        assert "Redis, 20 ms away 95 (5.00%) <= 0 % missed" in told


@pytest.mark.slow
def test_one_answer_in_so_many_is_late_and_no_question(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, ExitStack() as stack:
        words = ["benchmarks.load.distance", "{}", "127.0.0.1", str(server.getsockname()[1])]
        port = stack.enter_context(listening([*words, "3600", "3"], tmp_path / "log"))
        late: list[socket.socket] = []
        for number in range(1, 9):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", port), 30))
            client.sendall(b"?")
            answering = stack.enter_context(server.accept()[0])
            assert answering.recv(1) == b"?"
            answering.sendall(b"!")
            if number % 3 == 0:
                late.append(client)
            else:
                assert client.recv(1) == b"!"
        assert select(late, [], [], 0)[0] == []


def missing(what: str) -> NoReturn:
    """Skip, or fail where everything must be there."""
    if os.environ.get("AUTHX_REQUIRE_SERVERS"):
        pytest.fail(what)
    pytest.skip(what)


def require_wrk() -> None:
    if shutil.which("wrk") is None:
        missing("there is no wrk")


@pytest.mark.slow
def test_a_small_run_prints_every_table(capsys: pytest.CaptureFixture[str]) -> None:
    require_wrk()
    size = ["--clients", "4", "--seconds", "1", "--rounds", "1"]
    assert main(["--stores", "redis", "--kinds", "gthread", *size]) == 0
    lines = capsys.readouterr().out.splitlines()
    if "is left out" in lines[2]:
        missing(lines[2])
    for name in (BARE, THEIRS, OURS, f"{THEIRS}, Redis", f"{OURS}, Redis"):
        [line] = [line for line in lines if line.startswith(f"{name}  ")]
        # Somebody has answered.
        assert float(line.removeprefix(name).split()[0].replace(",", "")) > 0
    assert sum(" / " in line for line in lines) == 3
    trials = lines[lines.index("", 4) + 1 :]
    assert len(trials) == 7
    assert all(line.startswith("Redis, ") for line in trials)


def program(pid: int) -> str:
    """The name of what a process runs; empty if it has ended."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


@pytest.mark.slow
def test_nothing_is_left_of_a_run_that_is_interrupted(tmp_path: Path) -> None:
    require_wrk()
    words = ["benchmarks.load", "--stores", "SQLite", "--kinds", "gthread", "--seconds", "600"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", *words]
    # A group of its own, all of which a terminal's Ctrl-C reaches.
    with subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True) as process:
        try:
            until(lambda: "wrk" in map(program, descendants(process.pid)), timeout=120)
            # It has taken note of that, too.
            until(lambda: states(process.pid) == {"S"})
            started = descendants(process.pid)
            os.killpg(process.pid, signal.SIGINT)
            assert process.wait(60) == 130
        finally:
            process.kill()
    # Five contenders, each with two workers.
    assert len(started) >= 15
    until(lambda: all(states(pid) <= {"Z", "X"} for pid in started))
    assert [*tmp_path.iterdir()] == []


def test_without_wrk_its_package_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main([]) == 1
    assert capsys.readouterr().err == "There is no program wrk: apt-get install wrk on Debian.\n"
