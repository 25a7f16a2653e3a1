"""The app's own user callback, and ``current_user``: USERS 97, 98, SECURITY A.11 198."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, abort, render_template_string

from flask_authx import (
    AuthX,
    BadConfigurationError,
    RevokedTokenError,
    SubjectNotFoundError,
    current_user,
)
from flask_authx.tracebacks import OutlinedError
from tests.support import access_token, bearer, make_app, parts, refresh_token
from tests.support.answers import INVALID, MISSING, REVOKED, Outcome, Spy, ask, outcome


def user_app() -> tuple[Flask, AuthX, Spy, dict[str, str]]:
    """``/use`` uses the user three times, ``/unused`` doesn't."""
    app, authx = make_app(TOKEN_LOCATION=["headers", "query"])
    spy = authx.set_callback_get_model_instance(Spy({"name": "Ann"}))

    @app.get("/use")
    @authx.token_required
    def use() -> dict[str, Any]:
        return {
            "name": current_user["name"],
            "same": authx.get_current_subject() is spy.answer and bool(current_user),
        }

    @app.get("/unused")
    @authx.token_required
    def unused() -> str:
        return "fine"

    return app, authx, spy, bearer(access_token(app, authx))


def test_the_user_is_loaded_when_it_is_used_and_once() -> None:
    """USERS 98"""
    app, _, spy, headers = user_app()
    assert ask(app, path="/unused", headers=headers).text == "fine"
    assert spy.asked == []
    assert ask(app, path="/use", headers=headers).json == {"name": "Ann", "same": True}
    assert spy.asked == ["ann"]
    ask(app, path="/use", headers=headers)
    assert spy.asked == ["ann", "ann"]


def test_no_user_is_loaded_for_a_refused_token() -> None:
    """Rule 1"""
    app, authx, spy, headers = user_app()
    assert outcome(ask(app, path="/use")) == MISSING
    assert outcome(ask(app, path="/use", headers=bearer("x.y.z"))) == INVALID
    authx.token_blocklist(Spy(True))
    assert outcome(ask(app, path="/use", headers=headers)) == REVOKED
    assert spy.asked == []


def test_an_unknown_user_gets_the_response_of_an_invalid_token() -> None:
    """USERS 97, SECURITY A.11 198: a response does not say which users exist."""
    app, _, spy, headers = user_app()
    invalid = ask(app, path="/use", headers=bearer("x.y.z"))
    spy.answer = None
    unknown = ask(app, path="/use", headers=headers)
    assert (unknown.status_code, unknown.data) == (invalid.status_code, invalid.data)
    assert list(unknown.headers) == list(invalid.headers)
    assert outcome(unknown) == INVALID
    assert ask(app, path="/unused", headers=headers).text == "fine"


def test_an_unknown_user_is_asked_for_once_as_well() -> None:
    app, authx, spy, headers = user_app()
    spy.answer = None

    @app.get("/twice")
    @authx.token_required
    def twice() -> str:
        for _ in range(2):
            with pytest.raises(SubjectNotFoundError):
                authx.get_current_subject()
        return "asked"

    assert ask(app, path="/twice", headers=headers).text == "asked"
    assert spy.asked == ["ann"]


def test_an_app_may_handle_an_unknown_user_itself() -> None:
    app, _, spy, headers = user_app()
    spy.answer = None

    @app.errorhandler(SubjectNotFoundError)
    def gone(error: SubjectNotFoundError) -> tuple[str, int]:
        return "gone", 410

    assert outcome(ask(app, path="/use", headers=headers)) == Outcome(410)
    assert outcome(ask(app, path="/use", headers=bearer("x.y.z"))) == INVALID


def test_what_the_callback_raises_is_a_500() -> None:
    """USERS 97, rule 2: never "anonymous", never a 401."""
    app, _, spy, headers = user_app()
    spy.answer = LookupError("the users' database is down")
    assert outcome(ask(app, path="/use", headers=headers)) == Outcome(500)
    app.testing = True
    with pytest.raises(OutlinedError, match=r"^the user callback raised LookupError:\n  File "):
        ask(app, path="/use", headers=headers)


class OwnRefusalError(RevokedTokenError):
    """An error of an app, whose reason says too much."""


def raises(error: Callable[[str], Exception]) -> Callable[[str, dict[str, Any]], Any]:
    """A user callback that tells all it knows."""

    def load(uid: str, claims: dict[str, Any]) -> Any:
        try:
            raise LookupError(f"{claims}")
        except LookupError:
            failure = error(f"no tenant in {claims}")
            failure.add_note(claims["csrf"])
            raise failure  # noqa: B904 - with its context, as careless code does

    return load


def raises_async(error: Callable[[str], Exception]) -> Callable[[str, dict[str, Any]], Any]:
    async def load(uid: str, claims: dict[str, Any]) -> Any:
        return raises(error)(uid, claims)

    return load


FAILURES: list[tuple[Callable[[str], Exception], Outcome, str]] = [
    (ValueError, Outcome(500), "ValueError"),
    (lambda text: ExceptionGroup(text, [OSError(text)]), Outcome(500), "OSError"),
    (OwnRefusalError, REVOKED, "a callback raised OwnRefusalError"),
]


@pytest.mark.parametrize("make", [raises, raises_async])
@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("path", ["/use", "/guard", "/refresh"])
def test_its_words_are_never_logged(
    make: Callable[..., Any],
    failure: tuple[Callable[[str], Exception], Outcome, str],
    path: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    error, expected, said = failure
    caplog.set_level(logging.DEBUG)
    app, authx = make_app(
        TOKEN_LOCATION=["headers", "cookies"], BLOCKLIST="memory://", SESSIONS=True
    )
    authx.set_subject_getter(make(error))
    app.add_url_rule("/use", "use", authx.token_required(lambda: str(current_user)))
    app.add_url_rule("/guard", "guard", authx.token_required(user=True)(lambda: ""))
    app.register_blueprint(authx.blueprint(url_prefix=""))
    with app.app_context():
        pair = authx.login("ann", data={"tenant": "acme-of-mine"})
    is_refresh = path == "/refresh"
    token = pair.refresh_token if is_refresh else pair.access_token
    response = ask(app, "POST" if is_refresh else "GET", path=path, headers=bearer(token))
    assert outcome(response) == expected
    written = caplog.text + "".join(str(vars(record)) for record in caplog.records)
    assert said in written
    assert expected != Outcome(500) or ".load" in written
    for secret in ("acme-of-mine", parts(token)[1]["csrf"], token.rpartition(".")[2]):
        assert secret not in written


def test_of_the_apps_own_error_the_app_gets_the_reason() -> None:
    app, authx, _, headers = user_app()
    seen: list[str] = []

    @authx.set_subject_getter
    def load(uid: str) -> Any:
        raise OwnRefusalError("banned since May")

    @app.errorhandler(OwnRefusalError)
    def handle(error: OwnRefusalError) -> tuple[str, int]:
        seen.append(error.reason)
        return "", 410

    assert outcome(ask(app, path="/use", headers=headers)) == Outcome(410)
    assert seen == ["banned since May"]


USES: list[Callable[[Any], Any]] = [lambda user: isinstance(user, dict), dir]


@pytest.mark.parametrize("uses", USES)
def test_a_failure_makes_no_proxy_unbound(uses: Callable[[Any], Any]) -> None:
    """USERS 97: Werkzeug's proxies answer some questions for the user if that is "unbound"."""
    app, authx, spy, headers = user_app()
    spy.answer = RuntimeError("no event loop")
    app.add_url_rule("/uses", "uses", authx.token_required(lambda: str(uses(current_user))))
    assert outcome(ask(app, path="/uses", headers=headers)) == Outcome(500)


@pytest.mark.parametrize("error", [RuntimeError("no event loop"), RecursionError(), LookupError()])
@pytest.mark.parametrize("path", ["/if", "/page"])
def test_what_the_callback_raises_makes_no_user_anonymous(error: Exception, path: str) -> None:
    """USERS 97: Werkzeug's proxies take a ``RuntimeError`` for "unbound", and that for falsy."""
    app, authx, spy, headers = user_app()
    spy.answer = error

    @app.get("/if")
    @authx.optional_token
    def maybe() -> str:
        return "somebody" if current_user else "nobody"

    @app.get("/page")
    @authx.optional_token
    def page() -> str:
        return render_template_string("{% if current_user %}somebody{% else %}nobody{% endif %}")

    assert outcome(ask(app, path=path, headers=headers)) == Outcome(500)
    assert ask(app, path=path).text == "nobody"


def test_the_callback_may_abort() -> None:
    app, authx, _, headers = user_app()

    @authx.set_subject_getter
    def load(uid: str) -> Any:
        abort(403)

    assert outcome(ask(app, path="/use", headers=headers)) == Outcome(403)


@pytest.mark.parametrize("user", ["", 0, [], False])
def test_a_falsy_user_is_a_user(user: Any) -> None:
    app, authx, spy, headers = user_app()
    spy.answer = user

    @app.get("/falsy")
    @authx.token_required
    def falsy() -> list[Any]:
        return [authx.get_current_subject(), current_user == user, bool(current_user)]

    assert ask(app, path="/falsy", headers=headers).json == [user, True, False]
    assert spy.asked == ["ann"]


def test_without_a_callback_the_error_says_how_to_register_one() -> None:
    app, authx = make_app()

    @app.get("/use")
    @authx.token_required
    def use() -> str:
        uses: list[Callable[[], Any]] = [
            authx.get_current_subject,
            lambda: current_user.name,
            lambda: bool(current_user),
        ]
        for ask_for in uses:
            with pytest.raises(RuntimeError, match="set_callback_get_model_instance"):
                ask_for()
        return "told"

    assert ask(app, path="/use", headers=bearer(access_token(app, authx))).text == "told"


def test_without_a_token_there_is_no_user() -> None:
    app, authx, spy, _ = user_app()

    @app.get("/maybe")
    @authx.optional_token
    def maybe() -> list[bool]:
        return [authx.get_current_subject() is None, bool(current_user)]

    assert ask(app, path="/maybe").json == [True, False]
    assert spy.asked == []


def test_a_nested_guard_that_changes_the_token_changes_the_user() -> None:
    app, authx = make_app(TOKEN_LOCATION=["headers", "query"])
    loaded: list[str] = []

    @authx.set_subject_getter
    def load(uid: str) -> str:
        loaded.append(uid)
        return uid

    @app.get("/change")
    @authx.access_token_required(locations="headers")
    def change() -> list[str]:
        users = [str(current_user), str(current_user)]

        @authx.refresh_token_required(locations="query")
        def inner() -> None:
            users.append(str(current_user))

        @authx.access_token_required(locations="headers")
        def innermost() -> None:
            users.append(str(current_user))

        inner()
        innermost()
        return users

    headers = bearer(access_token(app, authx, "ann"))
    query = {"token": refresh_token(app, authx, "bob")}
    response = ask(app, path="/change", headers=headers, query_string=query)
    assert response.json == ["ann", "ann", "bob", "ann"]
    assert loaded[:2] == ["ann", "bob"]


def test_the_same_token_in_a_nested_guard_keeps_the_user() -> None:
    app, authx, spy, headers = user_app()

    @app.get("/same")
    @authx.token_required
    def same() -> str:
        str(current_user)
        authx.token_required(lambda: str(current_user))()
        return str(current_user)

    ask(app, path="/same", headers=headers)
    assert spy.asked == ["ann"]


# How callbacks are registered


def positional(any_name: str, /) -> Any:
    return [any_name]


def with_claims(uid: str, claims: dict[str, Any]) -> Any:
    return [uid, claims["role"]]


def with_keyword(uid: str, *, claims: dict[str, Any]) -> Any:
    return [uid, claims["role"]]


def with_keywords(uid: str, **rest: Any) -> Any:
    return [uid, sorted(rest)]


def with_default(uid: str, other: int = 5) -> Any:
    return [uid, other]


def with_anything(*args: Any) -> Any:
    return list(args)


SHAPES: list[tuple[Callable[..., Any], Any]] = [
    (positional, ["ann"]),
    (with_claims, ["ann", "cook"]),
    (with_keyword, ["ann", "cook"]),
    (with_keywords, ["ann", ["claims"]]),
    (with_default, ["ann", 5]),
    (with_anything, ["ann"]),
    ("<{}>".format, "<ann>"),
]


@pytest.mark.parametrize(("callback", "expected"), SHAPES)
def test_a_callback_gets_the_claims_if_it_takes_them(
    callback: Callable[..., Any], expected: Any
) -> None:
    app, authx = make_app()
    authx.set_subject_getter(callback)

    @app.get("/")
    @authx.token_required
    def index() -> list[Any]:
        return [authx.get_current_subject()]

    headers = bearer(access_token(app, authx, data={"role": "cook"}))
    assert ask(app, path="/", headers=headers).json == [expected]


def without_arguments() -> bool:
    return False


def with_two(one: str, other: str) -> bool:
    return False


def without_positional(*, uid: str) -> bool:
    return False


BAD_SHAPES: list[Any] = [without_arguments, with_two, without_positional, "load", 5, None]


@pytest.mark.parametrize("shape", BAD_SHAPES)
def test_a_callback_that_can_not_be_called_so_is_refused_at_once(shape: Any) -> None:
    _, authx = make_app()
    with pytest.raises(BadConfigurationError, match="user callback"):
        authx.set_callback_get_model_instance(shape)
    with pytest.raises(BadConfigurationError, match="revocation callback"):
        authx.set_callback_token_blocklist(shape)


def test_changing_the_claims_in_a_callback_changes_no_decision() -> None:
    app, authx = make_app()

    @authx.token_blocklist
    def is_revoked(token: str, claims: dict[str, Any]) -> bool:
        claims |= {"scope": "admin", "fresh": True, "sub": "root"}
        return False

    app.add_url_rule("/", view_func=authx.scopes_required("admin")(lambda: "in"))
    headers = bearer(access_token(app, authx))
    assert outcome(ask(app, path="/", headers=headers)) == Outcome(403, "InsufficientScopeError")
    assert ask(app, headers=headers).json == {"sub": "ann"}
