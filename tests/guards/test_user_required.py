"""Guards with ``user=True``: a view that does not look at the user is closed to deleted ones."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask

from flask_authx import (
    AuthX,
    BadConfigurationError,
    InsufficientScopeError,
    current_token,
    current_user,
)
from tests.support import access_token, bearer, make_app
from tests.support.answers import INVALID, OK, AsyncSpy, Outcome, Spy, ask, outcome, who
from tests.support.session_sites import site


def guards(authx: AuthX) -> dict[str, Any]:
    return {
        "token": authx.token_required(user=True),
        "access": authx.access_token_required(user=True),
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
    for path in paths:
        load.asked.clear()
        assert ask(app, path=path, headers=headers).text == "Ann"
        assert load.asked == ["ann"], f"loaded {load.asked} for {path}"
    load.answer = None
    for path in paths:
        assert outcome(ask(app, path=path, headers=headers)) == INVALID
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


def test_an_error_of_the_callback_is_the_apps_own() -> None:
    app, authx = make_app()
    load = authx.set_callback_get_model_instance(Spy(LookupError("of the app")))
    app.add_url_rule("/user", "user", authx.token_required(user=True)(who))
    headers = bearer(access_token(app, authx))
    app.testing = True
    with pytest.raises(LookupError, match="of the app"):
        ask(app, path="/user", headers=headers)
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


def test_it_is_no_keyword_of_a_guard_for_refresh_tokens() -> None:
    _, authx = make_app()
    guard: Any = authx.refresh_token_required
    with pytest.raises(TypeError, match="no option 'user'"):
        guard(user=True)


def test_nobody_is_loaded_for_an_app_that_does_not_ask() -> None:
    app: Flask
    app, authx = make_app()
    load = authx.set_callback_get_model_instance(Spy("Ann"))
    assert outcome(ask(app, headers=bearer(access_token(app, authx)))) == OK
    assert load.asked == []
