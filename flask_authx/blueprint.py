"""The blueprint: refresh, log-out and the list of a user's logins, ready to be registered.

It answers in kind. A token that came in a cookie is answered with cookies, and any other with JSON;
a script never sees what it isn't meant to hold.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

from flask import Blueprint, Request, Response, jsonify

from flask_authx.actions import list_sessions, login, logout, refresh, revoke, set_cookies
from flask_authx.app import registry
from flask_authx.app.state import AppState, memory_of, state_of, this_app, this_request
from flask_authx.guards import check, decorators
from flask_authx.http import caching
from flask_authx.http.callbacks import Callbacks
from flask_authx.http.requirement import Requirement
from flask_authx.stores.base import StoreError
from flask_authx.stores.session_store import Session
from flask_authx.tokens.create import TokenOptions, Uid
from flask_authx.tokens.token import Token, TokenPair

from .enums import Location, TokenType
from .errors import (
    JWTDecodeError,
    LoginFailedError,
    MalformedRequestError,
    SessionNotFoundError,
    StoreUnavailableError,
)

_log = logging.getLogger("flask_authx")


def make(
    callbacks: Callbacks,
    url_prefix: str | None,
    name: str,
    authenticate: Callable[[], Uid | Awaitable[Uid | None] | None] | None,
) -> Blueprint:
    """A new blueprint of an ``AuthX`` object.

    :param authenticate: the app's own way to tell who sends a request to log in.
    """
    made = Blueprint(name, __name__, url_prefix=url_prefix)
    registry.made_by(callbacks, made)
    views = _Views(callbacks)
    own = Requirement()
    routes: list[tuple[str, str, Callable[..., Response], str]] = [
        ("/refresh", "refresh", views.refresh, "POST"),
        ("/logout", "logout", views.logout, "POST"),
        ("/sessions", "sessions", decorators.guard(callbacks, own, views.sessions), "GET"),
        ("/sessions", "end_others", decorators.guard(callbacks, own, views.end_others), "DELETE"),
        (
            "/sessions/<sid>",
            "end_session",
            decorators.guard(callbacks, own, views.end_session),
            "DELETE",
        ),
    ]
    if authenticate is not None:
        routes.append(("/login", "login", views.login(authenticate), "POST"))
    for rule, endpoint, view, method in routes:
        # A function of this blueprint alone.
        alone = functools.wraps(view)(functools.partial(view))
        registry.made_by(callbacks, alone)
        made.add_url_rule(rule, endpoint, alone, methods=[method])
    made.after_request(caching.no_store)
    return made


class _Views:
    """The views, for whichever app answers with them."""

    def __init__(self, callbacks: Callbacks) -> None:
        self._callbacks = callbacks

    def login(
        self, authenticate: Callable[[], Uid | Awaitable[Uid | None] | None]
    ) -> Callable[[], Response]:
        """The view that opens a login for whom the app says it is."""

        def view() -> Response:
            state, current = self._state(), this_request()
            if state.settings.uses_cookies:
                # There is no token yet whose CSRF value could be asked for, and a user who has
                # been logged in as somebody else tells that one's account what isn't meant for it.
                check.check_origin(state, current)
            uid: object = state.app.ensure_sync(authenticate)()
            if uid is None or uid is False:
                raise state.dress(LoginFailedError())
            if not isinstance(uid, (str, int, UUID)) or isinstance(uid, bool):
                raise TypeError(
                    "authenticate= must return the uid of whoever logs in, or None to refuse, not "
                    f"{type(uid).__name__}"
                )
            in_cookies = _from_browser(state, current)
            former = logout.in_cookies(state, current) if in_cookies else []
            pair = login.open_login(
                state,
                uid,
                TokenOptions(fresh=True),
                None,
                in_cookies=in_cookies,
                replaces={token.sid for token in former},
            )
            for token in former:
                self._end_former(state, token)
            return self._answer(state, pair, in_cookies=in_cookies)

        return view

    def _end_former(self, state: AppState, token: Token) -> None:
        """End a login whose cookies are overwritten (ASVS 7.2.4): nobody could do that later."""
        why = "another log-in in its browser"
        try:
            logout.end(state, token, why)
        except Exception:  # noqa: BLE001 - the store, or a receiver: the new login is open
            _log.exception("the login that another one replaces was not ended: sid=%s", token.sid)

    def refresh(self) -> Response:
        """New tokens for a refresh token, which they replace."""
        state = self._state()
        pair = refresh.refresh(state, None, None, None)
        in_cookies = self._came_in_cookie(state, TokenType.REFRESH)
        return self._answer(state, pair, in_cookies=in_cookies)

    def logout(self) -> Response:
        """End the login of whichever token there is, even if it has expired."""
        state = self._state()
        return self._ended(state, lambda: logout.logout(state, None))

    def sessions(self) -> Response:
        """The user's logins, the latest first, and which of them this is."""
        state, token = self._state(), self._owner()
        listed = list_sessions.logins_of(state, token.sub)
        return jsonify(sessions=[_shown(session, token) for session in listed])

    def end_session(self, sid: str) -> Response:
        """End one of the user's logins."""
        state, token = self._state(), self._owner()
        self._check_kept(state, sid, token)
        if sid == token.sid:
            return self._ended(state, functools.partial(self._end_own, state, token))
        revoke.revoke_session(state, sid, None)
        return Response(status=204)

    def _end_own(self, state: AppState, token: Token) -> bool:
        """End the request's own login, and say whether its token came in a cookie."""
        revoke.revoke_session(state, token.sid, None)
        return self._came_in_cookie(state, token.type)

    def end_others(self) -> Response:
        """End all of the user's logins but this one."""
        state, token = self._state(), self._owner()
        revoke.revoke_subject(state, token.sub, token.sid, None)
        return Response(status=204)

    def _state(self) -> AppState:
        return state_of(this_app(), self._callbacks)

    def _owner(self) -> Token:
        """The token of a kept login: one that was minted beside it doesn't rule over logins."""
        state = self._state()
        token = memory_of(this_request(), state).token
        if token is None:
            raise RuntimeError("the guard of this view has let nobody in")
        self._check_kept(state, token.sid, token)
        return token

    def _check_kept(self, state: AppState, sid: str, token: Token) -> None:
        """Refuse a login that isn't kept, or that is another user's."""
        try:
            session = login.sessions_of(state).find(sid)
        except StoreError:
            raise state.dress(StoreUnavailableError()) from None
        if session is None or session.sub != token.sub:
            raise state.dress(SessionNotFoundError())

    def _came_in_cookie(self, state: AppState, type: TokenType) -> bool:
        found = state.verifier.finder.find(this_request(), type, None)
        return found is not None and found.location is Location.COOKIES

    def _answer(self, state: AppState, pair: TokenPair, *, in_cookies: bool) -> Response:
        if not in_cookies:
            return jsonify(pair.to_dict())
        response = jsonify(expires_in=pair.expires_in, refresh_expires_in=pair.refresh_expires_in)
        set_cookies.put_pair(state, response, pair)
        return response

    def _ended(self, state: AppState, end: Callable[[], bool]) -> Response:
        """The answer to the end of the request's own login: browsers forget its tokens.

        :param end: says whether there is nothing left in the cookies that goes on.

        Also if the store fails, or if the token is none that anybody could use. The CSRF value was
        right, or there was nothing to protect. A client that keeps its token can try again.
        """
        app, response = state.app, Response(status=204)
        over = True
        try:
            over = end()
        except (StoreUnavailableError, JWTDecodeError, MalformedRequestError) as error:
            response = app.make_response(app.handle_user_exception(error))
        if over and state.settings.uses_cookies:
            set_cookies.take_back(state, response, *TokenType)
        return response


def _shown(session: Session, token: Token) -> dict[str, Any]:
    return {**session.to_dict(), "current": session.sid == token.sid}


def _from_browser(state: AppState, current: Request) -> bool:
    """Whether the tokens of a new login go into cookies.

    Browsers say of each such request where it comes from, and scripts can't keep them from it
    (Fetch Metadata, section 2.3; RFC 6454 section 7).
    """
    locations = state.settings.token_location
    if Location.COOKIES not in locations:
        return False
    said = "Sec-Fetch-Site" in current.headers or "Origin" in current.headers
    return said or len(locations) == 1
