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
    assert (entry.kind, entry.ahead) == (Kind.TOKEN, None)
    assert entry.lifetime == seconds - 600 + leeway + MARGIN
    [stored] = store.entries.values()
    assert stored.expires == int(NOW) + seconds + leeway + MARGIN


def test_a_token_that_has_expired_on_this_machine_may_be_valid_on_another() -> None:
    """Up to the largest difference between two clocks; then the text is revoked no more."""
    clock, store = Clock(), SpyStore()
    app, authx = store_app(store, clock)
    token, said = new_token(app, authx)
    with app.app_context():
        clock.now = said.exp + 10 + MARGIN - 1
        authx.revoke_token(token)
        [stored] = store.entries.values()
        assert stored.expires == int(clock.now) + 10 + MARGIN
        store.entries.clear()
        clock.advance(1)
        authx.revoke_token(token)
    assert store.entries == {}


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
        assert [one.removed for one in store.prune()] == [int(pruned > MARGIN)]
        clock.advance(-MARGIN)
        assert outcome(ask(app, headers=bearer(token))) == expected

    check_all(by_repr(cases), check)


@pytest.mark.parametrize(
    ("config", "life", "leeway", "skew"),
    [
        ({}, 30 * 86400, 10, 10),
        ({"DECODE_LEEWAY": 7}, 30 * 86400, 7, 7),
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
    assert session.lifetime == subject.lifetime == life + leeway + MARGIN
    assert (session.ahead, subject.ahead) == (None, skew * 10**6)
    assert subject.keep == session.key


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
    # And the scope is a fourth.
    assert len({*store.asked[-1]}) == 4
    with app.app_context():
        authx.revoke_token(token)
    assert len(store.entries) == 1
    elsewhere = reforge(token, jti="other")
    assert not works(app, token)
    assert works(app, elsewhere)


def keys_of(iss: str, scope: str, jti: str, sid: str, sub: str) -> tuple[bytes, ...]:
    """What the store is asked for about a token of these claims."""
    store = SpyStore()
    app, _ = store_app(store, DECODE_ISSUER=iss, STORE_SCOPE=scope)
    token = reforge(access_token(*make_app()), iss=iss, jti=jti, sid=sid, sub=sub)
    assert works(app, token)
    return store.asked[-1]


def test_no_two_issuers_scopes_and_ids_have_the_same_key() -> None:
    """SECURITY A.12 205: whatever a separator could be."""
    separators = [":", ".", "-", "~", "_"]
    pairs = [("a", "b{}c"), ("a{}b", "c"), ("a{}", "bc"), ("a", "{}bc"), ("ab", "{}c"), ("ab", "c")]
    seen: set[bytes] = set()
    wanted: set[tuple[str, str, str]] = set()
    scopes: set[tuple[str, str]] = set()
    for separator in separators:
        for first, second in pairs:
            one, other = first.format(separator), second.format(separator)
            for claims in ((one, "x", other), (one, other, "x"), ("x", one, other)):
                wanted.add(claims)
                scopes.add(claims[:2])
                iss, scope, value = claims
                seen.update(keys_of(iss, scope, value, value, value))
    assert len(seen) == 3 * len(wanted) + len(scopes)


def key(*parts: str) -> bytes:
    """The key as DESIGN describes it."""
    packed = b"".join(len(part).to_bytes(4, "big") + part.encode() for part in parts)
    return hashlib.sha256(packed).digest()[:16]


def test_the_keys_are_the_same_in_all_processes_and_versions() -> None:
    """What an earlier release has revoked must stay so: a change of the keys revives it."""
    found = keys_of("https://id.example", "shop", "j", "s", "ann")
    kinds = (("token", "j"), ("session", "s"), ("subject", "ann"), ("scope", ""))
    assert found == tuple(
        key("2", kind, "shop", "https://id.example", value) for kind, value in kinds
    )
    assert found[0].hex() == "4be391b6aa3e0644d49f68bb4c8556c0"


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
def test_what_is_revoked_stays_so_when_the_issuer_is_not_set_any_more(verb: str) -> None:
    """An app without an issuer accepts any: it asks in its own scope and in that of the token."""
    store = SpyStore()
    before = store_app(store, ENCODE_ISSUER="us")
    revoked, other = access_token(*before, "ann"), access_token(*before, "bob")
    revoke(*before, verb, revoked)
    app, authx = store_app(store)
    assert not works(app, revoked)
    store.asked.clear()
    assert works(app, other)
    assert [len(keys) for keys in store.asked] == [8]
    revoke(app, authx, verb, other)
    assert not works(app, other)


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
        assert [len(keys) for keys in store.asked] == [4]
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
            ask(app, path="/optional", **kwargs)
            assert ask(app, **kwargs).status_code in {400, 401}, kind
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
