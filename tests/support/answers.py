"""What the tests of requests share: answers as status and ``error_type``."""

from __future__ import annotations

import asyncio
import hmac
from dataclasses import dataclass, field
from typing import Any, Self, cast

from flask import Blueprint, Flask
from werkzeug.test import TestResponse
from werkzeug.wrappers import Request

from flask_authx import AuthX, current_token
from tests.support import SECRET, b64, parts


class Outcome(tuple[int, str | None]):
    """A status and an ``error_type``; of an answer also which request it is the answer to.

    When two of them differ, the failing assertion says what was sent, what came and what should
    have come: see ``tests/conftest.py``.
    """

    sent: str = ""

    def __new__(cls, status: int, error_type: str | None = None) -> Self:
        return super().__new__(cls, (status, error_type))

    def __reduce__(self) -> tuple[Any, ...]:
        # A tuple's own would hand both to the constructor as one.
        return Outcome, (*self,), {"sent": self.sent}

    def __repr__(self) -> str:
        status, error_type = self
        said = f"{status} {error_type}" if error_type else str(status)
        return f"<{said} to {self.sent}>" if self.sent else f"<{said}>"


#: Headers that the test client always sends.
_OF_EVERY_REQUEST = {"Host", "User-Agent", "Content-Length", "Content-Type"}

OK = Outcome(200)
MISSING = Outcome(401, "MissingTokenError")
INVALID = Outcome(401, "JWTDecodeError")
REVOKED = Outcome(401, "RevokedTokenError")
MALFORMED = Outcome(400, "MalformedRequestError")
CSRF = Outcome(403, "CSRFError")
NO_CSRF = Outcome(403, "MissingCSRFTokenError")
FAULT = Outcome(503, "StoreUnavailableError")

ACCESS_COOKIE = "__Host-access_token"
REFRESH_COOKIE = "__Secure-refresh_token"
#: The cookie beside which a refresh cookie is accepted.
COMPANION = "__Host-authx_session"


@dataclass(eq=False)
class Spy:
    """A callback that gives, or raises, one and the same answer and keeps what it was asked."""

    answer: Any = False
    asked: list[str] = field(default_factory=list[str])

    def __call__(self, value: str) -> Any:
        self.asked.append(value)
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


class AsyncSpy(Spy):
    """A spy as an async callback, which gives up control before it returns."""

    async def __call__(self, value: str) -> Any:
        await asyncio.sleep(0)
        return super().__call__(value)


def outcome(response: TestResponse) -> Outcome:
    """The status and, if the body is one of our errors, its ``error_type``."""
    body = response.get_json(silent=True)
    members = cast("dict[str, Any]", body) if isinstance(body, dict) else {}
    found = Outcome(response.status_code, members.get("error_type"))
    found.sent = _line(response.request)
    return found


def _line(request: Request) -> str:
    """A request in one line: what it asks for, and the headers that may hold a token."""
    said = f"{request.method} {request.full_path.rstrip('?')}"
    named = {name: value for name, value in request.headers if name not in _OF_EVERY_REQUEST}
    headers = ", ".join(f"{name}: {value[:200]}" for name, value in named.items())
    return f"{said} with {headers}" if headers else said


def ask(app: Flask, method: str = "GET", path: str = "/guarded", **kwargs: Any) -> TestResponse:
    """The answer to one request of a client that keeps no cookies."""
    return app.test_client(use_cookies=False).open(path, method=method, **kwargs)


def cookie(*pairs: tuple[str, str]) -> dict[str, str]:
    """A ``Cookie`` header."""
    return {"Cookie": "; ".join(f"{name}={value}" for name, value in pairs)}


def refresh_cookies(raw: str) -> tuple[tuple[str, str], tuple[str, str]]:
    """A refresh cookie and its companion, as a browser sends both."""
    return (REFRESH_COOKIE, raw), (COMPANION, companion_of(raw))


def companion_of(raw: str, secret: str = SECRET) -> str:
    """The value of the companion of a refresh cookie: a MAC of its sid."""
    derived = hmac.digest(secret.encode(), b"flask-authx:csrf", "sha256")
    mac = hmac.digest(derived, f"session:{parts(raw)[1]['sid']}".encode(), "sha256")
    return b64(mac[:16])


def who() -> str:
    """A view that says whose token the request has."""
    return current_token.sub if current_token else "nobody"


def is_open(app: Flask, path: str, method: str = "GET") -> bool:
    """Whether a request without a token gets through."""
    response = ask(app, method, path)
    assert response.status_code == 200 or outcome(response) == MISSING
    return response.status_code == 200


def blueprint(name: str, authx: AuthX | None = None, **kwargs: Any) -> Blueprint:
    """A blueprint with an unmarked view ``/<name>/view`` and, given an AuthX, a public one."""
    made = Blueprint(name, __name__, url_prefix=f"/{name}", **kwargs)
    made.add_url_rule("/view", "view", who)
    if authx is not None:
        made.add_url_rule("/public", "public", authx.public(lambda: "public"))
    return made
