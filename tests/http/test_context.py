"""A request's identity lives on that request: USERS 81, 82, 89, 90, 95, SECURITY A.15."""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask, copy_current_request_context
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.test import Client

from flask_authx import AuthX, current_token, current_user
from tests.support import SECRET, Clock, access_token, bearer, make_app
from tests.support.answers import (
    ACCESS_COOKIE,
    INVALID,
    MISSING,
    OK,
    REVOKED,
    Spy,
    ask,
    cookie,
    outcome,
    who,
)


@pytest.fixture
def two_users() -> tuple[Flask, AuthX, dict[str, dict[str, str]]]:
    app, authx = make_app()
    app.add_url_rule("/open", "open", who)
    headers = {uid: bearer(access_token(app, authx, uid)) for uid in ("ann", "bob")}
    return app, authx, headers


def test_a_pushed_app_context_carries_no_identity_on(
    two_users: tuple[Flask, AuthX, dict[str, dict[str, str]]],
) -> None:
    """USERS 81, SECURITY A.15 281"""
    app, _, headers = two_users
    with app.app_context():
        assert ask(app, headers=headers["ann"]).json == {"sub": "ann"}
        assert not current_token
        assert ask(app, path="/open").text == "nobody"
        assert ask(app, path="/optional").json == {"sub": None}
        assert outcome(ask(app, "OPTIONS")) == OK
        assert outcome(ask(app)) == MISSING
        assert ask(app, headers=headers["bob"]).json == {"sub": "bob"}


def test_a_client_whose_context_is_kept_carries_no_identity_on(
    two_users: tuple[Flask, AuthX, dict[str, dict[str, str]]],
) -> None:
    """USERS 82"""
    app, _, headers = two_users
    other = app.test_client()
    with app.test_client() as one:
        for _ in range(2):
            assert one.get("/guarded", headers=headers["ann"]).json == {"sub": "ann"}
            assert current_token.sub == "ann"
            assert other.get("/guarded", headers=headers["bob"]).json == {"sub": "bob"}
            assert other.get("/open").text == "nobody"
            assert current_token.sub == "ann"
            assert one.get("/open").text == "nobody"
            assert not current_token
            assert outcome(one.get("/guarded")) == MISSING
            assert not current_token


def test_a_refused_request_has_no_identity(
    two_users: tuple[Flask, AuthX, dict[str, dict[str, str]]],
) -> None:
    app, authx, headers = two_users
    authx.token_blocklist(Spy(True))
    with app.test_client() as client:
        assert outcome(client.get("/guarded", headers=headers["ann"])) == REVOKED
        assert not current_token
        assert not current_user


def test_nested_requests_of_one_app_and_of_two(
    two_users: tuple[Flask, AuthX, dict[str, dict[str, str]]],
) -> None:
    """USERS 90, SECURITY A.15 283"""
    app, authx, headers = two_users
    other, other_authx = make_app(SECRET_KEY=SECRET[::-1])
    other_headers = bearer(access_token(other, other_authx, "eve"))

    @app.get("/nest")
    @authx.token_required
    def nest() -> list[Any]:
        answers: list[Any] = [
            ask(app, headers=headers["bob"]).json,
            ask(app, path="/open").text,
            ask(other, headers=other_headers).json,
            ask(other, headers=headers["ann"]).status_code,
        ]
        return [*answers, current_token.sub]

    assert ask(app, path="/nest", headers=headers["ann"]).json == [
        {"sub": "bob"},
        "nobody",
        {"sub": "eve"},
        401,
        "ann",
    ]


def test_two_apps_of_one_process_do_not_cross() -> None:
    """USERS 90, SECURITY A.15 283: one AuthX object, each app with its own key."""
    authx = AuthX(clock=Clock())
    apps: dict[str, Flask] = {}
    for name, secret in (("one", SECRET), ("two", SECRET[::-1])):
        app = apps[name] = Flask(name)
        app.config["JWT_SECRET_KEY"] = secret
        authx.init_app(app)
        app.add_url_rule("/who", "who", authx.token_required(lambda: current_token.sub))
    client = Client(DispatcherMiddleware(apps["one"], {"/two": apps["two"]}))
    tokens = {name: access_token(app, authx, name) for name, app in apps.items()}
    for path, token, expected in (
        ("/who", "one", "one"),
        ("/two/who", "two", "two"),
        ("/two/who", "one", None),
        ("/who", "two", None),
    ):
        response = client.get(path, headers=bearer(tokens[token]))
        if expected is None:
            assert outcome(response) == INVALID
        else:
            assert response.text == expected


def test_one_extension_object_may_have_different_settings_on_each_app() -> None:
    authx = AuthX(clock=Clock())
    first, second = Flask("first"), Flask("second")
    for app, header in ((first, "X-First"), (second, "X-Second")):
        app.config |= {"JWT_SECRET_KEY": SECRET, "JWT_HEADER_NAME": header}
        authx.init_app(app)
        app.add_url_rule("/who", "who", authx.token_required(lambda: current_token.sub))
    token = access_token(first, authx)
    assert ask(first, path="/who", headers={"X-First": f"Bearer {token}"}).text == "ann"
    assert outcome(ask(second, path="/who", headers={"X-First": f"Bearer {token}"})) == MISSING


def test_of_two_objects_the_last_guard_says_who_it_is() -> None:
    app, authx = make_app()
    app.config["ADMIN_JWT_SECRET_KEY"] = SECRET[::-1]
    admin = AuthX(app, name="admin", clock=Clock())
    authx.set_subject_getter("user {}".format)
    admin.set_subject_getter("admin {}".format)

    @app.get("/both")
    @authx.token_required
    @admin.token_required(locations="query")
    def both() -> list[str]:
        subjects = [authx.get_current_subject(), admin.get_current_subject()]
        return [current_token.sub, str(current_user), *subjects]

    headers = bearer(access_token(app, authx, "ann"))
    query = {"token": access_token(app, admin, "boss")}
    assert ask(app, path="/both", headers=headers, query_string=query).json == [
        "boss",
        "admin boss",
        "user ann",
        "admin boss",
    ]


@pytest.mark.parametrize("on_invalid", ["error", "ignore"])
def test_an_optional_guard_that_admits_no_user_leaves_none(on_invalid: Any) -> None:
    """Else a view of one object would take another object's user for its own."""
    app, authx = make_app(PROTECT_ALL=True)
    app.config |= {"ADMIN_JWT_SECRET_KEY": SECRET[::-1], "ADMIN_JWT_HEADER_NAME": "X-Admin"}
    admin = AuthX(app, name="admin", clock=Clock())

    @app.get("/dashboard")
    @admin.optional_token(on_invalid=on_invalid)
    def dashboard() -> str:
        return f"secrets for {current_token.sub}" if current_token else "log in"

    headers = bearer(access_token(app, authx, "ann"))
    assert ask(app, path="/dashboard", headers=headers).text == "log in"
    headers["X-Admin"] = f"Bearer {access_token(app, admin, 'boss')}"
    assert ask(app, path="/dashboard", headers=headers).text == "secrets for boss"


def test_a_copied_request_context_keeps_its_identity_in_a_thread(
    two_users: tuple[Flask, AuthX, dict[str, dict[str, str]]],
) -> None:
    """SECURITY A.15 282"""
    app, authx, headers = two_users

    @app.get("/thread")
    @authx.token_required
    def thread() -> list[str]:
        copied: list[str] = []
        bare: list[bool] = []
        threads = [
            threading.Thread(
                target=copy_current_request_context(lambda: copied.append(current_token.sub))
            ),
            threading.Thread(target=lambda: bare.append(bool(current_token))),
        ]
        for one in threads:
            one.start()
            one.join()
        return [*copied, str(bare)]

    assert ask(app, path="/thread", headers=headers["ann"]).json == ["ann", "[False]"]


def test_a_thousand_interleaved_requests_of_two_users_in_eight_threads(
    two_users: tuple[Flask, AuthX, dict[str, dict[str, str]]],
) -> None:
    """USERS 95"""
    app, authx, headers = two_users
    authx.set_subject_getter("user {}".format)

    @app.get("/user")
    @authx.token_required
    def user() -> dict[str, str]:
        return {"sub": current_token.sub, "user": str(current_user), "again": current_token.sub}

    def run(seed: int) -> int:
        choice, client, mixed_up = random.Random(seed), app.test_client(), 0
        for _ in range(125):
            uid = choice.choice(["ann", "bob", None])
            if uid is None:
                mixed_up += client.get("/optional").json != {"sub": None}
            else:
                answer = client.get("/user", headers=headers[uid]).json
                mixed_up += answer != {"sub": uid, "user": f"user {uid}", "again": uid}
        return mixed_up

    ask(app)
    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(run, range(8))) == 0


# The proxies


def test_the_proxies_are_falsy_and_their_attributes_name_the_guard_to_add(
    two_users: tuple[Flask, AuthX, dict[str, dict[str, str]]],
) -> None:
    """USERS 89"""
    app, authx, _ = two_users
    authx.set_subject_getter(str)

    def use() -> None:
        proxies: list[Any] = [current_token, current_user]
        for proxy in proxies:
            assert not proxy
            assert "unbound" in repr(proxy)
            with pytest.raises(RuntimeError, match=r"@authx\.token_required"):
                _ = proxy.sub

    use()
    with app.app_context():
        use()
    with app.test_request_context():
        use()
        assert authx.get_current_subject() is None


def test_the_proxies_stand_for_the_token_and_the_user(
    two_users: tuple[Flask, AuthX, dict[str, dict[str, str]]],
) -> None:
    app, authx, headers = two_users
    authx.set_subject_getter(Spy({"name": "Ann"}))
    with app.test_client() as client:
        client.get("/guarded", headers=headers["ann"])
        assert current_token
        assert (current_token.sub, current_token.claims["sub"]) == ("ann", "ann")
        assert headers["ann"]["Authorization"].removeprefix("Bearer ") not in repr(current_token)
        assert current_user["name"] == "Ann"
        assert authx.get_current_subject() == {"name": "Ann"}


def test_a_view_that_changes_its_claims_changes_no_others(
    two_users: tuple[Flask, AuthX, dict[str, dict[str, str]]],
) -> None:
    app, authx, headers = two_users

    @app.get("/change")
    @authx.token_required
    def change() -> dict[str, Any]:
        before = dict(current_token.claims)
        current_token.claims["sub"] = "root"
        current_token.claims.pop("exp")
        return {"before": before["sub"], "exp": "exp" in before, "sub": current_token.sub}

    for _ in range(2):
        response = ask(app, path="/change", headers=headers["ann"])
        assert response.json == {"before": "ann", "exp": True, "sub": "ann"}


def test_the_location_is_that_of_the_last_guard() -> None:
    app, authx = make_app(TOKEN_LOCATION="headers,cookies,query,json")
    token = access_token(app, authx)

    def where() -> str:
        return f"{current_token.location} {current_token.header['typ']}"

    app.add_url_rule("/where", "where", authx.token_required(where), methods=["GET", "POST"])
    by_query = authx.token_required(locations="query")(where)
    app.add_url_rule("/both", "both", authx.token_required(locations="headers")(by_query))
    places: dict[str, dict[str, Any]] = {
        "headers": {"headers": bearer(token)},
        "cookies": {"headers": cookie((ACCESS_COOKIE, token))},
        "query": {"query_string": {"token": token}},
        "json": {"method": "POST", "json": {"access_token": token}},
    }
    for place, sent in places.items():
        assert ask(app, path="/where", **sent).text == f"{place} at+jwt"
    both = ask(app, path="/both", headers=bearer(token), query_string={"token": token})
    assert both.text == "query at+jwt"
