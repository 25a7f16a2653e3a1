"""With a keyboard alone, on a phone, in the dark, and with a screen reader."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from .conftest import Visit
from .margin import ACCESS, PASSWORD, Visitor, expect, picture

if TYPE_CHECKING:
    from playwright.sync_api import Page

# One worker starts the browser, once.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("webapp")]

PHONE = {"width": 360, "height": 720}
WIDTHS = (320, 390, 1280)
PAGES = ("/notes", "/devices", "/password", "/confirm")
#: The element with the focus: what it says, and whether that it has the focus can be seen.
FOCUSED = """() => {
    const found = document.activeElement, style = getComputedStyle(found);
    return [
        found.ariaLabel ?? found.labels?.[0]?.textContent ?? found.textContent.trim(),
        style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2,
    ];
}"""


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def tab_to(page: Page, name: str) -> None:
    """Press Tab until this has the focus, which must be seen all the way."""
    # What needs a script is off until that runs, and so long the keyboard passes it by.
    expect(page.locator("button[disabled]:visible")).to_have_count(0)
    for _ in range(40):
        press(page, "Tab")
        focused, seen = page.evaluate(FOCUSED)
        assert seen, f"{focused!r} does not show that it has the focus"
        if focused == name:
            return
    pytest.fail(f"{name!r} can't be reached with the keyboard")


def test_a_keyboard_is_enough(visit: Visit) -> None:
    ann = visit()
    page = ann.page
    ann.open("/signup")
    expect(page.get_by_label("Name")).to_be_focused()
    page.keyboard.type("ann")
    press(page, "Tab")
    page.keyboard.type(PASSWORD)
    press(page, "Enter")
    expect(page.get_by_role("heading", name="Your notes")).to_be_visible()
    press(page, "Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    press(page, "Enter")
    tab_to(page, "A new note")
    page.keyboard.type("written without a mouse")
    tab_to(page, "Add note")
    press(page, "Enter")
    expect(page.locator(".note")).to_have_count(1)
    expect(page.get_by_label("A new note")).to_be_focused()
    page.keyboard.type("and another")
    press(page, "Control+Enter")
    expect(page.locator(".note")).to_have_count(2)
    tab_to(page, "Delete note: and another")
    press(page, "Space")
    expect(page.locator(".note")).to_have_count(1)
    expect(page.get_by_role("button", name="Delete note")).to_be_focused()
    ann.open("/devices")
    tab_to(page, "Rename Chrome on Linux")
    press(page, "Enter")
    tab_to(page, "Name of the device")
    page.keyboard.type("Desk")
    press(page, "Enter")
    expect(page.get_by_role("heading", name="Desk")).to_be_visible()
    tab_to(page, "Sign out")
    press(page, "Enter")
    expect(page.get_by_text("You are signed out.")).to_be_visible()


@pytest.mark.parametrize("width", WIDTHS)
def test_no_page_scrolls_sideways(visit: Visit, width: int) -> None:
    size, mobile = {"width": width, "height": 720}, width < 600
    ben = visit(viewport=size, device_scale_factor=1, has_touch=mobile, is_mobile=mobile)
    for path in ("/login", "/signup", "/no-such-page"):
        ben.open(path)
        fits(ben.page, path)
    ben.signed_up(f"{width}".ljust(64, "b"))
    ben.write("Donaudampfschifffahrtsgesellschaftskapitän" * 4)
    ben.write("Ask Ben for the recipe of his rye bread")
    expect(ben.page.locator(".note")).to_have_count(2)
    fits(ben.page, "after a note")
    for path in PAGES:
        ben.open(path)
        fits(ben.page, path)
    # Fingers are wider than pointers.
    ben.open("/notes")
    for button in ben.page.get_by_role("button").all():
        box = button.bounding_box()
        assert box is not None
        assert box["height"] >= 36


def fits(page: Page, where: str) -> None:
    size = page.viewport_size
    assert size is not None
    widths = page.evaluate(
        "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    )
    assert widths == [size["width"]] * 2, where


def test_it_is_dark_where_that_is_wanted(visit: Visit) -> None:
    cat = visit(color_scheme="dark", viewport=PHONE).signed_up("cat")
    for text in ("Water the lemon tree", "Tickets for Thursday: row F, 12 to 14"):
        cat.write(text)
        expect(cat.page.get_by_role("listitem").filter(has_text=text)).to_be_visible()
    cat.page.reload()
    picture(cat.page, "phone-dark")
    ground = cat.page.evaluate("getComputedStyle(document.body).backgroundColor")
    red, green, blue = (int(part) for part in ground.removeprefix("rgb(").rstrip(")").split(","))
    assert max(red, green, blue) < 64


def test_every_page_reads_well(visit: Visit) -> None:
    """One heading of the first level, landmarks, and a name for all that can be used."""
    dan = visit()
    for path in ("/login", "/no-such-page"):
        dan.open(path)
        reads_well(dan, signed_in=False)
    dan.signed_up("dan")
    dan.write("a note")
    expect(dan.page.get_by_role("status")).to_have_text("Note added.")
    for path in PAGES:
        dan.open(path)
        reads_well(dan, signed_in=True)
    dan.expire(ACCESS)
    dan.open("/password")
    expect(dan.page).to_have_title("Confirm it's you · Margin")
    dan.page.get_by_label("Password").fill("not that one")
    dan.page.get_by_role("button", name="Continue").click()
    expect(dan.page).to_have_title("Problem: Confirm it's you · Margin")
    expect(dan.page.get_by_label("Password")).to_have_accessible_description(
        "The password is wrong."
    )


def reads_well(visitor: Visitor, *, signed_in: bool) -> None:
    page = visitor.page
    expect(page.get_by_role("heading", level=1)).to_have_count(1)
    expect(page.get_by_role("main")).to_have_count(1)
    expect(page.get_by_role("banner")).to_have_count(1)
    expect(page.get_by_role("navigation", name="Main")).to_have_count(int(signed_in))
    assert page.locator("html").get_attribute("lang") == "en"
    for role in ("button", "link", "textbox"):
        for element in page.get_by_role(role).all():
            expect(element).to_have_accessible_name(re.compile(r"\S"))
