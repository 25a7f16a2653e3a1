"""``authx.logout()`` of a request with two tokens: either will do, and a bad one is no obstacle."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask import Flask

from tests.actions.test_logout import expired
from tests.support import OTHER_SECRET, bearer, forge, parts, reforge
from tests.support.answers import (
    ACCESS_COOKIE,
    CSRF,
    INVALID,
    NO_CSRF,
    OK,
    REFRESH_COOKIE,
    Outcome,
    ask,
    cookie,
    outcome,
)
from tests.support.spy_store import login, spied, works


def forged(token: str) -> str:
    """The same token, signed with a key that has been withdrawn."""
    header, claims, _ = parts(token)
    return forge(header, claims, OTHER_SECRET)


#: What may be left in a cookie.
BAD: dict[str, Callable[[str], str]] = {
    "of a withdrawn key": forged,
    "garbage": lambda _: "x.y.z",
    "without dots": lambda _: "garbage",
    "of another type": lambda token: reforge(token, header={"typ": "other"}),
}


def out(app: Flask, access: str, refresh: str, csrf: str | None) -> Outcome:
    headers = cookie((ACCESS_COOKIE, access), (REFRESH_COOKIE, refresh))
    if csrf is not None:
        headers["X-CSRF-TOKEN"] = csrf
    return outcome(ask(app, "POST", "/logout", headers=headers))


def csrf_of(token: str) -> str:
    return str(parts(token)[1]["csrf"])


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_access_cookie_keeps_nobody_from_logging_out(bad: str) -> None:
    """After a change of keys in a hurry, the refresh token lives on for weeks."""
    app, authx, _ = spied()
    access, refresh, _ = login(app, authx)
    assert works(app, refresh, "/refresh")
    assert out(app, BAD[bad](access), refresh, csrf_of(refresh)) == OK
    assert not works(app, refresh, "/refresh")


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_refresh_cookie_keeps_nobody_from_logging_out(bad: str) -> None:
    app, authx, _ = spied()
    access, refresh, _ = login(app, authx)
    assert out(app, access, BAD[bad](refresh), csrf_of(access)) == OK
    assert not works(app, access)


@pytest.mark.parametrize("bad", BAD)
def test_the_good_one_needs_its_own_csrf_value(bad: str) -> None:
    """SECURITY A.12: a bad cookie beside it opens nothing"""
    app, authx, store = spied()
    access, refresh, _ = login(app, authx)
    _, strange, _ = login(app, authx)
    left = BAD[bad](access)
    assert out(app, left, refresh, None) == NO_CSRF
    assert out(app, left, refresh, csrf_of(strange)) == CSRF
    assert store.added == []
    assert works(app, refresh, "/refresh")


@pytest.mark.parametrize("bad", ["of a withdrawn key", "garbage"])
def test_two_bad_ones_are_an_error(bad: str) -> None:
    app, authx, store = spied()
    access, refresh, _ = login(app, authx)
    assert out(app, BAD[bad](access), BAD[bad](refresh), csrf_of(access)) == INVALID
    assert store.added == []


def test_a_wrong_csrf_value_of_a_good_token_is_an_error_whatever_else_there_is() -> None:
    app, authx, store = spied()
    access, refresh, _ = login(app, authx)
    assert out(app, access, refresh, "wrong") == CSRF
    assert store.added == []


def test_an_expired_access_cookie_ends_the_login_of_its_refresh_token() -> None:
    app, authx, _ = spied()
    access, refresh, _ = login(app, authx)
    assert out(app, expired(access), refresh, csrf_of(access)) == OK
    assert not works(app, refresh, "/refresh")


def test_a_bad_header_is_an_error_where_there_is_no_other_token() -> None:
    app, authx, store = spied()
    access, _, _ = login(app, authx)
    response = ask(app, "POST", "/logout", headers=bearer(forged(access)))
    assert outcome(response) == INVALID
    assert store.added == []
