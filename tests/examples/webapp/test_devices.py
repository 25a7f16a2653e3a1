"""The list of devices, what can be ended from it, and the password that ends the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .conftest import Visit
from .margin import ACCESS, PASSWORD, Visitor, expect, picture

if TYPE_CHECKING:
    from playwright.sync_api import Locator

# One worker starts the browser, once.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("webapp")]

PHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 19_1 like Mac OS X) AppleWebKit/605.1.15 "
    "(KHTML, like Gecko) Version/19.1 Mobile/15E148 Safari/604.1"
)
LAPTOP = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:145.0) Gecko/20100101 Firefox/145.0"


def on_three_devices(visit: Visit, name: str) -> tuple[Visitor, Visitor, Visitor]:
    desk = visit().signed_up(name)
    phone, laptop = (visit(user_agent=agent).signed_in(name) for agent in (PHONE, LAPTOP))
    desk.page.get_by_role("link", name="Devices").click()
    expect(desk.page.locator(".device")).to_have_count(3)
    return desk, phone, laptop


def device(visitor: Visitor, name: str) -> Locator:
    return visitor.page.get_by_role("listitem").filter(has_text=name)


def can_be_named(desk: Visitor) -> None:
    """Give the phone a name and take it away again."""
    phone = device(desk, "Safari on iPhone")
    phone.get_by_text("Rename").click()
    phone.get_by_label("Name of the device").fill("Ann's phone")
    phone.get_by_role("button", name="Save").click()
    expect(desk.page.get_by_role("heading", name="Ann's phone")).to_be_visible()
    named = device(desk, "Ann's phone")
    expect(named).to_contain_text("Safari on iPhone")
    named.get_by_text("Rename").click()
    named.get_by_label("Name of the device").fill("")
    named.get_by_role("button", name="Save").click()
    expect(desk.page.get_by_role("heading", name="Ann's phone")).to_have_count(0)
    expect(desk.page.get_by_role("heading", name="Safari on iPhone")).to_be_visible()


def is_signed_out(visitor: Visitor) -> None:
    """See that neither the access token nor the refresh token is accepted any more."""
    visitor.write("one more")
    expect(visitor.page.get_by_text("You have been signed out.")).to_be_visible()
    visitor.open("/auth/renew?next=/notes")
    visitor.shows("Sign in")


def test_devices_are_told_apart_and_can_be_named(visit: Visit) -> None:
    desk, phone, _ = on_three_devices(visit, "ann")
    expect(device(desk, "Safari on iPhone")).to_have_count(1)
    expect(device(desk, "Firefox on Windows")).to_contain_text("Last seen")
    expect(device(desk, "This device")).to_contain_text("Chrome on Linux")
    picture(desk.page, "devices")
    phone.open("/devices")
    expect(device(phone, "This device")).to_contain_text("Safari on iPhone")
    can_be_named(desk)


def test_one_device_is_signed_out_and_then_all_others(visit: Visit) -> None:
    desk, phone, laptop = on_three_devices(visit, "ben")
    desk.page.get_by_role("button", name="Sign out Safari on iPhone").click()
    expect(desk.page.locator(".device")).to_have_count(2)
    expect(desk.page.get_by_role("status")).to_have_text("Safari on iPhone is signed out.")
    expect(desk.page.get_by_role("heading", name="Your devices")).to_be_focused()
    is_signed_out(phone)
    laptop.page.reload()
    laptop.shows("Your notes")
    phone.signed_in("ben")
    desk.page.reload()
    expect(desk.page.locator(".device")).to_have_count(3)
    everywhere = desk.page.get_by_role("button", name="Sign out everywhere else")
    everywhere.click()
    expect(desk.page.locator(".device")).to_have_count(1)
    expect(everywhere).to_be_hidden()
    is_signed_out(phone)
    is_signed_out(laptop)
    desk.page.reload()
    expect(desk.page.locator(".device")).to_have_count(1)


def test_a_user_ends_or_names_no_device_of_another(visit: Visit) -> None:
    desk, other = visit().signed_up("eve"), visit().signed_up("mallory")
    desk.open("/devices")
    sid = desk.page.locator(".device").get_attribute("data-sid")
    ask = """async ([method, path]) => {
        const { send } = await import("/static/session.js");
        return send(method, path, method === "PUT" ? { name: "mine" } : undefined)
            .then(() => "done", (error) => error.message);
    }"""
    for method, path in (("DELETE", f"/auth/sessions/{sid}"), ("PUT", f"/devices/{sid}")):
        assert other.page.evaluate(ask, [method, path]) == f"{method} {path}: 404"
    desk.page.reload()
    expect(desk.page.get_by_role("heading", name="Chrome on Linux")).to_be_visible()


def test_a_new_password_needs_the_old_one_and_keeps_only_this_session(visit: Visit) -> None:
    desk, phone, laptop = on_three_devices(visit, "fay")
    # What a refresh gives is not fresh any more.
    desk.expire(ACCESS)
    desk.page.get_by_role("link", name="Password").click()
    expect(desk.page.get_by_role("heading", name="Confirm it's you")).to_be_visible()
    picture(desk.page, "step-up")
    desk.page.get_by_label("Password").fill("not that one")
    desk.page.get_by_role("button", name="Continue").click()
    expect(desk.page.get_by_role("alert")).to_have_text("The password is wrong.")
    desk.page.get_by_label("Password").fill(PASSWORD)
    desk.page.get_by_role("button", name="Continue").click()
    desk.page.get_by_label("New password").fill("another horse entirely")
    desk.page.get_by_role("button", name="Change the password").click()
    expect(desk.page.get_by_text("Your password is changed.")).to_be_visible()
    is_signed_out(phone)
    is_signed_out(laptop)
    desk.open("/notes")
    desk.shows("Your notes")
    phone.sign_in("fay")
    expect(phone.page.get_by_role("alert")).to_be_visible()
    phone.sign_in("fay", "another horse entirely")
    phone.shows("Your notes")
