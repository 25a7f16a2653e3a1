"""Guards with ``user=True``: a view that does not look at the user is closed to deleted ones."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from flask import Flask

from flask_authx import (
    AuthX,
    BadConfigurationError,
    InsufficientScopeError,
    SubjectNotFoundError,
    current_token,
    current_user,
)
from flask_authx.tracebacks import OutlinedError
from tests.support import access_token, bearer, make_app, refresh_token
from tests.support.answers import INVALID, OK, AsyncSpy, Outcome, Spy, ask, outcome, who
from tests.support.session_sites import site

PATHS = ["/own", "/both", "/none"]


def guards(authx: AuthX) -> dict[str, Any]:
    return {
        "token": authx.token_required(user=True),
        "access": authx.access_token_required(user=True),
        "refresh": authx.refresh_token_required(user=True),
        "fresh": authx.fresh_token_required(user=True),
        "scopes": authx.scopes_required("a", user=True),
        "optional": authx.optional_token(user=True),
    }


async def later() -> str:
    return str(current_user)


@pytest.mark.parametrize("spy", [Spy, AsyncSpy])
def test_each_guard_refuses_a_user_that_is_gone(spy: type[Spy]) -> None:
    app, authx = make_app()
    load = spy("Ann")
    authx.set_callback_get_model_instance(load)
    for name, guard in guards(authx).items():
        app.add_url_rule(f"/by/{name}", f"by {name}", guard(lambda: str(current_user)))

        app.add_url_rule(f"/by/{name}/async", f"by {name} async", guard(later))
    paths = [f"/by/{name}{rest}" for name in guards(authx) for rest in ("", "/async")]
    headers = bearer(access_token(app, authx, fresh=True, scopes=["a"]))
    of_refresh = bearer(refresh_token(app, authx))

    def sent(path: str) -> dict[str, str]:
        return of_refresh if "refresh" in path else headers

    for path in paths:
        load.asked.clear()
        assert ask(app, path=path, headers=sent(path)).text == "Ann"
        assert load.asked == ["ann"], f"loaded {load.asked} for {path}"
    load.answer = None
    for path in paths:
        assert outcome(ask(app, path=path, headers=sent(path))) == INVALID
    # A guard without it does not ask.
    assert outcome(ask(app, headers=headers)) == OK


def test_a_whole_app_and_a_blueprint() -> None:
    app, authx = make_app()
    load = authx.set_callback_get_model_instance(Spy("Ann"))
    app.add_url_rule("/view", "view", who)
    authx.protect(app, user=True)
    headers = bearer(access_token(app, authx))
    assert ask(app, path="/view", headers=headers).text == "ann"
    load.answer = None
    assert outcome(ask(app, path="/view", headers=headers)) == INVALID


def test_a_refused_user_is_nobody() -> None:
    app, authx = make_app()
    authx.set_callback_get_model_instance(Spy(None))
    app.add_url_rule("/user", "user", authx.token_required(user=True)(who))
    with app.test_client() as client:
        refused = client.get("/user", headers=bearer(access_token(app, authx)))
        assert outcome(refused) == INVALID
        assert not current_token
        assert not current_user


def test_it_is_asked_last() -> None:
    app, authx = make_app()
    load = authx.set_callback_get_model_instance(Spy("Ann"))
    view = authx.token_required(user=True)(authx.scopes_required("a", user=True)(who))
    app.add_url_rule("/scopes", "scopes", authx.scopes_required("a", user=True)(who))
    app.add_url_rule("/nested", "nested", view)
    plain, held = (bearer(access_token(app, authx, scopes=scopes)) for scopes in (None, ["a"]))
    assert outcome(ask(app, path="/scopes", headers=plain))[0] == 403
    assert load.asked == []
    assert ask(app, path="/nested", headers=held).text == "ann"
    assert load.asked == ["ann"]


def test_an_error_of_the_callback_is_a_500_without_its_words() -> None:
    app, authx = make_app()
    load = authx.set_callback_get_model_instance(Spy(LookupError("of the app")))
    app.add_url_rule("/user", "user", authx.token_required(user=True)(who))
    headers = bearer(access_token(app, authx))
    app.testing = True
    with pytest.raises(OutlinedError, match="LookupError") as caught:
        ask(app, path="/user", headers=headers)
    assert "of the app" not in str(caught.value)
    load.answer = InsufficientScopeError(["banned"])
    assert outcome(ask(app, path="/user", headers=headers)) == Outcome(
        403, "InsufficientScopeError"
    )


def test_identify_answers_none_for_a_user_that_is_gone() -> None:
    app, authx = make_app()
    load = authx.set_callback_get_model_instance(Spy("Ann"))
    with app.test_request_context(headers=bearer(access_token(app, authx))):
        assert authx.identify(optional=True, user=True) is not None
        assert (current_user, load.asked) == ("Ann", ["ann"])
    load.answer = None
    with app.test_request_context(headers=bearer(access_token(app, authx))):
        assert authx.identify(optional=True, user=True) is None
        assert not current_token
        assert authx.identify(optional=True) is not None


def test_without_a_callback_the_error_says_what_to_register() -> None:
    app, authx = make_app()
    with app.test_request_context(headers=bearer(access_token(app, authx))):
        with pytest.raises(RuntimeError, match="set_callback_get_model_instance"):
            authx.identify(optional=True, user=True)
        assert not current_token
    app.add_url_rule("/user", "user", authx.token_required(user=True)(who))
    app.testing = True
    with pytest.raises(BadConfigurationError) as caught:
        ask(app)
    [problem] = caught.value.problems
    assert problem.startswith("the guard of the view 'user' has user=True")
    assert "@authx.set_callback_get_model_instance" in problem


def test_a_rule_without_a_callback_is_a_problem_of_each_view() -> None:
    app, authx = make_app()
    app.add_url_rule("/view", "view", who)
    authx.protect(app, user=True)
    app.testing = True
    with pytest.raises(BadConfigurationError, match="the view 'view' has user=True"):
        ask(app)
    authx.set_callback_get_model_instance(Spy("Ann"))
    assert ask(app, path="/view", headers=bearer(access_token(app, authx))).text == "ann"


def test_a_refresh_token_takes_it_as_well() -> None:
    made = site()
    made.users_by(load := Spy("Ann"))
    guard = made.authx.token_required(type="refresh", user=True)
    made.app.add_url_rule("/session", "session", guard(who))
    pair = made.log_in()
    assert ask(made.app, path="/session", headers=bearer(pair.refresh_token)).text == "ann"
    load.answer = None
    refused = ask(made.app, path="/session", headers=bearer(pair.refresh_token))
    assert outcome(refused) == INVALID


@pytest.mark.parametrize("user", ["Ann", None])
def test_a_guard_and_the_refresh_behind_it_load_the_user_once(user: str | None) -> None:
    made = site()
    pair = made.log_in()
    made.users_by(load := Spy(user))

    @made.app.post("/renew")
    @made.authx.refresh_token_required(user=True)
    def renew() -> dict[str, Any]:
        return made.authx.refresh().to_dict()

    answer = made.ask(pair.refresh_token, path="/renew")
    assert outcome(answer) == (OK if user else INVALID)
    assert load.asked == ["ann"]


def test_a_rule_of_the_app_does_not_reach_the_guard_of_a_view() -> None:
    app, authx = make_app()
    authx.set_callback_get_model_instance(Spy(None))
    app.add_url_rule("/own", "own", authx.token_required(who))
    app.add_url_rule("/both", "both", authx.token_required(user=True)(who))
    app.add_url_rule("/none", "none", who)
    authx.protect(app, user=True)
    headers = bearer(access_token(app, authx))
    outcomes = {path: outcome(ask(app, path=path, headers=headers)) for path in PATHS}
    assert outcomes == {"/own": OK, "/both": INVALID, "/none": INVALID}


@pytest.mark.parametrize("places", ["headers", "headers,query"])
@pytest.mark.parametrize("user", ["Ann", None, 0])
def test_the_user_is_loaded_once_whoever_asks(user: object, places: str) -> None:
    app, authx = make_app(TOKEN_LOCATION=places)
    load = authx.set_callback_get_model_instance(Spy(user))
    known = user is not None

    @app.before_request
    def first() -> None:
        for optional in (True, False):
            with contextlib.suppress(SubjectNotFoundError):
                assert bool(authx.identify(optional=optional, user=True)) is known
        assert bool(current_user) is bool(user)

    app.add_url_rule("/user", "user", authx.token_required(user=True)(who))
    headers = bearer(access_token(app, authx))
    for _ in range(2):
        load.asked.clear()
        assert outcome(ask(app, path="/user", headers=headers)) == (OK if known else INVALID)
        assert load.asked == ["ann"]


def test_each_token_of_a_request_has_its_own_user() -> None:
    app, authx = make_app(TOKEN_LOCATION="headers,query")
    loaded: list[str] = []

    @authx.set_subject_getter
    def load(uid: str) -> str | None:
        loaded.append(uid)
        return None if uid == "gone" else f"user {uid}"

    @app.get("/two")
    @authx.token_required(locations="query", user=True)
    def two() -> list[object]:
        seen = [current_user + ""]
        for place in ("headers", "query"):
            authx.identify(locations=place)
            seen.append(current_user + "")
        return seen

    query = {"token": access_token(app, authx, "bob")}
    answer = ask(app, path="/two", headers=bearer(access_token(app, authx)), query_string=query)
    assert answer.json == ["user bob", "user ann", "user bob"]
    assert loaded == ["bob", "ann"]
    with app.test_request_context("/?token=" + access_token(app, authx, "gone")):
        assert authx.identify(locations="query")
        with pytest.raises(SubjectNotFoundError):
            bool(current_user)
        assert not current_user


def test_the_error_of_the_callback_is_not_one_to_ignore() -> None:
    app, authx = make_app()
    authx.set_callback_get_model_instance(Spy(LookupError("of the app")))
    with app.test_request_context(headers=bearer(access_token(app, authx))):
        with pytest.raises(OutlinedError, match="LookupError"):
            authx.identify(optional=True, user=True, on_error="ignore")
        assert not current_token


def test_nobody_is_loaded_for_an_app_that_does_not_ask() -> None:
    app: Flask
    app, authx = make_app()
    load = authx.set_callback_get_model_instance(Spy("Ann"))
    assert outcome(ask(app, headers=bearer(access_token(app, authx)))) == OK
    assert load.asked == []
