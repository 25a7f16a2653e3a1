"""The straight line of every check: what a guard asks, and the order in which it is answered.

Find, signature and claims, type, CSRF, revocation, freshness, scopes: what needs no I/O comes
first, so a forger costs no look-up, and whoever is refused for CSRF or scope has shown a genuine
token. The user comes last of all and only if the view asks for it.
"""

from __future__ import annotations

import inspect
import logging
import traceback
from collections.abc import Awaitable, Callable

from werkzeug.wrappers import Request

from flask_authx.enums import MAY_GO_UNCHECKED, Location, OnError
from flask_authx.errors import (
    FreshTokenRequiredError,
    InsufficientScopeError,
    ReusedTokenError,
    RevokedTokenError,
    StoreUnavailableError,
    TokenExpiredError,
)
from flask_authx.sessions.revocations import Revocations
from flask_authx.sessions.rotation import RefreshStatus, Sessions
from flask_authx.settings.options import Settings
from flask_authx.stores.base import StoreError
from flask_authx.tokens.codec import Codec
from flask_authx.tokens.scopes import grants
from flask_authx.tokens.token import RequestToken, Token, TokenClaims

from .callbacks import Callbacks, RevocationCallback
from .context import RequestContext
from .csrf import check_csrf, needs_csrf
from .locations import Finder
from .requirement import Requirement

_COOKIES = Location.COOKIES
_log = logging.getLogger("flask_authx")


#: Why a login is ended with a refresh token that had been replaced.
USED_AGAIN = "a refresh token was used again"


class Pending(Exception):  # noqa: N818 - no error: it stops the walk, as StopIteration does
    """The revocation callback has given an awaitable instead of its answer."""

    def __init__(
        self, memory: RequestContext, raw: str, token: Token, answer: Awaitable[object]
    ) -> None:
        super().__init__()
        self.memory = memory
        self.raw = raw
        self.token = token
        self.answer = answer


class Verifier:
    """Answers requirements for one app.

    :param callbacks: holds the app's callbacks, which may come and change later.
    :param revocations: what the store knows, if there is one.
    :param sessions: the logins that are kept in rows, if they are.
    :param clock: seconds since 1970-01-01 UTC.
    """

    def __init__(  # noqa: PLR0913 - what it reads, whom it asks, and the time
        self,
        settings: Settings,
        codec: Codec,
        callbacks: Callbacks,
        revocations: Revocations | None,
        *,
        sessions: Sessions | None,
        clock: Callable[[], float],
    ) -> None:
        self.settings = settings
        self.codec = codec
        self.finder: Finder = Finder(settings)
        self._callbacks = callbacks
        self._revocations = revocations
        self._sessions = sessions
        self._lenient = settings.blocklist_on_error is OnError.ACCEPT
        self._clock = clock

    def verify(
        self,
        found: RequestToken,
        requirement: Requirement,
        request: Request | None,
        memory: RequestContext,
    ) -> Token:
        """The verified token, after the whole line.

        :param request: the request, or ``None`` outside of one.
        :raises AuthXException: if the requirement isn't met.
        :raises Pending: if the revocation callback's answer must be awaited: then :meth:`settle`
            does that, and the line is walked again.
        """
        raw = found.token
        # A token is verified once a request, and is the same object for all who look at it.
        token = memory.token if memory.raw == raw else None
        if token is None:
            known = memory.known.get(raw)
            token = self.decode(raw) if known is None else known[0]
        memory.suspect = token
        parsed = token.parsed
        if parsed.type is not requirement.type:
            raise self.settings.profiles[requirement.type].wrong_type()
        if found.location is _COOKIES and needs_csrf(self.settings, request):
            check_csrf(self.settings, found, token, request)
        # Whether there is anybody to ask is asked here too: it spares most apps a call.
        if (
            (self._revocations is not None or self._callbacks.revoked is not None)
            and requirement.check_revocation
            and self.is_revoked(raw, token, memory)
        ):
            raise RevokedTokenError
        if self._sessions is not None and self.settings.profiles[requirement.type].rotates:
            self._check_status(self._sessions, parsed, requirement)
        if requirement.fresh and not self._is_fresh(parsed, requirement.max_age):
            raise FreshTokenRequiredError(requirement.max_age)
        if requirement.scopes and not grants(
            parsed.scopes, requirement.scopes, all_required=requirement.all_scopes
        ):
            raise InsufficientScopeError(requirement.scopes)
        return token

    def _check_status(
        self, sessions: Sessions, parsed: TokenClaims, requirement: Requirement
    ) -> None:
        """Refuse a token that has been replaced, and one whose login is over."""
        if requirement.replaced:
            return
        try:
            status, _ = sessions.status_of(parsed)
        except StoreError:
            raise StoreUnavailableError from None
        if status is RefreshStatus.EXPIRED:
            raise TokenExpiredError("its login has reached its end")
        if status is RefreshStatus.GONE:
            raise RevokedTokenError("its login is over")
        if status is RefreshStatus.REUSED:
            raise ReusedTokenError(USED_AGAIN)

    def _is_fresh(self, parsed: TokenClaims, max_age: int | None) -> bool:
        # Only a log-in mints fresh tokens, so when it was minted is when users proved who they are.
        # ``auth_time`` is when the login began, and stays so when they prove it again.
        if not parsed.fresh:
            return False
        return max_age is None or self._clock() - parsed.iat <= max_age

    def decode(self, raw: str, *, expired: bool = False) -> Token:
        """The token, if its signature and claims are good. Nobody is asked anything.

        :param expired: whether one that has expired is good enough.
        :raises JWTDecodeError: if they aren't.
        """
        return Token(self.codec.decode(raw, self._clock(), expired=expired))

    def is_revoked(self, raw: str, token: Token, memory: RequestContext) -> bool:
        """Whether the store or the app's callback says so. Each is asked once, the store first.

        :raises StoreUnavailableError: if that can't be found out.
        :raises Pending: if the callback's answer must be awaited.
        """
        ask = self._callbacks.revoked
        if ask is None and self._revocations is None:
            return False
        if raw not in memory.known:
            # Where the callback's answer had to be waited for, the store has been asked already.
            verdict = False if memory.cleared == raw else self._stored(token, memory)
            if verdict is False and ask is not None:
                memory.cleared = raw
                verdict = self._answer(ask, raw, token, memory)
            memory.remember(raw, token, verdict)
        verdict = memory.known[raw][1]
        if verdict is None:
            # Without a cause: that may hold the token, and it has been logged.
            raise StoreUnavailableError
        return verdict

    def _stored(self, token: Token, memory: RequestContext) -> bool | None:
        """What the store says; ``None`` if it can't say and that matters."""
        if self._revocations is None:
            return False
        try:
            return self._revocations.is_revoked(token)
        except StoreError:
            pass
        if not self._lenient or token.type not in MAY_GO_UNCHECKED:
            return None
        _log.warning(
            "accepted without knowing whether it is revoked: jti=%s sid=%s", token.jti, token.sid
        )
        memory.unchecked = token
        return False

    def _answer(
        self, ask: RevocationCallback, raw: str, token: Token, memory: RequestContext
    ) -> bool | None:
        """What the callback says; ``None`` if that is neither yes nor no."""
        try:
            answer: object = ask(raw, token)
        except Exception:  # noqa: BLE001 - whatever it is, the answer is unknown
            return _fault(raw, token, traceback.format_exc())
        if type(answer) is not bool and inspect.isawaitable(answer):
            raise Pending(memory, raw, token, answer)
        return _plain(raw, token, answer)

    async def settle(self, pending: Pending) -> None:
        """Wait for the revocation callback's answer, and remember it."""
        try:
            verdict = _plain(pending.raw, pending.token, await pending.answer)
        except Exception:  # noqa: BLE001 - whatever it is, the answer is unknown
            verdict = _fault(pending.raw, pending.token, traceback.format_exc())
        pending.memory.remember(pending.raw, pending.token, verdict)

    def give_up(self, pending: Pending) -> None:
        """Remember that there is no way to wait for the answer."""
        verdict = _fault(pending.raw, pending.token, traceback.format_exc())
        if inspect.iscoroutine(pending.answer):
            pending.answer.close()
        pending.memory.remember(pending.raw, pending.token, verdict)


def _plain(raw: str, token: Token, answer: object) -> bool | None:
    """A plain yes or no. Anything else is a fault: a forgotten ``return`` must not let pass."""
    if type(answer) is bool:
        return answer
    what = f"it must return True or False, and returned {type(answer).__name__}"
    return _fault(raw, token, what)


def _fault(raw: str, token: Token, what: str) -> bool | None:
    # Some drivers put a statement's parameters into the message.
    for secret in (raw, *raw.split("."), token.csrf):
        what = what.replace(secret, "<token>") if secret else what
    _log.error("the revocation callback failed, so the request is refused: %s", what)
    return None
