"""Many threads on one store: right answers, no errors, and few connections."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
import sqlalchemy as sa

from flask_authx import Entry, Kind
from tests.stores.test_store_contract import EVERY, later, new_key, opened, sql_store
from tests.support.databases import database_url

THREADS, LOOKS = 16, 50


@pytest.mark.parametrize("kind", EVERY)
def test_sixteen_threads_look_up_while_one_revokes(kind: str, tmp_path: Path) -> None:
    """SECURITY 219: what was revoked before a look-up began is found by it"""
    revoked: list[bytes] = []
    alive = new_key()
    together = Barrier(THREADS + 1)
    with opened(kind, tmp_path) as store, ThreadPoolExecutor(THREADS + 1) as pool:

        def revoke() -> None:
            together.wait(60)
            for _ in range(100):
                key = new_key()
                store.add(Entry(key, Kind.TOKEN, later()))
                revoked.append(key)

        def look() -> None:
            together.wait(60)
            for _ in range(LOOKS):
                latest = revoked[-2:]
                assert len(store.find([*latest, alive])) == len(latest)

        jobs = [pool.submit(revoke), *(pool.submit(look) for _ in range(THREADS))]
        for job in jobs:
            job.result(120)


def open_files(path: Path) -> set[int]:
    """The descriptors of this process that are this file."""
    found: set[int] = set()
    for link in Path("/proc/self/fd").iterdir():
        try:
            if link.readlink() == path:
                found.add(int(link.name))
        except FileNotFoundError:
            # It was that of this very listing.
            continue
    return found


def server_connections(url: sa.URL) -> set[int]:
    """The connections to a database that its server knows."""
    query = (
        "SELECT pid FROM pg_stat_activity WHERE datname = :name AND pid <> pg_backend_pid()"
        if url.get_backend_name() == "postgresql"
        else "SELECT id FROM information_schema.processlist "
        "WHERE db = :name AND id <> connection_id()"
    )
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        return {*connection.execute(sa.text(query), {"name": url.database}).scalars()}


@pytest.mark.parametrize("kind", ["sqlite", "postgresql", "psycopg2", "mariadb"])
def test_a_store_holds_five_connections_at_the_most(kind: str, tmp_path: Path) -> None:
    """Issue 3: the store's engine is its own, and few connections do"""
    url = sa.make_url(database_url(kind, tmp_path))
    listed: Callable[[], set[int]] = (
        (lambda: open_files(tmp_path / "test.db"))
        if kind == "sqlite"
        else (lambda: server_connections(url))
    )
    together = Barrier(THREADS)
    # The app's pool, which is as small as can be and in use all the time.
    engine = sa.create_engine(url, pool_size=1, max_overflow=0, pool_timeout=1)
    with sql_store(engine) as store, engine.connect(), ThreadPoolExecutor(THREADS) as pool:
        before = listed()

        def look(number: int) -> int:
            together.wait(60)
            most = 0
            for turn in range(20):
                store.find([new_key()])
                if number == 0 and turn % 5 == 4:
                    most = max(most, len(listed() - before))
            return most

        during = max(pool.map(look, range(THREADS)))
        # They are held open, so that what is there now is all that there were.
        assert 1 <= len(listed() - before) <= 5
        assert 1 <= during <= 5
