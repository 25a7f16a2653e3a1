"""The CSRF value of a session: where it is found, how long it is valid, and what a refusal says."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask, render_template_string
from flask.testing import FlaskClient

from tests.support import Clock, bearer, parts
from tests.support.answers import CSRF, NO_CSRF, OK, Outcome, ask, outcome
from tests.support.browsers import (
    ACCESS_CSRF,
    REFRESH_CSRF,
    browser,
    browser_app,
    csrf,
    sign_in,
)


def page_app(**config: Any) -> Flask:
    """An app with a page that has a form, and may be seen by anybody."""
    app, authx = browser_app(**config)
    page = authx.optional_token(lambda: render_template_string("<{{ authx_csrf_token() }}>"))
    app.add_url_rule("/page", "page", page)
    return app


def on_page(client: FlaskClient) -> str:
    return client.get("/page").text.strip("<>")


def test_a_page_holds_the_value_that_the_cookie_shows() -> None:
    app = page_app(CSRF_CHECK_FORM=True)
    client = browser(app)
    value = on_page(client)
    assert {"X-CSRF-TOKEN": value} == csrf(client)
    assert outcome(client.post("/guarded", data={"csrf_token": value})) == OK
    assert outcome(client.post("/guarded", data={"csrf_token": value[:-1]})) == CSRF


def test_without_a_token_there_is_none() -> None:
    assert on_page(page_app().test_client()) == ""


def test_a_page_works_without_the_cookies_with_the_values() -> None:
    """For an app whose scripts are not to read them."""
    app = page_app(CSRF_IN_COOKIES=False, CSRF_CHECK_FORM=True)
    client = browser(app)
    assert csrf(client) == {}
    value = on_page(client)
    assert outcome(client.post("/guarded", data={"csrf_token": value})) == OK


def test_a_form_open_in_another_tab_survives_a_refresh() -> None:
    clock = Clock()
    app = page_app(CSRF_CHECK_FORM=True)
    client = browser(app)
    before = on_page(client), csrf(client), csrf(client, REFRESH_CSRF)
    for _ in range(3):
        clock.advance(300)
        assert outcome(client.post("/auth/refresh", headers=before[2])) == OK
    assert (on_page(client), csrf(client), csrf(client, REFRESH_CSRF)) == before
    assert outcome(client.post("/guarded", data={"csrf_token": before[0]})) == OK


def test_it_does_not_survive_the_session() -> None:
    app = page_app()
    client = browser(app)
    before = csrf(client)
    assert outcome(client.post("/auth/logout", headers=before)) == Outcome(204)
    sign_in(client)
    assert csrf(client) != before
    assert outcome(client.post("/guarded", headers=before)) == CSRF


def test_a_refusal_names_the_header_the_cookie_and_the_field() -> None:
    """USERS 63: it says what to do."""
    for form in (False, True):
        app, _ = browser_app(
            CSRF_CHECK_FORM=form,
            ACCESS_CSRF_HEADER_NAME="X-Access",
            REFRESH_CSRF_HEADER_NAME="X-Refresh",
            ACCESS_CSRF_FIELD_NAME="access_field",
            REFRESH_CSRF_FIELD_NAME="refresh_field",
        )
        client = browser(app)
        for path, which, other in (
            ("/guarded", "access", "refresh"),
            ("/auth/refresh", "refresh", "access"),
        ):
            for headers, expected in (({}, NO_CSRF), ({f"X-{which}": "sent-by-me"}, CSRF)):
                response = client.post(path, headers=headers)
                assert outcome(response) == expected
                message = response.get_json()["msg"]
                assert f"X-{which.capitalize()} header" in message
                assert f"cookie csrf_{which}_token" in message
                assert (f"field {which}_field" in message) is form
                assert other not in message.lower()
                assert "sent-by-me" not in message


def test_a_header_borne_token_needs_none_and_shows_one() -> None:
    """A page may be made for a client that sends its token as a header."""
    app = page_app()
    token = sign_in(app.test_client())["access_token"]
    assert outcome(ask(app, "POST", headers=bearer(token))) == OK
    assert ask(app, path="/page", headers=bearer(token)).text == f"<{parts(token)[1]['csrf']}>"


@pytest.mark.parametrize("field", ["é", "\U0001f600", "\0", "x" * 100_000, "null", "{}"])
def test_any_value_of_the_field_gets_a_response_of_ours(field: str) -> None:
    """SECURITY A.10 168, USERS 73: no text is compared that can't be."""
    app, _ = browser_app(CSRF_CHECK_FORM=True)
    client = browser(app)
    assert outcome(client.post("/guarded", data={"csrf_token": field})) == CSRF
    assert outcome(client.post("/auth/refresh", data={"csrf_token": field})) == CSRF
    assert outcome(client.post("/auth/logout", data={"csrf_token": field})) == CSRF
    assert outcome(client.get("/guarded")) == OK


def test_the_two_values_of_a_session_are_not_each_other_s() -> None:
    app, _ = browser_app()
    client = browser(app)
    access, refresh = csrf(client, ACCESS_CSRF), csrf(client, REFRESH_CSRF)
    assert access != refresh
    assert outcome(client.post("/auth/refresh", headers=access)) == CSRF
    assert outcome(client.post("/guarded", headers=refresh)) == CSRF


def test_a_value_of_another_session_of_the_same_user_is_refused() -> None:
    app, _ = browser_app()
    here, there = browser(app), browser(app)
    assert outcome(here.post("/guarded", headers=csrf(there))) == CSRF
    assert outcome(here.post("/auth/logout", headers=csrf(there))) == CSRF


def test_other_credentials_in_the_header_do_not_stand_for_it() -> None:
    """SECURITY A.10 173: browsers send those of HTTP Basic by themselves."""
    app, _ = browser_app()
    client = browser(app)
    basic = {"Authorization": "Basic YW5uOng="}
    assert outcome(client.post("/guarded", headers=basic)) == NO_CSRF
    assert outcome(client.post("/guarded", headers=basic | csrf(client))) == OK


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "TRACE"])
def test_safe_methods_need_none(method: str) -> None:
    app, authx = browser_app()
    view = authx.token_required(lambda: "seen")
    app.add_url_rule(
        "/any",
        "any",
        view,
        methods=["GET", "HEAD", "OPTIONS", "TRACE"],
        provide_automatic_options=False,
    )
    assert outcome(browser(app).open("/any", method=method)) == OK
