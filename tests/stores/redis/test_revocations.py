"""Revocations in Redis: what stands under which key for how long; Sentinels and a Cluster."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator
from typing import Any

import pytest
import redis
import redis.cluster
from redis.exceptions import RedisClusterException

from flask_authx import AuthX, BadConfigurationError, Entry, Kind, RedisBlocklist
from flask_authx.stores.redis.urls import client_for
from tests.stores.contract import ALL, HOUR, cutoff_of, found, new_key, now_of, plain
from tests.stores.sites import add_views
from tests.stores.sites import log_in as login
from tests.stores.sites import outcome_of as answer
from tests.support import access_token
from tests.support.answers import OK, REVOKED
from tests.support.databases import app_on, redis_url
from tests.support.servers.private import redis_cluster, redis_sentinel, redis_server
from tests.support.waiting import until

untyped: Any = redis.Redis
LONG = 10.0


@contextlib.contextmanager
def clients(**options: Any) -> Generator[tuple[RedisBlocklist, Any]]:
    """A store, and a client of its server."""
    url = redis_url()
    own = untyped.from_url(url, socket_timeout=LONG, **options)
    with untyped.from_url(url, socket_timeout=LONG) as client:
        yield RedisBlocklist(own), client
        own.close()


def name_of(key: bytes) -> str:
    """What an entry is called on the server: text, so that a client that decodes can list it."""
    return f"authx:{key.hex()}"


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("seconds", [30, 3600, 30 * 86400])
def test_an_entry_lives_exactly_as_long_as_it_says(kind: Kind, seconds: int) -> None:
    """Issue 3: TTLs are the entry's own"""
    with clients() as (store, client):
        key, other = new_key(), new_key()
        has_moment = kind in (Kind.SUBJECT, Kind.SCOPE)
        entry = Entry(key, kind, seconds, 0 if has_moment else None, other if has_moment else None)
        for add in (store.add, store.add_if_absent):
            before = milliseconds(client)
            add(entry)
            after = milliseconds(client)
            assert before <= client.pexpiretime(name_of(key)) - seconds * 1000 <= after
            client.delete(name_of(key))


def milliseconds(client: Any) -> int:
    """The server's time."""
    seconds, microseconds = client.time()
    return int(seconds) * 1000 + int(microseconds) // 1000


def test_an_entry_without_an_end_has_no_expiry() -> None:
    with clients() as (store, client):
        for lifetimes in ((None,), (None, 60), (60, None)):
            key = new_key()
            for lifetime in lifetimes:
                store.add(Entry(key, Kind.SCOPE, lifetime, 0))
            assert client.ttl(name_of(key)) == -1


@pytest.mark.parametrize("first", [60, 120])
def test_the_later_of_two_expiries_counts_and_does_not_drift(first: int) -> None:
    """DESIGN 4: writing an entry never lowers an earlier expiry"""
    with clients() as (store, client):
        key = new_key()
        store.add(Entry(key, Kind.SESSION, first))
        before = milliseconds(client)
        store.add(Entry(key, Kind.SESSION, 120))
        expires = client.pexpiretime(name_of(key))
        assert before - 1000 <= expires - 120_000 <= milliseconds(client)
        # However far the second is through: a time left is rounded.
        end = time.monotonic() + 1.1
        while time.monotonic() < end:
            store.add(Entry(key, Kind.SESSION, 60))
            assert 0 <= client.pexpiretime(name_of(key)) - expires < 1000


def test_an_entry_that_has_expired_is_gone() -> None:
    """SECURITY A.5 101"""
    with clients() as (store, client):
        key = new_key()
        store.add(Entry(key, Kind.TOKEN, -5))
        assert found(store, key) == []
        assert not client.exists(name_of(key))


def test_an_entry_that_has_expired_takes_no_other_with_it() -> None:
    with clients() as (store, client):
        key = new_key()
        store.add(Entry(key, Kind.SUBJECT, HOUR, 0))
        until = cutoff_of(store, key).until
        store.add(Entry(key, Kind.SUBJECT, -5, -60_000_000))
        assert found(store, key) == [(until + 1, None, None)]
        assert client.ttl(name_of(key)) > 3000


def test_an_entry_made_to_last_for_ever_is_found_and_counted() -> None:
    """SECURITY A.12 214: PERSIST"""
    with clients() as (store, client):
        key = new_key()
        store.add(Entry(key, Kind.SESSION, HOUR))
        client.persist(name_of(key))
        assert found(store, key) == [plain(ALL)]
        assert store.count([2 * HOUR])[Kind.SESSION] == [0, 1]
        store.add(Entry(key, Kind.SESSION, HOUR))
        assert client.ttl(name_of(key)) == -1


def test_keys_are_a_prefix_and_a_hash_and_values_say_nothing() -> None:
    """SECURITY A.12 227: a dump holds no usable tokens, and no names"""
    url = redis_url()
    app, authx = app_on({"JWT_BLOCKLIST": url})
    token, sid = login(app, authx, "ann@example.com")
    with app.app_context():
        jti = authx.decode_token(token).jti
        authx.revoke_token(token)
        authx.revoke_session(sid)
        authx.revoke_subject("ann@example.com", keep=sid)
    with untyped.from_url(url, socket_timeout=LONG) as client:
        names = [*client.scan_iter()]
        dump = b" ".join([*names, *client.mget(names)])
    # And the mark of the scope.
    assert len(names) == 4
    for name in names:
        assert name.startswith(b"authx:")
        assert len(bytes.fromhex(name.decode().removeprefix("authx:"))) == 16
    for secret in (jti, sid, "ann", *token.split(".")):
        assert secret.encode() not in dump


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("decode", [False, True])
def test_any_protocol_and_a_client_that_decodes_will_do(protocol: int, decode: bool) -> None:
    with clients(decode_responses=decode, protocol=protocol) as (store, _):
        key, keep = new_key(), bytes(range(240, 256))
        for _ in range(2):
            store.add(Entry(key, Kind.SUBJECT, HOUR, 0, keep))
        store.add(Entry(session := new_key(), Kind.SESSION, HOUR))
        scope = store.add_if_absent(Entry(new_key(), Kind.SCOPE, None, 0))
        now = now_of(store)
        cutoff = cutoff_of(store, key)
        assert now - 60_000_000 < cutoff.until <= scope.until <= now
        assert (cutoff.keep, cutoff.keep_after) == (keep, -1)
        assert found(store, session) == [plain(ALL)]
        assert [*store.find_dated([session, key]).cutoffs] == [ALL, cutoff]
        assert {kind: [*found] for kind, found in store.count([HOUR // 2]).items()} == {
            Kind.TOKEN: [0, 0],
            Kind.SESSION: [0, 1],
            Kind.SUBJECT: [0, 1],
            Kind.SCOPE: [0, 1],
        }


def test_a_client_that_would_wait_for_ever_is_refused() -> None:
    with pytest.raises(BadConfigurationError, match="socket_timeout"):
        RedisBlocklist(untyped(socket_timeout=None))
    wrong: Any = object()
    with pytest.raises(BadConfigurationError, match=r"builtins\.object"):
        RedisBlocklist(wrong)


@pytest.mark.slow
def test_a_server_that_evicts_or_forgets_is_a_risk() -> None:
    """SECURITY A.12 213"""
    options = ("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru", "--appendonly", "no")
    for given, expected in (((), []), (options, ["evict", "append-only"])):
        with redis_server(*given) as server:
            store = RedisBlocklist(client_for(server.url, LONG))
            problems = [risk.problem for risk in store.risks()]
            assert len(problems) == len(expected)
            for word, problem in zip(expected, problems, strict=True):
                assert word in problem


def test_what_expires_when_is_told_by_the_server_and_counted_by_its_clock() -> None:
    with clients() as (store, client):
        for seconds in (30, 90, 150):
            store.add(Entry(new_key(), Kind.TOKEN, seconds))
        assert [*store.count([60, 120])[Kind.TOKEN]] == [1, 1, 1]
        # Forty seconds later.
        for name in [*client.scan_iter()]:
            client.pexpire(name, client.pttl(name) - 40_000)
        assert [*store.count([60, 120])[Kind.TOKEN]] == [1, 1, 0]


@pytest.mark.slow
@pytest.mark.xdist_group("cluster")
def test_keys_of_different_servers_of_a_cluster_are_one_pipeline() -> None:
    """Issue 3: a pipeline on Redis Cluster"""
    with redis_cluster() as (url, servers):
        app, authx = app_on({"JWT_BLOCKLIST": url})
        add_views(app, authx)
        token, sid = login(app, authx)
        assert answer(app, token) == OK
        nodes = [untyped.from_url(server.url) for server in servers]

        def told() -> list[dict[str, int]]:
            stats = [node.info("commandstats") for node in nodes]
            for node in nodes:
                node.config_resetstat()
            return [
                {
                    name.removeprefix("cmdstat_"): one["calls"]
                    for name, one in stat.items()
                    if name in {"cmdstat_get", "cmdstat_mget"}
                }
                for stat in stats
            ]

        told()
        # Of 20 tokens, some have their four keys on three servers, and some all on one.
        tokens = [login(app, authx, f"user{number}")[0] for number in range(20)]
        told()
        asked: list[int] = []
        for one in tokens:
            assert answer(app, one) == OK
            asked.append(sum(sum(counts.values()) for counts in told()))
        # A node that says of a key that it has moved is asked once more, by the client's pipeline.
        assert asked.count(4) >= len(tokens) - 1, asked
        with app.app_context():
            authx.revoke_session(sid)
            for number in range(0, 20, 2):
                authx.revoke_subject(f"user{number}")
        assert answer(app, token) == REVOKED
        assert [answer(app, one) for one in tokens] == [REVOKED, OK] * 10
        # Another app, whose client is told one host only.
        other, other_authx = app_on({"JWT_BLOCKLIST": url.partition(",")[0]})
        add_views(other, other_authx)
        assert [answer(other, one) for one in tokens] == [REVOKED, OK] * 10
        assert sum(node.dbsize() > 0 for node in nodes) > 1
        for node in nodes:
            node.close()


@pytest.mark.slow
def test_a_master_that_fails_is_replaced_without_a_restart() -> None:
    """Issue 3: Sentinel by URL; what was replicated is refused by the replica that takes over"""
    with redis_sentinel() as (url, master, replica):
        app, authx = app_on({"JWT_BLOCKLIST": url, "JWT_STORE_TIMEOUT": 1})
        add_views(app, authx)
        over, alive = access_token(app, authx, "ann"), access_token(app, authx, "bob")
        with app.app_context():
            authx.revoke_token(over)
        assert (answer(app, over), answer(app, alive)) == (REVOKED, OK)
        with untyped.from_url(replica.url, socket_timeout=LONG) as client:
            until(lambda: client.keys("authx:*"), timeout=60)
        master.kill()

        # Never accepted meanwhile: refused or unavailable, until the other server responds.
        def both_known() -> bool:
            seen = answer(app, over)
            assert seen[0] in (401, 503), seen
            return seen == REVOKED and answer(app, alive) == OK

        until(both_known, timeout=60)
        until(lambda: can_revoke(app, authx, alive), timeout=60)
        assert (answer(app, over), answer(app, alive)) == (REVOKED, REVOKED)


def can_revoke(app: Any, authx: AuthX, token: str) -> bool:
    with app.app_context(), contextlib.suppress(Exception):
        authx.revoke_token(token)
        return True
    return False


def test_a_client_of_a_cluster_is_made_when_it_is_needed() -> None:
    """It connects at once, and the app must start while the Cluster is down."""
    made: list[int] = []

    def make() -> Any:
        made.append(1)
        return redis.cluster.RedisCluster(host="127.0.0.1", port=1, socket_timeout=1)

    store = RedisBlocklist(make)
    assert made == []
    for number in (1, 2):
        with pytest.raises(RedisClusterException):
            store.find([new_key()])
        assert len(made) == number
