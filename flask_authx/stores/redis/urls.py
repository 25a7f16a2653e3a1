"""Redis clients from URLs.

``redis://``, ``rediss://`` and ``unix://`` are the URLs of redis-py. ``redis+sentinel://`` and
``redis+cluster://`` (``rediss+...`` for TLS) list several hosts, separated by commas. The path of a
Sentinel URL is the name of the service, optionally followed by the number of the database.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any
from urllib.parse import SplitResult, urlsplit

import redis
import redis.connection
from redis.backoff import NoBackoff
from redis.retry import Retry

from flask_authx.stores.base import CONNECT_TIMEOUT, MAX_CONNECTIONS

from .server import Client


def client_for(
    url: str, timeout: float, connections: int = MAX_CONNECTIONS
) -> Callable[[], Client]:
    """A function that creates a client for a URL.

    The client retries once on a new connection if the server has closed the old one.

    :param timeout: the seconds that it waits for a response.
    :param connections: the maximum number of connections of a process, to each node of a Cluster.
    :raises ValueError: if the URL is invalid; the message doesn't quote it.
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
    if not kind:
        path = _split(url).path.strip("/")
        if scheme != "unix" and path and not path.isdecimal():
            raise ValueError("the path must be the number of a database: redis://host/0")
        _parsed(url)
        return lambda: untyped.Redis.from_url(url, **options)
    hosts, path, rest = _hosts(url, scheme)
    options |= rest
    if kind == "cluster":
        if path:
            raise ValueError("a Cluster has no numbered databases: remove the path of the URL")
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
    for name in ("socket_timeout", "ssl"):
        if name in options:
            sentinel_options[name] = options[name]
    sentinels = untyped.Sentinel(hosts, sentinel_kwargs=sentinel_options)
    return lambda: sentinels.master_for(service, **{**options, "db": int(database or 0)})


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


def _parsed(url: str) -> dict[str, Any]:
    """The options that redis-py reads from a URL.

    :raises ValueError: if the URL is invalid, or an option would fail at the first connection.
    """
    untyped: Any = redis.connection
    try:
        parsed: dict[str, Any] = {**untyped.parse_url(url)}
    except (ValueError, TypeError):
        # The message of redis-py quotes the URL, or a part of it.
        raise ValueError("it can't be read as a Redis URL") from None
    known = inspect.signature(redis.Redis).parameters
    for name in parsed.keys() & {"socket_timeout", "socket_connect_timeout"}:
        raise ValueError(f"remove {name} from the URL and use the setting STORE_TIMEOUT")
    if "max_connections" in parsed:
        raise ValueError(
            "remove max_connections from the URL and use the setting STORE_CONNECTIONS"
        )
    for name in parsed.keys() - known - {"connection_class", "path", "sentinel_password"}:
        raise ValueError(f"the client has no option {name!r}")
    return parsed
