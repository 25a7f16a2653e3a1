"""What each guard asks for, in its bare and called forms, and how misuse is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from flask_authx import AuthX, current_token
from tests.support import access_token, bearer, make_app, reforge, refresh_token
from tests.support.answers import INVALID, MISSING, OK, REVOKED, Outcome, Spy, ask, outcome

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


def answer(app: Flask, token: str | None) -> Outcome:
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
    assert answer(app, None) == MISSING
    assert answer(app, "x.y.z") == INVALID
    assert answer(app, refresh_token(app, authx)) == NOT_ACCESS
    assert answer(app, access_token(app, authx)) == OK


@pytest.mark.parametrize("decorate", REFRESH)
def test_guards_that_want_a_refresh_token(decorate: Callable[[AuthX], Any]) -> None:
    """USERS 25, SECURITY A.11 185"""
    app, authx = guarded(decorate)
    assert answer(app, None) == MISSING
    assert answer(app, "x.y.z") == INVALID
    assert answer(app, access_token(app, authx)) == NOT_REFRESH
    assert answer(app, refresh_token(app, authx)) == OK


@pytest.mark.parametrize("decorate", FRESH)
def test_guards_that_want_a_fresh_token(decorate: Callable[[AuthX], Any]) -> None:
    """SECURITY A.11 192"""
    app, authx = guarded(decorate)
    assert answer(app, None) == MISSING
    assert answer(app, access_token(app, authx)) == NOT_FRESH
    assert answer(app, access_token(app, authx, fresh=True)) == OK
    assert answer(app, refresh_token(app, authx)) == NOT_ACCESS


def test_a_stale_token_is_challenged_as_rfc_9470_has_it() -> None:
    app, authx = guarded(lambda authx: authx.fresh_token_required)
    response = ask(app, path="/view", headers=bearer(access_token(app, authx)))
    assert 'error="insufficient_user_authentication"' in response.headers["WWW-Authenticate"]


@pytest.mark.parametrize("decorate", OPTIONAL)
def test_an_optional_guard_lets_no_token_pass_and_no_bad_one(
    decorate: Callable[[AuthX], Any],
) -> None:
    """SECURITY A.11 196, USERS 4"""
    app, authx = guarded(decorate)
    token = access_token(app, authx)
    expired = reforge(token, iat=1, nbf=1, auth_time=1, exp=2)
    assert answer(app, None) == OK
    assert answer(app, token) == OK
    assert answer(app, "x.y.z") == INVALID
    assert answer(app, expired) == (401, "TokenExpiredError")
    assert answer(app, refresh_token(app, authx)) == NOT_ACCESS
    authx.token_blocklist(Spy(True))
    assert answer(app, token) == REVOKED
    authx.token_blocklist(Spy(None))
    assert answer(app, token) == (503, "StoreUnavailableError")


def test_an_optional_guard_may_take_a_bad_token_for_none() -> None:
    app, authx = make_app(TOKEN_LOCATION=["headers", "cookies"])

    @app.route("/view", methods=["GET", "POST"])
    @authx.optional_token(on_invalid="ignore")
    def feed() -> dict[str, str | None]:
        return {"sub": current_token.sub if current_token else None}

    token = access_token(app, authx)
    for bad in ("x.y.z", refresh_token(app, authx)):
        response = ask(app, path="/view", headers=bearer(bad))
        assert (response.status_code, response.json) == (200, {"sub": None})
    assert ask(app, path="/view", headers=bearer(token)).json == {"sub": "ann"}
    spy = authx.token_blocklist(Spy(True))
    assert ask(app, path="/view", headers=bearer(token)).json == {"sub": None}
    # What is not a 401 stays what it is.
    spy.answer = None
    assert ask(app, path="/view", headers=bearer(token)).status_code == 503
    assert ask(app, path="/view", headers={"Authorization": "Bearer"}).status_code == 400
    headers = {"Cookie": f"__Host-access_token={token}"}
    assert ask(app, "POST", "/view", headers=headers).status_code == 403


@pytest.mark.parametrize(
    ("needed", "all_required", "held", "expected"),
    [
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
    ],
)
def test_scopes(needed: list[str], all_required: bool, held: list[str], expected: Outcome) -> None:
    """SECURITY A.11 200, USERS 111"""
    app, authx = guarded(lambda authx: authx.scopes_required(*needed, all_required=all_required))
    assert answer(app, access_token(app, authx, scopes=held)) == expected


def test_the_challenge_says_which_scopes_are_needed() -> None:
    """USERS 74"""
    app, authx = guarded(lambda authx: authx.scopes_required("a", "b:c"))
    assert answer(app, None) == MISSING
    assert answer(app, refresh_token(app, authx, scopes=["a", "b:c"])) == NOT_ACCESS
    response = ask(app, path="/view", headers=bearer(access_token(app, authx, scopes=["x:y"])))
    challenge = response.headers["WWW-Authenticate"]
    assert 'error="insufficient_scope"' in challenge
    assert 'scope="a b:c"' in challenge
    assert "x:y" not in challenge + response.text


def test_nested_guards_must_all_be_content() -> None:
    app, authx = make_app()
    app.add_url_rule(
        "/view",
        view_func=authx.token_required(
            authx.scopes_required("a")(authx.scopes_required("b")(authx.optional_token(view)))
        ),
    )
    assert answer(app, None) == MISSING
    assert answer(app, access_token(app, authx, scopes=["a"])) == NO_SCOPE
    assert answer(app, access_token(app, authx, scopes=["b"])) == NO_SCOPE
    assert answer(app, access_token(app, authx, scopes=["a", "b"])) == OK


# Misuse


@pytest.mark.parametrize("bad", ["refresh", 5, None.__class__, Flask, object()])
def test_a_guard_goes_on_functions_only(bad: Any) -> None:
    _, authx = make_app()
    for decorate in (authx.token_required, authx.optional_token, authx.scopes_required("a")):
        with pytest.raises(TypeError, match="by keyword"):
            decorate(bad)


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


@pytest.mark.parametrize(("misuse", "error", "message"), MISUSES)
def test_misuse_is_an_error_where_it_is_written(
    misuse: Callable[[Any], Any], error: type[Exception], message: str
) -> None:
    """SECURITY A.15 289"""
    _, authx = make_app()
    with pytest.raises(error, match=message):
        misuse(authx)


def test_a_guard_of_an_object_that_is_not_set_up_names_init_app() -> None:
    app = Flask(__name__)
    authx = AuthX()
    app.add_url_rule("/view", view_func=authx.token_required(view))
    app.testing = True
    with pytest.raises(RuntimeError, match=r"init_app\(app\)"):
        ask(app, path="/view")
    app.testing = False
    assert ask(app, path="/view").status_code == 500


def test_a_guard_of_another_object_of_the_same_name_names_init_app() -> None:
    app, _ = make_app()
    other = AuthX()
    app.add_url_rule("/view", view_func=other.token_required(view))
    app.testing = True
    with pytest.raises(RuntimeError, match=r"init_app\(app\)"):
        ask(app, path="/view")
