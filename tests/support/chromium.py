"""A real browser: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CHROMIUM = "/usr/bin/chromium"
OPTIONS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
#: Milliseconds that a busy machine may take.
PATIENCE = 60_000


@contextmanager
def chromium() -> Generator[Browser]:
    """The browser; without it the test is skipped, or fails where nothing may be missing.

    While Playwright runs, its thread has an event loop, which is in the way of tests of async
    views. So no fixture that holds a browser may outlive its folder.
    """
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
