"""What sessions that are kept in rows promise, as a model without stores, tokens or signatures."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias

#: Seconds. Nothing else in the settings is about time.
ACCESS, IDLE, LIFETIME, GRACE, LEEWAY = 300, 1000, 1500, 60, 10
#: Sessions that a user may have.
MOST = 2
SETTINGS = {
    "JWT_SESSIONS": True,
    "JWT_ACCESS_TOKEN_EXPIRES": ACCESS,
    "JWT_REFRESH_TOKEN_EXPIRES": IDLE,
    # An entry among the revocations is forgotten after about so long.
    "JWT_MAX_TOKEN_LIFETIME": IDLE,
    "JWT_SESSION_LIFETIME": LIFETIME,
    "JWT_REFRESH_GRACE": GRACE,
    "JWT_DECODE_LEEWAY": LEEWAY,
    "JWT_MAX_SESSIONS": MOST,
}

Scopes: TypeAlias = frozenset[str]


class Met(Enum):
    """What a refresh token may be, and the errors of which a refresh then raises one."""

    CURRENT = "current"
    PREDECESSOR = "predecessor"
    REUSED = ("ReusedTokenError",)
    EXPIRED = ("TokenExpiredError",)
    REVOKED = ("RevokedTokenError",)
    #: Its session has reached its end, and the row may have been removed.
    ENDED = ("TokenExpiredError", "RevokedTokenError")
    TOO_MUCH = ("InsufficientScopeError",)


@dataclass
class Made:
    """A token, and what it was made with."""

    raw: str
    exp: int
    generation: int

    def is_expired(self, now: int) -> bool:
        return now >= self.exp + LEEWAY


@dataclass(eq=False)
class Model:
    """What a session is to be."""

    sid: str
    sub: str
    #: When the user logged in, in microseconds, as its tokens say: it may be dated ahead.
    began: int
    #: By the store's clock, in seconds.
    opened: int
    last_seen: int
    scopes: Scopes
    generation: int = 0
    revoked: bool = False
    access: list[Made] = field(default_factory=list[Made])
    refresh: list[Made] = field(default_factory=list[Made])

    @property
    def ends(self) -> int:
        return self.opened + LIFETIME

    @property
    def expires(self) -> int:
        return min(self.last_seen + IDLE, self.ends)

    def lives(self, now: int) -> bool:
        return not self.revoked and now < self.expires

    def rotate(self, now: int) -> None:
        self.generation += 1
        self.last_seen = now

    def judge(self, token: Made, asked: Scopes | None, now: int, grace: int = GRACE) -> Met:
        """What a refresh token is, in the order in which it is found out."""
        if token.is_expired(now):
            return Met.EXPIRED
        if self.revoked:
            return Met.REVOKED
        if asked is not None and not asked <= self.scopes:
            return Met.TOO_MUCH
        if now >= self.expires:
            return Met.ENDED
        if token.generation == self.generation:
            return Met.CURRENT
        if token.generation == self.generation - 1 and now - self.last_seen < grace:
            return Met.PREDECESSOR
        return Met.REUSED
