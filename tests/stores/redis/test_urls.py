"""Redis clients from URLs: who they connect to, as whom, and what is no URL at all."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import redis
from cryptography.hazmat.primitives import serialization

from flask_authx import AuthX, BadConfigurationError, Entry, Kind, RedisBlocklist
from flask_authx.stores.redis.urls import client_for
from tests.stores.contract import HOUR, found, new_key
from tests.support import ec_key, make_app, private_pem
from tests.support.certificates import certificate
from tests.support.corpus import check_all
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


#: What redis-py takes when it reads the URL, and rejects or ignores at each connection. The option.
REJECTED = [
    *((f"redis://h?{option}=x", option) for option in ("ssl_ca_certs", "ssl_cert_reqs", "ssl")),
    ("unix:///s?ssl_certfile=x", "ssl_certfile"),
    ("redis+sentinel://h/m?ssl_ca_certs=x", "ssl_ca_certs"),
    ("redis+cluster://h?ssl_ca_certs=x", "ssl_ca_certs"),
    ("rediss://h?ssl_cert_reqs=CERT_NONE", "ssl_cert_reqs"),
    ("rediss+sentinel://a,b/m?ssl_cert_reqs=maybe", "ssl_cert_reqs"),
    ("rediss+cluster://h?ssl_cert_reqs=maybe", "ssl_cert_reqs"),
    ("rediss://h?ssl_ca_certs=/no/such/file", "ssl_ca_certs"),
    ("rediss://h?ssl_ca_path=/no/such/folder", "ssl_ca_path"),
    ("rediss://h?ssl_ca_data=x", "ssl_ca_data"),
    ("rediss://h?ssl_certfile=/no/such/file", "ssl_certfile"),
    ("rediss://h?ssl_keyfile=/no/such/file", "ssl_keyfile"),
    ("rediss://h?ssl_min_version=5", "ssl_min_version"),
    ("rediss://h?ssl_min_version=99999999999999999999", "ssl_min_version"),
    ("rediss://h?ssl_ciphers=NO-SUCH", "ssl_ciphers"),
    ("rediss://h?ssl_min_version=TLSv1_2", "771 for TLS 1.2, or 772"),
    ("rediss+sentinel://h/m?ssl_min_version=TLSv1_2", "771 for TLS 1.2, or 772"),
    ("redis://h?db=zero", "db can't be read: set it to a whole number"),
    (
        "redis+cluster://h?health_check_interval=x",
        "interval can't be read: set it to a whole number",
    ),
    ("rediss://h?ssl=true", "ssl"),
    ("rediss://h?ssl_validate_ocsp=true", "ssl_validate_ocsp"),
    ("redis://h?client_name=a%20b", "client_name"),
    ("redis://h?client_name=caf%C3%A9", "client_name"),
    ("redis://h?protocol=4", "protocol"),
    ("redis://h?db=-1", "db"),
    ("redis+cluster://h?db=1", "numbered"),
    ("redis://h?sentinel_password=x", "sentinel_password"),
    ("redis://a..b/0", "host"),
    (f"redis://{'a' * 64}/0", "host"),
    ("redis+sentinel://a,b..c/m", "host"),
    ("unix://", "socket"),
    *(
        (f"redis://h?{option}=x", option)
        for option in (
            *("retry", "retry_on_error", "credential_provider", "connection_pool"),
            *("redis_connect_func", "parser_class", "command_packer", "timeout"),
            *("socket_keepalive_options", "socket_type", "host", "port", "path", "cache"),
        )
    ),
]


def test_what_redis_py_rejects_at_the_first_request_is_refused_at_the_start() -> None:
    def check(case: tuple[str, str]) -> None:
        url, option = case
        with pytest.raises(BadConfigurationError) as refused:
            make_app(BLOCKLIST=url)
        [problem] = refused.value.problems
        assert problem.startswith("JWT_BLOCKLIST: ")
        assert option in problem
        assert url.partition("://")[2] not in problem or url == "unix://"

    check_all([(url, (url, option)) for url, option in REJECTED], check)


#: What other users of a server may need, and redis-py takes from the URL that they share.
SHARED = [
    *("decode_responses=True", "decode_responses=no", "retry_on_timeout=True"),
    *("encoding=utf-8", "encoding=latin-1&decode_responses=1", "encoding_errors=replace"),
    *("lib_name=shop", "lib_name=", "lib_version=1.0", "socket_read_size=1024", "db="),
    *("username=&password=", "ssl_ca_certs=&ssl=", "no_such_option=", "client_name=", "protocol="),
    "decode_responses=True&encoding=latin-1&retry_on_timeout=True&lib_name=shop&db=0&username=",
]


def test_a_url_that_others_use_too_works_on_a_real_server() -> None:
    with redis_server("--appendonly", "no") as server:
        base = server.url.partition("?")[0]

        def check(query: str) -> None:
            assert is_good(f"{base}?{query}")
            app, authx = app_on({"JWT_BLOCKLIST": f"{base}?{query}", "JWT_SESSIONS": True})
            with app.app_context():
                pair = authx.login("ann")
                assert authx.refresh(pair.refresh_token).refresh_token
                assert not authx.is_revoked(pair.access_token)
                authx.revoke_token(pair.access_token)
                assert authx.is_revoked(pair.access_token)

        check_all({query: query for query in SHARED}, check)


@pytest.mark.parametrize("url", ["redis://h?{}", "redis+sentinel://h/m?{}", "unix:///s?{}"])
def test_a_shared_option_is_left_out_of_every_kind_of_url(url: str) -> None:
    query = "decode_responses=True&encoding=latin-1&lib_name=shop&client_name=authx&db="
    # Which asks a node as soon as there is a client.
    client_for(f"redis+cluster://h?{query}", 1)
    client: Any = client_for(url.format(query), 1)()
    known = client.get_connection_kwargs()
    assert known["client_name"] == "authx"
    assert known.get("encoding", "utf-8") == "utf-8"
    assert known.get("lib_name", "redis-py") != "shop"
    assert not known.get("decode_responses")


def test_tls_options_that_fit_are_used(tmp_path: Path) -> None:
    key = ec_key()
    pem, private = tmp_path / "cert.pem", tmp_path / "key.pem"
    pem.write_bytes(certificate(key).public_bytes(serialization.Encoding.PEM))
    private.write_text(private_pem(key))
    options = (
        f"ssl_ca_certs={pem}&ssl_certfile={pem}&ssl_keyfile={private}&ssl_cert_reqs=optional"
        "&ssl_check_hostname=false&ssl_ciphers=ECDHE%2BAESGCM&ssl_min_version=771"
    )
    for url in (f"rediss://h/0?{options}", f"rediss+sentinel://a,b/m?{options}"):
        known = kwargs(url)
        assert known["ssl_ca_certs"] == str(pem)
        assert known["ssl_min_version"] == 771
    # The Sentinels are asked with the same certificates, and were not.
    client: Any = client_for(f"rediss+sentinel://a,b/m?{options}", 1)()
    for sentinel in client.connection_pool.sentinel_manager.sentinels:
        own = sentinel.get_connection_kwargs()
        assert (own["ssl_ca_certs"], own["ssl_keyfile"]) == (str(pem), str(private))
    for wrong in (f"ssl_certfile={private}", f"ssl_certfile={pem}&ssl_keyfile={pem}"):
        with pytest.raises(ValueError, match="ssl_certfile, ssl_keyfile and ssl_password: "):
            client_for(f"rediss://h?{wrong}", 1)


def test_a_key_with_a_password_is_opened_by_it_alone(tmp_path: Path) -> None:
    """Without one, OpenSSL would ask on the terminal."""
    key = ec_key()
    pem, private = tmp_path / "cert.pem", tmp_path / "key.pem"
    pem.write_bytes(certificate(key).public_bytes(serialization.Encoding.PEM))
    encryption = serialization.BestAvailableEncryption(b"open sesame")
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    )
    files = f"ssl_certfile={pem}&ssl_keyfile={private}"
    assert kwargs(f"rediss://h?{files}&ssl_password=open%20sesame")["ssl_password"] == "open sesame"
    for password in ("", "&ssl_password=wrong"):
        with pytest.raises(ValueError, match="ssl_password") as caught:
            client_for(f"rediss://h?{files}{password}", 1)
        assert "wrong" not in str(caught.value)


def test_the_database_of_a_sentinel_url_may_be_in_the_query() -> None:
    assert kwargs("redis+sentinel://h/m?db=3")["db"] == 3
    assert kwargs("redis+sentinel://h/m/2?db=3")["db"] == 2


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
