"""Runs the snippets of docs/revocation.rst and docs/stores.rst."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient
from werkzeug.security import generate_password_hash
from werkzeug.test import TestResponse

from flask_authx import BadConfigurationError, Token
from tests.docs.support import ANN, log_in, snippet, with_users
from tests.support import SECRET, bearer
from tests.support.answers import FAULT, INVALID, MISSING, OK, REVOKED, Outcome, outcome
from tests.support.waiting import until

#: Made once, and cheaply: it is not what is tested.
HASH = generate_password_hash(ANN["password"], "pbkdf2:sha256:1")
CONFIG = {"JWT_SECRET_KEY": SECRET}


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The app of docs/revocation.rst, with two users."""
    monkeypatch.setenv("FLASK_JWT_SECRET_KEY", SECRET)
    monkeypatch.setenv("FLASK_SQLALCHEMY_DATABASE_URI", f"sqlite:///{tmp_path / 'app.sqlite3'}")
    ann = {"name": "ann", "password": HASH, "reset_code": "r"}
    with with_users("revocation", ann, {"name": "root", "password": HASH}) as module:
        yield module


@pytest.fixture
def client(shop: ModuleType) -> FlaskClient:
    client: FlaskClient = shop.app.test_client()
    return client


def use(client: FlaskClient, pair: dict[str, Any]) -> Outcome:
    """What comes of using the access token of a pair."""
    return outcome(client.get("/profile", headers=bearer(pair["access_token"])))


def test_a_log_in_looks_at_the_password_and_at_who_is_blocked(client: FlaskClient) -> None:
    assert use(client, log_in(client)) == OK
    for wrong in ({"password": "x"}, {"name": "eve"}):
        assert outcome(client.post("/login", json={**ANN, **wrong})) == Outcome(403)


def test_a_log_out_revokes_one_session_and_needs_no_token(client: FlaskClient) -> None:
    here, there = log_in(client), log_in(client)
    assert client.delete("/logout").json == {"logged_out": True}
    assert use(client, here) == OK
    # Any of its tokens will do.
    for _ in range(2):
        response = client.delete("/logout", headers=bearer(here["refresh_token"]))
        assert response.json == {"logged_out": True}
    assert use(client, here) == REVOKED
    assert use(client, there) == OK
    assert outcome(client.delete("/logout", headers=bearer("x.y.z"))) == INVALID


def test_a_log_out_everywhere_revokes_all_sessions_so_far(client: FlaskClient) -> None:
    pairs = [log_in(client), log_in(client)]
    headers = bearer(pairs[0]["access_token"])
    assert client.delete("/logins", headers=headers).json == {"logged_out": "everywhere"}
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
    assert outcome(client.post("/login", json=ANN)) == Outcome(403)
    assert use(client, log_in(client, password="new")) == OK


def test_a_reset_sets_the_password_and_revokes_all_sessions(client: FlaskClient) -> None:
    pair, asked = log_in(client), {"code": "r", "password": "new"}
    assert client.post("/reset", json=asked).json == {"reset": True}
    assert use(client, pair) == REVOKED
    assert outcome(client.post("/reset", json=asked)) == Outcome(403)


@pytest.mark.slow
def test_a_reset_whose_revocation_fails_can_be_tried_again(
    shop: ModuleType, client: FlaskClient
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
    # A client that does as it is told: a store that has failed is left alone for a second.
    responses: list[TestResponse] = []

    def it_is_served_again() -> bool:
        responses.append(client.post("/reset", json=asked))
        return responses[-1].status_code != 503

    until(it_is_served_again, what="a response other than 503")
    assert responses[-1].json == {"reset": True}
    assert use(client, pair) == REVOKED
    assert use(client, log_in(client, password="new")) == OK


def test_a_blocked_user_is_logged_out_and_can_not_log_in(
    shop: ModuleType, client: FlaskClient
) -> None:
    pair = log_in(client)
    with shop.app.app_context():
        root = shop.authx.create_access_token("root", scopes=["users:block"])
    response = client.post("/users/ann/block", json={"reason": "spam"}, headers=bearer(root))
    assert response.json == {"blocked": "ann"}
    assert use(client, pair) == REVOKED
    assert outcome(client.post("/login", json=ANN)) == Outcome(403)
    assert shop.who_ended_logins_of("ann") == [("root", "spam")]
    assert shop.who_ended_logins_of("root") == []
    unknown = client.post("/users/eve/block", json={"reason": ""}, headers=bearer(root))
    assert outcome(unknown) == Outcome(404)


def test_one_token_is_asked_about_and_revoked(shop: ModuleType) -> None:
    assert shop.hand_out_and_take_back() == (False, True)


def test_a_view_can_leave_revocations_out(client: FlaskClient) -> None:
    headers = bearer(log_in(client)["access_token"])
    client.delete("/logout", headers=headers)
    assert client.get("/prices", headers=headers).json == {"coffee": 3}
    assert outcome(client.get("/prices")) == MISSING


def test_the_log_of_revocations(client: FlaskClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "logins")
    client.delete("/logins", headers=bearer(log_in(client)["access_token"]))
    said = [record.getMessage() for record in caplog.records if record.name == "logins"]
    assert said == ["ann ended ann: None"]


def test_a_callback_beside_the_store(shop: ModuleType, client: FlaskClient) -> None:
    shop.ask_a_callback_too(shop.authx)
    first, second = log_in(client), log_in(client)
    client.delete("/logout", headers=bearer(first["access_token"]))
    assert use(client, first) == REVOKED
    assert use(client, second) == OK
    with shop.app.app_context():
        shop.db.session.execute(sa.update(shop.User).values(blocked=True))
        shop.db.session.commit()
    assert use(client, second) == REVOKED


# Stores


def test_a_factory_whose_tables_are_the_apps_own(tmp_path: Path) -> None:
    stores = snippet("stores")
    uri = f"sqlite:///{tmp_path / 'app.sqlite3'}"
    app = stores.create_app({**CONFIG, "SQLALCHEMY_DATABASE_URI": uri})
    stores.create_tables(app)
    stores.use_wal(app)
    with app.app_context():
        token = stores.authx.create_access_token("ann")
        stores.authx.revoke_token(token)
        assert stores.authx.is_revoked(token)
        with stores.db.engine.connect() as connection:
            assert connection.exec_driver_sql("SELECT count(*) FROM authx_blocklist").scalar() == 1
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        stores.db.engine.dispose()


def test_a_bind_of_their_own(tmp_path: Path) -> None:
    stores = snippet("stores")
    config = {**CONFIG, "SQLALCHEMY_DATABASE_URI": f"sqlite:///{tmp_path / 'app.sqlite3'}"}
    app = stores.with_a_bind(config, f"sqlite:///{tmp_path / 'authx.sqlite3'}")
    stores.create_tables(app)
    with app.app_context():
        found = {key: sa.inspect(engine).get_table_names() for key, engine in _engines(stores)}
        assert found == {None: [], "authx": ["authx_blocklist"]}
        for _, engine in _engines(stores):
            engine.dispose()


def _engines(stores: ModuleType) -> list[tuple[str | None, sa.Engine]]:
    return [*stores.db.engines.items()]


def test_a_client_of_their_own_must_have_a_timeout() -> None:
    stores = snippet("stores")
    app = stores.with_a_client(CONFIG, "secret")
    assert "authx" in app.extensions
    with pytest.raises(BadConfigurationError, match="socket_timeout"):
        stores.RedisBlocklist(stores.redis.Redis(socket_timeout=None))


def test_a_store_of_ones_own() -> None:
    app, authx = snippet("stores").with_own_store(CONFIG)
    with app.app_context():
        pair = authx.create_token_pair("ann")
        token: Token = authx.decode_token(pair.access_token)
        authx.revoke_session(token.sid)
        assert authx.is_revoked(pair.refresh_token)
