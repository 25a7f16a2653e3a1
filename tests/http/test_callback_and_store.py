"""A revocation callback beside a store: either one revokes, the store is asked first, each once."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest
from flask import Flask

from flask_authx import AuthX, StoreUnavailableError, current_token, token_unchecked
from tests.support import access_token, bearer, refresh_token
from tests.support.answers import FAULT, OK, REVOKED, AsyncSpy, Outcome, Spy, ask, outcome
from tests.support.corpus import by_repr, check_all
from tests.support.spy_store import SpyStore, bring_down, decoded, login, store_app

PATHS = ["/guarded", "/async", "/nested", "/hooked", "/hooked-async", "/verified"]
DOWN = ConnectionError("down")


def both(make: type[Spy] = Spy, **config: Any) -> tuple[Flask, AuthX, SpyStore, Spy]:
    """An app with a store and a callback, and views of all kinds."""
    store = SpyStore()
    app, authx = store_app(store, **config)
    authx.protect(app)
    spy = authx.token_blocklist(make())

    @authx.token_required
    async def guarded_async() -> str:
        await asyncio.sleep(0)
        return current_token.sub

    @authx.optional_token(on_invalid="ignore")
    @authx.token_required
    @authx.access_token_required
    async def nested() -> str:
        await asyncio.sleep(0)
        return current_token.sub

    async def hooked_async() -> str:
        await asyncio.sleep(0)
        return current_token.sub

    @authx.public
    def verified() -> str:
        return authx.verify_token(authx.get_token_from_request(optional=False)).sub

    app.add_url_rule("/async", "async", guarded_async)
    app.add_url_rule("/nested", "nested", nested)
    app.add_url_rule("/hooked", "hooked", lambda: current_token.sub)
    app.add_url_rule("/hooked-async", "hooked-async", hooked_async)
    app.add_url_rule("/verified", "verified", verified)
    return app, authx, store, spy


#: Whether the store knows the token, what the callback says, what becomes of the request, and how
#: often the callback is asked.
TABLE: list[tuple[bool, Any, Outcome, int]] = [
    (False, False, OK, 1),
    (False, True, REVOKED, 1),
    (True, False, REVOKED, 0),
    (True, True, REVOKED, 0),
    (False, DOWN, FAULT, 1),
    (False, None, FAULT, 1),
    (True, DOWN, REVOKED, 0),
]


@pytest.mark.parametrize("make", [Spy, AsyncSpy])
def test_either_revokes_and_each_is_asked_once(make: type[Spy]) -> None:
    """Rule 4: an async callback makes the walk start again, and the store is asked by then."""

    def check(case: tuple[str, tuple[bool, Any, Outcome, int]]) -> None:
        path, (in_store, answer, expected, asked) = case
        # Anew each time: the store and the spy keep what they were told.
        app, authx, store, spy = both(make)
        token = access_token(app, authx)
        if in_store:
            with app.app_context():
                authx.revoke_token(token)
        spy.answer = answer
        store.calls.clear()
        assert outcome(ask(app, path=path, headers=bearer(token))) == expected
        assert store.calls == ["find"]
        assert spy.asked == [token] * asked

    check_all(by_repr(itertools.product(PATHS, TABLE)), check)


@pytest.mark.parametrize("make", [Spy, AsyncSpy])
def test_a_store_that_fails_is_a_503_and_the_callback_is_not_asked(make: type[Spy]) -> None:
    def check(path: str) -> None:
        app, authx, store, spy = both(make)
        token = access_token(app, authx)
        store.calls.clear()
        store.error = DOWN
        response = ask(app, path=path, headers=bearer(token))
        assert outcome(response) == FAULT
        assert response.headers["Retry-After"] == "1"
        assert store.calls == ["find"]
        assert spy.asked == []

    check_all(by_repr(PATHS), check)


#: What the callback says, what becomes of the request, and how many signals are sent.
ACCEPTED: list[tuple[Any, Outcome, int]] = [(False, OK, 1), (True, REVOKED, 0), (DOWN, FAULT, 0)]


@pytest.mark.parametrize("make", [Spy, AsyncSpy])
def test_in_accept_mode_the_callback_still_decides(make: type[Spy]) -> None:
    """``JWT_BLOCKLIST_ON_ERROR`` is about the store: a callback that fails is always a 503."""

    def check(case: tuple[str, tuple[Any, Outcome, int]]) -> None:
        path, (answer, expected, announced) = case
        app, authx, store, spy = both(make, BLOCKLIST_ON_ERROR="accept")
        token = access_token(app, authx)
        heard: list[dict[str, Any]] = []

        def receiver(sender: object, **said: Any) -> None:
            heard.append(said)

        token_unchecked.connect(receiver, app)
        store.error = DOWN
        bring_down(app, authx, token)
        assert spy.asked == []
        store.calls.clear()
        spy.answer = answer
        assert outcome(ask(app, path=path, headers=bearer(token))) == expected
        assert (store.calls, spy.asked) == (["find"], [token])
        assert len(heard) == announced

    check_all(by_repr(itertools.product(PATHS, ACCEPTED)), check)


@pytest.mark.parametrize("make", [Spy, AsyncSpy])
def test_two_guards_for_two_tokens_ask_about_each(make: type[Spy]) -> None:
    app, authx, store, spy = both(make, TOKEN_LOCATION=["headers", "query"])

    @app.get("/two")
    @authx.access_token_required(locations="headers")
    @authx.refresh_token_required(locations="query")
    @authx.access_token_required(locations="headers")
    async def two() -> str:
        return current_token.type

    access, refresh = access_token(app, authx), refresh_token(app, authx)
    store.calls.clear()
    query = {"token": refresh}
    assert ask(app, path="/two", headers=bearer(access), query_string=query).text == "access"
    assert (store.calls, spy.asked) == (["find"] * 2, [access, refresh])
    with app.app_context():
        authx.revoke_token(refresh)
    response = ask(app, path="/two", headers=bearer(access), query_string=query)
    assert outcome(response) == REVOKED


def test_sessions_ask_the_store_alone() -> None:
    app, authx, store, spy = both()
    login(app, authx)
    assert store.calls == ["find_dated"]
    assert spy.asked == []


# is_revoked


@pytest.mark.parametrize("make", [Spy, AsyncSpy])
def test_is_revoked_asks_both_anew(make: type[Spy]) -> None:
    for in_store, answer, expected, asked in TABLE:
        app, authx, store, spy = both(make)
        token = access_token(app, authx)
        with app.app_context():
            if in_store:
                authx.revoke_token(token)
            spy.answer = answer
            store.calls.clear()
            if expected == FAULT:
                with pytest.raises(StoreUnavailableError):
                    authx.is_revoked(token)
            else:
                assert authx.is_revoked(token) is (expected == REVOKED)
        assert store.calls == ["find"]
        assert spy.asked == [token] * asked


@pytest.mark.parametrize("make", [Spy, AsyncSpy])
def test_is_revoked_in_an_async_view_of_the_current_token(make: type[Spy]) -> None:
    app, authx, _, spy = both(make)

    @app.get("/mine")
    @authx.token_required
    async def mine() -> dict[str, bool]:
        spy.answer = True
        return {"revoked": authx.is_revoked(current_token)}

    token = access_token(app, authx)
    assert ask(app, path="/mine", headers=bearer(token)).json == {"revoked": True}
    assert spy.asked == [token] * 2


def test_is_revoked_needs_the_text_for_a_callback_and_not_for_the_store() -> None:
    app, authx, _, spy = both()
    token = access_token(app, authx)
    said = decoded(app, authx, token)
    with app.app_context():
        with pytest.raises(ValueError, match="text"):
            authx.is_revoked(said)
        authx.revoke_token(said)
        assert authx.is_revoked(said)
    other = access_token(app, authx)
    with app.test_request_context(headers=bearer(other)), pytest.raises(ValueError, match="text"):
        authx.is_revoked(decoded(app, authx, other))
    assert spy.asked == []


def test_is_revoked_says_so_when_the_store_fails_whatever_the_settings() -> None:
    configs: list[dict[str, Any]] = [{}, {"BLOCKLIST_ON_ERROR": "accept"}]
    for config in configs:
        app, authx, store, spy = both(**config)
        token = access_token(app, authx)
        store.error = DOWN
        with app.app_context(), pytest.raises(StoreUnavailableError):
            authx.is_revoked(token)
        assert spy.asked == []
