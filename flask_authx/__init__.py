"""Token authentication for Flask whose tokens can be taken back."""

import importlib.util
import typing

from .context import current_token, current_user
from .errors import (
    AccessTokenRequiredError,
    AuthXException,
    BadConfigurationError,
    CSRFError,
    ErrorType,
    FreshTokenRequiredError,
    InsufficientScopeError,
    JWTDecodeError,
    MalformedRequestError,
    MissingCSRFTokenError,
    MissingTokenError,
    RefreshTokenRequiredError,
    RevokedTokenError,
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
from .stores.redis import RedisBlocklist
from .tokens import Location, RequestToken, Token, TokenPair, TokenType
from .verifier import OnInvalid

if typing.TYPE_CHECKING:
    from .stores.sqlalchemy import SQLAlchemyBlocklist as SQLAlchemyBlocklist

__all__ = [
    "AccessTokenRequiredError",
    "AuthX",
    "AuthXException",
    "BadConfigurationError",
    "Blocklist",
    "CSRFError",
    "Cutoff",
    "Entry",
    "ErrorType",
    "FreshTokenRequiredError",
    "InsufficientScopeError",
    "JWTDecodeError",
    "Kind",
    "Location",
    "MalformedRequestError",
    "MemoryBlocklist",
    "MissingCSRFTokenError",
    "MissingTokenError",
    "OnInvalid",
    "Pruned",
    "RedisBlocklist",
    "RefreshTokenRequiredError",
    "RequestToken",
    "RevokedTokenError",
    "Risk",
    "SQLAlchemyBlocklist",
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
    "current_token",
    "current_user",
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


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> object:
    # SQLAlchemy is optional, and slow to import for those who don't use it.
    if name == "SQLAlchemyBlocklist":
        from .stores.sqlalchemy import SQLAlchemyBlocklist  # noqa: PLC0415 - as said above

        return SQLAlchemyBlocklist
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
