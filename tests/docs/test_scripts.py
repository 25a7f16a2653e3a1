"""Runs the script of docs/browsers.rst in a browser. Slow, as a browser is."""

from __future__ import annotations

import importlib.util
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from werkzeug.serving import make_server

from tests.docs.test_snippets import snippet

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.slow

CHROMIUM = "/usr/bin/chromium"
#: Milliseconds that a busy machine may take.
PATIENCE = 60_000
SEND = """async (times) => {
    const { send } = await import("/static/page.js");
    const sent = Array.from({ length: times }, () => send("/transfer"));
    return (await Promise.all(sent)).map((answer) => answer.status);
}"""


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    """Where the app of docs/browsers.rst answers."""
    # Browsers take Secure cookies from localhost over plain http, too.
    server = make_server("localhost", 0, snippet("browsers").app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://localhost:{server.port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def page(origin: str) -> Iterator[Page]:
    """A page of somebody who has logged in."""
    if not Path(CHROMIUM).exists() or importlib.util.find_spec("playwright") is None:
        what = f"this needs {CHROMIUM} and playwright"
        if os.environ.get("AUTHX_REQUIRE_SERVERS"):
            pytest.fail(what)
        pytest.skip(what)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--headless", "--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(f"{origin}/login")
        page.get_by_label("Name").fill("ann")
        page.get_by_label("Password").fill("correct horse")
        page.get_by_role("button").click()
        page.wait_for_url("**/transfer")
        yield page
        browser.close()


def refreshes(page: Page) -> list[str]:
    """What is asked of the view for refreshing, from now on."""
    paths: list[str] = []
    page.on("request", lambda asked: paths.append(asked.url) if "/refresh" in asked.url else None)
    return paths


def test_the_script_of_a_page_refreshes_once_for_all_its_requests(page: Page) -> None:
    asked = refreshes(page)
    assert page.evaluate(SEND, 2) == [200, 200]
    assert asked == []
    page.context.clear_cookies(name="__Host-access_token")
    assert page.evaluate(SEND, 5) == [200] * 5
    assert len(asked) == 1


def test_a_login_that_is_over_is_left_to_the_page(page: Page) -> None:
    page.context.clear_cookies()
    asked = refreshes(page)
    assert page.evaluate(SEND, 1) == [401]
    assert len(asked) == 1


def test_a_form_sends_the_value_that_the_page_was_made_with(page: Page) -> None:
    page.get_by_role("button", name="Transfer").click()
    page.wait_for_load_state()
    assert '"paid_by":"ann"' in page.content().replace(" ", "")
