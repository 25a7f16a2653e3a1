"""The cache of verified tokens: never another token's claims, never outdated, never too large."""

from __future__ import annotations

import gc
import itertools
import json
import threading
import tracemalloc
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from flask import Flask

from flask_authx import AuthX, TokenExpiredError, current_token
from flask_authx.tokens.cache import TokenCache
from flask_authx.tokens.codec import Codec
from flask_authx.tokens.token import TokenClaims
from tests.support import (
    NOW,
    OTHER_SECRET,
    SECRET,
    Clock,
    access_token,
    bearer,
    make_app,
    refresh_token,
)
from tests.support.answers import OK, REVOKED, Outcome, ask, outcome
from tests.support.codecs import EXP, IAT, claims_of, make_codec, refused, token_of
from tests.support.corpus import by_repr, check_all

KIBI = 1024
MEBI = KIBI * 1024


def verified(codec: Codec, number: int = 0) -> tuple[str, TokenClaims]:
    token = token_of(codec, claims_of(sub=f"user-{number}", jti=f"jti-{number}"))
    return token, codec.decode(token, NOW)


def test_no_token_has_the_claims_of_another() -> None:
    """SECURITY A.15 278."""
    codec = make_codec()
    tokens = {f"user-{n}": token_of(codec, claims_of(sub=f"user-{n}")) for n in range(50)}
    for _ in range(3):
        for sub, token in tokens.items():
            assert codec.decode(token, NOW).sub == sub


def test_a_changed_token_is_not_found_in_the_cache() -> None:
    """SECURITY A.15 278."""
    codec = make_codec()
    token = token_of(codec)
    codec.decode(token, NOW)
    for changed in (token[:-1], token + "A", token + "=", " " + token, token.swapcase()):
        refused(codec, changed)


@pytest.mark.parametrize("size", [0, 10 * MEBI])
def test_times_are_judged_on_every_call(size: int) -> None:
    """SECURITY A.15 279."""
    codec = make_codec(CACHE_SIZE=size, DECODE_LEEWAY=0)
    token = token_of(codec)
    assert codec.decode(token, IAT).sub == "ann"
    refused(codec, token, IAT - 1)
    refused(codec, token, EXP, TokenExpiredError)
    assert codec.decode(token, EXP - 1).sub == "ann"


def test_a_request_is_refused_when_the_token_has_expired_meanwhile() -> None:
    """SECURITY A.15 279."""
    clock = Clock()
    app, authx = make_app(clock=clock)
    headers = bearer(access_token(app, authx))
    assert outcome(ask(app, headers=headers)) == OK
    clock.advance(3600)
    assert outcome(ask(app, headers=headers)) == Outcome(401, "TokenExpiredError")


def test_type_and_revocation_of_a_cached_token_are_checked() -> None:
    app, authx = make_app()
    revoked: set[str] = set()

    @authx.token_blocklist
    def is_revoked(token: str) -> bool:
        return token in revoked

    token = access_token(app, authx)
    refresh = refresh_token(app, authx)
    for _ in range(2):
        assert outcome(ask(app, headers=bearer(token))) == OK
        assert outcome(ask(app, headers=bearer(refresh))) == Outcome(
            401, "AccessTokenRequiredError"
        )
    revoked.add(token)
    assert outcome(ask(app, headers=bearer(token))) == REVOKED


def test_a_change_of_keys_empties_the_cache() -> None:
    """SECURITY A.15 279: tokens of a removed key are refused."""
    codec, other = make_codec(KEY_ID="k"), make_codec(KEY_ID="k", SECRET_KEY=OTHER_SECRET)
    token, old_keys = token_of(codec), codec.keys
    assert codec.decode(token, NOW)
    codec.use(other.keys)
    refused(codec, token)
    codec.use(old_keys)
    assert codec.decode(token, NOW)


def test_an_entry_of_the_old_keys_is_not_used_with_the_new_ones() -> None:
    """SECURITY A.15 279: a thread that began with the old keys keeps its entry too late."""
    codec, other = make_codec(), make_codec(SECRET_KEY=OTHER_SECRET)
    token, statement = verified(codec)
    cache = TokenCache(MEBI)
    cache.put(token, codec.keys, statement)
    cache.clear()
    cache.put(token, codec.keys, statement)
    assert cache.get(token, other.keys) is None
    assert cache.get(token, codec.keys) is statement


def test_failures_are_not_kept() -> None:
    """SECURITY A.15 280."""
    codec, other = make_codec(KEY_ID="k"), make_codec(KEY_ID="k", SECRET_KEY=OTHER_SECRET)
    token = token_of(codec, secret=OTHER_SECRET)
    for _ in range(2):
        refused(codec, token)
    codec.use(other.keys)
    assert codec.decode(token, NOW).sub == "ann"


def app_that_spoils_its_claims() -> tuple[Flask, AuthX]:
    app, authx = make_app()

    @app.get("/spoil")
    @authx.token_required
    def spoil() -> dict[str, Any]:
        before = json.loads(json.dumps(current_token.claims))
        current_token.claims["sub"] = "root"
        current_token.claims["roles"].append("admin")
        current_token.claims.pop("exp")
        return {"claims": before, "sub": current_token.sub}

    return app, authx


def test_a_view_that_changes_its_claims_changes_no_others() -> None:
    app, authx = app_that_spoils_its_claims()
    token = access_token(app, authx, data={"roles": ["user"]})
    client = app.test_client()
    first, second = (client.get("/spoil", headers=bearer(token)).get_json() for _ in range(2))
    assert first == second
    assert first["sub"] == "ann"
    assert first["claims"]["roles"] == ["user"]
    with app.app_context():
        assert authx.decode_token(token).claims == first["claims"]


def test_the_least_recently_used_goes_first() -> None:
    codec = make_codec()
    entries = [verified(codec, number) for number in range(30)]
    cache = TokenCache(30_000)
    cache.put(*_keyed(entries[0], codec))
    for entry in entries[1:]:
        cache.put(*_keyed(entry, codec))
        assert cache.get(entries[0][0], codec.keys) is entries[0][1]
    kept = [number for number, (token, _) in enumerate(entries) if cache.get(token, codec.keys)]
    assert 2 < len(kept) < 20
    assert kept == [0, *range(31 - len(kept), 30)]
    assert len(cache) == len(kept)


def _keyed(entry: tuple[str, TokenClaims], codec: Codec) -> tuple[str, Any, TokenClaims]:
    return entry[0], codec.keys, entry[1]


def test_an_entry_larger_than_the_cache_is_not_kept() -> None:
    codec = make_codec()
    token, statement = verified(codec)
    for size in (0, 100):
        cache = TokenCache(size)
        cache.put(token, codec.keys, statement)
        assert (len(cache), cache.get(token, codec.keys)) == (0, None)


def test_the_same_token_is_kept_once() -> None:
    codec = make_codec()
    entries = [verified(codec, number) for number in range(2)]
    cache = TokenCache(20_000)
    for _ in range(1_000):
        cache.put(*_keyed(entries[0], codec))
    cache.put(*_keyed(entries[1], codec))
    assert len(cache) == 2


#: Further claims of the tokens, by number. What an entry takes differs most with these.
KINDS: dict[str, Callable[[int], dict[str, Any]]] = {
    "small": lambda n: {},
    "with issuer and csrf": lambda n: {"iss": f"https://example.org/{n}", "csrf": f"csrf-{n}"},
    "large": lambda n: {"text": f"{n}" * 5_000},
    "many claims": lambda n: {f"claim-{one}": n for one in range(300)},
    "latin": lambda n: {"text": "é" * 3_000},
    "non-ASCII": lambda n: {"text": "好" * 3_000},
    "emoji": lambda n: {"text": "😀" * 1_500},
    "a wide character in an issuer": lambda n: {"iss": "a" * 8_000 + f"😀{n}"},
    "20 scopes": lambda n: {"scope": " ".join(f"scope:{n}:{one}" for one in range(20))},
    "39 scopes": lambda n: {"scope": " ".join(f"scope:{n}:{one}" for one in range(39))},
    "308 short scopes": lambda n: {"scopes": [f"{one:x}" for one in range(1_000, 1_308)]},
    "wide scopes": lambda n: {"scopes": [f"{n}-{one}" for one in range(700)]},
}


#: Of tokens that are quickly verified.
QUICK = ("small", "20 scopes")


@pytest.mark.parametrize(
    ("size", "kinds"),
    [(256 * KIBI, QUICK), pytest.param(256 * KIBI, KINDS, marks=pytest.mark.slow)],
    ids=["some", "all"],
)
def test_the_cache_stays_within_its_bytes(size: int, kinds: Iterable[str]) -> None:
    def check(case: tuple[str, bool]) -> None:
        kind, utf8 = case
        codec = make_codec(CACHE_SIZE=size, MAX_TOKEN_LENGTH=100_000)
        prepared: list[bytes] = []
        # More than there is room for: by their text alone, or since each is more than its text.
        while len(prepared) < 280 and sum(map(len, prepared)) < 1.5 * size:
            prepared.append(_prepared(codec, kind, len(prepared), utf8=utf8))
        # What is made once, for the first token, is not the cache's.
        codec.decode(prepared[0].decode(), NOW)
        codec.use(codec.keys)
        gc.collect()
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            for token in prepared:
                codec.decode(token.decode(), NOW)
            gc.collect()
            used = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
        # It is within its bytes, and it is a cache: much of what it may take is in use.
        assert size / 8 < used <= size

    check_all(by_repr(itertools.product(kinds, (False, True))), check)


def _prepared(codec: Codec, kind: str, number: int, *, utf8: bool) -> bytes:
    ids = {"jti": f"a-random-jti-{number}", "sid": f"a-random-sid-{number}"}
    payload = claims_of(sub=f"user-{number}", **ids, **KINDS[kind](number))
    data = json.dumps(payload, ensure_ascii=not utf8).encode()
    # As bytes, so that the text of each token is allocated where the allocations are counted.
    return token_of(codec, data).encode()


def test_threads_leave_the_bookkeeping_right() -> None:
    codec = make_codec()
    entries = [verified(codec, number) for number in range(40)]
    single = TokenCache(30_000)
    for entry in entries:
        single.put(*_keyed(entry, codec))
    room = len(single)
    cache = TokenCache(30_000)
    wrong: list[str] = []
    start = threading.Barrier(4)

    def hammer(offset: int) -> None:
        start.wait()
        for token, statement in itertools.islice(itertools.cycle(entries), offset, offset + 4_000):
            found = cache.get(token, codec.keys)
            if found is not None and found is not statement:
                wrong.append(token)
            cache.put(token, codec.keys, statement)
            if offset == 0 and len(cache) > room + 1:
                wrong.append("too many")

    threads = [threading.Thread(target=hammer, args=(offset,)) for offset in range(0, 40, 10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    # A wrong weight would show as more or fewer entries than there is room for.
    for entry in entries:
        cache.put(*_keyed(entry, codec))
    assert len(cache) == room
    assert make_codec(SECRET_KEY=SECRET).decode(entries[0][0], NOW) == entries[0][1]
