"""Tokens of SECURITY.md A.3, and a few of A.6 and A.11, by the number of the row."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial

from tests.support import OTHER_SECRET, b64, forge, parts

from .making import (
    ALPHABET,
    InvalidToken,
    claims,
    constant,
    encoded,
    payload,
    segments,
    sign,
    valid,
)


def _odd_last(segment: str) -> str:
    """The segment with a bit set in its last character that belongs to no byte."""
    return segment[:-1] + ALPHABET[ALPHABET.index(segment[-1]) | 1]


def _padded_odd(first: bool) -> str:
    """Header or payload with such a character, which the signature covers."""
    header, claims, _ = parts(valid())
    segments: list[str] = []
    for members in (header, claims):
        data = json.dumps(members).encode()
        segments.append(b64(data + b" " * (1 - len(data) % 3)))
    at = 0 if first else 1
    segments[at] = _odd_last(segments[at])
    return sign(*segments)


def _with_tail(tail: str) -> str:
    return valid() + tail


def _around(template: str) -> str:
    return template.format(valid())


def encodings() -> Iterator[InvalidToken]:
    """A.3: stripped, cut, stretched and respelled tokens."""
    # SECURITY A.3 49
    yield InvalidToken("49 cut", segments(lambda h, p, s: f"{h}.{p}.{s[:-1]}"))
    yield InvalidToken(
        "49 changed", segments(lambda h, p, s: f"{h}.{p}.{'B' if s[0] == 'A' else 'A'}{s[1:]}")
    )
    yield InvalidToken(
        "49 another's", lambda: f"{valid().rpartition('.')[0]}.{claims(a=1)().split('.')[2]}"
    )
    yield InvalidToken("49 another secret", lambda: forge(*parts(valid())[:2], OTHER_SECRET))
    # SECURITY A.3 50
    yield InvalidToken("50 none", segments(lambda h, p, s: f"{h}.{p}."))
    # SECURITY A.3 51, 52
    for tail in ("=", "==", "===", "====", "!!!!", "\n", "\0", "%0A", " x", "?"):
        yield InvalidToken(f"51-52 {tail!r}", partial(_with_tail, tail))
    # SECURITY A.3 53
    yield InvalidToken("53 signature", segments(lambda h, p, s: f"{h}.{p}.{_odd_last(s)}"))
    yield InvalidToken("53 header", lambda: _padded_odd(first=True))
    yield InvalidToken("53 payload", lambda: _padded_odd(first=False))
    # SECURITY A.3 54
    yield InvalidToken("54 + and /", segments(lambda h, p, s: f"{h}.{p}.{s[:-2]}+/"))
    # SECURITY A.3 55
    yield InvalidToken("55 a space", segments(lambda h, p, s: f"{h[:5]} {h[5:]}.{p}.{s}"))
    yield InvalidToken("55 a question mark", segments(lambda h, p, s: f"{h}.{p[:5]}?{p[5:]}.{s}"))
    # SECURITY A.3 56
    few = ("a", "a.b", "..", "a.b.", ".b.c", "a..c", "a.b.c", "a.b.c.d", "a.b.c.d.e.f", "null")
    for odd in few:
        yield InvalidToken(f"56 {odd}", partial(str, odd))
    # SECURITY A.3 57
    yield InvalidToken("57 dots", lambda: "." * 1_000_000)
    # SECURITY A.3 58
    yield InvalidToken("58 spaces in the claims", _respaced)
    # SECURITY A.3 59
    yield InvalidToken("59 no payload", payload(lambda _: ""))
    # SECURITY A.3 60
    for odd in ("[]", '"x"', "1", "null", "true", "{", "{}", "{} {}"):
        yield InvalidToken(f"60 payload {odd}", payload(constant(odd)))
    # SECURITY A.3 61
    for encoding in ("utf-8-sig", "utf-16", "utf-16-le", "utf-32"):
        yield InvalidToken(f"61 payload in {encoding}", payload(encoded(encoding)))
    # SECURITY A.3 62
    yield InvalidToken("62 surrogate", claims(sub="\ud800"))
    yield InvalidToken("62 surrogate in a claim of the app", claims(name=["\udfff"]))
    yield InvalidToken("62 NUL", claims(sub="a\0b"))
    # SECURITY A.3 63
    yield InvalidToken("63 surrogate in the token", lambda: valid() + "\ud800")
    yield InvalidToken("63 beyond ASCII", lambda: valid() + "é\U0001f600")
    # SECURITY A.3 66
    for name, odd in (("first", " {}"), ("last", "{} "), ("as a tab", "{}\t")):
        token = partial(_around, odd)
        yield InvalidToken(f"66 a space {name}", token, places=("query", "json"))
    # SECURITY A.6 109
    yield InvalidToken("109 ten million characters", lambda: valid() + "A" * 10_000_000)
    # SECURITY A.11 191
    yield InvalidToken(
        "191 a session cookie", lambda: "eyJ1IjoxfQ.ZxY1aA.YWJjZGVmZ2hpamtsbW5vcHFyc3Q"
    )


def _respaced() -> str:
    header, _, signature = valid().split(".")
    return f"{header}.{b64(json.dumps(parts(valid())[1], indent=1).encode())}.{signature}"
