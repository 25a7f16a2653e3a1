"""The warning where a request puts the two tokens of one user into two sessions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from flask_authx import AuthX, current_token
from tests.support import access_token, bearer, make_app, refresh_token
from tests.support.corpus import check_all

Create = Callable[[AuthX], object]


def both(authx: AuthX) -> None:
    authx.create_access_token("ann")
    authx.create_refresh_token("ann")


def refresh_first(authx: AuthX) -> None:
    authx.create_refresh_token(7)
    authx.create_access_token("7", fresh=True)


def with_login(authx: AuthX) -> None:
    access = authx.decode_token(authx.create_access_token("ann"))
    authx.create_refresh_token("ann", login=access)


def two_users(authx: AuthX) -> None:
    authx.create_access_token("ann")
    authx.create_refresh_token("bob")


def two_of_a_type(authx: AuthX) -> None:
    authx.create_access_token("ann")
    authx.create_access_token("ann")


def a_pair_and_one_more(authx: AuthX) -> None:
    authx.create_token_pair("ann")
    authx.create_access_token("ann", expiry=60)


def refused(authx: AuthX) -> None:
    authx.create_access_token("ann")
    with pytest.raises(ValueError, match="expiry"):
        authx.create_refresh_token("ann", expiry=0)


#: What a request creates, and whether a log-out would leave some of it valid.
REQUESTS: dict[Create, bool] = {
    both: True,
    refresh_first: True,
    with_login: False,
    lambda authx: authx.create_token_pair("ann"): False,
    two_users: False,
    two_of_a_type: False,
    a_pair_and_one_more: False,
    refused: False,
}


def app_with(create: Create) -> tuple[Flask, AuthX]:
    app, authx = make_app()

    @app.post("/login")
    def login() -> str:
        create(authx)
        return "ok"

    @app.post("/refresh")
    @authx.refresh_token_required
    def refresh() -> str:
        create(authx)
        return "ok"

    return app, authx


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [one.getMessage() for one in caplog.records if "two sessions" in one.getMessage()]
    caplog.clear()
    return found


def test_two_tokens_in_two_sessions_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    def check(case: tuple[Create, bool]) -> None:
        create, expected = case
        app, _ = app_with(create)
        assert app.test_client().post("/login").status_code == 200
        assert len(warnings_of(caplog)) == expected

    check_all(((create.__name__, (create, two)) for create, two in REQUESTS.items()), check)


def test_it_is_warned_of_once_and_names_the_fix(caplog: pytest.LogCaptureFixture) -> None:
    app, _ = app_with(both)
    client = app.test_client()
    for _ in range(3):
        client.post("/login")
    (warning,) = warnings_of(caplog)
    for fix in ("authx.login(uid)", "authx.create_token_pair(uid)", "login=current_token"):
        assert fix in warning
    assert "ann" not in warning


def test_tokens_of_two_requests_are_no_two_sessions(caplog: pytest.LogCaptureFixture) -> None:
    """Also within one app context, which the requests share."""
    app, authx = make_app()

    @app.post("/<type>")
    def create(type: str) -> Any:
        return getattr(authx, f"create_{type}_token")("ann")

    client = app.test_client()
    with app.app_context():
        client.post("/access")
        client.post("/refresh")
    assert warnings_of(caplog) == []


def test_a_refresh_view_without_login_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """The new access token would survive the session of the refresh token, and the reverse."""
    cases: dict[str, tuple[Create, int]] = {
        "no login": (lambda authx: authx.create_access_token("ann"), 1),
        "login": (lambda authx: authx.create_access_token("ann", login=current_token), 0),
        "another user": (lambda authx: authx.create_access_token("bob"), 0),
    }

    def check(case: tuple[Create, int]) -> None:
        create, expected = case
        app, authx = app_with(create)
        sent = bearer(refresh_token(app, authx))
        assert app.test_client().post("/refresh", headers=sent).status_code == 200
        assert len(warnings_of(caplog)) == expected

    check_all(cases, check)


def test_outside_of_a_request_nothing_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """As in tests, and in scripts that create tokens for several purposes."""
    app, authx = make_app()
    access_token(app, authx)
    refresh_token(app, authx)
    assert warnings_of(caplog) == []
