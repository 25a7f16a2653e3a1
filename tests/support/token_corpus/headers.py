"""Tokens of SECURITY.md A.2, by the number of the row."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from tests.support import OTHER_SECRET, b64, forge, parts, reforge

from .making import InvalidToken, constant, encoded, head, header, valid

_KIDS = ("unknown", "../../dev/null", "/dev/null", "x' UNION SELECT '1';--", "$(sleep 10)")

#: Row and parameter, and what it may not be.
_VALUES: dict[tuple[str, str], tuple[Any, ...]] = {
    # SECURITY A.2 32, 34, 35
    ("32-35", "kid"): _KIDS,
    # SECURITY A.2 36, 39
    ("36-39", "kid"): (5, None, ["a"], {"a": 1}, True, "", "a\r\nX-Evil: 1", "\0\x1b[31m"),
    # SECURITY A.2 38
    ("38", "kid"): ("k" * 1400, "k" * 1_000_000),
    # SECURITY A.2 41
    ("41", "crit"): (["exp"], ["foo"], [], "b64", None, ["alg"], ["b64", "b64"]),
    # SECURITY A.2 42
    ("42", "b64"): (False, True, "false", 0),
    # SECURITY A.2 43
    ("43", "typ"): (
        *("JWT", "dpop+jwt", "secevent+jwt", "statuslist+jwt", "application/", "at+jwt ", ""),
        *("application/application/at+jwt", ..., 5, None, ["at+jwt"]),
    ),
    # SECURITY A.2 44
    ("44", "zip"): ("DEF",),
    ("44", "enc"): ("A256GCM",),
}


def _by_attacker(secret: str | bytes, **changed: Any) -> str:
    """A token signed with another secret, whose header says what to verify it with."""
    old, claims, _ = parts(valid())
    return forge({**old, **changed}, claims, secret)


def headers() -> Iterator[InvalidToken]:
    """Header parameters that are not allowed, and those that are ignored."""
    # SECURITY A.2 27, 28, 29, 31
    sources: dict[str, Any] = {
        "jwk": {"kty": "oct", "k": b64(OTHER_SECRET.encode())},
        "jku": "http://127.0.0.1:9/keys",
        "x5u": "file:///etc/passwd",
        "x5c": ["AAAA"],
    }
    for name, value in sources.items():
        yield InvalidToken(f"27-31 {name}", partial(_by_attacker, OTHER_SECRET, **{name: value}))
    # SECURITY A.2 34
    for number, kid in enumerate(_KIDS):
        yield InvalidToken(f"34 empty secret {number}", partial(_by_attacker, b"", kid=kid))
    for (row, name), values in _VALUES.items():
        for number, value in enumerate(values):
            yield InvalidToken(f"{row} {name} {number}", header(**{name: value}))
    # SECURITY A.2 42
    yield InvalidToken("42 b64 with crit", header(b64=False, crit=["b64"]))
    # SECURITY A.2 37
    yield InvalidToken("37 kid in another case", lambda: reforge(valid(), header=_other_case()))
    yield from _texts()


def _other_case() -> dict[str, Any]:
    return {"kid": parts(valid())[0]["kid"].swapcase()}


def _texts() -> Iterator[InvalidToken]:
    # SECURITY A.2 45
    for odd in ("[]", '"x"', "1", "null", "{}", "{", "", "{}{}", "'{}'"):
        yield InvalidToken(f"45 header {odd!r}", head(constant(odd)))
    # SECURITY A.2 46
    yield InvalidToken("46 a long header", header(**{f"x{number}": 1 for number in range(10_000)}))
    # SECURITY A.2 47
    yield InvalidToken("47 none first", head(lambda text: '{"alg": "none", ' + text[1:]))
    yield InvalidToken("47 none last", head(lambda text: text[:-1] + ', "alg": "none"}'))
    # SECURITY A.2 48
    for encoding in ("utf-8-sig", "utf-16", "utf-16-le", "utf-32"):
        yield InvalidToken(f"48 header in {encoding}", head(encoded(encoding)))
    yield InvalidToken(
        "48 overlong UTF-8", head(lambda text: text[:-1].encode() + b',"a":"\xc0\xaf"}')
    )
