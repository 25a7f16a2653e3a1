"""What the tests of browsers share: apps whose tokens are in cookies, and what a response sets."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from flask import Flask, Response, jsonify, request
from flask.testing import FlaskClient
from werkzeug.http import dump_cookie
from werkzeug.test import TestResponse
from werkzeug.wrappers import Response as BaseResponse

from flask_authx import AuthX, MemorySessions, NewSession, Session, TokenPair, Visit, current_token
from tests.support import SECRET, Clock, parts
from tests.support.answers import ACCESS_COOKIE, COMPANION, REFRESH_COOKIE
from tests.support.spy_store import SpyStore

ACCESS_CSRF = "csrf_access_token"
REFRESH_CSRF = "csrf_refresh_token"
LOCAL = "http://localhost"
#: Whether this version of Werkzeug can set such cookies.
HAS_PARTITIONED = "partitioned" in inspect.signature(dump_cookie).parameters
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
#: The members of a body with tokens.
PAIR = {"access_token", "refresh_token", "token_type", "expires_in", "refresh_expires_in"}
#: The cookies of a session.
COOKIES = {ACCESS_COOKIE, ACCESS_CSRF, REFRESH_COOKIE, REFRESH_CSRF, COMPANION}


class Place(NamedTuple):
    """What identifies a cookie: its name and where it lies."""

    name: str
    path: str | None = "/"
    domain: str | None = None
    partitioned: bool = False


@dataclass(frozen=True)
class SetCookie:
    """One ``Set-Cookie`` header. The attributes are as they stand there."""

    value: str
    attributes: frozenset[str]


def cookies_in(response: BaseResponse | TestResponse) -> dict[str, SetCookie]:
    """The cookies that a response sets, by name; none may be set twice.

    If it also unsets a cookie of that name at other places, it does so before.
    """
    found: dict[str, SetCookie] = {}
    places: set[Place] = set()
    for header in response.headers.getlist("Set-Cookie"):
        pair, *attributes = header.split("; ")
        name, _, value = pair.partition("=")
        place = place_of(name, attributes)
        assert place not in places
        places.add(place)
        assert name not in found or found[name].value == ""
        found[name] = SetCookie(value, frozenset(attributes))
    return found


def place_of(name: str, attributes: Iterable[str]) -> Place:
    """What identifies a cookie, from the attributes of its ``Set-Cookie`` header."""
    given = {key: value for key, _, value in (one.partition("=") for one in attributes)}
    return Place(name, given.get("Path"), given.get("Domain"), "Partitioned" in given)


def unset_in(response: BaseResponse | TestResponse) -> set[Place]:
    """The places of the cookies that a response unsets."""
    found = [header.split("; ") for header in response.headers.getlist("Set-Cookie")]
    return {
        place_of(pair.partition("=")[0], attributes)
        for pair, *attributes in found
        if pair.endswith("=")
    }


def is_private(response: TestResponse) -> bool:
    """Whether no cache keeps the response (RFC 6749 section 5.1)."""
    return "no-store" in response.headers["Cache-Control"]


def csrf_of(token: str) -> dict[str, str]:
    """The header with the CSRF value of a token."""
    return {"X-CSRF-TOKEN": parts(token)[1]["csrf"]}


def plain_app(*, home: str | None = "/auth", **config: Any) -> tuple[Flask, AuthX]:
    """An app that keeps no sessions, and takes tokens from cookies and the header.

    :param home: where it has a view for refresh.
    """
    app = Flask("tests")
    app.testing = True
    config = {"SECRET_KEY": SECRET, "TOKEN_LOCATION": ["headers", "cookies"], **config}
    app.config.from_mapping({f"JWT_{name}": value for name, value in config.items()})
    authx = AuthX(app, clock=Clock())
    if home is not None:
        view = authx.refresh_token_required(lambda: "in")
        app.add_url_rule(f"{home}/refresh", "refresh", view, methods=["POST"])
    return app, authx


def answer(app: Flask, fill: Callable[[Response], object], **environ: Any) -> Response:
    """A response after something has been done to it in a request."""
    with app.test_request_context(**{"base_url": LOCAL, **environ}):
        response = Response("x")
        fill(response)
        return response


def pair_of(app: Flask, authx: AuthX, uid: str = "ann", **kwargs: Any) -> TokenPair:
    """The tokens of a new session that is kept nowhere."""
    with app.app_context():
        return authx.create_token_pair(uid, **kwargs)


@dataclass(eq=False)
class Frail:
    """Whether a store fails, and with what."""

    error: Exception | None = None
    #: The methods that fail; all if there are none.
    failing: frozenset[str] = frozenset()
    calls: list[str] = field(default_factory=list[str])

    def ask(self, name: str) -> None:
        self.calls.append(name)
        if self.error is not None and (not self.failing or name in self.failing):
            raise self.error


class FrailSessions(MemorySessions):
    """Keeps sessions in memory as if all processes saw them, and fails when it is told to."""

    per_process = False

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.frail = Frail()

    def open(self, key: bytes, subject: bytes, session: NewSession, /) -> None:
        self.frail.ask("open")
        super().open(key, subject, session)

    def get(self, key: bytes, /) -> Session | None:
        self.frail.ask("get")
        return super().get(key)

    def move(self, key: bytes, generation: int, visit: Visit, /) -> bool:
        self.frail.ask("move")
        return super().move(key, generation, visit)

    def end(self, key: bytes, /) -> bool:
        self.frail.ask("end")
        return super().end(key)

    def of(self, subject: bytes, limit: int | None = None, /) -> Sequence[Session]:
        self.frail.ask("of")
        return super().of(subject, limit)


def browser_app(
    *,
    clock: Clock | None = None,
    prefix: str = "/auth",
    authenticate: Callable[[], Any] | None = None,
    stores: Mapping[str, Any] | None = None,
    **config: Any,
) -> tuple[Flask, AuthX]:
    """An app that keeps sessions in memory, with the blueprint and a view ``/guarded``.

    ``POST /sign-in/<uid>`` opens a session, sets its cookies and shows its tokens, too.

    :param stores: those to be used instead, for :class:`AuthX`. A ``SpyStore`` has been in use
        before.
    """
    app = Flask("tests")
    app.testing = True
    defaults: dict[str, Any] = {
        "SECRET_KEY": SECRET,
        "TOKEN_LOCATION": ["headers", "cookies", "json"],
    }
    if stores is None:
        defaults |= {"BLOCKLIST": "memory://", "SESSIONS": True}
    app.config.from_mapping({f"JWT_{key}": value for key, value in (defaults | config).items()})
    clock = clock or Clock()
    authx = AuthX(app, clock=clock, **(stores or {}))
    blocklist = (stores or {}).get("blocklist")
    if isinstance(blocklist, SpyStore):
        blocklist.clock = clock
        blocklist.trust_older(app)
    app.register_blueprint(authx.blueprint(prefix, authenticate=authenticate))

    def sign_in(uid: str) -> Response:
        asked: dict[str, Any] = request.get_json(silent=True) or {}
        pair = authx.login(uid, **asked)
        response = jsonify(pair.to_dict())
        authx.set_cookies(response, pair)
        return response

    def guarded() -> dict[str, Any]:
        return {"sub": current_token.sub, "sid": current_token.sid}

    app.add_url_rule("/sign-in/<uid>", "sign_in", authx.public(sign_in), methods=["POST"])
    app.add_url_rule("/guarded", "guarded", authx.token_required(guarded), methods=METHODS)
    return app, authx


def sign_in(client: FlaskClient, uid: str = "ann", **kwargs: Any) -> dict[str, Any]:
    """Log a browser in, and give what its tokens are."""
    response = client.post(f"/sign-in/{uid}", json=kwargs)
    assert response.status_code == 200
    body: dict[str, Any] = response.get_json()
    return body


def browser(app: Flask, uid: str = "ann", **kwargs: Any) -> FlaskClient:
    """A client that keeps cookies and is logged in."""
    client = app.test_client()
    sign_in(client, uid, **kwargs)
    return client


def csrf(client: FlaskClient, name: str = ACCESS_CSRF) -> dict[str, str]:
    """The header that a script of the app's pages sends, as its cookie says."""
    kept = client.get_cookie(name)
    return {"X-CSRF-TOKEN": kept.value} if kept else {}


def kept_by(client: FlaskClient) -> set[str]:
    """The names of the cookies that a client keeps."""
    names = (
        *("__Host-access_token", "__Secure-refresh_token", ACCESS_CSRF, REFRESH_CSRF, COMPANION),
        *("__Secure-access_token", "access_token", "refresh_token"),
    )
    paths = ("/", "/auth")
    return {name for name in names for path in paths if client.get_cookie(name, path=path)}
