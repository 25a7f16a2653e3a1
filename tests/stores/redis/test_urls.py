"""Redis clients from URLs: who they connect to, as whom, and what is no URL at all."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import redis

from flask_authx import AuthX, BadConfigurationError, Entry, Kind, RedisBlocklist
from flask_authx.stores.redis.urls import client_for
from tests.stores.contract import HOUR, found, new_key
from tests.support import make_app
from tests.support.databases import app_on
from tests.support.servers.private import free_port, redis_sentinel, redis_server

#: It must be escaped in a URL, and must not be twice.
PASSWORD = "p@ss:w/rd%20?#,x"
ESCAPED = "p%40ss%3Aw%2Frd%2520%3F%23%2Cx"


def kwargs(url: str, timeout: float = 0.25) -> dict[str, Any]:
    """How the client of a URL connects."""
    client: Any = client_for(url, timeout)()
    known: dict[str, Any] = client.get_connection_kwargs()
    return known


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://h", {"host": "h"}),
        ("redis://h/3", {"host": "h", "db": 3}),
        ("redis://h:7000/3", {"host": "h", "port": 7000, "db": 3}),
        ("redis://h:7000?db=4", {"host": "h", "port": 7000, "db": 4}),
        ("redis://[::1]:7000/3", {"host": "::1", "port": 7000, "db": 3}),
        ("redis://:secret@h/0", {"password": "secret"}),
        ("redis://ann:secret@h/0", {"username": "ann", "password": "secret"}),
        (f"redis://a%3Ab:{ESCAPED}@h/0", {"username": "a:b", "password": PASSWORD}),
        ("redis://h/0?client_name=authx", {"client_name": "authx"}),
        ("unix:///run/redis.sock?db=2", {"path": "/run/redis.sock", "db": 2}),
        ("unix://ann:secret@/run/r.sock", {"username": "ann", "password": "secret"}),
    ],
)
def test_a_server_by_url(url: str, expected: dict[str, Any]) -> None:
    known = kwargs(url)
    assert {name: known[name] for name in expected} == expected


@pytest.mark.parametrize("url", ["redis://h", "rediss://h", "unix:///s", "redis+sentinel://h/m"])
@pytest.mark.parametrize(("timeout", "connect"), [(0.25, 1.5), (1.0, 1.5), (4.0, 4.0)])
def test_no_client_waits_longer_than_it_may(url: str, timeout: float, connect: float) -> None:
    known = kwargs(url, timeout)
    assert (known["socket_timeout"], known["socket_connect_timeout"]) == (timeout, connect)


def test_tls_is_asked_for_with_rediss() -> None:
    untyped: Any = redis
    for url in ("rediss://h/0", "rediss+sentinel://h/mymaster"):
        pool = client_for(url, 1)()
        made: Any = pool
        assert issubclass(made.connection_pool.connection_class, untyped.SSLConnection)
    for url in ("redis://h/0", "redis+sentinel://h/mymaster"):
        made = client_for(url, 1)()
        assert not issubclass(made.connection_pool.connection_class, untyped.SSLConnection)


@pytest.mark.parametrize(
    ("hosts", "expected"),
    [
        ("h", [("h", 26379)]),
        ("h:7000", [("h", 7000)]),
        ("a,b:7000,c", [("a", 26379), ("b", 7000), ("c", 26379)]),
        ("ann:secret@a,b:1", [("a", 26379), ("b", 1)]),
        ("[::1]:7000,a", [("::1", 7000), ("a", 26379)]),
    ],
)
def test_sentinels_by_url(hosts: str, expected: list[tuple[str, int]]) -> None:
    client: Any = client_for(f"redis+sentinel://{hosts}/mymaster/2", 1)()
    pool = client.connection_pool
    assert pool.service_name == "mymaster"
    asked = [one.get_connection_kwargs() for one in pool.sentinel_manager.sentinels]
    assert [(one["host"], one["port"]) for one in asked] == expected
    assert client.get_connection_kwargs()["db"] == 2


@pytest.mark.parametrize(("path", "database"), [("m", 0), ("m/", 0), ("m/0", 0), ("m/15", 15)])
def test_the_number_of_a_database_may_follow_the_service(path: str, database: int) -> None:
    client: Any = client_for(f"redis+sentinel://h/{path}", 1)()
    assert client.connection_pool.service_name == "m"
    assert client.get_connection_kwargs()["db"] == database


def test_a_sentinel_has_a_password_of_its_own() -> None:
    url = f"redis+sentinel://ann:{ESCAPED}@a,b/m/0?sentinel_password=other%25x"
    client: Any = client_for(url, 1)()
    known = client.get_connection_kwargs()
    assert (known["username"], known["password"]) == ("ann", PASSWORD)
    assert "sentinel_password" not in known
    for sentinel in client.connection_pool.sentinel_manager.sentinels:
        own = sentinel.get_connection_kwargs()
        assert (own["password"], own.get("username")) == ("other%x", None)
        assert (own["socket_timeout"], own["socket_connect_timeout"]) == (
            1,
            # Each Sentinel gets its share of the time for one connection, twice.
            1.5 / (2 * len(client.connection_pool.sentinel_manager.sentinels) + 1),
        )
    without: Any = client_for("redis+sentinel://:secret@a/m", 1)()
    (sentinel,) = without.connection_pool.sentinel_manager.sentinels
    assert sentinel.get_connection_kwargs().get("password") is None


BAD = [
    "redis://:secret@h:port/0",
    "redis://:secret@h:70000/0",
    "redis://:secret@h/zero",
    "redis://:secret@h/0?db=zero",
    "redis://:secret@h/0?socket_timeout=soon",
    "redis://:secret@h/0?no_such_option=1",
    "redis://:secret@h/0?max_connections=50",
    "redis://:secret@[::1/0",
    "redis+sentinel://:secret@h",
    "redis+sentinel://:secret@h/",
    "redis+sentinel://:secret@h/m/zero",
    "redis+sentinel://:secret@h/m/-1",
    "redis+sentinel://:secret@h:port/m",
    "redis+sentinel://:secret@a,b:70000/m",
    "redis+sentinel://:secret@a/m?no_such_option=1",
    "redis+cluster://:secret@h/0",
    "redis+cluster://:secret@h:port",
    "redis+cluster://:secret@h?no_such_option=1",
]


@pytest.mark.parametrize("url", BAD)
def test_what_can_not_be_read_is_said_at_the_start_without_the_url(url: str) -> None:
    with pytest.raises(ValueError, match=r"\w") as caught:
        client_for(url, 1)
    assert "secret" not in str(caught.value)
    assert "://:" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    with pytest.raises(BadConfigurationError) as refused:
        make_app(BLOCKLIST=url)
    assert "JWT_BLOCKLIST" in str(refused.value)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["redis://h/0", "redis+sentinel://a,b/m/0", "redis+cluster://a,b", "unix:///s"]
)
def test_no_server_is_called_before_the_first_request(url: str) -> None:
    """The app starts while the servers are down."""
    app, authx = app_on({"JWT_BLOCKLIST": url})
    assert isinstance(authx, AuthX)
    assert app.config["JWT_BLOCKLIST"] == url


@contextlib.contextmanager
def guarded_by_password(*options: str) -> Generator[str]:
    """A server that wants a password from the standard user and from ann; gives where it is.

    The helper that starts it asks without a password, so that is set when it runs.
    """
    with redis_server("--appendonly", "no", *options) as server:
        untyped: Any = redis.Redis
        with untyped.from_url(server.url, socket_timeout=10) as client:
            rights = ("on", f">{PASSWORD}", "~*", "&*", "+@all")
            client.execute_command("ACL", "SETUSER", "ann", *rights)
            client.config_set("requirepass", PASSWORD)
        yield server.url.removeprefix("redis://").partition("/")[0]


def is_good(url: str) -> bool:
    store = RedisBlocklist(client_for(url, 10))
    key = new_key()
    store.add(Entry(key, Kind.TOKEN, HOUR))
    return len(found(store, key)) == 1


def test_a_password_with_escapes_opens_a_real_server() -> None:
    with guarded_by_password() as address:
        for credentials in (f":{ESCAPED}", f"ann:{ESCAPED}", f"default:{ESCAPED}"):
            assert is_good(f"redis://{credentials}@{address}/5")
        for credentials in ("", ":wrong@", f"bob:{ESCAPED}@", f":{PASSWORD[:1]}@"):
            with pytest.raises(redis.AuthenticationError):
                is_good(f"redis://{credentials}{address}/5")


@pytest.mark.slow
def test_a_database_by_number_is_another_than_the_first() -> None:
    with redis_server("--appendonly", "no") as server:
        base = server.url.rpartition("/")[0]
        stores = [RedisBlocklist(client_for(f"{base}/{number}", 10)) for number in (0, 5)]
        key = new_key()
        stores[1].add(Entry(key, Kind.TOKEN, HOUR))
        assert [len(found(store, key)) for store in stores] == [0, 1]
        query = RedisBlocklist(client_for(f"{base}?db=5", 10))
        assert len(found(query, key)) == 1


@pytest.mark.slow
def test_a_unix_socket_is_a_real_way_in(tmp_path: Path) -> None:
    # The path of a socket must be short.
    with contextlib.chdir(tmp_path), redis_server("--unixsocket", "authx.sock") as server:
        path = server.folder / "authx.sock"
        assert is_good(f"unix://{path}")
        assert is_good(f"unix://{path}?db=7")


@pytest.mark.slow
def test_a_sentinel_and_its_master_have_passwords_of_their_own() -> None:
    with redis_sentinel() as (url, master, _):
        untyped: Any = redis.Redis
        watch = url.removeprefix("redis+sentinel://").partition("/")[0]
        with (
            untyped.from_url(f"redis://{watch}", socket_timeout=10) as sentinel,
            untyped.from_url(master.url, socket_timeout=10) as client,
        ):
            sentinel.execute_command("SENTINEL", "SET", "authx", "auth-pass", "masters")
            client.config_set("requirepass", "masters")
            sentinel.execute_command("ACL", "SETUSER", "default", "resetpass", ">its-own")
        place = f"{watch}/authx/0"
        assert is_good(f"redis+sentinel://:masters@{place}?sentinel_password=its-own")
        for credentials, own in (("masters", "wrong"), ("wrong", "its-own")):
            with pytest.raises(redis.RedisError):
                is_good(f"redis+sentinel://:{credentials}@{place}?sentinel_password={own}")


def test_a_sentinel_that_is_down_is_passed_over() -> None:
    client: Any = client_for(f"redis+sentinel://127.0.0.1:{free_port()}/m", 0.25)()
    with pytest.raises(redis.ConnectionError):
        client.ping()
