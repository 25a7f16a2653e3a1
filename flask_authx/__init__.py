"""JWT authentication for Flask with tokens that can be revoked."""

import importlib.util
import typing

from .app.identity import current_token, current_user
from .enums import Location, OnInvalid, TokenType
from .errors import (
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
from .extension import AuthX
from .sessions.readiness import Readiness
from .signals import (
    all_revoked,
    refresh_reuse_detected,
    revoked_token_used,
    session_refreshed,
    session_revoked,
    store_failed,
    store_recovered,
    subject_revoked,
    token_accepted,
    token_refused,
    token_revoked,
    token_unchecked,
)
from .stores.base import Pruned, Risk, StoreBusyError
from .stores.blocklist import Blocklist, Cutoff, Dated, Entry, Kind
from .stores.session_store import NewSession, Session, SessionStore, Visit
from .tokens.token import RequestToken, Token, TokenPair

if typing.TYPE_CHECKING:
    __version__: str
    from .stores.memory import MemoryBlocklist as MemoryBlocklist
    from .stores.memory import MemorySessions as MemorySessions
    from .stores.redis.revocations import RedisBlocklist as RedisBlocklist
    from .stores.redis.sessions import RedisSessions as RedisSessions
    from .stores.sql.revocations import SQLAlchemyBlocklist as SQLAlchemyBlocklist
    from .stores.sql.sessions import SQLAlchemySessions as SQLAlchemySessions

__all__ = [
    "AccessTokenRequiredError",
    "AuthX",
    "AuthXException",
    "BadConfigurationError",
    "Blocklist",
    "CSRFError",
    "ClaimsRefusedError",
    "CrossOriginError",
    "Cutoff",
    "Dated",
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
    "NewSession",
    "OnInvalid",
    "Pruned",
    "Readiness",
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
    "all_revoked",
    "current_token",
    "current_user",
    "refresh_reuse_detected",
    "revoked_token_used",
    "session_refreshed",
    "session_revoked",
    "store_failed",
    "store_recovered",
    "subject_revoked",
    "token_accepted",
    "token_refused",
    "token_revoked",
    "token_unchecked",
]

#: Stores are imported when they are first used: an app has one kind at most, and most of them need
#: an optional package.
_STORES = {
    "MemoryBlocklist": "memory",
    "MemorySessions": "memory",
    "RedisBlocklist": "redis.revocations",
    "RedisSessions": "redis.sessions",
    "SQLAlchemyBlocklist": "sql.revocations",
    "SQLAlchemySessions": "sql.sessions",
}


def _is_installed(package: str) -> bool:
    """Whether a package can be imported. A folder of that name without code is none."""
    try:
        spec = importlib.util.find_spec(package)
    except ValueError:
        # A stand-in that was put into sys.modules.
        return True
    return spec is not None and spec.has_location


# ``from flask_authx import *`` works without the optional packages.
if not _is_installed("redis"):
    __all__.remove("RedisBlocklist")
    __all__.remove("RedisSessions")
if not _is_installed("sqlalchemy"):
    __all__.remove("SQLAlchemyBlocklist")
    __all__.remove("SQLAlchemySessions")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})


def __getattr__(name: str) -> object:
    if name == "__version__":
        # Of the installed distribution: pyproject.toml alone says it. Its metadata is a file, which
        # no request needs.
        return importlib.import_module("importlib.metadata").version("flask-authx")
    if name in _STORES:
        module = importlib.import_module(f"{__name__}.stores.{_STORES[name]}")
        store: object = getattr(module, name)
        return store
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
