"""``authx.logout()``: the session of the request's token ends, whatever shape the token is in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from flask_authx import Kind, RevokedTokenError, session_revoked
from tests.support import (
    OTHER_SECRET,
    Clock,
    access_token,
    bearer,
    ec_key,
    forge,
    parts,
    private_pem,
    public_pem,
    reforge,
    refresh_token,
)
from tests.support.answers import (
    ACCESS_COOKIE,
    CSRF,
    FAULT,
    INVALID,
    MALFORMED,
    NO_CSRF,
    OK,
    REFRESH_COOKIE,
    Outcome,
    ask,
    cookie,
    outcome,
    refresh_cookies,
)
from tests.support.corpus import by_repr, check_all
from tests.support.spy_store import SpyStore, login, spied, store_app, works

EVERYWHERE: dict[str, Any] = {"TOKEN_LOCATION": ["headers", "cookies", "query", "json"]}


def expired(token: str) -> str:
    """The same token, as it is long after its end."""
    return reforge(token, iat=1_000, nbf=1_000, auth_time=1_000, exp=2_000)


def out(app: Any, method: str = "POST", **kwargs: Any) -> Any:
    return outcome(ask(app, method, "/logout", **kwargs))


def test_the_current_session_is_revoked_with_all_its_tokens() -> None:
    app, authx, store = spied()
    access, refresh, _ = login(app, authx)
    other, other_refresh, _ = login(app, authx)
    assert out(app, headers=bearer(access)) == OK
    assert not works(app, access)
    assert not works(app, refresh, "/refresh")
    assert works(app, other)
    assert works(app, other_refresh, "/refresh")
    assert [entry.kind for entry in store.added] == [Kind.SESSION]


def test_it_works_in_a_guarded_view_too() -> None:
    app, authx, _ = spied()

    @app.post("/guarded-logout")
    @authx.token_required
    def guarded_logout() -> str:
        authx.logout()
        return ""

    access, refresh, _ = login(app, authx)
    response = ask(app, "POST", "/guarded-logout", headers=bearer(access))
    assert outcome(response) == OK
    assert not works(app, refresh, "/refresh")


def test_an_expired_token_revokes_its_session() -> None:
    """Its refresh token may live on for weeks."""
    app, authx, _ = spied()
    access, refresh, _ = login(app, authx)
    assert out(app, headers=bearer(expired(access))) == OK
    assert not works(app, refresh, "/refresh")
    assert not works(app, access)


def test_no_token_is_fine_and_writes_nothing() -> None:
    """SECURITY A.12 226"""
    app, _, store = spied()
    assert out(app) == OK
    assert out(app, headers={"Authorization": "Basic YTpi"}) == OK
    assert out(app, headers=cookie((ACCESS_COOKIE, ""))) == OK
    assert store.calls == []


def test_logging_out_twice_is_fine() -> None:
    """SECURITY A.12 226, USERS 40"""
    app, authx, store = spied()
    access, _, _ = login(app, authx)
    for _ in range(3):
        assert out(app, headers=bearer(access)) == OK
    assert len(store.entries) == 1


def invalid_tokens(token: str) -> dict[str, str]:
    header, claims, _ = parts(token)
    return {
        "garbage": "x.y.z",
        "signed with another key": forge(header, claims, OTHER_SECRET),
        "signed with another key, expired": forge(header, {**claims, "exp": 2}, OTHER_SECRET),
        "algorithm none": reforge(token, header={"alg": "none"}),
        "no sid": reforge(token, sid=...),
        "no exp": reforge(token, exp=...),
        "not yet": reforge(token, nbf=claims["nbf"] + 600),
        "of another issuer": reforge(token, iss="https://other.example"),
        "for others": reforge(expired(token), aud="other"),
        "bound to a key": reforge(expired(token), cnf={"jkt": "x"}),
    }


def test_an_invalid_token_is_refused_and_revokes_nothing() -> None:
    """SECURITY A.12 201"""

    def check(kind: str) -> None:
        store = SpyStore()
        app, authx = store_app(store, DECODE_ISSUER="us", ENCODE_ISSUER="us", **EVERYWHERE)
        access, refresh, _ = login(app, authx)
        store.calls.clear()
        response = ask(app, "POST", "/logout", headers=bearer(invalid_tokens(access)[kind]))
        assert outcome(response) == INVALID
        assert response.headers["WWW-Authenticate"].startswith("Bearer")
        assert store.calls == []
        assert works(app, access)
        assert works(app, refresh, "/refresh")

    check_all(by_repr(invalid_tokens(access_token(*store_app(SpyStore())))), check)


PLACES: dict[str, Callable[[str], dict[str, Any]]] = {
    "headers": lambda raw: {"headers": bearer(raw)},
    "query": lambda raw: {"query_string": {"token": raw}},
    "json": lambda raw: {"json": {"refresh_token": raw}},
    "cookies": lambda raw: {
        "headers": cookie(*refresh_cookies(raw)) | {"X-CSRF-TOKEN": parts(raw)[1]["csrf"]}
    },
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("old", [False, True])
def test_a_refresh_token_logs_out_from_any_place(place: str, old: bool) -> None:
    app, authx, _ = spied()
    access, refresh, _ = login(app, authx)
    assert out(app, **PLACES[place](expired(refresh) if old else refresh)) == OK
    assert not works(app, access)
    assert not works(app, refresh, "/refresh")


def test_two_tokens_in_one_request_are_refused() -> None:
    app, authx, store = spied()
    access, _, _ = login(app, authx)
    store.calls.clear()
    found = out(app, headers=bearer(access), query_string={"token": access})
    assert found == MALFORMED
    assert store.calls == []


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("type", ["access", "refresh"])
def test_a_cookie_needs_its_csrf_value_on_unsafe_methods(type: str, old: bool) -> None:
    """Or any other site could log a user out."""
    app, authx, store = spied()
    access, refresh, _ = login(app, authx)
    _, strange, _ = login(app, authx)
    token = access if type == "access" else refresh
    sent = expired(token) if old else token
    headers = cookie(*([(ACCESS_COOKIE, sent)] if type == "access" else refresh_cookies(sent)))
    store.calls.clear()
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        assert out(app, method, headers=headers) == NO_CSRF
        wrong = {**headers, "X-CSRF-TOKEN": parts(strange)[1]["csrf"]}
        assert out(app, method, headers=wrong) == CSRF
    assert store.calls == []
    right = {**headers, "X-CSRF-TOKEN": parts(token)[1]["csrf"]}
    assert out(app, "DELETE", headers=right) == OK
    assert not works(app, access)
    assert not works(app, refresh, "/refresh")


def test_an_app_that_only_verifies_tokens_logs_out_by_cookie() -> None:
    config: dict[str, Any] = {"ALGORITHM": "ES256", "TOKEN_LOCATION": ["headers", "cookies"]}
    issuer = store_app(SpyStore(), PRIVATE_KEY=private_pem(ec_key()), **config)
    app, _ = store_app(SpyStore(), PUBLIC_KEY=public_pem(ec_key()), **config)
    access, _, _ = login(*issuer)
    headers = cookie((ACCESS_COOKIE, access))
    assert out(app, headers={**headers, "X-CSRF-TOKEN": "x"}) == CSRF
    assert out(app, headers={**headers, "X-CSRF-TOKEN": parts(access)[1]["csrf"]}) == OK
    assert not works(app, access)


def test_a_cookie_needs_no_csrf_value_on_a_safe_method() -> None:
    app, authx, _ = spied()
    access, _, _ = login(app, authx)
    assert out(app, "GET", headers=cookie((ACCESS_COOKIE, access))) == OK
    assert not works(app, access)


def test_a_header_goes_before_the_cookie_as_anywhere() -> None:
    app, authx, _ = spied()
    in_header, _, _ = login(app, authx)
    in_cookie, _, _ = login(app, authx)
    headers = {**bearer(in_header), **cookie((ACCESS_COOKIE, in_cookie))}
    assert out(app, headers=headers) == OK
    assert not works(app, in_header)
    assert works(app, in_cookie)


def foreign(token: str, **claims: Any) -> str:
    """A token as Flask-JWT-Extended makes it: without a sid."""
    return reforge(token, header={"typ": "JWT"}, sid=..., auth_time=..., **claims)


def test_a_token_without_a_session_is_revoked_alone() -> None:
    store, clock = SpyStore(), Clock()
    app, authx = store_app(store, clock, ACCEPT_UNTYPED=True)
    token, other = (foreign(access_token(app, authx)) for _ in range(2))
    assert out(app, headers=bearer(token)) == OK
    assert [entry.kind for entry in store.added] == [Kind.TOKEN]
    assert not works(app, token)
    assert works(app, other)


def test_an_expired_token_without_a_session_is_not_written() -> None:
    store, clock = SpyStore(), Clock()
    app, authx = store_app(store, clock, ACCEPT_UNTYPED=True)
    token = foreign(access_token(app, authx), iat=1_000, nbf=1_000, exp=2_000)
    store.calls.clear()
    assert out(app, headers=bearer(token)) == OK
    assert store.calls == []


def test_a_token_without_a_session_is_revoked_within_the_leeway() -> None:
    """A token is valid until its expiry and the leeway have passed."""
    store, clock = SpyStore(), Clock()
    app, authx = store_app(store, clock, ACCEPT_UNTYPED=True)
    token = foreign(access_token(app, authx))
    clock.now = parts(token)[1]["exp"] + 5
    assert works(app, token)
    assert out(app, headers=bearer(token)) == OK
    assert not works(app, token)


@pytest.mark.parametrize("old", [False, True])
def test_the_signal_names_the_user_of_the_session(old: bool) -> None:
    """Nothing else names the user: the view needs no guard, and a sid is no uid."""
    app, authx, _ = spied()
    access, _, sid = login(app, authx)
    heard: list[dict[str, Any]] = []

    def receiver(sender: object, **said: Any) -> None:
        heard.append(said)

    session_revoked.connect(receiver, app)
    out(app, headers=bearer(expired(access) if old else access))
    assert heard == [{"name": "authx", "sid": sid, "reason": "asked for", "actor": "user:ann"}]


def test_a_store_that_fails_is_not_a_logout() -> None:
    app, authx, store = spied()
    access, _, _ = login(app, authx)
    store.error = ConnectionError("down")
    response = ask(app, "POST", "/logout", headers=bearer(access))
    assert outcome(response) == FAULT
    assert response.headers["Retry-After"] == "1"
    assert store.entries == {}


def test_logout_needs_a_request() -> None:
    app, authx, _ = spied()
    with app.app_context(), pytest.raises(RuntimeError, match="request context"):
        authx.logout()


def test_the_token_is_revoked_within_the_request_too() -> None:
    app, authx, _ = spied()
    refresh = refresh_token(app, authx)
    with app.test_request_context(method="POST", headers=bearer(refresh)):
        authx.logout()
        with pytest.raises(RevokedTokenError):
            authx.verify_token(refresh, type="refresh")


# Two tokens in one request: either is enough, and an invalid one is no obstacle


def forged(token: str) -> str:
    """The same token, signed with a key that has been withdrawn."""
    header, claims, _ = parts(token)
    return forge(header, claims, OTHER_SECRET)


#: What may be left in a cookie.
LEFT: dict[str, Callable[[str], str]] = {
    "of a withdrawn key": forged,
    "garbage": lambda _: "x.y.z",
    "without dots": lambda _: "garbage",
    "of another type": lambda token: reforge(token, header={"typ": "other"}),
}


def logged_out(app: Flask, access: str, refresh: str, csrf: str | None) -> Outcome:
    readable = refresh not in {"x.y.z", "garbage"}
    jar = refresh_cookies(refresh) if readable else [(REFRESH_COOKIE, refresh)]
    headers = cookie((ACCESS_COOKIE, access), *jar)
    if csrf is not None:
        headers["X-CSRF-TOKEN"] = csrf
    return outcome(ask(app, "POST", "/logout", headers=headers))


def csrf_of(token: str) -> str:
    return str(parts(token)[1]["csrf"])


@pytest.mark.parametrize("kind", LEFT)
def test_an_invalid_access_cookie_is_no_obstacle_to_a_log_out(kind: str) -> None:
    """After a change of keys in a hurry, the refresh token lives on for weeks."""
    app, authx, _ = spied()
    access, refresh, _ = login(app, authx)
    assert works(app, refresh, "/refresh")
    assert logged_out(app, LEFT[kind](access), refresh, csrf_of(refresh)) == OK
    assert not works(app, refresh, "/refresh")


@pytest.mark.parametrize("kind", LEFT)
def test_an_invalid_refresh_cookie_is_no_obstacle_to_a_log_out(kind: str) -> None:
    app, authx, _ = spied()
    access, refresh, _ = login(app, authx)
    assert logged_out(app, access, LEFT[kind](refresh), csrf_of(access)) == OK
    assert not works(app, access)


@pytest.mark.parametrize("kind", LEFT)
def test_the_valid_cookie_needs_its_own_csrf_value(kind: str) -> None:
    """SECURITY A.12: an invalid cookie beside it changes nothing"""
    app, authx, store = spied()
    access, refresh, _ = login(app, authx)
    _, strange, _ = login(app, authx)
    left = LEFT[kind](access)
    assert logged_out(app, left, refresh, None) == NO_CSRF
    assert logged_out(app, left, refresh, csrf_of(strange)) == CSRF
    assert store.added == []
    assert works(app, refresh, "/refresh")


@pytest.mark.parametrize("kind", ["of a withdrawn key", "garbage"])
def test_two_invalid_cookies_are_refused(kind: str) -> None:
    app, authx, store = spied()
    access, refresh, _ = login(app, authx)
    assert logged_out(app, LEFT[kind](access), LEFT[kind](refresh), csrf_of(access)) == INVALID
    assert store.added == []


def test_a_wrong_csrf_value_of_a_valid_token_is_refused_beside_any_other() -> None:
    app, authx, store = spied()
    access, refresh, _ = login(app, authx)
    assert logged_out(app, access, refresh, "wrong") == CSRF
    assert store.added == []


def test_an_expired_access_cookie_revokes_the_session_of_its_refresh_token() -> None:
    app, authx, _ = spied()
    access, refresh, _ = login(app, authx)
    assert logged_out(app, expired(access), refresh, csrf_of(access)) == OK
    assert not works(app, refresh, "/refresh")


def test_an_invalid_header_is_refused_without_another_token() -> None:
    app, authx, store = spied()
    access, _, _ = login(app, authx)
    response = ask(app, "POST", "/logout", headers=bearer(forged(access)))
    assert outcome(response) == INVALID
    assert store.added == []
