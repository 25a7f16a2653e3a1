"""The stores' benchmark: who may start, how ratios are made, and that it runs. No timing here."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import jwt
import pytest

from benchmarks.harness import UnfitContenderError, measure
from benchmarks.keys import KeyPair, generate
from benchmarks.report import Spread
from benchmarks.stores import chart, report
from benchmarks.stores.__main__ import main
from benchmarks.stores.apps import Guarded, bare, ours
from benchmarks.stores.kinds import FLOOR, LOOKUP, OURS, THEIRS, Lookup, named
from benchmarks.stores.mix import MONTH, mix, more
from benchmarks.stores.other import Cluster, Memory, Redis
from benchmarks.stores.run import BARE, KINDS, Growth, Plan, Results
from benchmarks.stores.servers import command
from benchmarks.stores.sql import MariaDB, PostgreSQL, SQLite
from flask_authx import Kind, MemoryBlocklist

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

OK, REFUSED, BROKEN = "200 OK", "401 UNAUTHORIZED", "503 SERVICE UNAVAILABLE"
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def keys() -> KeyPair:
    return generate("HS256")


class TestWhatIsStored:
    def test_the_kinds_come_in_their_shares(self) -> None:
        entries = mix(20_000).entries
        kinds = Counter(entry.kind for entry in entries)
        assert kinds[Kind.TOKEN] == pytest.approx(12_000, rel=0.05)
        assert kinds[Kind.SESSION] == pytest.approx(6_000, rel=0.05)
        kept = [entry for entry in entries if entry.keep is not None]
        assert {entry.kind for entry in kept} == {Kind.SUBJECT}
        dated = {entry.kind for entry in entries if entry.ahead is not None}
        assert dated == {Kind.SUBJECT}
        assert len(kept) == kinds[Kind.SUBJECT] // 10

    def test_keys_come_in_random_order_and_once(self) -> None:
        keys = [entry.key for entry in mix(10_000).entries]
        assert len({*keys}) == len(keys)
        rising = sum(one < other for one, other in pairwise(keys))
        assert rising == pytest.approx(5_000, rel=0.1)

    def test_half_have_expired_and_none_of_those_that_are_added_does_in_a_month(self) -> None:
        made = mix(10_000)
        expired = sum(made.expires(entry) < made.now for entry in made.entries)
        assert expired == pytest.approx(5_000, rel=0.1)
        assert all(entry.lifetime and entry.lifetime > MONTH for entry in more(1_000))

    def test_what_is_added_later_is_not_there_before(self) -> None:
        before = {entry.key for entry in mix(1_000).entries}
        assert before.isdisjoint(entry.key for entry in more(1_000))

    def test_a_command_is_what_redis_reads(self) -> None:
        assert command(b"SET", b"a\r\n", b"") == b"*3\r\n$3\r\nSET\r\n$3\r\na\r\n\r\n$0\r\n\r\n"


class Gate:
    """An app with a fixed opinion about tokens, by their subject."""

    def __init__(self, keys: KeyPair, opinions: dict[str, str]) -> None:
        self.opinions = opinions
        self._keys = keys

    def __call__(self, environ: WSGIEnvironment, start: StartResponse) -> list[bytes]:
        token = environ.get("HTTP_AUTHORIZATION", "").removeprefix("Bearer ")
        try:
            claims = jwt.decode(token, self._keys.verifying, [self._keys.algorithm])
        except jwt.InvalidTokenError:
            status = REFUSED
        else:
            status = self.opinions[claims["sub"]]
        start(status, [])
        return [b"ok" if status == OK else b""]

    def guarded(self) -> Guarded:
        later = int(time.time()) + 3600
        valid, other, revoked = (self._token(name, later) for name in ("valid", "other", "revoked"))
        expired = self._token("valid", later - 7200)
        return Guarded("gate", self, [valid, other], expired, {"jti": revoked})

    def _token(self, sub: str, exp: int) -> str:
        return jwt.encode({"sub": sub, "exp": exp}, self._keys.signing, self._keys.algorithm)


class TestAcceptance:
    @pytest.mark.parametrize(
        ("changed", "fault"),
        [
            ({}, ""),
            ({"revoked": OK}, "it accepts a token whose jti is revoked"),
            ({"revoked": BROKEN}, f"it fails at a revoked token ({BROKEN})"),
            ({"other": REFUSED}, f"it refuses 1 good tokens ({REFUSED})"),
        ],
    )
    def test_a_guard_knows_its_revoked_tokens_and_all_its_valid_ones(
        self, keys: KeyPair, changed: dict[str, str], fault: str
    ) -> None:
        gate = Gate(keys, {"valid": OK, "other": OK, "revoked": REFUSED, **changed})
        assert "\n".join(gate.guarded().faults()) == fault

    def test_our_guard_passes_with_a_store_and_not_with_a_forgetful_one(
        self, keys: KeyPair
    ) -> None:
        class Forgetful(MemoryBlocklist):
            def find(self, keys: Sequence[bytes], /) -> Sequence[Any]:
                return [None] * len(keys)

        assert [*ours(keys, store=MemoryBlocklist()).guard("ours").faults()] == []
        faults = [*ours(keys, store=Forgetful()).guard("ours").faults()]
        assert faults == [
            f"it accepts a token whose {what} is revoked" for what in ("jti", "login", "subject")
        ]

    def test_tokens_take_turns_and_late_responses_are_counted(self, keys: KeyPair) -> None:
        gate = Gate(keys, {"valid": OK, "other": OK, "revoked": REFUSED})
        guarded = gate.guarded()
        for _ in range(4):
            guarded.call()
        assert guarded.refusals == 0
        gate.opinions["other"] = BROKEN
        for _ in range(4):
            guarded.call()
        assert guarded.refusals == 2

    def test_a_look_up_must_tell_what_is_there_from_what_is_not(self) -> None:
        random, store = Random(1), MemoryBlocklist()
        [entry] = more(1)
        store.add(entry)
        assert [*Lookup("ours", store.find, entry.key, random).faults()] == []
        blind = Lookup("blind", lambda _keys: b"-1", entry.key, random)
        assert [*blind.faults()] == ["it doesn't find what is there"]

    def test_no_round_is_timed_with_an_unfit_guard(self, keys: KeyPair) -> None:
        gate = Gate(keys, {"valid": OK, "other": OK, "revoked": OK})
        with pytest.raises(UnfitContenderError, match="gate: it accepts a token whose jti"):
            next(measure([bare(BARE, keys), gate.guarded()], rounds=1, calls=1))


def results(*rounds: dict[str, float], sizes: tuple[int, ...] = (1_000, 1_000_000)) -> Results:
    """What a run would have found in PostgreSQL and in Redis."""
    growth = Growth(100, 2.0, 100, 0.5, 50, 0.1)
    return Results(
        Plan(sizes=sizes),
        versions={PostgreSQL.name: "PostgreSQL 15.1"},
        absent={"Redis": "there is no program redis-server"},
        rounds={PostgreSQL.group: [*rounds]},
        growth={PostgreSQL.name: growth},
        weights={PostgreSQL.name: {OURS: 165.0, THEIRS: 200.0}},
    )


def a_round(bare: float, theirs: float, small: float, large: float) -> dict[str, float]:
    at = PostgreSQL.name
    return {
        BARE: bare,
        **{named(THEIRS, at, size): bare + theirs for size in (1_000, 1_000_000)},
        named(OURS, at, 1_000): bare + small,
        named(OURS, at, 1_000_000): bare + large,
        f"{LOOKUP}, {at}": 120.0,
        f"{FLOOR}, {at}": 80.0,
    }


class TestArithmetic:
    def test_an_overhead_is_compared_at_the_same_size_in_the_same_round(self) -> None:
        found = results(a_round(80, 1000, 100, 150), a_round(160, 2000, 200, 300))
        [(small, one), (large, other)] = report.requests(found, PostgreSQL)
        assert (small, one.ratio) == (1_000, Spread(0.1, 0.1, 0.1))
        assert (large, other.ratio) == (1_000_000, Spread(0.15, 0.15, 0.15))

    def test_the_bar_is_that_of_the_largest_alone(self) -> None:
        found = results(a_round(80, 1000, 100, 201))
        [(_, small), (_, large)] = report.requests(found, PostgreSQL)
        assert (small.verdict, large.verdict) == ("", "<= 0.2 missed")

    @pytest.mark.parametrize(("large", "said"), [(125, "<= 1.25 met"), (126, "<= 1.25 missed")])
    def test_flat_is_within_a_quarter_of_the_smallest(self, large: float, said: str) -> None:
        one = report.flatness(results(a_round(80, 1000, 100, large)), PostgreSQL)
        assert one.ratio.median == pytest.approx(large / 100)
        assert one.verdict == said

    def test_a_look_up_is_compared_with_the_drivers_and_has_no_bar(self) -> None:
        one = report.floor(results(a_round(80, 1000, 100, 100)), PostgreSQL)
        assert one is not None
        assert one.ratio.median == 1.5
        assert one.verdict == ""

    def test_bytes_have_a_bar_up_to_and_with_its_value(self) -> None:
        assert report.weight_verdict(PostgreSQL, 165.0) == "<= 165 met"
        assert report.weight_verdict(PostgreSQL, 165.1) == "<= 165 missed"
        assert report.weight_verdict(MariaDB, 1000.0) == ""

    def test_the_bars_are_those_of_the_project(self) -> None:
        assert {kind: (kind.bar, kind.bytes_bar) for kind in KINDS.values()} == {
            SQLite: (0.10, 70),
            PostgreSQL: (0.20, 165),
            MariaDB: (None, None),
            Redis: (0.40, 190),
            Cluster: (0.70, None),
            Memory: (None, None),
        }
        assert report.GROWTH_BAR == 1.25

    def test_the_tables_say_what_is_missing_and_what_does_not_count(self) -> None:
        found = results(a_round(80, 1000, 100, 150))
        found.late = 2
        lines = [*report.tables(found)]
        assert lines[0] == "Redis is left out: there is no program redis-server."
        assert lines[1] == "2 rounds don't count, since a store did not answer in time."
        assert any("50 in 0.1 s: 500/s" in line for line in lines)
        assert any(line.endswith("<= 165 met") for line in lines)

    def test_a_file_holds_all_that_was_found(self) -> None:
        found = results(a_round(80, 1000, 100, 150))
        read = Results.of(json.loads(json.dumps(found.data())))
        assert [*report.tables(read)] == [*report.tables(found)]


@pytest.mark.slow
@pytest.mark.usefixtures("frozen_heap")
@pytest.mark.parametrize(
    ("stores", "sizes"),
    [
        (["sqlite", "memory"], ["300", "30"]),
        (["postgresql"], ["300"]),
        (["mariadb"], ["300"]),
        (["redis", "cluster"], ["300"]),
    ],
    ids=["local", "postgresql", "mariadb", "redis"],
)
def test_a_quick_run_prints_every_table_and_writes_its_files(
    stores: list[str], sizes: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, picture = tmp_path / "run.json", tmp_path / "run.svg"
    size = ["--entries", *sizes, "--blocks", "1", "--rounds", "2", "--calls", "2"]
    files = ["--sample", "10", "--json", str(data), "--chart", str(picture)]
    status = main(["--quick", "--stores", *stores, *size, *files])
    said = capsys.readouterr()
    if "is left out" in said.err:
        pytest.skip(said.err)
    assert status == 0, said.err
    read = Results.of(json.loads(data.read_text()))
    assert read.plan.sizes == sorted(map(int, sizes))
    assert {*read.versions, *read.absent} == {KINDS[name].name for name in stores}
    assert ("SQLite" in read.versions) == ("sqlite" in stores)
    assert sum(map(len, read.rounds.values())) + read.late == 2 * len(read.rounds)
    lines = said.out.splitlines()
    for kind in read.stores:
        assert sum(line.startswith(f"{kind.name}, ") for line in lines) == len(sizes)
        assert any(line.startswith(f"{kind.name}  ") for line in lines)
        assert read.growth[kind.name].added == 10
        assert (read.growth[kind.name].pruned is None) == kind.prunes_itself
    texts = {"".join(one.itertext()) for one in ET.parse(picture).iter(f"{SVG}text")}
    assert {kind.name for kind in read.stores} <= texts


def test_the_same_results_make_the_same_picture(tmp_path: Path) -> None:
    found = results(a_round(80, 1000, 100, 150), a_round(80, 1000, 110, 140))
    pictures = [tmp_path / name for name in ("one.svg", "two.svg")]
    for picture in pictures:
        chart.draw(found, picture)
    one, two = (picture.read_bytes() for picture in pictures)
    assert one == two
    assert b"<dc:date>" not in one


def test_a_server_that_is_not_there_is_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TEST_POSTGRES_URL", "postgresql+psycopg://root@127.0.0.1:1/test")
    assert main(["--quick", "--stores", "postgresql"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("PostgreSQL is left out: ")
    assert "TEST_POSTGRES_URL says where it is" in said
