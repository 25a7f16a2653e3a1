"""``revoke_token``, ``revoke_session``, ``revoke_subject`` and ``is_revoked``: SECURITY A.12."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from flask import Flask, request

from flask_authx import (
    AuthX,
    JWTDecodeError,
    RequestToken,
    StoreUnavailableError,
    TokenExpiredError,
    TokenType,
    current_token,
)
from tests.support import Clock, access_token, bearer, make_app, reforge, refresh_token
from tests.support.answers import (
    ACCESS_COOKIE,
    COMPANION,
    INVALID,
    OK,
    REFRESH_COOKIE,
    REVOKED,
    Outcome,
    ask,
    companion_of,
    cookie,
    outcome,
    refresh_cookies,
)
from tests.support.browsers import browser_app, sign_in
from tests.support.corpus import by_repr, check_all
from tests.support.invalid_tokens import in_all_places, invalid_tokens
from tests.support.spy_store import SpyStore, decoded, login, new_token, spied, store_app, works


def test_the_current_token_is_revoked_when_none_is_given() -> None:
    app, authx, store = spied()

    @app.post("/done")
    @authx.token_required
    def done() -> str:
        authx.revoke_token()
        return current_token.jti

    token, said = new_token(app, authx)
    other, _ = new_token(app, authx)
    assert ask(app, "POST", "/done", headers=bearer(token)).text == said.jti
    assert outcome(ask(app, "POST", "/done", headers=bearer(token))) == REVOKED
    assert works(app, other)
    assert len(store.added) == 1


def forms(app: Flask, authx: AuthX, raw: str) -> list[Any]:
    """All that a token may be given as."""
    return [raw, RequestToken(raw), decoded(app, authx, raw)]


@pytest.mark.parametrize("form", [0, 1, 2], ids=["text", "RequestToken", "Token"])
@pytest.mark.parametrize("create", [access_token, refresh_token])
def test_a_token_is_revoked_in_each_form(form: int, create: Any) -> None:
    app, authx, _ = spied()
    token, other = create(app, authx), create(app, authx)
    path = "/guarded" if create is access_token else "/refresh"
    assert works(app, token, path)
    with app.app_context():
        authx.revoke_token(forms(app, authx, token)[form])
    assert not works(app, token, path)
    assert works(app, other, path)


def test_the_token_of_a_view_without_a_guard_is_verified_first() -> None:
    """SECURITY A.12 201, USERS 34: an attacker can not revoke a user's token."""
    app, authx, store = spied()

    @app.post("/done")
    def done() -> str:
        authx.revoke_token(authx.get_token_from_request(optional=False))
        return ""

    victim, said = new_token(app, authx)
    for kind, invalid in invalid_tokens(victim, refresh_token(app, authx)).items():
        if kind in ("other type", "expired"):
            continue
        store.calls.clear()
        response = ask(app, "POST", "/done", headers=bearer(invalid))
        assert response.status_code in {400, 401}, kind
        assert store.calls == [], kind
        with app.app_context(), pytest.raises(JWTDecodeError):
            authx.revoke_token(invalid)
    assert store.entries == {}
    assert works(app, victim)
    assert said.jti not in repr(store.asked)


def test_a_refresh_token_that_a_view_found_in_a_cookie_needs_its_companion() -> None:
    """Another host can set that cookie. A token that the view has from elsewhere needs none."""
    app, authx = browser_app()

    @app.post("/auth/give-up")
    @authx.public
    def give_up() -> str:
        kind = TokenType(request.args.get("type", "refresh"))
        found = authx.get_token_from_request(type=kind, optional=False)
        authx.revoke_token(str(found) if "text" in request.args else found)
        return "x"

    client = app.test_client()

    def given_up(tokens: dict[str, Any], *jar: tuple[str, str], query: str = "") -> Outcome:
        asked = {"headers": cookie(*jar), "query_string": query}
        found = outcome(ask(app, "POST", "/auth/give-up", **asked))
        refresh = bearer(tokens["refresh_token"])
        alive = outcome(ask(app, "POST", "/auth/refresh", headers=refresh)) == OK
        assert alive is (found != OK or "access" in query)
        return found

    ann, eve = sign_in(client, "ann"), sign_in(client, "eve")
    planted = (REFRESH_COOKIE, eve["refresh_token"])
    assert given_up(eve, planted) == INVALID
    assert given_up(eve, planted, (COMPANION, companion_of(ann["refresh_token"]))) == INVALID
    assert given_up(ann, (ACCESS_COOKIE, ann["access_token"]), query="type=access") == OK
    assert given_up(eve, planted, query="text=") == OK
    assert given_up(ann, *refresh_cookies(ann["refresh_token"])) == OK


def test_what_is_no_token_at_all_is_refused() -> None:
    app, authx, store = spied()

    def check(no_token: Any) -> None:
        store.calls.clear()
        with app.app_context(), pytest.raises(JWTDecodeError):
            authx.revoke_token(no_token)
        assert store.calls == []

    check_all(
        by_repr(["", "x", "\ud800", "a.b.c\n", 5, b"a.b.c", True, object()]),
        check,
    )


def test_a_token_of_the_past_needs_no_revocation() -> None:
    """USERS 40, SECURITY A.5 101"""
    app, authx, store = spied()
    old = reforge(access_token(app, authx), iat=1, nbf=1, auth_time=1, exp=2)
    store.calls.clear()
    with app.app_context():
        authx.revoke_token(old)
        authx.revoke_token(RequestToken(old))
        with pytest.raises(TokenExpiredError):
            authx.is_revoked(old)
    assert store.calls == []


def test_a_token_within_the_leeway_is_revoked() -> None:
    """SECURITY A.5 100, 101"""
    clock, store = Clock(), SpyStore()
    app, authx = store_app(store, clock)
    token, said = new_token(app, authx)
    clock.now = said.exp + 9
    assert works(app, token)
    with app.app_context():
        authx.revoke_token(token)
    assert not works(app, token)


def test_revoking_twice_is_the_same_as_once() -> None:
    """USERS 40, SECURITY A.12 216, 226"""
    app, authx, store = spied()
    access, refresh, sid = login(app, authx)
    with app.app_context():
        for _ in range(3):
            authx.revoke_token(access)
            authx.revoke_session(sid)
            authx.revoke_subject("ann")
        assert authx.is_revoked(access)
        assert authx.is_revoked(refresh)
    assert len(store.entries) == 3


def test_a_session_is_revoked_with_its_access_and_its_refresh_tokens() -> None:
    """USERS 38, SECURITY A.12 221"""
    app, authx, _ = spied()
    access, refresh, sid = login(app, authx)
    other_access, other_refresh, _ = login(app, authx)
    with app.app_context():
        authx.revoke_session(sid)
    assert not works(app, access)
    assert not works(app, refresh, "/refresh")
    assert works(app, other_access)
    assert works(app, other_refresh, "/refresh")


@pytest.mark.parametrize("how", ["session", "subject"])
def test_a_refresh_that_races_a_log_out_creates_revoked_tokens(how: str) -> None:
    """SECURITY A.12 220: the session that goes on is the revoked one."""
    app, authx, store = spied()
    _, refresh, sid = login(app, authx)
    verified = decoded(app, authx, refresh)
    with app.app_context():
        if how == "session":
            authx.revoke_session(sid)
        else:
            authx.revoke_subject("ann")
        store.calls.clear()
        late = authx.create_access_token("ann", login=verified)
        late_refresh = authx.create_refresh_token("ann", login=verified)
        # It dates nothing, so it asks nothing.
        assert store.calls == []
    assert not works(app, late)
    assert not works(app, late_refresh, "/refresh")


def test_revoking_a_token_leaves_its_session_alone() -> None:
    """USERS 37"""
    app, authx, _ = spied()
    access, refresh, _ = login(app, authx)
    with app.app_context():
        authx.revoke_token(access)
        again = authx.create_access_token("ann", login=decoded(app, authx, refresh))
    assert not works(app, access)
    assert works(app, refresh, "/refresh")
    assert works(app, again)


def test_a_revoked_token_is_revoked_in_every_spelling_and_place() -> None:
    """SECURITY A.12 203, USERS 35"""
    app, authx, _ = spied()
    token = access_token(app, authx)
    for kwargs in in_all_places(token):
        assert outcome(ask(app, **kwargs)) == OK
    with app.app_context():
        authx.revoke_token(token)
    for kwargs in in_all_places(token):
        assert outcome(ask(app, **kwargs)) == REVOKED
    body: dict[str, Any] = {"json": {"access_token": token}}
    assert outcome(ask(app, "POST", **body)) == REVOKED


@pytest.mark.parametrize("uid", ["ann", 5, UUID(int=7)])
def test_a_user_is_named_as_for_new_tokens(uid: Any) -> None:
    app, authx, _ = spied()
    token, other = access_token(app, authx, uid), access_token(app, authx, "bob")
    with app.app_context():
        authx.revoke_subject(uid)
    assert not works(app, token)
    assert works(app, other)


# What can't be done


def test_without_a_store_the_error_says_how_to_get_one() -> None:
    app, authx = make_app()
    token = access_token(app, authx)
    with app.test_request_context():
        attempts: list[Callable[[], None]] = [
            lambda: authx.revoke_token(token),
            lambda: authx.revoke_session("s"),
            lambda: authx.revoke_subject("ann"),
            authx.logout,
        ]
        for revoke in attempts:
            with pytest.raises(RuntimeError, match=r'no store.*"JWT_BLOCKLIST"'):
                revoke()
        # Without a store and a callback nothing is ever revoked.
        assert authx.is_revoked(token) is False


def test_without_a_current_token_the_error_names_the_guard() -> None:
    app, authx, store = spied()

    @app.post("/done")
    @authx.optional_token
    def done() -> str:
        with pytest.raises(RuntimeError, match="no current token"):
            authx.revoke_token()
        return ""

    assert outcome(ask(app, "POST", "/done")) == OK
    with app.app_context(), pytest.raises(RuntimeError, match="token_required"):
        authx.revoke_token()
    assert store.calls == []


def test_what_can_not_be_a_sid_is_refused() -> None:
    app, authx, store = spied()

    def check(sid: str) -> None:
        store.calls.clear()
        with app.app_context():
            with pytest.raises(ValueError, match="sid"):
                authx.revoke_session(sid)
            with pytest.raises(ValueError, match="sid"):
                authx.revoke_subject("ann", keep=sid)
        assert store.calls == []

    check_all(by_repr(["", "a b", "é", "a" * 256, "s\n", "a/b"]), check)


def test_what_is_of_the_wrong_type_is_refused() -> None:
    app, authx, store = spied()
    token = access_token(app, authx)
    untyped: Any = authx

    def check(wrong: Any) -> None:
        with app.app_context():
            store.calls.clear()
            with pytest.raises(TypeError, match="sid is text"):
                authx.revoke_session(wrong)
            if wrong is not None:
                with pytest.raises(TypeError, match="sid is text"):
                    authx.revoke_subject("ann", keep=wrong)
                with pytest.raises(TypeError, match="reason is text"):
                    authx.revoke_token(token, reason=wrong)
            if type(wrong) is not int:
                with pytest.raises(TypeError, match="uid"):
                    untyped.revoke_subject(wrong)
        assert store.calls == []

    check_all(by_repr([None, 5, b"s", True, ["s"], object()]), check)


def test_what_can_not_be_a_uid_is_refused() -> None:
    app, authx, store = spied()

    def check(uid: str) -> None:
        store.calls.clear()
        with app.app_context(), pytest.raises(ValueError, match="uid"):
            authx.revoke_subject(uid)
        assert store.calls == []

    check_all(by_repr(["", " ", "a\0b", "a" * 256, "\ud800"]), check)


@pytest.mark.parametrize("reason", ["r" * 1001, "a\0b", "\ud800"])
def test_a_reason_that_no_store_could_hold_is_refused(reason: str) -> None:
    app, authx, store = spied()
    token = access_token(app, authx)
    with app.app_context():
        store.calls.clear()
        attempts: list[Callable[[], None]] = [
            lambda: authx.revoke_token(token, reason=reason),
            lambda: authx.revoke_session("s", reason=reason),
            lambda: authx.revoke_subject("ann", reason=reason),
            lambda: authx.revoke_all(reason=reason),
        ]
        for revoke in attempts:
            with pytest.raises(ValueError, match=r"reason|surrogate"):
                revoke()
        authx.revoke_session("s", reason="r" * 1000)
    assert store.calls == ["add", "sweep"]


def test_a_revocation_that_can_not_be_written_says_so() -> None:
    app, authx, store = spied()
    token = access_token(app, authx)
    store.error = ConnectionError("down")
    with app.app_context(), pytest.raises(StoreUnavailableError) as raised:
        authx.revoke_token(token)
    assert "may not have been written" in (raised.value.description or "")
    assert (raised.value.__cause__, raised.value.__suppress_context__) == (None, True)
    assert store.entries == {}
