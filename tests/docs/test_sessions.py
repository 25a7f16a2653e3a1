"""Runs the snippets of docs/sessions.rst."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient
from werkzeug.security import generate_password_hash

from tests.docs.test_snippets import snippet
from tests.support import SECRET, bearer

ANN = {"name": "ann", "password": "correct horse"}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The app of docs/sessions.rst, with two users."""
    monkeypatch.setenv("FLASK_JWT_SECRET_KEY", SECRET)
    monkeypatch.setenv("FLASK_SQLALCHEMY_DATABASE_URI", f"sqlite:///{tmp_path / 'app.sqlite3'}")
    module = snippet("sessions")
    password = generate_password_hash(ANN["password"], "pbkdf2:sha256:1")
    with module.app.app_context():
        module.db.session.add(module.User(name="ann", password=password))
        module.db.session.add(module.User(name="bob", password=password))
        module.db.session.commit()
    yield module
    with module.app.app_context():
        module.db.engine.dispose()


@pytest.fixture
def client(site: ModuleType) -> FlaskClient:
    client: FlaskClient = site.app.test_client()
    return client


def log_in(client: FlaskClient, **asked: Any) -> dict[str, Any]:
    answer: Any = client.post("/login", json={**ANN, **asked})
    assert answer.status_code == 200
    pair: dict[str, Any] = answer.json
    return pair


def refresh(client: FlaskClient, pair: dict[str, Any]) -> Any:
    return client.post("/refresh", headers=bearer(pair["refresh_token"]))


def access(pair: dict[str, Any]) -> dict[str, str]:
    return bearer(pair["access_token"])


def reason(client: FlaskClient, pair: dict[str, Any]) -> str:
    """Why an access token is refused."""
    answer: Any = client.get("/profile", headers=access(pair)).json
    why: str = answer["error_type"]
    return why


def update(site: ModuleType, **values: Any) -> None:
    with site.app.app_context():
        site.db.session.execute(sa.update(site.User).values(**values))
        site.db.session.commit()


def test_a_refresh_replaces_both_tokens_and_reads_the_user_again(
    site: ModuleType, client: FlaskClient
) -> None:
    pair = log_in(client)
    assert client.get("/profile", headers=access(pair)).json == {"user": "ann", "role": "reader"}
    update(site, role="editor")
    new = refresh(client, pair).json
    assert client.get("/profile", headers=access(new)).json == {"user": "ann", "role": "editor"}
    assert new["refresh_token"] != pair["refresh_token"]
    # The answer was lost: the same token is answered again.
    again = refresh(client, pair).json
    assert client.get("/profile", headers=access(again)).status_code == 200
    update(site, blocked=True)
    assert refresh(client, new).json["error_type"] == "JWTDecodeError"
    assert reason(client, new) == "RevokedTokenError"


def test_a_wrong_password_opens_nothing(client: FlaskClient) -> None:
    assert client.post("/login", json={**ANN, "password": "x"}).status_code == 403
    assert client.post("/login", json={**ANN, "name": "eve"}).status_code == 403


def test_reuse_ends_the_login_and_its_owner_is_told(site: ModuleType, client: FlaskClient) -> None:
    stolen = log_in(client)
    latest = refresh(client, refresh(client, stolen).json).json
    assert refresh(client, stolen).json == {
        "msg": "The token has been revoked",
        "error_type": "RevokedTokenError",
    }
    assert refresh(client, latest).json["error_type"] == "RevokedTokenError"
    assert reason(client, latest) == "RevokedTokenError"
    with site.app.app_context():
        told = site.db.session.scalars(sa.select(site.Notice)).all()
        assert [(one.user, one.text) for one in told] == [
            ("ann", "A copy of your login was used. It is over.")
        ]


def test_a_refresh_can_ask_for_less_and_never_for_more(
    site: ModuleType, client: FlaskClient
) -> None:
    with site.app.app_context():
        able = site.authx.login("ann", scopes=["notes:read", "notes:write"]).to_dict()
        unable = site.authx.login("ann", scopes=["mail"]).to_dict()
    asked: Any = [
        client.post("/refresh-to-read", headers=bearer(pair["refresh_token"]))
        for pair in (able, unable)
    ]
    assert [answer.status_code for answer in asked] == [200, 403]
    with site.app.app_context():
        token = site.authx.decode_token(asked[0].json["access_token"])
    assert token.scopes == {"notes:read"}
    # The refresh token may still grant all.
    full = refresh(client, asked[0].json).json
    with site.app.app_context():
        token = site.authx.decode_token(full["access_token"])
    assert token.scopes == {"notes:read", "notes:write"}


def test_owners_list_name_and_end_their_logins(client: FlaskClient) -> None:
    here, there = log_in(client, device="laptop"), log_in(client, device="phone")
    bobs = log_in(client, name="bob")
    listed: Any = client.get("/logins", headers=access(here)).json
    assert {(one["name"], one["current"]) for one in listed} == {("laptop", True), ("phone", False)}
    phone = next(one["sid"] for one in listed if one["name"] == "phone")
    renamed = client.put(f"/logins/{phone}", json={"name": "old phone"}, headers=access(here))
    assert renamed.json == {"renamed": phone}
    assert client.delete(f"/logins/{phone}", headers=access(bobs)).status_code == 404
    assert client.delete(f"/logins/{phone}", headers=access(here)).json == {"ended": phone}
    assert client.get("/profile", headers=access(there)).status_code == 401
    assert refresh(client, there).status_code == 401
    third = log_in(client)
    assert client.delete("/logins", headers=access(here)).status_code == 200
    assert refresh(client, third).status_code == 401
    assert refresh(client, here).status_code == 200
    assert refresh(client, bobs).status_code == 200


def test_erasing_a_user_leaves_no_row(site: ModuleType, client: FlaskClient) -> None:
    pair = log_in(client)
    log_in(client, name="bob")
    with site.app.app_context():
        site.authx.revoke_subject("ann")
        site.db.session.delete(site.db.session.get_one(site.User, "ann"))
        site.db.session.commit()
        table = site.db.metadata.tables["authx_sessions"]
        assert site.db.session.scalars(sa.select(table.c.sub)).all() == ["bob"]
    assert refresh(client, pair).status_code == 401
    assert client.post("/login", json=ANN).status_code == 403


def test_step_up_for_a_new_password(client: FlaskClient) -> None:
    here, there = log_in(client), log_in(client)
    stale = refresh(client, here).json
    answer = client.put("/password", json={"password": "new"}, headers=access(stale))
    assert answer.status_code == 401
    assert 'max_age="300"' in answer.headers["WWW-Authenticate"]
    assert client.post("/confirm", json={"password": "x"}, headers=access(stale)).status_code == 403
    fresh: Any = client.post("/confirm", json=ANN, headers=access(stale)).json
    changed = client.put("/password", json={"password": "new"}, headers=access(fresh))
    assert changed.json == {"changed": True}
    assert refresh(client, there).status_code == 401
    assert refresh(client, stale).status_code == 200
    assert client.post("/login", json=ANN).status_code == 403


def test_a_log_out_wins_over_a_refresh_beside_it(client: FlaskClient) -> None:
    pair = log_in(client)
    newer = refresh(client, pair).json
    assert client.post("/logout", headers=access(pair)).json == {"logged_out": True}
    assert client.get("/profile", headers=access(newer)).status_code == 401
    assert refresh(client, newer).status_code == 401
