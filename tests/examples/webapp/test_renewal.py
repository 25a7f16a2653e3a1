"""Access tokens that expire while their user works, and refresh tokens that come twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from .conftest import Visit
from .margin import ACCESS, PASSWORD, REFRESH, Margin, Visitor, expect, picture

if TYPE_CHECKING:
    from playwright.sync_api import Route

# One worker starts the browser, once.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("webapp")]

CSRF = "csrf_access_token"


def expired(visitor: Visitor) -> None:
    visitor.expire(ACCESS)


def dropped(visitor: Visitor) -> None:
    """Browsers drop a cookie that expires."""
    visitor.forget(ACCESS, CSRF)


@pytest.mark.parametrize("lose", [expired, dropped])
def test_what_the_user_does_is_done(
    visit: Visit, margin: Margin, lose: Callable[[Visitor], None]
) -> None:
    ann = visit().signed_up(f"ann-{lose.__name__}")
    # The request of a script.
    before = ann.cookie(ACCESS), ann.cookie(REFRESH)
    lose(ann)
    ann.write("a note")
    expect(ann.page.locator(".note")).to_have_count(1)
    after = ann.cookie(ACCESS), ann.cookie(REFRESH)
    assert None not in after
    assert not set(before) & set(after)
    # A page opens, and the page in between is no step for the back button.
    lose(ann)
    ann.page.get_by_role("link", name="Devices").click()
    ann.shows("Your devices")
    assert ann.page.url == f"{margin.url}/devices"
    ann.page.go_back()
    ann.shows("Your notes")
    # A form is sent.
    ann.open("/confirm?next=/devices")
    lose(ann)
    ann.page.get_by_label("Password").fill(PASSWORD)
    ann.page.get_by_role("button", name="Continue").click()
    ann.shows("Your devices")


def test_without_scripts_a_form_changes_nothing_and_says_so(visit: Visit) -> None:
    dan = visit(java_script_enabled=False).signed_up("dan")
    dan.open("/confirm?next=/devices")
    expired(dan)
    dan.page.get_by_label("Password").fill(PASSWORD)
    dan.page.get_by_role("button", name="Continue").click()
    dan.shows("Please send that again")
    dan.page.get_by_role("link", name="Back to your notes").click()
    # Without a script, the page in between has a button.
    dan.page.get_by_role("button", name="Continue").click()
    dan.shows("Your notes")


def test_two_tabs_refresh_at_once_and_both_stay_signed_in(visit: Visit) -> None:
    eve = visit().signed_up("eve")
    other = eve.tab("/notes")
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
    # A third that had read the cookie before another one refreshed. Not that of the beginning:
    # the browser adds the cookie when it sends, and may have had the first one's answer by then.
    read = eve.cookie(REFRESH)
    assert read is not None
    expired(eve)
    eve.write("from the one again")
    expect(eve.page.locator(".note")).to_have_count(2)
    eve.put(REFRESH, read)
    expired(eve)
    third = eve.tab("/notes")
    eve.write("from the third", third)
    expect(third.locator(".note")).to_have_count(4)
    for tab in eve.context.pages:
        tab.reload()
        expect(tab.locator(".note")).to_have_count(4)


def test_a_stolen_refresh_token_revokes_the_session_for_both_and_its_owner_is_told(
    visit: Visit,
) -> None:
    owner, attacker = visit().signed_up("fay"), visit()
    attacker.context.add_cookies(owner.copied())
    for count in (1, 2):
        expired(owner)
        owner.write("a note")
        expect(owner.page.locator(".note")).to_have_count(count)
    # The copy of the access token is accepted like the original until it expires.
    attacker.open("/notes")
    attacker.shows("Your notes")
    expired(attacker)
    attacker.page.reload()
    attacker.shows("Sign in")
    # The owner's tokens are from after the theft, and end all the same: the owner can't be told
    # from the attacker.
    owner.write("one more")
    expect(owner.page.get_by_text("You have been signed out.")).to_be_visible()
    owner.sign_in("fay")
    notice = owner.page.get_by_role("region", name="Security notice")
    expect(notice).to_contain_text("A copy of your session was used")
    # What was being written is still there.
    expect(owner.page.get_by_label("A new note")).to_have_value("one more")
    picture(owner.page, "stolen")
    notice.get_by_role("button", name="I have read this").click()
    expect(notice).to_be_hidden()
    owner.page.reload()
    owner.shows("Your notes")
    expect(notice).to_be_hidden()
    attacker.open("/notes")
    attacker.shows("Sign in")


def test_an_attacker_who_refreshes_first_is_found_out_by_the_owner(visit: Visit) -> None:
    owner, attacker = visit().signed_up("gus"), visit()
    attacker.context.add_cookies(owner.copied())
    for _ in range(2):
        expired(attacker)
        attacker.open("/notes")
        attacker.shows("Your notes")
    expired(owner)
    owner.write("a note")
    owner.shows("Sign in")
    attacker.page.reload()
    attacker.shows("Sign in")
    owner.sign_in("gus")
    expect(owner.page.get_by_role("region", name="Security notice")).to_have_count(1)


def test_when_everything_has_expired_the_user_signs_in_and_goes_on(
    visit: Visit, margin: Margin
) -> None:
    ida = visit().signed_up("ida")
    ida.write("the first")
    expect(ida.page.locator(".note")).to_have_count(1)
    ida.expire(ACCESS, REFRESH)
    ida.write("the second")
    expect(ida.page.get_by_text("Please sign in to continue.")).to_be_visible()
    ida.sign_in("ida")
    expect(ida.page.get_by_label("A new note")).to_have_value("the second")
    ida.page.get_by_role("button", name="Add note").click()
    expect(ida.page.locator(".note")).to_have_count(2)
    ida.open("/devices")
    ida.expire(ACCESS, REFRESH)
    ida.page.reload()
    ida.sign_in("ida")
    expect(ida.page).to_have_url(f"{margin.url}/devices")
