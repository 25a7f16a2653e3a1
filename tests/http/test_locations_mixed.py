"""Finding a token in a JSON body and in a cookie: SECURITY.md A.8."""

from __future__ import annotations

import gzip
import io
import json
import tracemalloc
from typing import Any, cast

import pytest
from flask import Flask, request

from flask_authx import AuthX
from tests.support import access_token, bearer, make_app
from tests.support.answers import (
    ACCESS_COOKIE,
    INVALID,
    MALFORMED,
    MISSING,
    OK,
    Outcome,
    ask,
    cookie,
    outcome,
)
from tests.support.corpus import by_repr, check_all

EVERYWHERE = ["cookies", "headers", "json", "query"]


@pytest.fixture
def everywhere() -> tuple[Flask, AuthX]:
    return make_app(TOKEN_LOCATION=EVERYWHERE)


BODIES: list[tuple[bytes, Outcome]] = [
    (b'{"access_token": "TOKEN"}', OK),
    (b'{"a": {"access_token": 1}, "access_token": "TOKEN", "b": [{}]}', OK),
    (b'{"access_token": "TOKEN", "b": {"c": {"access_token": 1}}}', OK),
    (b"[1]", MISSING),
    (b'[{"access_token": "TOKEN"}]', MISSING),
    (b'"text"', MISSING),
    (b"5", MISSING),
    (b"null", MISSING),
    (b"", MISSING),
    (b"{}", MISSING),
    (b'{"b": {"access_token": "TOKEN"}}', MISSING),
    (b"{", MALFORMED),
    (b"access_token=TOKEN", MALFORMED),
    (b'{"access_token": "TOKEN"} x', MALFORMED),
    (b"\xef\xbb\xbf{}", MALFORMED),
    ('{"é": 1}'.encode("latin-1"), MALFORMED),
    ('{"access_token": "TOKEN"}'.encode("utf-16"), MALFORMED),
    (gzip.compress(b'{"access_token": "TOKEN"}', mtime=0), MALFORMED),
    (b'{"access_token": "TOKEN", "access_token": "TOKEN"}', MALFORMED),
    (b'{"access_token": 5, "access_token": "TOKEN"}', MALFORMED),
    (b"[" * 60_000, MALFORMED),
    (b'{"access_token":' * 4_000, MALFORMED),
    (b"[" * 100_000, MISSING),
    (b'{"access_token":' * 100_000, MISSING),
    (b'{"access_token": 5}', INVALID),
    (b'{"access_token": null}', INVALID),
    (b'{"access_token": true}', INVALID),
    (b'{"access_token": []}', INVALID),
    (b'{"access_token": ["TOKEN"]}', INVALID),
    (b'{"access_token": {}}', INVALID),
    (b'{"access_token": ""}', INVALID),
    (b'{"access_token": "\\ud800"}', INVALID),
    (b'{"access_token": " TOKEN"}', INVALID),
    (b'{"access_token": "Bearer TOKEN"}', INVALID),
]


def test_json_bodies() -> None:
    """SECURITY A.8 149, USERS 6, 7"""
    app, authx = make_app(TOKEN_LOCATION=["json"])
    token = access_token(app, authx).encode()

    def check(case: tuple[bytes, Outcome]) -> None:
        body, expected = case
        data = body.replace(b"TOKEN", token)
        response = ask(app, "POST", data=data, content_type="application/json")
        assert outcome(response) == expected

    check_all(by_repr(BODIES), check)


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("application/json; charset=utf-8", OK),
        ("Application/JSON", OK),
        ("application/vnd.api+json", OK),
        (None, MISSING),
        ("text/plain", MISSING),
        ("application/x-www-form-urlencoded", MISSING),
        ("application/jsonx", MISSING),
    ],
)
def test_json_content_types(content_type: str | None, expected: Outcome) -> None:
    """SECURITY A.8 150, USERS 8"""
    app, authx = make_app(TOKEN_LOCATION=["json"])
    body = json.dumps({"access_token": access_token(app, authx)})
    assert outcome(ask(app, "POST", data=body, content_type=content_type)) == expected


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("POST", OK),
        ("PUT", OK),
        ("PATCH", OK),
        ("GET", MISSING),
        ("HEAD", Outcome(401)),
        ("DELETE", MISSING),
    ],
)
def test_json_is_read_with_these_methods_only(method: str, expected: Outcome) -> None:
    """SECURITY A.8 151"""
    app, authx = make_app(TOKEN_LOCATION=["json"])
    assert outcome(ask(app, method, json={"access_token": access_token(app, authx)})) == expected


def test_the_methods_whose_json_is_read_are_a_setting() -> None:
    """SECURITY A.8 151"""
    app, authx = make_app(TOKEN_LOCATION=["json"], JSON_METHODS=["DELETE"])
    body = {"access_token": access_token(app, authx)}
    assert outcome(ask(app, "DELETE", json=body)) == OK
    assert outcome(ask(app, "POST", json=body)) == MISSING


@pytest.mark.parametrize(
    "content_type", ["multipart/form-data", "application/x-www-form-urlencoded"]
)
def test_a_token_in_a_form_is_not_read(content_type: str, everywhere: tuple[Flask, AuthX]) -> None:
    """SECURITY A.8 152"""
    app, authx = everywhere
    form = {"access_token": access_token(app, authx)}
    assert outcome(ask(app, "POST", data=form, content_type=content_type)) == MISSING


def test_a_view_can_still_read_what_was_searched(everywhere: tuple[Flask, AuthX]) -> None:
    """USERS 9"""
    app, authx = everywhere

    @app.post("/read")
    @authx.token_required
    def read() -> dict[str, Any]:
        if request.files:
            return {"file": request.files["f"].stream.read().decode(), "form": request.form["n"]}
        if request.is_json:
            return {"json": request.get_json()["n"], "data": len(request.get_data())}
        return {"stream": request.stream.read().decode()}

    token = access_token(app, authx)
    form = {"n": "ann", "f": (io.BytesIO(b"a file"), "f.txt")}
    response = ask(app, "POST", "/read", data=form, headers=bearer(token))
    assert response.json == {"file": "a file", "form": "ann"}
    response = ask(app, "POST", "/read", data=b"raw", headers=bearer(token))
    assert response.json == {"stream": "raw"}
    body = {"access_token": token, "n": "ann"}
    response = ask(app, "POST", "/read", json=body)
    assert cast(Any, response.json)["json"] == "ann"


def test_the_apps_own_limit_on_bodies_is_kept(everywhere: tuple[Flask, AuthX]) -> None:
    app, _ = everywhere
    app.config["MAX_CONTENT_LENGTH"] = 100
    assert outcome(ask(app, "POST", json={"a": "b" * 200})) == Outcome(413, "MalformedRequestError")


def test_a_huge_json_value_is_not_copied_beyond_reading_it() -> None:
    """SECURITY A.6 109: the token is refused for its length before anything is made of it."""
    app, _ = make_app(TOKEN_LOCATION=["json"])

    @app.post("/plain")
    def plain() -> dict[str, int]:
        return {"read": len(json.loads(request.get_data().decode())["access_token"])}

    body = b'{"access_token": "' + b"a." * 5_000_000 + b'"}'

    def peak(path: str, status: int) -> int:
        stream = io.BytesIO(body)
        with app.test_request_context(
            path, method="POST", input_stream=stream, content_length=len(body),
            content_type="application/json",
        ):  # fmt: skip
            tracemalloc.start()
            try:
                assert app.full_dispatch_request().status_code == status
                return tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()

    ask(app)
    assert peak("/guarded", 401) < peak("/plain", 200) + 1_000_000


# Cookies


COOKIES: list[tuple[str, Outcome]] = [
    ("{name}={token}", OK),
    ("a=b; {name}={token}; c=d", OK),
    ("{name}={token};", OK),
    ("a=b;{name}={token};c=d", OK),
    ("{name}={token}; {name}={token}", OK),
    ("{name}={token}; {name}=x.y.z", MALFORMED),
    ("{name}=x.y.z; {name}={token}", MALFORMED),
    ("{name}=; {name}={token}", MALFORMED),
    ("{name}={token},{name}={token}", INVALID),
    ('{name}="{token}"', INVALID),
    ("{name}={token}%2E", INVALID),
    ("{name}=deleted", INVALID),
    ("{name}=é", INVALID),
    ("{name}=" + "a" * 8_200, INVALID),
    ("{name}=", MISSING),
    ("{name}", MISSING),
    ("x{name}={token}", MISSING),
    ("__host-access_token={token}", MISSING),
    ("__HOST-access_token={token}", MISSING),
    ("a={name}={token}", MISSING),
]


def test_cookie_headers() -> None:
    """SECURITY A.8 140, 141, 142, 146, USERS 12, 14"""
    app, authx = make_app(TOKEN_LOCATION=["cookies"])
    token = access_token(app, authx)

    def check(case: tuple[str, Outcome]) -> None:
        template, expected = case
        value = template.format(name=ACCESS_COOKIE, token=token)
        # As a server hands it on: the bytes as latin-1.
        environ = {"HTTP_COOKIE": value.encode().decode("latin-1")}
        assert outcome(ask(app, environ_overrides=environ)) == expected

    check_all(by_repr(COOKIES), check)


def test_a_cookie_name_that_is_a_pattern_is_taken_literally() -> None:
    app, authx = make_app(TOKEN_LOCATION=["cookies"], ACCESS_COOKIE_NAME="a.b+")
    token = access_token(app, authx)
    assert outcome(ask(app, headers=cookie(("a.b+", token)))) == OK
    assert outcome(ask(app, headers=cookie(("axbb", token)))) == MISSING
