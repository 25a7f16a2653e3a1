"""Redis clients from URLs.

``redis://``, ``rediss://`` and ``unix://`` are the URLs of redis-py. ``redis+sentinel://`` and
``redis+cluster://`` (``rediss+...`` for TLS) list several hosts, separated by commas. The path of a
Sentinel URL is the name of the service, optionally followed by the number of the database.
"""

from __future__ import annotations

import contextlib
import inspect
import re
import ssl
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, urlsplit

import redis
import redis.connection
from redis.backoff import NoBackoff
from redis.retry import Retry

from flask_authx.stores.base import CONNECT_TIMEOUT, MAX_CONNECTIONS

from .server import Client

#: What a URL may set. redis-py takes others as text where it needs an object, and fails at the
#: first connection or never makes use of them.
_OPTIONS = frozenset(
    {
        *("db", "username", "password", "client_name", "protocol"),
        *("health_check_interval", "socket_keepalive"),
    }
)
_TLS_OPTIONS = frozenset(
    {
        *("ssl_ca_certs", "ssl_ca_path", "ssl_ca_data", "ssl_certfile", "ssl_keyfile"),
        *("ssl_password", "ssl_cert_reqs", "ssl_check_hostname", "ssl_min_version", "ssl_ciphers"),
        *("ssl_include_verify_flags", "ssl_exclude_verify_flags"),
    }
)
#: What a URL may hold for other users of the server, and the store has no need of: it reads bytes,
#: and has its own rule for retries. Newer versions of redis-py deprecate some of them.
_LEFT_OUT = frozenset(
    {
        *("decode_responses", "encoding", "encoding_errors", "legacy_responses"),
        *("lib_name", "lib_version", "retry_on_timeout", "socket_read_size"),
    }
)
#: What to set where redis-py can't read the value of an option; of all others, a whole number.
_VALUES = {
    "ssl_min_version": "771 for TLS 1.2, or 772 for TLS 1.3",
    "ssl_include_verify_flags": "flags of OpenSSL, such as VERIFY_X509_STRICT",
    "ssl_exclude_verify_flags": "flags of OpenSSL, such as VERIFY_X509_STRICT",
}
#: The settings to use instead of an option, without their prefix.
_SETTINGS = {
    "socket_timeout": "STORE_TIMEOUT",
    "socket_connect_timeout": "STORE_TIMEOUT",
    "max_connections": "STORE_CONNECTIONS",
}


def client_for(
    url: str, timeout: float, connections: int = MAX_CONNECTIONS, *, prefix: str = ""
) -> Callable[[], Client]:
    """A function that creates a client for a URL.

    The client retries once on a new connection if the server has closed the old one.

    :param timeout: the seconds that it waits for a response.
    :param connections: the maximum number of connections of a process, to each node of a Cluster.
    :param prefix: of the settings that an error names.
    :raises ValueError: if the URL is invalid, or redis-py would reject one of its options at the
        first connection; the message doesn't quote it.
    """
    # Much of redis-py has no types.
    untyped: Any = redis
    options: dict[str, Any] = {
        "socket_timeout": timeout,
        "socket_connect_timeout": max(CONNECT_TIMEOUT, timeout),
        "retry": Retry(NoBackoff(), 1, (redis.ConnectionError,)),
        "max_connections": connections,
    }
    scheme, _, kind = _split(url).scheme.partition("+")
    _check_options(url, scheme, kind, prefix)
    if not kind:
        path = _split(url).path.strip("/")
        if scheme != "unix" and path and not path.isdecimal():
            raise ValueError("the path must be the number of a database: redis://host/0")
        options |= _parsed(url)
        return lambda: untyped.Redis.from_pool(untyped.ConnectionPool(**options))
    hosts, path, rest = _hosts(url, scheme)
    options |= rest
    if kind == "cluster":
        if path or rest.get("db"):
            raise ValueError("a Cluster has no numbered databases: remove the number from the URL")
        nodes = [untyped.cluster.ClusterNode(host, port) for host, port in hosts]
        return lambda: untyped.RedisCluster(startup_nodes=nodes, **options, **_tls(scheme))
    return _sentinel_client(hosts, path, {**options, **_tls(scheme)})


def _sentinel_client(
    hosts: list[tuple[str, int]], path: str, options: dict[str, Any]
) -> Callable[[], Client]:
    untyped: Any = redis
    service, _, database = path.partition("/")
    if not service or (database and not database.isdecimal()):
        raise ValueError(
            "the path must be the name of the service that the Sentinels watch, and optionally the "
            "number of a database: redis+sentinel://host1,host2/mymaster/0"
        )
    sentinel_options: dict[str, Any] = {
        "password": options.pop("sentinel_password", None),
        # All Sentinels are queried in turn, and once more, before the time for one connection ends.
        "socket_connect_timeout": options["socket_connect_timeout"] / (2 * len(hosts) + 1),
        "retry": Retry(NoBackoff(), 0),
    }
    sentinel_options |= {
        name: value
        for name, value in options.items()
        # The Sentinels and the servers that they watch have certificates of one authority.
        if name == "socket_timeout" or name.startswith("ssl")
    }
    sentinels = untyped.Sentinel(hosts, sentinel_kwargs=sentinel_options)
    options["db"] = int(database or options.get("db", 0))
    return lambda: sentinels.master_for(service, **options)


def _tls(scheme: str) -> dict[str, Any]:
    return {"ssl": True} if scheme == "rediss" else {}


def _hosts(url: str, scheme: str) -> tuple[list[tuple[str, int]], str, dict[str, Any]]:
    """The hosts, the path, and redis-py's options for the rest: user, password, query."""
    parts = _split(url)
    credentials, at, listed = parts.netloc.rpartition("@")
    default = 26379 if parts.scheme.endswith("sentinel") else 6379
    hosts: list[tuple[str, int]] = []
    rest: dict[str, Any] = {}
    for host in listed.split(","):
        # redis-py parses one host at a time; the path would mean something else to it.
        rest = _parsed(f"{scheme}://{credentials}{at}{host}?{parts.query}")
        rest.pop("connection_class", None)
        hosts.append((rest.pop("host", "localhost"), rest.pop("port", default)))
    return hosts, parts.path.strip("/"), rest


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        # The message of urlsplit quotes a part of the URL.
        raise ValueError("it is not a URL") from None


def _check_options(url: str, scheme: str, kind: str, prefix: str) -> None:
    """Refuse what redis-py would take for no option, and values that it can't read.

    An option without a value is none, here as in redis-py.

    :raises ValueError: naming the option, never its value.
    """
    untyped: Any = redis.connection
    parsers: dict[str, Any] = {"ssl_min_version": int, **untyped.URL_QUERY_ARGUMENT_PARSERS}
    known: frozenset[str] = _OPTIONS | _LEFT_OUT
    if kind == "sentinel":
        known |= {"sentinel_password"}
    if scheme == "rediss":
        # Some of them are newer than the oldest redis-py that is supported.
        known |= _TLS_OPTIONS & inspect.signature(redis.SSLConnection).parameters.keys()
    for name, value in parse_qsl(_split(url).query):
        if name in _SETTINGS:
            raise ValueError(
                f"remove {name} from the URL and use the setting {prefix}{_SETTINGS[name]}"
            )
        if name.startswith("ssl") and scheme != "rediss":
            raise ValueError(f"{name} is an option of TLS, which rediss:// asks for: set that")
        if name not in known:
            raise ValueError(f"remove {name!r:.60}: the URL can't set it")
        try:
            parsers.get(name, str)(value)
        except (TypeError, ValueError):
            # The message of redis-py quotes the value.
            needed = _VALUES.get(name, "a whole number")
            raise ValueError(f"{name} can't be read: set it to {needed}") from None


def _parsed(url: str) -> dict[str, Any]:
    """The options that redis-py reads from a URL, without those that the store leaves out.

    :raises ValueError: if the URL is invalid, or an option would fail at the first connection.
    """
    untyped: Any = redis.connection
    try:
        parsed: dict[str, Any] = {
            name: value for name, value in untyped.parse_url(url).items() if name not in _LEFT_OUT
        }
    except (ValueError, TypeError):
        # The message of redis-py quotes the URL, or a part of it.
        raise ValueError("it can't be read as a Redis URL") from None
    if "ssl_min_version" in parsed:
        # Older versions of redis-py leave it a text.
        parsed["ssl_min_version"] = int(parsed["ssl_min_version"])
    if parsed.get("db", 0) < 0:
        raise ValueError("db must be the number of a database, 0 or more")
    if not re.fullmatch("[!-~]+", parsed.get("client_name", "authx")):
        raise ValueError("client_name must be printable ASCII without spaces")
    if parsed.get("protocol", 2) not in (2, 3):
        raise ValueError("protocol must be 2 or 3")
    if parsed.get("ssl_cert_reqs", "required") not in ("none", "optional", "required"):
        raise ValueError("ssl_cert_reqs must be none, optional or required")
    try:
        # As the resolver does.
        parsed.get("host", "").encode("idna")
    except UnicodeError:
        raise ValueError(
            "the host can't be looked up: a part of its name is empty or longer than 63 characters"
        ) from None
    _check_connection({**parsed})
    return parsed


def _check_connection(options: dict[str, Any]) -> None:
    """Prepare a connection without opening it, as redis-py does at the first request."""
    options.pop("sentinel_password", None)
    connection_class: Any = options.pop("connection_class", redis.Connection)
    if connection_class is redis.UnixDomainSocketConnection and not options.get("path"):
        raise ValueError("the path of the socket is missing: unix:///run/redis.sock")
    try:
        connection = connection_class(**options)
    except Exception as error:  # noqa: BLE001 - whatever it is, its text may quote the URL
        raise ValueError(f"redis-py rejects an option ({type(error).__name__})") from None
    if connection_class is redis.SSLConnection:
        _check_tls(connection, options)


def _check_tls(connection: Any, options: dict[str, Any]) -> None:
    """Read the files and values of TLS options into a context like that of redis-py."""
    context = ssl.create_default_context()
    with _naming("ssl_cert_reqs and ssl_check_hostname"):
        context.check_hostname = connection.check_hostname
        context.verify_mode = connection.cert_reqs
    certificate, key = options.get("ssl_certfile"), options.get("ssl_keyfile")
    if key and not certificate:
        raise ValueError("ssl_keyfile needs ssl_certfile, the certificate of that key")
    if certificate:
        with _naming("ssl_certfile, ssl_keyfile and ssl_password"):
            # Without a password, OpenSSL would ask for one on the terminal.
            context.load_cert_chain(certificate, key, options.get("ssl_password", ""))
    file, folder, data = (options.get(f"ssl_ca_{name}") for name in ("certs", "path", "data"))
    if folder and not Path(folder).is_dir():
        raise ValueError("ssl_ca_path: it is no folder")
    if file or folder or data:
        with _naming("ssl_ca_certs, ssl_ca_path and ssl_ca_data"):
            context.load_verify_locations(file, folder, data)
    if "ssl_min_version" in options:
        with _naming("ssl_min_version"):
            context.minimum_version = options["ssl_min_version"]
    if "ssl_ciphers" in options:
        try:
            context.set_ciphers(options["ssl_ciphers"])
        except ssl.SSLError:
            raise ValueError("ssl_ciphers: OpenSSL knows no cipher of this list") from None


@contextlib.contextmanager
def _naming(options: str) -> Generator[None]:
    """Name the options in an error of OpenSSL."""
    try:
        yield
    except (OSError, ValueError, TypeError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"{options}: {reason}") from None
