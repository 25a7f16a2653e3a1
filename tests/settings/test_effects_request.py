"""Each setting of locations, cookies and CSRF changes what the app does, one test a setting."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask

from flask_authx import AuthX
from tests.support import SECRET, bearer, make_app, parts
from tests.support.answers import COMPANION, NO_CSRF, OK, Outcome, companion_of, cookie, outcome


def app_with(**config: Any) -> tuple[Flask, AuthX]:
    """An app that also has ``/refresh``, which wants a refresh token."""
    config.setdefault("SECRET_KEY", SECRET)
    app, authx = make_app(**config)

    @app.route("/refresh", methods=["GET", "POST"])
    @authx.refresh_token_required
    def refresh() -> str:
        return "in"

    return app, authx


def find(config: dict[str, Any], type: Any = "access", **request: Any) -> str | None:
    """The token that an app with these settings finds in a request."""
    app, authx = app_with(**config)
    with app.test_request_context(**request):
        found = authx.get_token_from_request(type=type)
    return found.token if found else None


def from_cookie(
    config: dict[str, Any],
    type: str = "access",
    *,
    method: str = "POST",
    csrf_header: str | None = None,
    csrf_field: str | None = None,
) -> Outcome:
    """The response to a valid token in its cookie, with its CSRF value sent in this way."""
    app, authx = app_with(TOKEN_LOCATION="cookies", **config)
    create = authx.create_access_token if type == "access" else authx.create_refresh_token
    with app.app_context():
        token = create("ann")
    csrf = parts(token)[1]["csrf"]
    name = {"access": "__Host-access_token", "refresh": "__Secure-refresh_token"}[type]
    response = app.test_client(use_cookies=False).open(
        "/guarded" if type == "access" else "/refresh",
        method=method,
        headers=cookie((name, token), (COMPANION, companion_of(token)))
        | ({csrf_header: csrf} if csrf_header else {}),
        data={csrf_field: csrf} if csrf_field else None,
    )
    return outcome(response)


QUERY: dict[str, Any] = {"TOKEN_LOCATION": "query"}
JSON: dict[str, Any] = {"TOKEN_LOCATION": "json"}
COOKIES: dict[str, Any] = {"TOKEN_LOCATION": "cookies"}


@pytest.mark.parametrize(
    ("location", "request_"),
    [
        ("headers", {"headers": bearer("t.t.t")}),
        ("cookies", {"headers": {"Cookie": "__Host-access_token=t.t.t"}}),
        ("query", {"query_string": {"token": "t.t.t"}}),
        ("json", {"method": "POST", "json": {"access_token": "t.t.t"}}),
    ],
)
def test_setting_token_location(location: str, request_: dict[str, Any]) -> None:
    for other in ("headers", "cookies", "query", "json"):
        found = find({"TOKEN_LOCATION": [other]}, **request_)
        assert found == ("t.t.t" if other == location else None)
    assert find({"TOKEN_LOCATION": "json, cookies,headers,query"}, **request_) == "t.t.t"
    assert find({}, **request_) == ("t.t.t" if location == "headers" else None)


def test_setting_header_name() -> None:
    own = {"X-Token": "Bearer t.t.t"}
    assert find({}, headers=own) is None
    assert find({"HEADER_NAME": "X-Token"}, headers=own) == "t.t.t"
    assert find({"HEADER_NAME": "X-Token"}, headers=bearer("t.t.t")) is None


def test_setting_header_type() -> None:
    own = {"Authorization": "JWT t.t.t"}
    assert find({}, headers=own) is None
    assert find({"HEADER_TYPE": "JWT"}, headers=own) == "t.t.t"
    assert find({"HEADER_TYPE": ""}, headers={"Authorization": "t.t.t"}) == "t.t.t"


def test_setting_query_string_name() -> None:
    assert find(QUERY, query_string={"jwt": "t.t.t"}) is None
    assert find({**QUERY, "QUERY_STRING_NAME": "jwt"}, query_string={"jwt": "t.t.t"}) == "t.t.t"


def test_setting_query_string_value_prefix() -> None:
    prefixed = {"token": "Bearer t.t.t"}
    assert find(QUERY, query_string=prefixed) == "Bearer t.t.t"
    config = {**QUERY, "QUERY_STRING_VALUE_PREFIX": "Bearer "}
    assert find(config, query_string=prefixed) == "t.t.t"


def test_setting_json_key() -> None:
    body: dict[str, Any] = {"method": "POST", "json": {"jwt": "t.t.t"}}
    assert find(JSON, **body) is None
    assert find({**JSON, "JSON_KEY": "jwt"}, **body) == "t.t.t"
    assert find({**JSON, "JSON_KEY": "jwt"}, "refresh", **body) is None


def test_setting_refresh_json_key() -> None:
    body: dict[str, Any] = {"method": "POST", "json": {"jwt": "t.t.t"}}
    assert find(JSON, "refresh", **body) is None
    assert find({**JSON, "REFRESH_JSON_KEY": "jwt"}, "refresh", **body) == "t.t.t"
    assert find({**JSON, "REFRESH_JSON_KEY": "jwt"}, **body) is None


def test_setting_json_methods() -> None:
    body = {"access_token": "t.t.t"}
    assert find(JSON, method="DELETE", json=body) is None
    assert find({**JSON, "JSON_METHODS": "delete"}, method="DELETE", json=body) == "t.t.t"
    assert find({**JSON, "JSON_METHODS": "delete"}, method="POST", json=body) is None


def test_setting_access_cookie_name() -> None:
    own = {"Cookie": "mine=t.t.t"}
    assert find(COOKIES, headers=own) is None
    assert find({**COOKIES, "ACCESS_COOKIE_NAME": "mine"}, headers=own) == "t.t.t"
    assert find({**COOKIES, "ACCESS_COOKIE_NAME": "mine"}, "refresh", headers=own) is None


def test_setting_refresh_cookie_name() -> None:
    own = {"Cookie": "mine=t.t.t"}
    assert find(COOKIES, "refresh", headers=own) is None
    assert find({**COOKIES, "REFRESH_COOKIE_NAME": "mine"}, "refresh", headers=own) == "t.t.t"
    assert find({**COOKIES, "REFRESH_COOKIE_NAME": "mine"}, headers=own) is None


def test_setting_cookie_csrf_protect() -> None:
    assert from_cookie({}) == NO_CSRF
    assert from_cookie({"COOKIE_CSRF_PROTECT": False}) == OK


def test_setting_csrf_methods() -> None:
    config = {"CSRF_METHODS": ["GET", "POST", "PUT", "PATCH", "DELETE"]}
    assert from_cookie({}, method="GET") == OK
    assert from_cookie(config, method="GET") == NO_CSRF
    assert from_cookie(config, method="GET", csrf_header="X-CSRF-TOKEN") == OK


def test_setting_csrf_check_form() -> None:
    assert from_cookie({}, csrf_field="csrf_token") == NO_CSRF
    assert from_cookie({"CSRF_CHECK_FORM": True}, csrf_field="csrf_token") == OK


def test_setting_access_csrf_header_name() -> None:
    config = {"ACCESS_CSRF_HEADER_NAME": "X-Mine"}
    assert from_cookie({}, csrf_header="X-Mine") == NO_CSRF
    assert from_cookie(config, csrf_header="X-Mine") == OK
    assert from_cookie(config, csrf_header="X-CSRF-TOKEN") == NO_CSRF


def test_setting_refresh_csrf_header_name() -> None:
    config = {"REFRESH_CSRF_HEADER_NAME": "X-Mine"}
    assert from_cookie({}, "refresh", csrf_header="X-Mine") == NO_CSRF
    assert from_cookie(config, "refresh", csrf_header="X-Mine") == OK
    assert from_cookie(config, csrf_header="X-CSRF-TOKEN") == OK


def test_setting_access_csrf_field_name() -> None:
    form: dict[str, Any] = {"CSRF_CHECK_FORM": True}
    config = {**form, "ACCESS_CSRF_FIELD_NAME": "mine"}
    assert from_cookie(form, csrf_field="mine") == NO_CSRF
    assert from_cookie(config, csrf_field="mine") == OK


def test_setting_refresh_csrf_field_name() -> None:
    form: dict[str, Any] = {"CSRF_CHECK_FORM": True}
    config = {**form, "REFRESH_CSRF_FIELD_NAME": "mine"}
    assert from_cookie(form, "refresh", csrf_field="mine") == NO_CSRF
    assert from_cookie(config, "refresh", csrf_field="mine") == OK
    assert from_cookie(config, csrf_field="csrf_token") == OK
