"""Taking cookies back: by the very attributes they were set with, so that nothing is left."""

from __future__ import annotations

import urllib.request
from email.message import Message
from http.client import HTTPResponse
from http.cookiejar import CookieJar
from typing import Any, cast

import pytest
from flask import Flask, Response
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_authx import AuthX
from tests.support.answers import ACCESS_COOKIE, COMPANION, OK, REFRESH_COOKIE, outcome
from tests.support.browsers import (
    ACCESS_CSRF,
    COOKIES,
    HAS_PARTITIONED,
    REFRESH_CSRF,
    answer,
    browser_app,
    cookies_in,
    csrf,
    kept_by,
    pair_of,
    plain_app,
    sign_in,
)
from tests.support.properties import fixed, in_two_sizes

SITE = "https://app.example.org"
EPOCH = "Expires=Thu, 01 Jan 1970 00:00:00 GMT"
ROOTS = st.sampled_from(["", "/shop"])


def configs() -> st.SearchStrategy[dict[str, Any]]:
    """Settings of cookies, in any mixture that starts up."""
    paths = st.sampled_from(["/", "/auth", "/auth/refresh"])
    names = st.sampled_from(["a", "A", "token", "__x"])
    free: dict[str, st.SearchStrategy[Any]] = {
        "COOKIE_DOMAIN": st.sampled_from(["example.org", ".example.org", "app.example.org"]),
        "ACCESS_COOKIE_PATH": paths,
        "REFRESH_COOKIE_PATH": paths,
        "ACCESS_CSRF_COOKIE_PATH": paths,
        "REFRESH_CSRF_COOKIE_PATH": paths,
        "ACCESS_COOKIE_NAME": names,
        "REFRESH_COOKIE_NAME": names.map(lambda name: f"{name}r"),
        "ACCESS_CSRF_COOKIE_NAME": names.map(lambda name: f"{name}c"),
        "CSRF_IN_COOKIES": st.booleans(),
        "COOKIE_CSRF_PROTECT": st.booleans(),
    }
    secure: dict[str, st.SearchStrategy[Any]] = {
        "COOKIE_SAMESITE": st.sampled_from(["Lax", "Strict", "None"]),
    }
    if HAS_PARTITIONED:
        secure["COOKIE_PARTITIONED"] = st.booleans()
    attributes = st.one_of(
        st.fixed_dictionaries({}, optional=free | secure),
        st.fixed_dictionaries({"COOKIE_SECURE": st.just(False)}, optional=free),
    )
    ages = st.fixed_dictionaries(
        {"SESSION_COOKIE": st.just(False)}, optional={"COOKIE_MAX_AGE": st.integers(1, 10**6)}
    )
    both = st.tuples(attributes, st.just(dict[str, Any]()) | ages)
    return both.map(lambda pair: {**pair[0], **pair[1]})


class _Headers:
    """As much of a response as a cookie jar reads."""

    def __init__(self, response: Response) -> None:
        self._message = Message()
        for header in response.headers.getlist("Set-Cookie"):
            self._message["Set-Cookie"] = header

    def info(self) -> Message:
        return self._message


def keep(jar: CookieJar, response: Response, root: str) -> None:
    """Let a cookie jar keep what a response of this site sets."""
    jar.extract_cookies(
        cast(HTTPResponse, _Headers(response)), urllib.request.Request(f"{SITE}{root}/x")
    )


def both(app: Flask, authx: AuthX, root: str = "") -> tuple[Response, Response]:
    """A response that sets all cookies, and one that takes them back."""
    pair, base_url = pair_of(app, authx), f"{SITE}{root}/"
    return (
        answer(app, lambda to: authx.set_cookies(to, pair), base_url=base_url),
        answer(app, authx.unset_cookies, base_url=base_url),
    )


@in_two_sizes
def test_what_takes_a_cookie_back_is_what_has_set_it(examples: int) -> None:
    """SECURITY A.8 147, USERS 67; RFC 6265 5.3: a cookie is known by its name, domain and path."""

    @settings(fixed, max_examples=examples)
    @given(config=configs(), root=ROOTS)
    def same_attributes(config: dict[str, Any], root: str) -> None:
        setting, taking = both(*plain_app(**config), root)
        was, now = cookies_in(setting), cookies_in(taking)
        assert was.keys() == now.keys()
        for name, cookie in now.items():
            assert cookie.value == ""
            ages = ("Max-Age=", "Expires=")
            before = {one for one in was[name].attributes if not one.startswith(ages)}
            assert cookie.attributes == before | {"Max-Age=0", EPOCH}

    same_attributes()


@in_two_sizes
def test_a_cookie_jar_ends_up_empty(examples: int) -> None:
    """A real jar, of Python's own: it knows nothing of this package."""

    @settings(fixed, max_examples=examples)
    @given(config=configs(), root=ROOTS)
    def empty(config: dict[str, Any], root: str) -> None:
        jar = CookieJar()
        setting, taking = both(*plain_app(**config), root)
        keep(jar, setting, root)
        assert len(jar) == len(cookies_in(setting)) in {2, 3, 4, 5}
        keep(jar, taking, root)
        assert [cookie.name for cookie in jar] == []

    empty()


@pytest.mark.parametrize(
    ("half", "left"),
    [
        ("unset_access_cookies", {REFRESH_COOKIE, REFRESH_CSRF, COMPANION}),
        ("unset_refresh_cookies", {ACCESS_COOKIE, ACCESS_CSRF}),
        ("unset_cookies", set[str]()),
    ],
)
def test_each_half_takes_back_its_own(half: str, left: set[str]) -> None:
    app, authx = plain_app()
    jar = CookieJar()
    keep(jar, both(app, authx)[0], "")
    keep(jar, answer(app, getattr(authx, half), base_url=SITE), "")
    assert {cookie.name for cookie in jar} == left


def test_a_client_of_the_app_ends_up_empty_as_well() -> None:
    app, authx = browser_app()
    client = app.test_client()

    @app.post("/forget")
    @authx.public
    def forget() -> Response:
        response = Response()
        authx.unset_cookies(response)
        return response

    sign_in(client)
    assert kept_by(client) == COOKIES
    assert outcome(client.post("/forget")) == OK
    assert kept_by(client) == set()


def test_it_revokes_no_session() -> None:
    """Tokens that an attacker has copied stay valid: ``logout()`` revokes a session."""
    app, authx = browser_app()
    client = app.test_client()
    tokens = sign_in(client)
    answer(app, authx.unset_cookies)
    assert outcome(client.post("/guarded", headers=csrf(client))) == OK
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    assert outcome(app.test_client().get("/guarded", headers=headers)) == OK


def test_twice_is_once_and_without_any_cookie_is_fine() -> None:
    app, authx = plain_app()

    def twice(response: Response) -> None:
        authx.unset_cookies(response)
        authx.unset_cookies(response)

    once = answer(app, authx.unset_cookies)
    assert answer(app, twice).headers.getlist("Set-Cookie") == once.headers.getlist("Set-Cookie")
    assert cookies_in(once).keys() == COOKIES


def test_cookies_of_the_app_are_left_alone() -> None:
    app, authx = plain_app()

    def fill(response: Response) -> None:
        response.set_cookie("theirs", "x")
        response.set_cookie("__Host-access_token2", "y")
        authx.unset_cookies(response)

    found = cookies_in(answer(app, fill))
    assert found["theirs"].value == "x"
    assert found["__Host-access_token2"].value == "y"
    assert found.keys() == COOKIES | {"theirs", "__Host-access_token2"}


def test_the_last_word_counts() -> None:
    """A token set after an unset is set; an unset after that takes it back."""
    app, authx = plain_app()
    pair = pair_of(app, authx)

    def renew(response: Response) -> None:
        authx.unset_cookies(response)
        authx.set_cookies(response, pair)

    assert cookies_in(answer(app, renew))[ACCESS_COOKIE].value == pair.access_token

    def leave(response: Response) -> None:
        authx.set_cookies(response, pair)
        authx.unset_cookies(response)

    assert cookies_in(answer(app, leave))[ACCESS_COOKIE].value == ""
