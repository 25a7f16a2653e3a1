"""What every store of logins promises: its rows. Other files hold the rest.

The tests talk to real stores over real connections; ``opened`` gives them one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from flask_authx import Risk
from flask_authx.stores.memory import MemorySessions
from flask_authx.stores.redis.sessions import RedisSessions
from flask_authx.stores.redis.urls import client_for
from flask_authx.stores.session_store import Session, SessionStore, Visit
from flask_authx.stores.sql.sessions import SQLAlchemySessions
from tests.stores.test_store_contract import EVERY, SQL, cluster_url, later, new_key
from tests.support.databases import SHARED, database_url, redis_url

FAR = 2**53


@contextlib.contextmanager
def opened(kind: str, folder: Path, timeout: float = 10) -> Generator[SessionStore]:
    """An empty store. What it holds by its own clock is the clock's of 1970, so nothing expires."""
    if kind == "memory":
        yield MemorySessions(lambda: 0.0)
    elif kind in ("redis", "cluster"):
        # Many of its commands have no types.
        client: Any = client_for(redis_url() if kind == "redis" else cluster_url(), timeout)()
        for name in client.scan_iter(match="authx:*"):
            client.delete(name)
        yield RedisSessions(client)
        client.close()
    else:
        engine = sa.create_engine(database_url(kind, folder), poolclass=sa.NullPool)
        with sql_store(engine, timeout) as store:
            yield store


@contextlib.contextmanager
def sql_store(engine: sa.Engine, timeout: float = 10) -> Generator[SQLAlchemySessions]:
    """An empty store in an SQL database."""
    store = SQLAlchemySessions(engine, timeout=timeout)
    if not store.per_process:
        with engine.begin() as connection:
            store.table.create(connection, checkfirst=True)
            connection.execute(sa.delete(store.table))
    yield store
    store.close()
    engine.dispose()


def visit(generation: int = 0, expires: int | None = None, **changes: Any) -> Visit:
    """A refresh just now, that keeps the login for an hour."""
    now = later(0)
    made = Visit(
        generation=generation,
        rotated_at=now,
        last_seen=now,
        expires=now + 3600 if expires is None else expires,
    )
    return replace(made, **changes)


def login(sid: str = "s1", sub: str = "ann", **changes: Any) -> Session:
    """A login that began a minute ago."""
    now = later(0)
    made = Session(sid=sid, sub=sub, created=now - 60, ends=now + 86400, visit=visit())
    return replace(made, **changes)


def by_sid(rows: Sequence[Session]) -> list[Session]:
    return sorted(rows, key=lambda row: row.sid)


def agent(text: str | None) -> Visit:
    return visit(user_agent=text, address=text)


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


@pytest.mark.parametrize("kind", EVERY)
def test_there_is_nothing_where_nothing_was_opened(kind: str, tmp_path: Path) -> None:
    key = new_key()
    with opened(kind, tmp_path) as store:
        assert store.get(key) is None
        assert [*store.of(key)] == []
        assert store.move(key, 0, visit(1)) is False
        assert store.rename(key, "x") is False
        assert store.end(key) is False
        assert store.get(key) is None


@pytest.mark.parametrize("kind", EVERY)
@pytest.mark.parametrize("what", TEXTS)
def test_a_text_is_kept_as_it_is(kind: str, what: str, tmp_path: Path) -> None:
    text = TEXTS[what]
    key, subject = new_key(), new_key()
    session = login(sub=text or "ann", name=text, visit=agent(text))
    with opened(kind, tmp_path) as store:
        store.open(key, subject, session)
        assert store.get(key) == session
        assert [*store.of(subject)] == [session]
        assert store.move(key, 0, agent(None)) is True
        assert store.move(key, 0, session.visit) is True
        assert store.rename(key, "another") is True
        assert store.rename(key, text) is True
        assert store.get(key) == session


@pytest.mark.parametrize("kind", EVERY)
@pytest.mark.parametrize("number", NUMBERS)
def test_a_number_is_kept_as_it_is(kind: str, number: int, tmp_path: Path) -> None:
    """SECURITY 73: no time overflows anything"""
    key, subject = new_key(), new_key()
    # Redis removes by its own clock what ends too early.
    end = max(number, later())
    seen = visit(number, end, rotated_at=number, last_seen=number)
    session = login(created=number, ends=end, visit=seen)
    with opened(kind, tmp_path) as store:
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


@pytest.mark.parametrize("kind", EVERY)
def test_any_bytes_are_a_key_of_a_row_and_of_a_subject(kind: str, tmp_path: Path) -> None:
    keys = [
        *(bytes([byte]) * 16 for byte in (0, 1, 0x20, 0x2A, 0x5C, 0x7F, 0x80, 0xFF)),
        # A text would be cut, padded, folded or read as a pattern.
        *(b"a\0" + b"b" * 14, b"a" * 15 + b"\0", b"a" * 15 + b" ", b"A" * 15 + b" ", b"a" * 16),
        *(b"' OR 1=1; --    ", b"authx:*?[a-z]%_!", b"\r\n$3\r\nDEL\r\n....\n"),
    ]
    with opened(kind, tmp_path) as store:
        for number, key in enumerate(keys):
            assert store.get(key) is None
            assert [*store.of(key)] == []
            store.open(key, key, login(f"s{number}"))
        for number, key in enumerate(keys):
            found = store.get(key)
            assert found is not None
            assert found.sid == f"s{number}"
            assert [*store.of(key)] == [found]


@pytest.mark.parametrize("kind", EVERY)
@pytest.mark.parametrize("number", [0, 1, 2, 40])
def test_a_subject_s_rows_are_its_own(kind: str, number: int, tmp_path: Path) -> None:
    ann, bob = new_key(), new_key()
    rows = {new_key(): login(f"s{one:03}") for one in range(number)}
    with opened(kind, tmp_path) as store:
        # A row's key says nothing about whose it is, and a subject's key is none of a row.
        store.open(ann, bob, bobs := login("b1", "bob"))
        for key, session in rows.items():
            store.open(key, ann, session)
        assert by_sid(store.of(ann)) == [*rows.values()]
        assert [*store.of(bob)] == [bobs]
        for key in [*rows][1::2]:
            assert store.end(key) is True
        assert by_sid(store.of(ann)) == [*rows.values()][::2]
        assert [*store.of(bob)] == [bobs]
        assert store.get(bob) is None


@pytest.mark.parametrize("kind", EVERY)
def test_opening_again_changes_nothing(kind: str, tmp_path: Path) -> None:
    """An answer that was lost: it is asked once more, and the client may have gone on."""
    key, ann, bob = (new_key() for _ in range(3))
    session = login()
    with opened(kind, tmp_path) as store:
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
        store.open(new_key(), bob, login("s2"))
        assert [*store.of(ann)] == [now]


@pytest.mark.parametrize("kind", EVERY)
def test_a_row_moves_from_the_generation_it_is_of_and_from_no_other(
    kind: str, tmp_path: Path
) -> None:
    key, other, subject = (new_key() for _ in range(3))
    session = login(name="telephone", visit=visit(3, user_agent="a", address="b"))
    with opened(kind, tmp_path) as store:
        store.open(key, subject, session)
        store.open(other, subject, beside := login("s2", visit=visit(3)))
        for generation in (0, 2, 4, 33):
            assert store.move(key, generation, visit(generation + 1)) is False
            assert store.get(key) == session
        there = visit(4, later(7200), user_agent=None, address="c")
        assert store.move(key, 3, there) is True
        assert store.get(key) == session.after(there)
        assert store.move(key, 3, there) is False
        assert store.get(other) == beside
        assert by_sid(store.of(subject)) == [session.after(there), beside]


@pytest.mark.parametrize("kind", EVERY)
def test_what_changes_nothing_has_been_done_all_the_same(kind: str, tmp_path: Path) -> None:
    """MySQL's own count is that of rows which differ now."""
    key, session = new_key(), login(name="telephone")
    with opened(kind, tmp_path) as store:
        store.open(key, new_key(), session)
        for _ in range(2):
            assert store.move(key, 0, session.visit) is True
            assert store.rename(key, "telephone") is True
        assert store.move(key, 1, session.visit) is False
        assert store.get(key) == session


@pytest.mark.parametrize("kind", EVERY)
def test_a_store_says_whether_others_see_its_logins(kind: str, tmp_path: Path) -> None:
    with opened(kind, tmp_path) as store:
        assert store.per_process is (kind not in (*SHARED, "psycopg2", "cluster"))


@pytest.mark.parametrize("kind", EVERY)
def test_a_store_says_how_it_could_lose_logins(kind: str, tmp_path: Path) -> None:
    with opened(kind, tmp_path) as store:
        for risk in store.risks():
            assert isinstance(risk, Risk)
            assert risk.problem.endswith(".")
            assert risk.fix.endswith(".")
            assert "revocation" not in risk.problem
        if store.per_process:
            assert "memory" in " ".join(risk.problem for risk in store.risks())


@pytest.mark.parametrize("kind", [kind for kind in SQL if kind != "sqlite-memory"])
def test_a_table_that_is_missing_is_a_risk(kind: str, tmp_path: Path) -> None:
    with opened(kind, tmp_path) as store:
        assert isinstance(store, SQLAlchemySessions)
        assert not [risk for risk in store.risks() if "missing" in risk.problem]
        engine = sa.create_engine(database_url(kind, tmp_path), poolclass=sa.NullPool)
        store.table.drop(engine)
        (risk,) = [risk for risk in store.risks() if "missing" in risk.problem]
        assert "authx_sessions" in risk.problem
        assert "db.create_all()" in risk.fix
        for ask in (store.get, store.of, store.end):
            with pytest.raises(DBAPIError):
                ask(new_key())
        engine.dispose()
