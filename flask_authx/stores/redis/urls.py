"""Redis clients from URLs.

``redis://``, ``rediss://`` and ``unix://`` are redis-py's own. ``redis+sentinel://`` and
``redis+cluster://`` (``rediss+...`` over TLS) name several hosts, separated by commas; after the
Sentinels comes the name of the service, and after that the number of the database.
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

from flask_authx.stores.base import CONNECT_TIMEOUT

from .server import Client


def client_for(url: str, timeout: float) -> Callable[[], Client]:
    """What makes a client that waits for an answer as long as the timeout says, in seconds.

    It tries once more on a new connection if the server has closed the old one.

    :raises ValueError: if the URL can't be read; the message doesn't quote it.
    """
    # Much of redis-py has no types.
    untyped: Any = redis
    options: dict[str, Any] = {
        "socket_timeout": timeout,
        "socket_connect_timeout": max(CONNECT_TIMEOUT, timeout),
        "retry": Retry(NoBackoff(), 1, (redis.ConnectionError,)),
        # redis-py's own limit is 100; how many requests there are is for the app's server to limit.
        "max_connections": 10_000,
    }
    scheme, _, kind = _split(url).scheme.partition("+")
    if not kind:
        path = _split(url).path.strip("/")
        if scheme != "unix" and path and not path.isdecimal():
            raise ValueError("after the host comes the number of a database: redis://host/0")
        _parsed(url)
        return lambda: untyped.Redis.from_url(url, **options)
    hosts, path, rest = _hosts(url, scheme)
    options |= rest
    if kind == "cluster":
        if path:
            raise ValueError("a Cluster has no numbered databases: end the URL after the hosts")
        nodes = [untyped.cluster.ClusterNode(host, port) for host, port in hosts]
        return lambda: untyped.RedisCluster(startup_nodes=nodes, **options, **_tls(scheme))
    return _behind_sentinels(hosts, path, {**options, **_tls(scheme)})


def _behind_sentinels(
    hosts: list[tuple[str, int]], path: str, options: dict[str, Any]
) -> Callable[[], Client]:
    untyped: Any = redis
    service, _, database = path.partition("/")
    if not service or (database and not database.isdecimal()):
        raise ValueError(
            "after the Sentinels comes the name of the service they watch, and perhaps a number: "
            "redis+sentinel://host1,host2/mymaster/0"
        )
    own: dict[str, Any] = {
        "password": options.pop("sentinel_password", None),
        # All are asked in turn, and once more, in the time that one connection may take.
        "socket_connect_timeout": options["socket_connect_timeout"] / (2 * len(hosts)),
        "retry": Retry(NoBackoff(), 0),
    }
    for name in ("socket_timeout", "ssl"):
        if name in options:
            own[name] = options[name]
    sentinels = untyped.Sentinel(hosts, sentinel_kwargs=own)
    return lambda: sentinels.master_for(service, **{**options, "db": int(database or 0)})


def _tls(scheme: str) -> dict[str, Any]:
    return {"ssl": True} if scheme == "rediss" else {}


def _hosts(url: str, scheme: str) -> tuple[list[tuple[str, int]], str, dict[str, Any]]:
    """The hosts, the path, and what else redis-py reads: user, password, options."""
    parts = _split(url)
    credentials, at, listed = parts.netloc.rpartition("@")
    default = 26379 if parts.scheme.endswith("sentinel") else 6379
    hosts: list[tuple[str, int]] = []
    rest: dict[str, Any] = {}
    for host in listed.split(","):
        # redis-py reads one host at a time, without a path that means something else to it.
        rest = _parsed(f"{scheme}://{credentials}{at}{host}?{parts.query}")
        rest.pop("connection_class", None)
        hosts.append((rest.pop("host", "localhost"), rest.pop("port", default)))
    return hosts, parts.path.strip("/"), rest


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        # Its message quotes a part of the URL.
        raise ValueError("it is not a URL") from None


def _parsed(url: str) -> dict[str, Any]:
    """What redis-py reads from a URL.

    :raises ValueError: if it can't, or would fail over an option at the first connection.
    """
    untyped: Any = redis.connection
    try:
        parsed: dict[str, Any] = {**untyped.parse_url(url)}
    except (ValueError, TypeError):
        # Its message quotes the URL, or a part of it.
        raise ValueError("it can't be read as a Redis URL") from None
    known = inspect.signature(redis.Redis).parameters
    for name in parsed.keys() & {"socket_timeout", "socket_connect_timeout"}:
        raise ValueError(f"{name} is not for the URL: the setting STORE_TIMEOUT says how long")
    for name in parsed.keys() - known - {"connection_class", "path", "sentinel_password"}:
        raise ValueError(f"the client has no option {name!r}")
    return parsed
