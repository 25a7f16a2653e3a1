"""Sessions of several apps, workers and ``AuthX`` objects in one store, and on every store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.pool import NullPool

from flask_authx import AuthX, RevokedTokenError, TokenExpiredError, TokenPair
from tests.support import OTHER_SECRET, Clock, parts
from tests.support.answers import INVALID, REVOKED, outcome
from tests.support.databases import STORES, app_on, settings_for
from tests.support.session_sites import Site, pair_in, route, site

ISSUER: dict[str, Any] = {"ENCODE_ISSUER": "https://id.example"}
#: The stores whose clock is not the app's.
SERVERS = ("postgresql", "psycopg2", "mariadb", "redis")


def test_two_objects_on_one_app_have_sessions_of_their_own() -> None:
    here = site()
    here.app.config["ADMIN_JWT_SECRET_KEY"] = OTHER_SECRET
    stores: dict[str, Any] = {"blocklist": here.revocations, "sessions": here.logins}
    admin = AuthX(here.app, name="admin", clock=here.clock, **stores)
    route(here.app, admin, "/admin")
    users = here.log_in()
    with here.app.app_context():
        admins = admin.login("ann")
        assert [one.sid for one in admin.sessions("ann")] == [here_sid(admins)]
    assert here.listed() == [here.sid(users)]
    assert outcome(here.ask(admins.refresh_token)) == INVALID
    assert outcome(here.ask(users.refresh_token, path="/admin/refresh")) == INVALID
    assert here.generation(pair_in(here.ask(users.refresh_token))) == 1
    renewed = pair_in(here.ask(admins.refresh_token, path="/admin/refresh"))
    with here.app.app_context():
        admin.revoke_subject("ann")
        assert not admin.name_session(here.sid(users), "x")
    assert outcome(here.ask(renewed.refresh_token, path="/admin/refresh")) == REVOKED
    assert here.accepts(users)


def here_sid(pair: TokenPair) -> str:
    sid: str = parts(pair.access_token)[1]["sid"]
    return sid


@pytest.mark.parametrize("issuer", [{}, ISSUER], ids=["without issuer", "one issuer"])
def test_apps_of_one_scope_share_their_sessions(issuer: dict[str, Any]) -> None:
    """One log-in for the shop and the account pages, which are apps of their own."""
    shop = site(STORE_SCOPE="users", **issuer)
    account = site(like=shop, name="account", STORE_SCOPE="users", **issuer)
    pair = shop.log_in()
    renewed = pair_in(account.ask(pair.refresh_token))
    assert account.listed() == shop.listed() == [shop.sid(pair)]
    assert account.generation(renewed) == 1
    with account.app.app_context():
        account.authx.revoke_session(shop.sid(pair))
    assert not shop.accepts(pair)
    assert outcome(shop.ask(renewed.refresh_token)) == REVOKED
    assert shop.listed() == []


OTHERS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    (ISSUER, ISSUER),
    ({"STORE_SCOPE": "users"}, {"STORE_SCOPE": "admins"}),
    (ISSUER | {"STORE_SCOPE": "x"}, {"STORE_SCOPE": "x", "ENCODE_ISSUER": "https://b.example"}),
]


@pytest.mark.parametrize(("first", "second"), OTHERS)
def test_apps_of_other_names_scopes_or_issuers_share_no_sessions(
    first: dict[str, Any], second: dict[str, Any]
) -> None:
    shop = site(**first)
    other = site(like=shop, name="other", **second)
    pair = shop.log_in()
    assert other.listed() == []
    assert outcome(other.ask(pair.refresh_token)) in (REVOKED, INVALID)
    with other.app.app_context():
        other.authx.revoke_subject("ann")
        other.authx.revoke_session(shop.sid(pair))
    assert shop.accepts(pair)
    assert shop.generation(shop.renew(pair.refresh_token)) == 1


def test_workers_share_everything() -> None:
    one = site()
    two: Site = site(like=one)
    pair = one.log_in()
    assert two.listed() == [one.sid(pair)]
    renewed = two.renew(pair.refresh_token)
    # The first worker has another tab's request with the token of before.
    assert one.generation(one.renew(pair.refresh_token)) == 1
    assert one.generation(one.renew(renewed.refresh_token)) == 2
    with two.app.app_context():
        two.authx.revoke_session(one.sid(pair))
    assert not one.accepts(pair)


@pytest.mark.parametrize("kind", [kind for kind in STORES if kind not in SERVERS])
def test_a_session_from_beginning_to_end_on_every_store(kind: str, tmp_path: Path) -> None:
    """USERS 51, 53, 57: a session is the same in every store."""
    clock = Clock()
    app, authx = app_on(session_settings(kind, tmp_path, REFRESH_GRACE=60), clock=clock)
    with app.app_context():
        phone, other = authx.login("Zoë", name="📱"), authx.login("Zoë")
        clock.advance(5)
        second = authx.refresh(phone.refresh_token)
        again = authx.refresh(phone.refresh_token)
        gens = [parts(one.refresh_token)[1]["gen"] for one in (phone, second, again)]
        assert gens == [0, 1, 1]
        sid = here_sid(phone)
        assert [one.sid for one in authx.sessions("Zoë")] == [sid, here_sid(other)]
        assert authx.sessions("Zoë")[0].name == "📱"
        assert authx.name_session(sid, None)
        assert authx.sessions("Zoë")[0].name is None
        clock.advance(60)
        with pytest.raises(RevokedTokenError):
            authx.refresh(phone.refresh_token)
        assert authx.is_revoked(second.access_token)
        assert [one.sid for one in authx.sessions("Zoë")] == [here_sid(other)]
        assert not authx.name_session(sid, "x")
        clock.advance(400)
        with pytest.raises(TokenExpiredError):
            authx.refresh(other.refresh_token)
        assert authx.sessions("Zoë") == []


@pytest.mark.parametrize("kind", SERVERS)
def test_a_session_is_the_same_on_every_server(kind: str, tmp_path: Path) -> None:
    """The server dates it: what takes time is told apart by the grace of two workers."""
    other_app, strict = app_on(session_settings(kind, tmp_path, REFRESH_GRACE=0))
    app, authx = app_on(session_settings(kind, tmp_path, REFRESH_GRACE=60))
    with app.app_context():
        phone, other = authx.login("Zoë", name="📱"), authx.login("Zoë")
        second = authx.refresh(phone.refresh_token)
        again = authx.refresh(phone.refresh_token)
        gens = [parts(one.refresh_token)[1]["gen"] for one in (phone, second, again)]
        assert gens == [0, 1, 1]
        sid = here_sid(phone)
        listed = {one.sid: one for one in authx.sessions("Zoë")}
        assert set(listed) == {sid, here_sid(other)}
        assert listed[sid].name == "📱"
        for one in listed.values():
            assert 300 < one.left <= 400
            assert 900 < one.left_until_end <= 1000
        assert authx.name_session(sid, None)
        assert {one.name for one in authx.sessions("Zoë")} == {None}
    with other_app.app_context(), pytest.raises(RevokedTokenError):
        strict.refresh(phone.refresh_token)
    with app.app_context():
        assert authx.is_revoked(second.access_token)
        assert [one.sid for one in authx.sessions("Zoë")] == [here_sid(other)]
        assert not authx.name_session(sid, "x")
        authx.revoke_subject("Zoë")
        last = authx.login("Zoë")
        assert [one.sid for one in authx.sessions("Zoë")] == [here_sid(last)]
        authx.revoke_subject("Zoë")
        assert authx.sessions("Zoë") == []
        assert authx.is_revoked(last.access_token)


def session_settings(kind: str, folder: Path, **config: Any) -> dict[str, Any]:
    """Settings of an app whose sessions are kept in a store of this kind."""
    settings = settings_for(kind, folder) | {"JWT_SESSIONS": True}
    settings |= {"JWT_SESSION_LIFETIME": 1000, "JWT_REFRESH_TOKEN_EXPIRES": 400}
    if kind not in ("memory", "redis", "sqlite-memory"):
        settings["SQLALCHEMY_ENGINE_OPTIONS"] = {"poolclass": NullPool}
    return settings | {f"JWT_{key}": value for key, value in config.items()}
