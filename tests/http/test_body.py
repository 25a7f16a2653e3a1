"""The body of a request before authentication: bounded, and unreadable ones are the client's."""

from __future__ import annotations

import functools
import io
import json
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, Request, request
from werkzeug.exceptions import ClientDisconnected, HTTPException, RequestEntityTooLarge
from werkzeug.test import EnvironBuilder, TestResponse, run_wsgi_app

from flask_authx import AuthX
from tests.support import access_token, bearer, make_app
from tests.support.answers import (
    ACCESS_COOKIE,
    MALFORMED,
    MISSING,
    NO_CSRF,
    OK,
    REFRESH_COOKIE,
    Outcome,
    ask,
    cookie,
    outcome,
)
from tests.support.corpus import check_all

LOCATIONS = ["headers", "cookies", "json", "query"]
#: Of a body that may hold a token, with the default settings.
LIMIT = 8 * 8192
TOO_LONG = Outcome(413, "MalformedRequestError")


class Drops(io.RawIOBase):
    """A stream that comes in small pieces, counts what is read of it, and may fail at its end."""

    def __init__(self, data: bytes, error: Exception | None = None, piece: int = 1000) -> None:
        self.left = memoryview(data)
        self.error = error
        self.piece = piece
        self.count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        size = min(len(buffer), self.piece)
        chunk, self.left = self.left[:size], self.left[size:]
        if size and not len(chunk) and self.error is not None:
            raise self.error
        self.count += len(chunk)
        buffer[: len(chunk)] = chunk
        return len(chunk)


def site(**config: Any) -> tuple[Flask, AuthX, str]:
    """An app whose view says how long the body is that it can read."""
    app, authx = make_app(TOKEN_LOCATION=LOCATIONS, COOKIE_CSRF_PROTECT=False, **config)

    def length() -> dict[str, int]:
        return {"length": len(request.get_data()), "json": len(request.get_json(silent=True) or "")}

    def streamed() -> dict[str, int]:
        read = iter(functools.partial(request.stream.read, 777), b"")
        return {"length": sum(map(len, read))}

    def unread() -> dict[str, int]:
        return {}

    for view in (length, streamed, unread):
        app.post(f"/{view.__name__}")(authx.token_required(view))
        path = f"/optional/{view.__name__}"
        app.post(path, endpoint=path)(authx.optional_token(view))
    return app, authx, access_token(app, authx)


def send(
    app: Flask,
    stream: io.RawIOBase,
    path: str = "/length",
    *,
    length: int | None = None,
    **kwargs: Any,
) -> TestResponse:
    """The response to a body of JSON: of a length, or in chunks, as a server hands it over."""
    kwargs.setdefault("content_type", "application/json")
    builder = EnvironBuilder(path, method="POST", **kwargs)
    environ = builder.get_environ()
    environ["wsgi.input"] = stream
    if length is None:
        environ.pop("CONTENT_LENGTH", None)
        environ |= {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}
    else:
        environ["CONTENT_LENGTH"] = str(length)
    return TestResponse(*run_wsgi_app(app, environ, buffered=True), request=builder.get_request())


def document(size: int, **members: Any) -> bytes:
    """A JSON object of that many bytes."""
    start = json.dumps({**members, "x": ""}).encode()
    return start[:-2] + b"y" * (size - len(start)) + start[-2:]


def test_a_body_too_long_for_a_token_is_not_read_before_authentication() -> None:
    """SECURITY A.18 331."""
    app, _, _ = site()
    body = document(12 * 2**20, access_token="x.y.z")

    def check(case: tuple[str, dict[str, str], Outcome]) -> None:
        path, headers, expected = case
        for length, most in ((len(body), 0), (None, LIMIT + 1)):
            stream = Drops(body, piece=2**20)
            tracemalloc.start()
            try:
                response = send(app, stream, path, length=length, headers=headers)
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
            assert outcome(response) == expected
            assert (stream.count, peak < 2**20) == (most, True)

    send(app, Drops(b"{}"))
    invalid = Outcome(401, "JWTDecodeError")
    cases: dict[str, tuple[str, dict[str, str], Outcome]] = {
        "no token": ("/unread", {}, MISSING),
        "an invalid header": ("/unread", bearer("x.y.z"), invalid),
        "an invalid cookie": ("/unread", cookie((ACCESS_COOKIE, "x.y.z")), invalid),
        "an optional token": ("/optional/unread", {}, OK),
    }
    check_all(cases, check)


@pytest.mark.parametrize("size", [0, 1000, LIMIT, LIMIT + 1, LIMIT + 1000, 12 * 2**20])
@pytest.mark.parametrize("path", ["/length", "/streamed", "/optional/length", "/optional/streamed"])
def test_a_body_of_any_length_reaches_the_view(path: str, size: int) -> None:
    app, _, token = site()
    body = document(size) if size else b""
    for where in ("header", "cookie"):
        headers = bearer(token) if where == "header" else cookie((ACCESS_COOKIE, token))
        for length in (size, None):
            response = send(app, Drops(body), path, length=length, headers=headers)
            assert outcome(response) == OK
            assert response.get_json()["length"] == size
            assert not size or response.get_json().get("json", 1) > 0


def test_a_guard_inside_a_view_does_not_wind_the_body_back() -> None:
    app, authx, token = site()

    @app.post("/halves")
    @authx.token_required
    def halves() -> dict[str, str]:
        first = request.stream.read(5)
        authx.token_required(lambda: None)()
        return {"read": (first + request.stream.read()).decode()}

    for size in (1000, LIMIT + 1):
        for length in (size, None):
            body = document(size)
            response = send(app, Drops(body), "/halves", length=length, headers=bearer(token))
            assert response.get_json() == {"read": body.decode()}


def test_a_body_of_the_longest_length_may_hold_a_token_and_a_longer_one_may_not() -> None:
    app, _, token = site()
    for size, expected in ((LIMIT, OK), (LIMIT + 1, MISSING)):
        body = document(size, access_token=token)
        for length in (size, None):
            response = send(app, Drops(body), length=length)
            assert outcome(response) == expected
            if expected == OK:
                assert response.get_json()["length"] == size
            else:
                message = response.get_json()["msg"]
                assert message.endswith(
                    f"a JSON body of more than {LIMIT} bytes is not searched for it"
                )


def test_the_longest_length_follows_that_of_tokens() -> None:
    app, _, token = site(MAX_TOKEN_LENGTH=512)
    for size, expected in ((8 * 512, OK), (8 * 512 + 1, MISSING)):
        body = document(size, access_token=token)
        assert outcome(send(app, Drops(body), length=size)) == expected


def test_two_guards_and_a_search_read_the_body_once() -> None:
    app, authx, token = site()

    @app.post("/twice")
    @authx.token_required(locations=["json", "headers"])
    @authx.token_required
    def twice() -> dict[str, int]:
        assert authx.get_token_from_request() is not None
        return {"length": len(request.get_data())}

    for size in (1000, LIMIT + 1, 3 * LIMIT):
        stream = Drops(document(size))
        response = send(app, stream, "/twice", headers=bearer(token))
        assert response.get_json() == {"length": size}
        assert stream.count == size


@pytest.mark.parametrize("read", ["get_json", "get_data"])
def test_a_body_that_was_read_before_the_guard_is_searched_as_well(read: str) -> None:
    app, _, token = site()

    @app.before_request
    def read_first() -> None:
        getattr(request, read)()

    for size, expected in ((1000, OK), (LIMIT, OK), (LIMIT + 1, MISSING)):
        body = document(size, access_token=token)
        for length in (size, None):
            assert outcome(send(app, Drops(body), length=length)) == expected


#: What servers raise while a body is read; gunicorn's and gevent's own are OSErrors.
ERRORS: dict[str, tuple[Exception, Outcome]] = {
    "a connection that ended": (ConnectionResetError(), MALFORMED),
    "a cut chunk": (OSError("no more data after: None"), MALFORMED),
    "Werkzeug's": (ClientDisconnected(), MALFORMED),
    "a time-out": (TimeoutError(), MALFORMED),
    "a value": (ValueError("invalid literal for int() with base 16"), MALFORMED),
    "text": (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), MALFORMED),
    "end of file": (EOFError(), MALFORMED),
    "any other": (LookupError(), MALFORMED),
    "a limit": (RequestEntityTooLarge(), TOO_LONG),
}


def test_what_reading_raises_is_the_clients() -> None:
    """SECURITY A.18 331."""
    app, _, token = site()

    def check(case: tuple[Exception, Outcome]) -> None:
        error, expected = case
        for headers in ({}, bearer(token), cookie((ACCESS_COOKIE, token))):
            for path in ("/unread", "/optional/unread"):
                for data in (b"", b'{"a": '):
                    response = send(app, Drops(data, error), path, headers=headers)
                    assert outcome(response) == expected

    check_all(ERRORS, check)


def test_what_reading_a_form_raises_is_the_clients() -> None:
    """SECURITY A.18 331: the CSRF value may be in a form."""
    app, authx = make_app(TOKEN_LOCATION=["cookies"], CSRF_CHECK_FORM=True)
    headers = cookie((ACCESS_COOKIE, access_token(app, authx)))

    def check(case: tuple[Exception, Outcome]) -> None:
        error, expected = case
        if isinstance(error, ValueError):
            # Werkzeug takes that for a form without fields.
            expected = NO_CSRF
        for kind in ("application/x-www-form-urlencoded", "multipart/form-data; boundary=b"):
            stream = Drops(b"--b\r\n", error)
            response = send(app, stream, "/guarded", content_type=kind, headers=headers)
            assert outcome(response) == expected

    check_all(ERRORS, check)


def test_the_error_says_nothing_of_the_body(caplog: pytest.LogCaptureFixture) -> None:
    app, _, token = site()
    stream = Drops(json.dumps({"access_token": token}).encode()[:-5], OSError(token))
    seen: list[BaseException] = []

    @app.errorhandler(400)
    def handle(error: HTTPException) -> tuple[str, int]:
        seen.append(error)
        return "", 400

    assert send(app, stream).status_code == 400
    (error,) = seen
    assert (error.__cause__, error.__context__) == (None, None)
    assert token[:20] not in caplog.text


def test_a_limit_of_the_app_is_a_413() -> None:
    app, _, token = site()
    app.config["MAX_CONTENT_LENGTH"] = 500
    for headers in ({}, bearer(token)):
        for length in (600, None):
            assert (
                outcome(send(app, Drops(document(600)), length=length, headers=headers)) == TOO_LONG
            )
    assert outcome(send(app, Drops(document(400)), headers=bearer(token))) == OK


def test_a_handler_for_413_gets_it() -> None:
    app, _, _ = site()
    app.config["MAX_CONTENT_LENGTH"] = 500
    app.register_error_handler(413, lambda _: ("too long", 413))
    assert send(app, Drops(document(600)), length=600).text == "too long"


def test_a_body_without_a_length_on_a_server_that_does_not_end_it_is_empty() -> None:
    app, _, _ = site()
    assert outcome(ask(app, "POST", "/length", content_type="application/json")) == MISSING


def log_in_site(**config: Any) -> Flask:
    """An app whose log-in reads the body as its ``how`` asks, and logs everybody in."""
    app, authx = make_app(TOKEN_LOCATION=LOCATIONS, BLOCKLIST="memory://", SESSIONS=True, **config)
    reads: dict[str, Callable[[Request], object]] = {
        "form": lambda sent: sent.form.get("u"),
        "files": lambda sent: sent.files.get("u"),
        "values": lambda sent: sent.values.get("u"),
        "json": lambda sent: sent.get_json(),
        "data": lambda sent: sent.get_data(),
        "stream": lambda sent: sent.stream.read(),
        "nothing": lambda _: None,
    }

    def authenticate() -> str:
        reads[request.args["how"]](request)
        return "ann"

    app.register_blueprint(authx.blueprint(url_prefix="/auth", authenticate=authenticate))
    return app


READERS = [
    *(("form", kind) for kind in ("x-www-form-urlencoded", "form-data; boundary=b")),
    ("files", "form-data; boundary=b"),
    ("values", "x-www-form-urlencoded"),
    *((how, "json") for how in ("json", "data", "stream")),
]


def content_type(kind: str) -> str:
    return f"{'multipart' if kind.startswith('form') else 'application'}/{kind}"


def test_the_log_in_answers_400_however_the_app_reads_the_body() -> None:
    """SECURITY A.18 331."""
    app = log_in_site()

    def check(case: tuple[Exception, Outcome]) -> None:
        error, expected = case
        for how, kind in READERS:
            for data in (b"", b'{"u": "', b"{" * (2 * LIMIT)):
                response = send(
                    app,
                    Drops(data, error),
                    f"/auth/login?how={how}",
                    content_type=content_type(kind),
                )
                assert outcome(response) == expected

    check_all(ERRORS, check)


def test_the_log_in_reads_what_was_sent() -> None:
    app = log_in_site()
    bodies = {
        "x-www-form-urlencoded": b"u=" + b"a" * 100_000,
        "form-data; boundary=b": b'--b\r\nContent-Disposition: form-data; name="u"\r\n\r\n'
        + b"a" * 100_000
        + b"\r\n--b--\r\n",
        "json": document(200_000),
    }
    for how, kind in READERS:
        for length in (len(bodies[kind]), None):
            stream = Drops(bodies[kind])
            path = f"/auth/login?how={how}"
            response = send(app, stream, path, length=length, content_type=content_type(kind))
            assert (outcome(response), stream.count) == (OK, len(bodies[kind]))


def test_the_log_in_reads_nothing_of_its_own() -> None:
    app = log_in_site()
    stream = Drops(document(10 * LIMIT))
    assert outcome(send(app, stream, "/auth/login?how=nothing")) == OK
    assert stream.count == 0


def test_a_log_in_longer_than_the_app_allows_is_a_413() -> None:
    app = log_in_site()
    app.config["MAX_CONTENT_LENGTH"] = 500
    for how in ("data", "nothing"):
        response = send(app, Drops(document(600)), f"/auth/login?how={how}", length=600)
        assert outcome(response) == TOO_LONG


def test_the_views_of_the_blueprint_answer_400_as_well() -> None:
    """SECURITY A.18 331."""
    app, authx = make_app(
        TOKEN_LOCATION=LOCATIONS, BLOCKLIST="memory://", SESSIONS=True, CSRF_CHECK_FORM=True
    )
    app.register_blueprint(authx.blueprint(url_prefix="/auth"))
    with app.app_context():
        pair = authx.login("ann")
    cookies = cookie((ACCESS_COOKIE, pair.access_token), (REFRESH_COOKIE, pair.refresh_token))

    def check(case: tuple[Exception, Outcome]) -> None:
        error, expected = case
        for path in ("/auth/refresh", "/auth/logout"):
            for headers in ({}, bearer(pair.refresh_token), cookies):
                response = send(app, Drops(b"{", error), path, headers=headers)
                assert outcome(response) == expected
            form = "application/x-www-form-urlencoded"
            response = send(app, Drops(b"a=", error), path, content_type=form, headers=cookies)
            assert outcome(response) == (NO_CSRF if isinstance(error, ValueError) else expected)

    check_all(ERRORS, check)
    # The session goes on.
    assert (
        outcome(send(app, Drops(b"{}"), "/auth/refresh", headers=bearer(pair.refresh_token))) == OK
    )
