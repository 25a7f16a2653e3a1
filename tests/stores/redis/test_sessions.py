"""Logins in Redis: what stands under which key for how long, and what it takes to ask."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Generator
from typing import Any

import pytest
import redis

from flask_authx import BadConfigurationError, Entry, Kind, RedisBlocklist
from flask_authx.stores.redis.sessions import RedisSessions
from tests.stores.contract import (
    ALL,
    HOUR,
    by_sid,
    found,
    new_key,
    plain,
    undated,
    visit,
)
from tests.stores.contract import new_session as login
from tests.support.databases import redis_url
from tests.support.servers.private import redis_server

untyped: Any = redis.Redis
LONG = 10.0
#: Seconds that a row is kept too long, since clocks differ.
MARGIN = 60


@contextlib.contextmanager
def clients(**options: Any) -> Generator[tuple[RedisSessions, Any, Any]]:
    """A store, its client, and another client of its server."""
    url = redis_url()
    own = untyped.from_url(url, socket_timeout=LONG, **options)
    with untyped.from_url(url, socket_timeout=LONG, decode_responses=True) as client:
        yield RedisSessions(own), own, client
        own.close()


def row(key: bytes) -> str:
    return f"authx:s:{key.hex()}"


def index(subject: bytes) -> str:
    return f"authx:u:{subject.hex()}"


def test_a_row_lives_as_long_as_the_login_and_a_margin() -> None:
    key = new_key()
    with clients() as (store, _, client):

        def expiry() -> int:
            """When the row is removed, which is by what it says of itself."""
            session = store.get(key)
            assert session is not None
            assert client.expiretime(row(key)) == session.expires + MARGIN
            return session.expires - session.last_seen

        store.open(key, new_key(), login(lifetime=700, visit=visit(0, 50)))
        assert expiry() == 50
        for generation, idle in enumerate((500, 20)):
            assert store.move(key, generation, visit(generation + 1, idle))
            assert expiry() == idle
        # Neither a name nor an attempt of another generation prolongs it.
        before = client.expiretime(row(key))
        assert store.rename(key, "telephone")
        assert not store.move(key, 0, visit(1, 900))
        store.open(key, new_key(), login(visit=visit(0, 900)))
        assert expiry() == 20
        assert client.expiretime(row(key)) == before
        # Nothing does beyond its end.
        assert store.move(key, 2, visit(3, 900))
        assert 600 < expiry() <= 700


def test_an_index_lives_as_long_as_the_last_of_its_logins_could() -> None:
    subject = new_key()
    with clients() as (store, _, client):
        for lifetime, last in ((500, 500), (900, 900), (700, 900)):
            before = int(client.time()[0])
            store.open(new_key(), subject, login(lifetime=lifetime))
            ends = max(session.ends for session in store.of(subject))
            assert client.expiretime(index(subject)) == pytest.approx(ends + MARGIN, abs=1)
            assert 0 <= ends - before - last <= int(client.time()[0]) - before
        assert client.zcard(index(subject)) == 3


def test_an_index_forgets_those_that_have_ended() -> None:
    subject, key = new_key(), new_key()
    with clients() as (store, _, client):
        # Long ago, and within the margin.
        for seconds in (3600, 5):
            client.zadd(index(subject), {new_key().hex(): int(client.time()[0]) - seconds})
        store.open(key, subject, session := login())
        assert client.zcard(index(subject)) == 2
        assert [*map(undated, store.of(subject))] == [undated(session)]
        assert store.end(key)
        assert client.zrange(index(subject), 0, -1) != [key.hex()]
        assert client.zcard(index(subject)) == 1


def test_nothing_is_left_of_a_login_that_was_ended() -> None:
    with clients() as (store, _, client):
        keys = [new_key() for _ in range(3)]
        for key in keys:
            store.open(key, subject := bytes(16), login())
            assert store.of(subject)
        for key in keys:
            assert store.end(key)
        assert [*client.scan_iter()] == []


def test_keys_are_hashes_and_texts_are_ascii() -> None:
    with clients() as (store, own, _):
        store.open(new_key(), new_key(), login(name="Jürgens 📱", visit=visit(user_agent="é")))
        names = sorted(own.scan_iter())
        assert [name[:8] for name in names] == [b"authx:s:", b"authx:u:"]
        assert all(len(bytes.fromhex(name[8:].decode())) == 16 for name in names)
        for value in own.hgetall(names[0]).values():
            assert value.isascii()


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("decode", [False, True])
def test_any_protocol_and_a_client_that_decodes_will_do(protocol: int, decode: bool) -> None:
    key, subject = new_key(), new_key()
    with clients(decode_responses=decode, protocol=protocol) as (store, _, client):
        session = login(name="Jürgens 📱", visit=visit(7, user_agent="é", address="::1"))
        store.open(key, subject, session)
        assert undated(store.get(key)) == undated(session)
        assert [*map(undated, store.of(subject))] == [undated(session)]
        assert store.move(key, 7, session.visit) is True
        assert store.rename(key, session.name) is True
        assert store.end(key) is True
        assert client.dbsize() == 0


def test_revocations_and_logins_may_share_a_client() -> None:
    key, subject = new_key(), new_key()
    with clients() as (store, own, client):
        blocklist = RedisBlocklist(own)
        # The same keys in both: that of a login is its entry's, too.
        blocklist.add(Entry(key, Kind.SESSION, HOUR))
        store.open(key, subject, session := login())
        assert found(blocklist, key) == [plain(ALL)]
        assert found(blocklist, subject) == []
        assert undated(store.get(key)) == undated(session)
        assert client.dbsize() == 3
        assert store.end(key)
        assert client.dbsize() == 1


def test_logins_are_not_counted_as_revocations() -> None:
    with clients() as (store, own, _):
        blocklist = RedisBlocklist(own)
        for number in range(1, 4):
            store.open(new_key(), new_key(), login(f"s{number}"))
            blocklist.add(Entry(new_key(), Kind.SESSION, HOUR))
            assert {kind: [*counts] for kind, counts in blocklist.count([]).items()} == {
                Kind.TOKEN: [0],
                Kind.SESSION: [number],
                Kind.SUBJECT: [0],
                Kind.SCOPE: [0],
            }


def test_more_rows_than_are_asked_for_together_are_all_found() -> None:
    subject = new_key()
    with clients() as (store, _, _):
        rows = {new_key(): login(f"s{number:05}") for number in range(2100)}
        for key, session in rows.items():
            store.open(key, subject, session)
        assert [*map(undated, by_sid(store.of(subject)))] == [*map(undated, rows.values())]


@pytest.mark.slow
def test_what_a_login_costs_is_one_command_each() -> None:
    """Issue 4: a refresh costs at most one store write and one read more"""
    key, subject = new_key(), new_key()
    with redis_server() as server:
        store = RedisSessions(untyped.from_url(server.url, socket_timeout=LONG))
        client = untyped.from_url(server.url, decode_responses=True)

        def told() -> dict[str, int]:
            """The commands since this was last asked, with what a script does in the server."""
            stats = client.info("commandstats")
            client.config_resetstat()
            seen = {name.removeprefix("cmdstat_"): one["calls"] for name, one in stats.items()}
            return {name: seen[name] for name in ("hmget", "eval", "zrange") if name in seen}

        store.open(key, subject, login())
        told()
        assert store.get(key)
        assert told() == {"eval": 1, "hmget": 1}
        assert store.move(key, 0, visit(1))
        assert told() == {"eval": 1}
        store.of(subject)
        assert told() == {"eval": 1, "hmget": 1, "zrange": 1}
        client.close()


def test_a_client_that_would_wait_for_ever_is_refused() -> None:
    with pytest.raises(BadConfigurationError, match="socket_timeout"):
        RedisSessions(untyped(socket_timeout=None))
    wrong: Any = object()
    with pytest.raises(BadConfigurationError, match="RedisSessions takes"):
        RedisSessions(wrong)


@pytest.mark.slow
def test_a_server_that_evicts_or_forgets_is_a_risk() -> None:
    options = ("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru", "--appendonly", "no")
    with redis_server(*options) as server:
        store = RedisSessions(untyped.from_url(server.url, socket_timeout=LONG))
        evicts, loses = store.risks()
        assert re.search(r"evict sessions\b", evicts.problem)
        assert re.search(r"loses sessions\b", loses.problem)
