"""A log-out beside an access cookie that another host of the site has set."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from flask import Flask

from flask_authx import AuthX
from tests.support import bearer
from tests.support.answers import (
    ACCESS_COOKIE,
    CSRF,
    NO_CSRF,
    REFRESH_COOKIE,
    Outcome,
    ask,
    cookie,
    outcome,
    refresh_cookies,
)
from tests.support.browsers import browser_app, cookies_in, csrf_of, sign_in

DONE = Outcome(204)


class Site(NamedTuple):
    """An app, the tokens of its user, and those of a stranger with an account."""

    app: Flask
    authx: AuthX
    ann: dict[str, Any]
    eve: dict[str, Any]

    def left(self) -> tuple[int, int]:
        """How many sessions the user and the stranger have."""
        with self.app.app_context():
            return len(self.authx.sessions("ann")), len(self.authx.sessions("eve"))

    def jar(self) -> dict[str, str]:
        """The cookies of the user's browser: the access cookie is the stranger's."""
        refresh = refresh_cookies(self.ann["refresh_token"])
        return cookie((ACCESS_COOKIE, self.eve["access_token"]), *refresh)

    def out(self, headers: dict[str, str], **kwargs: Any) -> Outcome:
        return outcome(ask(self.app, "POST", "/auth/logout", headers=headers, **kwargs))


def site(**config: Any) -> Site:
    app, authx = browser_app(**config)
    ann, eve = sign_in(app.test_client(), "ann"), sign_in(app.test_client(), "eve")
    return Site(app, authx, ann, eve)


@pytest.mark.parametrize("own", ["access_token", "refresh_token"])
def test_the_users_own_csrf_value_is_enough(own: str) -> None:
    here = site()
    response = ask(here.app, "POST", "/auth/logout", headers=here.jar() | csrf_of(here.ann[own]))
    assert outcome(response) == DONE
    assert {one.value for one in cookies_in(response).values()} == {""}
    assert here.left() == (0, 1)


def test_a_planted_csrf_value_ends_the_users_session_as_well() -> None:
    """The page sends the value of the planted CSRF cookie, and the response unsets all cookies."""
    here = site()
    assert here.out(here.jar() | csrf_of(here.eve["access_token"])) == DONE
    assert here.left() == (0, 0)


@pytest.mark.parametrize("config", [{}, {"COOKIE_DOMAIN": "example.org"}])
def test_a_refresh_cookie_that_may_be_planted_needs_its_csrf_value(config: dict[str, Any]) -> None:
    """One without a companion, or in an app that has none."""
    here = site(**config)
    name = "__Secure-access_token" if config else ACCESS_COOKIE
    jar = cookie((name, here.eve["access_token"]), (REFRESH_COOKIE, here.ann["refresh_token"]))
    assert here.out(jar | csrf_of(here.eve["access_token"])) == DONE
    assert here.left() == (1, 0)


def test_beside_a_token_in_the_header_a_refresh_cookie_needs_its_csrf_value() -> None:
    here = site()
    jar = cookie(*refresh_cookies(here.ann["refresh_token"]))
    assert here.out(jar | bearer(here.eve["access_token"])) == DONE
    assert here.left() == (1, 0)


@pytest.mark.parametrize(("headers", "expected"), [({}, NO_CSRF), ({"X-CSRF-TOKEN": "x"}, CSRF)])
def test_without_any_csrf_value_nothing_is_revoked(
    headers: dict[str, str], expected: Outcome
) -> None:
    here = site()
    response = ask(here.app, "POST", "/auth/logout", headers=here.jar() | headers)
    assert (outcome(response), cookies_in(response)) == (expected, {})
    assert here.left() == (1, 1)


def test_a_token_in_a_link_of_another_site_is_not_revoked_beside_the_users_own() -> None:
    here = site(TOKEN_LOCATION=["query", "cookies"])
    own = cookie(*refresh_cookies(here.ann["refresh_token"])) | csrf_of(here.ann["refresh_token"])
    headers = own | {"Sec-Fetch-Site": "cross-site"}
    query = {"token": here.eve["access_token"]}
    assert here.out(headers, query_string=query) == DONE
    assert here.left() == (0, 1)
