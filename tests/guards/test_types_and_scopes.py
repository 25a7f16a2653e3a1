"""What each token opens: SECURITY.md A.11 (types, freshness, scopes) and A.15 (Flask mechanics)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.test import Client

from flask_authx import AuthX, current_token
from tests.support import (
    OTHER_SECRET,
    SECRET,
    Clock,
    access_token,
    bearer,
    forge,
    make_app,
    parts,
    reforge,
    refresh_token,
)
from tests.support.answers import (
    ACCESS_COOKIE,
    FAULT,
    INVALID,
    MISSING,
    NO_CSRF,
    OK,
    REVOKED,
    Outcome,
    ask,
    cookie,
    outcome,
)
from tests.support.corpus import by_repr, check_all


def app_with_refresh(**config: Any) -> tuple[Flask, AuthX]:
    """An app with a view for refresh tokens as well."""
    app, authx = make_app(**config)

    @app.route("/refresh", methods=["GET", "POST"])
    @authx.refresh_token_required
    def refresh() -> dict[str, Any]:
        token = authx.create_access_token(current_token.sub, login=current_token)
        return {"token": token}

    return app, authx


def test_each_type_of_token_opens_its_own_views_only() -> None:
    """SECURITY A.11 184 185"""
    app, authx = app_with_refresh()
    access, refresh = bearer(access_token(app, authx)), bearer(refresh_token(app, authx))
    assert outcome(ask(app, headers=refresh)) == Outcome(401, "AccessTokenRequiredError")
    refused = outcome(ask(app, path="/refresh", headers=access))
    assert refused == Outcome(401, "RefreshTokenRequiredError")
    assert outcome(ask(app, headers=access)) == OK
    assert outcome(ask(app, path="/refresh", headers=refresh)) == OK


#: What the header says of the type, and what the claim says.
MISMATCHES: list[tuple[Any, Any]] = [
    (..., ...),
    (..., "access"),
    ("JWT", ...),
    ("JWT", "Access"),
    ("JWT", ["access"]),
    ("JWT", True),
    ("at+jwt", "refresh"),
    ("at+jwt", ...),
    ("rt+jwt", "access"),
    ("dpop+jwt", "access"),
    ("secevent+jwt", "access"),
    ("id_token", "access"),
]


@pytest.mark.parametrize("accept_untyped", [False, True])
def test_types_must_be_there_known_and_agree(accept_untyped: bool) -> None:
    """SECURITY A.11 186, 187, 188, 189, A.2 43"""
    app, authx = app_with_refresh(ACCEPT_UNTYPED=accept_untyped)
    valid = access_token(app, authx)

    def check(case: tuple[Any, Any]) -> None:
        typ, type = case
        token = reforge(valid, header={"typ": typ}, type=type)
        for path in ("/guarded", "/refresh"):
            assert outcome(ask(app, path=path, headers=bearer(token))) == INVALID

    check_all(by_repr(MISMATCHES), check)


@pytest.mark.parametrize("typ", ["at+jwt", "AT+JWT", "application/at+jwt", "Application/AT+jwt"])
def test_the_spellings_of_a_media_type_are_one_type(typ: str) -> None:
    """SECURITY A.2 43"""
    app, authx = make_app()
    token = reforge(access_token(app, authx), header={"typ": typ})
    assert outcome(ask(app, headers=bearer(token))) == OK


@pytest.mark.parametrize(
    "claims",
    [
        {"sub": "ann"},
        {"sub": "ann", "exp": 1_800_000_900},
        {"sub": "ann", "exp": 1_800_000_900, "type": "access"},
        {"sub": "ann", "exp": 1_800_000_900, "iat": 1_800_000_000, "nonce": "n", "aud": "client"},
        {"sub": "ann", "exp": 1_800_000_900, "iat": 1_800_000_000, "jti": "1", "purpose": "reset"},
    ],
    ids=["bare", "exp", "type", "ID token", "password reset"],
)
def test_another_jwt_signed_with_the_same_secret_opens_nothing(claims: dict[str, Any]) -> None:
    """SECURITY A.11 189 190"""
    app, _ = app_with_refresh(ACCEPT_UNTYPED=True)
    token = forge({"alg": "HS256", "typ": "JWT"}, claims)
    for path in ("/guarded", "/refresh"):
        assert outcome(ask(app, path=path, headers=bearer(token))) == INVALID


def test_a_refreshed_token_is_not_fresh_and_cannot_be_made_so() -> None:
    """SECURITY A.11 192 193"""
    app, authx = app_with_refresh()

    @app.get("/fresh")
    @authx.fresh_token_required
    def fresh() -> str:
        return "seen"

    with app.app_context():
        pair = authx.create_token_pair("ann", fresh=True)
    assert outcome(ask(app, path="/fresh", headers=bearer(pair.access_token))) == OK
    refreshed = ask(app, path="/refresh", headers=bearer(pair.refresh_token)).json
    assert refreshed is not None
    response = ask(app, path="/fresh", headers=bearer(refreshed["token"]))
    assert outcome(response) == Outcome(401, "FreshTokenRequiredError")
    assert 'error="insufficient_user_authentication"' in response.headers["WWW-Authenticate"]
    assert parts(pair.refresh_token)[1]["fresh"] is False


def cut(token: str) -> str:
    return token[:-4]


def bound(token: str) -> str:
    return reforge(token, cnf={})


def is_always(token: str) -> bool:
    return True


def fails(token: str) -> bool:
    raise ConnectionError("the store is down")


@pytest.mark.parametrize(
    ("change", "callback", "expected"),
    [
        (cut, None, INVALID),
        (bound, None, INVALID),
        (str, is_always, REVOKED),
        (str, fails, FAULT),
    ],
    ids=["signature", "claims", "revoked", "store"],
)
def test_an_optional_guard_refuses_invalid_and_revoked_tokens(
    change: Callable[[str], str], callback: Callable[[str], bool] | None, expected: Any
) -> None:
    """SECURITY A.11 196"""
    app, authx = make_app()
    if callback is not None:
        authx.set_callback_token_blocklist(callback)
    token = change(access_token(app, authx))
    assert outcome(ask(app, path="/optional", headers=bearer(token))) == expected
    assert ask(app, path="/optional").json == {"sub": None}


def test_an_optional_guard_still_wants_the_csrf_value() -> None:
    """SECURITY A.11 196"""
    app, authx = make_app(TOKEN_LOCATION="cookies")
    headers = cookie((ACCESS_COOKIE, access_token(app, authx)))
    assert outcome(ask(app, "POST", "/optional", headers=headers)) == NO_CSRF
    assert ask(app, "POST", "/optional").json == {"sub": None}


@pytest.mark.parametrize("settings", [{"DEBUG": True}, {"TESTING": True}, {}])
def test_what_the_user_callback_raises_is_the_apps_own_and_names_no_user(
    settings: dict[str, bool],
) -> None:
    """SECURITY A.11 198"""
    app, authx = make_app()
    for key, value in {**settings, "PROPAGATE_EXCEPTIONS": False}.items():
        app.config[key] = value

    @authx.set_callback_get_model_instance
    def load(uid: str) -> Any:
        raise LookupError(f"no user {uid}")

    @app.get("/me")
    @authx.token_required
    def me() -> str:
        return str(authx.get_current_subject())

    response = ask(app, path="/me", headers=bearer(access_token(app, authx, "somebody")))
    assert outcome(response) == Outcome(500)
    assert b"somebody" not in response.data


def test_missing_scopes_are_named() -> None:
    """SECURITY A.11 200"""
    app, authx = make_app()

    @app.get("/scoped")
    @authx.scopes_required("users:read", "users:write")
    def scoped() -> str:
        return "seen"

    for held in (None, ["users:read"], ["users"], ["users:write:all", "users:read"]):
        response = ask(app, path="/scoped", headers=bearer(access_token(app, authx, scopes=held)))
        assert outcome(response) == Outcome(403, "InsufficientScopeError")
        assert 'error="insufficient_scope"' in response.headers["WWW-Authenticate"]
        assert 'scope="users:read users:write"' in response.headers["WWW-Authenticate"]
    enough = access_token(app, authx, scopes=["users:*"])
    assert outcome(ask(app, path="/scoped", headers=bearer(enough))) == OK


@pytest.mark.parametrize("method", ["TRACE", "PURGE", "PROPFIND", "post", "QUERY"])
def test_odd_methods_are_guarded_like_others(method: str) -> None:
    """SECURITY A.15 287"""
    app, authx = make_app(TOKEN_LOCATION=["headers", "cookies"])

    @app.route("/odd", methods=["TRACE", "PURGE", "PROPFIND", "POST", "QUERY"])
    @authx.token_required
    def odd() -> str:
        return "seen"

    token = access_token(app, authx)
    assert outcome(ask(app, method, "/odd")) == MISSING
    assert outcome(ask(app, method, "/odd", headers=bearer(token))) == OK
    by_cookie = ask(app, method, "/odd", headers=cookie((ACCESS_COOKIE, token)))
    assert outcome(by_cookie) == (OK if method == "TRACE" else NO_CSRF)


def test_two_apps_in_one_process_refuse_each_others_tokens() -> None:
    """SECURITY A.15 283, A.2 40: each names its key"""
    authx = AuthX(clock=Clock())
    apps: list[Flask] = []
    for secret in (SECRET, OTHER_SECRET):
        app = Flask("tests")
        app.config["JWT_SECRET_KEY"] = secret
        authx.init_app(app)
        app.add_url_rule("/view", view_func=authx.token_required(lambda: current_token.sub))
        apps.append(app)
    both = Client(DispatcherMiddleware(apps[0], {"/other": apps[1]}))
    tokens = [access_token(app, authx, f"user{number}") for number, app in enumerate(apps)]
    found = [
        outcome(both.get(path, headers=bearer(token)))
        for token in tokens
        for path in ("/view", "/other/view")
    ]
    assert found == [OK, INVALID, INVALID, OK]


def test_a_guard_without_parentheses_guards_and_a_misused_one_is_an_error() -> None:
    """SECURITY A.15 289"""
    app, authx = make_app()
    guards: list[Any] = [
        authx.token_required,
        authx.access_token_required,
        authx.fresh_token_required,
        authx.refresh_token_required,
    ]
    for number, guard in enumerate(guards):
        app.add_url_rule(f"/bare{number}", f"bare{number}", guard(lambda: "seen"))
        app.add_url_rule(f"/called{number}", f"called{number}", guard()(lambda: "seen"))
        for wrong in ("refresh", 5, type("View", (), {})):
            with pytest.raises(TypeError):
                guard(wrong)
    for number in range(4):
        assert outcome(ask(app, path=f"/bare{number}")) == MISSING
        assert outcome(ask(app, path=f"/called{number}")) == MISSING
    misused: Any = authx.scopes_required
    with pytest.raises((TypeError, ValueError)):
        misused()
    with pytest.raises((TypeError, ValueError)):
        misused(lambda: "seen")
