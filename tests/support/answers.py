"""What the tests of requests share: answers as status and ``error_type``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

from flask import Blueprint, Flask
from werkzeug.test import TestResponse

from flask_authx import AuthX, current_token

Outcome: TypeAlias = tuple[int, str | None]

OK: Outcome = (200, None)
MISSING: Outcome = (401, "MissingTokenError")
INVALID: Outcome = (401, "JWTDecodeError")
REVOKED: Outcome = (401, "RevokedTokenError")
MALFORMED: Outcome = (400, "MalformedRequestError")
CSRF: Outcome = (403, "CSRFError")
NO_CSRF: Outcome = (403, "MissingCSRFTokenError")
FAULT: Outcome = (503, "StoreUnavailableError")

ACCESS_COOKIE = "__Host-access_token"
REFRESH_COOKIE = "__Secure-refresh_token"


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


def outcome(response: TestResponse) -> Outcome:
    """The status and, if the body is one of our errors, its ``error_type``."""
    body = cast("dict[str, Any] | None", response.get_json(silent=True))
    return response.status_code, body.get("error_type") if body else None


def ask(app: Flask, method: str = "GET", path: str = "/guarded", **kwargs: Any) -> TestResponse:
    """The answer to one request of a client that keeps no cookies."""
    return app.test_client(use_cookies=False).open(path, method=method, **kwargs)


def cookie(*pairs: tuple[str, str]) -> dict[str, str]:
    """A ``Cookie`` header."""
    return {"Cookie": "; ".join(f"{name}={value}" for name, value in pairs)}


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
