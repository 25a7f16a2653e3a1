"""The path of the refresh cookie: where the app refreshes and logs out, and nowhere else."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Blueprint, Flask, Response

from flask_authx import AuthX, BadConfigurationError
from tests.support import SECRET, Clock, refresh_token
from tests.support.answers import ACCESS_COOKIE, REFRESH_COOKIE, ask
from tests.support.browsers import (
    ACCESS_CSRF,
    LOCAL,
    Place,
    answer,
    browser_app,
    cookies_in,
    pair_of,
    plain_app,
    unset_in,
)


def path_of(app: Flask, authx: AuthX, name: str = REFRESH_COOKIE, **environ: Any) -> str:
    """The path that a cookie of a new session is set with."""
    pair = pair_of(app, authx)
    response = answer(app, lambda to: authx.set_cookies(to, pair), **environ)
    (path,) = (one for one in cookies_in(response)[name].attributes if one.startswith("Path="))
    return path.removeprefix("Path=")


def nested(*registrations: list[str], **config: Any) -> tuple[Flask, AuthX]:
    """An app on which the blueprint is registered so many times, inside others of these prefixes.

    The last prefix is the blueprint's own.
    """
    app = Flask("tests")
    app.config.from_mapping(JWT_SECRET_KEY=SECRET, JWT_TOKEN_LOCATION="cookies", **config)
    authx = AuthX(app, clock=Clock())
    for number, prefixes in enumerate(registrations):
        inner = authx.blueprint(prefixes[-1], name=f"own{number}")
        for depth, prefix in enumerate(reversed(prefixes[:-1])):
            outer = Blueprint(f"outer{number}_{depth}", __name__, url_prefix=prefix)
            outer.register_blueprint(inner)
            inner = outer
        app.register_blueprint(inner)
    return app, authx


def test_the_path_is_the_prefix_of_the_blueprint() -> None:
    """SECURITY A.8 145"""
    for prefix, path in (("/auth", "/auth"), ("/api/v1/login", "/api/v1/login"), ("/", "/")):
        assert path_of(*nested([prefix])) == path


def test_the_path_of_a_nested_blueprint_is_the_whole() -> None:
    assert path_of(*nested(["/api", "/v2", "/auth"])) == "/api/v2/auth"


def test_a_blueprint_registered_under_another_prefix_is_found_there() -> None:
    app = Flask("tests")
    app.config.from_mapping(JWT_SECRET_KEY=SECRET, JWT_TOKEN_LOCATION="cookies")
    authx = AuthX(app, clock=Clock())
    app.register_blueprint(authx.blueprint("/auth"), url_prefix="/moved")
    assert path_of(app, authx) == "/moved"


def test_where_the_app_is_mounted_stands_before_it() -> None:
    """Else browsers would never send it."""
    app, authx = nested(["/auth"])
    mounted: dict[str, Any] = {"base_url": f"{LOCAL}/shop/"}
    assert path_of(app, authx, **mounted) == "/shop/auth"
    assert path_of(app, authx, ACCESS_COOKIE, **mounted) == "/"
    assert path_of(*plain_app(), REFRESH_COOKIE, **mounted) == "/shop/auth"
    assert path_of(*plain_app(REFRESH_COOKIE_PATH="/r"), REFRESH_COOKIE, **mounted) == "/r"


@pytest.mark.parametrize("prefix", ["/käse", "/a b", "/[x]", "/%7Eann"])
def test_a_path_that_is_sent_in_another_spelling_is_one_place(prefix: str) -> None:
    """A cookie that a response sets twice is what one browser or another makes of it."""
    app, authx = nested([prefix])
    pair = pair_of(app, authx)

    def twice(to: Response) -> None:
        authx.set_cookies(to, pair)
        authx.set_cookies(to, pair)

    def there_and_back(to: Response) -> None:
        authx.set_cookies(to, pair)
        authx.unset_cookies(to)

    assert cookies_in(answer(app, twice))[REFRESH_COOKIE].value == pair.refresh_token
    found = cookies_in(answer(app, there_and_back))
    assert {one.value for one in found.values()} == {""}


def test_a_400_knows_the_present_path_in_each_spelling() -> None:
    former = [{"path": "/k%C3%A4se"}, {"path": "/old"}]
    stores: dict[str, Any] = {"JWT_SESSIONS": True, "JWT_BLOCKLIST": "memory://"}
    app, authx = nested(["/käse"], JWT_COOKIE_FORMER=former, **stores)
    app.add_url_rule("/x", "x", authx.token_required(lambda: "x"))
    twice = {"Cookie": f"{ACCESS_COOKIE}=a; {ACCESS_COOKIE}=b"}
    unset = unset_in(ask(app, "GET", "/x", headers=twice))
    assert Place(REFRESH_COOKIE, "/old") in unset
    assert Place(REFRESH_COOKIE, "/k%C3%A4se") not in unset


def test_outside_of_a_request_the_config_says_where_that_is() -> None:
    app, authx = nested(["/auth"], APPLICATION_ROOT="/shop")
    token = refresh_token(app, authx)
    response = answer(app, lambda to: None)
    with app.app_context():
        authx.set_refresh_cookies(response, token)
    assert "Path=/shop/auth" in cookies_in(response)[REFRESH_COOKIE].attributes


@pytest.mark.parametrize("registrations", [[["/a"], ["/b"]], [["/<tenant>/auth"]]])
def test_a_path_that_is_not_one_is_an_error_at_start_up(registrations: list[list[str]]) -> None:
    app, authx = browser_app(prefix=registrations[0][-1])
    for number, prefixes in enumerate(registrations[1:]):
        app.register_blueprint(authx.blueprint(prefixes[-1], name=f"more{number}"))
    with pytest.raises(BadConfigurationError, match="JWT_REFRESH_COOKIE_PATH must be set"):
        app.test_client().get("/guarded")


def test_with_the_path_set_the_blueprint_may_be_anywhere() -> None:
    app, authx = browser_app(prefix="/a", REFRESH_COOKIE_PATH="/")
    app.register_blueprint(authx.blueprint("/<tenant>/auth", name="more"))
    client = app.test_client()
    response = client.post("/sign-in/ann")
    assert "Path=/" in cookies_in(response)[REFRESH_COOKIE].attributes


def test_a_refresh_cookie_that_no_view_would_see_is_refused() -> None:
    app, authx = plain_app(home=None)
    pair = pair_of(app, authx)
    with pytest.raises(RuntimeError, match="JWT_REFRESH_COOKIE_PATH") as caught:
        answer(app, lambda to: authx.set_refresh_cookies(to, pair.refresh_token))
    assert "authx.blueprint()" in str(caught.value)
    assert answer(app, lambda to: authx.set_access_cookies(to, pair.access_token))

    def both(to: Any) -> None:
        to.set_cookie("theirs", "x")
        with pytest.raises(RuntimeError, match="JWT_REFRESH_COOKIE_PATH"):
            authx.set_cookies(to, pair)

    # All or nothing; and there is nothing to be taken back.
    assert cookies_in(answer(app, both)).keys() == {"theirs"}
    taken = cookies_in(answer(app, authx.unset_cookies))
    assert set(taken) == {ACCESS_COOKIE, ACCESS_CSRF}
    app, authx = plain_app(home=None, REFRESH_COOKIE_PATH="/x")
    assert path_of(app, authx) == "/x"
