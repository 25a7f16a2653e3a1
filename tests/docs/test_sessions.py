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

from tests.docs.support import ANN, log_in, with_users
from tests.support import SECRET, bearer
from tests.support.answers import INVALID, OK, REVOKED, Outcome, outcome


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The app of docs/sessions.rst, with two users."""
    monkeypatch.setenv("FLASK_JWT_SECRET_KEY", SECRET)
    monkeypatch.setenv("FLASK_SQLALCHEMY_DATABASE_URI", f"sqlite:///{tmp_path / 'app.sqlite3'}")
    password = generate_password_hash(ANN["password"], "pbkdf2:sha256:1")
    users = ({"name": name, "password": password} for name in ("ann", "bob"))
    with with_users("sessions", *users) as module:
        yield module


@pytest.fixture
def client(site: ModuleType) -> FlaskClient:
    client: FlaskClient = site.app.test_client()
    return client


def refresh(client: FlaskClient, pair: dict[str, Any]) -> Any:
    return client.post("/refresh", headers=bearer(pair["refresh_token"]))


def access(pair: dict[str, Any]) -> dict[str, str]:
    return bearer(pair["access_token"])


def use(client: FlaskClient, pair: dict[str, Any]) -> Outcome:
    """What comes of using the access token of a pair."""
    return outcome(client.get("/profile", headers=access(pair)))


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
    # The response was lost: the same token is accepted again.
    again = refresh(client, pair).json
    assert use(client, again) == OK
    update(site, blocked=True)
    assert outcome(refresh(client, new)) == INVALID
    assert use(client, new) == REVOKED


def test_a_wrong_password_opens_nothing(client: FlaskClient) -> None:
    assert outcome(client.post("/login", json={**ANN, "password": "x"})) == Outcome(403)
    assert outcome(client.post("/login", json={**ANN, "name": "eve"})) == Outcome(403)


def test_reuse_revokes_the_session_and_its_owner_is_told(
    site: ModuleType, client: FlaskClient
) -> None:
    stolen = log_in(client)
    latest = refresh(client, refresh(client, stolen).json).json
    assert refresh(client, stolen).json == {
        "msg": "The token has been revoked",
        "error_type": "RevokedTokenError",
    }
    assert outcome(refresh(client, latest)) == REVOKED
    assert use(client, latest) == REVOKED
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
    assert [response.status_code for response in asked] == [200, 403]
    with site.app.app_context():
        token = site.authx.decode_token(asked[0].json["access_token"])
    assert token.scopes == {"notes:read"}
    # The refresh token may still grant all.
    full = refresh(client, asked[0].json).json
    with site.app.app_context():
        token = site.authx.decode_token(full["access_token"])
    assert token.scopes == {"notes:read", "notes:write"}


def test_owners_list_name_and_end_their_sessions(client: FlaskClient) -> None:
    here, there = log_in(client, device="laptop"), log_in(client, device="phone")
    bobs = log_in(client, name="bob")
    listed: Any = client.get("/logins", headers=access(here)).json
    assert {(one["name"], one["current"]) for one in listed} == {("laptop", True), ("phone", False)}
    phone = next(one["sid"] for one in listed if one["name"] == "phone")
    renamed = client.put(f"/logins/{phone}", json={"name": "old phone"}, headers=access(here))
    assert renamed.json == {"renamed": phone}
    assert outcome(client.delete(f"/logins/{phone}", headers=access(bobs))) == Outcome(404)
    assert client.delete(f"/logins/{phone}", headers=access(here)).json == {"ended": phone}
    assert use(client, there) == REVOKED
    assert outcome(refresh(client, there)) == REVOKED
    third = log_in(client)
    assert outcome(client.delete("/logins", headers=access(here))) == OK
    assert outcome(refresh(client, third)) == REVOKED
    assert outcome(refresh(client, here)) == OK
    assert outcome(refresh(client, bobs)) == OK


def test_erasing_a_user_leaves_no_row(site: ModuleType, client: FlaskClient) -> None:
    pair = log_in(client)
    log_in(client, name="bob")
    with site.app.app_context():
        site.authx.revoke_subject("ann")
        site.db.session.delete(site.db.session.get_one(site.User, "ann"))
        site.db.session.commit()
        table = site.db.metadata.tables["authx_sessions"]
        assert site.db.session.scalars(sa.select(table.c.sub)).all() == ["bob"]
    assert outcome(refresh(client, pair)) == REVOKED
    assert outcome(client.post("/login", json=ANN)) == Outcome(403)


def test_step_up_for_a_new_password(client: FlaskClient) -> None:
    here, there = log_in(client), log_in(client)
    stale = refresh(client, here).json
    response = client.put("/password", json={"password": "new"}, headers=access(stale))
    assert outcome(response) == Outcome(401, "FreshTokenRequiredError")
    assert 'max_age="300"' in response.headers["WWW-Authenticate"]
    assert outcome(
        client.post("/confirm", json={"password": "x"}, headers=access(stale))
    ) == Outcome(403)
    fresh: Any = client.post("/confirm", json=ANN, headers=access(stale)).json
    changed = client.put("/password", json={"password": "new"}, headers=access(fresh))
    assert changed.json == {"changed": True}
    assert outcome(refresh(client, there)) == REVOKED
    assert outcome(refresh(client, stale)) == OK
    assert outcome(client.post("/login", json=ANN)) == Outcome(403)


def test_a_log_out_wins_over_a_refresh_beside_it(client: FlaskClient) -> None:
    pair = log_in(client)
    newer = refresh(client, pair).json
    assert client.post("/logout", headers=access(pair)).json == {"logged_out": True}
    assert use(client, newer) == REVOKED
    assert outcome(refresh(client, newer)) == REVOKED
