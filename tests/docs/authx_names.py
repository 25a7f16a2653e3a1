"""The public names of AuthX 1.7.1, which is no dependency of the tests: it needs FastAPI."""

from __future__ import annotations

from datetime import timedelta
from typing import Any


def words(text: str) -> set[str]:
    return {*text.split()}


METHODS = words("""
    ACCESS_REQUIRED ACCESS_TOKEN BUNDLE CURRENT_SUBJECT DEPENDENCY FRESH_REQUIRED REFRESH_REQUIRED
    REFRESH_TOKEN WS_AUTH_REQUIRED access_token_required callback_get_model_instance
    callback_is_token_in_blocklist config create_access_token create_refresh_token create_session
    create_token_pair ensure_request_exception_handlers fresh_token_required
    get_access_token_from_request get_current_subject get_dependency get_refresh_token_from_request
    get_session get_token_from_request handle_errors implicit_refresh_middleware
    is_model_callback_set is_token_callback_set is_token_in_blocklist list_sessions load_config
    login_type model rate_limited refresh_token_required revoke_all_sessions revoke_session
    scopes_required set_access_cookies set_callback_get_model_instance set_callback_token_blocklist
    set_refresh_cookies set_session_store set_subject_getter set_token_blocklist token_required
    unset_access_cookies unset_cookies unset_refresh_cookies verify_token
""")
CLASSES = words("""
    AuthX AuthManager AuthXConfig AuthXDependency PolicyCondition PolicyContext PolicyDecision
    PolicyEngine PolicyRule RateLimiter RequestToken SessionInfo TokenPayload TokenResponse
""")
EXCEPTIONS = words("""
    AccessTokenRequiredError AuthXException AuthxArgumentDeprecationWarning BadConfigurationError
    CSRFError FreshTokenRequiredError InsufficientScopeError InvalidToken JWTDecodeError
    LoginTypeMismatchError MissingCSRFTokenError MissingTokenError NoAuthorizationError
    PolicyDeniedError PolicyEvaluationError RateLimitExceeded RefreshTokenRequiredError
    RevokedTokenError SessionRevoked TokenError TokenExpiredError TokenInvalidAudienceError
    TokenInvalidIssuerError TokenInvalidSignatureError TokenRequiredError TokenTypeError
""")
#: With their defaults.
SETTINGS: dict[str, Any] = {
    "JWT_ACCESS_COOKIE_NAME": "access_token_cookie",
    "JWT_ACCESS_COOKIE_PATH": "/",
    "JWT_ACCESS_CSRF_COOKIE_NAME": "csrf_access_token",
    "JWT_ACCESS_CSRF_COOKIE_PATH": "/",
    "JWT_ACCESS_CSRF_FIELD_NAME": "csrf_token",
    "JWT_ACCESS_CSRF_HEADER_NAME": "X-CSRF-TOKEN",
    "JWT_ACCESS_TOKEN_EXPIRES": timedelta(minutes=15),
    "JWT_ALGORITHM": "HS256",
    "JWT_COOKIE_CSRF_PROTECT": True,
    "JWT_COOKIE_DOMAIN": None,
    "JWT_COOKIE_HTTP_ONLY": True,
    "JWT_COOKIE_MAX_AGE": None,
    "JWT_COOKIE_SAMESITE": "lax",
    "JWT_COOKIE_SECURE": True,
    "JWT_CSRF_CHECK_FORM": False,
    "JWT_CSRF_IN_COOKIES": True,
    "JWT_CSRF_METHODS": ["POST", "PUT", "PATCH", "DELETE"],
    "JWT_DECODE_ALGORITHMS": ["HS256"],
    "JWT_DECODE_AUDIENCE": None,
    "JWT_DECODE_ISSUER": None,
    "JWT_DECODE_LEEWAY": 0,
    "JWT_ENCODE_AUDIENCE": None,
    "JWT_ENCODE_ISSUER": None,
    "JWT_ENCODE_NBF": True,
    "JWT_ERROR_MESSAGE_KEY": "msg",
    "JWT_HEADER_NAME": "Authorization",
    "JWT_HEADER_TYPE": "Bearer",
    "JWT_IDENTITY_CLAIM": "sub",
    "JWT_IMPLICIT_REFRESH_DELTATIME": timedelta(minutes=10),
    "JWT_IMPLICIT_REFRESH_METHOD_EXCLUDE": [],
    "JWT_IMPLICIT_REFRESH_METHOD_INCLUDE": [],
    "JWT_IMPLICIT_REFRESH_ROUTE_EXCLUDE": [],
    "JWT_IMPLICIT_REFRESH_ROUTE_INCLUDE": [],
    "JWT_JSON_KEY": "access_token",
    "JWT_PREVIOUS_PUBLIC_KEY": None,
    "JWT_PREVIOUS_SECRET_KEY": None,
    "JWT_PRIVATE_KEY": None,
    "JWT_PUBLIC_KEY": None,
    "JWT_QUERY_STRING_NAME": "token",
    "JWT_REFRESH_COOKIE_NAME": "refresh_token_cookie",
    "JWT_REFRESH_COOKIE_PATH": "/",
    "JWT_REFRESH_CSRF_COOKIE_NAME": "csrf_refresh_token",
    "JWT_REFRESH_CSRF_COOKIE_PATH": "/",
    "JWT_REFRESH_CSRF_FIELD_NAME": "csrf_token",
    "JWT_REFRESH_CSRF_HEADER_NAME": "X-CSRF-TOKEN",
    "JWT_REFRESH_JSON_KEY": "refresh_token",
    "JWT_REFRESH_TOKEN_EXPIRES": timedelta(days=20),
    "JWT_SECRET_KEY": None,
    "JWT_SESSION_COOKIE": True,
    "JWT_SESSION_TRACKING": False,
    "JWT_SESSION_UPDATE_LAST_ACTIVE": True,
    "JWT_TOKEN_LOCATION": ["headers"],
}
#: As AuthX creates them.
TOKENS: dict[str, dict[str, Any]] = {
    "access": {"fresh": False, "csrf": "", "scopes": ["admin:*"]},
    "refresh": {"csrf": ""},
}
