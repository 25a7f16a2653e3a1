"""A client that keeps its user logged in: it renews its tokens, and loses none on the way.

The rules, which hold for a client in any language:

- One refresh at a time, and what it brings is kept before anybody else may refresh.
- An answer that did not come says nothing: the same refresh token is sent again, and soon, since
  the server takes one that it has replaced for ``JWT_REFRESH_GRACE`` seconds only.
- A 503 says nothing about the tokens either: they are kept, and the request is sent later.
- Only the server's own word that a token is revoked, or that a refresh token is no good any more,
  ends the login here: the user must log in again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any, NoReturn, cast
from urllib.parse import urlsplit

from .storage import TokenFile, Tokens

#: How often a refresh is sent, and the seconds in between unless the server says how many.
ATTEMPTS, PAUSE = 4, 1.0
#: The seconds to wait for an answer, and the most to wait for a server that wants time.
TIMEOUT, PATIENCE = 10.0, 5.0
#: What is said of a token that can't be renewed: its login is over, or the server has other keys.
OVER = {"RevokedTokenError", "JWTDecodeError"}
EXPIRED = "TokenExpiredError"
#: The share of an access token's life after which it is renewed.
NEAR_END = 0.9


class LogInAgainError(Exception):
    """The login is over, or there was none: ask the user."""


class UnavailableError(Exception):
    """The server did not answer, or not now. The tokens are kept; try again later."""


class RefusedError(Exception):
    """The server does not do what was asked; says why."""


@dataclass(frozen=True)
class Answer:
    status: int
    body: dict[str, Any]
    retry_after: float = PAUSE

    @property
    def error(self) -> str | None:
        """Why, as a word for programs."""
        return self.body.get("error_type")


class Client:
    """Talks to the API for one user on one device.

    :param url: of the API. Outside of one's own machine it begins with https.
    :param file: where the tokens are; any number of clients may share it.
    :param device: what the user's list of devices shows.
    :param clock: the time, in seconds; only how much of it passes matters.
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
        """Make an account."""
        expect(self._sent("POST", "/accounts", body={"name": name, "password": password}), 201)

    def login(self, name: str, password: str) -> None:
        """Log in, and keep the tokens."""
        body = {"name": name, "password": password}
        with self._file.alone():
            start = self._clock()
            self._keep(start, expect(self._sent("POST", "/auth/login", body=body), 200).body)

    def logout(self) -> None:
        """End the login on the server, and forget it here."""
        with self._file.alone():
            tokens = self._file.read()
            if tokens is not None:
                # Either token will do, an expired one, too.
                answer = self._sent("POST", "/auth/logout", tokens.refresh)
                if answer.status != 401:
                    expect(answer, 204)
                self._file.forget()

    def ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """What a guarded route answers, with an access token that is renewed if it must be."""
        tokens = self._file.read()
        if tokens is None:
            raise LogInAgainError("nobody is logged in")
        if self._clock() >= tokens.renew_at:
            tokens = self._renewed(tokens)
        answer = self._sent(method, path, tokens.access, body)
        if answer.error == EXPIRED:
            # Once: a fresh token that counts as expired means that something else is wrong.
            tokens = self._renewed(tokens)
            answer = self._sent(method, path, tokens.access, body)
        if answer.error in OVER:
            self._give_up(tokens, answer)
        return expect(answer, 200, 201, 204).body

    def _renewed(self, old: Tokens) -> Tokens:
        """The tokens that replace others."""
        with self._file.alone():
            tokens = self._file.read()
            if tokens is None:
                raise LogInAgainError("the login is over")
            if tokens.access != old.access:
                # Somebody else has been here, while this one waited.
                return tokens
            start = self._clock()
            answer = self._refresh(tokens.refresh)
            if answer.error in {*OVER, EXPIRED}:
                self._file.forget()
                raise LogInAgainError(f"the login is over ({answer.error})")
            return self._keep(start, expect(answer, 200).body)

    def _give_up(self, tokens: Tokens, answer: Answer) -> NoReturn:
        with self._file.alone():
            # Unless the user has logged in again meanwhile.
            if self._file.read() == tokens:
                self._file.forget()
        raise LogInAgainError(f"the login is over ({answer.error})")

    def _refresh(self, token: str) -> Answer:
        """The answer to a refresh, asked for again and again as long as there is none."""
        for _ in range(ATTEMPTS - 1):
            try:
                answer = self._sent("POST", "/auth/refresh", token)
            except UnavailableError:
                # The server may have replaced the token all the same. It knows that this happens.
                self._pause(PAUSE)
                continue
            # 502 and 504 come from a proxy, and say as little as no answer does.
            if answer.status < 500:
                return answer
            self._pause(min(answer.retry_after, PATIENCE))
        return self._sent("POST", "/auth/refresh", token)

    def _keep(self, start: float, pair: dict[str, Any]) -> Tokens:
        renew_at = start + NEAR_END * pair["expires_in"]
        tokens = Tokens(pair["access_token"], pair["refresh_token"], renew_at)
        self._file.write(tokens)
        return tokens

    def _sent(
        self, method: str, path: str, token: str | None = None, body: object = None
    ) -> Answer:
        """The answer to one request. No redirect is followed: it could take the token elsewhere."""
        headers = {"User-Agent": self._device, "Accept": "application/json"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        if body is not None:
            headers["Content-Type"] = "application/json"
        kind = HTTPSConnection if self._url.scheme == "https" else HTTPConnection
        connection = kind(self._url.netloc, timeout=TIMEOUT)
        try:
            text = None if body is None else json.dumps(body)
            connection.request(method, self._url.path.rstrip("/") + path, text, headers)
            response = connection.getresponse()
            read, wait = response.read(), response.headers.get("Retry-After", "")
        except (OSError, HTTPException) as error:
            raise UnavailableError(f"no answer: {error!r}") from error
        finally:
            connection.close()
        return Answer(response.status, parsed(read), float(wait) if wait.isdecimal() else PAUSE)


def expect(answer: Answer, *good: int) -> Answer:
    """The answer, if it is one of those that are hoped for."""
    if answer.status in good:
        return answer
    why = str(answer.body.get("msg") or f"the server answers with {answer.status}")
    raise UnavailableError(why) if answer.status >= 500 else RefusedError(why)


def parsed(read: bytes) -> dict[str, Any]:
    try:
        body: object = json.loads(read)
    except ValueError:
        # Nothing, or what stands before the API, such as a proxy.
        return {}
    return cast(dict[str, Any], body) if isinstance(body, dict) else {}
