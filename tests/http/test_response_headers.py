"""What the responses say to caches and referrers: SECURITY.md A.9."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask, Request, Response, redirect
from werkzeug.wrappers import Response as BaseResponse

from flask_authx import AuthX
from tests.support import access_token, bearer, make_app
from tests.support.answers import ACCESS_COOKIE, FAULT, MALFORMED, OK, Spy, ask, cookie, outcome


def vary(response: BaseResponse) -> set[str]:
    return {name.lower() for name in response.vary}


@pytest.fixture
def plain() -> tuple[Flask, AuthX, str]:
    app, authx = make_app()
    return app, authx, access_token(app, authx)


def everywhere(**config: Any) -> tuple[Flask, AuthX, str]:
    app, authx = make_app(TOKEN_LOCATION=["headers", "cookies", "query"], **config)
    return app, authx, access_token(app, authx)


def test_a_guard_that_reads_only_the_header_adds_nothing(plain: tuple[Flask, AuthX, str]) -> None:
    app, _, token = plain
    response = ask(app, headers=bearer(token))
    assert outcome(response) == OK
    for name in ("Vary", "Cache-Control", "Referrer-Policy", "WWW-Authenticate"):
        assert name not in response.headers


@pytest.mark.parametrize("authorization", [None, "Bearer x.y.z", "Bearer", "Bearer {}"])
def test_a_response_varies_by_the_cookie_that_was_looked_for(authorization: str | None) -> None:
    """SECURITY A.9 160: refused or not."""
    app, _, token = everywhere()
    headers = {} if authorization is None else {"Authorization": authorization.format(token)}
    assert "cookie" in vary(ask(app, headers=headers))


@pytest.mark.parametrize("value", ["{}", "x.y.z", "{0}; " + ACCESS_COOKIE + "=x"])
def test_a_response_varies_by_the_cookie_that_was_read(value: str) -> None:
    """SECURITY A.9 160"""
    app, _, token = everywhere()
    assert "cookie" in vary(ask(app, headers=cookie((ACCESS_COOKIE, value.format(token)))))


def test_a_view_that_reads_no_cookie_does_not_vary_by_it() -> None:
    app, authx, token = everywhere()

    @app.get("/header")
    @authx.token_required(locations="headers")
    def header() -> str:
        return ""

    assert "Vary" not in ask(app, path="/header", headers=bearer(token)).headers


def test_an_optional_view_varies_in_both_branches(plain: tuple[Flask, AuthX, str]) -> None:
    """SECURITY A.9 162"""
    app, _, token = plain
    for headers in ({}, bearer(token), bearer("x.y.z")):
        assert vary(ask(app, path="/optional", headers=headers)) == {"authorization"}


def test_an_optional_view_varies_by_all_that_it_reads() -> None:
    """SECURITY A.9 162"""
    app, _, token = everywhere(HEADER_NAME="X-Auth")
    for headers in ({}, {"X-Auth": f"Bearer {token}"}, cookie((ACCESS_COOKIE, token))):
        assert vary(ask(app, path="/optional", headers=headers)) == {"x-auth", "cookie"}


@pytest.mark.parametrize("name", ["X-Token", "X-Authorization", "Authorization2", "X-Api-Key"])
@pytest.mark.parametrize("path", ["/guarded", "/optional", "/here"])
def test_a_response_varies_by_any_header_that_caches_do_not_know(name: str, path: str) -> None:
    """SECURITY A.9 332; RFC 9111 section 3.5: refused or not, by the settings or by the guard."""
    for locations in (["headers"], ["headers", "json"], ["cookies"]):
        app, authx = make_app(HEADER_NAME=name, TOKEN_LOCATION=locations)
        app.get("/here")(authx.token_required(locations="headers")(lambda: "here"))
        token = access_token(app, authx)
        for value in (f"Bearer {token}", "Bearer x.y.z", None):
            response = ask(app, path=path, headers={} if value is None else {name: value})
            reads = "headers" in locations or path == "/here"
            assert (name.lower() in vary(response)) is reads


@pytest.mark.parametrize("name", ["Authorization", "authorization", "AUTHORIZATION"])
def test_a_response_does_not_vary_by_the_header_that_caches_know(name: str) -> None:
    app, authx = make_app(HEADER_NAME=name, TOKEN_LOCATION=["headers", "json"])
    response = ask(app, headers=bearer(access_token(app, authx)))
    assert outcome(response) == OK
    assert "Vary" not in response.headers


def test_every_view_under_a_rule_varies_as_well() -> None:
    app, authx = make_app(HEADER_NAME="X-Token", PROTECT_ALL=True)
    app.add_url_rule("/plain", view_func=lambda: "plain", endpoint="plain")
    response = ask(app, path="/plain", headers={"X-Token": f"Bearer {access_token(app, authx)}"})
    assert (response.status_code, vary(response)) == (200, {"x-token"})


def test_a_token_in_the_body_of_a_get_is_kept_from_caches() -> None:
    """SECURITY A.9 332: no header of the request says that there is one."""
    app, authx = make_app(TOKEN_LOCATION=["json"], JSON_METHODS=["GET", "POST"])
    body = {"access_token": access_token(app, authx)}
    for method, expected in (("GET", "private, no-store"), ("POST", None)):
        response = ask(app, method, json=body)
        assert outcome(response) == OK
        assert response.headers.get("Cache-Control") == expected


def test_nested_guards_do_not_repeat_themselves() -> None:
    app, authx, token = everywhere()
    authx.protect(app)

    @app.get("/nested")
    @authx.optional_token
    @authx.token_required
    @authx.token_required(fresh=False)
    def nested() -> str:
        return ""

    response = ask(app, path="/nested", headers=bearer(token))
    assert sorted(name.lower() for name in response.headers["Vary"].split(", ")) == [
        "authorization",
        "cookie",
    ]


def test_what_the_app_varies_by_is_kept() -> None:
    app, authx, token = everywhere()

    @app.get("/own")
    @authx.token_required
    def own() -> Response:
        response = Response("")
        response.vary.update(["Accept-Language", "cookie"])
        response.headers["Cache-Control"] = "max-age=60"
        return response

    response = ask(app, path="/own", headers=bearer(token))
    assert vary(response) == {"accept-language", "cookie"}
    assert response.headers["Cache-Control"] == "max-age=60"


def test_a_token_from_the_query_is_kept_from_caches_and_referrers() -> None:
    """SECURITY A.9 157"""
    app, authx, token = everywhere()

    @app.get("/cached")
    @authx.token_required
    def cached() -> Response:
        return Response("", headers={"Cache-Control": "public, max-age=60"})

    for path in ("/guarded", "/optional", "/cached"):
        response = ask(app, path=path, query_string={"token": token})
        assert outcome(response) == OK
        assert response.headers["Cache-Control"] == "private, no-store"
        assert response.headers["Referrer-Policy"] == "no-referrer"
    response = ask(app, headers=bearer(token))
    assert "Referrer-Policy" not in response.headers


@pytest.mark.parametrize("query", ["token=x.y.z", "token=", "token=a&token=b"])
def test_an_invalid_token_from_the_query_is_kept_from_them_as_well(query: str) -> None:
    """SECURITY A.9 157: what was refused may be somebody's token."""
    app, _, _ = everywhere()
    response = ask(app, path=f"/guarded?{query}")
    assert response.status_code in {400, 401}
    assert "no-store" in response.headers["Cache-Control"]
    assert response.headers["Referrer-Policy"] == "no-referrer"


@pytest.mark.parametrize("path", ["/guarded", "/optional"])
def test_a_query_that_cannot_be_read_is_kept_from_them_as_well(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SECURITY A.9 157: the token may be in it."""
    app, _, token = everywhere()

    def unreadable(request: Request) -> None:
        raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")

    # Werkzeug before 3 decodes it strictly, and so may the request class of an app.
    monkeypatch.setattr(Request, "args", property(unreadable))
    response = ask(app, path=f"{path}?token={token}&a=%ff")
    assert outcome(response) == MALFORMED
    assert "no-store" in response.headers["Cache-Control"]
    assert response.headers["Referrer-Policy"] == "no-referrer"


def test_a_redirect_does_not_carry_the_token_on() -> None:
    """SECURITY A.9 158"""
    app, authx, token = everywhere()

    @app.get("/folder/")
    @authx.token_required
    def folder() -> BaseResponse:
        return redirect("/elsewhere")

    response = ask(app, path="/folder/", query_string={"token": token})
    assert response.location == "/elsewhere"
    assert response.headers["Referrer-Policy"] == "no-referrer"


@pytest.mark.parametrize("value", [None, "Bearer x.y.z", "Bearer"])
def test_errors_are_stored_nowhere(value: str | None, plain: tuple[Flask, AuthX, str]) -> None:
    app, _, _ = plain
    headers = {} if value is None else {"Authorization": value}
    assert ask(app, headers=headers).headers["Cache-Control"] == "no-store"


def test_a_store_that_is_down_is_not_remembered(plain: tuple[Flask, AuthX, str]) -> None:
    app, authx, token = plain
    authx.token_blocklist(Spy(None))
    response = ask(app, headers=bearer(token))
    assert outcome(response) == FAULT
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["Retry-After"] == "1"


def test_a_response_with_new_tokens_is_stored_nowhere(plain: tuple[Flask, AuthX, str]) -> None:
    """SECURITY A.9 161"""
    app, authx, _ = plain

    @app.post("/login")
    def login() -> dict[str, Any]:
        return authx.create_token_pair("ann").to_dict()

    @app.post("/again")
    def again() -> str:
        return authx.create_access_token("ann")

    for path in ("/login", "/again"):
        assert ask(app, "POST", path).headers["Cache-Control"] == "no-store"


def test_finding_a_token_hardens_the_response_as_well() -> None:
    app, authx, token = everywhere()

    @app.get("/find")
    def find() -> str:
        return "found" if authx.get_token_from_request() else ""

    response = ask(app, path="/find", query_string={"token": token})
    assert vary(response) == {"authorization", "cookie"}
    assert response.headers["Cache-Control"] == "private, no-store"
