"""The straight line of every check: what a guard asks, and the order in which it is answered.

Find, signature and claims, type, CSRF, revocation, freshness, scopes: what needs no I/O comes
first, so a forger costs no look-up, and whoever is refused for CSRF or scope has shown a genuine
token. The user comes last of all and only if the view asks for it.
"""

from __future__ import annotations

import inspect
import logging
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from werkzeug.wrappers import Request

from .callbacks import Instance
from .codec import Codec
from .cookies import check_csrf, needs_csrf
from .errors import (
    FreshTokenRequiredError,
    InsufficientScopeError,
    MissingTokenError,
    RevokedTokenError,
    StoreUnavailableError,
)
from .locations import Finder
from .settings import Settings
from .tokens import Location, RequestToken, Token, TokenType, grants

_log = logging.getLogger("flask_authx")


class OnInvalid(StrEnum):
    """What an optional guard makes of a token that is there and bad."""

    #: It is refused, as anywhere.
    ERROR = "error"
    #: The request counts as one without a token.
    IGNORE = "ignore"


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What one guard asks of a request."""

    type: TokenType = TokenType.ACCESS
    #: Whether a request without a token passes.
    optional: bool = False
    on_invalid: OnInvalid = OnInvalid.ERROR
    fresh: bool = False
    scopes: tuple[str, ...] = ()
    all_scopes: bool = True
    #: Where to look instead of where the settings say.
    locations: frozenset[Location] | None = None


@dataclass(slots=True, kw_only=True)
class Memory:
    """What has been found out during one request, so that nothing is asked twice."""

    #: The token that the last guard accepted.
    token: Token | None = None
    #: By the raw token: the verified one, and whether it is revoked.
    known: dict[str, tuple[Token, bool]] = field(default_factory=dict[str, tuple[Token, bool]])
    #: The verified token that is being looked at: whom a refusal is about.
    suspect: Token | None = None
    #: The user of :attr:`token`, once loaded, in a list of one.
    user: list[Any] = field(default_factory=list[Any])
    #: The request headers that the response already says it varies by.
    varied: set[str] = field(default_factory=set[str])


class Verifier:
    """Answers demands for one app.

    :param instance: holds the app's callbacks, which may come and change later.
    :param clock: seconds since 1970-01-01 UTC.
    """

    def __init__(
        self, settings: Settings, codec: Codec, instance: Instance, clock: Callable[[], float]
    ) -> None:
        self.settings = settings
        self.codec = codec
        self._finder = Finder(settings)
        self._instance = instance
        self._clock = clock

    async def admit(self, request: Request, demand: Demand, memory: Memory) -> Token | None:
        """The verified token of a request, or ``None`` if none came and none is needed.

        :raises AuthXException: in all other cases.
        """
        memory.suspect = None
        found = self.find(request, demand)
        if found is None:
            return None
        return await self.verify(found, demand, request.method, memory)

    def find(self, request: Request, demand: Demand) -> RequestToken | None:
        """The unverified token of a request, or ``None`` if none came and none is needed.

        :raises MissingTokenError: if none came and one is needed.
        :raises MalformedRequestError: if there are two, or half a token.
        """
        profile = self.settings.profiles[demand.type]
        allowed = self.settings.token_location if demand.locations is None else demand.locations
        found = self._finder.find(request, profile, allowed)
        if found is None and not demand.optional:
            raise MissingTokenError
        return found

    async def verify(
        self, found: RequestToken, demand: Demand, method: str | None, memory: Memory
    ) -> Token:
        """The verified token, after the whole line.

        :param method: the request's method, or ``None`` outside a request.
        """
        token = memory.suspect = self.decode(found.token, memory)
        profile = self.settings.profiles[demand.type]
        if token.type is not profile.type:
            raise profile.wrong_type()
        if needs_csrf(self.settings, found, method):
            check_csrf(self.settings, found, token)
        if await self._is_revoked(found, token, memory):
            raise RevokedTokenError
        if demand.fresh and not token.fresh:
            raise FreshTokenRequiredError
        if demand.scopes and not grants(
            token.scopes, demand.scopes, all_required=demand.all_scopes
        ):
            raise InsufficientScopeError(demand.scopes)
        return token

    def decode(self, raw: str, memory: Memory) -> Token:
        """The token, if its signature and claims are good; the times are judged at each call."""
        statement = self.codec.decode(raw, self._clock())
        known = memory.known.get(raw)
        return Token(statement) if known is None else known[0]

    async def _is_revoked(self, found: RequestToken, token: Token, memory: Memory) -> bool:
        known = memory.known.get(found.token)
        if known is None:
            known = (token, await self._answer(found.token, token))
            memory.known[found.token] = known
        return known[1]

    async def _answer(self, raw: str, token: Token) -> bool:
        """The callback's plain yes or no. Anything else is a fault, and a fault is a 503."""
        ask = self._instance.revoked
        if ask is None:
            return False
        try:
            answer: object = ask(raw, token)
            if type(answer) is not bool and inspect.isawaitable(answer):
                answer = await answer
            if type(answer) is bool:
                return answer
            fault = f"it must return True or False, and returned {type(answer).__name__}"
        except Exception:  # noqa: BLE001 - whatever it is, the answer is unknown
            # Some drivers put a statement's parameters into the message.
            fault = traceback.format_exc().replace(raw, "<token>")
        _log.error("the revocation callback failed, so the request is refused: %s", fault)
        # Raised out here, without a cause: that may hold the token, and it has been logged.
        raise StoreUnavailableError
