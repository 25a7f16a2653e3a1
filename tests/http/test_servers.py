"""Header and cookie oddities as bytes on the wire, and many users at once, on real servers."""

from __future__ import annotations

import functools
import http.client
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from tests.support import access_token, bearer
from tests.support.answers import ACCESS_COOKIE
from tests.support.corpus import check_all
from tests.support.servers.running import development_server, exchange, gunicorn, request
from tests.support.servers.site import first, second

# One worker of pytest-xdist runs them all, so that each server starts once.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("servers")]


@pytest.fixture(scope="module", params=["gthread", "gevent", "werkzeug"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, int]]:
    kind: str = request.param
    log: Path = tmp_path_factory.mktemp("server") / "log"
    with development_server() if kind == "werkzeug" else gunicorn(kind, log) as port:
        yield kind, port


@functools.cache
def token(user: str) -> bytes:
    return access_token(*first, user).encode()


VALID = b"Authorization: Bearer @ann"
COOKIE = b"Cookie: " + ACCESS_COOKIE.encode() + b"="
REFUSED = (400, 401)

#: The header lines, with @ann and @bob for tokens, and the statuses that are right.
LINES: dict[str, tuple[list[bytes], tuple[int, ...]]] = {
    "119 none": ([], (401,)),
    "120 valid": ([VALID], (200,)),
    "120 lower case": ([b"authorization: bearer @ann"], (200,)),
    "120 upper case": ([b"AUTHORIZATION: BEARER @ann"], (200,)),
    "121 nothing": ([b"Authorization: Bearer"], (400,)),
    "121 a space": ([b"Authorization: Bearer "], (400,)),
    "122 two spaces": ([b"Authorization: Bearer  @ann"], (200,)),
    "122 a space behind": ([VALID + b" "], (200,)),
    "122 TAB": ([b"Authorization: Bearer\t@ann"], (400,)),
    "123 a colon": ([b"Authorization: Bearer:@ann"], (401,)),
    "125 two schemes": ([b"Authorization: Basic eA==, Bearer @ann"], (400,)),
    "127 two users": ([VALID, b"Authorization: Bearer @bob"], (400,)),
    "127 twice the same": ([VALID, VALID], (400,)),
    "128 Basic first": ([b"Authorization: Basic eA==", VALID], (400,)),
    "128 Basic last": ([VALID, b"Authorization: Basic eA=="], (400,)),
    "129 two tokens": ([b"Authorization: Bearer @ann @bob"], (400,)),
    "131 a fold": ([b"Authorization: Bearer x.y.z\r\n @ann"], REFUSED),
    "131 bare CR": ([b"Authorization: Bearer x.y.z\r@ann"], REFUSED),
    "131 NUL": ([VALID + b"\0"], REFUSED),
    "131 NUL for a space": ([b"Authorization: Bearer\0@ann"], REFUSED),
    "131 Latin-1": ([VALID + b"\xe9"], REFUSED),
    "131 UTF-8": ([VALID + "\U0001f600".encode()], REFUSED),
    "134 for a proxy": ([b"Proxy-Authorization: Bearer @ann"], (401,)),
    "136 header and cookie": ([VALID, COOKIE + b"@bob"], (200,)),
    "137 invalid header": ([b"Authorization: Bearer x.y.z", COOKIE + b"@ann"], (401,)),
    "138 Basic and a cookie": ([b"Authorization: Basic eA==", COOKIE + b"@ann"], (200,)),
    "140 twice the same": ([COOKIE + b"@ann; " + COOKIE[8:] + b"@ann"], (200,)),
    "140 two users": ([COOKIE + b"@ann; " + COOKIE[8:] + b"@bob"], (400,)),
    "141 two headers": ([COOKIE + b"@ann", COOKIE + b"@bob"], REFUSED),
    "142 another case": ([COOKIE.replace(b"Host", b"HOST") + b"@ann"], (401,)),
    "146 quoted": ([COOKIE + b'"@ann"'], (401,)),
    "146 percent": ([COOKIE + b"%40ann"], (401,)),
    "146 empty": ([COOKIE], (401,)),
    "146 UTF-8": ([COOKIE + b"@ann\xf0\x9f\x98\x80"], REFUSED),
    "146 NUL": ([COOKIE + b"@ann\0"], REFUSED),
    "an underscore": ([b"HTTP_AUTHORIZATION: Bearer @ann"], REFUSED),
    "110 a long token": ([VALID + b"A" * 70_000], (400, 401, 431)),
    "110 a long header": ([VALID, b"X-Long: " + b"A" * 70_000], (400, 401, 431)),
}


def fill(line: bytes) -> bytes:
    return line.replace(b"@ann", token("ann")).replace(b"@bob", token("bob"))


#: The query strings, and the statuses that are right.
QUERIES: list[tuple[bytes, tuple[int, ...]]] = [
    (b"token=@ann", (200,)),
    (b"token=", (400,)),
    (b"token=@ann&token=@bob", (400,)),
    (b"token=@ann%00", (401,)),
    (b"token=@ann+", (401,)),
    (b"token=\xe9", REFUSED),
    (b"\x80", REFUSED),
    (b"token=@ann&x=\xff", (200, 400)),
    (b"token=%ff%fe", (401,)),
]


def test_header_lines_are_read_to_the_letter(server: tuple[str, int]) -> None:
    """SECURITY A.7, A.8, A.6 110"""

    def check(case: tuple[list[bytes], tuple[int, ...]]) -> None:
        lines, expected = case
        status, headers, body = exchange(server[1], request(*map(fill, lines)))
        sent = b", ".join(lines)[:200]
        assert status in expected, f"{server[0]}: sent {sent!r}, came {status}, expected {expected}"
        if status == 200:
            assert body == b"ann", f"{server[0]}: sent {sent!r}, came {body!r}, expected b'ann'"
        elif status == 401:
            assert headers["www-authenticate"].startswith("Bearer ")

    check_all(LINES, check)


def test_query_strings_are_read_to_the_letter(server: tuple[str, int]) -> None:
    """SECURITY A.8 153, A.9 157"""

    def check(case: tuple[bytes, tuple[int, ...]]) -> None:
        query, expected = case
        status, headers, _ = exchange(server[1], request(target=fill(b"/whoami?" + query)))
        assert status in expected, f"{server[0]}: sent {query!r}, came {status}, not {expected}"
        if status == 200:
            assert headers["referrer-policy"] == "no-referrer"

    check_all([(repr(case[0]), case) for case in QUERIES], check)


def test_http_1_0_is_guarded_as_well(server: tuple[str, int]) -> None:
    """SECURITY A.7 119"""
    for lines, expected in (([], 401), ([fill(VALID)], 200)):
        assert exchange(server[1], request(*lines, version=b"HTTP/1.0"))[0] == expected


def test_head_gets_the_response_of_get_without_a_body(server: tuple[str, int]) -> None:
    """SECURITY A.15 286"""
    for lines, expected in (([], 401), ([fill(VALID)], 200)):
        status, headers, body = exchange(server[1], request(*lines, method=b"HEAD"))
        assert (status, body) == (expected, b"")
        assert ("www-authenticate" in headers) is (expected == 401)


def test_a_preflight_needs_no_token_and_a_401_can_be_read_across_origins(
    server: tuple[str, int],
) -> None:
    """SECURITY A.15 285, A.16 308, USERS 79"""
    origin = b"Origin: https://front.example"
    preflight = request(
        *(origin, b"Access-Control-Request-Method: POST"),
        b"Access-Control-Request-Headers: authorization",
        method=b"OPTIONS",
    )
    status, headers, _ = exchange(server[1], preflight)
    assert (status, headers["access-control-allow-headers"]) == (200, "authorization")
    status, headers, _ = exchange(server[1], request(origin))
    assert status == 401
    assert headers["access-control-allow-origin"] == "https://front.example"
    assert headers["access-control-expose-headers"] == "WWW-Authenticate"


def test_two_apps_in_one_process_refuse_each_others_tokens(server: tuple[str, int]) -> None:
    """SECURITY A.15 283"""
    tokens = [access_token(*site).encode() for site in (first, second)]
    statuses = [
        exchange(server[1], request(b"Authorization: Bearer " + one, target=target))[0]
        for one in tokens
        for target in (b"/whoami", b"/other/whoami")
    ]
    assert statuses == [200, 401, 401, 200]


def test_a_thousand_interleaved_requests_of_two_users_are_never_mixed_up(
    server: tuple[str, int],
) -> None:
    """SECURITY A.15 281 282"""
    users = ("ann", "bob")

    def one_connection(number: int) -> list[tuple[str, str]]:
        seen: list[tuple[str, str]] = []
        with closing(http.client.HTTPConnection("127.0.0.1", server[1], timeout=60)) as connection:
            for turn in range(63):
                user = users[(number + turn) % 2]
                connection.request("GET", "/whoami", headers=bearer(token(user).decode()))
                seen.append((user, connection.getresponse().read().decode()))
        return seen

    with ThreadPoolExecutor(16) as pool:
        results = [one for seen in pool.map(one_connection, range(16)) for one in seen]
    assert len(results) > 1000
    assert {(user, seen) for user, seen in results} == {("ann", "ann"), ("bob", "bob")}
