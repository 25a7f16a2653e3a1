"""The check of a token: what is checked, and in which order.

Found, signature and claims, type, CSRF, revocation, freshness, scopes. What needs no I/O comes
first: a forged token costs no lookup, and an error about CSRF or scopes is sent to the holder of a
genuine token only. The user is loaded last, and only if the view uses it.
"""

from __future__ import annotations

import inspect
import logging
import traceback
from collections.abc import Awaitable, Callable

from werkzeug.wrappers import Request

from flask_authx.enums import UNCHECKED_ALLOWED, Location, OnError
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

from .callbacks import Callbacks, RevocationCallback, Wait
from .context import RequestContext
from .csrf import check_csrf, needs_csrf
from .locations import Finder
from .requirement import Requirement

_COOKIES = Location.COOKIES
_log = logging.getLogger("flask_authx")

#: Why a session is revoked when a replaced refresh token comes back.
USED_AGAIN = "a refresh token was used again"


class Pending(Exception):  # noqa: N818 - no error: it stops a check, as StopIteration does a loop
    """The verdict of the revocation callback must be awaited, by a caller that can."""

    def __init__(self, raw: str, token: Token, answer: Awaitable[object]) -> None:
        super().__init__()
        self.raw = raw
        self.token = token
        self.answer = answer


class Verifier:
    """Checks tokens against the requirements of guards, for one app.

    :param callbacks: the app's callbacks, which may be registered later.
    :param revocations: those in the store, if there is one.
    :param sessions: the stored sessions, if there are any.
    :param clock: seconds since 1970-01-01 UTC.
    :param wait: waits for an async revocation callback, where the caller does not await it.
    """

    def __init__(  # noqa: PLR0913 - what it checks with; made in one place
        self,
        settings: Settings,
        codec: Codec,
        callbacks: Callbacks,
        revocations: Revocations | None,
        *,
        sessions: Sessions | None,
        clock: Callable[[], float],
        wait: Wait,
    ) -> None:
        self.settings = settings
        self.codec = codec
        self.finder: Finder = Finder(settings)
        self._callbacks = callbacks
        self._revocations = revocations
        self._sessions = sessions
        self._accepts_unchecked = settings.blocklist_on_error is OnError.ACCEPT
        self._clock = clock
        self._wait = wait

    def verify(
        self,
        found: RequestToken,
        requirement: Requirement,
        request: Request | None,
        context: RequestContext,
    ) -> Token:
        """The verified token, after the whole check.

        :param request: the request, or ``None`` outside of one.
        :raises AuthXException: if the requirement is not met.
        :raises Pending: if the revocation callback is async and the caller awaits it: then
            :meth:`settle` does that, and the check is made again.
        """
        raw = found.token
        # A token is verified once a request, and is the same object for all guards.
        token = context.token if context.raw == raw else None
        if token is None:
            verdict = context.verdicts.get(raw)
            token = self.decode(raw) if verdict is None else verdict[0]
        context.suspect = token
        parsed = token.parsed
        if parsed.type is not requirement.type:
            raise self.settings.profiles[requirement.type].wrong_type()
        if found.location is _COOKIES and needs_csrf(self.settings, request):
            check_csrf(self.settings, found, token, request)
        # The first condition is also in `is_revoked`; here it spares most apps a call.
        if (
            (self._revocations is not None or self._callbacks.revoked is not None)
            and requirement.check_revocation
            and self.is_revoked(raw, token, context)
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
        """Refuse a refresh token that was replaced, or whose session has ended."""
        if requirement.replaced:
            return
        try:
            status, _ = sessions.status_of(parsed)
        except StoreError:
            raise StoreUnavailableError from None
        if status is RefreshStatus.EXPIRED:
            raise TokenExpiredError("its session has expired")
        if status is RefreshStatus.GONE:
            raise RevokedTokenError("its session has been revoked")
        if status is RefreshStatus.REUSED:
            raise ReusedTokenError(USED_AGAIN)

    def _is_fresh(self, parsed: TokenClaims, max_age: int | None) -> bool:
        # Fresh tokens are created at a log-in or a re-authentication only, so their `iat` is when
        # the user proved who they are. `auth_time` stays that of the session's log-in.
        if not parsed.fresh:
            return False
        return max_age is None or self._clock() - parsed.iat <= max_age

    def decode(self, raw: str, *, expired: bool = False) -> Token:
        """The token, if its signature and claims are valid. No store and no callback is asked.

        :param expired: whether one that has expired is accepted.
        :raises JWTDecodeError: if they are not.
        """
        return Token(self.codec.decode(raw, self._clock(), expired=expired))

    def is_revoked(self, raw: str, token: Token, context: RequestContext) -> bool:
        """Whether the store or the app's callback says so. The store is queried first, each once.

        :raises StoreUnavailableError: if that is unknown.
        :raises Pending: if the callback is async and the caller awaits it.
        """
        callback = self._callbacks.revoked
        if callback is None and self._revocations is None:
            return False
        if raw not in context.verdicts:
            # After an awaited callback the check is made again, and the store is not.
            revoked = False if context.not_in_store == raw else self._in_store(token, context)
            if revoked is False and callback is not None:
                context.not_in_store = raw
                revoked = self._by_callback(callback, raw, token, context)
            context.remember(raw, token, revoked=revoked)
        verdict = context.verdicts[raw][1]
        if verdict is None:
            # Without a cause: it may hold the token, and it has been logged.
            raise StoreUnavailableError
        return verdict

    def _in_store(self, token: Token, context: RequestContext) -> bool | None:
        """Whether the store holds a revocation; ``None`` if it fails and that matters."""
        if self._revocations is None:
            return False
        try:
            return self._revocations.is_revoked(token)
        except StoreError:
            pass
        if not self._accepts_unchecked or token.type not in UNCHECKED_ALLOWED:
            return None
        _log.warning(
            "accepted a token although its revocation could not be checked: jti=%s sid=%s",
            token.jti,
            token.sid,
        )
        context.unchecked = token
        return False

    def _by_callback(
        self, callback: RevocationCallback, raw: str, token: Token, context: RequestContext
    ) -> bool | None:
        """What the callback returns; ``None`` if it fails."""
        try:
            answer: object = callback(raw, token)
            if type(answer) is bool:
                return answer
            awaitable = answer if inspect.isawaitable(answer) else None
            if awaitable is not None and not context.can_await:
                answer, awaitable = self._wait(awaitable), None
        except Exception:  # noqa: BLE001 - whatever it is, the verdict is unknown
            return _failed(raw, token, traceback.format_exc())
        if awaitable is not None:
            raise Pending(raw, token, awaitable)
        return _checked(raw, token, answer)

    async def settle(self, pending: Pending, context: RequestContext) -> None:
        """Await the revocation callback, and remember its verdict."""
        try:
            revoked = _checked(pending.raw, pending.token, await pending.answer)
        except Exception:  # noqa: BLE001 - whatever it is, the verdict is unknown
            revoked = _failed(pending.raw, pending.token, traceback.format_exc())
        context.remember(pending.raw, pending.token, revoked=revoked)


def _checked(raw: str, token: Token, answer: object) -> bool | None:
    """``True`` or ``False``. Anything else is a failure: a forgotten ``return`` accepts nothing."""
    if type(answer) is bool:
        return answer
    what = f"it must return True or False, and returned {type(answer).__name__}"
    return _failed(raw, token, what)


def _failed(raw: str, token: Token, what: str) -> bool | None:
    # Some drivers put a statement's parameters into the message.
    for secret in (raw, *raw.split("."), token.csrf):
        what = what.replace(secret, "<token>") if secret else what
    _log.error("the revocation callback failed, so the request is refused: %s", what)
    return None
