"""Numbers that belong to one process among all test processes of this machine.

Two test runs at the same time share the servers and the ports of the machine. A process reserves a
number, and derives from it the Redis database and the ports that only it uses.
"""

from __future__ import annotations

import errno
import socket


def reserve(what: str, count: int) -> int | None:
    """Reserve a number below ``count`` until this process and its forks have ended.

    The reservation is a socket with a name in Linux's abstract namespace. The kernel binds a name
    only once, and frees it when the last process with the socket open has ended, even by a kill.
    So there is no lease to renew, no file to remove, and a killed run leaves nothing behind. A key
    in Redis with an expiry would need all that, and a process that is paused could lose it.

    Containers with a network of their own do not exclude each other.

    :param what: what is numbered, such as the databases of a server.
    :returns: ``None`` if all numbers are reserved.
    """
    for number in range(count):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as reservation:
            try:
                reservation.bind(f"\0flask-authx-tests/{what}/{number}")
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
            else:
                # The descriptor stays open. Programs that this process starts don't inherit it.
                reservation.detach()
                return number
    return None
