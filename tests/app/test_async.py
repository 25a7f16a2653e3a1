"""Async views and async callbacks, in every mix: USERS 93, SECURITY A.12 209, A.15 282."""

from __future__ import annotations

import asyncio
import functools
import inspect
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from flask import Flask, request
from flask.views import MethodView

from flask_authx import AuthX, current_token, current_user
from tests.support import SECRET, Clock, access_token, bearer, make_app
from tests.support.answers import (
    FAULT,
    INVALID,
    MISSING,
    OK,
    REVOKED,
    AsyncSpy,
    Outcome,
    Spy,
    ask,
    outcome,
)
from tests.support.corpus import by_repr, check_all

BOTH = ["/guarded", "/async"]


def async_app() -> tuple[Flask, AuthX, dict[str, str]]:
    """An app with a sync view and an async one; the headers of a valid token."""
    app, authx = make_app()

    @app.get("/async")
    @authx.token_required
    async def guarded_async() -> dict[str, str]:
        await asyncio.sleep(0)
        return {"sub": current_token.sub}

    return app, authx, bearer(access_token(app, authx))


def test_an_async_view_is_guarded() -> None:
    app, _, headers = async_app()
    assert outcome(ask(app, path="/async")) == MISSING
    assert outcome(ask(app, path="/async", headers=bearer("x.y.z"))) == INVALID
    assert ask(app, path="/async", headers=headers).json == {"sub": "ann"}


def test_all_guards_keep_async_views_async() -> None:
    app, authx, headers = async_app()
    # Each of these keeps the view's type; together they have none that a checker could name.
    decorators: list[Any] = [
        authx.token_required,
        authx.token_required(),
        authx.optional_token,
        authx.optional_token(),
        authx.access_token_required,
        authx.access_token_required(),
        authx.public,
    ]
    for number, decorate in enumerate(decorators):

        async def view() -> dict[str, str]:
            await asyncio.sleep(0)
            return {}

        guarded = decorate(view)
        assert inspect.iscoroutinefunction(guarded)
        app.add_url_rule(f"/{number}", str(number), guarded)
    for number in range(len(decorators)):
        assert outcome(ask(app, path=f"/{number}", headers=headers)) == OK


#: What a callback gives or raises, and what becomes of the request.
RESULTS: list[tuple[Any, Outcome]] = [
    (False, OK),
    (True, REVOKED),
    (None, FAULT),
    (0, FAULT),
    (1, FAULT),
    (ConnectionError("down"), FAULT),
]


@pytest.mark.parametrize("make", [Spy, AsyncSpy])
def test_any_callback_works_with_any_view(make: type[Spy]) -> None:
    def check(case: tuple[str, tuple[Any, Outcome]]) -> None:
        path, (result, expected) = case
        app, authx, headers = async_app()
        spy = authx.token_blocklist(make(result))
        assert outcome(ask(app, path=path, headers=headers)) == expected
        assert spy.asked == [headers["Authorization"].removeprefix("Bearer ")]

    check_all(by_repr(itertools.product(BOTH, RESULTS)), check)


@pytest.mark.parametrize("path", [*BOTH, "/optional"])
def test_an_async_callback_is_asked_once_and_about_valid_tokens_only(path: str) -> None:
    app, authx, headers = async_app()
    authx.protect(app)
    spy = authx.token_blocklist(AsyncSpy())
    assert outcome(ask(app, path=path, headers=headers)) == OK
    assert len(spy.asked) == 1
    assert outcome(ask(app, path=path, headers=bearer("x.y.z"))) == INVALID
    assert len(spy.asked) == 1


async def revoked(token: str) -> bool:
    await asyncio.sleep(0)
    return True


class Checker:
    async def method(self, token: str) -> bool:
        return await revoked(token)

    @staticmethod
    async def static(token: str) -> bool:
        return await revoked(token)


FORMS: list[Callable[[str], Awaitable[bool]]] = [
    revoked,
    Checker().method,
    Checker.static,
    functools.partial(revoked),
    AsyncSpy(True),
]


@pytest.mark.parametrize("callback", FORMS, ids=["function", "method", "static", "partial", "call"])
@pytest.mark.parametrize("path", BOTH)
def test_every_form_of_async_callback_is_awaited(
    callback: Callable[[str], Awaitable[bool]], path: str
) -> None:
    app, authx, headers = async_app()
    authx.token_blocklist(callback)
    assert outcome(ask(app, path=path, headers=headers)) == REVOKED


async def at_once(answer: Any) -> Any:
    return answer


async def later(answer: Any) -> Any:
    await asyncio.sleep(0)
    return answer


async def failing(answer: Any) -> Any:
    raise ConnectionError(answer)


AWAITED: list[tuple[Any, Outcome]] = [(False, OK), (True, REVOKED), (None, FAULT), (1, FAULT)]


@pytest.mark.parametrize("function", [at_once, later, failing])
def test_a_coroutine_is_never_taken_for_a_result(function: Callable[[Any], Any]) -> None:
    """SECURITY A.12 209: it is truthy; what counts is what it gives when it is awaited."""

    def check(case: tuple[str, tuple[Any, Outcome]]) -> None:
        path, (result, expected) = case
        app, authx, headers = async_app()

        @authx.token_blocklist
        def is_revoked(token: str) -> Any:
            return function(result)

        response = ask(app, path=path, headers=headers)
        assert outcome(response) == (FAULT if function is failing else expected)

    check_all(by_repr(itertools.product(BOTH, AWAITED)), check)


@pytest.mark.parametrize("path", BOTH)
def test_an_async_callback_sees_the_request(path: str) -> None:
    app, authx, headers = async_app()
    seen: list[str] = []

    @authx.token_blocklist
    async def is_revoked(token: str, claims: dict[str, Any]) -> bool:
        await asyncio.sleep(0)
        seen.append(f"{request.path} {claims['sub']}")
        return False

    assert outcome(ask(app, path=path, headers=headers)) == OK
    assert seen == [f"{path} ann"]


def test_verify_token_waits_for_an_async_callback_in_an_async_view() -> None:
    app, authx, headers = async_app()
    spy = authx.token_blocklist(AsyncSpy())
    token = headers["Authorization"].removeprefix("Bearer ")

    @app.get("/verify")
    async def verify() -> str:
        return authx.verify_token(token).sub

    assert ask(app, path="/verify").text == "ann"
    spy.answer = True
    assert outcome(ask(app, path="/verify")) == REVOKED
    assert spy.asked == [token, token]


def test_verify_token_waits_outside_a_request() -> None:
    app, authx, headers = async_app()
    authx.token_blocklist(AsyncSpy())
    token = headers["Authorization"].removeprefix("Bearer ")
    with app.app_context():
        assert authx.verify_token(token).sub == "ann"

        async def inside() -> str:
            return authx.verify_token(token).sub

        assert asyncio.run(inside()) == "ann"


def test_the_hook_waits_for_an_async_callback() -> None:
    app, authx, headers = async_app()
    authx.protect(app)
    spy = authx.token_blocklist(AsyncSpy())

    @app.get("/hooked")
    async def hooked() -> dict[str, str]:
        return {"sub": current_token.sub}

    @app.get("/hooked-sync")
    def hooked_sync() -> dict[str, str]:
        return {"sub": current_token.sub}

    for path in ("/hooked", "/hooked-sync"):
        assert ask(app, path=path, headers=headers).json == {"sub": "ann"}
        assert outcome(ask(app, path=path)) == MISSING
    spy.answer = True
    assert outcome(ask(app, path="/hooked", headers=headers)) == REVOKED


def test_async_methods_of_a_view_class_are_guarded() -> None:
    app, authx, headers = async_app()
    authx.token_blocklist(AsyncSpy())

    class Item(MethodView):
        @authx.token_required
        async def get(self) -> str:
            await asyncio.sleep(0)
            return current_token.sub

        async def post(self) -> str:
            return "open"

    app.add_url_rule("/item", view_func=Item.as_view("item"))
    assert outcome(ask(app, path="/item")) == MISSING
    assert ask(app, path="/item", headers=headers).text == "ann"
    assert ask(app, "POST", "/item").text == "open"


def test_tasks_of_an_async_view_share_its_identity() -> None:
    """SECURITY A.15 282"""
    app, authx, headers = async_app()

    @app.get("/gather")
    @authx.token_required
    async def gather() -> list[str]:
        async def one() -> str:
            await asyncio.sleep(0)
            return current_token.sub

        return list(await asyncio.gather(one(), one(), asyncio.create_task(one())))

    assert ask(app, path="/gather", headers=headers).json == ["ann"] * 3


@pytest.mark.parametrize("path", ["/user", "/user-async"])
@pytest.mark.parametrize("make", [Spy, AsyncSpy])
def test_a_user_callback_of_either_kind_works_in_either_view(path: str, make: type[Spy]) -> None:
    app, authx, headers = async_app()
    spy = authx.set_subject_getter(make({"name": "Ann"}))

    @app.get("/user")
    @authx.token_required
    def user() -> dict[str, Any]:
        return {"name": current_user["name"], "same": authx.get_current_subject() is spy.answer}

    @app.get("/user-async")
    @authx.token_required
    async def user_async() -> dict[str, Any]:
        await asyncio.sleep(0)
        return {"name": current_user["name"], "same": authx.get_current_subject() is spy.answer}

    assert ask(app, path=path, headers=headers).json == {"name": "Ann", "same": True}
    assert spy.asked == ["ann"]
    spy.answer = None
    assert outcome(ask(app, path=path, headers=headers)) == INVALID


class WithoutAsync(Flask):
    """What Flask is where its extra ``async`` isn't installed."""

    def async_to_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        raise RuntimeError("install flask[async]")


def test_a_result_that_can_not_be_awaited_is_a_fault() -> None:
    """Rule 2: never a bare 500."""
    app = WithoutAsync(__name__)
    app.config["JWT_SECRET_KEY"] = SECRET
    authx = AuthX(app, clock=Clock())

    coroutines = [at_once(False)]

    @authx.token_blocklist
    def is_revoked(token: str) -> Any:
        return coroutines[0]

    app.add_url_rule("/guarded", "guarded", authx.token_required(lambda: "in"))
    answer = outcome(ask(app, headers=bearer(access_token(app, authx))))
    # Whatever became of it: its warning must not end up in another test.
    coroutines[0].close()
    assert answer == FAULT
