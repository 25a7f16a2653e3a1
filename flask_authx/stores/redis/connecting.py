"""What a new connection to a Redis server is asked, and what it means that it is refused."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from redis import AuthenticationError, ReadOnlyError, ResponseError
from redis import ConnectionError as RedisConnectionError
from redis.exceptions import ClusterDownError

from flask_authx.stores.base import StoreError


def is_refusal(error: BaseException) -> bool:
    """Whether the server itself has refused a connection, and so is there and in service.

    Most often it has too many. Silence is none, nor is a server that takes no writes: another may
    have its place. What Sentinels say is not what their master says.
    """
    if isinstance(error, (ReadOnlyError, ClusterDownError)):
        return False
    full = type(error) is RedisConnectionError and "max number of clients" in str(error)
    return full or isinstance(error, (ResponseError, AuthenticationError))


def refusing_replicas(connect: Callable[[Any], None] | None) -> Callable[[Any], None]:
    """What redis-py calls at each new connection: logs in, and asks for the server's role.

    :param connect: of the app's own, in place of redis-py's.
    """

    def log_in(connection: Any) -> None:
        if connect is None:
            connection.on_connect()
        else:
            connect(connection)
        if _role(connection) in ("replica", "slave"):
            name = getattr(connection, "path", None) or f"{connection.host}:{connection.port}"
            connection.disconnect()
            raise StoreError(
                f"{name} is a replica, which accepts no writes and receives those of its master "
                "late: name the master, or find it with redis+sentinel://"
            )

    return log_in


def _role(connection: Any) -> str:
    """The role of a server, or an empty string if it doesn't say.

    HELLO needs no permission, and ROLE is for Redis 5, which has no permissions.
    """

    def ask(*words: object) -> Any:
        connection.send_command(*words, check_health=False)
        return connection.read_response(disable_decoding=True)

    with contextlib.suppress(ResponseError):
        hello = ask("HELLO", connection.protocol)
        # In the older protocol, names and values follow each other.
        name = hello[b"role"] if hasattr(hello, "keys") else hello[hello.index(b"role") + 1]
        return str(name, "ascii")
    with contextlib.suppress(ResponseError):
        return str(ask("ROLE")[0], "ascii")
    return ""
