"""The contract of a store of sessions in every backend: rows that move, are renamed and listed.

What it shares with a store of revocations is in ``test_row_contract``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from flask_authx.stores.base import StoreError
from flask_authx.stores.session_store import Session, SessionStore, Visit
from flask_authx.stores.sql.sessions import SQLAlchemySessions
from tests.stores.contract import (
    EVERY,
    MOMENT,
    PRUNED,
    SQL,
    SessionRows,
    by_sid,
    later,
    new_key,
    new_session,
    opened_sessions,
    race,
    removed_by_prune,
    visit,
)
from tests.support.corpus import check_all
from tests.support.databases import SHARED, database_url

in_every_backend = pytest.mark.parametrize("backend", EVERY)
in_pruned_ones = pytest.mark.parametrize("backend", PRUNED)

T = MOMENT
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


def client(text: str | None) -> Visit:
    """A refresh of a client that is described so."""
    return visit(user_agent=text, address=text)


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
        assert store.get(key) == session
        assert [*store.of(subject)] == [session]
        assert store.move(key, 0, client(None)) is True
        assert store.move(key, 0, session.visit) is True
        assert store.rename(key, "another") is True
        assert store.rename(key, text) is True
        assert store.get(key) == session

    check_all(TEXTS, check)


@in_every_backend
def test_a_number_is_kept_as_it_is(store: SessionStore) -> None:
    """SECURITY A.4 73: no time overflows anything"""

    def check(number: int) -> None:
        key, subject = new_key(), new_key()
        # Redis removes by its own clock what ends too early.
        end = max(number, later())
        seen = visit(number, end, rotated_at=number, last_seen=number)
        session = new_session(created=number, ends=end, visit=seen)
        store.open(key, subject, session)
        assert store.get(key) == session
        assert [*store.of(subject)] == [session]
        assert store.move(key, number - 1, seen) is False
        assert store.move(key, number + 1, seen) is False
        assert store.move(key, number, replace(seen, generation=0)) is True
        assert store.move(key, 0, seen) is True
        found = store.get(key)
        assert found is not None
        assert found == session
        whole = (found.created, found.ends, found.generation, found.expires, found.last_seen)
        assert {type(one) for one in (*whole, found.visit.rotated_at)} == {int}

    check_all({str(number): number for number in NUMBERS}, check)


@in_every_backend
def test_the_rows_of_a_subject_are_its_own(store: SessionStore) -> None:
    def check(number: int) -> None:
        ann, bob = new_key(), new_key()
        rows = {new_key(): new_session(f"s{one:03}") for one in range(number)}
        # A row's key is independent of its subject, and a subject's key is none of a row.
        store.open(ann, bob, bobs := new_session("b1", "bob"))
        for key, session in rows.items():
            store.open(key, ann, session)
        assert by_sid(store.of(ann)) == [*rows.values()]
        assert [*store.of(bob)] == [bobs]
        for key in [*rows][1::2]:
            assert store.end(key) is True
        assert by_sid(store.of(ann)) == [*rows.values()][::2]
        assert [*store.of(bob)] == [bobs]
        assert store.get(bob) is None

    check_all({f"{number} rows": number for number in (0, 1, 2, 40)}, check)


@in_every_backend
def test_no_more_rows_of_a_subject_are_read_than_are_asked_for(store: SessionStore) -> None:
    subject, other = new_key(), new_key()
    rows = [new_session(f"s{one}") for one in range(5)]
    for session in rows:
        store.open(new_key(), subject, session)
    store.open(new_key(), other, new_session("b", "bob"))
    for limit in (1, 3, 5, 300):
        found = store.of(subject, limit)
        assert len({session.sid for session in found}) == len(found) == min(limit, 5)
        assert all(session in rows for session in found)
    assert by_sid(store.of(subject, None)) == rows


@in_every_backend
def test_opening_again_changes_nothing(store: SessionStore) -> None:
    """A response was lost: the call is repeated, and the client may have gone on."""
    key, ann, bob = (new_key() for _ in range(3))
    session = new_session()
    store.open(key, ann, session)
    store.open(key, ann, session)
    assert [*store.of(ann)] == [session]
    moved = visit(1)
    assert store.move(key, 0, moved) is True
    assert store.rename(key, "telephone") is True
    store.open(key, ann, session)
    now = replace(session, visit=moved, name="telephone")
    assert store.get(key) == now
    assert [*store.of(ann)] == [now]
    store.open(new_key(), bob, new_session("s2"))
    assert [*store.of(ann)] == [now]


@in_every_backend
def test_a_row_moves_only_from_the_generation_that_it_has(store: SessionStore) -> None:
    key, other, subject = (new_key() for _ in range(3))
    session = new_session(name="telephone", visit=visit(3, user_agent="a", address="b"))
    store.open(key, subject, session)
    store.open(other, subject, beside := new_session("s2", visit=visit(3)))
    for generation in (0, 2, 4, 33):
        assert store.move(key, generation, visit(generation + 1)) is False, generation
        assert store.get(key) == session
    there = visit(4, later(7200), user_agent=None, address="c")
    assert store.move(key, 3, there) is True
    assert store.get(key) == session.after(there)
    assert store.move(key, 3, there) is False
    assert store.get(other) == beside
    assert by_sid(store.of(subject)) == [session.after(there), beside]


@in_every_backend
def test_a_change_to_the_same_values_succeeds(store: SessionStore) -> None:
    """MySQL's own count is that of rows whose values differ now."""
    key, session = new_key(), new_session(name="telephone")
    store.open(key, new_key(), session)
    for _ in range(2):
        assert store.move(key, 0, session.visit) is True
        assert store.rename(key, "telephone") is True
    assert store.move(key, 1, session.visit) is False
    assert store.get(key) == session


@in_pruned_ones
def test_a_row_that_was_ended_is_not_removed_again(store: SessionStore) -> None:
    rows = SessionRows(store)
    one, two = rows.fill([T, T])
    assert store.end(one)
    assert removed_by_prune(store, T + 1) == 1
    assert not store.end(two)
    # Both keys are new again.
    for key in (one, two):
        rows.add(key, T + 9)
    assert removed_by_prune(store, T + 1) == 0
    assert rows.held(one, two) == 2


@in_pruned_ones
def test_sweeps_get_past_the_many_rows_of_one_subject(store: SessionStore) -> None:
    """Expired rows among active ones are found, whatever their order.

    There are twice as many active ones as a sweep examines: one that always began at the same row
    would soon find only those, and more expired ones than are allowed here would be left.
    """
    subject = new_key()
    for number in range(60):
        ends = later(3600) if number % 6 == 0 else T - 1
        session = new_session(ends=ends + T, visit=visit(0, ends))
        store.open(new_key(), subject, session)
    for _ in range(300):
        store.sweep(T, 5)
    assert sum(one.expires < T for one in store.of(subject)) < 10


@in_every_backend
def test_of_threads_that_move_a_row_at_once_one_does(store: SessionStore) -> None:
    """SECURITY A.13 233; Issue 4: one atomic compare-and-set in every store"""
    key = new_key()
    store.open(key, new_key(), new_session())

    def check(generation: int) -> None:
        visits = [visit(generation + 1, user_agent=f"{number}") for number in range(THREADS)]
        moved = race(lambda one: store.move(key, generation, visits[one]), THREADS)
        assert sorted(moved) == [False] * (THREADS - 1) + [True]
        found = store.get(key)
        assert found is not None
        assert found.visit == visits[moved.index(True)]

    for generation in range(8):
        check(generation)


@in_every_backend
def test_of_threads_that_open_a_row_at_once_one_does(store: SessionStore) -> None:
    def check(key: bytes, subject: bytes) -> None:
        race(lambda one: store.open(key, subject, new_session(f"s{one}")), THREADS)
        found = store.get(key)
        assert found is not None
        assert [*store.of(subject)] == [found]

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

        def check(expected: Session | None) -> None:
            listed = [] if expected is None else [expected]
            assert (other.get(key), [*other.of(subject)]) == (expected, listed)

        check(None)
        for number in range(5):
            store.open(key, subject, session)
            check(session)
            store.move(key, 0, moved := visit(number + 1))
            check(session.after(moved))
            assert other.move(key, number + 1, session.visit) is True
            assert store.get(key) == session
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
