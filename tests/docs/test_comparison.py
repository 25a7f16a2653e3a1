"""Each row of the README's comparison: the same is done with both libraries, as they come.

The last row, of the time that a guard takes, is measured by ``make bench-stores``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from importlib.metadata import version
from typing import Any

import flask_jwt_extended
import jwt
import pytest
from flask import Flask, Response
from flask.testing import FlaskClient

from flask_authx import AuthX, BadConfigurationError
from tests.support import NOW, ROOT, SECRET, Clock, bearer
from tests.support.answers import ask

#: Its types are only partly known.
fje: Any = flask_jwt_extended
TABLE = (ROOT / "README.md").read_text("utf-8").split("## Comparison")[1].split("\n## ")[0]
ROWS = dict(re.findall(r"^\| (.+?) \| (.+) \|$", TABLE, re.M))


def view() -> str:
    return "OK"


def theirs(**settings: Any) -> tuple[Flask, Any]:
    """An app with Flask-JWT-Extended and a guarded view ``/guarded``."""
    app = Flask("theirs")
    app.config.from_mapping({"JWT_SECRET_KEY": SECRET, **settings})
    manager = fje.JWTManager(app)
    app.get("/guarded")(fje.jwt_required()(view))
    app.post("/refresh", endpoint="refresh")(fje.jwt_required(refresh=True)(view))
    return app, manager


def ours(clock: Clock | None = None, **settings: Any) -> tuple[Flask, AuthX]:
    """The same with Flask-AuthX."""
    app = Flask("ours")
    app.config.from_mapping({"JWT_SECRET_KEY": SECRET, **settings})
    authx = AuthX(app) if clock is None else AuthX(app, clock=clock)
    app.get("/guarded")(authx.token_required(view))

    @app.post("/refresh")
    def refresh() -> dict[str, Any]:
        return authx.refresh().to_dict()

    return app, authx


def both() -> tuple[tuple[FlaskClient, str], tuple[FlaskClient, str]]:
    """A client of each and a valid access token."""
    (their_app, _), (our_app, authx) = theirs(), ours()
    with their_app.app_context():
        their_token = fje.create_access_token("ann")
    with our_app.app_context():
        our_token = authx.create_access_token("ann")
    return (their_app.test_client(), their_token), (our_app.test_client(), our_token)


def status(client: FlaskClient, token: str) -> int:
    """The status of a guarded view with this token."""
    return client.get("/guarded", headers=bearer(token)).status_code


def test_the_versions_are_named_and_every_row_is_run_here() -> None:
    header, _, *rows = re.findall(r"^\|.*\|$", TABLE, re.M)
    assert f"| Flask-JWT-Extended {version('Flask-JWT-Extended')} |" in header
    assert len(rows) == 13
    assert ROWS["A guard with 1,000,000 revocations in PostgreSQL"] == "1.10 ms | 0.19 ms"


@pytest.mark.parametrize(
    ("answer", "row"), [(None, "returns `None`"), (ZeroDivisionError(), "raises")]
)
def test_the_revocation_callback_fails(answer: Any, row: str) -> None:
    def is_revoked(*_args: Any) -> Any:
        if answer is not None:
            raise answer

    their_app, manager = theirs()
    manager.token_in_blocklist_loader(is_revoked)
    our_app, authx = ours()
    authx.set_callback_token_blocklist(is_revoked)
    with their_app.app_context():
        their_token = fje.create_access_token("ann")
    with our_app.app_context():
        our_token = authx.create_access_token("ann")
    found = status(their_app.test_client(), their_token), status(our_app.test_client(), our_token)
    said = {(200, 503): "the token is accepted | 503", (500, 503): "500 | 503"}
    assert ROWS[f"The revocation callback {row}"] == said[found]


def test_revocations_are_stored_by_a_callback_or_by_a_setting() -> None:
    """And a log-out there, as its documentation has it, is that of one token."""
    their_app, manager = theirs()
    revoked = set[str]()

    def is_revoked(_header: Mapping[str, Any], payload: Mapping[str, Any]) -> bool:
        return payload["jti"] in revoked

    def logout() -> str:
        revoked.add(fje.get_jwt()["jti"])
        return ""

    manager.token_in_blocklist_loader(is_revoked)
    their_app.delete("/logout")(fje.jwt_required()(logout))
    with their_app.app_context():
        access, refresh = fje.create_access_token("ann"), fje.create_refresh_token("ann")
    client = their_app.test_client()
    client.delete("/logout", headers=bearer(access))
    assert status(client, access) == 401
    assert client.post("/refresh", headers=bearer(refresh)).status_code == 200
    assert [name for name in dir(fje) if "revoke" in name] == []
    our_app, authx = ours(JWT_BLOCKLIST="memory://", JWT_SESSIONS=True)
    with our_app.app_context():
        pair = authx.login("ann")
    with our_app.test_request_context(headers=bearer(pair.access_token)):
        authx.logout()
    client = our_app.test_client()
    assert status(client, pair.access_token) == 401
    assert client.post("/refresh", headers=bearer(pair.refresh_token)).status_code == 401
    row = "A log-out with the access token"
    assert ROWS[row] == "leaves the refresh token valid | revokes both"
    row = "Revocations are stored"
    assert ROWS[row] == "by a callback that you write | by a setting: SQL or Redis"


def test_a_refresh_token_is_used_again() -> None:
    their_app, _ = theirs()
    with their_app.app_context():
        token = fje.create_refresh_token("ann")
    client = their_app.test_client()
    assert [client.post("/refresh", headers=bearer(token)).status_code for _ in range(3)] == [
        200,
        200,
        200,
    ]
    clock = Clock(NOW)
    our_app, authx = ours(clock, JWT_BLOCKLIST="memory://", JWT_SESSIONS=True)
    with our_app.app_context():
        token = authx.login("ann").refresh_token
    client = our_app.test_client()
    new: Any = client.post("/refresh", headers=bearer(token)).json
    clock.advance(61)
    assert client.post("/refresh", headers=bearer(token)).status_code == 401
    assert status(client, new["access_token"]) == 401
    row = "A refresh token after it was used"
    assert ROWS[row] == "valid until it expires | replaced: reuse revokes the session"


def test_an_invalid_token() -> None:
    (their_client, _), (our_client, _) = both()
    assert status(their_client, "x.y.z") == 422
    response = our_client.get("/guarded", headers=bearer("x.y.z"))
    assert response.status_code == 401
    assert "WWW-Authenticate" in response.headers
    assert ROWS["An invalid token"] == "422 | 401 with `WWW-Authenticate`"


def test_a_guard_above_the_route() -> None:
    def unguarded() -> str:
        return "OK"

    their_app, _ = theirs()
    fje.jwt_required()(their_app.get("/unguarded")(unguarded))
    assert their_app.test_client().get("/unguarded").status_code == 200
    our_app, authx = ours(PROPAGATE_EXCEPTIONS=True)
    authx.token_required(our_app.get("/unguarded")(unguarded))
    with pytest.raises(BadConfigurationError, match="unguarded"):
        our_app.test_client().get("/unguarded")
    row = "A guard above `@app.route`"
    assert ROWS[row] == "the view is open | the app refuses to serve"


@pytest.mark.parametrize(
    ("change", "row"),
    [
        ({"exp": None}, "A token without `exp`"),
        ({"type": "password_reset"}, "A token of another `type`, such as a password reset"),
    ],
)
def test_a_signed_token_that_is_no_access_token(change: dict[str, Any], row: str) -> None:
    found = list[int]()
    for client, token in both():
        claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
        header = jwt.get_unverified_header(token)
        assert status(client, token) == 200
        changed = {name: it for name, it in {**claims, **change}.items() if it is not None}
        found.append(status(client, jwt.encode(changed, SECRET, header["alg"], header)))
    assert found == [200, 401]
    assert re.fullmatch(r"accepted( as an access token)? \| refused", ROWS[row])


@pytest.mark.filterwarnings("ignore:The HMAC key")
def test_a_short_secret() -> None:
    their_app, _ = theirs(JWT_SECRET_KEY="short")
    with their_app.app_context():
        token = fje.create_access_token("ann")
    assert status(their_app.test_client(), token) == 200
    with pytest.raises(BadConfigurationError, match="JWT_SECRET_KEY"):
        ours(JWT_SECRET_KEY="short")
    assert ROWS["The secret `short`"] == "accepted | refused at start"


def test_an_expired_cookie_and_a_valid_header() -> None:
    found = list[int]()
    their_app, _ = theirs(JWT_TOKEN_LOCATION=["cookies", "headers"])
    with their_app.app_context():
        expired = fje.create_access_token("ann", expires_delta=timedelta(hours=-1))
        valid = fje.create_access_token("ann")
    headers = {**bearer(valid), "Cookie": f"access_token_cookie={expired}"}
    found.append(ask(their_app, headers=headers).status_code)
    clock = Clock(NOW)
    our_app, authx = ours(clock, JWT_TOKEN_LOCATION=["cookies", "headers"])
    with our_app.app_context():
        expired = authx.create_access_token("ann")
        clock.advance(3600)
        valid = authx.create_access_token("ann")
    headers = {**bearer(valid), "Cookie": f"__Host-access_token={expired}"}
    found.append(ask(our_app, headers=headers).status_code)
    assert found == [401, 200]
    assert ROWS["An expired cookie and a valid header"] == "401 | accepted"


def test_cookies() -> None:
    their_app, _ = theirs(JWT_TOKEN_LOCATION=["cookies"])
    response = Response()
    with their_app.test_request_context():
        fje.set_access_cookies(response, fje.create_access_token("ann"))
    their_cookies = response.headers.getlist("Set-Cookie")
    assert not re.search("Secure|SameSite", "".join(their_cookies))
    our_app, authx = ours(JWT_TOKEN_LOCATION=["cookies"])
    response = Response()
    with our_app.test_request_context():
        authx.set_access_cookies(response, authx.create_access_token("ann"))
    our_cookies = response.headers.getlist("Set-Cookie")
    assert our_cookies
    assert all("; Secure" in one and "; SameSite=Lax" in one for one in our_cookies)
    row = "Cookies"
    assert ROWS[row] == "without `Secure` and `SameSite` | `Secure`, `SameSite=Lax`"
