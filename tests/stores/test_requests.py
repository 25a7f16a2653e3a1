"""What a request costs a store, and how soon others see a revocation: through AuthX."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import redis
import sqlalchemy as sa
from sqlalchemy import event

from flask_authx import Blocklist, Cutoff, Dated, Entry, Kind, Pruned, Risk
from flask_authx.stores.redis.urls import client_for
from tests.stores.contract import EVERY, SQL, new_key, opened
from tests.stores.sites import SHARED, joined, log_in, outcome_of, settings_of, site
from tests.support.answers import OK, REVOKED
from tests.support.databases import STORES
from tests.support.servers.private import redis_server


@pytest.mark.parametrize("kind", EVERY)
def test_a_token_a_session_and_a_user_can_be_revoked(kind: str, tmp_path: Path) -> None:
    """DESIGN 4, USERS 34-36"""
    app, authx = site(settings_of(kind, tmp_path))
    first, second, third, bob = (log_in(app, authx, who) for who in ("ann", "ann", "ann", "bob"))
    everybody = (first, second, third, bob)
    assert [outcome_of(app, token) for token, _ in everybody] == [OK] * 4
    with app.app_context():
        authx.revoke_token(first[0])
    assert [outcome_of(app, token) for token, _ in everybody] == [REVOKED, OK, OK, OK]
    with app.app_context():
        authx.revoke_session(second[1])
    assert [outcome_of(app, token) for token, _ in everybody] == [REVOKED, REVOKED, OK, OK]
    with app.app_context():
        authx.revoke_subject("ann", keep=third[1])
    assert [outcome_of(app, token) for token, _ in everybody] == [REVOKED, REVOKED, OK, OK]
    fourth = log_in(app, authx)
    assert outcome_of(app, fourth[0]) == OK
    with app.app_context():
        authx.revoke_subject("ann")
    assert [outcome_of(app, token) for token, _ in (*everybody, fourth)] == [
        *(REVOKED, REVOKED, REVOKED, OK),
        REVOKED,
    ]
    assert outcome_of(app, log_in(app, authx)[0]) == OK


@pytest.mark.parametrize("kind", SHARED)
def test_another_app_sees_a_revocation_at_once(kind: str, tmp_path: Path) -> None:
    """SECURITY A.12 217, 219"""
    settings = settings_of(kind, tmp_path)
    apps = [site(settings), joined(settings)]
    for turn in range(10):
        (here, authx), (there, _) = apps[turn % 2], apps[1 - turn % 2]
        token, sid = log_in(here, authx, f"ann{turn}")
        assert outcome_of(there, token) == OK
        with here.app_context():
            if turn % 3 == 0:
                authx.revoke_token(token)
            elif turn % 3 == 1:
                authx.revoke_session(sid)
            else:
                authx.revoke_subject(f"ann{turn}")
        assert outcome_of(there, token) == REVOKED
        assert outcome_of(here, token) == REVOKED


@pytest.mark.parametrize("kind", [kind for kind in STORES if kind not in SHARED])
def test_another_app_sees_nothing_of_what_is_in_memory(kind: str, tmp_path: Path) -> None:
    """SECURITY A.12 218"""
    settings = settings_of(kind, tmp_path)
    (here, authx), (there, _) = joined(settings), joined(settings)
    token, _ = log_in(here, authx)
    with here.app_context():
        authx.revoke_token(token)
    assert (outcome_of(here, token), outcome_of(there, token)) == (REVOKED, OK)


@pytest.mark.parametrize("kind", [*SHARED, EVERY[-1]])
def test_a_store_that_was_emptied_refuses_what_began_before(kind: str, tmp_path: Path) -> None:
    """Issue 13: a lost store closes by itself, in every process; nothing is to run"""
    settings = settings_of(kind, tmp_path)
    app, authx = site(settings)
    log_in(app, authx)
    other, _ = joined(settings)
    token, _ = log_in(app, authx)
    assert [outcome_of(one, token) for one in (app, other)] == [OK, OK]
    empty(settings)
    assert [outcome_of(one, token) for one in (other, app)] == [REVOKED, REVOKED]
    again, _ = log_in(app, authx)
    for _ in range(2):
        assert [outcome_of(one, again) for one in (other, app)] == [OK, OK]
        assert [outcome_of(one, token) for one in (other, app)] == [REVOKED, REVOKED]


def empty(settings: dict[str, Any]) -> None:
    """Remove all entries, behind the back of the apps."""
    url = settings.get("SQLALCHEMY_DATABASE_URI")
    if url is not None:
        engine = sa.create_engine(url, poolclass=sa.NullPool)
        with engine.begin() as connection:
            connection.execute(sa.text("DELETE FROM authx_blocklist"))
        return
    client: Any = client_for(settings["JWT_BLOCKLIST"], 10)()
    for name in [*client.scan_iter(match="authx:*")]:
        client.delete(name)
    client.close()


class Counting:
    """Another store, whose look-ups are counted."""

    def __init__(self, store: Blocklist) -> None:
        self.store = store
        self.asked: list[int] = []

    @property
    def per_process(self) -> bool:
        return self.store.per_process

    def find(self, keys: Sequence[bytes], /) -> Sequence[Cutoff | None]:
        self.asked.append(len(keys))
        return self.store.find(keys)

    def find_dated(self, keys: Sequence[bytes], /) -> Dated:
        self.asked.append(len(keys))
        return self.store.find_dated(keys)

    def add(self, entry: Entry, /) -> None:
        self.store.add(entry)

    def add_if_absent(self, entry: Entry, /) -> Cutoff:
        return self.store.add_if_absent(entry)

    def sweep(self, limit: int, /) -> int:
        return self.store.sweep(limit)

    def prune(self) -> Iterator[Pruned]:
        return self.store.prune()

    def count(self, bounds: Sequence[int], /) -> Mapping[Kind, Sequence[int]]:
        return self.store.count(bounds)

    def risks(self) -> Iterator[Risk]:
        return self.store.risks()


@pytest.mark.parametrize("kind", EVERY)
def test_a_request_is_one_look_up(kind: str, tmp_path: Path) -> None:
    """Issue 3: one round trip for token, session, subject and scope together, once per request"""
    with opened(kind, tmp_path) as store:
        counting = Counting(store)
        app, authx = site({}, blocklist=counting)
        token, _ = log_in(app, authx)
        # The subject and the scope.
        assert counting.asked == [2]
        counting.asked.clear()
        assert outcome_of(app, token, "/nested") == OK
        assert counting.asked == [4]
        with app.app_context():
            authx.revoke_token(token)
        assert outcome_of(app, token, "/nested") == REVOKED
        assert counting.asked == [4, 4]


@contextlib.contextmanager
def statements() -> Generator[list[str]]:
    """What connections that are made from now on are told, as their drivers see it."""
    told: list[str] = []

    def listen(driver: Any, _record: object) -> None:
        if isinstance(driver, sqlite3.Connection):
            driver.set_trace_callback(told.append)
        else:
            factory = "cursorclass" if hasattr(driver, "cursorclass") else "cursor_factory"
            if not hasattr(getattr(driver, factory), "told"):
                setattr(driver, factory, listening(type(driver.cursor()), told))

    event.listen(sa.Pool, "connect", listen)
    try:
        yield told
    finally:
        event.remove(sa.Pool, "connect", listen)


def listening(base: Any, told: list[str]) -> type:
    """A cursor of a driver that notes what it is told."""

    def execute(self: Any, query: Any, *args: Any, **kwargs: Any) -> Any:
        told.append(str(query))
        return base.execute(self, query, *args, **kwargs)

    return type("Cursor", (base,), {"execute": execute, "told": told})


@pytest.mark.parametrize("kind", SQL)
def test_a_request_is_one_statement(kind: str, tmp_path: Path) -> None:
    """Issue 3: one round trip"""
    with statements() as told:
        app, authx = site(settings_of(kind, tmp_path))
        log_in(app, authx)
        for path in ("/guarded", "/nested"):
            told.clear()
            token, _ = log_in(app, authx)
            # With the time of the database, and the mark of the scope, which is there.
            assert len(told) == 1, told
            assert told[0].startswith("SELECT")
            for expected in (OK, REVOKED):
                assert outcome_of(app, token) == expected
                told.clear()
                assert outcome_of(app, token, path) == expected
                assert len(told) == 1, told
                assert told[0].startswith("SELECT")
                told.clear()
                with app.app_context():
                    authx.revoke_token(token)
                assert any(one.startswith("INSERT") for one in told), told


@pytest.mark.parametrize("kind", ["postgresql", "psycopg2"])
def test_a_request_is_one_transaction_of_the_server(kind: str, tmp_path: Path) -> None:
    """Issue 3: one round trip: nothing is begun, committed or rolled back around the look-up"""
    settings = settings_of(kind, tmp_path)
    url = sa.make_url(settings["SQLALCHEMY_DATABASE_URI"])
    watcher = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    name = f"authx-{new_key().hex()}"
    named = url.update_query_dict({"application_name": name})
    with_name = named.render_as_string(hide_password=False)
    site(settings)
    app, authx = joined({**settings, "SQLALCHEMY_DATABASE_URI": with_name})
    token, _ = log_in(app, authx)
    last = sa.text("SELECT query FROM pg_stat_activity WHERE application_name = :name")
    for _ in range(2):
        assert outcome_of(app, token) == OK
        with watcher.connect() as connection:
            # A ROLLBACK or COMMIT after it would be the last that the connection was told.
            (query,) = connection.execute(last, {"name": name}).scalars()
            assert query.startswith("SELECT authx_blocklist")
    watcher.dispose()


def calls(client: Any) -> dict[str, int]:
    """How often a server was told what, since that was last forgotten."""
    stats: dict[str, Any] = client.info("commandstats")
    client.config_resetstat()
    ours = {"info", "config|resetstat"}
    told = {name.removeprefix("cmdstat_"): one["calls"] for name, one in stats.items()}
    return {name: number for name, number in told.items() if name not in ours}


@pytest.mark.slow
def test_a_request_is_one_command_of_redis() -> None:
    """Issue 3: one round trip"""
    with redis_server() as server:
        app, authx = site({"JWT_BLOCKLIST": server.url})
        token, _ = log_in(app, authx)
        assert outcome_of(app, token) == OK
        untyped: Any = redis.Redis
        client = untyped.from_url(server.url)
        calls(client)
        log_in(app, authx)
        # One script, which asks for the time and the subject, and beside it the scope.
        assert calls(client) == {"eval": 1, "time": 1, "get": 2}
        for expected in (OK, REVOKED):
            for path in ("/guarded", "/nested"):
                calls(client)
                assert outcome_of(app, token, path) == expected
                assert calls(client) == {"mget": 1}
            with app.app_context():
                authx.revoke_token(token)
                # One script, and what it does inside the server.
                assert calls(client)["eval"] == 1
        client.close()
