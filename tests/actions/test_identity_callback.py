"""``set_callback_identity``: an object in place of a uid, wherever an app gives one."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from werkzeug.local import LocalProxy

from flask_authx import AuthX, BadConfigurationError, current_token
from tests.support import bearer, make_app, parts
from tests.support.answers import ask, outcome
from tests.support.corpus import by_repr, check_all
from tests.support.session_sites import Site, site


@dataclass
class User:
    id: Any
    name: str = "Ann"


ANN = User("ann")


def identity(user: User) -> Any:
    return user.id


def returning(uid: Any) -> Callable[[object], Any]:
    """An identity callback that always returns this."""

    def returns(_: object) -> Any:
        return uid

    return returns


def fails(_: object) -> Any:
    raise AssertionError


def takes_nothing() -> str:
    return "ann"


def takes_two(one: object, other: object) -> str:
    return "ann"


def of_users() -> Site:
    here = site()
    here.authx.set_callback_identity(identity)
    return here


def sub_of(token: str) -> str:
    sub: str = parts(token)[1]["sub"]
    return sub


def test_everything_that_takes_a_uid_takes_the_object() -> None:
    here = of_users()
    authx = here.authx

    @here.app.post("/password")
    @authx.token_required
    def password() -> str:
        return authx.reauthenticate(User(current_token.sub))

    first, second = here.log_in(ANN), here.log_in("ann")
    assert {sub_of(first.access_token), sub_of(second.access_token)} == {"ann"}
    assert set(here.listed(ANN)) == set(here.listed("ann")) == {here.sid(first), here.sid(second)}
    with here.app.app_context():
        assert sub_of(authx.create_access_token(ANN)) == "ann"
        login = authx.verify_token(first.access_token)
        assert sub_of(authx.create_access_token(ANN, login=login)) == "ann"
        with pytest.raises(ValueError, match="another user"):
            authx.create_access_token(User("bob"), login=login)
        authx.revoke_subject(ANN, keep=here.sid(second))
    assert (here.accepts(first), here.accepts(second)) == (False, True)

    made = ask(here.app, "POST", "/password", headers=bearer(second.access_token))
    assert parts(made.text)[1]["fresh"] is True


def test_also_without_stored_sessions() -> None:
    app, authx = make_app()
    authx.set_callback_identity(identity)
    with app.app_context():
        pair = authx.create_token_pair(ANN)
        assert sub_of(pair.refresh_token) == sub_of(authx.create_refresh_token(ANN)) == "ann"


def test_the_claims_callback_gets_the_uid() -> None:
    here = of_users()
    asked: list[str] = []

    def more(uid: str) -> dict[str, Any]:
        asked.append(uid)
        return {}

    here.claims_by(more)
    here.log_in(User(UUID(int=1)))
    assert set(asked) == {str(UUID(int=1))}


def test_the_uids_of_objects_are_those_that_others_give() -> None:
    here = of_users()
    uids: list[Any] = ["text", 7, UUID(int=7)]

    def check(uid: Any) -> None:
        assert sub_of(here.log_in(User(uid)).access_token) == str(uid)
        # A uid is no object: the callback is not asked.
        assert sub_of(here.log_in(uid).access_token) == str(uid)

    check_all(by_repr(uids), check)
    proxy: Any = LocalProxy(lambda: ANN)
    assert sub_of(here.log_in(proxy).access_token) == "ann"


def test_the_log_in_of_the_blueprint() -> None:
    here = of_users()
    here.app.register_blueprint(here.authx.blueprint(authenticate=lambda: ANN))
    made: Any = ask(here.app, "POST", "/auth/login").json
    assert sub_of(made["access_token"]) == "ann"


def test_an_object_without_a_callback_is_told_what_to_register() -> None:
    here = site()
    with pytest.raises(TypeError, match=r"not User: .* @authx\.set_callback_identity"):
        here.log_in(ANN)


@pytest.mark.parametrize("value", [None, True])
def test_nobody_is_no_object(value: Any) -> None:
    here = site()
    here.authx.set_callback_identity(returning("root"))
    with pytest.raises(TypeError, match=type(value).__name__):
        here.log_in(value)


@pytest.mark.parametrize("value", [None, "", 1.5, b"ann", ANN, True])
def test_what_the_callback_returns_must_be_a_uid(value: Any) -> None:
    here = site()
    here.authx.set_callback_identity(returning(value))
    with pytest.raises((TypeError, ValueError), match="uid") as caught:
        here.log_in(object())
    # It is registered already.
    assert "register" not in str(caught.value)
    told = f"^the identity callback returned {type(value).__name__} for object: let it return"
    assert value == "" or re.search(told, str(caught.value))


def test_an_error_of_the_callback_is_the_apps_own() -> None:
    here = of_users()
    with pytest.raises(AttributeError, match="id"):
        here.log_in(1.5)


@pytest.mark.parametrize("callback", [takes_nothing, takes_two, 42])
def test_a_callback_that_can_not_be_called_so_is_refused(callback: Any) -> None:
    with pytest.raises(BadConfigurationError, match="identity callback"):
        AuthX().set_callback_identity(callback)


def test_it_can_not_be_async() -> None:
    async def later(user: User) -> str:
        return str(user.id)

    with pytest.raises(BadConfigurationError, match="identity callback can't be async"):
        AuthX().set_callback_identity(later)


def test_guards_do_not_ask_it() -> None:
    here = of_users()
    pair = here.log_in(ANN)
    here.authx.set_callback_identity(fails)
    assert outcome(here.ask(pair.access_token, "GET", "/guarded"))[0] == 200
    assert here.renew(pair.refresh_token)
