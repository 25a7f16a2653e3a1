"""The recipes of the page on migration, run before and after the move with the same requests."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from time_machine import Traveller, travel

from tests.docs.moved import PAGE, After, Before, Side, recipe
from tests.docs.support import parts_of, section_text
from tests.support import NOW, access_token, bearer, parts
from tests.support.answers import REVOKED, outcome
from tests.support.cli import printed
from tests.support.servers.private import redis_server

Check = Callable[[Before, After], None]
CHECKS: dict[str, Check] = {}


def checks(heading: str) -> Callable[[Check], Check]:
    def register(check: Check) -> Check:
        CHECKS[heading] = check
        return check

    return register


def test_each_recipe_is_checked() -> None:
    assert {*CHECKS} == {*parts_of(PAGE, "Recipes")}


@pytest.mark.parametrize(
    "heading", [one for one in parts_of(PAGE, "Recipes") if "Redis" not in one]
)
def test_a_recipe(heading: str, tmp_path: Path) -> None:
    with recipe(heading, tmp_path) as (before, after):
        CHECKS[heading](before, after)


@pytest.mark.slow
def test_the_recipe_for_redis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with redis_server() as server:
        monkeypatch.setenv("REDIS_URL", server.url)
        with recipe("Blocklist in Redis", tmp_path) as (before, after):
            CHECKS["Blocklist in Redis"](before, after)


def frozen() -> AbstractContextManager[Traveller]:
    """A clock that stands still until it is moved, also for names that a page has imported."""
    return travel(NOW, tick=False)


def log_in(side: Side) -> dict[str, Any]:
    response = side.client.post("/login")
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.get_json()
    return body


def log_out(side: Side, token: str) -> None:
    client = side.app.test_client(use_cookies=False)
    response = client.delete("/logout", headers=bearer(token))
    assert response.json == {"logged_out": True}


def expression(heading: str, name: str) -> str:
    """The code within the text of a recipe that names this."""
    text = section_text(PAGE, heading)
    found: list[str] = [one for one in re.findall(r"`(\S[^`\n]+)`", text) if name in one]
    (code,) = found
    return code


@checks("Blocklist in Redis")
@checks("Blocklist in a database")
def check_blocklist(before: Before, after: After) -> None:
    revoked, valid, other = before.create(), before.create(), before.create("refresh")
    log_out(before, revoked)
    assert [before.status(token) for token in (revoked, valid)] == [401, 200]
    assert [after.status(token) for token in (revoked, valid)] == [401, 200]
    log_out(after, valid)
    assert after.status(valid) == 401
    # That is why step 5 revokes all tokens of the user.
    with after.app.app_context():
        assert after.authx.verify_token(other, type="refresh")
    pair, second = after.create(), after.create()
    log_out(after, pair["refresh_token"])
    assert [after.status(one["access_token"]) for one in (pair, second)] == [401, 200]


@checks("Additional claims")
def check_claims(before: Before, after: After) -> None:
    token, pair = before.create(), after.create()
    for side, sent in ((before, token), (after, token), (after, pair["access_token"])):
        assert side.client.get("/role", headers=bearer(sent)).json == {"role": "editor"}
    with after.app.app_context():
        with pytest.raises(ValueError, match="exp"):
            after.authx.create_access_token("ann", data={"exp": 5})
        claims = after.authx.decode_token(pair["access_token"]).claims
    assert isinstance(claims["iat"], int)


@checks("Custom decorators")
def check_decorators(before: Before, after: After) -> None:
    admin = {"is_administrator": True}
    tokens = [before.create(additional_claims=admin), before.create()]
    ours = [access_token(after.app, after.authx, data=data) for data in (admin, {})]
    for side, (of_admin, of_user) in ((before, tokens), (after, tokens), (after, ours)):
        assert side.client.get("/admin").status_code == 401
        assert side.status(of_admin, "/admin") == 200
        response = side.client.get("/admin", headers=bearer(of_user))
        assert (response.status_code, response.json) == (403, {"msg": "Admins only!"})
    assert "token_required" in printed(after.app, "routes") or "access" in printed(
        after.app, "routes"
    )


@checks("Load the user")
def check_user(before: Before, after: After) -> None:
    token = before.create()
    for side in (before, after):
        assert side.client.get("/me", headers=bearer(token)).json == {"name": "Ann"}
        assert side.status(token, "/news") == 200
        del side.names["USERS"]["ann"]
        assert [side.status(token, path) for path in ("/me", "/news")] == [401, 401]
    # The guard of this view does not load the user; that of Flask-JWT-Extended does.
    assert (before.status(token), after.status(token)) == (401, 200)
    refresh = before.create("refresh")
    for side in (before, after):
        assert side.client.post("/refresh", headers=bearer(refresh)).status_code == 401
        side.names["USERS"]["ann"] = {"name": "Ann"}
        renewed = side.client.post("/refresh", headers=bearer(refresh)).get_json()
        assert side.status(renewed["access_token"], "/news") == 200
        del side.names["USERS"]["ann"]


@checks("Tokens from objects")
def check_objects(before: Before, after: After) -> None:
    for side in (before, after):
        token = log_in(side)["access_token"]
        assert parts(token)[1]["sub"] == "7"
        assert after.client.get("/me", headers=bearer(token)).json == {"name": "ann"}
        assert side.client.get("/me", headers=bearer(token)).json == {"name": "ann"}


@checks("Cookies with CSRF protection")
def check_cookies(before: Before, after: After) -> None:
    for side, no_csrf in ((before, 401), (after, 403)):
        assert log_in(side) == {"logged_in": True}
        assert side.client.get("/notes").json == {"notes_of": "ann"}
        assert side.client.post("/notes").status_code == no_csrf
        assert side.client.post("/notes", headers=side.csrf()).status_code == 200
    stolen = {
        side: side.client.get_cookie(name).value  # type: ignore[union-attr]
        for side, name in ((before, "access_token_cookie"), (after, "__Host-access_token"))
    }
    for side in (before, after):
        response = side.client.post("/logout", headers=side.csrf())
        assert response.json == {"logged_out": True}
        assert side.client.get("/notes").status_code == 401
    before.client.set_cookie("access_token_cookie", stolen[before])
    assert before.client.get("/notes").status_code == 200
    after.client.set_cookie("__Host-access_token", stolen[after])
    assert after.client.get("/notes").status_code == 401


@checks("Implicit refresh")
def check_renewal(before: Before, after: After) -> None:
    for side in (before, after):
        with frozen() as clock:
            log_in(side)
            for minutes, renewed in ((20, False), (20, True), (40, True), (40, True), (61, None)):
                clock.shift(timedelta(minutes=minutes))
                response = side.client.get("/profile")
                assert response.status_code == (401 if renewed is None else 200)
                cookies = response.headers.getlist("Set-Cookie")
                assert any("access_token" in one for one in cookies) == bool(renewed)


@checks("Freshness")
def check_freshness(before: Before, after: After) -> None:
    for side in (before, after):
        with frozen() as clock:
            token = log_in(side)["access_token"]
            stale = before.create() if side is before else after.create()["access_token"]
            statuses: list[int] = []
            for minutes in (0, 4, 2):
                clock.shift(timedelta(minutes=minutes))
                statuses.append(side.client.post("/password", headers=bearer(token)).status_code)
            assert statuses == [200, 200, 401]
            assert side.client.post("/password", headers=bearer(stale)).status_code == 401
    with frozen():
        assert after.status(before.create(fresh=timedelta(minutes=5))) == 401
        assert after.status(before.create(fresh=True)) == 200


@checks("Locations")
def check_locations(before: Before, after: After) -> None:
    token = before.create()
    for side, query in ((before, "query_string"), (after, "query")):
        ask = side.client.get
        assert ask("/download", query_string={"jwt": token}).json == {"for": "ann"}
        assert ask("/download", headers=bearer(token)).status_code == 401
        assert ask("/where", query_string={"jwt": token}).json == {"location": query}
        assert ask("/where", headers=bearer(token)).json == {"location": "headers"}
    both: Any = {"query_string": {"jwt": token}, "headers": bearer(token)}
    assert before.client.get("/where", **both).status_code == 200
    assert after.client.get("/where", **both).status_code == 400


@checks("Optional views")
def check_optional(before: Before, after: After) -> None:
    with frozen() as clock:
        expired = before.create()
        clock.shift(timedelta(hours=1))
        token = before.create()
        for side, status in ((before, 401), (after, 200)):
            ask = side.client.get
            assert ask("/feed").json == {"for": "everybody"}
            assert ask("/feed", headers=bearer(token)).json == {"for": "ann"}
            assert ask("/feed", headers=bearer(expired)).status_code == 401
            name = "access_token_cookie" if side is before else "__Host-access_token"
            side.client.set_cookie(name, expired)
            response = ask("/feed")
            assert response.status_code == status
            if side is after:
                assert response.json == {"for": "everybody"}
                assert "Set-Cookie" not in response.headers
        # Its answer decides nothing: whoever the guard refuses is a guest for it.
        for headers in (bearer(expired), {"Authorization": "Bearer"}):
            assert after.client.get("/feed", headers=headers).status_code in (400, 401)
            with after.app.test_request_context("/feed", headers=headers):
                assert after.authx.identify(optional=True) is None


@checks("Error loaders")
def check_errors(before: Before, after: After) -> None:
    with frozen() as clock:
        expired = before.create()
        read = expression("Error loaders", "decode_token")
        clock.shift(timedelta(hours=1))
        for side, invalid in ((before, 422), (after, 401)):
            for sent, expected in (
                ({}, (401, "missing")),
                (bearer(expired), (401, "expired")),
                (bearer("a.b.c"), (invalid if side is after else 401, "invalid")),
            ):
                response = side.client.get("/profile", headers=sent)
                assert (response.status_code, response.get_json()["code"]) == expected
                assert ("WWW-Authenticate" in response.headers) == (side is after)
        with after.app.test_request_context(headers=bearer(expired)):
            token = eval(read, after.names)
        assert (token.header["alg"], token.claims["sub"]) == ("HS256", "ann")


@checks("Refresh tokens")
def check_refresh(before: Before, after: After) -> None:
    def refreshed(side: Side, pair: dict[str, Any]) -> str:
        response = side.client.post("/refresh", headers=bearer(pair["refresh_token"]))
        assert response.status_code == 200
        return str(response.get_json()["access_token"])

    old = log_in(before)
    for side in (before, after):
        assert side.status(old["access_token"]) == 200
        assert side.status(refreshed(side, old)) == 200
    pair = log_in(after)
    renewed = refreshed(after, pair)
    log_out(after, renewed)
    assert [after.status(token) for token in (pair["access_token"], renewed)] == [401, 401]
    response = after.client.post("/refresh", headers=bearer(pair["refresh_token"]))
    assert outcome(response) == REVOKED


@checks("Headers")
def check_headers(before: Before, after: After) -> None:
    for side in (before, after):
        token = log_in(side)["access_token"]
        for one in (side, after):
            assert one.client.get("/device", headers={"X-Token": token}).json == {"device": "phone"}
        assert side.client.get("/device", headers=bearer(token)).status_code == 401
