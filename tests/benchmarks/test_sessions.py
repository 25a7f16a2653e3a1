"""The benchmark of sessions: who may start, what is counted, and that it runs. No timing."""

from __future__ import annotations

import json
import socket
import threading
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks.keys import KeyPair, generate
from benchmarks.report import Spread
from benchmarks.sessions import report
from benchmarks.sessions.__main__ import main
from benchmarks.sessions.apps import App, Listing, Refreshing, RevokingAll, Stores
from benchmarks.sessions.counting import Cost, Counted, Tap, cost
from benchmarks.sessions.kinds import PostgreSQL
from benchmarks.sessions.logins import EACH, IDLE, LIFETIME, Logins, Row
from benchmarks.sessions.run import GUARDED, KINDS, REFRESH, Plan, Results, named
from flask_authx import MemoryBlocklist, MemorySessions, NewSession, Session, Visit
from tests.support import Clock


@pytest.fixture(scope="module")
def keys() -> KeyPair:
    return generate("HS256")


class Idle(MemorySessions):
    """Says that it has changed a row, and has not."""

    def move(self, key: bytes, generation: int, visit: Visit, /) -> bool:
        return True


class Blind(MemorySessions):
    """Finds no session of any user."""

    def of(self, subject: bytes, limit: int | None = None, /) -> Sequence[Session]:
        return ()


def an_app(keys: KeyPair, sessions: MemorySessions | None = None) -> App:
    return App(keys, {}, Stores(MemoryBlocklist(), sessions or MemorySessions()))


class TestWhatIsStored:
    def test_each_user_has_so_many_and_none_has_expired(self, keys: KeyPair) -> None:
        stored = Logins(200, an_app(keys).index)
        rows = [*stored]
        assert Counter(row.session.sub for row in rows) == {
            f"user{number}": EACH for number in range(20)
        }
        assert len({row.key for row in rows}) == 200
        assert len({row.subject for row in rows}) == 20
        for session in (row.session for row in rows):
            assert session.created <= session.last_seen < session.expires <= session.ends
        assert stored.of(3) == [row.session for row in rows if row.session.sub == "user3"]

    def test_the_app_finds_them(self, keys: KeyPair) -> None:
        clock = Clock()
        store = MemorySessions(clock)
        app = an_app(keys, store)
        stored = Logins(50, app.index)
        for row in stored:
            put(store, clock, row)
        clock.now = stored.now
        assert [*Listing("list", app, ["user1"], stored.of(1)).faults()] == []
        [fault] = Listing("list", app, ["user1"], stored.of(2)).faults()
        assert fault == "it lists 10 logins, and not the 10 that there are"


def put(store: MemorySessions, clock: Clock, row: Row) -> None:
    """Open a login when it was opened, and refresh it when it was last refreshed."""
    session = row.session
    clock.now = session.created
    new = NewSession(
        sid=session.sid,
        sub=session.sub,
        began=session.began,
        lifetime=LIFETIME,
        visit=Visit(generation=0, idle=LIFETIME),
    )
    store.open(row.key, row.subject, new)
    clock.now = session.last_seen
    last = Visit(
        generation=session.generation,
        idle=IDLE,
        user_agent=session.user_agent,
        address=session.address,
    )
    assert store.move(row.key, 0, last)


class TestAcceptance:
    def test_an_app_passes(self, keys: KeyPair) -> None:
        app = an_app(keys)
        refreshing = Refreshing("refresh", app, app.open(["ann", "ann"]))
        assert [*refreshing.faults()] == []
        assert refreshing.call() is not None
        assert refreshing.refusals == 0
        ending = RevokingAll("end", app, ["ann", "eve"])
        assert [*ending.faults()] == []

    def test_a_store_that_does_not_rotate_does_not(self, keys: KeyPair) -> None:
        app = an_app(keys, Idle())
        [fault] = Refreshing("refresh", app, app.open(["ann"])).faults()
        assert fault == "it refuses a good refresh token (401 UNAUTHORIZED)"

    def test_a_list_or_an_end_that_does_nothing_does_not(self, keys: KeyPair) -> None:
        app = an_app(keys, Blind())
        uids = ["user1"]
        [fault] = Listing("list", app, uids, Logins(20, app.index).of(1)).faults()
        assert fault == "it lists 0 logins, and not the 10 that there are"
        assert [*RevokingAll("end", app, uids).faults()] == [
            "it leaves logins of the 0 that there were"
        ]


class TestCounting:
    def test_reads_and_writes_of_a_request_and_no_upkeep_before(self, keys: KeyPair) -> None:
        tally: Counter[str] = Counter()
        store = Counted(MemoryBlocklist(), tally)
        assert cost(lambda: store.find([b"x" * 16]), 4, tally, None) == Cost(1, 0, None)
        assert store.per_process is True

    def test_a_tap_counts_turns_and_not_pieces(self) -> None:
        with closing(socket.create_server(("127.0.0.1", 0))) as listener:
            threading.Thread(target=echo, args=(listener,), daemon=True).start()
            tap = Tap("127.0.0.1", listener.getsockname()[1])
            with closing(socket.create_connection(("127.0.0.1", tap.port))) as line:
                for _ in range(3):
                    for piece in (b"ab", b"cd\n"):
                        line.sendall(piece)
                    heard = b""
                    while not heard.endswith(b"\n"):
                        heard += line.recv(10)
            tap.close()
        assert tap.turns == 3


def echo(listener: socket.socket) -> None:
    """Answer each line when it is whole."""
    line, _ = listener.accept()
    with line:
        heard = b""
        while data := line.recv(10):
            heard += data
            if heard.endswith(b"\n"):
                line.sendall(heard)
                heard = b""


def results(refresh: Cost, *rounds: dict[str, float]) -> Results:
    """What a run would have found in PostgreSQL."""
    name = PostgreSQL.name
    return Results(
        Plan(sizes=(10, 1000)),
        versions={name: "PostgreSQL 15"},
        absent={"Redis": "there is no program redis-server"},
        costs={name: {GUARDED: Cost(1, 0, 1), REFRESH: refresh}},
        rounds={name: [*rounds]},
    )


class TestArithmetic:
    @pytest.mark.parametrize(
        ("refresh", "said"),
        [
            (Cost(2, 1, 3), "met"),
            (Cost(2, 0, 2), "met"),
            (Cost(3, 1, 4), "missed"),
            (Cost(2, 2, 4), "missed"),
            (Cost(2, 1, 4), "missed"),
            (Cost(2, 1, None), "met"),
        ],
    )
    def test_a_refresh_may_read_once_more_and_write_once(self, refresh: Cost, said: str) -> None:
        more = report.more(results(refresh), PostgreSQL)
        assert report.more_verdict(more) == f"<= 1 + 1 {said}"

    @pytest.mark.parametrize(("large", "said"), [(125.0, "met"), (126.0, "missed")])
    def test_flat_is_within_a_quarter(self, large: float, said: str) -> None:
        one = {
            named(REFRESH, PostgreSQL.name, size): cost
            for size, cost in ((10, 100.0), (1000, large))
        }
        found = report.flatness(results(Cost(2, 1, 3), one), PostgreSQL, REFRESH, "rounds")
        assert found.ratio == Spread(large / 100, large / 100, large / 100)
        assert found.verdict == f"<= 1.25 {said}"

    def test_the_plan_ends_no_more_sessions_than_there_are(self) -> None:
        assert Plan().ends == 4
        assert Plan(sizes=(1_000, 20_000)).ends == 0
        assert Plan(sizes=(1_000, 20_000), blocks=1, rounds=5).ends == 4


@pytest.mark.slow
@pytest.mark.usefixtures("frozen_heap")
@pytest.mark.parametrize(
    "stores", [["sqlite", "memory"], ["postgresql"], ["mariadb"], ["redis"]], ids=lambda one: one[0]
)
def test_a_quick_run_prints_every_table(
    stores: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "run.json"
    size = ["--rows", "2000", "--blocks", "1", "--rounds", "2", "--calls", "2"]
    status = main(["--stores", *stores, *size, "--json", str(data)])
    said = capsys.readouterr()
    if "is left out" in said.err:
        pytest.skip(said.err)
    assert status == 0, said.err
    for kind in (KINDS[name] for name in stores):
        lines = [line for line in said.out.splitlines() if line.startswith(f"{kind.name}  ")]
        assert len(lines) == (5 if kind.grows else 2)
        # What is asked depends on no machine's speed.
        assert lines[0].endswith("<= 1 + 1 met")
    assert [*json.loads(data.read_text())["plan"]["sizes"]] == [1_000, 2_000]


def test_a_server_that_is_not_there_is_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TEST_POSTGRES_URL", "postgresql+psycopg://root@127.0.0.1:1/test")
    assert main(["--quick", "--stores", "postgresql"]) == 1
    assert capsys.readouterr().err.startswith("PostgreSQL is left out: ")


def test_too_few_users_are_said_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--rows", "5000"]) == 2
    assert "more --rows" in capsys.readouterr().err
