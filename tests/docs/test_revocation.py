"""Runs the code of docs/revocation.md and docs/stores.md."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.security import generate_password_hash
from werkzeug.test import TestResponse

from flask_authx import BadConfigurationError, Token
from tests.docs.support import ANN, log_in, page, with_users
from tests.support import SECRET, bearer
from tests.support.answers import FAULT, INVALID, MISSING, OK, REVOKED, Outcome, outcome
from tests.support.waiting import until

#: Made once, and cheaply: it is not what is tested.
HASH = generate_password_hash(ANN["password"], "pbkdf2:sha256:1")
FAILED = Outcome(401, "LoginFailedError")


@pytest.fixture
def shop() -> Iterator[SimpleNamespace]:
    """The app of docs/revocation.md, with two users."""
    ann = {"name": "ann", "password": HASH, "reset_code": "r"}
    with with_users("revocation", ann, {"name": "root", "password": HASH}) as names:
        yield names


@pytest.fixture
def client(shop: SimpleNamespace) -> FlaskClient:
    client: FlaskClient = shop.app.test_client()
    return client


def use(client: FlaskClient, pair: dict[str, Any]) -> Outcome:
    """What comes of using the access token of a pair."""
    return outcome(client.get("/profile", headers=bearer(pair["access_token"])))


def update_users(shop: SimpleNamespace, **values: Any) -> None:
    """Change all users, in a transaction of its own."""
    with shop.app.app_context(), shop.db.engine.begin() as connection:
        connection.execute(sa.update(shop.User).values(**values))


def sid_of(shop: SimpleNamespace, pair: dict[str, Any]) -> str:
    with shop.app.app_context():
        token: Token = shop.authx.decode_token(pair["access_token"])
        return token.sid


def test_a_log_in_looks_at_the_password_and_at_who_is_blocked(client: FlaskClient) -> None:
    assert use(client, log_in(client)) == OK
    for wrong in ({"password": "x"}, {"name": "eve"}):
        assert outcome(client.post("/login", json={**ANN, **wrong})) == FAILED


def test_a_log_out_revokes_one_session_and_needs_no_token(client: FlaskClient) -> None:
    here, there = log_in(client), log_in(client)
    assert client.post("/logout").json == {"logged_out": True}
    assert use(client, here) == OK
    # Any of its tokens will do.
    for _ in range(2):
        response = client.post("/logout", headers=bearer(here["refresh_token"]))
        assert response.json == {"logged_out": True}
    assert use(client, here) == REVOKED
    assert use(client, there) == OK
    assert outcome(client.post("/logout", headers=bearer("x.y.z"))) == INVALID


def test_a_log_out_everywhere_revokes_all_sessions_so_far(client: FlaskClient) -> None:
    pairs = [log_in(client), log_in(client)]
    headers = bearer(pairs[0]["access_token"])
    assert client.delete("/sessions", headers=headers).json == {"logged_out": "everywhere"}
    for pair in pairs:
        assert use(client, pair) == REVOKED
    assert use(client, log_in(client)) == OK


def test_a_new_password_keeps_the_session_that_set_it(client: FlaskClient) -> None:
    """USERS 41."""
    here, there = log_in(client), log_in(client)
    response = client.put(
        "/password", json={"password": "new"}, headers=bearer(here["access_token"])
    )
    assert response.json == {"changed": True}
    assert use(client, here) == OK
    assert use(client, there) == REVOKED
    assert outcome(client.post("/login", json=ANN)) == FAILED
    assert use(client, log_in(client, password="new")) == OK


def test_a_reset_sets_the_password_and_revokes_all_sessions(client: FlaskClient) -> None:
    pair, asked = log_in(client), {"code": "r", "password": "new"}
    assert client.post("/reset", json=asked).json == {"reset": True}
    assert use(client, pair) == REVOKED
    assert outcome(client.post("/reset", json=asked)) == Outcome(403)


@pytest.mark.slow
def test_a_reset_whose_revocation_fails_can_be_tried_again(
    shop: SimpleNamespace, client: FlaskClient
) -> None:
    """USERS 49."""
    pair, asked = log_in(client), {"code": "r", "password": "new"}
    with shop.app.app_context():
        table = shop.db.metadata.tables["authx_blocklist"]
        table.drop(shop.db.engine)
    response = client.post("/reset", json=asked)
    assert outcome(response) == FAULT
    assert response.headers["Retry-After"] == "1"
    with shop.app.app_context():
        table.create(shop.db.engine)
    # A client that does as it is told: a store may be left alone for a second.
    responses: list[TestResponse] = []

    def it_is_served_again() -> bool:
        responses.append(client.post("/reset", json=asked))
        return responses[-1].status_code != 503

    until(it_is_served_again, what="a response other than 503")
    assert responses[-1].json == {"reset": True}
    assert use(client, pair) == REVOKED
    assert use(client, log_in(client, password="new")) == OK


def test_a_blocked_user_is_logged_out_and_can_not_log_in(
    shop: SimpleNamespace, client: FlaskClient
) -> None:
    pair = log_in(client)
    with shop.app.app_context():
        root = shop.authx.create_access_token("root", scopes=["users:block"])
    response = client.post("/users/ann/block", json={"reason": "spam"}, headers=bearer(root))
    assert response.json == {"blocked": "ann"}
    assert use(client, pair) == REVOKED
    assert outcome(client.post("/login", json=ANN)) == FAILED
    with shop.app.app_context():
        assert [tuple(one) for one in shop.revocations_of("ann")] == [("user:root", "spam")]
        assert shop.revocations_of("root") == []
    unknown = client.post("/users/eve/block", json={"reason": ""}, headers=bearer(root))
    assert outcome(unknown) == Outcome(404)
    # Without the callback, which looks at who is blocked, the revocation stands.
    update_users(shop, blocked=False)
    assert use(client, pair) == REVOKED
    assert use(client, log_in(client)) == OK


@pytest.mark.parametrize("change", [{"password": "x"}, {"blocked": True}])
def test_a_user_who_changes_during_a_log_in_gets_no_session(
    shop: SimpleNamespace,
    client: FlaskClient,
    monkeypatch: pytest.MonkeyPatch,
    change: dict[str, Any],
) -> None:
    """A reset or a block, from its first step to its last, between two lines of the log-in."""
    open_session = shop.authx.login

    def login(name: str) -> Any:
        update_users(shop, **change)
        shop.authx.revoke_subject(name)
        return open_session(name)

    monkeypatch.setattr(shop.authx, "login", login)
    assert outcome(client.post("/login", json=ANN)) == FAILED
    with shop.app.app_context():
        assert shop.authx.sessions("ann") == []


def test_one_token_is_asked_about_and_revoked(capsys: pytest.CaptureFixture[str]) -> None:
    with page("revocation"):
        assert capsys.readouterr().out == "False\nTrue\n"


def test_a_view_can_leave_revocations_out(client: FlaskClient) -> None:
    headers = bearer(log_in(client)["access_token"])
    client.post("/logout", headers=headers)
    assert client.get("/prices", headers=headers).json == {"coffee": 3}
    assert outcome(client.get("/prices")) == MISSING


def test_the_log_of_revocations(
    shop: SimpleNamespace, client: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "security")
    here, there = log_in(client), log_in(client)
    sid = sid_of(shop, here)
    client.post("/logout", headers=bearer(here["access_token"]))
    client.delete("/sessions", headers=bearer(there["access_token"]))
    assert [record.getMessage() for record in caplog.records if record.name == "security"] == [
        f"user:ann revoked the session {sid}: None",
        "user:ann revoked all sessions of ann: None",
    ]


def test_a_callback_beside_the_store(shop: SimpleNamespace, client: FlaskClient) -> None:
    first, second = log_in(client), log_in(client)
    client.post("/logout", headers=bearer(first["access_token"]))
    assert use(client, first) == REVOKED
    assert use(client, second) == OK
    update_users(shop, blocked=True)
    assert use(client, second) == REVOKED
    update_users(shop, blocked=False)
    assert use(client, second) == OK


# Stores


@pytest.fixture
def stores() -> Iterator[SimpleNamespace]:
    with page("stores") as names:
        yield names


def new_app() -> Flask:
    app = Flask(__name__)
    app.config["JWT_SECRET_KEY"] = SECRET
    return app


def test_a_factory_whose_tables_are_the_apps_own(stores: SimpleNamespace) -> None:
    authx = stores.authx_on_sql
    with stores.app.app_context():
        token = authx.create_access_token("ann")
        authx.revoke_token(token)
        assert authx.is_revoked(token)
        with stores.db.engine.connect() as connection:
            # That of the token and that of the scope.
            assert connection.exec_driver_sql("SELECT count(*) FROM authx_blocklist").scalar() == 2
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"


def test_a_bind_of_their_own(stores: SimpleNamespace) -> None:
    app, db = stores.bound["app"], stores.bound["db"]
    with app.app_context():
        db.create_all()
        found = {key: sa.inspect(engine).get_table_names() for key, engine in db.engines.items()}
        assert found == {None: [], "authx": ["authx_blocklist"]}
        for engine in db.engines.values():
            engine.dispose()


def test_a_client_of_their_own_must_have_a_timeout(stores: SimpleNamespace) -> None:
    app = new_app()
    stores.authx_on_client.init_app(app)
    assert "authx" in app.extensions
    for store in (stores.RedisBlocklist, stores.RedisSessions):
        with pytest.raises(BadConfigurationError, match="socket_timeout"):
            store(stores.redis.Redis(socket_timeout=None))


def test_a_store_of_ones_own(
    stores: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    app, authx = new_app(), stores.authx_on_own_store
    authx.init_app(app)
    with app.app_context():
        pair = authx.create_token_pair("ann")
        token: Token = authx.decode_token(pair.access_token)
        authx.revoke_session(token.sid)
        assert authx.is_revoked(pair.refresh_token)
        assert caplog.records == []
        seconds = iter([0, 0.1])
        monkeypatch.setitem(
            stores.WatchedBlocklist.find.__globals__,
            "time",
            SimpleNamespace(perf_counter=lambda: next(seconds)),
        )
        assert authx.is_revoked(pair.refresh_token)
    assert [one.getMessage() for one in caplog.records] == ["a look-up of revocations took 0.100 s"]
