"""Logging out: the login of whichever token a request carries is ended, even if it has expired."""

from __future__ import annotations

from flask import Flask, Request

from . import revoking
from .context import AppState, this_request
from .csrf import check_csrf, check_origin, needs_csrf
from .errors import AuthXException, JWTDecodeError
from .stores.entries import StoreError
from .tokens import Location, Token, TokenType


def logout(app: Flask, state: AppState, reason: str | None) -> None:
    """Revoke the login that the request's token belongs to, if there is a token.

    An expired one will do: its login may live on in a refresh token. A forged one is refused, and
    one from a cookie needs its CSRF value as anywhere.

    :raises AuthXException: if the token isn't good, or the revocation could not be written.
    """
    revocations = revoking.store_of(state)
    try:
        token = _sent(state, this_request())
    except AuthXException as error:
        state.dress(error)
        raise
    if token is None:
        return
    if token.sid != token.jti:
        if _is_over(state, token):
            return
        revoking.revoke_session(app, state, token.sid, reason, actor=token.sub)
    elif revocations.now() < token.exp + state.settings.decode_leeway:
        # Another library's token, which has no login beside itself.
        revoking.revoke_token(app, state, token, reason, actor=token.sub)


def _is_over(state: AppState, token: Token) -> bool:
    """Whether a login has been ended before, so that nothing is written again."""
    try:
        over = revoking.store_of(state).is_login_over(token)
    except StoreError:
        # Writing says what there is to say.
        return False
    if over:
        # If whoever ended it was killed meanwhile, its row is still there.
        revoking.remove_row(state, token.sid)
    return over


def _sent(state: AppState, current: Request) -> Token | None:
    """The first good token of a request, of either type, expired or not; ``None`` if it has none.

    :raises AuthXException: if there is one and none of them is good.
    """
    refusal: JWTDecodeError | None = None
    for type in TokenType:
        found = state.verifier.finder.find(current, type, None)
        if found is None:
            continue
        try:
            token = state.verifier.decode(found.token, expired=True)
        except JWTDecodeError as error:
            # A cookie from before a change of keys keeps nobody from logging out by the other.
            refusal = refusal or error
            continue
        if found.location is Location.QUERY:
            # Any page can send one.
            _check_origin(state, current)
        if found.location is Location.COOKIES and needs_csrf(state.settings, current):
            # A page that is older than the browser's access cookie has that one's value. Both are
            # proofs of the same login, which is what is to be ended.
            check_csrf(state.settings, found, token, current, state.mint.csrf_values(token.sid))
        return token
    _check_origin(state, current)
    if refusal is not None:
        raise refusal
    return None


def _check_origin(state: AppState, current: Request) -> None:
    """Refuse what has no CSRF value to check and may come from another site's page.

    The answer to a log-out makes the browser forget its cookies, whether or not they were sent.
    """
    if state.settings.uses_cookies:
        check_origin(state.settings, current, silent=True)
