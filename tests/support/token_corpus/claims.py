"""Tokens of SECURITY.md A.4, A.5 and A.11, by the number of the row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.support import NOW, forge, reforge

from .making import ISSUER, InvalidToken, claims, header, payload, spelled, valid

_NOW = int(NOW)
_NO_ID: tuple[Any, ...] = (None, 5, "", ["a"], "a" * 256, "a\0", "é", "a b", "a\n")
_NO_TIME: tuple[Any, ...] = ("1999999999", " 1 ", "9_999", "٩٩٩٩", True, False, None, [], {}, -1)

#: Row and claim, and what it may not be.
_VALUES: dict[tuple[str, str], tuple[Any, ...]] = {
    # SECURITY A.4 68, 69, 70, 71, 75, 77
    ("69-75", "exp"): (..., *_NO_TIME, _NOW - 1, _NOW + 1000 * 31_556_952),
    # SECURITY A.4 79, A.5 98
    ("79", "nbf"): (*_NO_TIME, _NOW + 11, _NOW + 901),
    # SECURITY A.4 80, A.5 103
    ("80", "iat"): (..., *_NO_TIME, _NOW + 3600, _NOW + 120),
    ("80", "auth_time"): (..., *_NO_TIME),
    # SECURITY A.4 81, 82
    ("81-82", "sub"): (..., 5, None, ["ann"], {"a": 1}, True, "", " \t", "a" * 256),
    # SECURITY A.4 83, A.6 115
    ("83", "jti"): (..., *_NO_ID),
    ("83", "sid"): (..., *_NO_ID),
    # SECURITY A.4 84
    ("84", "aud"): (..., "you", "m", "Me", "me ", [], "", {"me": 1}, [1], [["me"]], [None], None),
    # SECURITY A.4 86
    ("86", "iss"): (..., [ISSUER], ISSUER[:-1], ISSUER + "/", ISSUER.upper(), "", 5, None, {}),
    # SECURITY A.4 91
    ("91", "scope"): (5, {"a": 1}, ["a", 1], [""], "a\tb", ["a b"], ' a"', "é", [["b"]], True),
    # SECURITY A.4 95
    ("95", "cnf"): ({"jkt": "a"}, None),
    # SECURITY A.11 187, 188
    ("187-188", "type"): (..., "Access", ["access"], True, "access ", None, "", "id", "refresh"),
}

#: The same for what only JSON text can say.
_TEXTS = {
    # SECURITY A.4 90
    ("90", "fresh"): ('"yes"', '"false"', "null", "1", "0", "1e308", "NaN", "[]", "-1"),
    # SECURITY A.4 93
    ("93", "deep"): tuple("[" * depth + "]" * depth for depth in (33, 500, 1000, 2900)),
    # SECURITY A.4 72, 73, 74
    **{
        ("72-75", name): ("NaN", "Infinity", "-Infinity", "1e999", "1e308", "9" * 4000, "9" * 5000)
        for name in ("exp", "iat", "nbf", "auth_time")
    },
    # SECURITY A.4 73, 75
    ("73-75", "exp"): ("253402300800", "0", "-0.0"),
}


def stated() -> Iterator[InvalidToken]:
    """Claims that are missing, of another type, or out of bounds."""
    for (row, name), values in _VALUES.items():
        for number, value in enumerate(values):
            yield InvalidToken(f"{row} {name} {number}", claims(**{name: value}))
    for (row, name), texts in _TEXTS.items():
        for number, text in enumerate(texts):
            yield InvalidToken(f"{row} {name} as text {number}", spelled(name, text))
    # SECURITY A.4 87
    yield InvalidToken("87 sub twice", payload(lambda text: '{"sub": "bob", ' + text[1:]))
    deep = ',"a":[{"b":1,"b":1}]}'
    yield InvalidToken("87 a deep name twice", payload(lambda text: text[:-1] + deep))
    # SECURITY A.4 88
    yield InvalidToken("88 another case", claims(sub=..., Sub="ann"))
    # SECURITY A.4 91
    yield InvalidToken("91 scope twice", claims(scope="a", scopes=["a"]))
    # SECURITY A.11 188
    yield InvalidToken("188 typ of a refresh token", header(typ="rt+jwt"))
    # SECURITY A.11 186
    yield InvalidToken("186 untyped", lambda: reforge(valid(), header={"typ": ...}, type=...))
    # SECURITY A.11 190
    bare = {"alg": "HS256", "typ": "JWT"}
    yield InvalidToken("190 the app's own", lambda: forge(bare, {"sub": "ann"}))
