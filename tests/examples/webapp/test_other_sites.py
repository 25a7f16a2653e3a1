"""What pages of other sites make a browser send: nothing of it is done."""

from __future__ import annotations

import html
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from .conftest import Visit
from .margin import PASSWORD, Margin, Visitor, expect

if TYPE_CHECKING:
    from playwright.sync_api import Page, Response

# One worker starts the browser, once.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("webapp")]

#: Another site, and another origin of the same site: cookies are sent from there, and can be read.
HOSTS = ("127.0.0.1", "localhost")


class OtherSite(BaseHTTPRequestHandler):
    """Serves what the test has put on it."""

    page = ""

    def do_GET(self) -> None:
        body = self.page.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        pass


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), OtherSite)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


@dataclass
class Form:
    """A form on the other site that is sent to the example."""

    host: str
    port: int
    margin: Margin

    def press(self, visitor: Visitor, path: str, **fields: str) -> tuple[Response, Page]:
        """Let a visitor press its button, in a new tab; gives the response and the tab."""
        inputs = "".join(
            f'<input type="hidden" name="{name}" value="{html.escape(value)}">'
            for name, value in fields.items()
        )
        target = f"{self.margin.url}{path}"
        OtherSite.page = (
            f'<form method="post" action="{target}">{inputs}<button>Win</button></form>'
        )
        tab = visitor.context.new_page()
        tab.goto(f"http://{self.host}:{self.port}/")
        with tab.expect_response(target) as response:
            # A response without a page is none that a click could be waited for.
            tab.get_by_role("button", name="Win").click(no_wait_after=True)
        return response.value, tab


@pytest.fixture(params=HOSTS)
def form(request: pytest.FixtureRequest, port: int, margin: Margin) -> Form:
    return Form(request.param, port, margin)


def test_a_form_of_theirs_changes_nothing(visit: Visit, form: Form) -> None:
    ann = visit().signed_up(f"ann@{form.host}")
    for path, fields in (
        ("/password", {"password": "the attacker's"}),
        ("/auth/refresh", {}),
        ("/auth/renew", {"next": "/notes"}),
        ("/auth/logout", {}),
    ):
        response, _ = form.press(ann, path, **fields)
        # Not even to forget those that it has: that would sign the visitor out.
        assert response.header_values("set-cookie") == [], path
    ann.open("/notes")
    ann.shows("Your notes")
    ann.page.get_by_role("button", name="Sign out").click()
    expect(ann.page.get_by_text("You are signed out.")).to_be_visible()
    ann.sign_in(f"ann@{form.host}", PASSWORD)
    ann.shows("Your notes")


def test_they_can_sign_no_visitor_in_as_another_user(visit: Visit, form: Form) -> None:
    """Else the visitor would write notes that the attacker reads."""
    attacker, victim = f"mallory@{form.host}", visit()
    visit().signed_up(attacker)
    for path, name in (("/login", attacker), ("/signup", f"trudy@{form.host}")):
        response, tab = form.press(victim, path, name=name, password=PASSWORD)
        assert response.status == 403, path
        expect(tab.get_by_role("heading", name="That was refused")).to_be_visible()
    assert victim.context.cookies() == []


def test_a_page_on_another_port_reads_the_csrf_value_and_is_refused_all_the_same(
    visit: Visit, port: int, margin: Margin
) -> None:
    """Browsers keep cookies apart by host, not by port."""
    ben = visit().signed_up("ben")
    OtherSite.page = f"""
        <form method="post" action="{margin.url}/password">
          <input name="csrf_token"><input name="password" value="the attacker's">
          <button>Win</button>
        </form>
        <script>
          const found = document.cookie.match(/csrf_access_token=([^;]+)/);
          document.querySelector("input").value = found[1];
        </script>"""
    ben.page.goto(f"http://localhost:{port}/")
    assert ben.page.locator("input").first.input_value() != ""
    with ben.page.expect_response(f"{margin.url}/password") as response:
        ben.page.get_by_role("button", name="Win").click()
    assert response.value.status == 403
    expect(ben.page.get_by_role("heading", name="That was refused")).to_be_visible()
    ben.open("/notes")
    ben.shows("Your notes")


def test_a_link_of_theirs_opens_the_page_and_changes_nothing(
    visit: Visit, port: int, margin: Margin
) -> None:
    cat = visit().signed_up("cat")
    OtherSite.page = f'<a href="{margin.url}/notes">Read</a>'
    cat.page.goto(f"http://127.0.0.1:{port}/")
    cat.page.get_by_role("link", name="Read").click()
    cat.shows("Your notes")
    for path, status in (("/auth/refresh", 405), ("/auth/logout", 405)):
        assert (path, cat.open(path).status) == (path, status)
    cat.open("/notes")
    cat.shows("Your notes")


def test_no_page_of_theirs_can_frame_one_of_the_example(
    visit: Visit, port: int, margin: Margin
) -> None:
    dan = visit().signed_up("dan")
    OtherSite.page = f'<iframe src="{margin.url}/notes"></iframe>'
    dan.page.goto(f"http://localhost:{port}/")
    frame = dan.page.frame_locator("iframe")
    expect(frame.get_by_role("heading", name="Your notes")).to_have_count(0)
    assert any("frame-ancestors" in fault for fault in dan.faults)
    dan.faults.clear()
