"""``verify_token`` and ``decode_token`` outside of a request, and what the object refuses."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from unittest import mock

import pytest
import time_machine
from flask import Flask
from freezegun import freeze_time

from flask_authx import (
    AuthX,
    AuthXException,
    BadConfigurationError,
    CSRFError,
    Entry,
    InsufficientScopeError,
    JWTDecodeError,
    Kind,
    Location,
    MemoryBlocklist,
    MemorySessions,
    MissingCSRFTokenError,
    NewSession,
    RequestToken,
    RevokedTokenError,
    StoreUnavailableError,
    TokenExpiredError,
    TokenType,
    TokenTypeError,
    Visit,
    token_accepted,
    token_refused,
)
from flask_authx.errors import FreshTokenRequiredError
from tests.support import SECRET, Clock, access_token, make_app, refresh_token
from tests.support.answers import Spy, ask


@pytest.fixture
def made() -> tuple[Flask, AuthX, Clock]:
    clock = Clock()
    app, authx = make_app(clock=clock, TOKEN_LOCATION=["headers", "cookies"])
    return app, authx, clock


def test_a_token_is_verified_with_an_app_context_only(made: tuple[Flask, AuthX, Clock]) -> None:
    app, authx, _ = made
    token = access_token(app, authx, "ann", scopes=["a"], fresh=True)
    with app.app_context():
        for given in (token, RequestToken(token)):
            verified = authx.verify_token(given)
            assert (verified.sub, verified.type) == ("ann", TokenType.ACCESS)
        assert authx.verify_token(token, fresh=True, scopes=["a"]).scopes == {"a"}


def test_verify_token_checks_all_that_a_guard_checks(made: tuple[Flask, AuthX, Clock]) -> None:
    app, authx, clock = made
    access, refresh = access_token(app, authx), refresh_token(app, authx)
    failures: list[tuple[Callable[[], Any], type[Exception]]] = [
        (lambda: authx.verify_token("x.y.z"), JWTDecodeError),
        (lambda: authx.verify_token(""), JWTDecodeError),
        (lambda: authx.verify_token("\ud800"), JWTDecodeError),
        (lambda: authx.verify_token(refresh), TokenTypeError),
        (lambda: authx.verify_token(access, type="refresh"), TokenTypeError),
        (lambda: authx.verify_token(access, fresh=True), FreshTokenRequiredError),
        (lambda: authx.verify_token(access, scopes=["a"]), InsufficientScopeError),
    ]
    with app.app_context():
        assert authx.verify_token(refresh, type=TokenType.REFRESH).type is TokenType.REFRESH
        for fail, error in failures:
            with pytest.raises(error):
                fail()
        spy = authx.token_blocklist(Spy(True))
        with pytest.raises(RevokedTokenError):
            authx.verify_token(access)
        spy.answer = "no"
        with pytest.raises(StoreUnavailableError):
            authx.verify_token(access)
        assert spy.asked == [access, access]
        clock.advance(10_000)
        with pytest.raises(TokenExpiredError):
            authx.verify_token(access)


@pytest.mark.parametrize("option", [{"verify_type": False}, {"type": None}, {"type": "any"}])
def test_the_check_of_the_type_can_not_be_switched_off(
    option: dict[str, Any], made: tuple[Flask, AuthX, Clock]
) -> None:
    """SECURITY A.11 197"""
    app, authx, _ = made
    token = access_token(app, authx)
    untyped: Any = authx
    attempts: list[Callable[[], Any]] = [
        partial(untyped.token_required, **option),
        partial(untyped.optional_token, **option),
        partial(untyped.scopes_required, "a", **option),
        partial(untyped.protect, app, **option),
        partial(untyped.verify_token, token, **option),
    ]
    with app.app_context():
        for attempt in attempts:
            with pytest.raises((TypeError, ValueError), match=r"type|access, refresh"):
                attempt()


def test_decode_token_calls_no_callback_and_takes_both_types(
    made: tuple[Flask, AuthX, Clock],
) -> None:
    app, authx, _ = made
    spy = authx.token_blocklist(Spy(True))
    with app.app_context():
        for token in (access_token(app, authx), refresh_token(app, authx)):
            assert authx.decode_token(token).sub == "ann"
            assert authx.decode_token(RequestToken(token, location="cookies")).sub == "ann"
        with pytest.raises(JWTDecodeError):
            authx.decode_token("x.y.z")
    assert spy.asked == []


def test_a_token_from_a_cookie_needs_its_csrf_value_outside_a_request(
    made: tuple[Flask, AuthX, Clock],
) -> None:
    """A WebSocket handshake sends cookies across sites as well."""
    app, authx, _ = made
    token = access_token(app, authx)

    def verify(csrf: str | None) -> str:
        return authx.verify_token(RequestToken(token, csrf, location=Location.COOKIES)).sub

    with app.app_context():
        csrf = authx.decode_token(token).csrf
        with pytest.raises(MissingCSRFTokenError):
            verify(None)
        with pytest.raises(CSRFError):
            verify("x")
        assert verify(csrf) == "ann"
    with app.test_request_context(method="GET"):
        assert verify(None) == "ann"
    with app.test_request_context(method="POST"), pytest.raises(MissingCSRFTokenError):
        verify(None)


def test_verify_token_sets_no_current_subject(made: tuple[Flask, AuthX, Clock]) -> None:
    app, authx, _ = made
    authx.set_subject_getter(Spy("Ann"))
    token = access_token(app, authx)
    with app.test_request_context():
        assert authx.verify_token(token)
        assert authx.get_current_subject() is None


def test_it_works_in_another_thread(made: tuple[Flask, AuthX, Clock]) -> None:
    app, authx, _ = made
    token, subjects = access_token(app, authx), list[str]()

    def work() -> None:
        with app.app_context():
            subjects.append(authx.verify_token(token).sub)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert subjects == ["ann"]


def test_without_an_app_context_flask_says_so(made: tuple[Flask, AuthX, Clock]) -> None:
    _, authx, _ = made
    for call in (authx.verify_token, authx.decode_token, authx.create_access_token):
        with pytest.raises(RuntimeError, match="application context"):
            call("x.y.z")


def test_without_a_request_flask_says_so(made: tuple[Flask, AuthX, Clock]) -> None:
    app, authx, _ = made
    with app.app_context():
        assert authx.get_current_subject() is None
    for call in (authx.get_token_from_request,):
        with app.app_context(), pytest.raises(RuntimeError, match="request context"):
            call()


def test_an_object_that_is_not_set_up_names_init_app() -> None:
    app, authx = Flask(__name__), AuthX()
    calls: list[Callable[[], Any]] = [
        lambda: authx.verify_token("x"),
        lambda: authx.decode_token("x"),
        lambda: authx.create_access_token("ann"),
        lambda: authx.create_token_pair("ann"),
        authx.get_token_from_request,
        authx.get_current_subject,
    ]
    for call in calls:
        with app.test_request_context(), pytest.raises(RuntimeError, match=r"init_app\(app\)"):
            call()


def test_errors_carry_the_apps_words_wherever_they_are_raised() -> None:
    app, authx = make_app(REALM="shop", ERROR_MESSAGE_KEY="message")
    calls: list[Callable[[], Any]] = [
        lambda: authx.verify_token("x.y.z"),
        lambda: authx.decode_token("x.y.z"),
        lambda: authx.get_token_from_request(optional=False),
    ]
    with app.test_request_context():
        for call in calls:
            with pytest.raises(AuthXException) as raised:
                call()
            error = raised.value
            assert set(error.data) == {"message", "error_type"}
            assert (
                error.get_response().headers["WWW-Authenticate"].startswith('Bearer realm="shop"')
            )


def test_signals_are_sent_outside_a_request_too(made: tuple[Flask, AuthX, Clock]) -> None:
    app, authx, _ = made
    token, sent = access_token(app, authx), list[tuple[str, str | None]]()

    def accepted(sender: Flask, **ids: Any) -> None:
        sent.append(("accepted", ids["sub"]))

    def refused(sender: Flask, **ids: Any) -> None:
        sent.append((ids["error"].error_type, ids["sub"]))

    with (
        app.app_context(),
        token_accepted.connected_to(accepted, app),
        token_refused.connected_to(refused, app),
    ):
        authx.verify_token(token)
        for refusable in ("x.y.z", token):
            with pytest.raises(AuthXException):
                authx.verify_token(refusable, fresh=True)
    assert sent == [
        ("accepted", "ann"),
        ("JWTDecodeError", None),
        ("FreshTokenRequiredError", "ann"),
    ]


@pytest.mark.parametrize("name", ["", "two words", "1st", "a-b"])
def test_a_name_that_can_not_start_a_setting_is_refused(name: str) -> None:
    with pytest.raises(BadConfigurationError, match="name"):
        AuthX(name=name)


def test_the_apps_config_is_not_written_to() -> None:
    """Rule 6"""
    app = Flask(__name__)
    app.config["JWT_SECRET_KEY"] = SECRET
    app.config["JWT_TOKEN_LOCATION"] = locations = ["headers", "cookies"]
    before = dict[str, Any](app.config)
    AuthX(app, clock=Clock())
    ask(app)
    assert dict[str, Any](app.config) == before
    assert locations == ["headers", "cookies"]


def test_an_object_holds_nothing_of_an_app() -> None:
    """Rule 7"""
    authx = AuthX(clock=Clock())
    before = set(vars(authx))
    for number in range(2):
        app = Flask(f"app{number}")
        app.config["JWT_SECRET_KEY"] = SECRET
        authx.init_app(app)
        assert list(app.extensions["authx"]) == ["authx"]
    assert set(vars(authx)) == before


def test_the_clock_and_the_ids_can_be_given() -> None:
    """Rule 13"""
    app = Flask(__name__)
    app.config["JWT_SECRET_KEY"] = SECRET
    ids = iter(f"id-{number}" for number in range(9))
    clock = Clock(1_700_000_000.0)
    authx = AuthX(app, clock=clock, ids=lambda: next(ids))
    with app.app_context():
        token = authx.decode_token(authx.create_access_token("ann"))
    assert token.iat == 1_700_000_000
    assert {token.jti, token.sid} == {"id-0", "id-1"}


def by_freezegun(seconds: float) -> AbstractContextManager[object]:
    return freeze_time(datetime.now(UTC) + timedelta(seconds=seconds))


def by_time_machine(seconds: float) -> AbstractContextManager[object]:
    return time_machine.travel(time.time() + seconds, tick=False)


def by_mock(seconds: float) -> AbstractContextManager[object]:
    return mock.patch("time.time", return_value=time.time() + seconds)


@pytest.mark.parametrize("moved", [by_freezegun, by_time_machine, by_mock])
def test_a_clock_that_a_test_moves_expires_what_was_made_before(
    moved: Callable[[float], AbstractContextManager[object]],
) -> None:
    app = Flask("tests")
    app.config.from_mapping(JWT_SECRET_KEY=SECRET, JWT_SESSIONS=True, JWT_BLOCKLIST="memory://")
    authx, entries, rows = AuthX(app), MemoryBlocklist(), MemorySessions()

    def expired() -> list[int]:
        return [batch.removed for store in (entries, rows) for batch in store.prune()]

    with app.app_context():
        pair = authx.login("ann")
        entries.add(Entry(bytes(16), Kind.TOKEN, 600))
        visit = Visit(generation=0, idle=600)
        session = NewSession(sid="s1", sub="ann", began=0, lifetime=600, visit=visit)
        rows.open(bytes(16), bytes(16), session)
        with moved(590):
            assert authx.verify_token(pair.access_token).sub == "ann"
            assert expired() == [0, 0]
        with moved(1200):
            with pytest.raises(TokenExpiredError):
                authx.verify_token(pair.access_token)
            assert expired() == [1, 1]
            assert len(authx.sessions("ann")) == 1
        with moved(30 * 86400):
            assert authx.sessions("ann") == []
