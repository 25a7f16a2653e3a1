"""The keys of entries and rows: two of them are the same only if all that they are made of is."""

from __future__ import annotations

import hashlib
from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from flask_authx.stores.lookup_keys import LookupKeys
from tests.support.properties import fixed, scalar_values

#: Few and short ones, so that joining them without their lengths would often collide.
texts = st.text("a1\0", max_size=3) | st.text(scalar_values, max_size=5)
scopes = st.tuples(st.none() | texts, texts)


def keys_of(issuer: str | None, scope: str, value: str) -> dict[str, bytes]:
    """The keys of a token, a session and a subject with this value, and that of the scope."""
    keys = LookupKeys(issuer, scope)
    return {
        "token": keys.token(value),
        "session": keys.session(value),
        "subject": keys.subject(value),
        "scope": keys.scope,
    }


def test_a_key_is_the_start_of_a_hash_that_fips_approves() -> None:
    """Issue 13. Whoever changes this ends all sessions and forgets all revocations of all apps."""

    def expected(*parts: str) -> bytes:
        joined = b"".join(len(part).to_bytes(4, "big") + part for part in map(str.encode, parts))
        return hashlib.new("sha256", joined).digest()[:16]

    sub = "Jürgens"
    assert keys_of(None, "authx", sub) == {
        "token": expected("2", "token", "authx", sub),
        "session": expected("2", "session", "authx", sub),
        "subject": expected("2", "subject", "authx", sub),
        "scope": expected("2", "scope", "authx", ""),
    }
    of_issuer = keys_of("https://a.example", "admin", sub)
    assert of_issuer["token"] == expected("2", "token", "admin", "https://a.example", sub)


@given(scopes, texts)
@fixed
def test_the_kinds_of_one_value_have_different_keys(
    scope: tuple[str | None, str], value: str
) -> None:
    keys = keys_of(*scope, value)
    assert len({*keys.values()}) == 4
    assert {len(key) for key in keys.values()} == {16}
    assert keys == keys_of(*scope, value)


@given(st.tuples(scopes, texts), st.tuples(scopes, texts))
@fixed
def test_another_issuer_scope_or_value_has_other_keys(
    one: tuple[tuple[str | None, str], str], other: tuple[tuple[str | None, str], str]
) -> None:
    """Issue 13: the issuer and the object's name are part of every key"""
    here, there = keys_of(*one[0], one[1]), keys_of(*other[0], other[1])
    for kind in ("token", "session", "subject"):
        assert (here[kind] == there[kind]) is (one == other)
    assert (here["scope"] == there["scope"]) is (one[0] == other[0])


def test_parts_do_not_run_into_each_other() -> None:
    made = [
        ((None, "ab"), "c"),
        ((None, "a"), "bc"),
        (("b", "a"), "c"),
        (("", "a"), "bc"),
        (("bc", "a"), ""),
        ((None, "a"), ""),
        (("", "a"), ""),
        (("a", ""), ""),
    ]
    for (one, value), (other, another) in combinations(made, 2):
        here, there = keys_of(*one, value), keys_of(*other, another)
        assert here["subject"] != there["subject"]
