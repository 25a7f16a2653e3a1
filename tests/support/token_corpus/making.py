"""What invalid tokens are made of: a valid one, and ways to change it and sign it anew.

They are made when they are asked for, so that collecting the tests costs no keys.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.support import (
    SECRET,
    access_token,
    b64,
    forge,
    make_app,
    parts,
    private_key_for,
    reforge,
)

LOCATIONS = ("headers", "cookies", "query", "json")
ISSUER = "https://issuer.example"
AUDIENCE = "me"
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


@dataclass(frozen=True)
class InvalidToken:
    """A token, made when it is needed, and the algorithm of the app that must refuse it."""

    id: str
    make: Callable[[], str]
    algorithm: str = "HS256"
    #: Where it can be without becoming another token: around the value of a header or a cookie
    #: white space has no meaning.
    places: tuple[str, ...] = LOCATIONS


def config(algorithm: str) -> dict[str, Any]:
    """The settings of an app that is sent these tokens."""
    plain: dict[str, Any] = {"ENCODE_ISSUER": ISSUER, "ENCODE_AUDIENCE": AUDIENCE}
    if algorithm == "HS256":
        return {**plain, "SECRET_KEY": SECRET}
    return {**plain, "ALGORITHM": algorithm, "PRIVATE_KEY": private_key_for(algorithm)}


@functools.cache
def valid(algorithm: str = "HS256") -> str:
    """A token that such an app accepts."""
    return access_token(*make_app(**config(algorithm)))


def claims(**changed: Any) -> Callable[[], str]:
    return lambda: reforge(valid(), **changed)


def header(**changed: Any) -> Callable[[], str]:
    return lambda: reforge(valid(), header=changed)


def sign(header: str, payload: str, secret: str | bytes = SECRET) -> str:
    key = secret.encode() if isinstance(secret, str) else secret
    signature = hmac.new(key, f"{header}.{payload}".encode(), hashlib.sha256).digest()
    return f"{header}.{payload}.{b64(signature)}"


def payload(change: Callable[[str], str | bytes]) -> Callable[[], str]:
    """The claims as other text, with a valid signature."""

    def make() -> str:
        header, claims, _ = parts(valid())
        changed = change(json.dumps(claims))
        return forge(header, changed.encode() if isinstance(changed, str) else changed)

    return make


def head(change: Callable[[str], str | bytes]) -> Callable[[], str]:
    """The header as other text, with a valid signature."""

    def make() -> str:
        header, claims, _ = parts(valid())
        changed = change(json.dumps(header))
        return forge(changed.encode() if isinstance(changed, str) else changed, claims)

    return make


def segments(change: Callable[[str, str, str], str], algorithm: str = "HS256") -> Callable[[], str]:
    """A valid token's three segments, put together in another way."""

    def make() -> str:
        header, payload, signature = valid(algorithm).split(".")
        return change(header, payload, signature)

    return make


def spelled(name: str, text: str) -> Callable[[], str]:
    """A claim with a value that is spelled in this very way."""
    mark = '"a mark"'
    return payload(
        lambda claims: json.dumps({**json.loads(claims), name: "a mark"}).replace(mark, text)
    )


def constant(text: str) -> Callable[[str], str]:
    """A change that leaves nothing of what was there."""
    return lambda _: text


def encoded(encoding: str) -> Callable[[str], bytes]:
    """A change of the encoding only."""
    return lambda text: text.encode(encoding)
