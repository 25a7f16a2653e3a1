"""Where a request comes from: the check of ``Sec-Fetch-Site`` and ``Origin``."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask

from flask_authx import AuthX, CrossOriginError
from tests.support import access_token, bearer, parts
from tests.support.answers import CSRF, MISSING, NO_CSRF, OK, Outcome, ask, outcome
from tests.support.browsers import METHODS, browser, browser_app, cookies_in, csrf, plain_app
from tests.support.corpus import by_repr, check_all
from tests.support.spy_store import said

CROSS: Outcome = Outcome(403, "CrossOriginError")
HOST = "https://app.example"
TRUSTED = "https://www.example"


def sent(site: str | None, origin: str | None) -> dict[str, str]:
    """What a browser says of a request."""
    found = {"Sec-Fetch-Site": site, "Origin": origin}
    return {name: value for name, value in found.items() if value is not None}


#: By ``Sec-Fetch-Site``: which origins pass, of the app's own, a foreign one, ``null``, a trusted
#: one and none.
MATRIX: dict[str | None, tuple[bool, bool, bool, bool, bool]] = {
    "same-origin": (True, True, True, True, True),
    "none": (True, True, True, True, True),
    "same-site": (False, False, False, True, False),
    "cross-site": (False, False, False, True, False),
    "what-is-yet-to-come": (False, False, False, True, False),
    "": (False, False, False, True, False),
}
ORIGINS = (HOST, "https://evil.example", "null", TRUSTED, None)
CASES = [
    (site, origin, passes)
    for site, row in MATRIX.items()
    for origin, passes in zip(ORIGINS, row, strict=True)
]
#: Without it the ``Origin`` has to say it, to the scheme, the host and the port.
OLDER: list[tuple[str | None, bool]] = [
    (HOST, True),
    (TRUSTED, True),
    ("http://app.example", False),
    (f"{HOST}:8443", False),
    (f"{HOST}:443", False),
    ("https://app.example.evil.example", False),
    ("https://sub.app.example", False),
    ("https://example", False),
    (f"{HOST}/", False),
    ("https://evil.example", False),
    ("null", False),
    ("", False),
]
SAID = [*CASES, *((None, origin, passes) for origin, passes in OLDER)]


def passed(authx: AuthX, app: Flask, base_url: str, headers: dict[str, str]) -> bool:
    """Whether a POST of these headers passes the check."""
    with app.test_request_context(base_url=base_url, method="POST", headers=headers):
        try:
            authx.check_origin()
        except CrossOriginError:
            return False
    return True


def test_origins_that_pass_the_check() -> None:
    """SECURITY A.10 177, 178; Fetch Metadata, section 2.3; RFC 6454 section 7."""
    app, authx = plain_app(TRUSTED_ORIGINS=[TRUSTED])

    def check(case: tuple[str | None, str | None, bool]) -> None:
        site, origin, passes = case
        headers = sent(site, origin)
        assert passed(authx, app, HOST, headers) == passes, f"sent {headers} to {HOST}"

    check_all(by_repr(SAID), check)


@pytest.mark.parametrize(
    ("base_url", "origin", "passes"),
    [
        ("https://app.example:443", "https://app.example", True),
        ("http://app.example:80", "http://app.example", True),
        ("http://app.example:443", "http://app.example:443", True),
        ("https://app.example:8443", "https://app.example:8443", True),
        ("https://app.example:8443", "https://app.example", False),
        ("http://[::1]:5000", "http://[::1]:5000", True),
        ("http://localhost:5000", "http://localhost:5001", False),
        ("http://localhost:5000", "http://127.0.0.1:5000", False),
    ],
)
def test_a_port_is_the_same_whether_it_is_named_or_the_usual_one(
    base_url: str, origin: str, passes: bool
) -> None:
    app, authx = plain_app()
    found = passed(authx, app, base_url, {"Origin": origin})
    assert found == passes, f"sent Origin: {origin} to {base_url}"


def test_a_client_that_says_nothing_may_be_no_browser() -> None:
    """It passes where the app asks by itself, and not where a cookie has come."""
    app, authx = plain_app(CSRF_CHECK_ORIGIN=True, TRUSTED_ORIGINS=[TRUSTED])
    with app.test_request_context(base_url=HOST, method="POST"):
        authx.check_origin()
    app, client = checked()
    assert outcome(client.post("/guarded", headers=csrf(client))) == CROSS


# With JWT_CSRF_CHECK_ORIGIN


def checked(**config: Any) -> tuple[Flask, Any]:
    """An app that looks at where requests come from, and a browser that is logged in."""
    app, _ = browser_app(CSRF_CHECK_ORIGIN=True, TRUSTED_ORIGINS=[TRUSTED], **config)
    return app, browser(app)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (sent("same-origin", "http://localhost"), OK),
        (sent("none", None), OK),
        (sent("cross-site", TRUSTED), OK),
        (sent(None, TRUSTED), OK),
        (sent(None, "http://localhost"), OK),
        (sent("cross-site", "https://evil.example"), CROSS),
        (sent("same-site", "http://sub.localhost"), CROSS),
        (sent(None, "null"), CROSS),
    ],
)
def test_a_cookie_counts_only_from_the_pages_of_the_app(
    headers: dict[str, str], expected: Outcome
) -> None:
    _, client = checked()
    for method in METHODS[1:]:
        response = client.open("/guarded", method=method, headers=headers | csrf(client))
        assert outcome(response) == expected
    # A link from anywhere may be followed.
    assert outcome(client.get("/guarded", headers=headers)) == OK


def test_the_value_is_needed_all_the_same() -> None:
    _, client = checked()
    own = sent("same-origin", None)
    assert outcome(client.post("/guarded", headers=own)) == NO_CSRF
    assert outcome(client.post("/guarded", headers=own | {"X-CSRF-TOKEN": "x"})) == CSRF


def test_a_token_from_a_header_comes_from_where_it_likes() -> None:
    """No page can make a browser send one without its leave: CORS is the app's own."""
    app, authx = browser_app(CSRF_CHECK_ORIGIN=True)
    with app.app_context():
        token = authx.login("ann").access_token
    headers = bearer(token) | sent("cross-site", "https://evil.example")
    assert outcome(ask(app, "POST", headers=headers)) == OK


def test_without_the_setting_the_headers_are_not_looked_at() -> None:
    app, _ = browser_app()
    client = browser(app)
    headers = sent("cross-site", "https://evil.example") | csrf(client)
    assert outcome(client.post("/guarded", headers=headers)) == OK


def test_the_response_says_what_is_wrong_and_does_not_repeat_the_origin() -> None:
    _, client = checked()
    headers = sent("cross-site", "https://evil.example") | csrf(client)
    response = client.post("/guarded", headers=headers)
    assert outcome(response) == CROSS
    assert "origin" in response.get_json()["msg"]
    assert "evil" not in response.text
    assert "WWW-Authenticate" not in response.headers
    assert response.headers["Cache-Control"] == "no-store"


def test_a_forged_request_asks_no_revocation_callback() -> None:
    """DESIGN 5.1"""
    app, authx = plain_app(CSRF_CHECK_ORIGIN=True)
    asked: list[str] = []

    @authx.token_blocklist
    def is_revoked(token: str) -> bool:
        asked.append(token)
        return False

    app.add_url_rule("/post", "post", authx.token_required(lambda: ""), methods=["POST"])
    token = access_token(app, authx)
    headers = {
        "Cookie": f"__Host-access_token={token}",
        "X-CSRF-TOKEN": parts(token)[1]["csrf"],
    }
    assert outcome(ask(app, "POST", "/post", headers=headers | sent("cross-site", None))) == CROSS
    assert asked == []
    assert outcome(ask(app, "POST", "/post", headers=headers | sent("same-origin", None))) == OK
    assert asked == [token]


# In a view of the app's own that logs in


def test_a_log_in_view_can_refuse_what_another_site_sends() -> None:
    """SECURITY A.10 176: log-in CSRF. The victim would go on as the attacker."""
    app, authx = browser_app()

    @app.post("/sign-in-form")
    @authx.public
    def form() -> Any:
        authx.check_origin()
        response = app.make_response("in")
        authx.set_cookies(response, authx.login("mallory"))
        return response

    for headers, expected in (
        (sent("cross-site", "https://evil.example"), CROSS),
        (sent(None, "null"), CROSS),
        (sent("same-origin", "http://localhost"), OK),
        ({}, OK),
    ):
        response = ask(app, "POST", "/sign-in-form", headers=headers)
        assert outcome(response) == expected
        assert bool(cookies_in(response)) == (expected == OK)


def test_a_handler_of_csrf_errors_gets_it_too() -> None:
    app, _ = browser_app(CSRF_CHECK_ORIGIN=True)

    @app.errorhandler(CrossOriginError)
    def refused(error: CrossOriginError) -> tuple[str, int]:
        return "not from here", 403

    client = browser(app)
    response = client.post("/guarded", headers=csrf(client) | sent("cross-site", None))
    assert outcome(response) == Outcome(403)
    assert response.text == "not from here"


def test_the_setting_changes_nothing_without_a_token(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app, _ = checked()
    assert outcome(ask(app, "POST", headers=sent("cross-site", None))) == MISSING
    assert said(caplog) == []


def test_outside_of_a_request_it_is_an_error() -> None:
    app, authx = plain_app()
    with app.app_context(), pytest.raises(RuntimeError):
        authx.check_origin()
