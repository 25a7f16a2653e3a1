"""A view that looks in cookies by itself, in an app whose settings have no cookies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Blueprint, Flask, Response

from flask_authx import AuthX, current_token
from tests.support import Clock, ec_key, make_app, parts
from tests.support.answers import (
    ACCESS_COOKIE,
    COMPANION,
    CSRF,
    NO_CSRF,
    OK,
    REFRESH_COOKIE,
    outcome,
)
from tests.support.browsers import ACCESS_CSRF, COOKIES, METHODS, cookies_in, csrf, pair_of

#: The ways in which a guard is told to look there.
WAYS: dict[str, Callable[[AuthX, Callable[[], str]], Callable[[], str]]] = {
    "token_required": lambda authx, view: authx.token_required(locations=["cookies"])(view),
    "optional_token": lambda authx, view: authx.optional_token(locations="cookies")(view),
    "scopes_required": lambda authx, view: authx.scopes_required("a", locations="cookies")(view),
}


def app_with(way: str, algorithm: str = "HS256") -> tuple[Flask, AuthX]:
    app = Flask("tests")
    app.testing = True
    app.config["JWT_ALGORITHM"] = algorithm
    if algorithm == "HS256":
        app.config["JWT_SECRET_KEY"] = "cN4vR8tX2zL6qW0yB5mK9pS3dF7gH1jUaEiOkPrTxVn"
    else:
        app.config["JWT_PRIVATE_KEY"] = ec_key("P-256")
    authx = AuthX(app, clock=Clock())

    def view() -> str:
        return current_token.sub if current_token else "nobody"

    if way in WAYS:
        app.add_url_rule("/page", "page", WAYS[way](authx, view), methods=METHODS)
    elif way == "protect":
        pages = Blueprint("pages", __name__)
        pages.add_url_rule("/page", "page", view, methods=METHODS)
        authx.protect(pages, locations="cookies")
        app.register_blueprint(pages)
    else:
        app.add_url_rule("/page", "page", authx.token_required(view), methods=METHODS)

    @app.post("/login")
    @authx.public
    def login() -> Response:
        response = Response()
        token = authx.create_access_token("ann", scopes=["a"])
        authx.set_access_cookies(response, token)
        return response

    return app, authx


@pytest.mark.parametrize("way", [*WAYS, "protect"])
def test_set_access_cookies_works_for_it(way: str) -> None:
    app, _ = app_with(way)
    client = app.test_client()
    assert cookies_in(client.post("/login")).keys() == {ACCESS_COOKIE, ACCESS_CSRF}
    assert client.get("/page").text == "ann"
    assert outcome(client.post("/page")) == NO_CSRF
    assert outcome(client.post("/page", headers={"X-CSRF-TOKEN": "x"})) == CSRF
    response = client.post("/page", headers=csrf(client))
    assert (outcome(response), response.text) == (OK, "ann")
    assert "Cookie" in response.headers["Vary"]


def test_set_cookies_works_for_it_as_well() -> None:
    app, authx = app_with("token_required")
    view = authx.refresh_token_required(locations="cookies")(lambda: "in")
    app.add_url_rule("/auth/refresh", "refresh", view, methods=["POST"])
    pair = pair_of(app, authx)

    @app.post("/both")
    def both() -> Response:
        response = Response()
        authx.set_cookies(response, pair)
        return response

    client = app.test_client()
    assert cookies_in(client.post("/both")).keys() == COOKIES
    headers = csrf(client, "csrf_refresh_token")
    assert outcome(client.post("/auth/refresh", headers=headers)) == OK
    client.delete_cookie(COMPANION)
    assert client.post("/auth/refresh", headers=headers).status_code == 401
    assert client.get_cookie(REFRESH_COOKIE, path="/auth") is not None


#: The ways in which a view without a guard looks there.
OWN_WAYS: dict[str, Callable[[AuthX], str | None]] = {
    "identify": lambda authx: authx.identify(locations=["cookies"]).sub,
    "identify, optional": lambda authx: getattr(
        authx.identify(optional=True, locations="cookies"), "sub", None
    ),
    "get_token_from_request": lambda authx: (
        authx.verify_token(authx.get_token_from_request(optional=False, locations=["cookies"])).sub
    ),
}


@pytest.mark.parametrize("way", OWN_WAYS)
@pytest.mark.parametrize("algorithm", ["HS256", "ES256"])
def test_set_access_cookies_works_for_a_view_that_looks_there_itself(
    way: str, algorithm: str
) -> None:
    app, authx = app_with("none", algorithm)

    @app.route("/own", methods=METHODS)
    def own() -> str:
        return OWN_WAYS[way](authx) or "nobody"

    client = app.test_client()
    assert cookies_in(client.post("/login")).keys() == {ACCESS_COOKIE, ACCESS_CSRF}
    assert client.get("/own").text == "ann"
    # As without a token: only the holder of a genuine one is told of the CSRF value.
    refused = client.post("/own")
    assert refused.text == "nobody" if way.endswith("optional") else outcome(refused) == NO_CSRF
    assert client.post("/own", headers=csrf(client)).text == "ann"


def test_the_token_in_its_cookie_is_the_same_but_for_the_csrf_value() -> None:
    app, authx = app_with("none")
    response = Response()
    with app.test_request_context():
        token = authx.create_access_token(
            "ann", fresh=True, scopes=["a"], data={"b": 1}, headers={"x": "y"}
        )
        authx.set_access_cookies(response, token)
        held = cookies_in(response)[ACCESS_COOKIE].value
        header, claims, _ = parts(token)
        held_header, held_claims, _ = parts(held)
        assert held_header == header
        assert held_claims.pop("csrf") == cookies_in(response)[ACCESS_CSRF].value
        assert held_claims == claims


def test_without_such_a_guard_it_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    app, _ = app_with("none")
    for _ in range(2):
        app.test_client().post("/login")
    (line,) = [one.getMessage() for one in caplog.records]
    assert 'app.config["JWT_TOKEN_LOCATION"]' in line
    assert "locations=" in line
    assert "identify" in line
    caplog.clear()
    guarded, _ = app_with("token_required")
    guarded.test_client().post("/login")
    assert caplog.records == []


def test_tokens_of_an_app_without_any_carry_no_csrf_value() -> None:
    config: dict[str, Any] = {}
    app, authx = make_app(**config)
    assert "csrf" not in parts(pair_of(app, authx).access_token)[1]


def test_a_guard_made_for_a_header_changes_nothing() -> None:
    app, authx = make_app()
    app.add_url_rule("/h", "h", authx.token_required(locations=["headers", "json"])(lambda: "x"))
    assert "csrf" not in parts(pair_of(app, authx).access_token)[1]
