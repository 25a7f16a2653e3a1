"""Secure cookies over plain http: the log explains once who drops them, and never fails."""

from __future__ import annotations

import logging
import threading
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator
from http.cookiejar import CookieJar
from typing import Any

import pytest
from flask import Flask, Response
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.serving import make_server
from werkzeug.test import Client, create_environ, run_wsgi_app
from werkzeug.user_agent import UserAgent

from flask_authx import AuthX
from tests.support import access_token
from tests.support.answers import ACCESS_COOKIE
from tests.support.browsers import answer, cookies_in, pair_of, plain_app
from tests.support.spy_store import said


def put(app: Flask, authx: AuthX, **environ: Any) -> None:
    """Set the cookies of both tokens in a response."""
    pair = pair_of(app, authx)
    answer(app, lambda to: authx.set_cookies(to, pair), **environ)


@pytest.mark.parametrize(
    ("base_url", "warned"),
    [
        ("http://192.168.1.7:5000", True),
        ("http://app.example", True),
        ("http://localhost.example", True),
        ("http://notlocalhost", True),
        ("https://app.example", False),
        ("http://localhost:5000", False),
        ("http://127.0.0.1:5000", False),
        ("http://[::1]:5000", False),
        ("http://app.localhost", False),
    ],
)
def test_on_plain_http_the_defaults_explain_themselves_once(
    base_url: str, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    app, authx = plain_app()
    for _ in range(2):
        put(app, authx, base_url=base_url)
    warnings = said(caplog, logging.WARNING)
    assert len(warnings) == warned
    for one in warnings:
        assert "ProxyFix" in one
        assert 'app.config["JWT_COOKIE_SECURE"] = False' in one


def test_behind_a_proxy_that_says_so_nothing_needs_to_be_explained(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app, authx = plain_app()
    token = access_token(app, authx)

    @app.post("/set")
    def view() -> Response:
        response = Response()
        authx.set_access_cookies(response, token)
        return response

    headers = {"Host": "app.example", "X-Forwarded-Proto": "https"}
    app.test_client().post("/set", headers=headers)
    assert len(said(caplog, logging.WARNING)) == 1
    caplog.clear()
    app, authx = plain_app()
    app.add_url_rule("/set", "set", view, methods=["POST"])
    token = access_token(app, authx)
    Client(ProxyFix(app.wsgi_app)).post("/set", headers=headers)
    assert said(caplog, logging.WARNING) == []


# Clients on this machine

CHROMIUM = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "HeadlessChrome/140.0.0.0 Safari/537.36"
)
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
SAFARI = (
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/18.1 Safari/605.1.15"
)


@pytest.mark.parametrize("host", ["localhost:5000", "127.0.0.1:5000", "[::1]", "app.localhost"])
@pytest.mark.parametrize(
    ("agent", "warned"),
    [
        (CHROMIUM, False),
        (FIREFOX, False),
        ("Werkzeug/3.1.3", False),
        (SAFARI, True),
        ("python-requests/2.32.4", True),
        ("Python-urllib/3.11", True),
        ("python-httpx/0.28.1", True),
        ("curl/8.14.1", True),
    ],
)
def test_on_this_machine_it_depends_on_the_client(
    host: str, agent: str, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    app, authx = plain_app()
    for _ in range(2):
        put(app, authx, base_url=f"http://{host}", headers={"User-Agent": agent})
    warnings = said(caplog, logging.WARNING)
    assert len(warnings) == warned
    for one in warnings:
        assert "live_server" in one
        assert 'app.config["JWT_COOKIE_SECURE"] = False' in one


def test_with_cookies_that_are_not_secure_there_is_nothing_to_say(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app, authx = plain_app(COOKIE_SECURE=False)
    put(app, authx, headers={"User-Agent": "python-requests/2.32.4"})
    assert said(caplog, logging.WARNING) == []


@pytest.fixture
def live() -> Iterator[str]:
    """Where an app is served, as by a live-server fixture."""
    app, authx = plain_app()

    @app.post("/login")
    def login() -> Response:
        response = Response("in")
        authx.set_access_cookies(response, authx.create_access_token("ann"))
        return response

    @app.get("/page")
    @authx.token_required
    def page() -> str:
        return "seen"

    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_live_server_and_a_cookie_jar_of_python(
    live: str, caplog: pytest.LogCaptureFixture
) -> None:
    jar = CookieJar()
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
    with opener.open(f"{live}/login", data=b"") as response:
        assert response.read() == b"in"
    assert ACCESS_COOKIE in {cookie.name for cookie in jar}
    with pytest.raises(urllib.error.HTTPError) as caught:
        opener.open(f"{live}/page")
    assert caught.value.code == 401
    caught.value.close()
    (warning,) = said(caplog, logging.WARNING)
    assert "http.cookiejar" in warning


# What only advises never raises

HOSTS = ["[::1", "[", "]", "[::1]]:80", "[x]", "a b", "", "\xe9", "%", "x:y", "[v1.x]", ":", "@"]


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("secure", [True, False])
def test_no_host_of_a_request_keeps_the_cookies_from_being_set(host: str, secure: bool) -> None:
    app, authx = plain_app(COOKIE_SECURE=secure)

    @app.post("/login")
    def login() -> Response:
        response = Response()
        authx.set_access_cookies(response, authx.create_access_token("ann"))
        return response

    environ = {**create_environ("/login", method="POST"), "HTTP_HOST": host}
    _, status, headers = run_wsgi_app(app, environ)
    # Werkzeug itself may refuse a host, and then there is no response of the view.
    assert status in {"200 OK", "400 BAD REQUEST"}
    live = [one for one in headers.getlist("Set-Cookie") if "Max-Age=0" not in one]
    assert len(live) == (2 if status == "200 OK" else 0)


def test_nor_does_a_warning_that_is_an_error(caplog: pytest.LogCaptureFixture) -> None:
    """With ``python -W error``, as in these tests."""
    app, authx = plain_app(COOKIE_SECURE=False)
    app.testing = False
    app.add_url_rule("/page", "page", authx.optional_token(lambda: "seen"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):
            assert app.test_client().get("/page").text == "seen"
    assert len([one for one in caplog.messages if "JWT_COOKIE_SECURE is off" in one]) == 1


def test_nor_does_any_other_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    app, authx = plain_app()

    class Fails(UserAgent):
        def __init__(self, string: str) -> None:
            raise LookupError

    monkeypatch.setattr(app.request_class, "user_agent_class", Fails)
    pair = pair_of(app, authx)
    response = answer(app, lambda to: authx.set_cookies(to, pair))
    assert ACCESS_COOKIE in cookies_in(response)
