"""The contract of a store of sessions in every backend: rows that move, are dated and listed.

What it shares with a store of revocations is in ``test_row_contract``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from flask_authx.stores.base import MICROSECONDS, StoreError
from flask_authx.stores.session_store import NewSession, Session, SessionStore, Visit
from flask_authx.stores.sql.sessions import SQLAlchemySessions
from tests.stores.contract import (
    CLOCKED,
    EVERY,
    HOUR,
    PRUNED,
    SQL,
    SessionRows,
    by_sid,
    new_key,
    new_session,
    opened_rows,
    opened_sessions,
    race,
    removed_by_prune,
    server_time,
    stored,
    undated,
    visit,
)
from tests.support import NOW, Clock
from tests.support.corpus import check_all
from tests.support.databases import SHARED, database_url
from tests.support.waiting import until

in_every_backend = pytest.mark.parametrize("backend", EVERY)
in_pruned_ones = pytest.mark.parametrize("backend", PRUNED)

T = int(NOW)
THREADS = 8
FAR = 2**53
#: Texts that an encoding, a quotation or a comparison may change.
TEXTS = {
    "none": None,
    "empty": "",
    "words for nothing": "null",
    "latin": "Jürgens Gerät",
    "not normalised": "e\u0301 \ufb01 Å \u212b",
    "beyond 16 bits": "📱👩\u200d💻 𐍈",
    "right to left": "هاتف \u202eabc\u202c",
    "quotes": """'; -- "x" `y` \\ \\n %s %(key)s :key ? {}""",
    "white": " \t\r\n two  spaces ",
    "longest": "😀" * 255,
}
NUMBERS = (0, 1, 2**31, 2**32, 253_402_300_799, FAR - 1, FAR)


@pytest.fixture
def store(backend: str, tmp_path: Path) -> Iterator[SessionStore]:
    with opened_sessions(backend, tmp_path) as made:
        yield made


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def clocked(backend: str, tmp_path: Path, clock: Clock) -> Iterator[SessionStore]:
    """A store whose clock a test sets."""
    with opened_sessions(backend, tmp_path, clock=clock) as made:
        yield made


def client(text: str | None) -> Visit:
    """A refresh of a client that is described so."""
    return visit(user_agent=text, address=text)


def row_of(store: SessionStore, key: bytes) -> Session:
    """A row that must be there."""
    row = store.get(key)
    assert row is not None
    return row


def now_of(store: SessionStore) -> int:
    """A store's time in seconds."""
    store.open(key := new_key(), key, new_session())
    now = row_of(store, key).now
    store.end(key)
    return now


def holds(store: SessionStore, key: bytes, subject: bytes, session: NewSession) -> None:
    """See that a row holds this, and that it is the only one of its subject."""
    row = row_of(store, key)
    assert undated(row) == undated(session)
    assert [*map(stored, store.of(subject))] == [stored(row)]


@in_every_backend
def test_there_is_nothing_where_nothing_was_opened(store: SessionStore) -> None:
    key = new_key()
    assert store.get(key) is None
    assert [*store.of(key)] == []
    assert store.move(key, 0, visit(1)) is False
    assert store.rename(key, "x") is False
    assert store.end(key) is False
    assert store.get(key) is None


@in_every_backend
def test_a_text_is_kept_as_it_is(store: SessionStore) -> None:
    def check(text: str | None) -> None:
        key, subject = new_key(), new_key()
        session = new_session(sub=text or "ann", name=text, visit=client(text))
        store.open(key, subject, session)
        holds(store, key, subject, session)
        assert store.move(key, 0, client(None)) is True
        assert store.move(key, 0, session.visit) is True
        assert store.rename(key, "another") is True
        assert store.rename(key, text) is True
        holds(store, key, subject, session)

    check_all(TEXTS, check)


@in_every_backend
def test_a_number_is_kept_as_it_is(store: SessionStore) -> None:
    """SECURITY A.4 73: no time overflows anything"""

    def check(number: int) -> None:
        key, subject = new_key(), new_key()
        seen = visit(number)
        session = new_session(began=number, epoch=number, visit=seen)
        store.open(key, subject, session)
        holds(store, key, subject, session)
        assert store.move(key, number - 1, seen) is False
        assert store.move(key, number + 1, seen) is False
        assert store.move(key, number, replace(seen, generation=0)) is True
        assert store.move(key, 0, seen) is True
        holds(store, key, subject, session)
        row = row_of(store, key)
        whole = (
            row.began,
            row.epoch,
            row.generation,
            row.rotated_at,
            row.last_seen,
            row.expires,
            row.ends,
        )
        assert {type(one) for one in (*whole, row.now)} == {int}

    check_all({str(number): number for number in NUMBERS}, check)


#: Seconds that a session may be idle and may last, and how long it has at its log-in.
LIVES = {
    "idle is shorter": (HOUR, 86_400, HOUR),
    "as long": (HOUR, HOUR, HOUR),
    "idle is longer": (86_400, HOUR, HOUR),
    "idle is longer than anything": (FAR - 2**32, HOUR, HOUR),
    "both are": (200 * 365 * 86_400, 300 * 365 * 86_400, 200 * 365 * 86_400),
}


@in_every_backend
def test_a_row_is_dated_by_its_store(store: SessionStore) -> None:
    """Issue 13: callers pass durations; what is left is reckoned by one clock"""

    def check(life: tuple[int, int, int]) -> None:
        key, (idle, lifetime, left) = new_key(), life
        session = new_session(lifetime=lifetime, visit=visit(0, idle))
        before = now_of(store)
        store.open(key, key, session)
        row = row_of(store, key)
        after = now_of(store)
        assert before <= row.last_seen <= row.now <= after
        assert row.rotated_at == row.last_seen
        assert row.expires - row.last_seen == left
        assert row.ends - row.last_seen == lifetime
        assert (row.left, row.left_until_end) == (row.expires - row.now, row.ends - row.now)

    check_all(LIVES, check)


@in_every_backend
def test_a_row_tells_the_time_of_its_server(
    store: SessionStore, backend: str, tmp_path: Path
) -> None:
    before = server_time(backend, tmp_path)
    store.open(key := new_key(), key, new_session())
    rows = (row_of(store, key), *store.of(key))
    after = server_time(backend, tmp_path)
    for row in rows:
        if before is None or after is None:
            assert row.now == row.last_seen == T
        else:
            assert before // MICROSECONDS <= row.last_seen <= row.now <= after // MICROSECONDS


@pytest.mark.parametrize("backend", CLOCKED)
def test_a_row_changes_its_dates_only_as_it_moves(clocked: SessionStore, clock: Clock) -> None:
    """A retry within the grace period moves a row to the generation that it has."""
    key, other = new_key(), new_key()
    for one in (key, other):
        clocked.open(one, one, new_session(lifetime=1000, visit=visit(0, 100)))

    def dates() -> list[int]:
        row = row_of(clocked, key)
        assert [row] == [*clocked.of(key)]
        assert row.now == int(clock())
        found = (row.rotated_at, row.last_seen, row.expires, row.ends)
        return [*(date - T for date in found), row.left, row.left_until_end]

    assert dates() == [0, 0, 100, 1000, 100, 1000]
    clock.advance(50.9)
    assert dates() == [0, 0, 100, 1000, 50, 950]
    assert clocked.move(key, 0, visit(1, 100))
    assert dates() == [50, 50, 150, 1000, 100, 950]
    clock.advance(10.1)
    # The same generation.
    assert clocked.move(key, 1, visit(1, 100))
    assert dates() == [50, 61, 161, 1000, 100, 939]
    assert clocked.rename(key, "telephone")
    assert not clocked.move(key, 0, visit(1, 100))
    clocked.open(key, key, new_session(visit=visit(7)))
    assert dates() == [50, 61, 161, 1000, 100, 939]
    # An idle time that the settings have made shorter, and one that is cut by the end.
    assert clocked.move(key, 1, visit(2, 10))
    assert dates() == [61, 61, 71, 1000, 10, 939]
    assert clocked.move(key, 2, visit(3, 5000))
    assert dates() == [61, 61, 1000, 1000, 939, 939]
    # A clock that is set back: nothing has more time than it may have.
    clock.now = T
    assert clocked.move(key, 3, visit(4, 5000))
    assert dates() == [0, 0, 1000, 1000, 1000, 1000]
    clock.now = T + 1000
    assert dates()[4:] == [0, 0]
    clock.now = T + 1001
    row = row_of(clocked, key)
    assert (row.left, row.left_until_end) == (0, 0)
    assert row_of(clocked, other).last_seen == T


@in_every_backend
def test_a_move_is_dated_by_the_store(store: SessionStore, backend: str) -> None:
    key = new_key()
    store.open(key, key, new_session(lifetime=2 * HOUR, visit=visit(0, 100)))
    opened = row_of(store, key)

    def moved(generation: int, seen: Visit) -> Session:
        before = now_of(store)
        assert store.move(key, generation, seen)
        row = row_of(store, key)
        assert before <= row.last_seen <= row.now <= now_of(store)
        assert row.ends == opened.ends
        assert row.left_until_end == row.ends - row.now
        return row

    first = moved(0, visit(1, HOUR))
    assert (first.rotated_at, first.expires) == (first.last_seen, first.last_seen + HOUR)
    if backend not in CLOCKED:
        until(lambda: now_of(store) > first.last_seen, what="the next second")
    second = moved(1, visit(1, HOUR))
    assert (second.rotated_at, second.expires) == (first.rotated_at, second.last_seen + HOUR)
    third = moved(1, visit(2, 9 * HOUR))
    assert (third.rotated_at, third.expires) == (third.last_seen, opened.ends)


@in_every_backend
def test_the_rows_of_a_subject_are_its_own(store: SessionStore) -> None:
    def check(number: int) -> None:
        ann, bob = new_key(), new_key()
        rows = {new_key(): new_session(f"s{one:03}") for one in range(number)}
        # A row's key is independent of its subject, and a subject's key is none of a row.
        store.open(ann, bob, bobs := new_session("b1", "bob"))
        for key, session in rows.items():
            store.open(key, ann, session)
        expected = [*map(undated, rows.values())]
        assert [*map(undated, by_sid(store.of(ann)))] == expected
        assert [*map(undated, store.of(bob))] == [undated(bobs)]
        for key in [*rows][1::2]:
            assert store.end(key) is True
        assert [*map(undated, by_sid(store.of(ann)))] == expected[::2]
        assert [*map(undated, store.of(bob))] == [undated(bobs)]
        assert store.get(bob) is None

    check_all({f"{number} rows": number for number in (0, 1, 2, 40)}, check)


@in_every_backend
def test_no_more_rows_of_a_subject_are_read_than_are_asked_for(store: SessionStore) -> None:
    subject, other = new_key(), new_key()
    sids = {f"s{one}" for one in range(5)}
    for sid in sids:
        store.open(new_key(), subject, new_session(sid))
    store.open(new_key(), other, new_session("b", "bob"))
    for limit in (1, 3, 5, 300):
        found = store.of(subject, limit)
        assert len({session.sid for session in found}) == len(found) == min(limit, 5)
        assert {session.sid for session in found} <= sids
    assert {session.sid for session in store.of(subject, None)} == sids


@in_every_backend
def test_of_many_rows_those_are_read_whose_sessions_end_last(store: SessionStore) -> None:
    subject = new_key()
    # The more they are, the longer they last: they are opened in this order everywhere.
    for number in range(25):
        store.open(new_key(), subject, new_session(f"s{number}", lifetime=1000 + 100 * number))
    for limit in (3, 4, 24, 25):
        found = {session.sid for session in store.of(subject, limit)}
        assert found == {f"s{number}" for number in range(25 - limit, 25)}
    # Of very many some are left out before.
    assert len(store.of(subject, 1)) == 1


@in_every_backend
def test_opening_again_changes_nothing(store: SessionStore) -> None:
    """A response was lost: the call is repeated, and the client may have gone on."""
    key, ann, bob = (new_key() for _ in range(3))
    session = new_session()
    store.open(key, ann, session)
    row = row_of(store, key)
    store.open(key, ann, replace(session, lifetime=HOUR, began=1))
    holds(store, key, ann, session)
    assert stored(row_of(store, key)) == stored(row)
    assert store.move(key, 0, visit(1)) is True
    assert store.rename(key, "telephone") is True
    row = row_of(store, key)
    store.open(key, ann, session)
    holds(store, key, ann, replace(session, visit=visit(1), name="telephone"))
    assert stored(row_of(store, key)) == stored(row)
    store.open(new_key(), bob, new_session("s2"))
    assert [*map(stored, store.of(ann))] == [stored(row)]


@in_every_backend
def test_a_row_moves_only_from_the_generation_that_it_has(store: SessionStore) -> None:
    key, other, subject = (new_key() for _ in range(3))
    session = new_session(name="telephone", visit=visit(3, user_agent="a", address="b"))
    store.open(key, subject, session)
    store.open(other, subject, beside := new_session("s2", visit=visit(3)))
    row, neighbour = row_of(store, key), row_of(store, other)
    for generation in (0, 2, 4, 33):
        assert store.move(key, generation, visit(generation + 1)) is False, generation
        assert stored(store.get(key)) == stored(row)
    there = visit(4, 2 * HOUR, user_agent=None, address="c")
    assert store.move(key, 3, there) is True
    assert undated(store.get(key)) == undated(replace(session, visit=there))
    assert store.move(key, 3, there) is False
    assert stored(store.get(other)) == stored(neighbour)
    expected = [undated(replace(session, visit=there)), undated(beside)]
    assert [*map(undated, by_sid(store.of(subject)))] == expected


@in_every_backend
def test_a_change_to_the_same_values_succeeds(store: SessionStore) -> None:
    """MySQL's own count is that of rows whose values differ now."""
    key, session = new_key(), new_session(name="telephone")
    store.open(key, key, session)
    for _ in range(2):
        assert store.move(key, 0, session.visit) is True
        assert store.rename(key, "telephone") is True
    assert store.move(key, 1, session.visit) is False
    holds(store, key, key, session)


@in_pruned_ones
def test_a_row_that_was_ended_is_not_removed_again(backend: str, tmp_path: Path) -> None:
    with opened_rows("sessions", backend, tmp_path) as rows:
        assert isinstance(rows, SessionRows)
        store = rows.store
        one, two = rows.fill([-1, -1])
        assert store.end(one)
        assert removed_by_prune(store) == 1
        assert not store.end(two)
        # Both keys are new again.
        for key in (one, two):
            rows.add(key, HOUR)
        assert removed_by_prune(store) == 0
        assert rows.held(one, two) == 2


@in_pruned_ones
def test_sweeps_get_past_the_many_rows_of_one_subject(store: SessionStore) -> None:
    """Expired rows among active ones are found, whatever their order.

    There are twice as many active ones as a sweep examines: one that always began at the same row
    would soon find only those, and more expired ones than are allowed here would be left.
    """
    subject = new_key()
    for number in range(60):
        store.open(new_key(), subject, new_session(visit=visit(0, -1 if number % 6 else HOUR)))
    for _ in range(300):
        store.sweep(5)
    rows = store.of(subject)
    assert sum(one.left == 0 for one in rows) < 10
    assert sum(one.left > 0 for one in rows) == 10


@in_every_backend
def test_of_threads_that_move_a_row_at_once_one_does(store: SessionStore) -> None:
    """SECURITY A.13 233; Issue 4: one atomic compare-and-set in every store"""
    key = new_key()
    store.open(key, new_key(), new_session())

    def check(generation: int) -> None:
        visits = [visit(generation + 1, user_agent=f"{number}") for number in range(THREADS)]
        moved = race(lambda one: store.move(key, generation, visits[one]), THREADS)
        assert sorted(moved) == [False] * (THREADS - 1) + [True]
        row = row_of(store, key)
        assert (row.generation, row.user_agent) == (generation + 1, f"{moved.index(True)}")

    for generation in range(8):
        check(generation)


@in_every_backend
def test_of_threads_that_open_a_row_at_once_one_does(store: SessionStore) -> None:
    def check(key: bytes, subject: bytes) -> None:
        race(lambda one: store.open(key, subject, new_session(f"s{one}")), THREADS)
        assert [*map(stored, store.of(subject))] == [stored(row_of(store, key))]

    for _ in range(5):
        check(new_key(), new_key())


@in_every_backend
def test_a_row_that_is_ended_beside_moves_is_removed(store: SessionStore) -> None:
    """Issue 4: a logout that races a refresh always wins"""

    def work(key: bytes, number: int) -> bool | None:
        if number < 2:
            return store.end(key)
        if number < 4:
            store.rename(key, f"{number}")
        else:
            store.move(key, 0, visit(1))
        return False

    def check(key: bytes, subject: bytes) -> None:
        store.open(key, subject, new_session())
        assert race(lambda number: work(key, number), THREADS).count(True) == 1
        assert store.get(key) is None
        assert [*store.of(subject)] == []
        assert store.end(key) is False
        assert store.move(key, 1, visit(2)) is False
        assert store.rename(key, "x") is False

    for _ in range(6):
        check(new_key(), new_key())


@pytest.mark.parametrize("backend", [*SHARED, "psycopg2"])
def test_a_change_that_has_returned_is_seen_by_others(
    store: SessionStore, backend: str, tmp_path: Path
) -> None:
    key, subject, session = new_key(), new_key(), new_session()
    with opened_sessions(backend, tmp_path) as other:

        def check(expected: NewSession | None) -> None:
            listed = [] if expected is None else [undated(expected)]
            assert undated(other.get(key)) == undated(expected)
            assert [*map(undated, other.of(subject))] == listed

        check(None)
        for number in range(5):
            store.open(key, subject, session)
            check(session)
            store.move(key, 0, moved := visit(number + 1))
            check(replace(session, visit=moved))
            assert other.move(key, number + 1, session.visit) is True
            assert undated(store.get(key)) == undated(session)
            store.rename(key, "x")
            check(replace(session, name="x"))
            assert store.end(key)
            check(None)


@pytest.mark.parametrize("backend", [one for one in SQL if one != "sqlite-memory"])
def test_a_missing_table_is_a_risk(store: SessionStore, backend: str, tmp_path: Path) -> None:
    assert isinstance(store, SQLAlchemySessions)
    assert not [risk for risk in store.risks() if "missing" in risk.problem]
    engine = sa.create_engine(database_url(backend, tmp_path), poolclass=sa.NullPool)
    store.table.drop(engine)
    (risk,) = [risk for risk in store.risks() if "missing" in risk.problem]
    assert "authx_sessions" in risk.problem
    assert "db.create_all()" in risk.fix
    for ask in (store.get, store.of, store.end):
        with pytest.raises(StoreError, match="authx_sessions is missing"):
            ask(new_key())
    engine.dispose()
