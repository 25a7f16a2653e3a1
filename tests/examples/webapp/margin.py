"""The example ``webapp`` as a process of its own, and users who visit it with a browser."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

from tests.support import SECRET, reforge
from tests.support.example_process import Example

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page, Response, expect
else:

    def expect(actual):
        """Playwright's, which may not be installed: the fixture ``browser`` says so."""
        from playwright.sync_api import expect

        return expect(actual)


__all__ = ["ACCESS", "PASSWORD", "REFRESH", "Margin", "Visitor", "expect", "picture"]

PASSWORD = "correct horse battery"
ACCESS = "__Host-access_token"
REFRESH = "__Secure-refresh_token"
#: Where pictures of the pages go; without it none are taken.
SCREENSHOTS = "AUTHX_SCREENSHOTS"


class Margin(Example):
    """The example.

    :param settings: of the app, without their ``JWT_``.
    """

    module = "examples.webapp"
    # Browsers send Secure cookies over plain http to this name.
    host = "localhost"

    def __init__(self, folder: Path, **settings: object) -> None:
        # The secret is the tests', so that they can make a token that has expired.
        all_settings = {"SECRET_KEY": SECRET, **settings}
        super().__init__(
            folder, **{f"FLASK_JWT_{name}": str(value) for name, value in all_settings.items()}
        )


class Visitor:
    """A user with a browser profile of their own; their pages are tabs of it."""

    def __init__(self, margin: Margin, context: BrowserContext) -> None:
        self.margin = margin
        self.context = context
        #: What went wrong in a page: scripts that failed, and what the policy forbids.
        self.faults: list[str] = []
        context.on("weberror", lambda error: self.faults.append(str(error.error)))
        context.on("console", lambda said: self._hear(said.text))
        self.page = context.new_page()

    def _hear(self, said: str) -> None:
        if "Content Security Policy" in said or "Content-Security-Policy" in said:
            self.faults.append(said)

    def open(self, path: str, page: Page | None = None) -> Response:
        response = (page or self.page).goto(self.margin.url + path)
        assert response is not None
        return response

    def tab(self, path: str) -> Page:
        page = self.context.new_page()
        self.open(path, page)
        return page

    def sign_up(self, name: str) -> None:
        """Create an account, as a user does; ends on the page with the notes."""
        self.open("/signup")
        self._fill_in(name, "Create account")

    def signed_up(self, name: str) -> Self:
        """With a new account, on the page with the notes; only the forms are left out."""
        return self._after_form("/signup", name)

    def signed_in(self, name: str) -> Self:
        """Logged in to an account, on the page with the notes; only the form is left out."""
        return self._after_form("/login", name)

    def _after_form(self, path: str, name: str) -> Self:
        fields: dict[str, str | float | bool] = {"name": name, "password": PASSWORD}
        origin = {"Origin": self.margin.url}
        response = self.context.request.post(
            self.margin.url + path, form=fields, headers=origin, max_redirects=0
        )
        assert response.status == 303, f"{path} of {name}: {response.status} {response.text()}"
        self.open("/notes")
        return self.shows("Your notes")

    def shows(self, heading: str) -> Self:
        """See that the page has this heading."""
        expect(self.page.get_by_role("heading", name=heading)).to_be_visible()
        return self

    def sign_in(self, name: str, password: str = PASSWORD) -> None:
        """Fill in the log-in page, where it is open already, or open it first."""
        if not self.page.url.startswith(f"{self.margin.url}/login"):
            self.open("/login")
        self._fill_in(name, "Sign in", password)

    def _fill_in(self, name: str, button: str, password: str = PASSWORD) -> None:
        self.page.get_by_label("Name").fill(name)
        self.page.get_by_label("Password").fill(password)
        self.page.get_by_role("button", name=button).click()

    def write(self, text: str, page: Page | None = None) -> None:
        page = page or self.page
        button = page.get_by_role("button", name="Add note")
        # Until the one before is written a click adds nothing.
        expect(button).not_to_have_attribute("aria-disabled", "true")
        page.get_by_label("A new note").fill(text)
        button.click()

    def cookie(self, name: str) -> str | None:
        """The value of a cookie, whichever path it is for."""
        value: str | None = self.cookies().get(name, {}).get("value")
        return value

    def copied(self) -> list[Any]:
        """The cookies, as an attacker gets them who has the disk."""
        return list(self.cookies().values())

    def put(self, name: str, value: str) -> None:
        """Change the value of a cookie."""
        changed: Any = {**self.cookies()[name], "value": value}
        self.context.add_cookies([changed])

    def expire(self, *names: str) -> None:
        """Let the tokens in these cookies have expired a minute ago."""
        cookies, then = self.cookies(), int(time.time()) - 60
        times: dict[str, Any] = {
            "iat": then - 60,
            "nbf": then - 60,
            "auth_time": then - 60,
            "exp": then,
        }
        for name in names:
            self.put(name, reforge(cookies[name]["value"], **times))

    def forget(self, *names: str) -> None:
        """Lose these cookies, as a browser does when they expire."""
        for name in names:
            self.context.clear_cookies(name=name)

    def cookies(self) -> dict[str, dict[str, Any]]:
        """All cookies by their names."""
        listed = cast("list[dict[str, Any]]", self.context.cookies())
        return {cookie["name"]: cookie for cookie in listed}


def picture(page: Page, name: str) -> None:
    """Save what a page looks like for the documentation, if that has been asked for."""
    folder = os.environ.get(SCREENSHOTS)
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(folder, f"{name}.png"), animations="disabled", caret="hide")
