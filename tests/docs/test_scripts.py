"""Runs the script of docs/browsers.md in a browser. Slow, as a browser is."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from werkzeug.serving import make_server

from tests.docs import support
from tests.docs.support import ANN, DOCS
from tests.support import SECRET
from tests.support.chromium import PATIENCE, chromium

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

# One worker starts the browser once.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("docs_scripts")]

SEND = """async (times) => {
    const { send } = await import("/static/page.js");
    const sent = Array.from({ length: times }, () => send("/transfer"));
    return (await Promise.all(sent)).map((response) => response.status);
}"""


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the app of docs/browsers.md answers."""
    folder = tmp_path_factory.mktemp("site")
    save_script(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("FLASK_JWT_SECRET_KEY", SECRET)
        with support.page("browsers") as names:
            # Browsers take Secure cookies from localhost over plain http, too.
            server = make_server("localhost", 0, names.app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://localhost:{server.port}"
    server.shutdown()
    thread.join()
    server.server_close()


def save_script(folder: Path) -> None:
    """The script, where the page says to save it."""
    text = (DOCS / "browsers.md").read_text("utf-8")
    assert "`static/page.js`" in text
    blocks = re.findall(r"^```js\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 2
    (folder / "static").mkdir()
    (folder / "static" / "page.js").write_text("\n".join(blocks), "utf-8")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, origin: str) -> Iterator[Page]:
    """A page of a user who has logged in."""
    with browser.new_context() as context:
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        page.goto(f"{origin}/login")
        page.get_by_label("Name").fill(ANN["name"])
        page.get_by_label("Password").fill(ANN["password"])
        page.get_by_role("button").click()
        page.wait_for_url("**/transfer")
        yield page


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


def test_an_expired_session_is_left_to_the_page(page: Page) -> None:
    page.context.clear_cookies()
    asked = refreshes(page)
    assert page.evaluate(SEND, 1) == [401]
    assert len(asked) == 1


def test_a_page_that_is_opened_is_refreshed_by_a_form(page: Page) -> None:
    page.context.clear_cookies(name="__Host-access_token")
    asked = refreshes(page)
    page.goto(page.url)
    page.wait_for_url("**/transfer")
    page.get_by_role("button", name="Transfer").wait_for()
    names = {one.get("name") for one in page.context.cookies()}
    assert "__Host-access_token" in names
    # Not by the script, whose path is another one.
    assert asked == []


def test_the_page_logs_out(page: Page) -> None:
    page.get_by_role("button", name="Log out").click()
    page.wait_for_url("**/login")
    assert page.context.cookies() == []


def test_a_form_sends_the_value_that_the_page_was_made_with(page: Page) -> None:
    page.get_by_role("button", name="Transfer").click()
    page.wait_for_load_state()
    assert '"paid_by":"ann"' in page.content().replace(" ", "")
