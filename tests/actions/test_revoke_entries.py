"""What is written into a store and how often it is asked: SECURITY A.12, DESIGN "Revocation"."""

from __future__ import annotations

import hashlib
import itertools
from typing import Any

import pytest
from flask import Flask

from flask_authx import AuthX, Kind, current_token
from flask_authx.sessions.revocations import MARGIN
from tests.support import (
    NOW,
    Clock,
    access_token,
    bearer,
    make_app,
    reforge,
    refresh_token,
)
from tests.support.answers import MISSING, OK, REVOKED, Outcome, ask, outcome
from tests.support.corpus import by_repr, check_all
from tests.support.invalid_tokens import in_all_places, invalid_tokens
from tests.support.spy_store import SpyStore, decoded, login, new_token, spied, store_app, works

EXPIRED = Outcome(401, "TokenExpiredError")

# What is written


@pytest.mark.parametrize(
    ("config", "seconds", "leeway"),
    [({}, 900, 10), ({"ACCESS_TOKEN_EXPIRES": "2h", "DECODE_LEEWAY": 60}, 7200, 60)],
)
def test_a_tokens_entry_lives_for_what_is_left_of_it(
    config: dict[str, Any], seconds: int, leeway: int
) -> None:
    """SECURITY A.5 100, USERS 43: not for the configured lifetime."""
    clock, store = Clock(NOW + 0.5), SpyStore()
    app, authx = store_app(store, clock, **config)
    token = access_token(app, authx)
    clock.advance(600)
    with app.app_context():
        authx.revoke_token(token)
    [entry] = store.added
    assert entry.kind is Kind.TOKEN
    assert entry.expires == int(NOW) + seconds + leeway + MARGIN


def test_a_clock_that_is_set_back_after_a_prune_by_the_margin_revives_no_token() -> None:
    """SECURITY A.5 102"""
    # How long after a token's expiry and leeway there is a prune, and the response with the clock
    # set back by the margin then.
    cases = ((MARGIN - 1, REVOKED), (MARGIN, EXPIRED), (MARGIN + 1, EXPIRED))

    def check(case: tuple[int, Outcome]) -> None:
        pruned, expected = case
        clock, store = Clock(), SpyStore()
        app, authx = store_app(store, clock)
        token, said = new_token(app, authx)
        with app.app_context():
            authx.revoke_token(token)
        clock.now = said.exp + 10 + pruned
        assert [one.removed for one in store.prune(int(clock.now))] == [int(pruned > MARGIN)]
        clock.advance(-MARGIN)
        assert outcome(ask(app, headers=bearer(token))) == expected

    check_all(by_repr(cases), check)


@pytest.mark.parametrize(
    ("config", "life", "leeway", "skew"),
    [
        ({}, 30 * 86400, 10, 1),
        (
            {"MAX_TOKEN_LIFETIME": "60d", "DECODE_LEEWAY": 0, "CLOCK_SKEW": 5},
            60 * 86400,
            0,
            5,
        ),
    ],
)
def test_the_entries_of_sessions_and_users_outlive_every_token(
    config: dict[str, Any], life: int, leeway: int, skew: int
) -> None:
    store = SpyStore()
    app, authx = store_app(store, Clock(NOW + 0.5), **config)
    with app.app_context():
        authx.revoke_session("s")
        authx.revoke_subject("ann", keep="s")
    session, subject = store.added
    assert (session.kind, subject.kind) == (Kind.SESSION, Kind.SUBJECT)
    assert session.expires == subject.expires == int(NOW) + skew + life + leeway + MARGIN
    assert subject.cutoff.until == int(NOW) + skew
    assert subject.cutoff.keep == session.key


def test_nothing_that_is_kept_says_whose_it_is_or_could_be_used() -> None:
    """SECURITY A.12 227: an attacker reads the store."""
    app, authx, store = spied()
    token, refresh, sid = login(app, authx, "ann@example.org")
    said = decoded(app, authx, token)
    with app.app_context():
        authx.revoke_token(token)
        authx.revoke_session(sid)
        authx.revoke_subject("ann@example.org", keep=sid)
    works(app, token)
    for key in (*store.entries, *itertools.chain(*store.asked)):
        assert type(key) is bytes
        assert len(key) == 16
    kept = repr([store.entries, store.asked, store.added])
    readable = b"".join(store.entries).decode("latin-1") + kept
    for secret in (token, refresh, said.jti, sid, "ann", *token.split(".")):
        assert secret not in readable


def test_keys_differ_by_kind() -> None:
    """One text as jti, sid and sub is three things."""
    store, ids = SpyStore(), itertools.repeat("same")
    app, authx = store_app(store, ids=lambda: next(ids))
    token = access_token(app, authx, "same")
    works(app, token)
    assert len({*store.asked[-1]}) == 3
    with app.app_context():
        authx.revoke_token(token)
    assert len(store.entries) == 1
    elsewhere = reforge(token, jti="other")
    assert not works(app, token)
    assert works(app, elsewhere)


def keys_of(iss: str, jti: str, sid: str, sub: str) -> tuple[bytes, ...]:
    """What the store is asked for about a token of these claims."""
    store = SpyStore()
    app, _ = store_app(store, DECODE_ISSUER=iss)
    token = reforge(access_token(*make_app()), iss=iss, jti=jti, sid=sid, sub=sub)
    assert works(app, token)
    return store.asked[-1]


def test_no_two_issuers_and_ids_have_the_same_key() -> None:
    """SECURITY A.12 205: whatever a separator could be."""
    separators = [":", ".", "-", "~", "_"]
    pairs = [("a", "b{}c"), ("a{}b", "c"), ("a{}", "bc"), ("a", "{}bc"), ("ab", "{}c"), ("ab", "c")]
    seen: set[bytes] = set()
    wanted: set[tuple[str, str]] = set()
    for separator in separators:
        for iss, value in pairs:
            one = iss.format(separator), value.format(separator)
            wanted.add(one)
            seen.update(keys_of(one[0], one[1], one[1], one[1]))
    assert len(seen) == 3 * len(wanted)


def key(*parts: str) -> bytes:
    """The key as DESIGN describes it."""
    packed = b"".join(len(part).to_bytes(4, "big") + part.encode() for part in parts)
    return hashlib.blake2b(packed, digest_size=16).digest()


def test_the_keys_are_the_same_in_all_processes_and_versions() -> None:
    """What an earlier release has revoked must stay so: a change of the keys revives it."""
    found = keys_of("https://id.example", "j", "s", "ann")
    assert set(found) == {
        key("1", kind, "issuer", "https://id.example", value)
        for kind, value in (("token", "j"), ("session", "s"), ("subject", "ann"))
    }
    assert found[0].hex() == "bf94783b15362dcdb6edff9a590be7b5"


def test_a_token_of_another_issuer_with_the_same_ids_is_untouched() -> None:
    """SECURITY A.12 204"""
    store = SpyStore()
    ids = itertools.repeat("1")
    apps = [
        store_app(store, ids=lambda: next(ids), ENCODE_ISSUER=issuer) for issuer in ("us", "them")
    ]
    tokens = [access_token(*one) for one in apps]
    for verb in ("token", "session", "subject"):
        store.entries.clear()
        revoke(*apps[0], verb, tokens[0])
        assert not works(apps[0][0], tokens[0])
        assert works(apps[1][0], tokens[1])


def revoke(app: Flask, authx: AuthX, verb: str, token: str) -> None:
    with app.app_context():
        said = authx.decode_token(token)
        if verb == "token":
            authx.revoke_token(token)
        elif verb == "session":
            authx.revoke_session(said.sid)
        else:
            authx.revoke_subject(said.sub)


@pytest.mark.parametrize("verb", ["token", "session", "subject"])
def test_an_object_of_another_name_is_untouched(verb: str) -> None:
    store, ids = SpyStore(), itertools.repeat("1")
    apps = [store_app(store, ids=lambda: next(ids), name=name) for name in ("authx", "admin")]
    tokens = [access_token(*one) for one in apps]
    revoke(*apps[0], verb, tokens[0])
    assert not works(apps[0][0], tokens[0])
    assert works(apps[1][0], tokens[1])


def test_one_id_for_an_access_and_a_refresh_token_is_one_entry_for_both() -> None:
    """SECURITY A.12 206"""
    store, ids = SpyStore(), itertools.repeat("1")
    app, authx = store_app(store, ids=lambda: next(ids))
    access, refresh = access_token(app, authx), refresh_token(app, authx)
    with app.app_context():
        authx.revoke_token(access)
    assert not works(app, access)
    assert not works(app, refresh, "/refresh")


# How often it is asked


def test_a_request_is_one_round_trip_however_many_guards_there_are() -> None:
    """Rule 4, USERS 45"""
    app, authx, store = spied()
    authx.protect(app)

    @app.get("/nested")
    @authx.optional_token(on_invalid="ignore")
    @authx.token_required
    @authx.token_required(fresh=False)
    @authx.access_token_required
    def nested() -> str:
        authx.get_token_from_request()
        authx.decode_token(authx.get_token_from_request(optional=False))
        return current_token.sub

    @app.get("/hooked")
    def hooked() -> str:
        return current_token.sub

    token, _ = new_token(app, authx)
    store.calls.clear()
    for path in ("/nested", "/hooked", "/guarded", "/optional"):
        store.asked.clear()
        assert outcome(ask(app, path=path, headers=bearer(token))) == OK
        assert [len(keys) for keys in store.asked] == [3]
    with app.app_context():
        authx.revoke_token(token)
    for path in ("/nested", "/hooked", "/guarded", "/optional"):
        store.asked.clear()
        assert outcome(ask(app, path=path, headers=bearer(token))) == REVOKED
        assert len(store.asked) == 1
    store.asked.clear()
    assert outcome(ask(app, path="/nested")) == MISSING
    assert store.asked == []


def test_an_invalid_token_is_not_looked_up() -> None:
    """SECURITY A.12 201, 202, USERS 34"""
    app, authx, store = spied()
    tokens = invalid_tokens(access_token(app, authx), refresh_token(app, authx))
    store.calls.clear()
    for kind, invalid in tokens.items():
        for kwargs in in_all_places(invalid):
            for path in ("/guarded", "/optional"):
                assert ask(app, path=path, **kwargs).status_code in {400, 401}, kind
    assert store.calls == []


def test_finding_and_decoding_look_nothing_up() -> None:
    """Rule 1"""
    app, authx, store = spied()
    token = access_token(app, authx)
    store.calls.clear()
    with app.test_request_context(headers=bearer(token)):
        found = authx.get_token_from_request(optional=False)
        assert authx.decode_token(found).sub == "ann"
        assert authx.decode_token(token).sub == "ann"
    assert store.calls == []


def test_verify_token_and_is_revoked_ask_each_time() -> None:
    app, authx, store = spied()
    token, said = new_token(app, authx)
    store.calls.clear()
    with app.app_context():
        for _ in range(2):
            authx.verify_token(token)
            assert authx.is_revoked(token) is False
            assert authx.is_revoked(said) is False
    assert store.calls == ["find"] * 6
