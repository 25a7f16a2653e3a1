"""Runs the code of docs/sessions.md."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient
from werkzeug import security

from flask_authx import AuthX
from tests.docs.support import ANN, log_in, with_users
from tests.support import SECRET, bearer
from tests.support.answers import INVALID, OK, REVOKED, Outcome, outcome

#: It has no types.
requests: Any = importlib.import_module("requests")
WRONG = Outcome(401, "LoginFailedError")


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """The app of docs/sessions.md, with two users."""
    cheap = functools.partial(security.generate_password_hash, method="pbkdf2:sha256:1")
    monkeypatch.setattr(security, "generate_password_hash", cheap)
    with with_users("sessions", {"name": "bob", "password": cheap(ANN["password"])}) as names:
        yield names


@pytest.fixture
def client(site: SimpleNamespace) -> FlaskClient:
    client: FlaskClient = site.app.test_client()
    return client


def refresh(client: FlaskClient, pair: dict[str, Any]) -> Any:
    return client.post("/refresh", headers=bearer(pair["refresh_token"]))


def access(pair: dict[str, Any]) -> dict[str, str]:
    return bearer(pair["access_token"])


def use(client: FlaskClient, pair: dict[str, Any]) -> Outcome:
    """What comes of using the access token of a pair."""
    return outcome(client.get("/profile", headers=access(pair)))


def update(site: SimpleNamespace, **values: Any) -> None:
    with site.app.app_context():
        site.db.session.execute(sa.update(site.User).values(**values))
        site.db.session.commit()


def test_a_refresh_replaces_both_tokens_and_reads_the_user_again(
    site: SimpleNamespace, client: FlaskClient
) -> None:
    pair = log_in(client)
    assert client.get("/profile", headers=access(pair)).json == {"user": "ann"}
    assert client.get("/role", headers=access(pair)).json == {"role": "reader"}
    update(site, role="editor")
    new = refresh(client, pair).json
    assert client.get("/profile", headers=access(new)).json == {"user": "ann"}
    assert client.get("/role", headers=access(new)).json == {"role": "editor"}
    assert new["refresh_token"] != pair["refresh_token"]
    # The response was lost: the same token is accepted again.
    again = refresh(client, pair).json
    assert use(client, again) == OK
    update(site, blocked=True)
    assert outcome(refresh(client, new)) == INVALID
    assert use(client, new) == REVOKED


def test_a_wrong_password_opens_nothing(client: FlaskClient) -> None:
    assert outcome(client.post("/login", json={**ANN, "password": "x"})) == WRONG
    assert outcome(client.post("/login", json={**ANN, "name": "eve"})) == WRONG
    assert outcome(client.post("/login", json={})) == WRONG


def test_reuse_revokes_the_session_and_its_owner_is_told(
    site: SimpleNamespace, client: FlaskClient
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
            ("ann", "An old token of your session was used, so the session was revoked.")
        ]


def test_a_refresh_can_ask_for_less_and_never_for_more(
    site: SimpleNamespace, client: FlaskClient
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


def test_users_list_name_and_revoke_their_sessions(
    site: SimpleNamespace, client: FlaskClient
) -> None:
    here = log_in(client)
    with site.app.app_context():
        there = site.authx.login("ann", name="phone").to_dict()
    bobs = log_in(client, name="bob")
    listed: Any = client.get("/sessions", headers=access(here)).json
    assert {(one["name"], one["current"]) for one in listed} == {(None, True), ("phone", False)}
    phone, laptop = (
        next(one["sid"] for one in listed if one["name"] == name) for name in ("phone", None)
    )

    def rename(sid: str, name: object, pair: dict[str, Any]) -> Any:
        return client.put(f"/sessions/{sid}", json={"name": name}, headers=access(pair))

    assert rename(laptop, "laptop", here).json == {"renamed": laptop}
    assert rename(phone, "old phone", here).json == {"renamed": phone}
    for name in ("two\nlines", " ", 1):
        assert outcome(rename(phone, name, here)) == Outcome(400)
    listed = client.get("/sessions", headers=access(here)).json
    assert {(one["name"], one["current"]) for one in listed} == {
        ("laptop", True),
        ("old phone", False),
    }
    assert outcome(rename(phone, "mine", bobs)) == Outcome(404)
    assert outcome(client.delete(f"/sessions/{phone}", headers=access(bobs))) == Outcome(404)
    assert client.delete(f"/sessions/{phone}", headers=access(here)).json == {"revoked": phone}
    assert use(client, there) == REVOKED
    assert outcome(refresh(client, there)) == REVOKED
    third = log_in(client)
    assert outcome(client.delete("/sessions", headers=access(here))) == OK
    assert outcome(refresh(client, third)) == REVOKED
    assert outcome(refresh(client, here)) == OK
    assert outcome(refresh(client, bobs)) == OK


def test_erasing_a_user_leaves_no_row(site: SimpleNamespace, client: FlaskClient) -> None:
    pair = log_in(client)
    log_in(client, name="bob")
    with site.app.app_context():
        site.authx.revoke_subject("ann")
        site.db.session.delete(site.db.session.get_one(site.User, "ann"))
        site.db.session.commit()
        table = site.db.metadata.tables["authx_sessions"]
        assert site.db.session.scalars(sa.select(table.c.sub)).all() == ["bob"]
    assert outcome(refresh(client, pair)) == REVOKED
    assert outcome(client.post("/login", json=ANN)) == WRONG


def test_step_up_for_a_new_password(client: FlaskClient) -> None:
    here, there = log_in(client), log_in(client)
    stale = refresh(client, here).json
    response = client.put("/password", json={"password": "new"}, headers=access(stale))
    assert outcome(response) == Outcome(401, "FreshTokenRequiredError")
    assert 'max_age="300"' in response.headers["WWW-Authenticate"]
    assert outcome(client.post("/confirm", json={"password": "x"}, headers=access(stale))) == WRONG
    fresh: Any = client.post("/confirm", json=ANN, headers=access(stale)).json
    changed = client.put("/password", json={"password": "new"}, headers=access(fresh))
    assert changed.json == {"changed": True}
    assert outcome(refresh(client, there)) == REVOKED
    assert outcome(refresh(client, stale)) == OK
    assert outcome(client.post("/login", json=ANN)) == WRONG


def test_a_log_out_wins_over_a_refresh_beside_it(client: FlaskClient) -> None:
    pair = log_in(client)
    newer = refresh(client, pair).json
    assert client.post("/logout", headers=access(pair)).json == {"logged_out": True}
    assert use(client, newer) == REVOKED
    assert outcome(refresh(client, newer)) == REVOKED


def test_details_of_the_client_are_stored_if_the_app_asks_for_them(site: SimpleNamespace) -> None:
    app = site.app_with_details
    app.config.update(JWT_SECRET_KEY=SECRET, JWT_SESSIONS=True, JWT_BLOCKLIST="memory://")
    authx = AuthX(app)
    with app.test_request_context(headers={"User-Agent": "x"}, environ_base={"REMOTE_ADDR": "::1"}):
        authx.login("ann")
        (session,) = authx.sessions("ann")
    assert (session.user_agent, session.address) == ("x", "::1")


# The client


@pytest.fixture
def network(
    client: FlaskClient, site: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> list[Any]:
    """What happens to the next requests of the page's client: an error or status, or ``None``."""
    faults: list[Any] = []

    def request(method: str, url: str, *, headers: Any, timeout: float) -> Any:
        assert timeout > 0
        fault = faults.pop(0) if faults else None
        if isinstance(fault, int):
            return answer(fault, {"error_type": "TokenExpiredError"}, {"Retry-After": "7"})
        sent = client.open(url, method=method, headers=headers)
        if fault is not None:
            # The server has done what was asked; its response is lost.
            raise fault
        return answer(sent.status_code, sent.json, sent.headers)

    monkeypatch.setattr(requests, "request", request)
    return faults


def answer(status: int, body: Any, headers: Any) -> Any:
    response = SimpleNamespace(status_code=status, headers=headers, json=lambda: body)

    def raise_for_status() -> None:
        if status >= 400:
            raise requests.HTTPError(response=response)

    response.raise_for_status = raise_for_status
    return response


@pytest.fixture
def waited(site: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds for which the page's client has waited."""
    waited: list[float] = []
    # Threads of this process sleep as well: only the page's own name is another.
    names = site.Client.next_tokens.__globals__
    monkeypatch.setitem(names, "time", SimpleNamespace(sleep=waited.append))
    return waited


def test_the_client_refreshes_an_expired_access_token_once(
    site: SimpleNamespace, client: FlaskClient, network: list[Any]
) -> None:
    at_start = log_in(client)
    phone = site.Client("http://localhost", at_start)
    assert phone.get("/profile").json() == {"user": "ann"}
    assert phone.tokens is at_start
    network.append(401)
    assert phone.get("/profile").json() == {"user": "ann"}
    assert phone.tokens["refresh_token"] != at_start["refresh_token"]
    # Another thread has got the response for an expired token, too. It finds the new tokens.
    assert phone.refresh(at_start) is phone.tokens
    assert network == []


def test_the_client_sends_the_same_token_again_after_a_failure(
    site: SimpleNamespace, client: FlaskClient, network: list[Any], waited: list[float]
) -> None:
    phone = site.Client("http://localhost", log_in(client))
    network += [requests.ConnectionError(), requests.Timeout(), 503]
    new = phone.refresh(phone.tokens)
    assert use(client, new) == OK
    assert waited == [1, 1, 7]
    network += [502] * 4
    with pytest.raises(TimeoutError):
        phone.refresh(new)
    assert phone.tokens is new
    client.post("/logout", headers=access(new))
    with pytest.raises(requests.HTTPError):
        phone.refresh(new)
