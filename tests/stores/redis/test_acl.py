"""A Redis user that may do what docs/stores.md says, and nothing else, is all the store needs."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Generator, Sequence
from typing import Any

import pytest
import redis

from flask_authx import Entry, Kind, RedisBlocklist, StoreUnavailableError
from flask_authx.stores.redis.urls import client_for
from tests.stores.contract import HOUR, found, new_key
from tests.support import ROOT, access_token
from tests.support.databases import app_on, private_server
from tests.support.servers.private import redis_cluster, redis_sentinel

PAGE = ROOT / "docs" / "stores.md"
BASE, SESSIONS = "Look-ups and revocations", "Sessions"
OTHER_DATABASE, CLUSTER = "A database other than 0", "A Cluster"
BLOCKLIST, DOCTOR = "The command `flask authx blocklist`", "The command `flask authx doctor`"

untyped: Any = redis.Redis
SCOPE = b"the scope itself"


def documented() -> dict[str, list[str]]:
    """The commands that the page lists, by what they are for."""
    rows = re.findall(r"^- (.+): ((?:`[A-Z|]+`(?:,\s+)?)+)$", PAGE.read_text(), re.M)
    return {purpose: re.findall(r"[A-Z|]+", commands) for purpose, commands in rows}


def commands(*purposes: str) -> list[str]:
    return [command for purpose in purposes for command in documented()[purpose]]


def test_the_page_says_what_each_command_is_for() -> None:
    assert documented().keys() == {
        BASE,
        SESSIONS,
        OTHER_DATABASE,
        CLUSTER,
        BLOCKLIST,
        DOCTOR,
    }
    assert "`~authx:*`" in PAGE.read_text()


def allow(url: str, allowed: Sequence[str]) -> None:
    """Make the user that may do this and no more."""
    words = ["reset", "on", ">pass", "~authx:*", *(f"+{one}" for one in allowed)]
    with untyped.from_url(url, socket_timeout=10) as admin:
        admin.execute_command("ACL", "SETUSER", "app", *words)


def as_user(url: str) -> str:
    return url.replace("://", "://app:pass@")


@contextlib.contextmanager
def store_on(url: str) -> Generator[RedisBlocklist]:
    """A store that has opened no connection yet, as the user."""
    clients: list[Any] = []
    make: Callable[[], Any] = client_for(as_user(url), 10)

    def made() -> Any:
        clients.append(make())
        return clients[-1]

    yield RedisBlocklist(made)
    for client in clients:
        client.close()


def look_up_and_revoke(store: RedisBlocklist) -> None:
    # Only the second under a key is joined with one that is there.
    key, other = new_key(), new_key()
    for _ in range(2):
        store.add(Entry(key, Kind.SUBJECT, HOUR, 0, new_key()))
        store.add(Entry(other, Kind.SESSION, HOUR))
        store.add_if_absent(Entry(SCOPE, Kind.SCOPE, None, 0))
    keys = (key, other, SCOPE, new_key())
    assert len(found(store, *keys)) == 3
    assert [*store.find_dated(keys).cutoffs] == [*store.find(keys)]


def count(store: RedisBlocklist) -> None:
    store.add(Entry(new_key(), Kind.TOKEN, HOUR))
    assert sum(store.count([HOUR])[Kind.TOKEN]) >= 1


def do_everything(store: RedisBlocklist) -> None:
    look_up_and_revoke(store)
    count(store)
    assert not [*store.risks()]


@pytest.mark.slow
def test_the_first_row_is_enough_for_requests() -> None:
    with private_server("redis") as server:
        allow(server.url, commands(BASE))
        app, authx = app_on({"JWT_BLOCKLIST": as_user(server.url)})
        token = access_token(app, authx, "ann")
        with app.app_context():
            for _ in range(2):
                authx.revoke_subject("ann")
                authx.revoke_token(token)
            assert authx.is_revoked(token)
            assert not authx.is_revoked(authx.create_access_token("ann"))


def use_sessions(url: str) -> None:
    """All that an app does with sessions, some of which are over."""
    app, authx = app_on(
        {"JWT_BLOCKLIST": as_user(url), "JWT_SESSIONS": True, "JWT_MAX_SESSIONS": 2}
    )
    with app.app_context():
        pairs = [authx.login("ann") for _ in range(3)]
        pair = authx.refresh(pairs[-1].refresh_token)
        token = authx.decode_token(pair.access_token)
        assert authx.name_session(token.sid, "laptop")
        assert {one.name for one in authx.sessions("ann")} == {"laptop", None}
        authx.revoke_session(token.sid)
        assert [one.name for one in authx.sessions("ann")] == [None]
        authx.revoke_subject("ann")
        assert authx.sessions("ann") == []


@pytest.mark.slow
def test_the_row_of_sessions_is_enough_for_them() -> None:
    with private_server("redis") as server:
        allow(server.url, commands(BASE, SESSIONS))
        use_sessions(server.url)
        # And none of its commands is one too many.
        for command in commands(SESSIONS):
            allow(server.url, [one for one in commands(BASE, SESSIONS) if one != command])
            with pytest.raises(StoreUnavailableError):
                use_sessions(server.url)


@pytest.mark.slow
@pytest.mark.parametrize("database", [0, 3])
def test_a_user_with_these_commands_can_do_all_that_a_store_does(database: int) -> None:
    rows = [BASE, BLOCKLIST, DOCTOR, *([OTHER_DATABASE] if database else [])]
    with private_server("redis") as server:
        url = f"{server.url.rpartition('/')[0]}/{database}"
        allow(url, commands(*rows))
        with store_on(url) as store:
            do_everything(store)


@pytest.mark.slow
def test_none_of_these_commands_is_one_too_many() -> None:
    rows = (BASE, OTHER_DATABASE, BLOCKLIST, DOCTOR)
    with private_server("redis") as server:
        url = f"{server.url.rpartition('/')[0]}/3"
        for command in commands(*rows):
            allow(url, [one for one in commands(*rows) if one != command])
            with (
                store_on(url) as store,
                pytest.raises(redis.ResponseError, match=r"permission|can't run"),
            ):
                do_everything(store)


@pytest.mark.slow
def test_a_user_with_these_commands_can_do_the_same_on_a_cluster() -> None:
    with redis_cluster() as (url, servers):
        for server in servers:
            # Else the doctor would have something to say.
            with untyped.from_url(server.url, socket_timeout=10) as admin:
                admin.config_set("appendonly", "yes")
            allow(server.url, commands(BASE, CLUSTER, BLOCKLIST, DOCTOR))
        with store_on(url) as store:
            do_everything(store)


@pytest.mark.slow
def test_a_user_with_these_commands_can_do_the_same_behind_sentinels() -> None:
    with redis_sentinel() as (url, master, _):
        allow(master.url, commands(BASE, BLOCKLIST, DOCTOR))
        with store_on(url) as store:
            do_everything(store)
