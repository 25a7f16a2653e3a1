"""What logins that are kept in rows promise, as a model without stores, tokens or signatures."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias

#: Seconds. Nothing else in the settings is about time.
ACCESS, IDLE, LIFETIME, GRACE, LEEWAY = 300, 1000, 1500, 60, 10
#: Logins that a user may have.
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
    OLD = ("TokenExpiredError",)
    OVER = ("RevokedTokenError",)
    #: Its login has reached its end, and the row may have been removed.
    ENDED = ("TokenExpiredError", "RevokedTokenError")
    TOO_MUCH = ("InsufficientScopeError",)


@dataclass
class Made:
    """A token, and what it was made with."""

    raw: str
    exp: int
    generation: int

    def is_old(self, now: int) -> bool:
        return now >= self.exp + LEEWAY


@dataclass(eq=False)
class Model:
    """What a login is to be."""

    sid: str
    sub: str
    created: int
    last_seen: int
    scopes: Scopes
    generation: int = 0
    over: bool = False
    access: list[Made] = field(default_factory=list[Made])
    refresh: list[Made] = field(default_factory=list[Made])

    @property
    def ends(self) -> int:
        return self.created + LIFETIME

    @property
    def expires(self) -> int:
        return min(self.last_seen + IDLE, self.ends)

    def lives(self, now: int) -> bool:
        return not self.over and now < self.expires

    def rotate(self, now: int) -> None:
        self.generation += 1
        self.last_seen = now

    def judge(self, token: Made, asked: Scopes | None, now: int) -> Met:
        """What a refresh token is, in the order in which it is found out."""
        if token.is_old(now):
            return Met.OLD
        if self.over:
            return Met.OVER
        if asked is not None and not asked <= self.scopes:
            return Met.TOO_MUCH
        if now >= self.expires:
            return Met.ENDED
        if token.generation == self.generation:
            return Met.CURRENT
        if token.generation == self.generation - 1 and now - self.last_seen < GRACE:
            return Met.PREDECESSOR
        return Met.REUSED
