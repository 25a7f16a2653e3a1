"""Bodies that are cut, broken or never end, as bytes on the wire to a real server."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import access_token
from tests.support.answers import ACCESS_COOKIE
from tests.support.corpus import check_all
from tests.support.servers.bodies import LIMIT, site
from tests.support.servers.running import exchange, gunicorn, request

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("servers")]


@pytest.fixture(scope="module", params=["sync", "gthread", "gevent"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[int, Path]]:
    log = tmp_path_factory.mktemp("server") / "log"
    with gunicorn(request.param, log, "tests.support.servers.bodies:application") as port:
        yield port, log


def post(port: int, body: bytes, *lines: bytes, target: bytes = b"/read") -> tuple[int, bytes]:
    """The answer to a body, after which the client sends nothing more."""
    head = request(*lines, target=target, method=b"POST")
    status, _, answer = exchange(port, head + body, ends=True)
    return status, answer


def chunked(*chunks: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)


JSON = b"Content-Type: application/json"
FORM = b"Content-Type: application/x-www-form-urlencoded"
CHUNKED = b"Transfer-Encoding: chunked"
TOKEN = access_token(*site)
HEADER = b"Authorization: Bearer " + TOKEN.encode()
COOKIE = b"Cookie: " + ACCESS_COOKIE.encode() + b"=" + TOKEN.encode()

LENGTH = b"Content-Length: 100"

BODIES: dict[str, tuple[bytes, bytes]] = {
    "a length, and less": (b'{"a":', LENGTH),
    "a chunk, and less": (b"64\r\n{", CHUNKED),
    "no last chunk": (chunked(b'{"a":"b"'), CHUNKED),
    "no size": (b"zz\r\n{}\r\n0\r\n\r\n", CHUNKED),
    "a size below zero": (b"-5\r\n{}\r\n0\r\n\r\n", CHUNKED),
    "no end of a chunk": (b"2\r\n{}XX0\r\n\r\n", CHUNKED),
    "nothing": (b"", CHUNKED),
}


def test_a_body_that_cannot_be_read_is_a_400(server: tuple[int, Path]) -> None:
    """SECURITY A.18 331."""
    port, log = server

    def check(case: tuple[bytes, bytes]) -> None:
        body, length = case
        for target in (b"/unread", b"/optional"):
            status, answer = post(port, body, JSON, length, target=target)
            assert (status, json.loads(answer)["error_type"]) == (400, "MalformedRequestError")
            status, _ = post(port, body, JSON, length, HEADER, target=target)
            # Of a length that is too short gunicorn says nothing, and then the token is enough.
            assert status == 400 or length is LENGTH
        status, _ = post(port, body, FORM, length, COOKIE, target=b"/unread")
        # Such a form is one without the CSRF value.
        assert status == 400 or length is LENGTH or not body

    check_all(BODIES, check)
    assert "Traceback" not in log.read_text()


def test_a_body_in_chunks_reaches_the_view_whatever_its_length(server: tuple[int, Path]) -> None:
    port, _ = server
    for size in (10, LIMIT, LIMIT + 1, 5 * LIMIT):
        body = b'"' + b"x" * (size - 2) + b'"'
        sent = chunked(*(body[n : n + 5000] for n in range(0, size, 5000))) + b"0\r\n\r\n"
        assert post(port, sent, JSON, CHUNKED, HEADER) == (200, str(size).encode())
        length = b"Content-Length: %d" % size
        assert post(port, body, JSON, length, HEADER) == (200, str(size).encode())


def test_a_body_that_never_ends_is_answered(server: tuple[int, Path]) -> None:
    """SECURITY A.18 331: as soon as it is too long to hold a token."""
    port, _ = server
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(request(JSON, CHUNKED, target=b"/unread", method=b"POST"))
        connection.sendall(chunked(b'{"a":"' + b"x" * LIMIT))
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 401 ")
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        length = b"Content-Length: %d" % 10**12
        connection.sendall(request(JSON, length, target=b"/unread", method=b"POST"))
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 401 ")


def test_a_token_in_chunks_is_found(server: tuple[int, Path]) -> None:
    port, _ = server
    body = json.dumps({"access_token": TOKEN}).encode()
    sent = chunked(*(body[n : n + 7] for n in range(0, len(body), 7))) + b"0\r\n\r\n"
    assert post(port, sent, JSON, CHUNKED) == (200, str(len(body)).encode())
