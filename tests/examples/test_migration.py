"""The example ``migration``: what clients hold from before the move is good for after it."""

from __future__ import annotations

import inspect
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from time_machine import Traveller, travel
from werkzeug.test import TestResponse

from examples.migration import after, before, bridge
from examples.migration.models import User, db
from flask_authx import AuthX
from flask_authx.cli import authx as commands
from tests.docs.moved import seconds_ahead
from tests.support import NOW, ROOT, SECRET, bearer, parts

ANN = {"name": "ann", "password": "correct horse"}
#: How far ahead of the release ``MOVED_AT`` is, in seconds.
AHEAD = seconds_ahead((ROOT / "examples/migration/README.md").read_text("utf-8"))


@pytest.fixture
def clock() -> Iterator[Traveller]:
    with travel(NOW, tick=False) as stopped:
        yield stopped


@contextmanager
def running(app: Flask) -> Generator[FlaskClient]:
    yield app.test_client()
    with app.app_context():
        db.session.remove()
        db.engine.dispose()


@pytest.fixture
def old(tmp_path: Path, clock: object) -> Iterator[FlaskClient]:
    config = {"SQLALCHEMY_DATABASE_URI": f"sqlite:///{tmp_path}/app.db", "JWT_SECRET_KEY": SECRET}
    app = before.create_app(config)
    with app.app_context():
        # The claims callback finds each user who gets a token.
        db.session.add(User(name="7", password="", role="reader"))
        db.session.commit()
    with running(app) as client:
        yield client


@pytest.fixture
def new(old: FlaskClient, clock: Traveller) -> Iterator[FlaskClient]:
    """The app after the move, which a deployment follows: tables, the store, a start."""
    clock.shift(60)
    names = ("SQLALCHEMY_DATABASE_URI", "JWT_SECRET_KEY")
    config: dict[str, Any] = {name: old.application.config[name] for name in names}
    app = after.create_app({**config, "MOVED_AT": int(NOW) + 60 + AHEAD})
    done = app.test_cli_runner().invoke(commands, ["store", "init", "--trust-older"])
    assert done.exit_code == 0, done.output
    with running(app) as client:
        yield client


def log_in(client: FlaskClient) -> dict[str, str]:
    """Log in, and the tokens as clients without cookies have them."""
    response = client.post("/login", json=ANN)
    assert response.json == {"user": "ann"}
    return tokens_of(client)


def tokens_of(client: FlaskClient) -> dict[str, str]:
    found: dict[str, str] = {}
    for kind, path in (("access", "/"), ("refresh", "/"), ("refresh", "/auth")):
        cookie = client.get_cookie(f"{kind}_token_cookie", path=path)
        if cookie is not None:
            found[kind] = cookie.value
    return found


def csrf(client: FlaskClient, kind: str) -> dict[str, str]:
    cookie = client.get_cookie(f"csrf_{kind}_token")
    assert cookie is not None
    return {"X-CSRF-TOKEN": cookie.value}


def statuses(new: FlaskClient, *tokens: str) -> list[int]:
    """What a client without cookies is answered: for each token a 200 or a 401."""
    client = new.application.test_client(use_cookies=False)
    return [client.get("/profile", headers=bearer(token)).status_code for token in tokens]


def refreshed(new: FlaskClient, token: str) -> TestResponse:
    client = new.application.test_client(use_cookies=False)
    return client.post("/auth/refresh", headers=bearer(token))


def log_out(new: FlaskClient, token: str) -> None:
    client = new.application.test_client(use_cookies=False)
    response = client.delete("/auth/logout", headers=bearer(token))
    assert response.json == {"logged_out": True}


def cookie_of(response: TestResponse, name: str) -> str:
    (found,) = [
        header.partition("=")[2].partition(";")[0]
        for header in response.headers.getlist("Set-Cookie")
        if header.startswith(f"{name}=") and not header.startswith(f"{name}=;")
    ]
    return found


# Tokens from before


@pytest.fixture
def held(old: FlaskClient) -> dict[str, str]:
    """The tokens that a client had when the app was moved."""
    return log_in(old)


def test_tokens_from_before_are_good_after(held: dict[str, str], new: FlaskClient) -> None:
    assert statuses(new, held["access"]) == [200]
    response = refreshed(new, held["refresh"])
    assert response.status_code == 200
    assert statuses(new, cookie_of(response, "access_token_cookie")) == [200]


def test_what_was_revoked_before_stays_revoked(
    old: FlaskClient, held: dict[str, str], request: pytest.FixtureRequest
) -> None:
    assert old.delete("/auth/logout", headers=bearer(held["access"])).status_code == 200
    new = request.getfixturevalue("new")
    assert statuses(new, held["access"]) == [401]


def test_before_a_log_out_leaves_the_refresh_token(old: FlaskClient, held: dict[str, str]) -> None:
    """What the move is for."""
    assert old.delete("/auth/logout", headers=bearer(held["access"])).status_code == 200
    client = old.application.test_client(use_cookies=False)
    response = client.post("/auth/refresh", headers=bearer(held["refresh"]))
    assert response.status_code == 200


def test_one_log_out_revokes_all_tokens_from_before(held: dict[str, str], new: FlaskClient) -> None:
    response = refreshed(new, held["refresh"])
    log_out(new, held["access"])
    assert statuses(new, held["access"], cookie_of(response, "access_token_cookie")) == [401, 401]
    assert refreshed(new, held["refresh"]).status_code == 401


def test_a_log_out_with_a_refreshed_token_revokes_all_tokens_from_before(
    held: dict[str, str], new: FlaskClient
) -> None:
    token = cookie_of(refreshed(new, held["refresh"]), "access_token_cookie")
    log_out(new, token)
    assert statuses(new, held["access"], token) == [401, 401]
    assert refreshed(new, held["refresh"]).status_code == 401


def test_a_log_out_with_a_refresh_token_revokes_all_tokens_from_before(
    held: dict[str, str], new: FlaskClient
) -> None:
    log_out(new, held["refresh"])
    assert statuses(new, held["access"]) == [401]
    assert refreshed(new, held["refresh"]).status_code == 401


def test_a_log_out_revokes_what_an_old_process_issues_during_the_release(
    old: FlaskClient, new: FlaskClient, clock: Traveller
) -> None:
    clock.shift(30 * 60)
    held = log_in(old)
    log_out(new, held["access"])
    assert statuses(new, held["access"]) == [401]
    assert refreshed(new, held["refresh"]).status_code == 401


# Tokens from after


@pytest.fixture
def moved(new: FlaskClient, clock: Traveller) -> FlaskClient:
    """The app when the last old process has stopped."""
    clock.shift(AHEAD)
    return new


@pytest.mark.parametrize("sent", ["access", "refresh"])
def test_either_token_logs_out_also_when_the_access_token_has_expired(
    moved: FlaskClient, clock: Traveller, sent: str
) -> None:
    tokens = log_in(moved)
    clock.shift(60 * 60)
    assert statuses(moved, tokens["access"]) == [401]
    log_out(moved, tokens[sent])
    assert refreshed(moved, tokens["refresh"]).status_code == 401


def test_one_log_out_revokes_all_tokens_of_its_session(
    moved: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    new = moved
    tokens, other = log_in(new), log_in(new.application.test_client())
    renewed = cookie_of(refreshed(new, tokens["refresh"]), "access_token_cookie")
    log_out(new, renewed)
    assert statuses(new, tokens["access"], renewed, other["access"]) == [401, 401, 200]
    assert refreshed(new, tokens["refresh"]).status_code == 401
    assert refreshed(new, other["refresh"]).status_code == 200
    assert "two sessions" not in caplog.text


def test_a_user_who_logs_in_again_has_a_new_session(moved: FlaskClient) -> None:
    first, second = log_in(moved), log_in(moved)
    log_out(moved, second["access"])
    assert statuses(moved, first["access"], second["access"]) == [200, 401]


def test_a_refreshed_token_is_not_fresh(new: FlaskClient) -> None:
    tokens = log_in(new)
    renewed = cookie_of(refreshed(new, tokens["refresh"]), "access_token_cookie")
    client = new.application.test_client(use_cookies=False)
    for token, status in ((renewed, 401), (tokens["access"], 200)):
        response = client.delete("/account", headers=bearer(token))
        assert response.status_code == status


# Browsers


def test_a_browser_goes_on_with_its_access_cookie(old: FlaskClient, new: FlaskClient) -> None:
    log_in(old)
    carry_over(old, new)
    assert new.get("/profile").json == {"user": "ann", "role": "editor"}
    assert new.get("/feed").json == {"for": "ann"}
    assert new.delete("/account").status_code == 403
    assert new.delete("/account", headers=csrf(new, "access")).status_code == 200


def test_a_browser_that_logs_in_again_refreshes_and_logs_out(
    old: FlaskClient, new: FlaskClient
) -> None:
    """The cookies of before are out of the way: none is sent beside one of the same name."""
    log_in(old)
    carry_over(old, new)
    assert new.post("/login", json=ANN).status_code == 200
    for _ in range(2):
        assert new.post("/auth/refresh", headers=csrf(new, "refresh")).status_code == 200
    assert new.get("/profile").status_code == 200
    assert new.delete("/auth/logout", headers=csrf(new, "access")).status_code == 200
    assert tokens_of(new) == {}
    assert new.get("/feed").json == {"for": "everybody"}


def test_a_refresh_cookie_from_before_may_be_of_another_host(
    old: FlaskClient, new: FlaskClient
) -> None:
    """It has no companion cookie, so the user logs in again, with either refresh cookie."""
    log_in(old)
    carry_over(old, new)
    assert new.post("/auth/refresh", headers=csrf(new, "refresh")).status_code == 401
    assert new.get("/profile").status_code == 200


def carry_over(old: FlaskClient, new: FlaskClient) -> None:
    """The browser's cookies, which it keeps while the app is replaced."""
    for kind in ("access", "refresh"):
        for name in (f"{kind}_token_cookie", f"csrf_{kind}_token"):
            cookie = old.get_cookie(name)
            assert cookie is not None
            new.set_cookie(name, cookie.value, path=cookie.path)


# The bridge


def test_the_bridge_takes_what_the_functions_take() -> None:
    import flask_jwt_extended

    fje: Any = flask_jwt_extended
    left_out = {"jwt_required": {"verify_type"}}
    for name in (
        *("jwt_required", "get_jwt", "get_jwt_identity"),
        *("create_access_token", "create_refresh_token"),
    ):
        theirs, ours = (
            {one.name: one.default for one in inspect.signature(function).parameters.values()}
            for function in (getattr(fje, name), getattr(bridge, name))
        )
        for other in left_out.get(name, {"additional_headers"} & theirs.keys()):
            del theirs[other]
        assert theirs == ours, name


def test_the_bridge_knows_no_session_outside_of_a_request(new: FlaskClient) -> None:
    with new.application.app_context():
        tokens = [
            bridge.authx.decode_token(create("ann"))
            for create in (bridge.create_access_token, bridge.create_refresh_token)
        ]
    assert len({token.sid for token in tokens}) == 2


def test_a_request_for_several_users_has_a_session_for_each(new: FlaskClient) -> None:
    with new.application.test_request_context():
        tokens = [bridge.create_access_token(uid) for uid in ("ann", 7)]
        tokens += [bridge.create_refresh_token(uid) for uid in ("7", "ann")]
        sids = [bridge.authx.decode_token(token).sid for token in tokens]
    assert sids == [*sids[:2], sids[1], sids[0]]
    assert len({*sids}) == 2


def test_a_request_goes_on_with_the_session_that_the_guard_has_accepted(
    objects: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    """Whether its view names the user by an object or by its id."""
    pair = objects.post("/login").get_json()
    sids = [sid_of(pair["access"]), sid_of(pair["refresh"])]
    for path in ("/by-object", "/by-id", "/async"):
        renewed = objects.post(path, headers=bearer(pair["refresh"])).get_json()["access"]
        sids.append(sid_of(renewed))
    assert len({*sids}) == 1
    assert "two sessions" not in caplog.text


def test_a_log_in_of_a_user_who_is_logged_in_begins_a_session(objects: FlaskClient) -> None:
    """Also if a hook identifies the user of every request."""
    first = objects.post("/login").get_json()
    second = objects.post("/login", headers=bearer(first["access"])).get_json()
    assert sid_of(first["access"]) != sid_of(second["access"]) == sid_of(second["refresh"])


def test_the_bridge_hides_no_error_of_a_token_that_is_created(objects: FlaskClient) -> None:
    with objects.application.test_request_context():
        bridge.create_access_token(7)
        with pytest.raises(ValueError, match="exp"):
            bridge.create_access_token(7, additional_claims={"exp": 5})


def sid_of(token: str) -> str:
    sid: str = parts(token)[1]["sid"]
    return sid


@dataclass
class Member:
    id: int


@pytest.fixture
def objects(monkeypatch: pytest.MonkeyPatch) -> FlaskClient:
    """An app with the bridge whose callback makes the ids of objects, and with a hook."""
    monkeypatch.setattr(bridge, "authx", AuthX())
    app = Flask("objects")
    app.config.from_mapping(JWT_SECRET_KEY=SECRET, JWT_BLOCKLIST="memory://")
    authx = bridge.authx
    authx.init_app(app)
    member = Member(7)

    @authx.set_callback_identity
    def uid_of(given: Member) -> int:
        return given.id

    @app.before_request
    def identify() -> None:
        authx.identify(optional=True)

    @app.post("/login")
    def login() -> dict[str, str]:
        return {
            "access": bridge.create_access_token(member, fresh=True),
            "refresh": bridge.create_refresh_token(member.id),
        }

    @app.post("/by-object")
    @bridge.jwt_required(refresh=True)
    def by_object() -> dict[str, str]:
        return {"access": bridge.create_access_token(member)}

    @app.post("/by-id")
    @bridge.jwt_required(refresh=True)
    def by_id() -> dict[str, str]:
        return {"access": bridge.create_access_token(bridge.get_jwt_identity())}

    @app.post("/async")
    @bridge.jwt_required(refresh=True)
    async def in_async_view() -> dict[str, str]:
        return {"access": bridge.create_access_token(member)}

    return app.test_client()
