"""Every error of the package: two roots, one for the programmer and one for the client.

:class:`BadConfigurationError` is raised while an app is being set up and is meant to be read by
whoever wrote the settings. :class:`AuthXException` is an HTTP response: raised during a request it
renders itself, whatever framework catches it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar

from werkzeug.exceptions import (
    BadRequest,
    Forbidden,
    HTTPException,
    NotFound,
    ServiceUnavailable,
    Unauthorized,
)

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment


_SCOPE = re.compile(r"[\x21\x23-\x5B\x5D-\x7E]+")


class BadConfigurationError(Exception):
    """The app is set up in a way that can't work or isn't safe; every problem found is listed.

    :param problems: one sentence a problem, each naming the setting and what to change.
    """

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems: tuple[str, ...] = (
            (problems,) if isinstance(problems, str) else tuple(problems)
        )
        super().__init__("\n".join(self.problems))


class ErrorType(StrEnum):
    """The values of ``error_type`` in an error's body: a closed list that clients may switch on."""

    #: No token was sent (401).
    MISSING_TOKEN = "MissingTokenError"
    #: The token was not accepted; why is not said, since the sender is not known (401).
    INVALID_TOKEN = "JWTDecodeError"
    #: The token was good and has expired: refresh it, or log in again (401).
    EXPIRED_TOKEN = "TokenExpiredError"
    #: The token has been revoked: log in again (401).
    REVOKED_TOKEN = "RevokedTokenError"
    #: A refresh token was sent where an access token is needed (401).
    ACCESS_TOKEN_REQUIRED = "AccessTokenRequiredError"
    #: An access token was sent where a refresh token is needed (401).
    REFRESH_TOKEN_REQUIRED = "RefreshTokenRequiredError"
    #: The view wants a token from a recent log-in (401, RFC 9470).
    FRESH_TOKEN_REQUIRED = "FreshTokenRequiredError"
    #: The token lacks a scope that the view needs (403).
    INSUFFICIENT_SCOPE = "InsufficientScopeError"
    #: A token came in a cookie without the CSRF value that belongs to it (403).
    MISSING_CSRF_TOKEN = "MissingCSRFTokenError"
    #: The CSRF value is not the one of this token (403).
    CSRF = "CSRFError"
    #: The request comes from a page of another site (403).
    CROSS_ORIGIN = "CrossOriginError"
    #: Name and password, or whatever the app asks for, were not accepted (401).
    LOGIN_FAILED = "LoginFailedError"
    #: The user has no such login (404).
    SESSION_NOT_FOUND = "SessionNotFoundError"
    #: The request carries its token in a way that no client should (400).
    MALFORMED_REQUEST = "MalformedRequestError"
    #: Whether the token is revoked can't be found out right now: keep it and retry (503).
    STORE_UNAVAILABLE = "StoreUnavailableError"


class AuthXException(HTTPException):
    """The root of all that a client is told. Raise it, or register an error handler for it.

    A leaf also derives from Werkzeug's class of its status, so a handler for ``401`` or for
    ``Unauthorized`` is honoured. The text on the wire is fixed for each class and never holds a
    token, a claim or another exception's message.

    :param reason: why, in fixed words, for logs and signals; it is never sent.
    :param description: replaces the class's own text on the wire.
    """

    #: The ``error_type`` of the body.
    error_type: ClassVar[ErrorType]
    #: The ``error`` of the challenge (RFC 6750 section 3.1), if there is one.
    error: ClassVar[str | None] = None
    #: The text on the wire.
    message: ClassVar[str]
    #: Whether the answer carries a ``WWW-Authenticate: Bearer`` challenge.
    challenges: ClassVar[bool] = True
    #: The challenge's ``realm`` and the body's key for the text: set from the app's settings.
    realm: str = "api"
    message_key: str = "msg"

    def __init__(self, reason: str | None = None, *, description: str | None = None) -> None:
        super().__init__(description or self.message)
        self.reason: str = reason or self.message

    @property
    def data(self) -> dict[str, str]:
        """The body as a dict: Flask-RESTful and Flask-RESTX render this attribute themselves."""
        return {
            self.message_key: self.description or self.message,
            "error_type": self.error_type.value,
        }

    def challenge_parameters(self) -> list[tuple[str, str]]:
        """The parameters of the ``Bearer`` challenge, in order (RFC 6750 section 3)."""
        parameters = [("realm", self.realm)]
        if self.error is not None:
            parameters += [("error", self.error), ("error_description", self.message)]
        return parameters

    def get_headers(
        self,
        environ: WSGIEnvironment | None = None,
        scope: dict[str, object] | None = None,
    ) -> list[tuple[str, str]]:
        """The headers of the response; ``no-store``, since the answer is about one client only."""
        headers = [("Content-Type", "application/json"), ("Cache-Control", "no-store")]
        if self.challenges:
            listed = ", ".join(f'{name}="{value}"' for name, value in self.challenge_parameters())
            headers.append(("WWW-Authenticate", f"Bearer {listed}"))
        return headers

    def get_body(
        self,
        environ: WSGIEnvironment | None = None,
        scope: dict[str, object] | None = None,
    ) -> str:
        """The body as JSON text."""
        return json.dumps(self.data) + "\n"


class TokenError(AuthXException):
    """The root of all that is wrong with a token, or with there being none."""

    error: ClassVar[str | None] = "invalid_token"


class MissingTokenError(TokenError, Unauthorized):
    """No token was sent: 401, with a challenge that has no ``error`` (RFC 6750 section 3.1)."""

    error_type = ErrorType.MISSING_TOKEN
    error: ClassVar[str | None] = None
    message = "A token is required"


class JWTDecodeError(TokenError, Unauthorized):
    """The token was not accepted: 401. Its subclasses say why, to handlers and logs only.

    Whoever sent it has not been authenticated, so one answer serves all and is no oracle.
    """

    error_type = ErrorType.INVALID_TOKEN
    message = "The token is invalid"


class TokenInvalidSignatureError(JWTDecodeError):
    """The token is not signed by a key of this app, or by none that may sign so."""


class TokenInvalidAudienceError(JWTDecodeError):
    """The token is meant for somebody else (RFC 7519 section 4.1.3)."""


class TokenInvalidIssuerError(JWTDecodeError):
    """The token comes from somebody else (RFC 7519 section 4.1.1)."""


class SubjectNotFoundError(JWTDecodeError):
    """The app knows no user of that name: same answer, so that nobody learns who exists."""


class TokenExpiredError(JWTDecodeError):
    """The token was good until it expired (RFC 7519 section 4.1.4): 401."""

    error_type = ErrorType.EXPIRED_TOKEN
    message = "The token has expired"


class RevokedTokenError(TokenError, Unauthorized):
    """The token, its login or its user's tokens have been revoked: 401."""

    error_type = ErrorType.REVOKED_TOKEN
    message = "The token has been revoked"


class ReusedTokenError(RevokedTokenError):
    """A refresh token was used after its successor: somebody else has a copy (RFC 9700 4.14.2).

    The login is over. Neither of the two holders is told more than that.
    """


class TokenTypeError(TokenError, Unauthorized):
    """The token is of another type than the view wants: 401. The root of the two below."""


class AccessTokenRequiredError(TokenTypeError):
    """An access token is needed here."""

    error_type = ErrorType.ACCESS_TOKEN_REQUIRED
    message = "An access token is required"


class RefreshTokenRequiredError(TokenTypeError):
    """A refresh token is needed here."""

    error_type = ErrorType.REFRESH_TOKEN_REQUIRED
    message = "A refresh token is required"


class FreshTokenRequiredError(TokenError, Unauthorized):
    """The user must log in again before this (RFC 9470 section 3): 401.

    :param max_age: how many seconds ago that may have been at most, if there is a limit; the
        challenge says so.
    """

    error_type = ErrorType.FRESH_TOKEN_REQUIRED
    error: ClassVar[str | None] = "insufficient_user_authentication"
    message = "A fresh token is required"

    def __init__(self, max_age: int | None = None) -> None:
        super().__init__()
        self.max_age: int | None = max_age

    def challenge_parameters(self) -> list[tuple[str, str]]:
        """The parameters of the challenge, with the age that a log-in may have."""
        own = [] if self.max_age is None else [("max_age", str(self.max_age))]
        return [*super().challenge_parameters(), *own]


class LoginFailedError(AuthXException, Unauthorized):
    """Who asks to log in has not shown who they are: 401, whatever was wrong with it."""

    error_type = ErrorType.LOGIN_FAILED
    message = "The log-in was refused"


class InsufficientScopeError(TokenError, Forbidden):
    """The token lacks a scope: 403, and the challenge says which are needed (RFC 6750 section 3.1).

    :param required: the scopes that the view asks for.
    """

    error_type = ErrorType.INSUFFICIENT_SCOPE
    error: ClassVar[str | None] = "insufficient_scope"
    message = "The token lacks a scope that is needed here"

    def __init__(self, required: Sequence[str]) -> None:
        super().__init__()
        self.required: tuple[str, ...] = tuple(required)

    def challenge_parameters(self) -> list[tuple[str, str]]:
        """The parameters of the challenge, with the scopes that are needed."""
        # RFC 6749 section 3.3: what else an app may have put there can't stand in a header.
        sayable = " ".join(filter(_SCOPE.fullmatch, self.required))
        return [*super().challenge_parameters(), ("scope", sayable)]


class CSRFError(AuthXException, Forbidden):
    """A token from a cookie came without its own CSRF value: 403, no challenge (the token is fine).

    :param where: how the value is to be sent, in words.
    """

    error_type = ErrorType.CSRF
    message = "The CSRF value is not the one that belongs to this token"
    challenges = False

    def __init__(self, where: str) -> None:
        super().__init__(description=f"{self.message}: {where}")


class MissingCSRFTokenError(CSRFError):
    """No CSRF value was sent at all."""

    error_type = ErrorType.MISSING_CSRF_TOKEN
    message = "The CSRF value is missing"


class CrossOriginError(CSRFError):
    """The browser says that the request comes from a page of another site, or doesn't say: 403."""

    error_type = ErrorType.CROSS_ORIGIN
    message = "The request does not come from a page of this app or of an origin that it trusts"

    def __init__(self) -> None:
        AuthXException.__init__(self)


class SessionNotFoundError(AuthXException, NotFound):
    """The user has no such login, or no longer: 404. Whether somebody else has is not told."""

    error_type = ErrorType.SESSION_NOT_FOUND
    message = "There is no such login"
    challenges = False


class MalformedRequestError(AuthXException, BadRequest):
    """Two tokens, half a token, or broken JSON: 400 ``invalid_request`` (RFC 6750 section 3.1)."""

    error_type = ErrorType.MALFORMED_REQUEST
    error: ClassVar[str | None] = "invalid_request"
    message = "The request does not carry exactly one well-formed token"


class StoreUnavailableError(AuthXException, ServiceUnavailable):
    """Nobody can say whether the token is revoked: 503 with ``Retry-After``."""

    error_type = ErrorType.STORE_UNAVAILABLE
    message = "Whether the token has been revoked can't be checked right now"
    challenges = False

    def get_headers(
        self,
        environ: WSGIEnvironment | None = None,
        scope: dict[str, object] | None = None,
    ) -> list[tuple[str, str]]:
        """The headers of the response, with the seconds after which to try again."""
        return [*super().get_headers(environ, scope), ("Retry-After", "1")]
