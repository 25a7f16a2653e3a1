"""What every store of revocations promises: adding and finding. Other files hold the rest.

The tests talk to real stores over real connections; ``opened`` gives them one.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import time
from collections.abc import Generator
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from flask_authx import Blocklist, Cutoff, Entry, Kind, MemoryBlocklist, RedisBlocklist, Risk
from flask_authx.stores.redis.urls import client_for
from flask_authx.stores.sql.revocations import SQLAlchemyBlocklist
from tests.support.databases import SHARED, STORES, database_url, redis_url
from tests.support.servers.private import redis_cluster

ALL = Cutoff()
SQL = ("sqlite", "sqlite-memory", "postgresql", "psycopg2", "mariadb")
#: A Cluster takes seconds to come up.
EVERY = [
    *STORES,
    pytest.param("cluster", marks=[pytest.mark.slow, pytest.mark.xdist_group("cluster")]),
]


@functools.cache
def cluster_url() -> str:
    """The URL of a Cluster of this process's own, which ends with it."""
    stack = contextlib.ExitStack()
    atexit.register(stack.close)
    url, _ = stack.enter_context(redis_cluster())
    return url


@contextlib.contextmanager
def opened(kind: str, folder: Path, timeout: float = 10) -> Generator[Blocklist]:
    """An empty store. What it holds by its own clock is the clock's of 1970, so nothing expires."""
    if kind == "memory":
        yield MemoryBlocklist(lambda: 0.0)
    elif kind in ("redis", "cluster"):
        # Many of its commands have no types.
        client: Any = client_for(redis_url() if kind == "redis" else cluster_url(), timeout)()
        for name in client.scan_iter(match="authx:*"):
            client.delete(name)
        yield RedisBlocklist(client)
        client.close()
    else:
        engine = sa.create_engine(database_url(kind, folder), poolclass=sa.NullPool)
        with sql_store(engine, timeout) as store:
            yield store


@contextlib.contextmanager
def sql_store(engine: sa.Engine, timeout: float = 10) -> Generator[SQLAlchemyBlocklist]:
    """An empty store in an SQL database."""
    store = SQLAlchemyBlocklist(engine, timeout=timeout)
    if not store.per_process:
        with engine.begin() as connection:
            store.table.create(connection, checkfirst=True)
            connection.execute(sa.delete(store.table))
    yield store
    store.close()
    engine.dispose()


def later(seconds: int = 3600) -> int:
    """A moment to come, by the clock of this machine and its servers."""
    return int(time.time()) + seconds


def new_key() -> bytes:
    return os.urandom(16)


def plain(cutoff: Cutoff) -> tuple[int, bytes | None, int | None]:
    """What a cut-off says. Where nobody is kept, it doesn't matter since when."""
    return cutoff.until, cutoff.keep, None if cutoff.keep is None else cutoff.keep_after


def found(store: Blocklist, *keys: bytes) -> list[tuple[int, bytes | None, int | None]]:
    """What a store finds, in an order of ours."""
    return sorted(map(plain, store.find(keys)), key=repr)


#: One of each that a revocation may write.
ENTRIES = {
    "a token": (Kind.TOKEN, ALL),
    "a login": (Kind.SESSION, ALL),
    "a user": (Kind.SUBJECT, Cutoff(1_800_000_000)),
    "all but one": (Kind.SUBJECT, Cutoff(1_800_000_000, bytes(range(16)))),
}


@pytest.mark.parametrize("kind", EVERY)
def test_nothing_is_found_where_nothing_was_added(kind: str, tmp_path: Path) -> None:
    with opened(kind, tmp_path) as store:
        for number in (1, 2, 3):
            assert [*store.find([new_key() for _ in range(number)])] == []


@pytest.mark.parametrize("kind", EVERY)
@pytest.mark.parametrize("what", ENTRIES)
def test_what_was_added_is_found_as_it_was(kind: str, what: str, tmp_path: Path) -> None:
    entry_kind, cutoff = ENTRIES[what]
    key = new_key()
    with opened(kind, tmp_path) as store:
        store.add(Entry(key, entry_kind, later(), cutoff))
        assert found(store, key) == [plain(cutoff)]
        assert found(store, new_key()) == []


@pytest.mark.parametrize("kind", EVERY)
def test_a_cutoff_is_whole_numbers_as_declared(kind: str, tmp_path: Path) -> None:
    with opened(kind, tmp_path) as store:
        for entry_kind, cutoff in ENTRIES.values():
            key = new_key()
            store.add(Entry(key, entry_kind, later(), cutoff))
            (one,) = store.find([key])
            assert {type(one.until), type(one.keep_after)} == {int}
            assert one.keep is None or type(one.keep) is bytes


@pytest.mark.parametrize("kind", EVERY)
def test_one_to_three_keys_are_looked_up_together(kind: str, tmp_path: Path) -> None:
    """DESIGN 4: one lookup of three keys answers everything"""
    token, session, subject, unknown = (new_key() for _ in range(4))
    cutoff = Cutoff(1_800_000_000, session)
    cutoffs = {token: ALL, session: Cutoff(7), subject: cutoff}
    with opened(kind, tmp_path) as store:
        store.add(Entry(token, Kind.TOKEN, later()))
        store.add(Entry(session, Kind.SUBJECT, later(), Cutoff(7)))
        store.add(Entry(subject, Kind.SUBJECT, later(), cutoff))
        for number in (1, 2, 3):
            for keys in permutations([token, session, subject, unknown], number):
                expected = [plain(cutoffs[key]) for key in keys if key in cutoffs]
                assert found(store, *keys) == sorted(expected, key=repr)


@pytest.mark.parametrize("kind", EVERY)
def test_any_bytes_are_a_key(kind: str, tmp_path: Path) -> None:
    keys = [
        *(bytes([byte]) * 16 for byte in (0, 1, 0x20, 0x2A, 0x5C, 0x7F, 0x80, 0xFF)),
        # A text would be cut, padded, folded or read as a pattern.
        *(b"a\0" + b"b" * 14, b"a" * 15 + b"\0", b"a" * 15 + b" ", b"A" * 15 + b" ", b"a" * 16),
        *(b"' OR 1=1; --    ", b"authx:*?[a-z]%_!", b"\r\n$3\r\nDEL\r\n....\n"),
    ]
    with opened(kind, tmp_path) as store:
        for number, key in enumerate(keys):
            assert found(store, key) == []
            store.add(Entry(key, Kind.SUBJECT, later(), Cutoff(number, keys[-1 - number])))
        for number, key in enumerate(keys):
            assert found(store, key) == [(number, keys[-1 - number], -1)]


@pytest.mark.parametrize("kind", EVERY)
@pytest.mark.parametrize("until", [0, 1, 2**31, 2**32, 253_402_300_799, 2**53 - 1])
def test_a_moment_is_kept_to_the_second(kind: str, until: int, tmp_path: Path) -> None:
    """SECURITY 73: no time overflows anything"""
    key, keep = new_key(), new_key()
    with opened(kind, tmp_path) as store:
        store.add(Entry(key, Kind.SUBJECT, 253_402_300_799, Cutoff(until, keep)))
        assert found(store, key) == [(until, keep, -1)]
        store.add(Entry(key, Kind.SUBJECT, 253_402_300_799, Cutoff(until)))
        assert found(store, key) == [(until + 1, None, None)]


@pytest.mark.parametrize("kind", EVERY)
def test_what_is_found_refuses_the_same_as_what_was_added(kind: str, tmp_path: Path) -> None:
    key, kept, other = (new_key() for _ in range(3))
    with opened(kind, tmp_path) as store:
        store.add(Entry(key, Kind.SUBJECT, later(), Cutoff(100, kept)))
        (cutoff,) = store.find([key])
        over = [cutoff.covers(auth_time, who) for who in (kept, other) for auth_time in (100, 101)]
        assert over == [False, False, True, False]


@pytest.mark.parametrize("kind", EVERY)
def test_a_store_says_whether_others_see_its_entries(kind: str, tmp_path: Path) -> None:
    with opened(kind, tmp_path) as store:
        assert store.per_process is (kind not in (*SHARED, "psycopg2", "cluster"))


@pytest.mark.parametrize("kind", EVERY)
def test_a_store_says_how_it_could_lose_revocations(kind: str, tmp_path: Path) -> None:
    with opened(kind, tmp_path) as store:
        for risk in store.risks():
            assert isinstance(risk, Risk)
            assert risk.problem.endswith(".")
            assert risk.fix.endswith(".")
        if store.per_process:
            assert "memory" in " ".join(risk.problem for risk in store.risks())


@pytest.mark.parametrize("kind", SQL)
def test_connections_that_were_closed_are_opened_again(kind: str, tmp_path: Path) -> None:
    key = new_key()
    with opened(kind, tmp_path) as store:
        assert isinstance(store, SQLAlchemyBlocklist)
        store.add(Entry(key, Kind.TOKEN, later()))
        for _ in range(3):
            store.close()
            assert found(store, key) == [plain(ALL)]
