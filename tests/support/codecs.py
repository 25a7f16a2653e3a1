"""A codec without an app, tokens that no app creates, and what a codec must refuse."""

from __future__ import annotations

from typing import Any

from flask_authx import JWTDecodeError
from flask_authx.keys.loading import load_keys
from flask_authx.settings.reading import read_settings
from flask_authx.tokens.codec import Codec
from tests.support import NOW, SECRET, forge, parts

IAT = int(NOW)
EXP = IAT + 900


def make_codec(**config: Any) -> Codec:
    """A codec with these settings, given without ``JWT_``; a secret is set unless there is a key.

    Settings and keys are checked as ``init_app`` does.
    """
    if not any(name.endswith("_KEY") for name in config):
        config["SECRET_KEY"] = SECRET
    settings, problems = read_settings({f"JWT_{name}": value for name, value in config.items()})
    assert problems == []
    return Codec(settings, load_keys(settings))


def header_of(codec: Codec, **changes: Any) -> dict[str, Any]:
    """The header that the codec's own access tokens have; ``...`` takes a member away."""
    key = codec.keys.current
    members = {"alg": key.algorithm.value, "kid": key.kid, "typ": "at+jwt", **changes}
    return {name: value for name, value in members.items() if value is not ...}


def claims_of(**changes: Any) -> dict[str, Any]:
    """Valid claims of an access token; ``...`` takes a member away."""
    members = {
        "sub": "ann",
        "iat": IAT,
        "nbf": IAT,
        "exp": EXP,
        "jti": "token-1",
        "sid": "session-1",
        "auth_time": IAT,
        "type": "access",
        "fresh": False,
        **changes,
    }
    return {name: value for name, value in members.items() if value is not ...}


def token_of(
    codec: Codec,
    payload: bytes | dict[str, Any] | None = None,
    header: bytes | dict[str, Any] | None = None,
    secret: str | bytes = SECRET,
) -> str:
    """A token with a valid HS256 signature and valid claims, unless they are given."""
    return forge(
        header_of(codec) if header is None else header,
        claims_of() if payload is None else payload,
        secret,
    )


def described(token: str) -> str:
    """A token in a failure's message: its header and claims, where they can be read."""
    try:
        header, claims, _ = parts(token)
    except ValueError:
        return repr(token)[:300]
    return f"{header} {claims}"[:300]


def refused(
    codec: Codec, token: str, now: float = NOW, expected: type[JWTDecodeError] | None = None
) -> JWTDecodeError:
    """The error with which the codec refuses a token.

    :param expected: its very type; without it any error for invalid tokens will do.
    """
    wanted = (expected or JWTDecodeError).__name__
    try:
        result = codec.decode(token, now)
    except JWTDecodeError as error:
        came = type(error)
        assert expected in (None, came), (
            f"sent {described(token)} at {now}, came {came.__name__}, expected {wanted}"
        )
        return error
    raise AssertionError(f"sent {described(token)} at {now}, came {result}, expected {wanted}")
