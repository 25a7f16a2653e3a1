"""The example as it comes: with access tokens of ten seconds, on a clock that nobody can set."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Visit
from .margin import ACCESS, REFRESH, Visitor, expect

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def settings() -> dict[str, Any]:
    return {}


def wait_until_expired(visitor: Visitor) -> None:
    """Until the browser has dropped the access token, whose time is over."""
    visitor.page.evaluate("""() => new Promise((done) => {
        const watch = setInterval(() => {
            if (document.cookie.includes("csrf_access_token")) return;
            clearInterval(watch);
            done();
        }, 50);
    })""")
    assert visitor.cookie(ACCESS) is None


def test_the_user_does_not_notice(visit: Visit) -> None:
    ann = visit()
    ann.sign_up("ann")
    expect(ann.page.get_by_role("heading", name="Your notes")).to_be_visible()
    first = ann.cookie(REFRESH)
    wait_until_expired(ann)
    ann.write("after ten seconds")
    expect(ann.page.locator(".note")).to_have_count(1)
    second = ann.cookie(REFRESH)
    wait_until_expired(ann)
    ann.page.get_by_role("link", name="Devices").click()
    expect(ann.page.get_by_role("heading", name="Your devices")).to_be_visible()
    expect(ann.page.locator(".device")).to_have_count(1)
    assert len({first, second, ann.cookie(REFRESH)}) == 3


def test_a_new_password_can_be_thought_about(visit: Visit) -> None:
    """What was proved by the old one lasts longer than an access token."""
    ben = visit()
    ben.sign_up("ben")
    expect(ben.page.get_by_role("heading", name="Your notes")).to_be_visible()
    wait_until_expired(ben)
    ben.page.get_by_role("link", name="Password").click()
    ben.page.get_by_label("Password").fill("correct horse battery")
    ben.page.get_by_role("button", name="Go on").click()
    expect(ben.page.get_by_role("heading", name="Change your password")).to_be_visible()
    assert ben.cookies()[ACCESS]["expires"] - ben.page.evaluate("Date.now() / 1000") > 60
