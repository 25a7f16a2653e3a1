"""All errors of the package, with one base class for the developer and one for the client.

:class:`BadConfigurationError` is raised while an app is set up; its text is for the developer.
:class:`AuthXException` is raised during a request. It is an HTTP response and renders itself in any
framework that catches it.
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


#: A scope (RFC 6749 section 3.3).
_SCOPE = re.compile(r"[\x21\x23-\x5B\x5D-\x7E]+")


class BadConfigurationError(Exception):
    """The configuration of the app can't work or is not safe. Lists every problem found.

    :param problems: one sentence for each problem, with the setting and the change it needs.
    """

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems: tuple[str, ...] = (
            (problems,) if isinstance(problems, str) else tuple(problems)
        )
        super().__init__("\n".join(self.problems))


class ErrorType(StrEnum):
    """The values of ``error_type`` in the body of an error: a closed list for clients."""

    #: No token was sent (401).
    MISSING_TOKEN = "MissingTokenError"
    #: The token is invalid. The response does not contain the reason (401).
    INVALID_TOKEN = "JWTDecodeError"
    #: The token has expired, and is otherwise valid: refresh it, or log in again (401).
    EXPIRED_TOKEN = "TokenExpiredError"
    #: The token has been revoked: log in again (401).
    REVOKED_TOKEN = "RevokedTokenError"
    #: A refresh token was sent where an access token is needed (401).
    ACCESS_TOKEN_REQUIRED = "AccessTokenRequiredError"
    #: An access token was sent where a refresh token is needed (401).
    REFRESH_TOKEN_REQUIRED = "RefreshTokenRequiredError"
    #: The view needs a token from a recent log-in (401, RFC 9470).
    FRESH_TOKEN_REQUIRED = "FreshTokenRequiredError"
    #: The token lacks a scope that the view requires (403).
    INSUFFICIENT_SCOPE = "InsufficientScopeError"
    #: The app's own check of the claims does not accept the token (403).
    CLAIMS_REFUSED = "ClaimsRefusedError"
    #: The token came in a cookie, and the request has no CSRF value (403).
    MISSING_CSRF_TOKEN = "MissingCSRFTokenError"
    #: The CSRF value does not match the token (403).
    CSRF = "CSRFError"
    #: The request comes from an origin that is not trusted, or from an unknown one (403).
    CROSS_ORIGIN = "CrossOriginError"
    #: The log-in failed: the app did not accept the credentials (401).
    LOGIN_FAILED = "LoginFailedError"
    #: The user has no such session (404).
    SESSION_NOT_FOUND = "SessionNotFoundError"
    #: The request carries several tokens, or a malformed one (400).
    MALFORMED_REQUEST = "MalformedRequestError"
    #: The store of revocations or sessions is unavailable: keep the token and retry (503).
    STORE_UNAVAILABLE = "StoreUnavailableError"


class AuthXException(HTTPException):
    """The base class of all errors that a client receives. An error handler for it gets them all.

    Each concrete class also derives from Werkzeug's class for its status, so that a handler for
    ``401`` or for ``Unauthorized`` is used. The message in the response is fixed for each class and
    never contains a token, a claim or the message of another exception.

    :param reason: a fixed text for logs and signals. It is never sent to the client.
    :param description: replaces the message of the class in the response.
    """

    #: The ``error_type`` of the body.
    error_type: ClassVar[ErrorType]
    #: The ``error`` of the challenge, if it has one (RFC 6750 section 3.1).
    error: ClassVar[str | None] = None
    #: The message in the response.
    message: ClassVar[str]
    #: Whether the response has a ``WWW-Authenticate: Bearer`` challenge.
    challenges: ClassVar[bool] = True
    #: The ``realm`` of the challenge and the key of the message in the body. Both come from the
    #: settings of the app.
    realm: str = "api"
    message_key: str = "msg"
    #: Whether the log at DEBUG has the reason: not that of a callback that had the claims.
    reason_is_logged: bool = True

    def __init__(self, reason: str | None = None, *, description: str | None = None) -> None:
        super().__init__(description or self.message)
        self.reason: str = reason or self.message

    @property
    def data(self) -> dict[str, str]:
        """The body as a dict. Flask-RESTful and Flask-RESTX render this attribute."""
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
        """The headers of the response, with ``Cache-Control: no-store``."""
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
    """The base class of all errors about a token that is missing, invalid or not sufficient."""

    error: ClassVar[str | None] = "invalid_token"


class MissingTokenError(TokenError, Unauthorized):
    """No token was sent: 401, with a challenge that has no ``error`` (RFC 6750 section 3.1)."""

    error_type = ErrorType.MISSING_TOKEN
    error: ClassVar[str | None] = None
    message = "A token is required"


class JWTDecodeError(TokenError, Unauthorized):
    """The token is invalid: 401. For handlers and logs, the subclasses name the reason.

    The response is the same for every reason, so an attacker can't learn from it. Only an expired
    token has a response of its own.
    """

    error_type = ErrorType.INVALID_TOKEN
    message = "The token is invalid"


class TokenInvalidSignatureError(JWTDecodeError):
    """The signature is not of a key of this app, or not of the algorithm of that key."""


class TokenInvalidAudienceError(JWTDecodeError):
    """The audience of the token is not this app (RFC 7519 section 4.1.3)."""


class TokenInvalidIssuerError(JWTDecodeError):
    """The issuer of the token is not the expected one (RFC 7519 section 4.1.1)."""


class SubjectNotFoundError(JWTDecodeError):
    """The app has no user with this subject. The response doesn't reveal that."""


class TokenExpiredError(JWTDecodeError):
    """The token has expired, and is otherwise valid: 401 (RFC 7519 section 4.1.4)."""

    error_type = ErrorType.EXPIRED_TOKEN
    message = "The token has expired"


class RevokedTokenError(TokenError, Unauthorized):
    """The token, its session or all tokens of its user have been revoked: 401."""

    error_type = ErrorType.REVOKED_TOKEN
    message = "The token has been revoked"


class ReusedTokenError(RevokedTokenError):
    """A refresh token was reused after it had been replaced (RFC 9700 section 4.14.2).

    A second client may have a copy of it, so the session is revoked. The response is the same as
    for any revoked token.
    """


class TokenTypeError(TokenError, Unauthorized):
    """The token has another type than the view requires: 401.

    The base class of ``AccessTokenRequiredError`` and ``RefreshTokenRequiredError``.
    """


class AccessTokenRequiredError(TokenTypeError):
    """The view requires an access token."""

    error_type = ErrorType.ACCESS_TOKEN_REQUIRED
    message = "An access token is required"


class RefreshTokenRequiredError(TokenTypeError):
    """The view requires a refresh token."""

    error_type = ErrorType.REFRESH_TOKEN_REQUIRED
    message = "A refresh token is required"


class FreshTokenRequiredError(TokenError, Unauthorized):
    """The view requires a recent log-in: 401 (RFC 9470 section 3).

    :param max_age: the maximum age of the log-in in seconds, if there is a limit. It is a parameter
        of the challenge.
    :param reason: as for :class:`AuthXException`.
    """

    error_type = ErrorType.FRESH_TOKEN_REQUIRED
    error: ClassVar[str | None] = "insufficient_user_authentication"
    message = "A fresh token is required"

    def __init__(self, max_age: int | None = None, reason: str | None = None) -> None:
        super().__init__(reason)
        self.max_age: int | None = max_age

    def challenge_parameters(self) -> list[tuple[str, str]]:
        """The parameters of the challenge, with ``max_age``."""
        parameters = super().challenge_parameters()
        if self.max_age is not None:
            parameters.append(("max_age", str(self.max_age)))
        return parameters


class LoginFailedError(AuthXException, Unauthorized):
    """The log-in failed: 401. The response is the same for every reason."""

    error_type = ErrorType.LOGIN_FAILED
    message = "The log-in failed"


class InsufficientScopeError(TokenError, Forbidden):
    """The token lacks a scope: 403. The challenge lists the required ones (RFC 6750 section 3.1).

    :param required: the scopes that the view requires.
    """

    error_type = ErrorType.INSUFFICIENT_SCOPE
    error: ClassVar[str | None] = "insufficient_scope"
    message = "The token lacks a required scope"

    def __init__(self, required: Sequence[str]) -> None:
        # An app may raise this error with any texts. Only scopes are safe in a header and a log.
        self._scopes = " ".join(filter(_SCOPE.fullmatch, required))
        super().__init__(f"the token does not grant what is required of: {self._scopes}")
        self.required: tuple[str, ...] = tuple(required)

    def challenge_parameters(self) -> list[tuple[str, str]]:
        """The parameters of the challenge, with ``scope``."""
        return [*super().challenge_parameters(), ("scope", self._scopes)]


class ClaimsRefusedError(TokenError, Forbidden):
    """The app's own check of the claims returned ``False``: 403."""

    error_type = ErrorType.CLAIMS_REFUSED
    error: ClassVar[str | None] = "insufficient_scope"
    message = "The claims of the token are not accepted"


class CSRFError(AuthXException, Forbidden):
    """The CSRF value does not match the token from a cookie: 403, without a challenge.

    :param where: how the client must send the value.
    :param reason: as for :class:`AuthXException`.
    """

    error_type = ErrorType.CSRF
    message = "The CSRF value does not match the token"
    challenges = False

    def __init__(self, where: str, reason: str | None = None) -> None:
        super().__init__(reason, description=f"{self.message}: {where}")


class MissingCSRFTokenError(CSRFError):
    """The request has a token from a cookie and no CSRF value: 403."""

    error_type = ErrorType.MISSING_CSRF_TOKEN
    message = "The CSRF value is missing"


class CrossOriginError(CSRFError):
    """The origin of the request is not trusted, or the request doesn't name one: 403."""

    error_type = ErrorType.CROSS_ORIGIN
    message = "The origin of the request is missing or not trusted"

    def __init__(self, reason: str | None = None) -> None:
        AuthXException.__init__(self, reason)


class SessionNotFoundError(AuthXException, NotFound):
    """The user has no such session: 404. The response is the same for another user's session."""

    error_type = ErrorType.SESSION_NOT_FOUND
    message = "There is no such session"
    challenges = False


class MalformedRequestError(AuthXException, BadRequest):
    """The request carries several tokens, a malformed one or invalid JSON: 400 (RFC 6750)."""

    error_type = ErrorType.MALFORMED_REQUEST
    error: ClassVar[str | None] = "invalid_request"
    message = "The request does not carry exactly one well-formed token"


class StoreUnavailableError(AuthXException, ServiceUnavailable):
    """The store of revocations or sessions is unavailable: 503 with ``Retry-After``.

    :param in_force: whether the revocation that was asked for is in force all the same: its record
        in the audit trail was not written, or a row was not removed.
    """

    error_type = ErrorType.STORE_UNAVAILABLE
    message = "The revocation status of the token can't be checked right now"
    challenges = False

    def __init__(
        self, reason: str | None = None, *, description: str | None = None, in_force: bool = False
    ) -> None:
        super().__init__(reason, description=description)
        self.in_force: bool = in_force

    def get_headers(
        self,
        environ: WSGIEnvironment | None = None,
        scope: dict[str, object] | None = None,
    ) -> list[tuple[str, str]]:
        """The headers of the response, with ``Retry-After`` in seconds."""
        return [*super().get_headers(environ, scope), ("Retry-After", "1")]
