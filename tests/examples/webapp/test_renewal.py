"""Access tokens that expire while their user works, and refresh tokens that come twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from .conftest import Visit
from .margin import ACCESS, PASSWORD, REFRESH, Margin, Visitor, expect, picture

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

pytestmark = pytest.mark.slow

CSRF = "csrf_access_token"


def signed_up(visit: Visit, name: str, **options: object) -> Visitor:
    visitor = visit(**options)
    visitor.sign_up(name)
    shows(visitor.page, "Your notes")
    return visitor


def shows(page: Page, heading: str) -> None:
    expect(page.get_by_role("heading", name=heading)).to_be_visible()


def expired(visitor: Visitor) -> None:
    visitor.expire(ACCESS)


def gone(visitor: Visitor) -> None:
    """Browsers drop a cookie when its time is over."""
    visitor.forget(ACCESS, CSRF)


@pytest.mark.parametrize("lose", [expired, gone])
def test_a_script_gets_its_request_done(visit: Visit, lose: Callable[[Visitor], None]) -> None:
    ann = signed_up(visit, f"ann-{lose.__name__}")
    before = ann.cookie(ACCESS), ann.cookie(REFRESH)
    lose(ann)
    ann.write("a note")
    expect(ann.page.locator(".note")).to_have_count(1)
    after = ann.cookie(ACCESS), ann.cookie(REFRESH)
    assert None not in after
    assert not set(before) & set(after)


@pytest.mark.parametrize("lose", [expired, gone])
def test_a_page_opens_and_no_step_is_left_behind(
    visit: Visit, margin: Margin, lose: Callable[[Visitor], None]
) -> None:
    ben = signed_up(visit, f"ben-{lose.__name__}")
    lose(ben)
    ben.page.get_by_role("link", name="Devices").click()
    shows(ben.page, "Your devices")
    assert ben.page.url == f"{margin.url}/devices"
    ben.page.go_back()
    shows(ben.page, "Your notes")


@pytest.mark.parametrize("lose", [expired, gone])
def test_a_form_is_sent(visit: Visit, lose: Callable[[Visitor], None]) -> None:
    cat = signed_up(visit, f"cat-{lose.__name__}")
    cat.open("/confirm?next=/devices")
    lose(cat)
    cat.page.get_by_label("Password").fill(PASSWORD)
    cat.page.get_by_role("button", name="Go on").click()
    shows(cat.page, "Your devices")


def test_without_scripts_a_form_changes_nothing_and_says_so(visit: Visit) -> None:
    dan = signed_up(visit, "dan", java_script_enabled=False)
    dan.open("/confirm?next=/devices")
    expired(dan)
    dan.page.get_by_label("Password").fill(PASSWORD)
    dan.page.get_by_role("button", name="Go on").click()
    shows(dan.page, "Please send that again")
    dan.page.get_by_role("link", name="Back to your notes").click()
    # Without a script, the page in between has a button.
    dan.page.get_by_role("button", name="Go on").click()
    shows(dan.page, "Your notes")


def test_two_tabs_refresh_at_once_and_both_stay_signed_in(visit: Visit) -> None:
    eve = signed_up(visit, "eve")
    other, first = eve.tab("/notes"), eve.cookie(REFRESH)
    assert first is not None
    expired(eve)
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)
        if len(held) == 2:
            for one in held:
                one.continue_()

    eve.context.route("**/auth/refresh", hold)
    eve.write("from the one")
    eve.write("from the other", other)
    for tab in (eve.page, other):
        expect(tab.locator(".note")).to_have_count(1)
    assert len(held) == 2
    eve.context.unroute("**/auth/refresh")
    # A third that had read the cookie before either of them was answered.
    eve.put(REFRESH, first)
    expired(eve)
    third = eve.tab("/notes")
    eve.write("from the third", third)
    expect(third.locator(".note")).to_have_count(3)
    for tab in eve.context.pages:
        tab.reload()
        expect(tab.locator(".note")).to_have_count(3)


def test_a_stolen_refresh_token_ends_the_login_for_both_and_its_owner_is_told(
    visit: Visit,
) -> None:
    owner, thief = signed_up(visit, "fay"), visit()
    thief.context.add_cookies(owner.copied())
    for count in (1, 2):
        expired(owner)
        owner.write("a note")
        expect(owner.page.locator(".note")).to_have_count(count)
    # The copy of the access token is as good as the original until it expires.
    thief.open("/notes")
    shows(thief.page, "Your notes")
    expired(thief)
    thief.page.reload()
    shows(thief.page, "Sign in")
    # The owner's tokens are from after the theft, and end all the same: the owner can't be told
    # from the thief.
    owner.write("one more")
    expect(owner.page.get_by_text("You have been signed out.")).to_be_visible()
    owner.sign_in("fay")
    notice = owner.page.get_by_role("region", name="Security notice")
    expect(notice).to_contain_text("Somebody used a copy of your sign-in")
    # What was being written is still there.
    expect(owner.page.get_by_label("A new note")).to_have_value("one more")
    picture(owner.page, "stolen")
    notice.get_by_role("button", name="I have read this").click()
    expect(notice).to_be_hidden()
    owner.page.reload()
    shows(owner.page, "Your notes")
    expect(notice).to_be_hidden()
    thief.open("/notes")
    shows(thief.page, "Sign in")


def test_a_thief_who_refreshes_first_is_found_out_by_the_owner(visit: Visit) -> None:
    owner, thief = signed_up(visit, "gus"), visit()
    thief.context.add_cookies(owner.copied())
    for _ in range(2):
        expired(thief)
        thief.open("/notes")
        shows(thief.page, "Your notes")
    expired(owner)
    owner.write("a note")
    shows(owner.page, "Sign in")
    thief.page.reload()
    shows(thief.page, "Sign in")
    owner.sign_in("gus")
    expect(owner.page.get_by_role("region", name="Security notice")).to_have_count(1)


def test_when_everything_has_expired_the_user_signs_in_and_goes_on(
    visit: Visit, margin: Margin
) -> None:
    ida = signed_up(visit, "ida")
    ida.write("the first")
    expect(ida.page.locator(".note")).to_have_count(1)
    ida.expire(ACCESS, REFRESH)
    ida.write("the second")
    expect(ida.page.get_by_text("Please sign in to go on.")).to_be_visible()
    ida.sign_in("ida")
    expect(ida.page.get_by_label("A new note")).to_have_value("the second")
    ida.page.get_by_role("button", name="Add note").click()
    expect(ida.page.locator(".note")).to_have_count(2)
    ida.open("/devices")
    ida.expire(ACCESS, REFRESH)
    ida.page.reload()
    ida.sign_in("ida")
    expect(ida.page).to_have_url(f"{margin.url}/devices")
