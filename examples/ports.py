"""The port of an example that is served on this machine."""

from __future__ import annotations

import errno
import os
import socket
import sys

#: IPv4 and IPv6: on a Mac, AirPlay uses port 5000 of both, and a socket of one could still be
#: opened.
LOOPBACK = ("127.0.0.1", "::1")


def listen(port: int, module: str, target: str) -> socket.socket:
    """A listening socket on 127.0.0.1; exits with a message if the port can't be used.

    :param port: 0 takes a free one.
    :param module: for the message: ``python -m MODULE``.
    :param target: for the message: ``make TARGET``.
    """
    try:
        if port not in range(65536):
            raise OSError(errno.EINVAL, "a port is a number from 0 to 65535")
        if port and any(answers(host, port) for host in LOOPBACK):
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
        return socket.create_server(("127.0.0.1", port))
    except OSError as error:
        sys.exit(
            f"Port {port} can't be used: {error.strerror}. Stop the program that uses it, or "
            f"choose another port:\n"
            f"    make {target} PORT=5001\n"
            f"    {sys.executable} -m {module} --port 5001"
        )


def answers(host: str, port: int) -> bool:
    """Whether a program listens there."""
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True
