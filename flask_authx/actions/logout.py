"""Logging out: the logins of the tokens that a request carries are ended, even expired ones."""

from __future__ import annotations

import contextlib

from flask import Request

from flask_authx.app.state import AppState, this_request
from flask_authx.enums import Location, TokenType
from flask_authx.errors import AuthXException, JWTDecodeError, MalformedRequestError
from flask_authx.http.csrf import check_csrf, check_origin, needs_csrf
from flask_authx.stores.base import StoreError
from flask_authx.tokens.token import RequestToken, Token

from . import revoke

_COOKIES = frozenset({Location.COOKIES})


def logout(state: AppState, reason: str | None) -> bool:
    """Revoke the login that the request's token belongs to, if there is a token.

    An expired one will do: its login may live on in a refresh token. A forged one is refused, and
    one from a cookie needs its CSRF value as anywhere. Where the cookies are of two logins, both
    are ended.

    :returns: whether nothing is left in the cookies that goes on, as far as was asked for.
    :raises AuthXException: if the token isn't good, or the revocation could not be written.
    """
    # That there is none is said before anything else.
    revoke.store_of(state)
    try:
        sent = _sent(state, this_request())
    except AuthXException as error:
        state.dress(error)
        raise
    for _, token in sent:
        end(state, token, reason)
    return not sent or any(location is Location.COOKIES for location, _ in sent)


def end(state: AppState, token: Token, reason: str | None) -> None:
    """Revoke the login of a token, unless it is over already.

    :raises StoreUnavailableError: if it could not be written.
    """
    revocations = revoke.store_of(state)
    if token.sid != token.jti:
        if not _is_over(state, token):
            revoke.revoke_session(state, token.sid, reason, actor=token.sub)
    elif revocations.now() < token.exp + state.settings.decode_leeway:
        # Another library's token, which has no login beside itself.
        revoke.revoke_token(state, token, reason, actor=token.sub)


def in_cookies(state: AppState, current: Request) -> list[Token]:
    """The tokens in a request's cookies, expired or not, one of each login."""
    found: dict[str, Token] = {}
    for type in TokenType:
        # Whatever is wrong with the others, they are of no use to anybody.
        with contextlib.suppress(AuthXException):
            cookie = state.verifier.finder.find(current, type, _COOKIES)
            if cookie is not None:
                token = state.verifier.decode(cookie.token, expired=True)
                found[token.sid] = token
    return [*found.values()]


def _is_over(state: AppState, token: Token) -> bool:
    """Whether a login has been ended before, so that nothing is written again."""
    try:
        over = revoke.store_of(state).is_login_over(token)
    except StoreError:
        # Writing says what there is to say.
        return False
    if over:
        # If whoever ended it was killed meanwhile, its row is still there.
        revoke.remove_row(state, token.sid)
    return over


def _sent(state: AppState, current: Request) -> list[tuple[Location, Token]]:
    """The good tokens of a request, one of each login, expired or not, and where each was.

    :raises AuthXException: if there are some and none of them is good.
    """
    good: dict[str, tuple[Location, Token]] = {}
    refusal: AuthXException | None = None
    deliberate = False
    for type in TokenType:
        found: RequestToken | None = None
        try:
            found = state.verifier.finder.find(current, type, None)
            if found is None:
                continue
            token = state.verifier.decode(found.token, expired=True)
        except (JWTDecodeError, MalformedRequestError) as error:
            # A cookie from before a change of keys, or one of two, keeps nobody from logging out
            # by the other.
            refusal = refusal or error
            deliberate |= found is not None and found.location in _DELIBERATE
            continue
        if _may_end(state, current, found, token, first=not good):
            good.setdefault(token.sid, (found.location, token))
    if not good:
        if not deliberate:
            _check_origin(state, current)
        if refusal is not None:
            raise refusal
    return [*good.values()]


#: Where no page of another site can put a token without being allowed to.
_DELIBERATE = (Location.HEADERS, Location.JSON)


def _may_end(
    state: AppState, current: Request, found: RequestToken, token: Token, *, first: bool
) -> bool:
    """Whether a token is sent by its owner's own doing; the first one must be.

    :raises CSRFError: if the first one isn't.
    """
    if found.location is Location.QUERY:
        _check_origin(state, current)
    if found.location is Location.COOKIES and needs_csrf(state.settings, current):
        try:
            # A page that is older than the browser's access cookie has that one's value. Both are
            # proofs of the same login, which is what is to be ended.
            check_csrf(state.settings, found, token, current, state.creator.csrf_values(token.sid))
        except AuthXException:
            if first:
                raise
            return False
    return True


def _check_origin(state: AppState, current: Request) -> None:
    """Refuse what has no CSRF value to check and may come from another site's page.

    The answer to a log-out makes the browser forget its cookies, whether or not they were sent.
    """
    if state.settings.uses_cookies:
        check_origin(state.settings, current, silent=True)
