"""What each error is on the wire, and that the app's settings and handlers are honoured."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from typing import Any

import pytest
from werkzeug.exceptions import (
    BadRequest,
    Forbidden,
    HTTPException,
    NotFound,
    ServiceUnavailable,
    Unauthorized,
)

import flask_authx
from flask_authx import (
    AccessTokenRequiredError,
    AuthXException,
    BadConfigurationError,
    ClaimsRefusedError,
    CrossOriginError,
    CSRFError,
    ErrorType,
    FreshTokenRequiredError,
    InsufficientScopeError,
    JWTDecodeError,
    LoginFailedError,
    MalformedRequestError,
    MissingCSRFTokenError,
    MissingTokenError,
    RefreshTokenRequiredError,
    ReusedTokenError,
    RevokedTokenError,
    SessionNotFoundError,
    StoreUnavailableError,
    SubjectNotFoundError,
    TokenError,
    TokenExpiredError,
    TokenInvalidAudienceError,
    TokenInvalidIssuerError,
    TokenInvalidSignatureError,
    TokenTypeError,
)
from tests.support import SECRET, make_app
from tests.support.corpus import check_all


def challenge(error: str, description: str, *more: str) -> str:
    fixed = ('realm="api"', f'error="{error}"', f'error_description="{description}"')
    return "Bearer " + ", ".join([*fixed, *more])


INVALID = challenge("invalid_token", "The token is invalid")

#: The error, Werkzeug's class, the error type, the text and the challenge.
LEAVES: list[tuple[AuthXException, type[HTTPException], ErrorType, str, str | None]] = [
    (
        MissingTokenError(),
        Unauthorized,
        ErrorType.MISSING_TOKEN,
        "A token is required",
        'Bearer realm="api"',
    ),
    *(
        (leaf(), Unauthorized, ErrorType.INVALID_TOKEN, "The token is invalid", INVALID)
        for leaf in (
            JWTDecodeError,
            TokenInvalidSignatureError,
            TokenInvalidAudienceError,
            TokenInvalidIssuerError,
            SubjectNotFoundError,
        )
    ),
    (
        TokenExpiredError(),
        Unauthorized,
        ErrorType.EXPIRED_TOKEN,
        "The token has expired",
        challenge("invalid_token", "The token has expired"),
    ),
    (
        RevokedTokenError(),
        Unauthorized,
        ErrorType.REVOKED_TOKEN,
        "The token has been revoked",
        challenge("invalid_token", "The token has been revoked"),
    ),
    (
        ReusedTokenError(),
        Unauthorized,
        ErrorType.REVOKED_TOKEN,
        "The token has been revoked",
        challenge("invalid_token", "The token has been revoked"),
    ),
    (
        AccessTokenRequiredError(),
        Unauthorized,
        ErrorType.ACCESS_TOKEN_REQUIRED,
        "An access token is required",
        challenge("invalid_token", "An access token is required"),
    ),
    (
        RefreshTokenRequiredError(),
        Unauthorized,
        ErrorType.REFRESH_TOKEN_REQUIRED,
        "A refresh token is required",
        challenge("invalid_token", "A refresh token is required"),
    ),
    (
        FreshTokenRequiredError(),
        Unauthorized,
        ErrorType.FRESH_TOKEN_REQUIRED,
        "A fresh token is required",
        challenge("insufficient_user_authentication", "A fresh token is required"),
    ),
    (
        InsufficientScopeError(["a:read", "b"]),
        Forbidden,
        ErrorType.INSUFFICIENT_SCOPE,
        "The token lacks a required scope",
        challenge(
            "insufficient_scope",
            "The token lacks a required scope",
            'scope="a:read b"',
        ),
    ),
    (
        ClaimsRefusedError(),
        Forbidden,
        ErrorType.CLAIMS_REFUSED,
        "The claims of the token are not accepted",
        challenge("insufficient_scope", "The claims of the token are not accepted"),
    ),
    (
        MissingCSRFTokenError("send the value in the X-CSRF-TOKEN header"),
        Forbidden,
        ErrorType.MISSING_CSRF_TOKEN,
        "The CSRF value is missing: send the value in the X-CSRF-TOKEN header",
        None,
    ),
    (
        CSRFError("send the value in the X-CSRF-TOKEN header"),
        Forbidden,
        ErrorType.CSRF,
        ("The CSRF value does not match the token: send the value in the X-CSRF-TOKEN header"),
        None,
    ),
    (
        CrossOriginError(),
        Forbidden,
        ErrorType.CROSS_ORIGIN,
        "The origin of the request is missing or not trusted",
        None,
    ),
    (
        LoginFailedError(),
        Unauthorized,
        ErrorType.LOGIN_FAILED,
        "The log-in failed",
        'Bearer realm="api"',
    ),
    (
        SessionNotFoundError(),
        NotFound,
        ErrorType.SESSION_NOT_FOUND,
        "There is no such session",
        None,
    ),
    (
        MalformedRequestError(),
        BadRequest,
        ErrorType.MALFORMED_REQUEST,
        "The request does not carry exactly one well-formed token",
        challenge("invalid_request", "The request does not carry exactly one well-formed token"),
    ),
    (
        StoreUnavailableError(),
        ServiceUnavailable,
        ErrorType.STORE_UNAVAILABLE,
        "The revocation status of the token can't be checked right now",
        None,
    ),
]
BRANCHES = {AuthXException, TokenError, TokenTypeError}
STATUS: dict[type[HTTPException], int] = {
    Unauthorized: 401,
    Forbidden: 403,
    BadRequest: 400,
    NotFound: 404,
    ServiceUnavailable: 503,
}


def check_response(
    row: tuple[AuthXException, type[HTTPException], ErrorType, str, str | None],
) -> None:
    error, base, error_type, text, wanted_challenge = row
    response = error.get_response()
    assert isinstance(error, base)
    assert response.status_code == STATUS[base]
    assert response.mimetype == "application/json"
    assert response.get_json() == {"msg": text, "error_type": error_type.value}
    assert error.data == response.get_json()
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers.getlist("WWW-Authenticate") == (
        [] if wanted_challenge is None else [wanted_challenge]
    )
    assert response.headers.get("Retry-After") == ("1" if base is ServiceUnavailable else None)


def test_an_error_is_a_whole_response() -> None:
    """USERS 74; SECURITY A.0: status, body, challenge and headers, nothing else."""
    check_all([(type(row[0]).__name__, row) for row in LEAVES], check_response)


def test_the_table_above_covers_every_exported_error() -> None:
    exported = [getattr(flask_authx, name) for name in flask_authx.__all__]
    classes = {one for one in exported if inspect.isclass(one) and issubclass(one, AuthXException)}
    assert classes - BRANCHES == {type(row[0]) for row in LEAVES}


def test_the_error_types_are_a_closed_list_and_each_is_used() -> None:
    assert {row[2] for row in LEAVES} == set(ErrorType)
    # The value is the name of a class that a handler can be registered for.
    for error_type in ErrorType:
        assert getattr(flask_authx, error_type.value).error_type is error_type


def test_the_reason_is_never_sent() -> None:
    """SECURITY A.16 298: the class and the reason are for logs."""
    error = TokenInvalidSignatureError("no key has this kid and algorithm")
    response = error.get_response()
    assert error.reason == "no key has this kid and algorithm"
    assert error.reason not in response.get_data(as_text=True) + str(response.headers)


def test_a_configuration_error_is_no_response_and_lists_its_problems() -> None:
    error = BadConfigurationError(["one.", "two."])
    assert not isinstance(error, HTTPException)
    assert error.problems == ("one.", "two.")
    assert str(error) == "one.\ntwo."
    assert BadConfigurationError("one.").problems == ("one.",)


def test_realm_and_message_key_come_from_the_settings() -> None:
    app, _ = make_app(SECRET_KEY=SECRET, REALM="the archive", ERROR_MESSAGE_KEY="detail")
    response = app.test_client().get("/guarded")
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="the archive"'
    assert response.get_json() == {
        "detail": "A token is required",
        "error_type": "MissingTokenError",
    }
    # They are set on what was raised, not on the class: the next app keeps its own.
    other, _ = make_app()
    assert other.test_client().get("/guarded").get_json()["msg"] == "A token is required"


@pytest.mark.parametrize("realm", ['a"b', "a\\b", "a\r\nb", "Zoë", "", 5])
def test_a_realm_that_would_break_the_challenge_is_refused(realm: Any) -> None:
    """USERS 80; SECURITY A.16 299 and 302."""
    with pytest.raises(BadConfigurationError, match="JWT_REALM"):
        make_app(REALM=realm)


@pytest.mark.parametrize("scope", ['a"b', "a\\b", "a b", "a\r\nb", "ü", ""])
def test_a_scope_that_would_break_the_challenge_is_refused(scope: str) -> None:
    """USERS 80; SECURITY A.16 302."""
    _, authx = make_app()
    with pytest.raises(ValueError, match="can't be a scope"):
        authx.scopes_required(scope)


# Reasons


#: How many positional arguments the reason comes after, other than in most classes.
BEFORE_REASON = {"FreshTokenRequiredError": 1, "CSRFError": 1, "MissingCSRFTokenError": 1}
#: It words the reason itself.
OWN_REASON = {"InsufficientScopeError"}


def raised_without_reason(source: str) -> list[int]:
    """The lines on which one of the errors is made without a reason."""
    names = {one.__name__ for one in (type(row[0]) for row in LEAVES)} - OWN_REASON
    tree = ast.parse(source)
    bare = [
        node.exc.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Name) and node.exc.id in names
    ]
    return bare + [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names
        if len(node.args) <= BEFORE_REASON.get(node.func.id, 0)
        and "reason" not in {keyword.arg for keyword in node.keywords}
    ]


def test_a_missing_reason_is_found() -> None:
    assert raised_without_reason("raise MissingTokenError") == [1]
    assert raised_without_reason("raise StoreUnavailableError(description=what) from None") == [1]
    assert raised_without_reason("\nrefuse(FreshTokenRequiredError(5))") == [2]
    assert raised_without_reason("raise CSRFError(where, 'no value')") == []


def test_every_error_of_the_package_says_why() -> None:
    """``reason`` is documented to say more than the response."""
    files = {str(file): file for file in Path(flask_authx.__file__).parent.rglob("*.py")}
    assert len(files) > 50

    def check(file: Path) -> None:
        assert raised_without_reason(file.read_text("utf-8")) == []

    check_all(files, check)


def test_a_reason_is_never_sent() -> None:
    for error in (
        MissingTokenError("why"),
        FreshTokenRequiredError(5, "why"),
        CSRFError("where", "why"),
        MissingCSRFTokenError("where", "why"),
        CrossOriginError("why"),
        ClaimsRefusedError("why"),
        StoreUnavailableError("why"),
    ):
        assert error.reason == "why"
        sent = error.get_response()
        assert "why" not in sent.get_data(as_text=True) + str(sent.headers)


def test_the_reason_of_a_missing_scope_names_it_and_no_more() -> None:
    error = InsufficientScopeError(["a:read", 'x"\ny', "b c"])
    assert error.reason == "the token does not grant what is required of: a:read"
    assert error.required == ("a:read", 'x"\ny', "b c")
