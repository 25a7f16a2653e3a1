"""One browser, and the example for each module; each visitor has a browser profile of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

from tests.support.chromium import PATIENCE, chromium

from .margin import Margin, Visitor

if TYPE_CHECKING:
    from playwright.sync_api import Browser

#: Gives a new visitor; takes what Playwright's ``new_context`` does.
Visit: TypeAlias = Callable[..., Visitor]


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def settings() -> dict[str, Any]:
    """What the app is started with. Its tokens do not expire in a test, unless that is tested."""
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
