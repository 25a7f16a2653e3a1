"""What tests of stores share: empty stores of every kind, and the rows that they are given."""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from typing import Any, ClassVar, Generic, TypeAlias, TypeVar

import pytest
import sqlalchemy as sa

from flask_authx import Blocklist, Cutoff, Entry, Kind, MemoryBlocklist, RedisBlocklist
from flask_authx.stores.memory import MemorySessions
from flask_authx.stores.redis.sessions import RedisSessions
from flask_authx.stores.redis.urls import client_for
from flask_authx.stores.session_store import Session, SessionStore, Visit
from flask_authx.stores.sql.revocations import SQLAlchemyBlocklist
from flask_authx.stores.sql.sessions import SQLAlchemySessions
from tests.support.databases import STORES, database_url, redis_url
from tests.support.servers.private import redis_cluster

S = TypeVar("S", bound=SQLAlchemyBlocklist | SQLAlchemySessions)
Store = TypeVar("Store", bound=Blocklist | SessionStore)
T = TypeVar("T")

ALL = Cutoff()
SQL = ("sqlite", "sqlite-memory", "postgresql", "psycopg2", "mariadb")
#: A Cluster takes seconds to come up.
EVERY = [
    *STORES,
    pytest.param("cluster", marks=[pytest.mark.slow, pytest.mark.xdist_group("cluster")]),
]
#: The stores whose expired rows stay until they are swept or pruned.
PRUNED = ("memory", *SQL)
#: A moment for those: they go by what they are told.
MOMENT = 1_000_000
#: The sessions of a user of whom one may be kept: few enough that they meet again.
SIDS = [bytes([number]) * 16 for number in range(3)]
#: Keys that would be cut, padded, folded or read as a pattern if they were handled as texts.
KEYS = [
    *(bytes([byte]) * 16 for byte in (0, 1, 0x20, 0x2A, 0x5C, 0x7F, 0x80, 0xFF)),
    *(b"a\0" + b"b" * 14, b"a" * 15 + b"\0", b"a" * 15 + b" ", b"A" * 15 + b" ", b"a" * 16),
    *(b"' OR 1=1; --    ", b"authx:*?[a-z]%_!", b"\r\n$3\r\nDEL\r\n....\n"),
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
    """An empty store of revocations.

    The clock of the one in memory says 1970, so that it removes nothing by itself.
    """
    if kind == "memory":
        yield MemoryBlocklist(lambda: 0.0)
    elif kind in ("redis", "cluster"):
        with _client(kind, timeout) as client:
            yield RedisBlocklist(client)
    else:
        with sql_store(_engine(kind, folder), timeout) as store:
            yield store


@contextlib.contextmanager
def opened_sessions(kind: str, folder: Path, timeout: float = 10) -> Generator[SessionStore]:
    """An empty store of sessions, as ``opened`` makes one of revocations."""
    if kind == "memory":
        yield MemorySessions(lambda: 0.0)
    elif kind in ("redis", "cluster"):
        with _client(kind, timeout) as client:
            yield RedisSessions(client)
    else:
        with sql_sessions(_engine(kind, folder), timeout) as store:
            yield store


@contextlib.contextmanager
def _client(kind: str, timeout: float) -> Generator[Any]:
    # Many of its commands have no types.
    client: Any = client_for(redis_url() if kind == "redis" else cluster_url(), timeout)()
    for name in client.scan_iter(match="authx:*"):
        client.delete(name)
    yield client
    client.close()


def _engine(kind: str, folder: Path) -> sa.Engine:
    return sa.create_engine(database_url(kind, folder), poolclass=sa.NullPool)


@contextlib.contextmanager
def sql_store(engine: sa.Engine, timeout: float = 10) -> Generator[SQLAlchemyBlocklist]:
    """An empty store of revocations in an SQL database."""
    with _emptied(SQLAlchemyBlocklist(engine, timeout=timeout), engine) as store:
        yield store


@contextlib.contextmanager
def sql_sessions(engine: sa.Engine, timeout: float = 10) -> Generator[SQLAlchemySessions]:
    """An empty store of sessions in an SQL database."""
    with _emptied(SQLAlchemySessions(engine, timeout=timeout), engine) as store:
        yield store


@contextlib.contextmanager
def _emptied(store: S, engine: sa.Engine) -> Generator[S]:
    if not store.per_process:
        with engine.begin() as connection:
            store.table.create(connection, checkfirst=True)
            connection.execute(sa.delete(store.table))
    yield store
    store.close()
    engine.dispose()


def later(seconds: int = 3600) -> int:
    """A moment in the future, by the clock of this machine and its servers."""
    return int(time.time()) + seconds


def new_key() -> bytes:
    return os.urandom(16)


def plain(cutoff: Cutoff) -> tuple[int, bytes | None, int | None]:
    """A cut-off's values; ``keep_after`` means nothing where no session is kept."""
    return cutoff.until, cutoff.keep, None if cutoff.keep is None else cutoff.keep_after


def found(store: Blocklist, *keys: bytes) -> list[tuple[int, bytes | None, int | None]]:
    """The values that a store finds, sorted."""
    return sorted(map(plain, store.find(keys)), key=repr)


def refused(cutoff: Cutoff) -> set[tuple[int, bytes]]:
    """Every revoked session, as its start and its key, among all that could matter to a test."""
    return {
        (auth_time, sid) for auth_time in range(60) for sid in SIDS if cutoff.covers(auth_time, sid)
    }


def visit(generation: int = 0, expires: int | None = None, **changes: Any) -> Visit:
    """A refresh at this moment, after which the session lasts an hour."""
    now = later(0)
    made = Visit(
        generation=generation,
        rotated_at=now,
        last_seen=now,
        expires=now + 3600 if expires is None else expires,
    )
    return replace(made, **changes)


def new_session(sid: str = "s1", sub: str = "ann", **changes: Any) -> Session:
    """A session that began a minute ago."""
    now = later(0)
    made = Session(sid=sid, sub=sub, created=now - 60, ends=now + 86400, visit=visit())
    return replace(made, **changes)


def by_sid(rows: Iterable[Session]) -> list[Session]:
    return sorted(rows, key=lambda row: row.sid)


def race(work: Callable[[int], T], threads: int = 8) -> list[T]:
    """The results of threads that begin the work at the same moment, each with its number."""
    together = Barrier(threads)

    def run(number: int) -> T:
        together.wait(60)
        return work(number)

    with ThreadPoolExecutor(threads) as pool:
        return [*pool.map(run, range(threads))]


def removed_by_prune(store: Blocklist | SessionStore, before: int) -> int:
    """How many rows a prune removes; its shares rise to 1."""
    batches = [*store.prune(before)]
    shares = [batch.share for batch in batches]
    assert shares == sorted(shares), f"the shares of a prune fall: {shares}"
    assert shares[0] >= 0, f"a share is below 0: {shares}"
    assert shares[-1] == 1.0, f"a prune ends with the share {shares[-1]}"
    return sum(batch.removed for batch in batches)


class BaseRows(ABC, Generic[Store]):
    """A store of either kind, as what both are: rows that have a key and expire."""

    #: Moments to which one row's expiry is set in turn, of which T + 50 is the one that counts.
    histories: ClassVar[Sequence[Sequence[int]]]

    def __init__(self, store: Store) -> None:
        self.store = store

    @abstractmethod
    def add(self, key: bytes, expires: int, number: int | None = None) -> None:
        """Add a row, which holds a number if one is given."""

    @abstractmethod
    def number(self, key: bytes) -> int:
        """The number that a row was added with; that all else is as it was added is asserted."""

    @abstractmethod
    def prolong(self, key: bytes, expires: int) -> bool:
        """Set the expiry of a row that this object added; return whether the row has it now."""

    @abstractmethod
    def held(self, *keys: bytes) -> int:
        """How many of up to three rows there are."""

    def fill(self, expiries: Iterable[int]) -> dict[bytes, int]:
        """Add rows that expire at these moments; return the moments by key."""
        made = {new_key(): expires for expires in expiries}
        for key, expires in made.items():
            self.add(key, expires)
        return made

    def left(self, made: dict[bytes, int]) -> list[int]:
        """The expiries of those rows that are still there, and that no other row is there."""
        return sorted(expires for key, expires in made.items() if self.held(key))


class RevocationRows(BaseRows[Blocklist]):
    """Rows of revocations."""

    #: The latest expiry counts.
    histories = (
        [MOMENT, MOMENT + 50],
        [MOMENT + 50, MOMENT],
        [MOMENT, MOMENT + 50, MOMENT],
        [MOMENT, MOMENT, MOMENT + 50],
    )

    def add(self, key: bytes, expires: int, number: int | None = None) -> None:
        if number is None:
            self.store.add(Entry(key, Kind.TOKEN, expires))
        else:
            self.store.add(Entry(key, Kind.SUBJECT, expires, Cutoff(number, key[::-1])))

    def number(self, key: bytes) -> int:
        (one,) = found(self.store, key)
        assert one == (one[0], key[::-1], -1), f"{key!r} holds {one}"
        return one[0]

    def prolong(self, key: bytes, expires: int) -> bool:
        self.add(key, expires)
        return True

    def held(self, *keys: bytes) -> int:
        return len(self.store.find(keys))

    def total(self) -> int:
        """How many rows there are."""
        return sum(sum(numbers) for numbers in self.store.count([]).values())

    def left(self, made: dict[bytes, int]) -> list[int]:
        there = super().left(made)
        assert self.total() == len(there), f"{self.total()} rows are counted, {len(there)} found"
        return there


class SessionRows(BaseRows[SessionStore]):
    """Rows of sessions. Each has a subject of its own, under the same key."""

    #: The expiry of the last refresh counts, whether it is later or, after the settings have
    #: changed, earlier.
    histories = (
        [MOMENT, MOMENT + 50],
        [MOMENT + 90, MOMENT + 50],
        [MOMENT, MOMENT + 90, MOMENT + 20, MOMENT + 50],
    )

    def __init__(self, store: SessionStore) -> None:
        super().__init__(store)
        self._generations: dict[bytes, int] = {}

    def add(self, key: bytes, expires: int, number: int | None = None) -> None:
        made = new_session(f"s{number}", ends=expires + 1_000_000, visit=visit(0, expires))
        self.store.open(key, key, made)

    def number(self, key: bytes) -> int:
        row = self.store.get(key)
        assert row is not None, f"{key!r} has no row"
        assert [*self.store.of(key)] == [row], f"of {key!r} is another than its row"
        return int(row.sid[1:])

    def prolong(self, key: bytes, expires: int) -> bool:
        generation = self._generations.get(key, 0)
        if not self.store.move(key, generation, visit(generation + 1, expires)):
            return False
        self._generations[key] = generation + 1
        # A new name leaves the expiry as it is.
        return self.store.rename(key, "telephone")

    def held(self, *keys: bytes) -> int:
        return sum(self.store.get(key) is not None for key in keys)

    def left(self, made: dict[bytes, int]) -> list[int]:
        there = [key for key in made if self.held(key)]
        assert there == [key for key in made if self.store.of(key)], "of() and get() differ"
        return super().left(made)


Rows: TypeAlias = RevocationRows | SessionRows
KINDS = ("revocations", "sessions")


@contextlib.contextmanager
def opened_rows(kind: str, backend: str, folder: Path) -> Generator[Rows]:
    """An empty store of either kind."""
    if kind == "revocations":
        with opened(backend, folder) as revocations:
            yield RevocationRows(revocations)
    else:
        with opened_sessions(backend, folder) as sessions:
            yield SessionRows(sessions)
