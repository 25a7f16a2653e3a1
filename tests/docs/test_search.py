"""The search of the built documentation, in a browser: whether the answer is among the first."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.docs.support import DOCS
from tests.support.chromium import PATIENCE, chromium
from tests.support.corpus import check_all

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.slow

#: What a user types, and the page with the answer.
ANSWERS = {
    "revoke": "revocation",
    "revoke all tokens of a user": "revocation",
    "blacklist": "revocation",
    "refresh token reuse": "sessions",
    "two tabs refresh": "sessions",
    "csrf token missing": "browsers",
    "remember me": "browsers",
    "celery": "works-with",
    "rate limit": "works-with",
    "websocket": "outside-requests",
    "troubleshooting": "troubleshooting",
    "logged out after a deploy": "troubleshooting",
    "key rotation": "keys",
    "roles permissions": "guards",
    "optional token": "guards",
    "redis down": "stores",
    "migrate flask-jwt-extended": "migrating",
    "pytest create a token": "testing",
    "proxy strips authorization": "production",
}


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Page, str]]:
    """A page of a browser, and the URL of the search."""
    folder = tmp_path_factory.mktemp("html")
    command = ["-m", "sphinx", "-q", "-b", "html", str(DOCS), str(folder)]
    subprocess.run([sys.executable, *command], check=True, timeout=300)
    with chromium() as browser:
        page = browser.new_page()
        page.set_default_timeout(PATIENCE)
        yield page, (folder / "search.html").as_uri()


def test_the_answer_is_on_one_of_the_first_three_pages(search: tuple[Page, str]) -> None:
    page, url = search

    def check(case: tuple[str, str]) -> None:
        query, expected = case
        page.goto(f"{url}?q={query.replace(' ', '+')}")
        page.get_by_text(re.compile("Search finished|did not match")).wait_for()
        links = page.locator("#search-results ul.search li a")
        found = [Path(link.get_attribute("href") or "").name for link in links.all()]
        first = [*dict.fromkeys(name.partition(".html")[0] for name in found)][:3]
        assert expected in first, f"{query} finds {first}"

    check_all({query: (query, expected) for query, expected in ANSWERS.items()}, check)
