"""Which callbacks are taken, what each is given, and when one is awaited."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from flask_authx import AuthX, BadConfigurationError
from tests.support import SECRET, Clock, access_token, bearer, make_app
from tests.support.answers import FAULT, OK, REVOKED, Spy, outcome


def register(authx: AuthX, which: str) -> Callable[[Any], Any]:
    registrars: dict[str, Callable[[Any], Any]] = {
        "revocation": authx.set_callback_token_blocklist,
        "user": authx.set_callback_get_model_instance,
    }
    return registrars[which]


def name_of(callback: object) -> str:
    """What a test is called: the same in every process, unlike an address."""
    return str(getattr(callback, "__name__", type(callback).__name__))


def plain(token: str) -> bool:
    return False


def with_default(token: str, extra: int = 1) -> bool:
    return extra != 1


def with_claims(token: str, claims: dict[str, Any]) -> bool:
    return bool(claims["sub"] == "gone")


def keyword_claims(token: str, *, claims: dict[str, Any]) -> bool:
    return bool(claims["sub"] == "gone")


def keywords(token: str, **context: Any) -> bool:
    return bool(context["claims"]["sub"] == "gone")


def anything(*args: Any, **kwargs: Any) -> bool:
    return len(args) != 1 or list(kwargs) != ["claims"]


def named_claims(claims: str) -> bool:
    # The token itself comes here, since it is the one positional argument.
    return claims.count(".") != 2


class Store:
    def ask(self, token: str) -> bool:
        return False

    def __call__(self, token: str, claims: dict[str, Any]) -> bool:
        return bool(claims["sub"] == "gone")


def two(token: str, other: str) -> bool:
    return True


def none() -> bool:
    return True


def keyword_only(*, token: str) -> bool:
    return True


def needs_more(token: str, *, request: object) -> bool:
    return True


TAKEN: list[Callable[..., Any]] = [
    plain,
    with_default,
    with_claims,
    keyword_claims,
    keywords,
    anything,
    named_claims,
    Store().ask,
    Store(),
    functools.partial(with_default, extra=1),
    {"x": True}.__contains__,
]
SEES_CLAIMS: set[Callable[..., Any]] = {with_claims, keyword_claims, keywords}


@pytest.mark.parametrize("callback", TAKEN, ids=name_of)
def test_a_callback_gets_what_its_signature_takes(callback: Callable[..., Any]) -> None:
    app, authx = make_app()
    assert authx.set_callback_token_blocklist(callback) is callback
    client = app.test_client()
    valid, gone = (bearer(access_token(app, authx, uid)) for uid in ("ann", "gone"))
    assert outcome(client.get("/guarded", headers=valid)) == OK
    revoked = callback in SEES_CLAIMS or isinstance(callback, Store)
    assert outcome(client.get("/guarded", headers=gone)) == (REVOKED if revoked else OK)


@pytest.mark.parametrize("which", ["revocation", "user"])
@pytest.mark.parametrize("callback", [two, none, keyword_only, needs_more, Store, 42, None])
def test_a_callback_that_can_not_be_called_so_is_refused_at_once(which: str, callback: Any) -> None:
    _, authx = make_app()
    with pytest.raises(BadConfigurationError, match=which):
        register(authx, which)(callback)


@pytest.mark.parametrize("callback", [two, none, keyword_only, 42, None])
def test_a_claims_callback_that_can_not_be_called_so_is_refused_at_once(callback: Any) -> None:
    _, authx = make_app()
    with pytest.raises(BadConfigurationError, match="claims"):
        authx.set_callback_additional_claims(callback)


def test_a_refused_callback_leaves_the_one_before_it() -> None:
    app, authx = make_app()
    authx.token_blocklist(with_claims)
    with pytest.raises(BadConfigurationError):
        authx.token_blocklist(none)
    gone = access_token(app, authx, "gone")
    assert outcome(app.test_client().get("/guarded", headers=bearer(gone))) == REVOKED


def test_the_aliases_register_the_same() -> None:
    app, authx = make_app()
    seen: list[str] = []

    @authx.token_blocklist
    def revoked(token: str) -> bool:
        seen.append(token)
        return False

    @authx.set_subject_getter
    def load(uid: str) -> str:
        return f"user {uid}"

    @app.get("/me")
    @authx.token_required
    def me() -> str:
        return str(authx.get_current_subject())

    token = access_token(app, authx)
    response = app.test_client().get("/me", headers=bearer(token))
    assert response.get_data(as_text=True) == "user ann"
    assert seen == [token]
    authx.set_token_blocklist(Spy(True))
    assert outcome(app.test_client().get("/me", headers=bearer(token))) == REVOKED


@pytest.mark.parametrize("early", [True, False], ids=["before init_app", "after init_app"])
def test_a_callback_may_come_before_or_after_init_app(early: bool) -> None:
    """USERS 92."""
    app = Flask("tests")
    app.config["JWT_SECRET_KEY"] = SECRET
    authx = AuthX(clock=Clock())

    @app.get("/guarded")
    @authx.token_required
    def guarded() -> str:
        return "in"

    if early:
        authx.set_callback_token_blocklist(with_claims)
    authx.init_app(app)
    if not early:
        authx.set_callback_token_blocklist(with_claims)
    gone = access_token(app, authx, "gone")
    assert outcome(app.test_client().get("/guarded", headers=bearer(gone))) == REVOKED


# Async


async def revoked_later(token: str, claims: dict[str, Any]) -> bool:
    return bool(claims["sub"] == "gone")


async def revoked_later_with(setting: str, token: str, claims: dict[str, Any]) -> bool:
    return setting == "gone" and claims["sub"] == setting


class AsyncStore:
    async def ask(self, token: str, claims: dict[str, Any]) -> bool:
        return bool(claims["sub"] == "gone")

    async def __call__(self, token: str, claims: dict[str, Any]) -> bool:
        return bool(claims["sub"] == "gone")


ASYNC: list[Callable[..., Any]] = [
    revoked_later,
    functools.partial(revoked_later_with, "gone"),
    AsyncStore(),
    AsyncStore().ask,
]


@pytest.mark.parametrize("callback", ASYNC, ids=name_of)
def test_an_async_callback_is_awaited_and_its_coroutine_is_no_result(
    callback: Callable[..., Any],
) -> None:
    """USERS 93: a coroutine is truthy, so one that is not awaited would refuse everybody."""
    app, authx = make_app()
    authx.set_callback_token_blocklist(callback)

    @app.get("/later")
    @authx.token_required
    async def later() -> str:
        return "in"

    client = app.test_client()
    valid, gone = (access_token(app, authx, uid) for uid in ("ann", "gone"))
    for path in ("/guarded", "/later"):
        assert outcome(client.get(path, headers=bearer(valid))) == OK
        assert outcome(client.get(path, headers=bearer(gone))) == REVOKED


@pytest.mark.parametrize("callback", ASYNC, ids=name_of)
def test_an_async_claims_callback_is_refused(callback: Callable[..., Any]) -> None:
    _, authx = make_app()
    with pytest.raises(BadConfigurationError, match="can't be async"):
        authx.set_callback_additional_claims(callback)


def test_a_sync_callback_that_returns_an_awaitable_is_asked_properly_or_refused() -> None:
    """USERS 93: whatever happens, no request is let in by a truthy or falsy coroutine."""
    app, authx = make_app()

    @authx.token_blocklist
    def revoked(token: str, claims: dict[str, Any]) -> Any:
        return revoked_later(token, claims)

    client = app.test_client()
    valid, gone = (access_token(app, authx, uid) for uid in ("ann", "gone"))
    assert outcome(client.get("/guarded", headers=bearer(valid))) in (OK, FAULT)
    assert outcome(client.get("/guarded", headers=bearer(gone))) in (REVOKED, FAULT)


def test_claims_given_to_a_callback_are_the_tokens_own() -> None:
    app, authx = make_app()
    seen: list[dict[str, Any]] = []

    @authx.token_blocklist
    def revoked(token: str, claims: dict[str, Any]) -> bool:
        seen.append(claims)
        return False

    raw = access_token(app, authx, data={"org": "acme"})
    app.test_client().get("/guarded", headers=bearer(raw))
    with app.app_context():
        assert seen == [authx.decode_token(raw).claims]
    assert seen[0]["org"] == "acme"
