"""Invalid tokens of every kind, and the places in a request where a token can be."""

from __future__ import annotations

from typing import Any

from tests.support import OTHER_SECRET, bearer, forge, parts, reforge
from tests.support.answers import ACCESS_COOKIE, cookie


def invalid_tokens(token: str, refresh: str) -> dict[str, str]:
    """Tokens of every kind that is refused before a callback or a store is asked."""
    header, claims, _ = parts(token)
    head, body, signature = token.split(".")
    return {
        "garbage": "x.y.z",
        "empty segments": "..",
        "signed with another secret": forge(header, claims, OTHER_SECRET),
        "a victim's jti": forge(header, {"jti": claims["jti"], "sub": "ann"}, OTHER_SECRET),
        "no signature": f"{head}.{body}.",
        "signature cut": f"{head}.{body}.{signature[:-1]}",
        "signature padded": token + "=",
        "algorithm none": reforge(token, header={"alg": "none"}),
        "unknown kid": reforge(token, header={"kid": "unknown"}),
        "expired": reforge(token, iat=1, nbf=1, auth_time=1, exp=2),
        "not yet": reforge(token, nbf=claims["nbf"] + 600),
        "no jti": reforge(token, jti=...),
        "no exp": reforge(token, exp=...),
        "bound to a key": reforge(token, cnf={"jkt": "x"}),
        "other type": refresh,
        "too long": "a" * 9_000,
    }


def in_all_places(token: str) -> list[dict[str, Any]]:
    """The keyword arguments of a request with the token, for each place where it can be."""
    return [
        {"headers": bearer(token)},
        {"headers": {"Authorization": f"bearer  {token} "}},
        {"headers": cookie((ACCESS_COOKIE, token))},
        {"query_string": {"token": token}},
    ]
