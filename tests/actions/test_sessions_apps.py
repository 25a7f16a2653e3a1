"""Sessions of several apps, workers and ``AuthX`` objects in one store, and on every store."""

from __future__ import annotations

import time
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


def test_apps_of_one_issuer_share_their_sessions() -> None:
    """One log-in for the shop and the account pages, which are apps of their own."""
    shop = site(**ISSUER)
    account = site(like=shop, name="account", **ISSUER)
    pair = shop.log_in()
    renewed = pair_in(account.ask(pair.refresh_token))
    assert account.listed() == shop.listed() == [shop.sid(pair)]
    assert account.generation(renewed) == 1
    with account.app.app_context():
        account.authx.revoke_session(shop.sid(pair))
    assert not shop.accepts(pair)
    assert outcome(shop.ask(renewed.refresh_token)) == REVOKED
    assert shop.listed() == []


@pytest.mark.parametrize("issuers", [(None, None), ("https://a.example", "https://b.example")])
def test_apps_of_other_names_or_issuers_share_no_sessions(
    issuers: tuple[str | None, str | None],
) -> None:
    first, second = (dict[str, Any](ENCODE_ISSUER=issuer) for issuer in issuers)
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


@pytest.mark.parametrize("kind", STORES)
def test_a_session_from_beginning_to_end_on_every_store(kind: str, tmp_path: Path) -> None:
    """USERS 51, 53, 57: a session is the same in every store."""
    clock = Clock()
    settings = settings_for(kind, tmp_path) | {"JWT_SESSIONS": True}
    settings |= {"JWT_SESSION_LIFETIME": 1000, "JWT_REFRESH_TOKEN_EXPIRES": 400}
    if kind not in ("memory", "redis", "sqlite-memory"):
        settings["SQLALCHEMY_ENGINE_OPTIONS"] = {"poolclass": NullPool}
    # Redis forgets by its own clock, so this one is not far from that.
    clock.now = float(int(time.time()))
    app, authx = app_on(settings, clock=clock)
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
