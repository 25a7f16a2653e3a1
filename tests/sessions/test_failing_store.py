"""Requests, log-ins and revocations while the store fails: rule 2, USERS 42, 49."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from flask_authx import (
    AuthX,
    Dated,
    StoreBusyError,
    StoreUnavailableError,
    TokenPair,
    current_token,
    token_accepted,
    token_refused,
    token_unchecked,
)
from tests.support import Clock, access_token, bearer, make_app, refresh_token
from tests.support.answers import FAULT, INVALID, MISSING, OK, REVOKED, ask, outcome
from tests.support.invalid_tokens import invalid_tokens
from tests.support.spy_store import (
    SpyStore,
    bring_down,
    decoded,
    login,
    new_token,
    said,
    spied,
    store_app,
    works,
)
from tests.support.waiting import until

DOWN = ConnectionError("down")


def lenient() -> tuple[Flask, AuthX, SpyStore]:
    store = SpyStore()
    app, authx = store_app(store, BLOCKLIST_ON_ERROR="accept")
    return app, authx, store


@pytest.mark.parametrize(
    "error", [DOWN, TimeoutError(), KeyError("x"), MemoryError(), ValueError()], ids=repr
)
def test_a_store_that_raises_is_a_503_that_says_when_to_retry(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """SECURITY A.12 210"""
    app, authx, store = spied()
    token, claims = new_token(app, authx)
    store.error = error
    for path in ("/guarded", "/optional"):
        response = ask(app, path=path, headers=bearer(token))
        assert outcome(response) == FAULT
        assert response.headers["Retry-After"] == "1"
        assert "WWW-Authenticate" not in response.headers
        assert response.headers["Cache-Control"] == "no-store"
    # A missing or an invalid token is refused as ever.
    assert outcome(ask(app)) == MISSING
    assert outcome(ask(app, headers=bearer("x.y.z"))) == INVALID
    [line] = said(caplog)
    assert type(error).__name__ in line
    assert token not in caplog.text
    assert claims.jti not in caplog.text


def test_a_refresh_token_gets_the_same_response() -> None:
    app, authx, store = spied()
    token = refresh_token(app, authx)
    store.error = DOWN
    assert outcome(ask(app, path="/refresh", headers=bearer(token))) == FAULT


@pytest.mark.parametrize(
    "answer",
    [
        *(None, 5, "no", [], [None], [None] * 3, [None] * 5, [True] * 4, [b"x"] * 4),
        *({"a": 1}, dict.fromkeys(range(4)), [None, None, None, 5]),
    ],
    ids=repr,
)
def test_a_store_that_returns_nonsense_is_a_503(answer: Any) -> None:
    """SECURITY A.12 208, for stores that an app brings."""

    class Nonsense(SpyStore):
        def find(self, keys: Any, /) -> Any:
            super().find(keys)
            return answer

    token = access_token(*make_app())
    app, _ = store_app(Nonsense())
    app.config["PROPAGATE_EXCEPTIONS"] = False
    assert outcome(ask(app, headers=bearer(token))) == FAULT


NO_CUTOFF: Any = True


@pytest.mark.parametrize(
    "answer", [None, 5, [None, None], Dated(5, []), Dated(5, [NO_CUTOFF, None])]
)
def test_a_store_that_dates_nonsense_opens_no_session(answer: Any) -> None:
    class Nonsense(SpyStore):
        def find_dated(self, keys: Any, /) -> Any:
            super().find_dated(keys)
            return answer

    app, authx = store_app(Nonsense())
    with app.app_context(), pytest.raises(StoreUnavailableError):
        authx.create_access_token("ann")


@pytest.mark.parametrize("answer", [None, True, 5, "no"])
def test_a_store_that_does_not_say_which_mark_counts_is_a_503(answer: Any) -> None:
    """It is taken neither for one that has lost nothing nor for one without marks."""

    class Nonsense(SpyStore):
        def add_if_absent(self, entry: Any, /) -> Any:
            super().add_if_absent(entry)
            self.marks.clear()
            return answer

    token, store = access_token(*make_app()), Nonsense()
    app, authx = store_app(store)
    store.marks.clear()
    assert outcome(ask(app, headers=bearer(token))) == FAULT
    with app.app_context(), pytest.raises(StoreUnavailableError):
        authx.create_access_token("ann")


def test_a_store_that_keeps_failing_is_not_called_for_a_while_and_then_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app, authx, store = spied()
    token = access_token(app, authx)
    store.calls.clear()
    store.error = DOWN
    began = time.monotonic()
    for _ in range(20):
        assert outcome(ask(app, headers=bearer(token))) == FAULT
    # On a slow machine they may have taken some seconds.
    assert len(store.calls) <= 5 + (time.monotonic() - began)
    assert len(said(caplog, logging.ERROR)) <= 2 + (time.monotonic() - began)
    store.error = None
    until(lambda: outcome(ask(app, headers=bearer(token))) != FAULT, what="a recovery")
    assert works(app, token)
    assert said(caplog)[-1] == "the store of revocations is available again"


def test_a_revocation_is_not_lost_when_only_the_pruning_after_it_fails() -> None:
    store = SpyStore(error=DOWN, failing=frozenset({"sweep"}))
    app, authx = store_app(store)
    with app.app_context():
        authx.revoke_session("s")
    assert store.calls == ["add", "sweep"]
    assert len(store.entries) == 1


def test_pruning_that_fails_after_a_revocation_fails_no_request() -> None:
    """An app's database user may have no right to delete."""
    store = SpyStore(error=DOWN, failing=frozenset({"sweep"}))
    app, authx = store_app(store)
    token = access_token(app, authx)
    with app.app_context():
        authx.revoke_session("s")
    assert works(app, token)


# Accept mode


def test_in_accept_mode_access_tokens_pass_and_each_is_logged_and_announced(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app, authx, store = lenient()
    token, claims = new_token(app, authx)
    heard: list[tuple[str, dict[str, Any]]] = []

    def unchecked(sender: object, **kwargs: Any) -> None:
        heard.append(("unchecked", kwargs))

    def accepted(sender: object, **kwargs: Any) -> None:
        heard.append(("accepted", kwargs))

    token_unchecked.connect(unchecked, app)
    token_accepted.connect(accepted, app)
    store.error = DOWN
    bring_down(app, authx, token)
    for _ in range(3):
        assert outcome(ask(app, headers=bearer(token))) == OK
    assert [name for name, _ in heard] == ["accepted", "unchecked"] * 3
    ids = {"jti": claims.jti, "sid": claims.sid, "sub": "ann", "type": "access"}
    assert heard[1][1] == {"name": "authx", **ids}
    lines = [line for line in said(caplog, logging.WARNING) if claims.jti in line]
    assert len(lines) == 3
    assert token not in caplog.text
    with app.app_context():
        assert authx.verify_token(token).sub == "ann"
    assert len(heard) == 8


def test_in_accept_mode_nested_guards_announce_once() -> None:
    app, authx, store = lenient()
    authx.protect(app)

    @app.get("/nested")
    @authx.optional_token(on_invalid="ignore")
    @authx.token_required
    @authx.access_token_required
    def nested() -> str:
        return current_token.sub

    token = access_token(app, authx)
    heard: list[object] = []

    def unchecked(sender: object, **kwargs: Any) -> None:
        heard.append(kwargs)

    token_unchecked.connect(unchecked, app)
    store.error = DOWN
    bring_down(app, authx, token)
    assert outcome(ask(app, path="/nested", headers=bearer(token))) == OK
    assert len(heard) == 1


def test_in_accept_mode_all_else_is_still_refused() -> None:
    app, authx, store = lenient()
    token, refresh = access_token(app, authx), refresh_token(app, authx)
    heard: list[object] = []

    def unchecked(sender: object, **kwargs: Any) -> None:
        heard.append(kwargs)

    token_unchecked.connect(unchecked, app)
    store.error = DOWN
    for kind, invalid in invalid_tokens(token, refresh).items():
        found = outcome(ask(app, headers=bearer(invalid)))
        assert found[0] in {400, 401}, f"{kind}: {found}, expected 400 or 401"
    assert outcome(ask(app)) == MISSING
    assert heard == []


def test_in_accept_mode_no_refresh_token_ever_passes() -> None:
    """SECURITY A.12 212"""
    app, authx, store = lenient()

    @app.get("/optional-refresh")
    @authx.optional_token(type="refresh", on_invalid="ignore")
    def optional_refresh() -> str:
        return str(bool(current_token))

    token = refresh_token(app, authx)
    store.error = DOWN
    for path in ("/refresh", "/optional-refresh"):
        assert outcome(ask(app, path=path, headers=bearer(token))) == FAULT
    with app.app_context(), pytest.raises(StoreUnavailableError):
        authx.verify_token(token, type="refresh")


def test_in_accept_mode_a_busy_store_is_no_reason_to_accept() -> None:
    """Else whoever keeps a process busy could go on with a revoked token."""
    app, authx, store = lenient()
    pair = login(app, authx)[:2]
    heard: list[str] = []

    def refused(sender: object, error: StoreUnavailableError, **kwargs: Any) -> None:
        heard.append(error.reason)

    token_refused.connect(refused, app)
    store.error = StoreBusyError("all connections stayed in use")
    for _ in range(10):
        for path, token in zip(("/guarded", "/refresh"), pair, strict=True):
            assert outcome(ask(app, path=path, headers=bearer(token))) == FAULT
    assert heard == ["the store is busy"] * 20
    store.error = DOWN
    bring_down(app, authx, pair[0])
    for path, token, expected in zip(("/guarded", "/refresh"), pair, (OK, FAULT), strict=True):
        assert outcome(ask(app, path=path, headers=bearer(token))) == expected
    assert {*heard[20:]} == {"the store has failed"}


def test_in_accept_mode_a_failure_now_and_then_is_no_reason_either() -> None:
    """Else a revoked token that is sent often enough would pass while the store works."""
    app, authx, store = lenient()
    token, claims = new_token(app, authx)
    with app.app_context():
        authx.revoke_session(claims.sid)
    for _ in range(50):
        store.error = TimeoutError("one slow answer")
        assert outcome(ask(app, headers=bearer(token))) == FAULT
        store.error = None
        assert outcome(ask(app, headers=bearer(token))) == REVOKED
        assert outcome(ask(app, headers=bearer(token))) == REVOKED


def test_in_accept_mode_a_store_that_works_still_refuses() -> None:
    app, authx, _ = lenient()
    token = access_token(app, authx)
    with app.app_context():
        authx.revoke_token(token)
    assert outcome(ask(app, headers=bearer(token))) == REVOKED


# Log-ins and revocations

CREATE: list[Callable[[AuthX], object]] = [
    lambda authx: authx.create_access_token("ann"),
    lambda authx: authx.create_refresh_token("ann"),
    lambda authx: authx.create_token_pair("ann"),
]


@pytest.mark.parametrize("create", CREATE)
def test_a_log_in_that_can_not_be_dated_is_a_503(create: Callable[[AuthX], object]) -> None:
    """Its session might be revoked as soon as it has begun."""
    app, authx, store = spied()
    store.error = DOWN

    @app.post("/login")
    def view() -> str:
        create(authx)
        return ""

    response = ask(app, "POST", "/login")
    assert outcome(response) == FAULT
    assert response.headers["Retry-After"] == "1"


@pytest.mark.parametrize("create", CREATE)
def test_in_accept_mode_users_can_log_in(
    create: Callable[[AuthX], object], caplog: pytest.LogCaptureFixture
) -> None:
    app, authx, store = lenient()
    store.error = DOWN
    with app.app_context():
        made = create(authx)
    assert len(said(caplog, logging.WARNING)) == 2
    token = made.access_token if isinstance(made, TokenPair) else str(made)
    assert decoded(app, authx, token).auth_time == int(Clock().now)


def test_a_session_that_goes_on_needs_no_store() -> None:
    app, authx, store = spied()
    _, refresh, sid = login(app, authx)
    verified = decoded(app, authx, refresh)
    store.error = DOWN
    with app.app_context():
        token = authx.create_access_token("ann", login=verified)
    assert decoded(app, authx, token).sid == sid


@pytest.mark.parametrize("make", [spied, lenient])
def test_a_revocation_fails_loudly_in_either_mode(
    make: Callable[[], tuple[Flask, AuthX, SpyStore]],
) -> None:
    """USERS 49: a user who resets a password learns that the tokens are still valid."""
    app, authx, store = make()
    token, claims = new_token(app, authx)

    @app.post("/end/<kind>")
    def end(kind: str) -> str:
        if kind == "token":
            authx.revoke_token(token)
        elif kind == "session":
            authx.revoke_session(claims.sid)
        else:
            authx.revoke_subject("ann")
        return ""

    store.error = DOWN
    for kind in ("token", "session", "subject"):
        response = ask(app, "POST", f"/end/{kind}")
        assert outcome(response) == FAULT
        assert response.headers["Retry-After"] == "1"
        assert "may not have been written" in response.text
    assert store.entries == {}


def test_a_refused_request_is_announced_as_such() -> None:
    app, authx, store = spied()
    token, claims = new_token(app, authx)
    heard: list[dict[str, Any]] = []

    def refused(sender: object, **kwargs: Any) -> None:
        heard.append(kwargs)

    token_refused.connect(refused, app)
    store.error = DOWN
    ask(app, headers=bearer(token))
    [one] = heard
    assert (one["jti"], type(one["error"])) == (claims.jti, StoreUnavailableError)
