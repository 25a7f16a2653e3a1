"""The blueprint: refresh, log-out and the list of a user's sessions, ready to be registered.

The response to a token from a cookie sets cookies, and to any other it is JSON: a script never gets
a token that came from an HttpOnly cookie.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any, cast
from uuid import UUID

from flask import Blueprint, Request, Response, jsonify
from werkzeug.exceptions import NotFound

from flask_authx.actions.list_sessions import active_sessions, find_session
from flask_authx.actions.login import open_session
from flask_authx.actions.logout import (
    can_spare_access_cookie,
    log_out,
    revoke_session_of,
    revoke_sessions_of,
    tokens_in_cookies,
)
from flask_authx.actions.refresh import refresh
from flask_authx.actions.revoke import revoke_session, revoke_subject
from flask_authx.actions.set_cookies import (
    set_pair_cookies,
    unset_access_token,
    unset_cookies,
)
from flask_authx.app.identity import accepted_token
from flask_authx.app.state import AppState, state_of, this_app, this_request
from flask_authx.app.view_registry import mark_built_in, mark_public
from flask_authx.guards.check import check_origin
from flask_authx.guards.decorators import guard
from flask_authx.http.body import check_reading
from flask_authx.http.caching import no_store
from flask_authx.http.callbacks import Authenticate, Callbacks
from flask_authx.http.requirement import Requirement
from flask_authx.startup import READY
from flask_authx.stores.session_store import Session
from flask_authx.tokens.new_token import TokenOptions
from flask_authx.tokens.token import Token, TokenPair
from flask_authx.tracebacks import outline

from .enums import Location, TokenType
from .errors import (
    JWTDecodeError,
    LoginFailedError,
    MalformedRequestError,
    SessionNotFoundError,
    StoreUnavailableError,
)

_log = logging.getLogger("flask_authx")


#: The views that look at no token.
_OPEN = ("login", READY)


def make_blueprint(
    callbacks: Callbacks,
    url_prefix: str | None,
    name: str,
    authenticate: Authenticate | None,
    *,
    ready: bool,
) -> Blueprint:
    """A new blueprint of an ``AuthX`` object."""
    blueprint = Blueprint(name, __name__, url_prefix=url_prefix)
    mark_built_in(callbacks, blueprint)
    views = _Views(callbacks)
    guarded = functools.partial(guard, callbacks, Requirement())
    routes: list[tuple[str, str, Callable[..., Response], str]] = [
        ("/refresh", "refresh", views.refresh, "POST"),
        ("/logout", "logout", views.logout, "POST"),
        ("/sessions", "sessions", guarded(views.sessions), "GET"),
        ("/sessions", "end_others", guarded(views.end_others), "DELETE"),
        ("/sessions/<sid>", "end_session", guarded(views.end_session), "DELETE"),
    ]
    if authenticate is not None:
        routes.append(("/login", "login", views.login(authenticate), "POST"))
    if ready:
        routes.append(("/ready", READY, views.ready, "GET"))
    for rule, endpoint, view, method in routes:
        worded = _worded(callbacks, view)
        mark_built_in(callbacks, worded)
        if endpoint in _OPEN:
            mark_public(callbacks, worded)
        blueprint.add_url_rule(rule, endpoint, worded, methods=[method])
    blueprint.after_request(no_store)
    return blueprint


def _worded(callbacks: Callbacks, view: Callable[..., Response]) -> Callable[..., Response]:
    """A view of this blueprint, whose errors have the app's realm and message key."""

    @functools.wraps(view)
    def worded(**values: Any) -> Response:
        state = state_of(this_app(), callbacks)
        if state.sessions is None and view.__name__ != READY:
            # It was registered for the sake of the readiness probe.
            raise NotFound
        with state.worded:
            return view(**values)

    return worded


class _Views:
    """The views, for every app that the blueprint is registered on."""

    def __init__(self, callbacks: Callbacks) -> None:
        self._callbacks = callbacks

    def login(self, authenticate: Authenticate) -> Callable[[], Response]:
        """The view that opens a session for the user whom the app's check returns."""

        def view() -> Response:
            state, current = self._state(), this_request()
            if state.uses_cookies:
                # There is no token yet whose CSRF value could be checked. An attacker who logs a
                # user into the attacker's account gets what the user enters (login CSRF).
                check_origin(state, current)
            # Anybody can send the body that the check reads.
            check_reading(current)
            uid: object = state.app.ensure_sync(authenticate)()
            if uid is None or uid is False:
                raise LoginFailedError("the callback authenticate= returned None")
            uid = cast(object, state.callbacks.uid_of(uid))
            if not isinstance(uid, (str, int, UUID)) or isinstance(uid, bool):
                raise TypeError(
                    "authenticate= must return the uid of the user who logs in, or None to refuse, "
                    f"not {type(uid).__name__}"
                )
            in_cookies = _from_browser(state, current)
            former = tokens_in_cookies(state, current) if in_cookies else []
            replaces = {token.sid for token in former}
            options = TokenOptions(fresh=True)
            pair = open_session(state, uid, options, None, in_cookies=in_cookies, replaces=replaces)
            for token in former:
                _revoke_former(state, token)
            return _pair_response(state, pair, in_cookies=in_cookies)

        return view

    def refresh(self) -> Response:
        """New tokens for a refresh token, which they replace."""
        state = self._state()
        pair = refresh(state, None, None, None)
        in_cookies = _came_in_cookie(state, TokenType.REFRESH)
        return _pair_response(state, pair, in_cookies=in_cookies)

    def logout(self) -> Response:
        """Revoke the session of the request's token, which may have expired."""
        state = self._state()
        return _logged_out(state, lambda: log_out(state, None), can_spare_access_cookie)

    def sessions(self) -> Response:
        """The user's sessions, the latest first, and which of them is the current one."""
        state, token = self._owner()
        listed = active_sessions(state, token.sub)
        return jsonify(sessions=[_to_json(session, token) for session in listed])

    def end_session(self, sid: str) -> Response:
        """Revoke one of the user's sessions."""
        state, token = self._owner()
        _check_owner(state, sid, token)
        if sid == token.sid:
            return _logged_out(state, functools.partial(_revoke_own, state, token))
        revoke_session(state, sid, None)
        return Response(status=204)

    def end_others(self) -> Response:
        """Revoke all of the user's sessions but the current one."""
        state, token = self._owner()
        revoke_subject(state, token.sub, token.sid, None)
        return Response(status=204)

    def ready(self) -> Response:
        """Whether the stores answer. It contains nothing that anybody may not know."""
        answer = self._state().ready()
        response = jsonify(ready=bool(answer), stores=dict(answer.stores))
        response.status_code = 200 if answer else 503
        return response

    def _state(self) -> AppState:
        return state_of(this_app(), self._callbacks)

    def _owner(self) -> tuple[AppState, Token]:
        """The request's token. Without a stored session of its own it can't manage others."""
        state = self._state()
        token = accepted_token(state)
        if token is None:
            raise RuntimeError("the guard of this view has accepted no token")
        _check_owner(state, token.sid, token)
        return state, token


def _revoke_former(state: AppState, token: Token) -> None:
    """Revoke the session whose cookies a new one overwrites (ASVS 7.2.4)."""
    try:
        revoke_session_of(state, token, "another log-in in its browser")
    except Exception as error:  # noqa: BLE001 - whatever fails, the new session is open
        what = "a session that a new one replaces was not revoked: sid=%s: %s"
        _log.error(what, token.sid, outline(error))


def _revoke_own(state: AppState, token: Token) -> bool:
    """Revoke the request's own session, and return whether its token came in a cookie."""
    revoke_sessions_of(state, [token], None)
    return _came_in_cookie(state, token.type)


def _check_owner(state: AppState, sid: str, token: Token) -> None:
    """Refuse the sid of a session that is not the token's user's.

    :raises SessionNotFoundError: if there is no such session, or it is another user's.
    """
    session = find_session(state, sid)
    if session is None or session.sub != token.sub:
        raise SessionNotFoundError("the session has ended, or is another user's")


def _came_in_cookie(state: AppState, type: TokenType) -> bool:
    found = state.find_token(this_request(), type)
    return found is not None and found.location is Location.COOKIES


def _pair_response(state: AppState, pair: TokenPair, *, in_cookies: bool) -> Response:
    if not in_cookies:
        return jsonify(pair.to_dict())
    response = jsonify(expires_in=pair.expires_in, refresh_expires_in=pair.refresh_expires_in)
    set_pair_cookies(state, response, pair)
    return response


def _logged_out(
    state: AppState,
    revoke: Callable[[], bool],
    can_spare: Callable[[AppState], bool] | None = None,
) -> Response:
    """The response to a log-out, which unsets the cookies.

    It does so even if the token is invalid, but not after a CSRF error. If the session goes on,
    since the store fails, the page sends the same request again: what that needs stays, and the
    CSRF values, which it has read from their cookies.

    :param revoke: revokes the session, and returns whether to unset the cookies.
    :param can_spare: whether the request can be resent without its access cookie.
    """
    response = Response(status=204)
    goes_on = False
    try:
        unset = revoke()
    except (StoreUnavailableError, JWTDecodeError, MalformedRequestError) as error:
        goes_on = isinstance(error, StoreUnavailableError) and not error.in_force
        unset = not goes_on
        state.worded.word(error)
        response = state.app.make_response(state.app.handle_user_exception(error))
    if state.uses_cookies and unset:
        unset_cookies(state, response, *TokenType)
    elif state.uses_cookies and goes_on and can_spare is not None and can_spare(state):
        unset_access_token(state, response)
    return response


def _to_json(session: Session, token: Token) -> dict[str, Any]:
    return {**session.to_dict(), "current": session.sid == token.sid}


def _from_browser(state: AppState, current: Request) -> bool:
    """Whether the tokens of a new session go into cookies.

    Browsers send one of these headers with each such request, and scripts cannot keep them from it
    (Fetch Metadata, section 2.3; RFC 6454 section 7).
    """
    locations = state.settings.token_location
    if Location.COOKIES not in locations:
        return False
    sent = "Sec-Fetch-Site" in current.headers or "Origin" in current.headers
    return sent or len(locations) == 1
