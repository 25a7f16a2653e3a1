"""What each guard asks for, in its bare and called forms, and how misuse is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from flask_authx import AuthX, current_token
from tests.support import access_token, bearer, make_app, reforge, refresh_token
from tests.support.answers import (
    FAULT,
    INVALID,
    MALFORMED,
    MISSING,
    NO_CSRF,
    OK,
    REVOKED,
    Outcome,
    Spy,
    ask,
    outcome,
)
from tests.support.corpus import by_repr, check_all

NOT_ACCESS: Outcome = Outcome(401, "AccessTokenRequiredError")
NOT_REFRESH: Outcome = Outcome(401, "RefreshTokenRequiredError")
NOT_FRESH: Outcome = Outcome(401, "FreshTokenRequiredError")
NO_SCOPE: Outcome = Outcome(403, "InsufficientScopeError")


def view() -> dict[str, str]:
    return {}


def guarded(decorate: Callable[[AuthX], Any]) -> tuple[Flask, AuthX]:
    """An app whose view ``/view`` carries that guard."""
    app, authx = make_app()
    app.add_url_rule("/view", view_func=decorate(authx)(view), methods=["GET", "POST", "OPTIONS"])
    return app, authx


def result(app: Flask, token: str | None) -> Outcome:
    return outcome(ask(app, path="/view", headers=None if token is None else bearer(token)))


ACCESS: list[Callable[[AuthX], Any]] = [
    lambda authx: authx.token_required,
    lambda authx: authx.token_required(),
    lambda authx: authx.token_required(type="access"),
    lambda authx: authx.token_required(fresh=False),
    lambda authx: authx.access_token_required,
    lambda authx: authx.access_token_required(),
]
REFRESH: list[Callable[[AuthX], Any]] = [
    lambda authx: authx.token_required(type="refresh"),
    lambda authx: authx.refresh_token_required,
    lambda authx: authx.refresh_token_required(),
]
FRESH: list[Callable[[AuthX], Any]] = [
    lambda authx: authx.token_required(fresh=True),
    lambda authx: authx.fresh_token_required,
    lambda authx: authx.fresh_token_required(),
]
OPTIONAL: list[Callable[[AuthX], Any]] = [
    lambda authx: authx.optional_token,
    lambda authx: authx.optional_token(),
    lambda authx: authx.optional_token(on_invalid="error"),
]


@pytest.mark.parametrize("decorate", ACCESS)
def test_guards_that_want_an_access_token(decorate: Callable[[AuthX], Any]) -> None:
    """USERS 25, 83, SECURITY A.11 184, A.15 289"""
    app, authx = guarded(decorate)
    assert result(app, None) == MISSING
    assert result(app, "x.y.z") == INVALID
    assert result(app, refresh_token(app, authx)) == NOT_ACCESS
    assert result(app, access_token(app, authx)) == OK


@pytest.mark.parametrize("decorate", REFRESH)
def test_guards_that_want_a_refresh_token(decorate: Callable[[AuthX], Any]) -> None:
    """USERS 25, SECURITY A.11 185"""
    app, authx = guarded(decorate)
    assert result(app, None) == MISSING
    assert result(app, "x.y.z") == INVALID
    assert result(app, access_token(app, authx)) == NOT_REFRESH
    assert result(app, refresh_token(app, authx)) == OK


@pytest.mark.parametrize("decorate", FRESH)
def test_guards_that_want_a_fresh_token(decorate: Callable[[AuthX], Any]) -> None:
    """SECURITY A.11 192"""
    app, authx = guarded(decorate)
    assert result(app, None) == MISSING
    assert result(app, access_token(app, authx)) == NOT_FRESH
    assert result(app, access_token(app, authx, fresh=True)) == OK
    assert result(app, refresh_token(app, authx)) == NOT_ACCESS


def test_a_stale_token_is_challenged_as_rfc_9470_has_it() -> None:
    app, authx = guarded(lambda authx: authx.fresh_token_required)
    response = ask(app, path="/view", headers=bearer(access_token(app, authx)))
    assert 'error="insufficient_user_authentication"' in response.headers["WWW-Authenticate"]


@pytest.mark.parametrize("decorate", OPTIONAL)
def test_an_optional_guard_lets_no_token_pass_and_no_invalid_one(
    decorate: Callable[[AuthX], Any],
) -> None:
    """SECURITY A.11 196, USERS 4"""
    app, authx = guarded(decorate)
    token = access_token(app, authx)
    expired = reforge(token, iat=1, nbf=1, auth_time=1, exp=2)
    assert result(app, None) == OK
    assert result(app, token) == OK
    assert result(app, "x.y.z") == INVALID
    assert result(app, expired) == Outcome(401, "TokenExpiredError")
    assert result(app, refresh_token(app, authx)) == NOT_ACCESS
    authx.token_blocklist(Spy(True))
    assert result(app, token) == REVOKED
    authx.token_blocklist(Spy(None))
    assert result(app, token) == FAULT


def test_an_optional_guard_may_take_an_invalid_token_for_none() -> None:
    app, authx = make_app(TOKEN_LOCATION=["headers", "cookies"])

    @app.route("/view", methods=["GET", "POST"])
    @authx.optional_token(on_invalid="ignore")
    def feed() -> dict[str, str | None]:
        return {"sub": current_token.sub if current_token else None}

    token = access_token(app, authx)
    for invalid in ("x.y.z", refresh_token(app, authx)):
        response = ask(app, path="/view", headers=bearer(invalid))
        assert outcome(response) == OK
        assert response.json == {"sub": None}
    assert ask(app, path="/view", headers=bearer(token)).json == {"sub": "ann"}
    spy = authx.token_blocklist(Spy(True))
    assert ask(app, path="/view", headers=bearer(token)).json == {"sub": None}
    # What is not a 401 stays what it is.
    spy.answer = None
    assert outcome(ask(app, path="/view", headers=bearer(token))) == FAULT
    assert outcome(ask(app, path="/view", headers={"Authorization": "Bearer"})) == MALFORMED
    headers = {"Cookie": f"__Host-access_token={token}"}
    assert outcome(ask(app, "POST", "/view", headers=headers)) == NO_CSRF


#: The scopes that a view needs, whether all of them, those of the token, and what becomes of it.
SCOPES: list[tuple[list[str], bool, list[str], Outcome]] = [
    (["a"], True, ["a"], OK),
    (["a"], True, ["a", "b"], OK),
    (["a"], True, [], NO_SCOPE),
    (["a"], True, ["b"], NO_SCOPE),
    (["a"], True, ["A"], NO_SCOPE),
    (["a", "b"], True, ["a"], NO_SCOPE),
    (["a", "b"], True, ["b", "a"], OK),
    (["a", "b"], False, ["b"], OK),
    (["a", "b"], False, ["c"], NO_SCOPE),
    (["admin:users"], True, ["admin:*"], OK),
    (["admin:users:read"], True, ["admin:*"], OK),
    (["admin:users:read"], True, ["admin:users:*"], OK),
    (["admin"], True, ["admin:*"], NO_SCOPE),
    (["admin:users"], True, ["*"], NO_SCOPE),
    (["admin:users"], True, ["admin*"], NO_SCOPE),
    (["admin:users"], True, ["admin:u*"], NO_SCOPE),
    (["admin:users"], True, ["administrator:*"], NO_SCOPE),
    (["admin:*"], True, ["admin:users"], NO_SCOPE),
]


def test_scopes() -> None:
    """SECURITY A.11 200, USERS 111"""

    def check(case: tuple[list[str], bool, list[str], Outcome]) -> None:
        needed, every, held, expected = case
        app, authx = guarded(lambda authx: authx.scopes_required(*needed, all_required=every))
        assert result(app, access_token(app, authx, scopes=held)) == expected

    check_all(by_repr(SCOPES), check)


def test_the_challenge_says_which_scopes_are_needed() -> None:
    """USERS 74"""
    app, authx = guarded(lambda authx: authx.scopes_required("a", "b:c"))
    assert result(app, None) == MISSING
    assert result(app, refresh_token(app, authx, scopes=["a", "b:c"])) == NOT_ACCESS
    response = ask(app, path="/view", headers=bearer(access_token(app, authx, scopes=["x:y"])))
    challenge = response.headers["WWW-Authenticate"]
    assert 'error="insufficient_scope"' in challenge
    assert 'scope="a b:c"' in challenge
    assert "x:y" not in challenge + response.text


def test_nested_guards_must_all_pass() -> None:
    app, authx = make_app()
    app.add_url_rule(
        "/view",
        view_func=authx.token_required(
            authx.scopes_required("a")(authx.scopes_required("b")(authx.optional_token(view)))
        ),
    )
    assert result(app, None) == MISSING
    assert result(app, access_token(app, authx, scopes=["a"])) == NO_SCOPE
    assert result(app, access_token(app, authx, scopes=["b"])) == NO_SCOPE
    assert result(app, access_token(app, authx, scopes=["a", "b"])) == OK


# Misuse


@pytest.mark.parametrize("misplaced", ["refresh", 5, None.__class__, Flask, object()])
def test_a_guard_goes_on_functions_only(misplaced: Any) -> None:
    _, authx = make_app()
    for decorate in (authx.token_required, authx.optional_token, authx.scopes_required("a")):
        with pytest.raises(TypeError, match="by keyword"):
            decorate(misplaced)


MISUSES: list[tuple[Callable[[Any], Any], type[Exception], str]] = [
    (lambda authx: authx.token_required(locations="header"), ValueError, "headers"),
    (lambda authx: authx.token_required(locations=["headers", "body"]), ValueError, "json"),
    (lambda authx: authx.token_required(locations=[]), ValueError, "none of them empty"),
    (lambda authx: authx.token_required(type="session"), ValueError, "access, refresh"),
    (lambda authx: authx.optional_token(on_invalid="anonymous"), ValueError, "error, ignore"),
    (lambda authx: authx.scopes_required(), ValueError, "at least one scope"),
    (lambda authx: authx.scopes_required(""), ValueError, "scope"),
    (lambda authx: authx.scopes_required("a b"), ValueError, "scope"),
    (lambda authx: authx.scopes_required('a"b'), ValueError, "scope"),
    (lambda authx: authx.scopes_required(view), TypeError, "scope"),
    (lambda authx: authx.scopes_required(["a", "b"]), TypeError, "scope"),
    (lambda authx: authx.token_required(optional=True), TypeError, "optional"),
    (lambda authx: authx.access_token_required(fresh=True), TypeError, "fresh"),
    (lambda authx: authx.refresh_token_required(check_revocation=False), TypeError, "revocation"),
    (lambda authx: authx.fresh_token_required(type="refresh"), TypeError, "type"),
    (lambda authx: authx.scopes_required("a", optional=True), TypeError, "optional"),
    (lambda authx: authx.protect(Flask("a"), optional=True), TypeError, "optional"),
    (lambda authx: authx.protect(Flask("a"), on_invalid="ignore"), TypeError, "on_invalid"),
    (lambda authx: authx.protect(Flask("a"), all_required=False), TypeError, "all_required"),
    (lambda authx: authx.token_required(view, "refresh"), TypeError, "positional"),
    (lambda authx: authx.protect(view), TypeError, "app or a blueprint"),
    (lambda authx: authx.public("view"), TypeError, "public"),
]


def test_misuse_is_an_error_where_it_is_written() -> None:
    """SECURITY A.15 289"""

    def check(case: tuple[Callable[[Any], Any], type[Exception], str]) -> None:
        misuse, error, message = case
        _, authx = make_app()
        with pytest.raises(error, match=message):
            misuse(authx)

    # A lambda has no name: the id is its number in the list.
    check_all([(f"misuse {number}: {case[2]}", case) for number, case in enumerate(MISUSES)], check)


def test_a_guard_of_an_object_that_is_not_set_up_names_init_app() -> None:
    app = Flask(__name__)
    authx = AuthX()
    app.add_url_rule("/view", view_func=authx.token_required(view))
    app.testing = True
    with pytest.raises(RuntimeError, match=r"init_app\(app\)"):
        ask(app, path="/view")
    app.testing = False
    assert outcome(ask(app, path="/view")) == Outcome(500)


def test_a_guard_of_another_object_of_the_same_name_names_init_app() -> None:
    app, _ = make_app()
    other = AuthX()
    app.add_url_rule("/view", view_func=other.token_required(view))
    app.testing = True
    with pytest.raises(RuntimeError, match=r"init_app\(app\)"):
        ask(app, path="/view")
