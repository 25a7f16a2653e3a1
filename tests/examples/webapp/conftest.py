"""A browser and the example, for a module each; each visitor has a browser profile of its own."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

from .margin import Margin, Visitor

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CHROMIUM = "/usr/bin/chromium"
OPTIONS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
#: Milliseconds that a busy machine may take.
PATIENCE = 60_000

#: Gives a new visitor; takes what Playwright's ``new_context`` does.
Visit: TypeAlias = Callable[..., Visitor]


# While Playwright runs, its thread has an event loop, which is in the way of tests of async views:
# it does not outlive the module.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    missing = [
        what
        for what, there in (
            (f"{CHROMIUM} (apt-get install chromium)", Path(CHROMIUM).exists()),
            ("playwright", importlib.util.find_spec("playwright") is not None),
        )
        if not there
    ]
    if missing:
        what = f"there is no {' and no '.join(missing)}"
        if os.environ.get("AUTHX_REQUIRE_SERVERS"):
            pytest.fail(what)
        pytest.skip(what)
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=OPTIONS,
            # The back button brings back pages as they were, as it does for users.
            ignore_default_args=["--disable-back-forward-cache"],
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def settings() -> dict[str, Any]:
    """What the app is started with. Its tokens outlast a test, unless that is what is tested."""
    return {"ACCESS_TOKEN_EXPIRES": 900}


@pytest.fixture(scope="module")
def margin(
    browser: Browser, settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Margin]:
    # It asks for the browser: without one the app isn't started either.
    margin = Margin(tmp_path_factory.mktemp("webapp"), **settings)
    yield margin
    margin.stop()


@pytest.fixture
def visit(browser: Browser, margin: Margin) -> Iterator[Visit]:
    visitors: list[Visitor] = []

    def visit(**options: Any) -> Visitor:
        size = {"width": 900, "height": 600}
        chosen: dict[str, Any] = {"viewport": size, "locale": "en-GB", **options}
        context = browser.new_context(**chosen)
        context.set_default_timeout(PATIENCE)
        visitors.append(Visitor(margin, context))
        return visitors[-1]

    yield visit
    for visitor in visitors:
        visitor.context.close()
    assert [fault for visitor in visitors for fault in visitor.faults] == []
