"""The port of an example: free, in use, or out of range."""

from __future__ import annotations

import socket
from contextlib import closing

import pytest

from examples.ports import listen


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


@pytest.mark.parametrize("chosen", [True, False])
def test_a_free_port_is_listened_on(chosen: bool) -> None:
    port = free_port() if chosen else 0
    with closing(listen(port, "examples.webapp", "demo-web")) as listener:
        host, found = listener.getsockname()
    assert host == "127.0.0.1"
    assert found == port or not chosen


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_port_in_use_is_refused_with_both_commands(host: str) -> None:
    """Also if it is in use by IPv6 only: the browser would open that for localhost."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        taken = socket.create_server((host, 0), family=family)
    except OSError:
        pytest.skip(f"{host} is not an address of this machine")
    with taken, pytest.raises(SystemExit) as refused:
        listen(taken.getsockname()[1], "examples.webapp", "demo-web")
    message = str(refused.value)
    assert "Address already in use" in message
    assert "make demo-web PORT=5001\n" in message
    assert message.endswith("-m examples.webapp --port 5001")


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_number_that_is_no_port_is_refused_in_words(port: int) -> None:
    with pytest.raises(SystemExit, match=f"Port {port} can't be used: .*0 to 65535"):
        listen(port, "examples.webapp", "demo-web")
