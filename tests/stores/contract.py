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
from dataclasses import asdict, replace
from pathlib import Path
from threading import Barrier
from typing import Any, ClassVar, Generic, TypeAlias, TypeVar

import pytest
import sqlalchemy as sa

from flask_authx import Blocklist, Cutoff, Entry, Kind, MemoryBlocklist, RedisBlocklist
from flask_authx.stores.base import MICROSECONDS
from flask_authx.stores.memory import MemorySessions
from flask_authx.stores.redis.sessions import RedisSessions
from flask_authx.stores.redis.urls import client_for
from flask_authx.stores.session_store import NewSession, Session, SessionStore, Visit
from flask_authx.stores.sql.revocations import SQLAlchemyBlocklist
from flask_authx.stores.sql.sessions import SQLAlchemySessions
from tests.support import Clock
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
#: The stores whose clock a test sets. A server has its own.
CLOCKED = ("memory", "sqlite", "sqlite-memory")
HOUR = 3600
DAY = 86400 * MICROSECONDS
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
def opened(
    kind: str, folder: Path, timeout: float = 10, clock: Callable[[], float] | None = None
) -> Generator[Blocklist]:
    """An empty store of revocations.

    :param clock: of one that has no server: without, it stands still.
    """
    if kind == "memory":
        yield MemoryBlocklist(clock or Clock())
    elif kind in ("redis", "cluster"):
        with _client(kind, timeout) as client:
            yield RedisBlocklist(client)
    else:
        with sql_store(_engine(kind, folder), timeout, clock or Clock()) as store:
            yield store


@contextlib.contextmanager
def opened_sessions(
    kind: str, folder: Path, timeout: float = 10, clock: Callable[[], float] | None = None
) -> Generator[SessionStore]:
    """An empty store of sessions, as ``opened`` makes one of revocations."""
    if kind == "memory":
        yield MemorySessions(clock or Clock())
    elif kind in ("redis", "cluster"):
        with _client(kind, timeout) as client:
            yield RedisSessions(client)
    else:
        with sql_sessions(_engine(kind, folder), timeout, clock or Clock()) as store:
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
def sql_store(
    engine: sa.Engine, timeout: float = 10, clock: Callable[[], float] = time.time
) -> Generator[SQLAlchemyBlocklist]:
    """An empty store of revocations in an SQL database."""
    with _emptied(SQLAlchemyBlocklist(engine, timeout=timeout, clock=clock), engine) as store:
        yield store


@contextlib.contextmanager
def sql_sessions(
    engine: sa.Engine, timeout: float = 10, clock: Callable[[], float] = time.time
) -> Generator[SQLAlchemySessions]:
    """An empty store of sessions in an SQL database."""
    with _emptied(SQLAlchemySessions(engine, timeout=timeout, clock=clock), engine) as store:
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


def server_time(kind: str, folder: Path) -> int | None:
    """The time of a store's server in microseconds, asked without the store; ``None``: none.

    It leaves no rows in Redis.
    """
    if kind in CLOCKED:
        return None
    if kind == "cluster":
        # All of its nodes are on this machine.
        return time.time_ns() // 1000
    if kind == "redis":
        with _client(kind, 10) as client:
            seconds, microseconds = client.time()
            return int(seconds) * MICROSECONDS + int(microseconds)
    engine = _engine(kind, folder)
    text = "SELECT UNIX_TIMESTAMP(NOW(6))"
    if engine.dialect.name == "postgresql":
        text = "SELECT extract(epoch FROM clock_timestamp())"
    with engine.connect() as connection:
        return int(connection.exec_driver_sql(text).scalar_one() * MICROSECONDS)


def new_key() -> bytes:
    return os.urandom(16)


def plain(cutoff: Cutoff) -> tuple[int, bytes | None, int | None]:
    """A cut-off's values; ``keep_after`` means nothing where no session is kept."""
    return cutoff.until, cutoff.keep, None if cutoff.keep is None else cutoff.keep_after


def found(store: Blocklist, *keys: bytes) -> list[tuple[int, bytes | None, int | None]]:
    """The values of the entries that a store finds, in the order of the keys."""
    return [plain(cutoff) for cutoff in store.find(keys) if cutoff is not None]


def cutoff_of(store: Blocklist, key: bytes) -> Cutoff:
    """The cut-off of an entry that must be there."""
    (cutoff,) = store.find([key])
    assert cutoff is not None
    return cutoff


def now_of(store: Blocklist) -> int:
    """A store's time in microseconds."""
    return store.find_dated([new_key()]).now


def refused(cutoff: Cutoff) -> set[tuple[int, bytes]]:
    """Every revoked session, as its beginning and its key, among the first sixty microseconds."""
    return {(began, sid) for began in range(60) for sid in SIDS if cutoff.covers(began, sid)}


def last_refused(cutoff: Cutoff) -> dict[bytes, int]:
    """For each session the latest beginning with which it is revoked; -1: none."""
    moments = (cutoff.until, cutoff.keep_after)
    return {
        sid: max((moment for moment in moments if cutoff.covers(moment, sid)), default=-1)
        for sid in SIDS
    }


def visit(generation: int = 0, idle: int = HOUR, **changes: Any) -> Visit:
    """A refresh, after which the session lasts an hour."""
    return Visit(generation=generation, idle=idle, **changes)


def new_session(sid: str = "s1", sub: str = "ann", **changes: Any) -> NewSession:
    """A session that may last a day."""
    made = NewSession(sid=sid, sub=sub, began=1_800_000_000_123_456, lifetime=86400, visit=visit())
    return replace(made, **changes)


def undated(session: Session | NewSession | None) -> dict[str, Any] | None:
    """What a row holds that its store doesn't date."""
    if session is None:
        return None
    values = asdict(session)
    values |= values.pop("visit", {})
    dates = ("now", "rotated_at", "last_seen", "expires", "ends", "idle", "lifetime")
    return {name: value for name, value in values.items() if name not in dates}


def stored(row: Session | None) -> Session | None:
    """A row, whenever it was read."""
    return row and replace(row, now=0)


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


def removed_by_prune(store: Blocklist | SessionStore) -> int:
    """How many rows a prune removes; its shares rise to 1."""
    batches = [*store.prune()]
    shares = [batch.share for batch in batches]
    assert shares == sorted(shares), f"the shares of a prune fall: {shares}"
    assert shares[0] >= 0, f"a share is below 0: {shares}"
    assert shares[-1] == 1.0, f"a prune ends with the share {shares[-1]}"
    return sum(batch.removed for batch in batches)


class BaseRows(ABC, Generic[Store]):
    """A store of either kind, as what both are: rows that have a key and expire.

    :param clock: the store's; ``None`` if it is a server's.
    """

    #: Seconds in which one row is to expire, set in turn, of which 50 is what counts.
    histories: ClassVar[Sequence[Sequence[int]]]

    def __init__(self, store: Store, clock: Clock | None = None) -> None:
        self.store = store
        self.clock = clock

    @abstractmethod
    def add(self, key: bytes, lifetime: int, number: int | None = None) -> None:
        """Add a row, which holds a number if one is given."""

    @abstractmethod
    def number(self, key: bytes) -> int:
        """The number that a row was added with; that all else is as it was added is asserted."""

    @abstractmethod
    def prolong(self, key: bytes, lifetime: int) -> bool:
        """Set the expiry of a row that this object added; return whether the row has it now."""

    @abstractmethod
    def held(self, *keys: bytes) -> int:
        """How many of up to three rows there are."""

    def fill(self, lifetimes: Iterable[int]) -> dict[bytes, int]:
        """Add rows that expire in so many seconds, or have expired if negative; return both.

        Where a test sets the clock, they were added a day ago: the store in memory removes by
        itself what has expired when a row is added.
        """
        made = {new_key(): lifetime for lifetime in lifetimes}
        ago = 0 if self.clock is None else 86400
        self._advance(-ago)
        for key, lifetime in made.items():
            self.add(key, lifetime + ago)
        self._advance(ago)
        return made

    def _advance(self, seconds: int) -> None:
        if self.clock is not None:
            self.clock.advance(seconds)

    def left(self, made: dict[bytes, int]) -> list[int]:
        """The lifetimes of those rows that are still there, and that no other row is there."""
        return sorted(lifetime for key, lifetime in made.items() if self.held(key))


class RevocationRows(BaseRows[Blocklist]):
    """Rows of revocations."""

    #: The latest expiry counts.
    histories = ([0, 50], [50, 0], [0, 50, 0], [0, 0, 50])

    def add(self, key: bytes, lifetime: int, number: int | None = None) -> None:
        if number is None:
            self.store.add(Entry(key, Kind.TOKEN, lifetime))
        else:
            self.store.add(Entry(key, Kind.SUBJECT, lifetime, number * DAY, key[::-1]))

    def number(self, key: bytes) -> int:
        cutoff = cutoff_of(self.store, key)
        assert (cutoff.keep, cutoff.keep_after) == (key[::-1], -1), f"{key!r} holds {cutoff}"
        return round((cutoff.until - now_of(self.store)) / DAY)

    def prolong(self, key: bytes, lifetime: int) -> bool:
        self.add(key, lifetime)
        return True

    def held(self, *keys: bytes) -> int:
        return len(found(self.store, *keys))

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
    histories = ([0, 50], [90, 50], [0, 90, 20, 50])

    def __init__(self, store: SessionStore, clock: Clock | None = None) -> None:
        super().__init__(store, clock)
        self._generations: dict[bytes, int] = {}

    def add(self, key: bytes, lifetime: int, number: int | None = None) -> None:
        made = new_session(f"s{number}", lifetime=lifetime + 1_000_000, visit=visit(0, lifetime))
        self.store.open(key, key, made)

    def number(self, key: bytes) -> int:
        row = self.store.get(key)
        assert row is not None, f"{key!r} has no row"
        assert [*map(stored, self.store.of(key))] == [stored(row)], f"of {key!r}: not its row"
        return int(row.sid[1:])

    def prolong(self, key: bytes, lifetime: int) -> bool:
        generation = self._generations.get(key, 0)
        if not self.store.move(key, generation, visit(generation + 1, lifetime)):
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
    """An empty store of either kind. A clock that is not a server's stands still."""
    clock = Clock() if backend in CLOCKED else None
    if kind == "revocations":
        with opened(backend, folder, clock=clock) as revocations:
            yield RevocationRows(revocations, clock)
    else:
        with opened_sessions(backend, folder, clock=clock) as sessions:
            yield SessionRows(sessions, clock)
