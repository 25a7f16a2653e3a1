"""What every store of logins promises to those who change a row at the same moment."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from typing import TypeVar

import pytest

from flask_authx.stores.session_store import Session
from tests.stores.test_session_store_contract import login, opened, visit
from tests.stores.test_store_contract import EVERY, new_key
from tests.support.databases import SHARED

T = TypeVar("T")

THREADS = 8


def race(work: Callable[[int], T]) -> list[T]:
    """What each of some threads gets that do the work at the same moment."""
    together = Barrier(THREADS)

    def run(number: int) -> T:
        together.wait(60)
        return work(number)

    with ThreadPoolExecutor(THREADS) as pool:
        return [*pool.map(run, range(THREADS))]


@pytest.mark.parametrize("kind", EVERY)
def test_of_threads_that_move_a_row_at_once_one_does(kind: str, tmp_path: Path) -> None:
    """Issue 4: one atomic compare-and-set in every store"""
    key = new_key()
    visits = [visit(user_agent=f"{number}") for number in range(THREADS)]
    with opened(kind, tmp_path) as store:

        def moved_from(generation: int) -> list[bool]:
            return race(
                lambda one: store.move(
                    key, generation, replace(visits[one], generation=generation + 1)
                )
            )

        store.open(key, new_key(), login())
        for generation in range(12):
            moved = moved_from(generation)
            assert sorted(moved) == [False] * (THREADS - 1) + [True]
            found = store.get(key)
            assert found is not None
            assert found.visit == replace(visits[moved.index(True)], generation=generation + 1)


@pytest.mark.parametrize("kind", EVERY)
def test_of_threads_that_open_a_row_at_once_one_does(kind: str, tmp_path: Path) -> None:
    with opened(kind, tmp_path) as store:

        def check(key: bytes, subject: bytes) -> None:
            race(lambda one: store.open(key, subject, login(f"s{one}")))
            found = store.get(key)
            assert found is not None
            assert [*store.of(subject)] == [found]

        for _ in range(5):
            check(new_key(), new_key())


@pytest.mark.parametrize("kind", EVERY)
def test_a_row_that_was_ended_is_gone_whoever_moves_it_then(kind: str, tmp_path: Path) -> None:
    """Issue 4: a logout that races a refresh always wins"""
    with opened(kind, tmp_path) as store:

        def work(key: bytes, number: int) -> bool:
            if number < 2:
                return store.end(key)
            if number < 4:
                store.rename(key, f"{number}")
            else:
                store.move(key, 0, visit(1))
            return False

        def check(key: bytes, subject: bytes) -> None:
            store.open(key, subject, login())
            assert race(lambda number: work(key, number)).count(True) == 1
            assert store.get(key) is None
            assert [*store.of(subject)] == []
            assert store.end(key) is False
            assert store.move(key, 1, visit(2)) is False
            assert store.rename(key, "x") is False

        for _ in range(8):
            check(new_key(), new_key())


@pytest.mark.parametrize("kind", [*SHARED, "psycopg2"])
def test_a_change_that_has_returned_is_seen_by_others(kind: str, tmp_path: Path) -> None:
    key, subject, session = new_key(), new_key(), login()
    with opened(kind, tmp_path) as other, opened(kind, tmp_path) as store:

        def is_seen(expected: Session | None) -> bool:
            listed = [] if expected is None else [expected]
            return (other.get(key), [*other.of(subject)]) == (expected, listed)

        assert is_seen(None)
        for number in range(10):
            store.open(key, subject, session)
            assert is_seen(session)
            store.move(key, 0, moved := visit(number + 1))
            assert is_seen(session.after(moved))
            assert other.move(key, number + 1, session.visit) is True
            assert store.get(key) == session
            store.rename(key, "x")
            assert is_seen(replace(session, name="x"))
            assert store.end(key)
            assert is_seen(None)
