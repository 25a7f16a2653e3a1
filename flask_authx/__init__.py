"""Token authentication for Flask whose tokens can be taken back."""

import importlib.util
import typing

from .context import current_token, current_user
from .enums import Location, OnInvalid, TokenType
from .errors import (
    AccessTokenRequiredError,
    AuthXException,
    BadConfigurationError,
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
from .extension import AuthX
from .signals import (
    refresh_reuse_detected,
    revoked_token_used,
    session_revoked,
    subject_revoked,
    token_accepted,
    token_refused,
    token_revoked,
    token_unchecked,
)
from .stores.entries import Blocklist, Cutoff, Entry, Kind, Pruned, Risk, StoreBusyError
from .stores.memory import MemoryBlocklist
from .stores.memory_sessions import MemorySessions
from .stores.redis import RedisBlocklist
from .stores.redis_sessions import RedisSessions
from .stores.session import Session, SessionStore, Visit
from .tokens import RequestToken, Token, TokenPair

if typing.TYPE_CHECKING:
    from .stores.sqlalchemy import SQLAlchemyBlocklist as SQLAlchemyBlocklist
    from .stores.sqlalchemy_sessions import SQLAlchemySessions as SQLAlchemySessions

__all__ = [
    "AccessTokenRequiredError",
    "AuthX",
    "AuthXException",
    "BadConfigurationError",
    "Blocklist",
    "CSRFError",
    "CrossOriginError",
    "Cutoff",
    "Entry",
    "ErrorType",
    "FreshTokenRequiredError",
    "InsufficientScopeError",
    "JWTDecodeError",
    "Kind",
    "Location",
    "LoginFailedError",
    "MalformedRequestError",
    "MemoryBlocklist",
    "MemorySessions",
    "MissingCSRFTokenError",
    "MissingTokenError",
    "OnInvalid",
    "Pruned",
    "RedisBlocklist",
    "RedisSessions",
    "RefreshTokenRequiredError",
    "RequestToken",
    "ReusedTokenError",
    "RevokedTokenError",
    "Risk",
    "SQLAlchemyBlocklist",
    "SQLAlchemySessions",
    "Session",
    "SessionNotFoundError",
    "SessionStore",
    "StoreBusyError",
    "StoreUnavailableError",
    "SubjectNotFoundError",
    "Token",
    "TokenError",
    "TokenExpiredError",
    "TokenInvalidAudienceError",
    "TokenInvalidIssuerError",
    "TokenInvalidSignatureError",
    "TokenPair",
    "TokenType",
    "TokenTypeError",
    "Visit",
    "current_token",
    "current_user",
    "refresh_reuse_detected",
    "revoked_token_used",
    "session_revoked",
    "subject_revoked",
    "token_accepted",
    "token_refused",
    "token_revoked",
    "token_unchecked",
]

# For those who import everything.
if importlib.util.find_spec("sqlalchemy") is None:
    __all__.remove("SQLAlchemyBlocklist")
    __all__.remove("SQLAlchemySessions")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> object:
    # SQLAlchemy is optional, and slow to import for those who don't use it.
    if name == "SQLAlchemyBlocklist":
        from .stores.sqlalchemy import SQLAlchemyBlocklist  # noqa: PLC0415 - as said above

        return SQLAlchemyBlocklist
    if name == "SQLAlchemySessions":
        from .stores.sqlalchemy_sessions import SQLAlchemySessions  # noqa: PLC0415 - as said above

        return SQLAlchemySessions
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
