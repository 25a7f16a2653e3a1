"""The example as it comes: with access tokens of ten seconds, on a clock that can not be set."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Visit
from .margin import ACCESS, PASSWORD, REFRESH, Visitor, expect

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("webapp")]


@pytest.fixture(scope="module")
def settings() -> dict[str, Any]:
    return {}


def wait_until_expired(visitor: Visitor) -> None:
    """Until the browser has dropped the access token, which has expired."""
    visitor.page.evaluate("""() => new Promise((done) => {
        const watch = setInterval(() => {
            if (document.cookie.includes("csrf_access_token")) return;
            clearInterval(watch);
            done();
        }, 50);
    })""")
    assert visitor.cookie(ACCESS) is None


def test_the_user_does_not_notice(visit: Visit) -> None:
    # They wait at the same time.
    ann, ben, cat = (visit().signed_up(name) for name in ("ann", "ben", "cat"))
    first, cats = ann.cookie(REFRESH), cat.cookie(REFRESH)
    for visitor in (ann, ben, cat):
        wait_until_expired(visitor)
    ann.write("after ten seconds")
    expect(ann.page.locator(".note")).to_have_count(1)
    second = ann.cookie(REFRESH)
    # Once more, without the wait.
    ann.expire(ACCESS)
    opens_the_devices(ann)
    assert len({first, second, ann.cookie(REFRESH)}) == 3
    opens_the_devices(cat)
    assert cat.cookie(REFRESH) != cats
    can_think_about_a_new_password(ben)


def opens_the_devices(visitor: Visitor) -> None:
    visitor.page.get_by_role("link", name="Devices").click()
    visitor.shows("Your devices")
    expect(visitor.page.locator(".device")).to_have_count(1)


def can_think_about_a_new_password(visitor: Visitor) -> None:
    """What was proved by the old one lasts longer than an access token."""
    visitor.page.get_by_role("link", name="Password").click()
    visitor.page.get_by_label("Password").fill(PASSWORD)
    visitor.page.get_by_role("button", name="Continue").click()
    visitor.shows("Change your password")
    assert visitor.cookies()[ACCESS]["expires"] - visitor.page.evaluate("Date.now() / 1000") > 60
