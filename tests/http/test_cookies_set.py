"""Setting cookies: with which attributes, on which path, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, Response
from werkzeug.wrappers import Response as BaseResponse

from flask_authx import AuthX, BadConfigurationError, TokenPair
from tests.support import NOW, OTHER_SECRET, SECRET, access_token, parts, reforge
from tests.support.answers import ACCESS_COOKIE, COMPANION, REFRESH_COOKIE, companion_of
from tests.support.browsers import (
    ACCESS_CSRF,
    COOKIES,
    HAS_PARTITIONED,
    REFRESH_CSRF,
    answer,
    cookies_in,
    pair_of,
    plain_app,
)
from tests.support.corpus import by_repr, check_all


def put(app: Flask, authx: AuthX, **environ: Any) -> dict[str, frozenset[str]]:
    """The attributes of the cookies that both tokens are set in, by name."""
    pair = pair_of(app, authx)
    response = answer(app, lambda to: authx.set_cookies(to, pair), **environ)
    return {name: cookie.attributes for name, cookie in cookies_in(response).items()}


def test_the_headers_are_these_by_default() -> None:
    """USERS 62, SECURITY A.10 180"""
    app, authx = plain_app()
    pair = pair_of(app, authx)
    access, refresh = pair.access_token, pair.refresh_token
    response = answer(app, lambda to: authx.set_cookies(to, pair))
    deleted = "Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0"
    headers = response.headers.getlist("Set-Cookie")
    twins = [header for header in headers if header.endswith("; Partitioned")]
    assert len(twins) == HAS_PARTITIONED * len(COOKIES)
    assert all(f"=; {deleted}; Secure; " in header for header in twins)
    assert [header for header in headers if header not in twins] == [
        f"{REFRESH_COOKIE}=; {deleted}; Secure; HttpOnly; Path=/; SameSite=Lax",
        f"{ACCESS_COOKIE}={access}; Secure; HttpOnly; Path=/; SameSite=Lax",
        f"{ACCESS_CSRF}={parts(access)[1]['csrf']}; Secure; Path=/; SameSite=Lax",
        f"{REFRESH_COOKIE}={refresh}; Secure; HttpOnly; Path=/auth; SameSite=Lax",
        f"{REFRESH_CSRF}={parts(refresh)[1]['csrf']}; Secure; Path=/; SameSite=Lax",
        f"{COMPANION}={companion_of(refresh)}; Secure; HttpOnly; Path=/; SameSite=Lax",
    ]


def test_each_half_sets_its_own_token_alone() -> None:
    app, authx = plain_app()
    pair = pair_of(app, authx)
    one = answer(app, lambda to: authx.set_access_cookies(to, pair.access_token))
    assert cookies_in(one).keys() == {ACCESS_COOKIE, ACCESS_CSRF}
    other = answer(app, lambda to: authx.set_refresh_cookies(to, pair.refresh_token))
    assert cookies_in(other).keys() == {REFRESH_COOKIE, REFRESH_CSRF, COMPANION}


NAMES: list[tuple[dict[str, Any], str, str]] = [
    ({}, ACCESS_COOKIE, REFRESH_COOKIE),
    ({"COOKIE_SECURE": False}, "access_token", "refresh_token"),
    ({"COOKIE_DOMAIN": "example.org"}, "__Secure-access_token", REFRESH_COOKIE),
    ({"ACCESS_COOKIE_PATH": "/app"}, "__Secure-access_token", REFRESH_COOKIE),
    ({"ACCESS_COOKIE_NAME": "mine"}, "mine", REFRESH_COOKIE),
    ({"REFRESH_COOKIE_NAME": "mine", "COOKIE_SECURE": False}, "access_token", "mine"),
]


@pytest.mark.parametrize(("config", "access", "refresh"), NAMES)
def test_a_name_promises_no_more_than_the_settings_keep(
    config: dict[str, Any], access: str, refresh: str
) -> None:
    """RFC 6265bis section 4.1.3: browsers drop a cookie whose name promises what isn't so."""
    app, authx = plain_app(**config)
    expected = {access, ACCESS_CSRF, refresh, REFRESH_CSRF}
    if config.keys().isdisjoint({"COOKIE_SECURE", "COOKIE_DOMAIN"}):
        expected.add(COMPANION)
    assert put(app, authx).keys() == expected


CONTRADICTIONS: list[tuple[dict[str, Any], str]] = [
    ({"ACCESS_COOKIE_NAME": "__Host-a", "COOKIE_SECURE": False}, "JWT_ACCESS_COOKIE_NAME"),
    ({"REFRESH_COOKIE_NAME": "__Secure-r", "COOKIE_SECURE": False}, "JWT_REFRESH_COOKIE_NAME"),
    ({"ACCESS_COOKIE_NAME": "__host-a", "COOKIE_DOMAIN": "a.example"}, "JWT_ACCESS_COOKIE_NAME"),
    ({"ACCESS_COOKIE_NAME": "__Host-a", "ACCESS_COOKIE_PATH": "/x"}, "JWT_ACCESS_COOKIE_NAME"),
    ({"REFRESH_COOKIE_NAME": "__Host-r"}, "JWT_REFRESH_COOKIE_NAME"),
    ({"ACCESS_CSRF_COOKIE_NAME": "__Host-c", "COOKIE_SECURE": False}, "JWT_ACCESS_CSRF_COOKIE"),
    ({"ACCESS_COOKIE_NAME": "x", "REFRESH_COOKIE_NAME": "x"}, "JWT_ACCESS_COOKIE_NAME and"),
    ({"ACCESS_CSRF_COOKIE_NAME": "x", "REFRESH_COOKIE_NAME": "x"}, "JWT_REFRESH_COOKIE_NAME and"),
    ({"COOKIE_SAMESITE": "None", "COOKIE_SECURE": False}, "JWT_COOKIE_SAMESITE"),
    ({"COOKIE_PARTITIONED": True, "COOKIE_SECURE": False}, "JWT_COOKIE_PARTITIONED"),
    ({"COOKIE_SAMESITE": "Sometimes"}, "JWT_COOKIE_SAMESITE"),
    ({"COOKIE_DOMAIN": "https://a.example"}, "JWT_COOKIE_DOMAIN"),
    ({"COOKIE_DOMAIN": "a.example; Secure"}, "JWT_COOKIE_DOMAIN"),
    ({"ACCESS_COOKIE_PATH": "auth"}, "JWT_ACCESS_COOKIE_PATH"),
    ({"REFRESH_COOKIE_PATH": "/a; HttpOnly"}, "JWT_REFRESH_COOKIE_PATH"),
    ({"COOKIE_MAX_AGE": 0}, "JWT_COOKIE_MAX_AGE: set it to a whole number of seconds, 1 or more"),
    ({"ACCESS_COOKIE_NAME": "a b"}, "JWT_ACCESS_COOKIE_NAME"),
    ({"TRUSTED_ORIGINS": ["a.example"]}, "JWT_TRUSTED_ORIGINS"),
    ({"TRUSTED_ORIGINS": ["https://a.example/"]}, "JWT_TRUSTED_ORIGINS"),
    ({"TRUSTED_ORIGINS": "null"}, "JWT_TRUSTED_ORIGINS"),
]


def test_what_no_browser_would_take_is_found_at_start_up() -> None:
    """DESIGN 5.6, SECURITY A.8 143, 144"""

    def check(case: tuple[dict[str, Any], str]) -> None:
        config, named = case
        with pytest.raises(BadConfigurationError) as caught:
            plain_app(**config)
        problem, *others = caught.value.problems
        assert problem.startswith(named), f"{problem!r} does not begin with {named}"
        # An older Werkzeug can't set a partitioned one either way.
        assert not others or "Werkzeug" in others[0], f"more problems: {others}"

    check_all(by_repr(CONTRADICTIONS), check)


# What is put in


def test_a_second_token_replaces_the_first() -> None:
    """RFC 6265bis section 4.1.1: not two of one name in a response."""
    app, authx = plain_app()
    first, second = pair_of(app, authx), pair_of(app, authx, "bob")

    def fill(response: Any) -> None:
        response.set_cookie("theirs", "x")
        authx.set_cookies(response, first)
        authx.unset_cookies(response)
        authx.set_cookies(response, second)

    found = cookies_in(answer(app, fill))
    assert found.keys() == {"theirs", *COOKIES}
    assert found[ACCESS_COOKIE].value == second.access_token
    assert found[REFRESH_COOKIE].value == second.refresh_token


# Werkzeug counts the attributes as well, which browsers don't, and warns of the longest.
@pytest.mark.filterwarnings("ignore:The 'a+' cookie is too large:UserWarning")
def test_a_cookie_that_browsers_would_drop_is_refused_and_nothing_is_set() -> None:
    """SECURITY A.6 111, USERS 71; RFC 6265bis 5.7: 4096 octets of name and value are the most."""
    token = access_token(*plain_app(), data={"x": "y" * 2600})
    for size, fits in ((4096, True), (4097, False)):
        name = "a" * (size - len(token))
        app, authx = plain_app(ACCESS_COOKIE_NAME=name)
        response = answer(app, lambda to: None)
        with app.app_context():
            if fits:
                authx.set_access_cookies(response, token)
                assert cookies_in(response)[name].value == token
            else:
                with pytest.raises(ValueError, match=f"{name} would take 4097 bytes"):
                    authx.set_access_cookies(response, token)
                assert cookies_in(response) == {}


def test_only_a_valid_token_of_the_right_type_is_set() -> None:
    app, authx = plain_app()
    pair, other = pair_of(app, authx), pair_of(*plain_app(SECRET_KEY=OTHER_SECRET))
    setters: list[tuple[Any, str, str]] = [
        (authx.set_access_cookies, pair.access_token, pair.refresh_token),
        (authx.set_refresh_cookies, pair.refresh_token, pair.access_token),
    ]
    for setter, valid, wrong in setters:
        for token in (wrong, "", "x.y.z", valid[:-2], other.access_token, reforge(valid, exp=1)):
            with app.test_request_context():
                response = Response()
                with pytest.raises(ValueError, match="token") as caught:
                    setter(response, token)
            assert cookies_in(response) == {}
            assert not token or token not in str(caught.value)


@pytest.mark.parametrize("token", [None, b"x.y.z", 1, TokenPair("a", "r", 1, 1)])
def test_what_is_no_text_is_no_token(token: Any) -> None:
    app, authx = plain_app()
    with pytest.raises(TypeError, match="text"):
        answer(app, lambda to: authx.set_access_cookies(to, token))


@pytest.mark.parametrize("first", [None, "x", {"access_token": "x"}, ("x", 200)])
def test_the_first_argument_is_the_response(first: Any) -> None:
    """What a view could return is not yet a response."""
    app, authx = plain_app()
    pair = pair_of(app, authx)
    acts: list[Callable[[], None]] = [
        lambda: authx.set_cookies(first, pair),
        lambda: authx.set_access_cookies(first, pair.access_token),
        lambda: authx.set_refresh_cookies(first, pair.refresh_token),
        lambda: authx.unset_cookies(first),
        lambda: authx.unset_access_cookies(first),
        lambda: authx.unset_refresh_cookies(first),
    ]
    for act in acts:
        with app.test_request_context(), pytest.raises(TypeError, match="response"):
            act()


def test_any_response_of_werkzeug_will_do() -> None:
    app, authx = plain_app()
    token = access_token(app, authx)
    response = BaseResponse()
    with app.app_context():
        authx.set_access_cookies(response, token)
    assert cookies_in(response)[ACCESS_COOKIE].value == token


def test_an_app_without_cookies_is_told_so(caplog: pytest.LogCaptureFixture) -> None:
    app, authx = plain_app(TOKEN_LOCATION="headers")
    pair = pair_of(app, authx)
    answer(app, lambda to: authx.set_cookies(to, pair))
    (line,) = caplog.messages
    assert "JWT_TOKEN_LOCATION" in line


def test_an_argument_wins_over_the_settings_of_the_age() -> None:
    configs: list[dict[str, Any]] = [
        {},
        {"SESSION_COOKIE": False},
        {"SESSION_COOKIE": False, "COOKIE_MAX_AGE": 9},
    ]
    for config in configs:
        app, authx = plain_app(**config)
        token = access_token(app, authx)
        for age in (0, 77):
            with app.test_request_context():
                response = Response()
                authx.set_access_cookies(response, token, max_age=age)
            for cookie in cookies_in(response).values():
                assert f"Max-Age={age}" in cookie.attributes


def test_a_token_that_this_request_has_created_is_not_read_again() -> None:
    """Reading one takes a signature, and a look at the clock."""
    looks: list[float] = []

    def clock() -> float:
        looks.append(NOW)
        return NOW

    app = Flask("tests")
    app.config.from_mapping(JWT_SECRET_KEY=SECRET, JWT_TOKEN_LOCATION="cookies")
    authx = AuthX(app, clock=clock)
    with app.test_request_context(base_url="https://localhost"):
        own = authx.create_access_token("ann")
        looks.clear()
        authx.set_access_cookies(Response(), own)
        assert looks == []
    with app.test_request_context(base_url="https://localhost"):
        authx.set_access_cookies(Response(), own)
        assert looks == [NOW]
