"""The app's own revocation callback: rules 1 and 2 of DESIGN.md, SECURITY.md A.12."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from flask import Flask

from flask_authx import AuthX, StoreUnavailableError, current_token
from tests.support import (
    OTHER_SECRET,
    Clock,
    access_token,
    bearer,
    make_app,
    refresh_token,
)
from tests.support.answers import FAULT, MISSING, OK, REVOKED, Spy, ask, outcome
from tests.support.corpus import check_all
from tests.support.invalid_tokens import in_all_places, invalid_tokens


@pytest.fixture
def watched() -> tuple[Flask, AuthX, Spy]:
    app, authx = make_app(TOKEN_LOCATION=["headers", "cookies", "query"])
    return app, authx, authx.token_blocklist(Spy())


def test_the_callback_is_not_asked_about_an_invalid_token(
    watched: tuple[Flask, AuthX, Spy],
) -> None:
    """SECURITY A.12 201, 202, USERS 34"""
    app, authx, spy = watched
    tokens = invalid_tokens(access_token(app, authx), refresh_token(app, authx))

    def check(case: tuple[str, dict[str, Any]]) -> None:
        path, kwargs = case
        found = outcome(ask(app, path=path, **kwargs))
        # An invalid cookie makes a guest of the visitor of an optional view.
        is_guest = path == "/optional" and "Cookie" in kwargs.get("headers", {})
        expected = {200} if is_guest else {400, 401}
        assert found[0] in expected, f"came {found}, expected one of {expected}"
        assert spy.asked == [], f"asked {spy.asked} for {found.sent}"

    check_all(
        {
            f"{kind}, place {place}, {path}": (path, kwargs)
            for kind, token in tokens.items()
            for place, kwargs in enumerate(in_all_places(token))
            for path in ("/guarded", "/optional")
        },
        check,
    )
    assert outcome(ask(app)) == MISSING
    assert spy.asked == []


def test_a_verified_token_is_asked_about_once(watched: tuple[Flask, AuthX, Spy]) -> None:
    app, authx, spy = watched
    token = access_token(app, authx)
    assert outcome(ask(app, headers=bearer(token))) == OK
    assert spy.asked == [token]
    spy.answer = True
    assert outcome(ask(app, headers=bearer(token))) == REVOKED
    assert spy.asked == [token, token]


def test_a_revoked_token_is_revoked_in_every_spelling_and_place(
    watched: tuple[Flask, AuthX, Spy],
) -> None:
    """SECURITY A.12 203, USERS 35"""
    app, authx, spy = watched
    token = access_token(app, authx)
    spy.answer = True
    for kwargs in in_all_places(token):
        assert outcome(ask(app, **kwargs)) == REVOKED
    assert spy.asked == [token] * 4


def nested(app: Flask, authx: AuthX) -> None:
    """Routes with as many guards as can be; the hook is on all of them."""

    @app.get("/nested")
    @authx.optional_token(on_invalid="ignore")
    @authx.token_required
    @authx.token_required(fresh=False)
    @authx.access_token_required
    def nested_view() -> str:
        authx.get_token_from_request()
        return current_token.sub

    @app.get("/ignored")
    @authx.optional_token(on_invalid="ignore")
    def ignored() -> str:
        return str(bool(current_token))


def test_a_request_asks_once_however_many_guards_there_are(
    watched: tuple[Flask, AuthX, Spy],
) -> None:
    """SECURITY A.12, rule 4, USERS 45"""
    app, authx, spy = watched
    nested(app, authx)
    authx.protect(app)
    token = access_token(app, authx)
    for answer, expected in ((False, OK), (True, REVOKED), (None, FAULT)):
        spy.answer = answer
        spy.asked.clear()
        assert outcome(ask(app, path="/nested", headers=bearer(token))) == expected
        assert spy.asked == [token]


def test_a_guard_that_ignores_a_revoked_token_asks_for_those_after_it(
    watched: tuple[Flask, AuthX, Spy],
) -> None:
    app, authx, spy = watched
    nested(app, authx)
    token = access_token(app, authx)
    spy.answer = True
    response = ask(app, path="/ignored", headers=bearer(token))
    assert outcome(response) == OK
    assert response.text == "False"
    spy.asked.clear()
    # The optional guard goes on without a token; the mandatory one inside refuses it.
    assert outcome(ask(app, path="/nested", headers=bearer(token))) == REVOKED
    assert spy.asked == [token]


def test_a_fault_is_not_ignored(watched: tuple[Flask, AuthX, Spy]) -> None:
    """SECURITY A.11 196: an outage does not make a user anonymous."""
    app, authx, spy = watched
    nested(app, authx)
    spy.answer = None
    headers = bearer(access_token(app, authx))
    assert outcome(ask(app, path="/ignored", headers=headers)) == FAULT
    assert outcome(ask(app, path="/optional", headers=headers)) == FAULT


def test_two_guards_for_two_tokens_ask_about_each(watched: tuple[Flask, AuthX, Spy]) -> None:
    app, authx, spy = watched

    @app.get("/two")
    @authx.access_token_required(locations="headers")
    @authx.refresh_token_required(locations="query")
    @authx.access_token_required(locations="headers")
    def two() -> str:
        return current_token.type

    access, refresh = access_token(app, authx), refresh_token(app, authx)
    response = ask(app, path="/two", headers=bearer(access), query_string={"token": refresh})
    assert response.text == "access"
    assert spy.asked == [access, refresh]


class Anything:
    """Truthy, equal to everything, and with every attribute, as an object made for tests is."""

    def __getattr__(self, name: str) -> Anything:
        return self

    def __call__(self, *args: object) -> Anything:
        return self

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0


#: Neither True nor False.
RESULTS: list[Any] = [
    *(None, 0, 1, "", "False", "True", [], {}),
    *(Anything(), object(), NotImplemented, bool),
]


def test_only_true_and_false_are_results(
    watched: tuple[Flask, AuthX, Spy], caplog: pytest.LogCaptureFixture
) -> None:
    """SECURITY A.12 208"""
    app, authx, spy = watched
    token = access_token(app, authx)

    def check(result: Any) -> None:
        spy.answer = result
        caplog.clear()
        response = ask(app, headers=bearer(token))
        assert outcome(response) == FAULT
        assert int(response.headers["Retry-After"]) > 0
        (record,) = [record for record in caplog.records if record.name == "flask_authx"]
        assert record.levelno == logging.ERROR
        assert type(result).__name__ in record.getMessage()
        assert token not in record.getMessage()

    check_all([(f"{number}: {type(one)}", one) for number, one in enumerate(RESULTS)], check)


@pytest.mark.parametrize(
    "error",
    [ConnectionError("down"), TimeoutError(), KeyError("jti"), TypeError("x"), LookupError()],
    ids=repr,
)
def test_what_the_callback_raises_is_a_fault(
    error: Exception, watched: tuple[Flask, AuthX, Spy], caplog: pytest.LogCaptureFixture
) -> None:
    """SECURITY A.12 210, USERS 42"""
    app, authx, spy = watched
    spy.answer = error
    token = access_token(app, authx)
    response = ask(app, headers=bearer(token))
    assert outcome(response) == FAULT
    assert int(response.headers["Retry-After"]) > 0
    assert str(error) not in response.text or not str(error)
    (record,) = [record for record in caplog.records if record.name == "flask_authx"]
    assert type(error).__name__ in record.getMessage()


def test_a_token_in_the_callbacks_error_reaches_no_log_and_no_handler(
    watched: tuple[Flask, AuthX, Spy], caplog: pytest.LogCaptureFixture
) -> None:
    """Rule 5"""
    app, authx, _ = watched
    token = access_token(app, authx)

    @authx.token_blocklist
    def is_revoked(token: str) -> bool:
        try:
            raise KeyError(token)
        except KeyError as error:
            raise ConnectionError(f"SELECT 1 WHERE token = '{token}'") from error

    with app.test_request_context(headers=bearer(token)):
        with pytest.raises(StoreUnavailableError) as raised:
            authx.verify_token(token)
        assert raised.value.__cause__ is None
        assert raised.value.__context__ is None
    assert "ConnectionError" in caplog.text
    assert token not in caplog.text
    for record in caplog.records:
        assert record.exc_info is None
        assert token not in repr(vars(record))


def test_an_exit_is_not_taken_for_a_fault(watched: tuple[Flask, AuthX, Spy]) -> None:
    app, authx, spy = watched
    spy.answer = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        ask(app, headers=bearer(access_token(app, authx)))


# How it is registered


def test_a_callback_may_come_before_or_after_init_app_by_either_name() -> None:
    """USERS 92"""
    for register in (AuthX.set_callback_token_blocklist, AuthX.token_blocklist):
        for first in (True, False):
            authx = AuthX(clock=Clock())
            app = Flask(__name__)
            app.config["JWT_SECRET_KEY"] = OTHER_SECRET
            spy = Spy(True)
            if first:
                assert register(authx, spy) is spy
            authx.init_app(app)
            if not first:
                assert register(authx, spy) is spy
            app.add_url_rule("/guarded", view_func=authx.token_required(lambda: "in"))
            assert outcome(ask(app, headers=bearer(access_token(app, authx)))) == REVOKED


def test_the_last_callback_counts(watched: tuple[Flask, AuthX, Spy]) -> None:
    app, authx, spy = watched
    authx.token_blocklist(Spy(True))
    assert outcome(ask(app, headers=bearer(access_token(app, authx)))) == REVOKED
    assert spy.asked == []
