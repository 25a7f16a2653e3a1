"""A client of the API: it keeps the tokens of a session and renews them when they expire.

The rules are the same for a client in any language:

- One refresh at a time. The new tokens are saved before another refresh may start.
- No answer to a refresh: the client sends the same refresh token again, and soon. The server
  accepts a token that it has replaced for ``JWT_REFRESH_GRACE`` seconds only.
- A 503: the tokens may still be valid. The client keeps them and sends the request again later.
- The client deletes the tokens if the server answers that the session is revoked, or that the
  refresh token is invalid or has expired. Then the user must log in again.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any, NoReturn, cast
from urllib.parse import urlsplit

from .storage import TokenFile, Tokens

logger = logging.getLogger(__name__)

#: How often a refresh is sent, and the seconds in between unless the server sends Retry-After.
ATTEMPTS, PAUSE = 4, 1.0
#: The seconds to wait for an answer, and the most to wait because of Retry-After.
TIMEOUT, PATIENCE = 10.0, 5.0
#: The errors of a token that can't be renewed: it is revoked, or invalid.
FINAL = {"RevokedTokenError", "JWTDecodeError"}
EXPIRED = "TokenExpiredError"
#: The share of an access token's lifetime after which it is renewed.
NEAR_END = 0.9


class LogInAgainError(Exception):
    """There is no session, or it is revoked or has expired: the user must log in."""


class UnavailableError(Exception):
    """The server did not answer, or with an error of its own. The tokens are kept."""


class RefusedError(Exception):
    """The server refuses the request; the message is the server's."""


@dataclass(frozen=True)
class Answer:
    """The answer to a request.

    :param request: such as ``GET /me``.
    :param status: 0 if no answer came.
    """

    request: str
    status: int
    body: dict[str, Any]
    retry_after: float = PAUSE

    @property
    def error(self) -> str | None:
        """The ``error_type``, if the answer has one."""
        return self.body.get("error_type")

    def __str__(self) -> str:
        if not self.status:
            return f"{self.request}: no answer"
        return f"{self.request}: {self.status}" + (f" {self.error}" if self.error else "")


class Client:
    """Sends requests to the API for one user on one device.

    It logs each request in a line: the request, the status, and what it did about it.

    :param url: of the API. It begins with https, unless the server is on the same machine.
    :param file: where the tokens are saved; any number of clients may share it.
    :param device: the name in the user's list of devices.
    :param clock: the time in seconds.
    :param pause: waits for some seconds.
    """

    def __init__(
        self,
        url: str,
        file: TokenFile,
        *,
        device: str = "unknown",
        clock: Callable[[], float] = time.time,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        self._url = urlsplit(url)
        self._file = file
        self._device = device
        self._clock = clock
        self._pause = pause

    def sign_up(self, name: str, password: str) -> None:
        """Create an account."""
        answer = self._send("POST", "/accounts", body={"name": name, "password": password})
        check(answer, 201)
        note(answer, "the account is created")

    def login(self, name: str, password: str) -> None:
        """Log in and save the tokens."""
        body = {"name": name, "password": password}
        with self._file.locked():
            start = self._clock()
            answer = self._send("POST", "/auth/login", body=body)
            self._save(start, answer, "saved the tokens of a new session")

    def logout(self) -> None:
        """Revoke the session on the server and delete the tokens here."""
        with self._file.locked():
            tokens = self._file.read()
            if tokens is not None:
                # An expired token works, too.
                answer = self._send("POST", "/auth/logout", tokens.refresh)
                # 401: the session has been revoked before.
                check(answer, 204, 401)
                self._file.delete()
                note(answer, "deleted the tokens")

    def ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """The body of a guarded route's answer. The access token is renewed if it has to be."""
        tokens = self._file.read()
        if tokens is None:
            raise LogInAgainError("there is no session")
        if self._clock() >= tokens.renew_at:
            tokens = self._renewed(tokens)
        answer = self._send(method, path, tokens.access, body)
        if answer.error == EXPIRED:
            note(answer, "refreshing the tokens, then sending the request again")
            # Once: if the new token counts as expired, too, another refresh would not help.
            tokens = self._renewed(tokens)
            answer = self._send(method, path, tokens.access, body)
        if answer.error in FINAL:
            self._delete(tokens, answer)
        check(answer, 200, 201, 204)
        note(answer, "done")
        return answer.body

    def _renewed(self, old: Tokens) -> Tokens:
        """The tokens that replace the old ones."""
        with self._file.locked():
            tokens = self._file.read()
            if tokens is None:
                raise LogInAgainError("the session was revoked or has expired")
            if tokens.access != old.access:
                # Another thread or process has renewed them while this one waited for the lock.
                return tokens
            start = self._clock()
            answer = self._refresh(tokens.refresh)
            if answer.error in {*FINAL, EXPIRED}:
                self._file.delete()
                log_in_again(answer)
            return self._save(start, answer, "saved the new tokens")

    def _refresh(self, token: str) -> Answer:
        """The answer to a refresh, which is sent again if no answer comes, or an error (5xx).

        The server may have replaced the token before its answer was lost. It accepts the same token
        again.
        """
        for _ in range(ATTEMPTS - 1):
            answer = self._send("POST", "/auth/refresh", token)
            if 0 < answer.status < 500:
                return answer
            wait = min(answer.retry_after, PATIENCE)
            note(answer, f"kept the tokens, sending the same refresh token in {wait:g} s")
            self._pause(wait)
        return self._send("POST", "/auth/refresh", token)

    def _save(self, start: float, answer: Answer, then: str) -> Tokens:
        check(answer, 200)
        pair = answer.body
        renew_at = start + NEAR_END * pair["expires_in"]
        tokens = Tokens(pair["access_token"], pair["refresh_token"], renew_at)
        self._file.write(tokens)
        note(answer, then)
        return tokens

    def _delete(self, tokens: Tokens, answer: Answer) -> NoReturn:
        with self._file.locked():
            # Unless the user has logged in again in the meantime.
            if self._file.read() == tokens:
                self._file.delete()
        log_in_again(answer)

    def _send(
        self, method: str, path: str, token: str | None = None, body: object = None
    ) -> Answer:
        """The answer to one request. Redirects are not followed: they could lead the token away."""
        headers = {"User-Agent": self._device, "Accept": "application/json"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        if body is not None:
            headers["Content-Type"] = "application/json"
        kind = HTTPSConnection if self._url.scheme == "https" else HTTPConnection
        connection = kind(self._url.netloc, timeout=TIMEOUT)
        request = f"{method} {path}"
        try:
            text = None if body is None else json.dumps(body)
            connection.request(method, self._url.path.rstrip("/") + path, text, headers)
            response = connection.getresponse()
            read, wait = response.read(), response.headers.get("Retry-After", "")
        except (OSError, HTTPException) as error:
            return Answer(request, 0, {"msg": f"no answer to {request} ({error!r})"})
        finally:
            connection.close()
        seconds = float(wait) if wait.isdecimal() else PAUSE
        return Answer(request, response.status, parsed(read), seconds)


def check(answer: Answer, *expected: int) -> None:
    """Raise the error for any other status."""
    if answer.status in expected:
        return
    why = str(answer.body.get("msg") or answer)
    if 0 < answer.status < 500:
        note(answer, "refused, not sending it again")
        raise RefusedError(why)
    note(answer, "kept the tokens, not sending it again now")
    raise UnavailableError(why)


def log_in_again(answer: Answer) -> NoReturn:
    note(answer, "deleted the tokens")
    raise LogInAgainError(f"{answer.body.get('msg')} ({answer.error})")


def note(answer: Answer, done: str) -> None:
    """Log what was done about an answer. No line has a token."""
    logger.info("%s - %s", answer, done)


def parsed(read: bytes) -> dict[str, Any]:
    try:
        body: object = json.loads(read)
    except ValueError:
        # Empty, or from a proxy in front of the API.
        return {}
    return cast(dict[str, Any], body) if isinstance(body, dict) else {}
