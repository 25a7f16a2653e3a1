"""Signing in and out, and what a browser shows of it afterwards."""

from __future__ import annotations

import pytest

from .conftest import Visit
from .margin import ACCESS, REFRESH, Margin, Visitor, expect, picture

pytestmark = pytest.mark.slow


def is_signed_out(visitor: Visitor) -> None:
    expect(visitor.page.get_by_role("heading", name="Sign in")).to_be_visible()
    assert visitor.cookie(ACCESS) is None
    assert visitor.cookie(REFRESH) is None


def test_who_signs_up_is_signed_in_and_can_write(visit: Visit) -> None:
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
    cat = visit()
    cat.sign_up("cat")
    other = visit()
    for name in ("cat", "nobody"):
        other.sign_in(name, "not that one")
        expect(other.page.get_by_role("alert")).to_have_text("The name or the password is wrong.")
        expect(other.page.get_by_label("Password")).to_be_focused()
    is_signed_out(other)


def test_a_name_is_given_once(visit: Visit) -> None:
    dan, other = visit(), visit()
    dan.sign_up("dan")
    expect(dan.page.get_by_role("heading", name="Your notes")).to_be_visible()
    other.sign_up("DAN")
    expect(other.page.get_by_role("alert")).to_contain_text("somebody of that name already")


def test_the_back_button_shows_nothing_of_who_has_signed_out(visit: Visit) -> None:
    eve = visit()
    eve.sign_up("eve")
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


def test_signing_out_ends_the_login_for_a_copy_of_its_cookies(visit: Visit) -> None:
    fay, copy = visit(), visit()
    fay.sign_up("fay")
    expect(fay.page.get_by_role("heading", name="Your notes")).to_be_visible()
    copy.context.add_cookies(fay.copied())
    fay.page.get_by_role("button", name="Sign out").click()
    expect(fay.page.get_by_text("You are signed out.")).to_be_visible()
    copy.open("/notes")
    expect(copy.page.get_by_role("heading", name="Sign in")).to_be_visible()
    copy.forget(ACCESS)
    copy.open("/notes")
    expect(copy.page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_signing_out_works_when_the_access_token_is_gone(visit: Visit) -> None:
    gus = visit()
    gus.sign_up("gus")
    expect(gus.page.get_by_role("heading", name="Your notes")).to_be_visible()
    gus.forget(ACCESS, "csrf_access_token")
    gus.page.get_by_role("button", name="Sign out").click()
    expect(gus.page.get_by_text("You are signed out.")).to_be_visible()
    is_signed_out(gus)


@pytest.mark.parametrize(
    "path", ["//evil.example/x", "/\\evil.example", "https://evil.example/", "javascript:alert(1)"]
)
def test_nobody_is_sent_to_another_site(visit: Visit, margin: Margin, path: str) -> None:
    someone = visit()
    name = f"hal{len(path)}"
    someone.sign_up(name)
    expect(someone.page.get_by_role("heading", name="Your notes")).to_be_visible()
    someone.forget(ACCESS, "csrf_access_token")
    someone.page.goto(f"{margin.url}/auth/renew?next={path}")
    expect(someone.page).to_have_url(f"{margin.url}/notes")
    someone.context.clear_cookies()
    someone.page.goto(f"{margin.url}/login?next={path}")
    someone.sign_in(name)
    expect(someone.page).to_have_url(f"{margin.url}/notes")


def test_a_login_outlasts_a_restart_of_the_app(visit: Visit, margin: Margin) -> None:
    ida = visit()
    ida.sign_up("ida")
    ida.write("before")
    expect(ida.page.locator(".note")).to_have_count(1)
    margin.stop()
    ida.write("while it is down")
    expect(ida.page.get_by_role("status")).to_contain_text("That did not work")
    margin.start()
    ida.page.get_by_role("button", name="Add note").click()
    expect(ida.page.locator(".note")).to_have_count(2)
