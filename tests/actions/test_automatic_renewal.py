"""Automatic renewal of an access cookie: when it is done, and what the new token says."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask, Response, redirect

from flask_authx import AuthX, BadConfigurationError, MemoryBlocklist
from tests.support import NOW, SECRET, Clock, bearer
from tests.support.answers import ACCESS_COOKIE, OK, Outcome, ask, cookie, outcome
from tests.support.browsers import ACCESS_CSRF, browser, browser_app, cookies_in, csrf, sign_in
from tests.support.corpus import by_repr, check_all
from tests.support.renewal import (
    DELTA,
    DUE,
    LIFETIME,
    add,
    claims_of,
    is_renewed,
    renewed,
    renewing_app,
)


@pytest.mark.parametrize("audience", ["shop", ["shop"]])
def test_the_next_token_has_the_same_audience(audience: str | list[str]) -> None:
    clock = Clock()
    app, _ = renewing_app(clock, ENCODE_AUDIENCE=audience)
    client = browser(app)
    clock.advance(DUE)
    assert claims_of(renewed(client.get("/guarded")))["aud"] == audience


@pytest.mark.parametrize(
    ("after", "expected"),
    [(0, False), (DUE - 1, False), (DUE, True), (LIFETIME - 1, True), (LIFETIME + 5, True)],
)
def test_a_token_is_renewed_near_its_end(after: int, expected: bool) -> None:
    """The last of these is within the leeway for clocks."""
    clock = Clock()
    app, _ = renewing_app(clock)
    client = browser(app)
    clock.advance(after)
    assert is_renewed(client) is expected
    # And once: the new one is not near its end.
    assert is_renewed(client) is False


def test_a_proof_holds_for_two_thirds_of_its_token() -> None:
    """What replaces it isn't fresh, so it is not replaced at once, however short it lives."""
    clock = Clock()
    app, authx = renewing_app(clock, IMPLICIT_REFRESH_DELTATIME=600)
    add(app, "/sudo", authx.fresh_token_required(max_age=300)(lambda: ""))
    with app.app_context():
        session = authx.decode_token(authx.login("ann").access_token)
        proof = authx.create_access_token("ann", fresh=True, expiry=300, login=session)
        plain = authx.create_access_token("ann", expiry=300, login=session)
    for after, expected in ((99, (False, False)), (101, (False, True)), (201, (True, True))):
        clock.now = NOW + after
        responses = [ask(app, headers=cookie((ACCESS_COOKIE, one))) for one in (proof, plain)]
        assert tuple(renewed(response) is not None for response in responses) == expected


def test_what_has_expired_is_refused_and_not_renewed() -> None:
    clock = Clock()
    app, _ = renewing_app(clock)
    client = browser(app)
    clock.advance(LIFETIME + 10)
    response = client.get("/guarded")
    assert response.status_code == 401
    assert cookies_in(response) == {}


def test_without_the_setting_nothing_is() -> None:
    clock = Clock()
    app, _ = browser_app(clock=clock)
    client = browser(app)
    clock.advance(LIFETIME - 1)
    assert is_renewed(client) is False


def test_the_new_token_belongs_to_the_same_session() -> None:
    """SECURITY A.15 295: It has the same ``sid``, so it is revoked with its session."""
    clock = Clock()
    app, authx = renewing_app(clock, DECODE_AUDIENCE=["web", "api"], ENCODE_ISSUER="us")
    client = app.test_client()
    data = {"team": "red", "n": [1, None]}
    pair = sign_in(client, audience=["web"], scopes=["b", "a:*"], data=data)
    old = claims_of(pair["access_token"])
    clock.advance(DUE)
    response = client.get("/guarded")
    new = claims_of(renewed(response))
    changed = {name for name in old | new if old.get(name) != new.get(name)}
    assert changed == {"iat", "nbf", "exp", "jti", "fresh", "scope"}
    assert old["fresh"] is True
    assert new["fresh"] is False
    assert set(new["scope"].split()) == {"a:*", "b"}
    assert (new["iat"], new["exp"]) == (NOW + DUE, NOW + DUE + LIFETIME)
    assert new["auth_time"] == NOW
    assert "gen" not in new
    assert response.headers["Cache-Control"] == "no-store"
    with app.app_context():
        authx.revoke_session(new["sid"])
    assert client.get("/guarded").status_code == 401


def test_its_cookies_are_as_if_set_by_the_app_and_the_refresh_token_is_left_alone() -> None:
    clock = Clock()
    app, _ = renewing_app(clock, COOKIE_SAMESITE="Strict", SESSION_COOKIE=False)
    client = app.test_client()
    first = cookies_in(client.post("/sign-in/ann"))
    clock.advance(DUE)
    now = cookies_in(client.get("/guarded"))
    assert now.keys() == {ACCESS_COOKIE, ACCESS_CSRF}
    assert now[ACCESS_CSRF].value == first[ACCESS_CSRF].value
    for name, one in now.items():
        unaged = [
            {part for part in each.attributes if not part.startswith("Expires=")}
            for each in (one, first[name])
        ]
        assert unaged[0] == unaged[1]
        assert f"Max-Age={LIFETIME}" in unaged[0]


def test_a_post_with_its_csrf_value_renews_and_the_value_stays_valid() -> None:
    clock = Clock()
    app, _ = renewing_app(clock)
    client = browser(app)
    before = csrf(client)
    clock.advance(DUE)
    assert renewed(client.post("/guarded", headers=before))
    assert outcome(client.post("/guarded", headers=before)) == OK


def test_a_claims_callback_says_anew_what_is_true() -> None:
    clock = Clock()
    app, authx = renewing_app(clock)
    roles = ["admin"]

    @authx.set_callback_additional_claims
    def claims(uid: str) -> dict[str, Any]:
        return {"roles": [*roles]}

    client = app.test_client()
    assert claims_of(sign_in(client, data={"once": 1})["access_token"])["once"] == 1
    roles[:] = ["reader"]
    clock.advance(DUE)
    new = claims_of(renewed(client.get("/guarded")))
    assert new["roles"] == ["reader"]
    assert "once" not in new


def test_a_renewal_shows_the_session_to_be_in_use() -> None:
    """Else it would reach its idle end under a user who never refreshes."""
    clock = Clock()
    app, authx = renewing_app(clock, SESSION_DETAILS=["user_agent"], REFRESH_TOKEN_EXPIRES=7200)
    client = browser(app)
    clock.advance(DUE)
    client.get("/guarded", headers={"User-Agent": "a browser"})
    with app.app_context():
        (session,) = authx.sessions("ann")
    assert session.last_seen == NOW + DUE
    assert session.expires == NOW + DUE + 7200
    assert session.user_agent == "a browser"
    assert session.generation == 0
    assert session.created == NOW


def test_a_session_in_use_lasts_until_its_absolute_end() -> None:
    """No token is valid after the end of its session."""
    clock = Clock()
    app, _ = renewing_app(clock, SESSION_LIFETIME=3000)
    client = browser(app)
    ends: list[float] = []
    while clock.now < NOW + 3000 - 10:
        clock.advance(10)
        token = renewed(client.get("/guarded"))
        if token:
            ends.append(claims_of(token)["exp"] - NOW)
    # The last of them expires with the session, so that another would last no longer.
    assert ends == [1500, 2100, 2700, 3000]
    assert outcome(client.get("/guarded")) == OK
    clock.advance(20)
    assert client.get("/guarded").status_code == 401


def nothing_is_revoked(token: str) -> bool:
    return False


def test_a_session_without_a_row_has_an_end_as_well() -> None:
    """There is no store; the moment of the log-in stands in the token."""
    clock = Clock()
    app = Flask("tests")
    app.config.from_mapping(
        JWT_SECRET_KEY=SECRET,
        JWT_TOKEN_LOCATION="cookies",
        JWT_IMPLICIT_REFRESH_DELTATIME=DELTA,
        JWT_SESSION_LIFETIME=1000,
    )
    authx = AuthX(app, clock=clock)
    authx.set_callback_token_blocklist(nothing_is_revoked)
    add(app, "/guarded", authx.token_required(lambda: ""))
    with app.app_context():
        token = authx.create_access_token("ann")
    clock.advance(DUE)
    new = renewed(ask(app, headers=cookie((ACCESS_COOKIE, token))))
    assert claims_of(new)["exp"] == NOW + 1000
    clock.advance(200)
    assert renewed(ask(app, headers=cookie((ACCESS_COOKIE, str(new))))) is None


@pytest.mark.parametrize("ahead", [3600, -3600])
def test_it_ends_in_time_if_the_store_has_another_clock(ahead: int) -> None:
    """The store has dated the session; its tokens expire by the machine's clock."""
    clock = Clock()
    app = Flask("tests")
    app.config.from_mapping(
        JWT_SECRET_KEY=SECRET,
        JWT_TOKEN_LOCATION="cookies",
        JWT_IMPLICIT_REFRESH_DELTATIME=DELTA,
        JWT_SESSION_LIFETIME=1000,
    )
    authx = AuthX(app, blocklist=MemoryBlocklist(lambda: clock() + ahead), clock=clock)
    add(app, "/guarded", authx.token_required(lambda: ""))
    with app.app_context():
        token = authx.create_access_token("ann")
    clock.advance(DUE)
    new = renewed(ask(app, headers=cookie((ACCESS_COOKIE, token))))
    assert claims_of(new)["exp"] == NOW + 1000


# Where and how


ROUTES: list[tuple[dict[str, Any], set[str]]] = [
    ({}, {"GET /a", "POST /a", "GET /b/1", "POST /b/1"}),
    ({"ROUTE_EXCLUDE": ["/a"]}, {"GET /b/1", "POST /b/1"}),
    ({"ROUTE_EXCLUDE": ["/b/<n>"]}, {"GET /a", "POST /a"}),
    ({"ROUTE_EXCLUDE": ["/b/1"]}, {"GET /a", "POST /a"}),
    ({"ROUTE_INCLUDE": ["/a"]}, {"GET /a", "POST /a"}),
    ({"ROUTE_INCLUDE": ["/a"], "ROUTE_EXCLUDE": ["/a"]}, set()),
    ({"METHOD_EXCLUDE": ["POST"]}, {"GET /a", "GET /b/1"}),
    ({"METHOD_INCLUDE": "get"}, {"GET /a", "GET /b/1"}),
    ({"METHOD_INCLUDE": ["GET"], "METHOD_EXCLUDE": ["GET"]}, set()),
    # A route that is included goes before the methods; one that is excluded before all.
    ({"ROUTE_INCLUDE": ["/a"], "METHOD_EXCLUDE": ["POST"]}, {"GET /a", "POST /a"}),
    ({"ROUTE_INCLUDE": ["/a"], "METHOD_INCLUDE": ["GET"]}, {"GET /a", "POST /a", "GET /b/1"}),
    ({"ROUTE_EXCLUDE": ["/a"], "METHOD_INCLUDE": ["GET"]}, {"GET /b/1"}),
    ({"ROUTE_EXCLUDE": [], "METHOD_EXCLUDE": []}, {"GET /a", "POST /a", "GET /b/1", "POST /b/1"}),
]


def number(n: str = "") -> str:
    return n


def test_the_settings_say_where_and_with_which_methods() -> None:
    def check(case: tuple[dict[str, Any], set[str]]) -> None:
        config, expected = case
        clock = Clock()
        app, authx = renewing_app(
            clock, **{f"IMPLICIT_REFRESH_{name}": value for name, value in config.items()}
        )
        for rule in ("/a", "/b/<n>"):
            add(app, rule, authx.token_required(number))
        found: set[str] = set()
        for path in ("/a", "/b/1"):
            for method in ("GET", "POST"):
                client = browser(app)
                clock.advance(DUE)
                if is_renewed(client, path, method):
                    found.add(f"{method} {path}")
        assert found == expected

    check_all(by_repr(ROUTES), check)


def test_an_optional_guard_and_a_redirect_renew_and_an_open_view_does_not() -> None:
    clock = Clock()
    app, authx = renewing_app(clock)
    add(app, "/optional", authx.optional_token(lambda: ""))
    add(app, "/open", lambda: "")
    add(app, "/moved", authx.token_required(lambda: redirect("/open")))
    client = browser(app)
    clock.advance(DUE)
    assert is_renewed(client, "/open") is False
    assert is_renewed(client, "/optional") is True
    clock.advance(DUE)
    response = client.get("/moved")
    assert outcome(response) == Outcome(302)
    assert renewed(response)


def test_a_token_from_a_header_is_not_renewed() -> None:
    """USERS 69: not even where a cookie has come along, which is another token."""
    clock = Clock()
    app, _ = renewing_app(clock)
    client = app.test_client()
    token = sign_in(client)["access_token"]
    other = browser(app)
    clock.advance(DUE)
    assert renewed(ask(app, headers=bearer(token))) is None
    assert renewed(other.get("/guarded", headers=bearer(token))) is None
    assert renewed(other.get("/guarded"))


def test_a_token_is_renewed_before_a_streamed_response_begins() -> None:
    clock = Clock()
    app, authx = renewing_app(clock)
    add(app, "/stream", authx.token_required(lambda: Response(iter(["a", "b"]))))
    client = browser(app)
    clock.advance(DUE)
    response = client.get("/stream")
    assert response.text == "ab"
    assert renewed(response)


SENSELESS: list[tuple[dict[str, Any], str]] = [
    ({"DELTATIME": LIFETIME}, "JWT_IMPLICIT_REFRESH_DELTATIME"),
    ({"DELTATIME": LIFETIME + 1}, "JWT_IMPLICIT_REFRESH_DELTATIME"),
    ({"DELTATIME": 0}, "JWT_IMPLICIT_REFRESH_DELTATIME"),
    (
        {"DELTATIME": None, "ROUTE_INCLUDE": ["/a"]},
        "JWT_IMPLICIT_REFRESH_ROUTE_INCLUDE",
    ),
    (
        {"DELTATIME": None, "METHOD_EXCLUDE": ["PUT"]},
        "JWT_IMPLICIT_REFRESH_METHOD_EXCLUDE",
    ),
    ({"ROUTE_EXCLUDE": ["a"]}, "JWT_IMPLICIT_REFRESH_ROUTE_EXCLUDE"),
    ({"METHOD_INCLUDE": ["GE T"]}, "JWT_IMPLICIT_REFRESH_METHOD_INCLUDE"),
]


def test_what_makes_no_sense_is_found_at_start_up() -> None:
    def check(case: tuple[dict[str, Any], str]) -> None:
        config, named = case
        with pytest.raises(BadConfigurationError) as caught:
            renewing_app(Clock(), **{f"IMPLICIT_REFRESH_{key}": one for key, one in config.items()})
        (problem,) = caught.value.problems
        assert problem.startswith(named)

    check_all(by_repr(SENSELESS), check)


def test_without_cookies_there_is_nothing_to_renew() -> None:
    with pytest.raises(BadConfigurationError, match="JWT_IMPLICIT_REFRESH_DELTATIME"):
        renewing_app(Clock(), TOKEN_LOCATION="headers")
