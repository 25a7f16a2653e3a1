"""Tokens in cookies and the CSRF value that they need: SECURITY.md A.10."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from flask_authx import AuthX, BadConfigurationError
from tests.support import access_token, bearer, make_app, reforge, refresh_token
from tests.support.answers import (
    ACCESS_COOKIE,
    CSRF,
    INVALID,
    MISSING,
    NO_CSRF,
    OK,
    Outcome,
    Spy,
    ask,
    cookie,
    outcome,
    refresh_cookies,
)
from tests.support.corpus import by_repr, check_all

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "OPTIONS"]
CUSTOM = ["PURGE", "PROPFIND", "LINK", "GETX", "X-CUSTOM"]


def cookie_app(**config: Any) -> tuple[Flask, AuthX]:
    app, authx = make_app(TOKEN_LOCATION=["cookies", "headers"], **config)

    @app.route("/any", methods=METHODS + CUSTOM, provide_automatic_options=False)
    @authx.token_required
    def anything() -> dict[str, str]:
        return {}

    @app.post("/refresh")
    @authx.refresh_token_required
    def refresh() -> dict[str, str]:
        return {}

    return app, authx


def csrf_of(app: Flask, authx: AuthX, token: str) -> str:
    with app.app_context():
        value = authx.decode_token(token).csrf
    assert value
    return value


def post(app: Flask, token: str, csrf: str | None = None, **kwargs: Any) -> TestResponse:
    """A POST with the token in the cookie and, if one is given, the CSRF value in the header."""
    headers = cookie((ACCESS_COOKIE, token)) | kwargs.pop("headers", {})
    environ = {} if csrf is None else {"HTTP_X_CSRF_TOKEN": csrf}
    return ask(app, "POST", headers=headers, environ_overrides=environ, **kwargs)


@pytest.fixture
def jar() -> tuple[Flask, AuthX, str]:
    app, authx = cookie_app()
    return app, authx, access_token(app, authx)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", *CUSTOM])
def test_a_cookie_needs_its_csrf_value_on_every_unsafe_method(
    method: str, jar: tuple[Flask, AuthX, str]
) -> None:
    """SECURITY A.10 164, 165, USERS 63, 64"""
    app, authx, token = jar
    headers = cookie((ACCESS_COOKIE, token))
    assert outcome(ask(app, method, "/any", headers=headers)) == NO_CSRF
    headers["X-CSRF-TOKEN"] = csrf_of(app, authx, token)
    assert outcome(ask(app, method, "/any", headers=headers)) == OK


def test_a_method_in_lower_case_needs_it_too(jar: tuple[Flask, AuthX, str]) -> None:
    """SECURITY A.10 165"""
    app, _, token = jar
    environ = {"REQUEST_METHOD": "post"}
    response = ask(
        app, path="/any", headers=cookie((ACCESS_COOKIE, token)), environ_overrides=environ
    )
    assert outcome(response) == NO_CSRF


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "TRACE"])
def test_safe_methods_need_none(method: str, jar: tuple[Flask, AuthX, str]) -> None:
    """USERS 64"""
    app, _, token = jar
    assert outcome(ask(app, method, "/any", headers=cookie((ACCESS_COOKIE, token)))) == OK


def test_a_setting_can_add_safe_methods() -> None:
    app, authx = cookie_app(CSRF_METHODS=["GET", "POST", "PUT", "PATCH", "DELETE"])
    token = access_token(app, authx)
    headers = cookie((ACCESS_COOKIE, token))
    assert outcome(ask(app, "GET", "/any", headers=headers)) == NO_CSRF
    assert outcome(ask(app, "PURGE", "/any", headers=headers)) == NO_CSRF
    assert outcome(ask(app, "OPTIONS", "/any", headers=headers)) == OK
    headers["X-CSRF-TOKEN"] = csrf_of(app, authx, token)
    assert outcome(ask(app, "GET", "/any", headers=headers)) == OK


def test_the_setting_can_not_take_methods_away() -> None:
    with pytest.raises(BadConfigurationError, match="JWT_CSRF_METHODS"):
        cookie_app(CSRF_METHODS=["POST"])


WRONG_VALUES: list[tuple[str, Outcome]] = [
    ("", NO_CSRF),
    (" ", CSRF),
    ("x", CSRF),
    ("{}x", CSRF),
    ("x{}", CSRF),
    ("{} ", CSRF),
    ("{0},{0}", CSRF),
    ("{0}, x", CSRF),
    ("\xe9", CSRF),
    ("{}\xe9", CSRF),
    ("\xf0\x9f\x98\x80", CSRF),
    ("\udce9", CSRF),
    ("\x00", CSRF),
    ("{}\x00", CSRF),
    ("null", CSRF),
    ("None", CSRF),
]


def test_a_wrong_value_is_refused(jar: tuple[Flask, AuthX, str]) -> None:
    """SECURITY A.10 167, 168, USERS 14, 63, 73"""
    app, authx, token = jar
    csrf = csrf_of(app, authx, token)

    def check(case: tuple[str, Outcome]) -> None:
        value, expected = case
        assert outcome(post(app, token, value.format(csrf))) == expected

    check_all(by_repr(WRONG_VALUES), check)


def test_a_double_submit_of_a_forged_cookie_is_refused(jar: tuple[Flask, AuthX, str]) -> None:
    """SECURITY A.10 169"""
    app, _, token = jar
    headers = cookie((ACCESS_COOKIE, token), ("csrf", "x"), ("csrf_access_token", "x"))
    assert outcome(post(app, token, "x", headers=headers)) == CSRF


def test_the_value_is_not_read_from_a_cookie_or_the_query(jar: tuple[Flask, AuthX, str]) -> None:
    """SECURITY A.10 170, 174"""
    app, authx, token = jar
    value = csrf_of(app, authx, token)
    names = ("X-CSRF-TOKEN", "csrf", "csrf_token", "csrf_access_token")
    headers = cookie((ACCESS_COOKIE, token), *((name, value) for name in names))
    assert outcome(post(app, token, headers=headers)) == NO_CSRF
    assert outcome(post(app, token, query_string=dict.fromkeys(names, value))) == NO_CSRF


def test_the_value_of_another_user_or_session_is_refused(jar: tuple[Flask, AuthX, str]) -> None:
    """SECURITY A.10 171"""
    app, authx, token = jar
    for uid in ("bob", "ann"):
        other = access_token(app, authx, uid)
        assert outcome(post(app, token, csrf_of(app, authx, other))) == CSRF


def test_each_type_has_its_own_value() -> None:
    """SECURITY A.10 167, USERS 66"""
    app, authx = cookie_app()
    with app.app_context():
        pair = authx.create_token_pair("ann")
    access, refresh = pair.access_token, pair.refresh_token
    access_csrf, refresh_csrf = (csrf_of(app, authx, token) for token in (access, refresh))
    assert outcome(post(app, access, access_csrf)) == OK
    assert outcome(post(app, access, refresh_csrf)) == CSRF
    for value, expected in ((refresh_csrf, OK), (access_csrf, CSRF)):
        headers = cookie(*refresh_cookies(refresh)) | {"X-CSRF-TOKEN": value}
        assert outcome(ask(app, "POST", "/refresh", headers=headers)) == expected


def test_each_type_may_have_its_own_header() -> None:
    app, authx = cookie_app(
        ACCESS_CSRF_HEADER_NAME="X-Access-Csrf", REFRESH_CSRF_HEADER_NAME="X-Refresh-Csrf"
    )
    refresh = refresh_token(app, authx)
    value = csrf_of(app, authx, refresh)
    for name, expected in (
        ("X-Refresh-Csrf", OK),
        ("X-Access-Csrf", NO_CSRF),
        ("X-CSRF-TOKEN", NO_CSRF),
    ):
        headers = cookie(*refresh_cookies(refresh)) | {name: value}
        response = ask(app, "POST", "/refresh", headers=headers)
        assert outcome(response) == expected
        if expected != OK:
            assert "X-Refresh-Csrf" in response.text


def test_a_session_keeps_its_value_over_a_refresh() -> None:
    app, authx = cookie_app()
    old = access_token(app, authx)
    with app.app_context():
        new = authx.create_access_token("ann", login=authx.decode_token(old))
    assert new != old
    assert outcome(post(app, new, csrf_of(app, authx, old))) == OK


def test_a_token_from_the_header_needs_none(jar: tuple[Flask, AuthX, str]) -> None:
    """SECURITY A.10 172, USERS 65: even beside a cookie."""
    app, _, token = jar
    assert outcome(ask(app, "POST", headers=bearer(token))) == OK
    assert outcome(post(app, token, headers=bearer(token))) == OK


def test_a_token_without_a_csrf_claim_opens_nothing_from_a_cookie() -> None:
    app, authx = cookie_app()
    token = reforge(access_token(app, authx), csrf=...)
    assert outcome(ask(app, "POST", headers=bearer(token))) == OK
    assert outcome(post(app, token)) == NO_CSRF
    for value in ("x", "None", "null"):
        assert outcome(post(app, token, value)) == CSRF


FORMS = [
    ("application/x-www-form-urlencoded", OK),
    ("multipart/form-data", OK),
    ("text/plain", NO_CSRF),
    ("application/json", NO_CSRF),
]


@pytest.mark.parametrize("checked", [True, False])
def test_a_form_field_counts_where_the_settings_say_so(checked: bool) -> None:
    """SECURITY A.10 175"""
    app, authx = cookie_app(CSRF_CHECK_FORM=checked)
    token = access_token(app, authx)
    value = csrf_of(app, authx, token)

    def check(case: tuple[str, Outcome]) -> None:
        content_type, expected = case
        is_form = "form" in content_type
        data: Any = {"csrf_token": value} if is_form else f'{{"csrf_token": "{value}"}}'
        response = post(app, token, data=data, content_type=content_type)
        assert outcome(response) == (expected if checked else NO_CSRF)

    check_all(by_repr(FORMS), check)


def test_a_wrong_header_is_not_replaced_by_a_valid_field() -> None:
    app, authx = cookie_app(CSRF_CHECK_FORM=True, ACCESS_CSRF_FIELD_NAME="field")
    token = access_token(app, authx)
    value = csrf_of(app, authx, token)
    assert outcome(post(app, token, data={"field": value})) == OK
    assert outcome(post(app, token, "x", data={"field": value})) == CSRF
    assert outcome(post(app, token, data={"field": "x"})) == CSRF
    assert outcome(post(app, token, data={"csrf_token": value})) == NO_CSRF


def test_csrf_is_checked_after_the_token(jar: tuple[Flask, AuthX, str]) -> None:
    """SECURITY A.10 183"""
    app, authx, token = jar
    invalid = reforge(token, exp=...)
    refresh = refresh_token(app, authx)
    for csrf in (None, "x"):
        assert outcome(post(app, "x.y.z", csrf)) == INVALID
        assert outcome(post(app, invalid, csrf)) == INVALID
        assert outcome(post(app, refresh, csrf)) == Outcome(401, "AccessTokenRequiredError")
    assert outcome(post(app, "", "x")) == MISSING


def test_csrf_is_checked_before_the_revocation_callback_is_asked(
    jar: tuple[Flask, AuthX, str],
) -> None:
    app, authx, token = jar
    spy = authx.token_blocklist(Spy())
    assert outcome(post(app, token, "x")) == CSRF
    assert outcome(post(app, token)) == NO_CSRF
    assert spy.asked == []


def test_the_response_names_the_header_and_has_no_challenge(jar: tuple[Flask, AuthX, str]) -> None:
    """SECURITY A.10 182, USERS 63: it says what to send, and never to switch the check off."""
    app, _, token = jar
    for csrf in (None, "secret-value"):
        response = post(app, token, csrf)
        assert "X-CSRF-TOKEN" in response.text
        assert "secret-value" not in response.text
        assert "PROTECT" not in response.text
        assert "WWW-Authenticate" not in response.headers
        assert response.headers["Cache-Control"] == "no-store"


def test_the_check_can_be_switched_off_as_a_whole() -> None:
    app, authx = cookie_app(COOKIE_CSRF_PROTECT=False)
    assert outcome(post(app, access_token(app, authx))) == OK


def test_an_optional_guard_asks_for_the_value_as_well(jar: tuple[Flask, AuthX, str]) -> None:
    """SECURITY A.11 196"""
    app, _, token = jar
    assert outcome(post(app, token, path="/optional")) == NO_CSRF
    assert outcome(post(app, "", path="/optional")) == OK
