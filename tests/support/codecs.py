"""A codec by itself, without an app, and tokens for it that nobody would mint."""

from __future__ import annotations

from typing import Any

from flask_authx.keys.loading import load_keys
from flask_authx.settings.reading import read_settings
from flask_authx.tokens.codec import Codec
from tests.support import NOW, SECRET, forge

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
    """Good claims of an access token; ``...`` takes a member away."""
    members = {
        "sub": "ann",
        "iat": IAT,
        "nbf": IAT,
        "exp": EXP,
        "jti": "token-1",
        "sid": "login-1",
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
    """A token with a good HS256 signature and good claims, unless they are given."""
    return forge(
        header_of(codec) if header is None else header,
        claims_of() if payload is None else payload,
        secret,
    )
