"""Tokens in several places at once, and what a view or the app's own code searches."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import pytest
from flask import Flask, Response

from flask_authx import (
    AuthX,
    Location,
    MalformedRequestError,
    MissingTokenError,
    RequestToken,
    TokenType,
    current_token,
)
from flask_authx.enums import LocationName
from tests.support import access_token, bearer, make_app, reforge, refresh_token
from tests.support.answers import (
    ACCESS_COOKIE,
    INVALID,
    MALFORMED,
    MISSING,
    NO_CSRF,
    OK,
    REFRESH_COOKIE,
    ask,
    cookie,
    outcome,
    refresh_cookies,
)

EVERYWHERE: list[LocationName] = ["cookies", "headers", "json", "query"]


def basic() -> dict[str, str]:
    return {"Authorization": "Basic eHl6OmE="}


@pytest.fixture
def everywhere() -> tuple[Flask, AuthX]:
    app, authx = make_app(TOKEN_LOCATION=EVERYWHERE)

    @app.post("/refresh")
    @authx.refresh_token_required
    def refresh() -> dict[str, str]:
        return {"sub": current_token.sub}

    return app, authx


def test_the_explicit_token_wins_over_the_cookie_and_needs_no_csrf_value() -> None:
    """SECURITY A.8 136, USERS 11, 65: whatever the order in the setting."""
    for locations in (EVERYWHERE, EVERYWHERE[::-1]):
        app, authx = make_app(TOKEN_LOCATION=locations)
        cookies = cookie((ACCESS_COOKIE, access_token(app, authx, "bob")))
        token = access_token(app, authx, "ann")
        for kwargs in (
            {"headers": bearer(token) | cookies},
            {"headers": cookies, "query_string": {"token": token}},
            {"headers": cookies, "json": {"access_token": token}},
        ):
            response = ask(app, "POST", **cast(Any, kwargs))
            assert outcome(response) == OK
            assert response.json == {"sub": "ann"}


def test_a_valid_header_wins_over_an_expired_cookie(everywhere: tuple[Flask, AuthX]) -> None:
    """USERS 11"""
    app, authx = everywhere
    token = access_token(app, authx)
    expired = reforge(token, iat=1, exp=2, auth_time=1, nbf=1)
    headers = bearer(token) | cookie((ACCESS_COOKIE, expired))
    assert outcome(ask(app, headers=headers)) == OK


@pytest.mark.parametrize(
    "places", [("headers", "query"), ("headers", "json"), ("query", "json"), EVERYWHERE[1:]]
)
def test_two_explicit_tokens_are_a_bad_request(
    places: tuple[str, ...], everywhere: tuple[Flask, AuthX]
) -> None:
    """SECURITY A.8 136, 154"""
    app, authx = everywhere
    token = access_token(app, authx)
    kwargs: dict[str, Any] = {
        "headers": {"headers": bearer(token)},
        "query": {"query_string": {"token": token}},
        "json": {"json": {"access_token": token}},
    }
    merged = {key: value for place in places for key, value in kwargs[place].items()}
    assert outcome(ask(app, "POST", **merged)) == MALFORMED


@pytest.mark.parametrize(
    ("authorization", "expected"),
    [
        ("Bearer x.y.z", INVALID),
        ("Bearer ", MALFORMED),
        ("Bearer", MALFORMED),
        ("Bearer a b", MALFORMED),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_invalid_header_is_never_replaced_by_a_valid_cookie(
    authorization: str, expected: tuple[int, str], method: str, everywhere: tuple[Flask, AuthX]
) -> None:
    """SECURITY A.8 137, 139"""
    app, authx = everywhere
    headers = cookie((ACCESS_COOKIE, access_token(app, authx))) | {"Authorization": authorization}
    assert outcome(ask(app, method, headers=headers)) == expected


def test_basic_beside_a_cookie_leaves_the_cookie_and_its_csrf_check(
    everywhere: tuple[Flask, AuthX],
) -> None:
    """SECURITY A.8 138, A.10 173"""
    app, authx = everywhere
    headers = cookie((ACCESS_COOKIE, access_token(app, authx))) | basic()
    assert outcome(ask(app, headers=headers)) == OK
    assert outcome(ask(app, "POST", headers=headers)) == NO_CSRF


def test_broken_json_is_no_business_of_a_guard_that_has_its_token(
    everywhere: tuple[Flask, AuthX],
) -> None:
    app, authx = everywhere
    token = access_token(app, authx)
    broken: dict[str, Any] = {"data": b"{", "content_type": "application/json"}
    assert outcome(ask(app, "POST", headers=bearer(token), **broken)) == OK
    assert outcome(ask(app, "POST", query_string={"token": token}, **broken)) == OK
    cookies = cookie((ACCESS_COOKIE, token))
    assert outcome(ask(app, "POST", headers=cookies, **broken)) == MALFORMED


# A refresh token: what is named for it comes first.


def test_a_client_that_always_sends_its_access_token_can_refresh(
    everywhere: tuple[Flask, AuthX],
) -> None:
    """The refresh rule of DESIGN.md section 2"""
    app, authx = everywhere
    access, refresh = access_token(app, authx), refresh_token(app, authx)
    headers = bearer(access)
    response = ask(app, "POST", "/refresh", headers=headers, json={"refresh_token": refresh})
    assert outcome(response) == OK
    with app.app_context():
        csrf = authx.decode_token(refresh).csrf or ""
    headers |= cookie(*refresh_cookies(refresh)) | {"X-CSRF-TOKEN": csrf}
    assert outcome(ask(app, "POST", "/refresh", headers=headers)) == OK


def test_a_refresh_cookie_beside_an_access_header_needs_its_csrf_value(
    everywhere: tuple[Flask, AuthX],
) -> None:
    app, authx = everywhere
    headers = bearer(access_token(app, authx)) | cookie((REFRESH_COOKIE, refresh_token(app, authx)))
    response = ask(app, "POST", "/refresh", headers=headers)
    assert outcome(response) == NO_CSRF


def test_refresh_tokens_are_found_in_header_and_query(everywhere: tuple[Flask, AuthX]) -> None:
    app, authx = everywhere
    token = refresh_token(app, authx)
    assert outcome(ask(app, "POST", "/refresh", headers=bearer(token))) == OK
    assert outcome(ask(app, "POST", "/refresh", query_string={"token": token})) == OK
    response = ask(app, "POST", "/refresh", headers=bearer(token), query_string={"token": token})
    assert outcome(response) == MALFORMED


def test_the_json_key_of_access_tokens_holds_no_refresh_token(
    everywhere: tuple[Flask, AuthX],
) -> None:
    app, authx = everywhere
    token = refresh_token(app, authx)
    assert outcome(ask(app, "POST", "/refresh", json={"access_token": token})) == MISSING
    response = ask(app, "POST", "/refresh", headers=cookie((ACCESS_COOKIE, token)))
    assert outcome(response) == MISSING


def test_an_invalid_refresh_token_in_json_is_not_replaced(everywhere: tuple[Flask, AuthX]) -> None:
    app, authx = everywhere
    headers = bearer(refresh_token(app, authx))
    response = ask(app, "POST", "/refresh", headers=headers, json={"refresh_token": "x.y.z"})
    assert outcome(response) == INVALID
    response = ask(app, "POST", "/refresh", headers=headers | cookie((REFRESH_COOKIE, "x.y.z")))
    assert outcome(response) == INVALID


# What one view searches


@pytest.mark.parametrize(
    "locations",
    ["query", ["query"], {"query"}, (Location.QUERY,), cast(Any, "query_string")],
)
def test_a_view_may_search_elsewhere(locations: Any) -> None:
    app, authx = make_app()

    @app.get("/download")
    @authx.token_required(locations=locations)
    def download() -> str:
        return "file"

    token = access_token(app, authx)
    assert outcome(ask(app, path="/download", query_string={"token": token})) == OK
    assert outcome(ask(app, path="/download", headers=bearer(token))) == MISSING
    assert outcome(ask(app, query_string={"token": token})) == MISSING


def test_the_order_in_a_views_list_means_nothing() -> None:
    app, authx = make_app()

    @app.get("/cookie-first")
    @authx.access_token_required(locations=["cookies", "headers"])
    def cookie_first() -> dict[str, str]:
        return {"sub": current_token.sub}

    headers = bearer(access_token(app, authx, "ann"))
    headers |= cookie((ACCESS_COOKIE, access_token(app, authx, "bob")))
    assert ask(app, path="/cookie-first", headers=headers).json == {"sub": "ann"}


# get_token_from_request


def found(app: Flask, authx: AuthX, **kwargs: Any) -> RequestToken | None:
    with app.test_request_context(**kwargs):
        return authx.get_token_from_request()


@pytest.mark.parametrize("location", EVERYWHERE)
def test_the_found_token_says_where_it_was(location: str, everywhere: tuple[Flask, AuthX]) -> None:
    app, authx = everywhere
    kwargs: dict[str, dict[str, Any]] = {
        "headers": {"headers": bearer("x.y.z")},
        "query": {"query_string": {"token": "x.y.z"}},
        "json": {"method": "POST", "json": {"access_token": "x.y.z"}},
        "cookies": {"headers": cookie((ACCESS_COOKIE, "x.y.z")) | {"X-CSRF-TOKEN": "c"}},
    }
    token = found(app, authx, **kwargs[location])
    csrf = "c" if location == "cookies" else None
    assert token is not None
    assert (token.token, token.csrf) == ("x.y.z", csrf)
    assert (token.type, token.location) == (TokenType.ACCESS, Location(location))
    assert str(token) == "x.y.z"
    assert "x.y.z" not in repr(token)


def test_no_token_is_none_or_an_error(everywhere: tuple[Flask, AuthX]) -> None:
    app, authx = everywhere
    assert found(app, authx) is None
    with app.test_request_context():
        assert authx.get_token_from_request(optional=True) is None
        with pytest.raises(MissingTokenError):
            authx.get_token_from_request(optional=False)
    with (
        app.test_request_context(headers={"Authorization": "Bearer"}),
        pytest.raises(MalformedRequestError),
    ):
        authx.get_token_from_request()


def test_a_found_token_may_be_of_a_type_and_from_a_place(everywhere: tuple[Flask, AuthX]) -> None:
    app, authx = everywhere
    headers = bearer("a.a.a") | cookie((REFRESH_COOKIE, "r.r.r"))
    places: Iterable[LocationName] = ("headers",)
    with app.test_request_context(headers=headers):
        refresh = authx.get_token_from_request(type="refresh", optional=False)
        assert (str(refresh), refresh.type) == ("r.r.r", TokenType.REFRESH)
        header = authx.get_token_from_request(type=TokenType.REFRESH, locations=places)
        assert (str(header), header and header.location) == ("a.a.a", Location.HEADERS)
        assert authx.get_token_from_request(locations="query") is None


def test_finding_asks_no_callback_and_identifies_no_user(everywhere: tuple[Flask, AuthX]) -> None:
    """Rule 1"""
    app, authx = everywhere
    asked: list[str] = []

    @authx.token_blocklist
    def is_revoked(token: str) -> bool:
        asked.append(token)
        return True

    @authx.set_subject_getter
    def load(uid: str) -> str:
        asked.append(uid)
        return uid

    @app.get("/find")
    def find() -> Response:
        return Response(f"{authx.get_token_from_request()} {bool(current_token)}")

    token = access_token(app, authx)
    assert ask(app, path="/find", headers=bearer(token)).text == f"{token} False"
    assert asked == []
