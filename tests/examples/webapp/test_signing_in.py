"""Signing in and out, and what a browser shows afterwards."""

from __future__ import annotations

import pytest

from tests.support.corpus import check_all

from .conftest import Visit
from .margin import ACCESS, REFRESH, Margin, Visitor, expect, picture

# One worker starts the browser, once.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("webapp")]


def is_signed_out(visitor: Visitor) -> None:
    visitor.shows("Sign in")
    assert visitor.cookie(ACCESS) is None
    assert visitor.cookie(REFRESH) is None


def test_a_new_user_is_signed_in_and_can_write(visit: Visit) -> None:
    ann = visit()
    ann.open("/signup")
    ann.sign_up("ann")
    for text in (
        "Ask Ben for the recipe of his rye bread",
        "Tickets for Thursday: row F, 12 to 14",
        "Books to bring back:\nThe Dispossessed\nPiranesi",
        "Water the lemon tree",
    ):
        ann.write(text)
        expect(
            ann.page.get_by_role("listitem").filter(has_text=text.split("\n")[0])
        ).to_be_visible()
    expect(ann.page.get_by_role("status")).to_have_text("Note added.")
    ann.page.reload()
    expect(ann.page.locator(".note")).to_have_count(4)
    picture(ann.page, "notes")
    ann.page.get_by_role("button", name="Delete note: Water the lemon tree").click()
    expect(ann.page.locator(".note")).to_have_count(3)
    ann.page.reload()
    expect(ann.page.locator(".note")).to_have_count(3)


def test_the_tokens_are_out_of_reach_of_scripts_and_of_other_paths(visit: Visit) -> None:
    """SECURITY A.8 145, A.10 180"""
    bob = visit()
    bob.sign_up("bob")
    cookies = bob.cookies()
    for name, path in ((ACCESS, "/"), (REFRESH, "/auth")):
        found = cookies[name]
        assert (found["httpOnly"], found["secure"], found["sameSite"]) == (True, True, "Lax")
        assert found["path"] == path
    readable = bob.page.evaluate("document.cookie")
    assert ACCESS not in readable
    assert "csrf_access_token" in readable


def test_a_wrong_password_is_said_once_for_names_that_exist_and_for_others(visit: Visit) -> None:
    """SECURITY A.18 321"""
    visit().signed_up("cat")
    other = visit()
    for name in ("cat", "nobody"):
        other.sign_in(name, "not that one")
        expect(other.page.get_by_role("alert")).to_have_text("The name or the password is wrong.")
        expect(other.page.get_by_label("Password")).to_be_focused()
    is_signed_out(other)


def test_a_name_is_given_once(visit: Visit) -> None:
    visit().signed_up("dan")
    other = visit()
    other.sign_up("DAN")
    expect(other.page.get_by_role("alert")).to_contain_text("This name is taken")


def test_an_unknown_address_is_a_page_for_browsers_and_json_for_scripts(visit: Visit) -> None:
    ann = visit()
    response = ann.open("/no-such-page")
    assert response.status == 404
    ann.shows("Page not found")
    expect(ann.page).to_have_title("Page not found · Margin")
    expect(ann.page.get_by_role("link", name="Go to your notes")).to_be_visible()
    assert "style-src 'self'" in response.headers["content-security-policy"]
    asked = ann.context.request.get(
        f"{ann.margin.url}/no-such-page", headers={"Accept": "application/json"}
    )
    assert (asked.status, asked.json()) == (404, {"msg": "Not Found"})
    wrong = ann.context.request.put(
        f"{ann.margin.url}/login", headers={"Accept": "application/json"}
    )
    assert (wrong.status, wrong.json()) == (405, {"msg": "Method Not Allowed"})
    assert set(wrong.headers["allow"].split(", ")) >= {"GET", "POST"}


def test_the_back_button_shows_nothing_after_a_sign_out(visit: Visit) -> None:
    """SECURITY A.9 163"""
    eve = visit().signed_up("eve")
    assert eve.open("/notes").headers["cache-control"] == "no-store"
    eve.write("a secret of eve's")
    expect(eve.page.locator(".note")).to_have_count(1)
    eve.page.get_by_role("link", name="Devices").click()
    expect(eve.page.get_by_role("heading", name="Your devices")).to_be_visible()
    eve.page.get_by_role("button", name="Sign out", exact=True).click()
    expect(eve.page.get_by_text("You are signed out.")).to_be_visible()
    picture(eve.page, "sign-in")
    is_signed_out(eve)
    for _ in range(2):
        eve.page.go_back()
        is_signed_out(eve)
        assert "a secret of eve's" not in eve.page.content()


def test_signing_out_revokes_the_session_for_a_copy_of_its_cookies(visit: Visit) -> None:
    fay, copy = visit().signed_up("fay"), visit()
    copy.context.add_cookies(fay.copied())
    fay.page.get_by_role("button", name="Sign out").click()
    expect(fay.page.get_by_text("You are signed out.")).to_be_visible()
    copy.open("/notes")
    copy.shows("Sign in")
    copy.forget(ACCESS)
    copy.open("/notes")
    copy.shows("Sign in")


def test_signing_out_needs_no_access_token(visit: Visit) -> None:
    gus = visit().signed_up("gus")
    gus.forget(ACCESS, "csrf_access_token")
    gus.page.get_by_role("button", name="Sign out").click()
    expect(gus.page.get_by_text("You are signed out.")).to_be_visible()
    is_signed_out(gus)


def test_no_user_is_sent_on_to_another_site(visit: Visit, margin: Margin) -> None:
    """SECURITY A.16 303"""
    hal = visit().signed_up("hal")

    def stays_here(path: str) -> None:
        if hal.cookie(REFRESH) is None:
            # The case before has failed.
            hal.signed_in("hal")
        hal.forget(ACCESS, "csrf_access_token")
        hal.page.goto(f"{margin.url}/auth/renew?next={path}")
        expect(hal.page).to_have_url(f"{margin.url}/notes")
        hal.context.clear_cookies()
        hal.page.goto(f"{margin.url}/login?next={path}")
        hal.sign_in("hal")
        expect(hal.page).to_have_url(f"{margin.url}/notes")

    paths = ("//evil.example/x", "/\\evil.example", "https://evil.example/", "javascript:alert(1)")
    check_all({path: path for path in paths}, stays_here)


def test_a_session_outlasts_a_restart_of_the_app(visit: Visit, margin: Margin) -> None:
    ida = visit().signed_up("ida")
    ida.write("before")
    expect(ida.page.locator(".note")).to_have_count(1)
    margin.stop()
    ida.write("while it is down")
    expect(ida.page.get_by_role("status")).to_contain_text("That did not work")
    margin.start()
    ida.page.get_by_role("button", name="Add note").click()
    expect(ida.page.locator(".note")).to_have_count(2)
