"""Cookies of two logins in one browser, doubled ones, and apps with several blueprints."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Blueprint, Flask, request

from flask_authx import AuthX, BadConfigurationError, session_revoked
from tests.support import SECRET, Clock, bearer, parts
from tests.support.answers import ACCESS_COOKIE, REFRESH_COOKIE, ask, cookie, outcome
from tests.support.browsers import LOCAL, browser_app, cookies_in, sign_in
from tests.support.session_sites import heard


def csrf_of(token: str) -> dict[str, str]:
    return {"X-CSRF-TOKEN": parts(token)[1]["csrf"]}


def lists(app: Flask, authx: AuthX, *uids: str) -> list[int]:
    """How many logins each user has."""
    with app.app_context():
        return [len(authx.sessions(uid)) for uid in uids]


# Log-out


def test_a_log_out_takes_nothing_back_that_goes_on() -> None:
    """A header's token is ended; the login of the cookies beside it is another one."""
    app, authx = browser_app()
    ann, bob = sign_in(app.test_client(), "ann"), sign_in(app.test_client(), "bob")
    headers = {**bearer(ann["access_token"]), **cookie((ACCESS_COOKIE, bob["access_token"]))}
    response = ask(app, "POST", "/auth/logout", headers=headers)
    assert (response.status_code, cookies_in(response)) == (204, {})
    assert lists(app, authx, "ann", "bob") == [0, 1]


def test_a_log_out_ends_both_logins_of_mixed_cookies_if_it_may() -> None:
    """What is taken back must be over, or a copy of it lives on."""
    app, authx = browser_app(COOKIE_CSRF_PROTECT=False)
    ann, bob = sign_in(app.test_client(), "ann"), sign_in(app.test_client(), "bob")
    mixed = cookie((ACCESS_COOKIE, ann["access_token"]), (REFRESH_COOKIE, bob["refresh_token"]))
    response = ask(app, "POST", "/auth/logout", headers=mixed)
    assert (response.status_code, len(cookies_in(response))) == (204, 2)
    assert lists(app, authx, "ann", "bob") == [0, 0]


def test_doubled_cookies_keep_nobody_from_logging_out() -> None:
    app, authx = browser_app()
    ann = sign_in(app.test_client(), "ann")
    twice = f"{ACCESS_COOKIE}=a; {ACCESS_COOKIE}=b"
    refresh = cookie((REFRESH_COOKIE, ann["refresh_token"]))["Cookie"]
    headers = {"Cookie": f"{twice}; {refresh}", **csrf_of(ann["refresh_token"])}
    assert ask(app, "POST", "/auth/logout", headers=headers).status_code == 204
    assert lists(app, authx, "ann") == [0]
    # Where they are all that there is, they are at least forgotten.
    response = ask(app, "POST", "/auth/logout", headers={"Cookie": twice})
    assert (response.status_code, len(cookies_in(response))) == (400, 4)


def test_a_bad_header_of_another_origin_is_told_what_it_is() -> None:
    app, _ = browser_app()
    headers = {**bearer("a.b.c"), "Origin": "https://spa.example"}
    assert outcome(ask(app, "POST", "/auth/logout", headers=headers)) == (401, "JWTDecodeError")


# Log-in


def logging_in(**config: Any) -> tuple[Flask, AuthX]:
    return browser_app(authenticate=lambda: request.get_json()["uid"], **config)


def log_in(client: Any, uid: str = "ann") -> Any:
    headers = {"Origin": LOCAL}
    return client.post("/auth/login", json={"uid": uid}, base_url=LOCAL, headers=headers)


def test_a_login_that_is_replaced_costs_no_other_one() -> None:
    app, authx = logging_in(MAX_SESSIONS=2)
    phone, laptop = app.test_client(), app.test_client()
    for client in (phone, laptop, laptop, laptop):
        assert log_in(client).status_code == 200
    assert phone.get("/guarded", base_url=LOCAL).status_code == 200
    assert lists(app, authx, "ann") == [2]


def test_a_login_that_is_over_is_not_ended_by_the_next_one() -> None:
    app, authx = logging_in()
    client = app.test_client()
    log_in(client)
    with app.app_context():
        authx.revoke_subject("ann")
    with heard(session_revoked) as revoked:
        assert log_in(client).status_code == 200
    assert revoked.times == []


def test_a_receiver_that_fails_keeps_nobody_from_logging_in() -> None:
    app, authx = logging_in()
    client = app.test_client()
    log_in(client)

    def fail(sender: Any, **keywords: Any) -> None:
        assert keywords["actor"] == "ann"
        raise OSError("mail is down")

    with session_revoked.connected_to(fail):
        response = log_in(client)
    assert (response.status_code, len(cookies_in(response))) == (200, 4)
    assert lists(app, authx, "ann") == [1]


# Without cookies


@pytest.mark.parametrize("way", ["logout", "own", "others"])
def test_an_app_without_cookies_ends_logins_just_so(way: str) -> None:
    app, authx = browser_app(TOKEN_LOCATION="headers")
    with app.app_context():
        here, there = authx.login("ann"), authx.login("ann")
        sid = authx.decode_token(here.access_token).sid
    method, path = {
        "logout": ("POST", "/auth/logout"),
        "own": ("DELETE", f"/auth/sessions/{sid}"),
        "others": ("DELETE", "/auth/sessions"),
    }[way]
    response = ask(app, method, path, headers=bearer(here.access_token))
    assert (response.status_code, cookies_in(response)) == (204, {})
    ended, left = (there, here) if way == "others" else (here, there)
    assert ask(app, headers=bearer(ended.access_token)).status_code == 401
    assert ask(app, headers=bearer(left.access_token)).status_code == 200
    assert lists(app, authx, "ann") == [1]


# Several blueprints


def test_blueprints_on_other_hosts_or_several_paths_are_fine() -> None:
    app = Flask("tests", subdomain_matching=True)
    app.testing = True
    app.config["SERVER_NAME"] = "example.org"
    for prefix, secret in (("JWT_", SECRET), ("ADMIN_JWT_", SECRET[::-1])):
        app.config[f"{prefix}SECRET_KEY"] = secret
        app.config[f"{prefix}SESSIONS"] = True
        app.config[f"{prefix}BLOCKLIST"] = "memory://"
        app.config[f"{prefix}ENCODE_ISSUER"] = "https://example.org"
    authx, admin = AuthX(app, clock=Clock()), AuthX(app, name="admin", clock=Clock())
    for version in ("v1", "v2"):
        outer = Blueprint(version, __name__, url_prefix=f"/{version}")
        outer.register_blueprint(authx.blueprint())
        app.register_blueprint(outer, subdomain="www")
    app.register_blueprint(admin.blueprint("/v1/auth"), subdomain="admin")
    assert ask(app, base_url="http://www.example.org").status_code == 404


def test_two_objects_that_share_a_store_need_issuers_of_their_own() -> None:
    app = Flask("tests")
    for prefix, secret in (("JWT_", SECRET), ("ADMIN_JWT_", SECRET[::-1])):
        app.config[f"{prefix}SECRET_KEY"] = secret
        app.config[f"{prefix}BLOCKLIST"] = "redis://127.0.0.1:6379/15"
        app.config[f"{prefix}ENCODE_ISSUER"] = "https://example.org"
    AuthX(app)
    with pytest.raises(BadConfigurationError, match="ADMIN_JWT_ENCODE_ISSUER"):
        AuthX(app, name="admin")
