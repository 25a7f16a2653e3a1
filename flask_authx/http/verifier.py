"""The check of a token: what is checked, and in which order.

Signature and claims, type, CSRF, companion of a refresh cookie, revocation, rotation, the app's
check of claims, freshness, scopes. A forged token is refused first: it costs no lookup, and an
error about CSRF or scopes is sent to the holder of a genuine token only. The user is loaded later,
if the guard or the view asks for it.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable

from werkzeug.wrappers import Request

from flask_authx.enums import UNCHECKED_ALLOWED, Location, OnError
from flask_authx.errors import (
    AuthXException,
    ClaimsRefusedError,
    FreshTokenRequiredError,
    InsufficientScopeError,
    ReusedTokenError,
    RevokedTokenError,
    StoreUnavailableError,
    TokenExpiredError,
)
from flask_authx.sessions.lookups import Lookups
from flask_authx.sessions.rotation import RefreshStatus, Sessions
from flask_authx.settings.options import Settings
from flask_authx.stores.base import StoreBusyError, StoreError
from flask_authx.tokens.codec import Codec
from flask_authx.tokens.scopes import grants
from flask_authx.tokens.token import RequestToken, Token, TokenClaims, located
from flask_authx.tracebacks import outline

from .callbacks import Callbacks, ClaimsCheck, RevocationCallback, Wait
from .context import RequestContext
from .csrf import check_cookie
from .locations import Finder
from .requirement import Requirement

_COOKIES = Location.COOKIES
_log = logging.getLogger("flask_authx")

#: The reason of a revocation for reuse of a refresh token.
REUSE_REASON = "a refresh token was used again"
#: Why a token is refused as revoked, by whether the callback says so.
_REVOKED = (
    "the store has a revocation of the token, its session or its user",
    "the revocation callback returned True",
)
#: Why it is unknown whether a token is revoked.
_CALLBACK_FAILED = "the revocation callback has failed"
_CLAIMS_CHECK_FAILED = "the callback that checks claims has failed"


class Pending(Exception):  # noqa: N818 - no error: it stops a check, as StopIteration does a loop
    """The revocation callback is async, and the caller of the check awaits it."""

    def __init__(self, raw: str, token: Token, result: Awaitable[object]) -> None:
        super().__init__()
        self.raw = raw
        self.token = token
        self.result = result


class Verifier:
    """Checks tokens against the requirements of guards, for one app.

    :param callbacks: the app's callbacks, which may be registered later.
    :param revocations: those in the store; ``None`` if there is no store.
    :param sessions: the stored sessions; ``None`` if sessions are not stored.
    :param clock: seconds since 1970-01-01 UTC.
    :param wait: waits for an async revocation callback, where the caller does not await it.
    """

    def __init__(  # noqa: PLR0913 - what it checks with; made in one place
        self,
        settings: Settings,
        codec: Codec,
        callbacks: Callbacks,
        revocations: Lookups | None,
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
        *,
        can_await: bool = False,
    ) -> Token:
        """The verified token, after the whole check.

        :param request: the request, or ``None`` outside of one.
        :param can_await: whether the caller awaits an async revocation callback itself.
        :raises AuthXException: if the requirement is not met.
        :raises Pending: if it does: by :meth:`await_verdict`, after which the check is made again.
        """
        raw = found.token
        # A token is verified once a request, and is the same object for all guards.
        known = context.token if context.raw == raw else None
        if known is None and raw in context.verdicts:
            known = context.verdicts[raw][0]
        where = found.location
        token = self.decode(raw, where) if known is None else located(known, where)
        context.candidate = token
        parsed = token.parsed
        if parsed.type is not requirement.type:
            raise self.settings.profiles[requirement.type].wrong_type(
                f"the type of the token is {parsed.type}"
            )
        if where is _COOKIES:
            check_cookie(self.settings, found, token, request)
        revocable = self._revocations is not None or self._callbacks.is_revoked is not None
        if (
            revocable
            and requirement.check_revocation
            and self.is_revoked(raw, token, context, can_await=can_await)
        ):
            raise RevokedTokenError(_REVOKED[context.not_in_store == raw])
        if self._sessions is not None and self.settings.profiles[requirement.type].rotates:
            _check_rotation(self._sessions, parsed, requirement)
        if self._callbacks.verify_claims is not None:
            self._check_claims(self._callbacks.verify_claims, raw, token, context)
        if requirement.fresh:
            self._check_fresh(parsed, requirement.max_age)
        if requirement.scopes and not _has_scopes(parsed, requirement):
            raise InsufficientScopeError(requirement.scopes)
        return token

    def _check_fresh(self, parsed: TokenClaims, max_age: int | None) -> None:
        if not parsed.fresh:
            raise FreshTokenRequiredError(max_age, "the token was not created at a log-in")
        # Fresh tokens are created only when the user has logged in or re-authenticated, so that is
        # their `iat`. `auth_time` stays that of the log-in. The leeway is as for an expiry: another
        # machine, whose clock differs, may have created the token.
        if (
            max_age is not None
            and self._clock() - parsed.iat > max_age + self.settings.decode_leeway
        ):
            raise FreshTokenRequiredError(max_age, "the log-in was longer ago than max_age=")

    def decode(self, raw: str, location: Location | None = None, *, expired: bool = False) -> Token:
        """The token, if its signature and claims are valid. Its revocation is not checked.

        :param location: where it was found.
        :param expired: whether an expired token is accepted.
        :raises JWTDecodeError: if it is invalid.
        """
        now = self._clock()
        parsed = self.codec.decode(raw, now, expired=expired)
        if not expired:
            return Token(parsed, location)
        has_expired = now >= parsed.exp + self.settings.decode_leeway
        return Token(parsed, location, expired=has_expired)

    def is_revoked(
        self, raw: str, token: Token, context: RequestContext, *, can_await: bool = False
    ) -> bool:
        """Whether a token is revoked, by the store or by the app's callback.

        The store is queried first. Each is queried once in a request.

        :raises StoreUnavailableError: if that could not be checked.
        :raises Pending: if the callback is async and the caller awaits it.
        """
        callback = self._callbacks.is_revoked
        if raw not in context.verdicts:
            # The check is made again after an awaited callback, without a second query.
            revoked: bool | str = False
            if context.not_in_store != raw:
                revoked = self._in_store(token, context)
            if revoked is False and callback is not None:
                context.not_in_store = raw
                revoked = self._by_callback(callback, raw, token, can_await=can_await)
            context.remember(raw, token, revoked=revoked)
        verdict = context.verdicts[raw][1]
        if isinstance(verdict, str):
            # Without a cause, which may hold the token. It has been logged.
            raise StoreUnavailableError(verdict)
        return verdict

    def _check_claims(
        self, check: ClaimsCheck, raw: str, token: Token, context: RequestContext
    ) -> None:
        """Refuse a token whose claims the app does not accept. It is asked once in a request.

        :raises AuthXException: that of the app, or that it returned ``False`` or has failed.
        """
        if raw not in context.claims_answers:
            answer = self._answer_of(check, token)
            context.claims_answers = {**context.claims_answers, raw: answer}
        answer = context.claims_answers[raw]
        if answer is True:
            return
        if answer is False:
            raise ClaimsRefusedError("the callback that checks claims returned False")
        if isinstance(answer, str):
            what = "The token can't be checked right now"
            raise StoreUnavailableError(answer, description=what)
        # Of an earlier guard, whose frames it would keep alive.
        raise answer.with_traceback(None)

    def _answer_of(self, check: ClaimsCheck, token: Token) -> bool | str | AuthXException:
        """Whether the app accepts the claims, the error that it raised, or that it has failed."""
        try:
            answer: object = check(token.claims)
            if inspect.isawaitable(answer):
                answer = self._wait(answer)
        except AuthXException as error:
            error.reason_is_logged = False
            return error
        except Exception as error:  # noqa: BLE001 - whatever it is, there is no answer
            # Without its words: it has been given the claims.
            what = f"it raised {outline(error)}"
        else:
            if type(answer) is bool:
                return answer
            what = f"it must return True or False, and returned {type(answer).__name__}"
        _log.error("the callback that checks claims failed, so the request is refused: %s", what)
        return _CLAIMS_CHECK_FAILED

    def _in_store(self, token: Token, context: RequestContext) -> bool | str:
        """Whether the store has a revocation, or why that could not be checked."""
        if self._revocations is None:
            return False
        try:
            return self._revocations.is_revoked(token)
        except StoreBusyError:
            # Whatever the setting: the store has not failed, and an attacker can keep it busy.
            return StoreBusyError.reason
        except StoreError:
            pass
        # One call that failed may have met a slow answer: a revoked token that is sent often enough
        # would pass while the store works.
        accepts = self._accepts_unchecked and token.type in UNCHECKED_ALLOWED
        if not accepts or not self._revocations.is_down():
            return StoreError.reason
        _log.warning(
            "accepted a token although its revocation could not be checked: jti=%s sid=%s",
            token.jti,
            token.sid,
        )
        context.unchecked = token
        return False

    def _by_callback(
        self, callback: RevocationCallback, raw: str, token: Token, *, can_await: bool
    ) -> bool | str:
        """What the callback returns, or that it has failed."""
        try:
            result: object = callback(raw, token)
            if type(result) is bool:
                return result
            awaitable = result if inspect.isawaitable(result) else None
            if awaitable is not None and not can_await:
                result, awaitable = self._wait(awaitable), None
        except Exception as error:  # noqa: BLE001 - whatever it is, the verdict is unknown
            _log_failure(outline(error))
            return _CALLBACK_FAILED
        if awaitable is not None:
            raise Pending(raw, token, awaitable)
        return _verdict(result)

    async def await_verdict(self, pending: Pending, context: RequestContext) -> None:
        """Await the revocation callback, and keep its verdict in the context."""
        revoked: bool | str = _CALLBACK_FAILED
        try:
            revoked = _verdict(await pending.result)
        except Exception as error:  # noqa: BLE001 - whatever it is, the verdict is unknown
            _log_failure(outline(error))
        context.remember(pending.raw, pending.token, revoked=revoked)


def _has_scopes(parsed: TokenClaims, requirement: Requirement) -> bool:
    return grants(parsed.scopes, requirement.scopes, all_required=requirement.all_scopes)


def _check_rotation(sessions: Sessions, parsed: TokenClaims, requirement: Requirement) -> None:
    """Refuse a refresh token that was replaced, or whose session has expired or was revoked."""
    if not requirement.check_rotation:
        return
    try:
        status, _ = sessions.status_of(parsed)
    except StoreError as error:
        raise StoreUnavailableError(error.reason) from None
    if status is RefreshStatus.EXPIRED:
        raise TokenExpiredError("its session has expired")
    if status is RefreshStatus.NOT_FOUND:
        raise RevokedTokenError("its session has been revoked")
    if status is RefreshStatus.REUSED:
        raise ReusedTokenError(REUSE_REASON)


def _verdict(result: object) -> bool | str:
    """The result of the callback. Any but ``True`` and ``False`` is a failure."""
    if type(result) is bool:
        return result
    _log_failure(f"it must return True or False, and returned {type(result).__name__}")
    return _CALLBACK_FAILED


def _log_failure(what: str) -> None:
    _log.error("the revocation callback failed, so the request is refused: %s", what)
