"""Each setting of cookies, origins and automatic renewal changes what the app does."""

from __future__ import annotations

from typing import Any

import pytest

from flask_authx import BadConfigurationError
from tests.support import Clock
from tests.support.answers import ACCESS_COOKIE, COMPANION, OK, REFRESH_COOKIE, Outcome, outcome
from tests.support.browsers import (
    ACCESS_CSRF,
    COOKIES,
    HAS_PARTITIONED,
    REFRESH_CSRF,
    Place,
    answer,
    browser,
    browser_app,
    cookies_in,
    csrf,
    pair_of,
    plain_app,
    unset_in,
)
from tests.support.renewal import DUE, LIFETIME, is_renewed, renewing_app

CROSS_ORIGIN = Outcome(403, "CrossOriginError")
Attributes = dict[str, frozenset[str]]


def set_by(**config: Any) -> Attributes:
    """The attributes of the cookies that an app with these settings sets, by name."""
    app, authx = plain_app(**config)
    pair = pair_of(app, authx)
    response = answer(app, lambda to: authx.set_cookies(to, pair))
    return {name: cookie.attributes for name, cookie in cookies_in(response).items()}


def with_all(part: str, found: Attributes) -> bool:
    """Whether that stands with all cookies; else it must stand with none."""
    shown = {part in attributes for attributes in found.values()}
    assert len(shown) == 1
    return shown.pop()


def test_setting_access_cookie_path() -> None:
    found = set_by(ACCESS_COOKIE_PATH="/app")
    assert "Path=/app" in found["__Secure-access_token"]
    assert "Path=/auth" in found[REFRESH_COOKIE]
    assert "Path=/" in set_by()[ACCESS_COOKIE]


def test_setting_refresh_cookie_path() -> None:
    found = set_by(REFRESH_COOKIE_PATH="/session")
    assert "Path=/session" in found[REFRESH_COOKIE]
    assert "Path=/" in found[ACCESS_COOKIE]
    assert "Path=/auth" in set_by()[REFRESH_COOKIE]


def test_setting_cookie_domain() -> None:
    found = set_by(COOKIE_DOMAIN="example.org")
    assert with_all("Domain=example.org", found)
    assert not any(part.startswith("Domain") for one in set_by().values() for part in one)


def test_setting_cookie_former() -> None:
    def unset_by(**config: Any) -> set[Place]:
        app, authx = plain_app(**config)
        return unset_in(answer(app, lambda to: authx.set_cookies(to, pair_of(app, authx))))

    before = unset_by()
    assert {place for place in before if not place.partitioned} == {Place(REFRESH_COOKIE, "/")}
    places = [{"path": "/old"}, {"domain": "a.example"}, {"path": "/x", "domain": "b.example"}]
    assert unset_by(COOKIE_FORMER=places) - before == {
        *(Place(name, "/old") for name in (REFRESH_COOKIE, REFRESH_CSRF, ACCESS_CSRF)),
        *(Place(name, "/", "a.example") for name in (REFRESH_COOKIE, REFRESH_CSRF, ACCESS_CSRF)),
        Place(REFRESH_COOKIE, "/auth", "a.example"),
        *(Place(name, "/x", "b.example") for name in (REFRESH_COOKIE, REFRESH_CSRF, ACCESS_CSRF)),
    }


def test_setting_cookie_secure() -> None:
    assert with_all("Secure", set_by())
    assert not with_all("Secure", set_by(COOKIE_SECURE=False))


@pytest.mark.parametrize("value", ["Lax", "Strict", "None"])
def test_setting_cookie_samesite(value: str) -> None:
    for spelt in (value, value.lower()):
        assert with_all(f"SameSite={value}", set_by(COOKIE_SAMESITE=spelt))
    assert with_all("SameSite=Lax", set_by())


def test_setting_cookie_partitioned() -> None:
    assert not with_all("Partitioned", set_by())
    if HAS_PARTITIONED:
        assert with_all("Partitioned", set_by(COOKIE_PARTITIONED=True))
    else:
        with pytest.raises(BadConfigurationError, match="JWT_COOKIE_PARTITIONED needs Werkzeug"):
            set_by(COOKIE_PARTITIONED=True)


def test_setting_session_cookie() -> None:
    assert not any(part.startswith("Max-Age") for one in set_by().values() for part in one)
    found = set_by(SESSION_COOKIE=False)
    for name in (ACCESS_COOKIE, ACCESS_CSRF):
        assert "Max-Age=900" in found[name]
    for name in (REFRESH_COOKIE, REFRESH_CSRF, COMPANION):
        assert f"Max-Age={20 * 86400}" in found[name]


def test_setting_cookie_max_age() -> None:
    assert with_all("Max-Age=77", set_by(SESSION_COOKIE=False, COOKIE_MAX_AGE=77))
    # A cookie that ends with the browser has none.
    with pytest.raises(BadConfigurationError, match="JWT_COOKIE_MAX_AGE"):
        set_by(COOKIE_MAX_AGE=77)


def test_setting_csrf_in_cookies() -> None:
    assert set_by().keys() == COOKIES
    assert set_by(CSRF_IN_COOKIES=False).keys() == {ACCESS_COOKIE, REFRESH_COOKIE, COMPANION}
    for value, named in ((True, True), (False, False)):
        app, _ = browser_app(CSRF_IN_COOKIES=value)
        message = browser(app).post("/guarded").get_json()["msg"]
        assert (ACCESS_CSRF in message) is named
        assert "X-CSRF-TOKEN" in message


def test_setting_access_csrf_cookie_name() -> None:
    found = set_by(ACCESS_CSRF_COOKIE_NAME="mine")
    assert found.keys() == COOKIES - {ACCESS_CSRF} | {"mine"}
    app, _ = browser_app(ACCESS_CSRF_COOKIE_NAME="mine")
    assert "cookie mine" in browser(app).post("/guarded").get_json()["msg"]


def test_setting_refresh_csrf_cookie_name() -> None:
    found = set_by(REFRESH_CSRF_COOKIE_NAME="mine")
    assert found.keys() == COOKIES - {REFRESH_CSRF} | {"mine"}
    app, _ = browser_app(REFRESH_CSRF_COOKIE_NAME="mine")
    assert "cookie mine" in browser(app).post("/auth/refresh").get_json()["msg"]


def test_setting_access_csrf_cookie_path() -> None:
    found = set_by(ACCESS_CSRF_COOKIE_PATH="/app")
    assert "Path=/app" in found[ACCESS_CSRF]
    assert "Path=/" in found[REFRESH_CSRF]
    assert "Path=/" in set_by()[ACCESS_CSRF]


def test_setting_refresh_csrf_cookie_path() -> None:
    found = set_by(REFRESH_CSRF_COOKIE_PATH="/app")
    assert "Path=/app" in found[REFRESH_CSRF]
    assert "Path=/" in found[ACCESS_CSRF]
    assert "Path=/" in set_by()[REFRESH_CSRF]


def posted(headers: dict[str, str], **config: Any) -> Outcome:
    """The response to a valid cookie with its CSRF value, beside these headers."""
    app, _ = browser_app(**config)
    client = browser(app)
    return outcome(client.post("/guarded", headers=headers | csrf(client)))


def test_setting_csrf_check_origin() -> None:
    foreign = {"Sec-Fetch-Site": "cross-site"}
    assert posted(foreign) == OK
    assert posted(foreign, CSRF_CHECK_ORIGIN=True) == CROSS_ORIGIN
    assert posted({"Sec-Fetch-Site": "same-origin"}, CSRF_CHECK_ORIGIN=True) == OK


def test_setting_trusted_origins() -> None:
    foreign = {"Sec-Fetch-Site": "cross-site", "Origin": "https://www.example"}
    assert posted(foreign, CSRF_CHECK_ORIGIN=True) == CROSS_ORIGIN
    trusted = "https://www.example, https://b.example:8443"
    assert posted(foreign, CSRF_CHECK_ORIGIN=True, TRUSTED_ORIGINS=trusted) == OK
    app, _ = browser_app(authenticate=lambda: "ann", TRUSTED_ORIGINS=["https://www.example"])
    response = app.test_client().post("/auth/login", headers=foreign)
    assert outcome(response) == OK


def renews(*, after: int = DUE, method: str = "GET", **config: Any) -> bool:
    """Whether a token of that age is renewed."""
    clock = Clock()
    settings = {f"IMPLICIT_REFRESH_{name}": value for name, value in config.items()}
    app, _ = renewing_app(clock, **settings)
    client = browser(app)
    clock.advance(after)
    return is_renewed(client, method=method)


def test_setting_implicit_refresh_deltatime() -> None:
    assert renews(after=LIFETIME - 60, DELTATIME=60) is True
    assert renews(after=LIFETIME - 61, DELTATIME=60) is False
    assert renews(after=LIFETIME - 1, DELTATIME=None) is False


def test_setting_implicit_refresh_route_exclude() -> None:
    assert renews(ROUTE_EXCLUDE=["/guarded"]) is False
    assert renews(ROUTE_EXCLUDE=["/other"]) is True


def test_setting_implicit_refresh_route_include() -> None:
    assert renews(ROUTE_INCLUDE=["/guarded"]) is True
    assert renews(ROUTE_INCLUDE=["/other"]) is False


def test_setting_implicit_refresh_method_exclude() -> None:
    assert renews(METHOD_EXCLUDE=["POST"], method="POST") is False
    assert renews(METHOD_EXCLUDE=["POST"]) is True


def test_setting_implicit_refresh_method_include() -> None:
    assert renews(METHOD_INCLUDE=["POST"], method="POST") is True
    assert renews(METHOD_INCLUDE=["POST"]) is False
