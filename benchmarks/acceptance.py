"""What can be timed, and what must be true first: a guard that lets bad tokens pass is fast."""

from __future__ import annotations

import base64
import io
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import jwt

from .keys import KeyPair

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_CLAIMS = 10


class Contender(Protocol):
    """Something that can be timed."""

    @property
    def name(self) -> str:
        """What the table calls it."""
        ...

    @property
    def token_length(self) -> int:
        """The characters of the token that it reads or makes."""
        ...

    def around(self) -> AbstractContextManager[object]:
        """What is entered once before a series of calls."""
        ...

    def call(self) -> object:
        """Do once what is timed."""
        ...

    def faults(self) -> Iterator[str]:
        """Why it is not fit to be timed; each a sentence."""
        ...


@dataclass(frozen=True)
class Credentials:
    """What a client of one contender holds."""

    good: str
    expired: str
    #: The cookie that carries the token; without it, the token is in the header.
    cookie: str | None = None
    csrf: str | None = None

    def headers(self, token: str | None, csrf: str | None) -> dict[str, str]:
        """The request headers, as names of the WSGI environ."""
        headers: dict[str, str] = {}
        if token is not None and self.cookie is None:
            headers["HTTP_AUTHORIZATION"] = f"Bearer {token}"
        elif token is not None:
            headers["HTTP_COOKIE"] = f"{self.cookie}={token}"
        if csrf is not None:
            headers["HTTP_X_CSRF_TOKEN"] = csrf
        return headers


class Endpoint:
    """A route of a WSGI app, called without a server or a test client in between.

    :param guarded: whether it must refuse bad tokens.
    """

    def __init__(
        self, name: str, app: WSGIApplication, credentials: Credentials, *, guarded: bool = True
    ) -> None:
        self.name = name
        self.guarded = guarded
        self.token_length = len(credentials.good)
        self._app = app
        self._credentials = credentials
        self._body = b"" if credentials.cookie is None else b"item=1"
        self._environ = self._prepare(credentials.good, credentials.csrf)
        self._status = ""

    def around(self) -> AbstractContextManager[object]:
        """Nothing: each request brings its own contexts."""
        return nullcontext()

    def call(self) -> object:
        """One request with a good token."""
        return self._send(self._environ)

    def faults(self) -> Iterator[str]:
        """Why it is not fit to be timed. The good token goes first, so that a cache knows it."""
        good, csrf = self._credentials.good, self._credentials.csrf
        if not self._passes(good, csrf):
            yield f"it refuses a good token ({self._status})"
        if not self.guarded:
            return
        bad: list[tuple[str, str | None, str | None]] = [
            ("no token", None, csrf),
            ("a token with a wrong signature", tampered(good), csrf),
            ("an expired token", self._credentials.expired, csrf),
        ]
        if self._credentials.cookie is not None:
            bad += [
                ("a cookie without its CSRF value", good, None),
                ("a cookie with a wrong CSRF value", good, f"{csrf}x"),
            ]
        for what, token, value in bad:
            if self._passes(token, value):
                yield f"it accepts {what}"
            elif not self._status.startswith("4"):
                yield f"it fails at {what} ({self._status})"

    def _passes(self, token: str | None, csrf: str | None) -> bool:
        body = self._send(self._prepare(token, csrf))
        return self._status == "200 OK" and body == b"ok"

    def _prepare(self, token: str | None, csrf: str | None) -> WSGIEnvironment:
        environ: dict[str, Any] = {
            "REQUEST_METHOD": "POST" if self._body else "GET",
            "SCRIPT_NAME": "",
            "PATH_INFO": "/",
            "QUERY_STRING": "",
            "SERVER_NAME": "localhost",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "HTTP_HOST": "localhost",
            "HTTP_ACCEPT": "*/*",
            "HTTP_USER_AGENT": "benchmark",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": False,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
            **self._credentials.headers(token, csrf),
        }
        if self._body:
            environ["CONTENT_TYPE"] = "application/x-www-form-urlencoded"
            environ["CONTENT_LENGTH"] = str(len(self._body))
        return environ

    def _send(self, prepared: WSGIEnvironment) -> bytes:
        environ = prepared.copy()
        environ["wsgi.input"] = io.BytesIO(self._body)
        start: StartResponse = self._start
        answer = self._app(environ, start)
        body = b"".join(answer)
        close: Callable[[], object] | None = getattr(answer, "close", None)
        if close is not None:
            close()
        return body

    def _start(self, status: str, headers: object, exc_info: object = None, /) -> Any:
        self._status = status


class Minting:
    """A function that makes a token.

    :param mint: makes one.
    :param around: the context that it needs; entered once for a series.
    """

    def __init__(
        self,
        name: str,
        keys: KeyPair,
        mint: Callable[[], str],
        around: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self.name = name
        self.call = mint
        self.around = around
        self._keys = keys
        with around():
            self.token_length = len(mint())

    def faults(self) -> Iterator[str]:
        """Why it is not fit to be timed: another number of claims is another amount of work."""
        with self.around():
            token = self.call()
        try:
            claims = jwt.decode(token, self._keys.verifying, algorithms=[self._keys.algorithm])
        except jwt.InvalidTokenError as error:
            yield f"its token is not accepted ({type(error).__name__})"
        else:
            if len(claims) != _CLAIMS:
                yield f"its token has {len(claims)} claims instead of {_CLAIMS}"


def tampered(token: str) -> str:
    """The token with one byte of its signature flipped."""
    signed, _, signature = token.rpartition(".")
    octets = bytearray(base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4)))
    octets[len(octets) // 2] ^= 0xFF
    return f"{signed}.{base64.urlsafe_b64encode(octets).rstrip(b'=').decode()}"
