"""Cookies in a real browser: the companion, a planted refresh cookie, and a domain added later."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
from flask import Flask, Response, request
from werkzeug.serving import make_server

from tests.support.answers import COMPANION, REFRESH_COOKIE
from tests.support.browsers import COOKIES, REFRESH_CSRF, browser_app, sign_in
from tests.support.chromium import PATIENCE, chromium

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

# One worker starts the browser once.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("http_chromium")]

#: A domain of this machine, as browsers resolve it, with a host for the app and a neighbour.
DOMAIN = "example.localhost"
APP, NEIGHBOUR = f"app.{DOMAIN}", f"evil.{DOMAIN}"

#: Sends a request as a script of the page does: with the first CSRF value that it can read.
POST = """async ([path, name]) => {
    const found = document.cookie.split("; ").find((one) => one.startsWith(`${name}=`));
    const headers = { "X-CSRF-TOKEN": found?.slice(name.length + 1) ?? "" };
    const response = await fetch(path, { method: "POST", headers });
    return response.status;
}"""

Serve: TypeAlias = Callable[[Flask], int]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    with browser.new_context() as context:
        context.set_default_timeout(PATIENCE)
        yield context


@contextmanager
def serving(app: Flask) -> Generator[int]:
    # All ports of a host share its cookies.
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.port
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Serves an app until the end of the test, and gives its port."""
    with ExitStack() as stack:
        yield lambda app: stack.enter_context(serving(app))


def site(**config: Any) -> Flask:
    """An app with a page whose scripts log in, refresh and log out."""
    app, authx = browser_app(TOKEN_LOCATION=["cookies"], **config)
    app.add_url_rule("/page", "page", authx.public(lambda: "<!doctype html><title>Page</title>"))
    return app


def post(page: Page, path: str) -> int:
    status: int = page.evaluate(POST, [path, REFRESH_CSRF])
    return status


def kept(context: BrowserContext) -> list[tuple[str, str, str]]:
    """The names, domains and paths of a browser's cookies."""
    cookies = context.cookies()
    return sorted(
        (one.get("name", ""), one.get("domain", ""), one.get("path", "")) for one in cookies
    )


def names(context: BrowserContext) -> list[str]:
    return [name for name, _, _ in kept(context)]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", APP])
def test_over_http_on_this_machine_a_browser_keeps_it(
    host: str, context: BrowserContext, serve: Serve
) -> None:
    page = context.new_page()
    page.goto(f"http://{host}:{serve(site())}/page")
    assert post(page, "/sign-in/ann") == 200
    assert names(context) == sorted(COOKIES)
    for _ in range(2):
        assert post(page, "/auth/refresh") == 200
    # No script can read it.
    assert COMPANION not in page.evaluate("document.cookie")
    assert post(page, "/auth/logout") == 204
    assert names(context) == []


def test_a_neighbouring_host_logs_nobody_in(context: BrowserContext, serve: Serve) -> None:
    app = site()
    client = app.test_client()
    sign_in(client, "eve")
    values = {name: client.get_cookie(name) for name in (REFRESH_CSRF, COMPANION)}
    refresh = client.get_cookie(REFRESH_COOKIE, path="/auth")
    assert refresh is not None
    planted = [f"{REFRESH_COOKIE}={refresh.value}; Path=/auth"]
    planted += [f"{name}={kept.value}; Path=/" for name, kept in values.items() if kept]
    neighbour = Flask("neighbour")

    @neighbour.get("/")
    def plant() -> Response:
        assert request.host.startswith(NEIGHBOUR)
        response = Response("<!doctype html><title>Neighbour</title>", mimetype="text/html")
        for one in planted:
            response.headers.add("Set-Cookie", f"{one}; Domain={DOMAIN}; Secure; HttpOnly")
        return response

    page = context.new_page()
    page.goto(f"http://{NEIGHBOUR}:{serve(neighbour)}/")
    # The browser itself has refused the companion.
    assert names(context) == [REFRESH_COOKIE, REFRESH_CSRF]
    page.goto(f"http://{APP}:{serve(app)}/page")
    value = values[REFRESH_CSRF]
    assert value is not None
    status = page.evaluate(
        """async (value) => {
            const headers = { "X-CSRF-TOKEN": value };
            return (await fetch("/auth/refresh", { method: "POST", headers })).status;
        }""",
        value.value,
    )
    assert status == 401
    page.goto(page.url.replace("/page", "/guarded"))
    assert "MissingTokenError" in page.content()


def test_a_domain_that_is_added_locks_nobody_out(context: BrowserContext, serve: Serve) -> None:
    before, after = serve(site()), serve(site(COOKIE_DOMAIN=DOMAIN))
    page = context.new_page()
    page.goto(f"http://{APP}:{before}/page")
    assert post(page, "/sign-in/ann") == 200
    page.goto(f"http://{APP}:{after}/page")
    # It keeps other sessions, so that the user logs in again.
    assert post(page, "/auth/refresh") == 401
    assert post(page, "/sign-in/ann") == 200
    places = [place for place in kept(context) if place[0] == REFRESH_COOKIE]
    assert places == [(REFRESH_COOKIE, f".{DOMAIN}", "/auth")]
    for _ in range(2):
        assert post(page, "/auth/refresh") == 200


def test_a_browser_that_is_locked_out_is_healed_by_the_400(
    context: BrowserContext, serve: Serve
) -> None:
    before, after = serve(site()), serve(site(COOKIE_DOMAIN=DOMAIN))
    page = context.new_page()
    for port in (after, before):
        page.goto(f"http://{APP}:{port}/page")
        assert post(page, "/sign-in/ann") == 200
    assert names(context).count(REFRESH_COOKIE) == 2
    page.goto(f"http://{APP}:{after}/page")
    assert post(page, "/auth/refresh") == 400
    assert names(context).count(REFRESH_COOKIE) == 1
    for _ in range(2):
        assert post(page, "/auth/refresh") == 200


@pytest.mark.parametrize("from_now_on", [True, False])
def test_partitioned_cookies_and_others_take_the_place_of_former_ones(
    context: BrowserContext, serve: Serve, from_now_on: bool
) -> None:
    config = {"COOKIE_PARTITIONED": True, "COOKIE_SAMESITE": "None"}
    before, after = serve(site()), serve(site(**config))
    if not from_now_on:
        before, after = after, before
    page = context.new_page()
    page.goto(f"http://{APP}:{before}/page")
    assert post(page, "/sign-in/ann") == 200
    page.goto(f"http://{APP}:{after}/page")
    assert post(page, "/sign-in/ann") == 200
    assert names(context) == sorted(COOKIES)
    for _ in range(2):
        assert post(page, "/auth/refresh") == 200
    assert post(page, "/auth/logout") == 204
    assert names(context) == []
