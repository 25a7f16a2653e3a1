"""Runs the snippets that the how-to pages of the documentation include."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from flask_authx import AuthX, BadConfigurationError, RevokedTokenError, current_token
from tests.docs.support import snippet
from tests.support import OTHER_SECRET, SECRET, access_token, bearer, refresh_token
from tests.support.answers import INVALID, MISSING, OK, REVOKED, Outcome, Spy, outcome


def access(module: ModuleType, **extras: Any) -> str:
    """An access token of a snippet's app."""
    return access_token(module.app, module.authx, **extras)


def refresh(module: ModuleType) -> str:
    """A refresh token of a snippet's app."""
    return refresh_token(module.app, module.authx)


def test_guards_of_functions() -> None:
    module = snippet("guards")
    client: FlaskClient = module.app.test_client()
    plain, fresh = bearer(access(module)), bearer(access(module, fresh=True))
    assert client.get("/profile", headers=plain).json == {"user": "ann"}
    assert outcome(client.get("/profile", headers=bearer(refresh(module)))) == Outcome(
        401, "AccessTokenRequiredError"
    )
    assert outcome(client.delete("/account", headers=plain)) == Outcome(
        401, "FreshTokenRequiredError"
    )
    assert outcome(client.delete("/account", headers=fresh)) == OK
    assert outcome(client.get("/users", headers=plain)) == Outcome(403, "InsufficientScopeError")
    assert outcome(client.get("/users", headers=bearer(access(module, scopes=["users:*"])))) == OK
    assert (
        outcome(client.get("/reports", headers=bearer(access(module, scopes=["audit:read"])))) == OK
    )
    assert client.get("/slow", headers=plain).json == {"user": "ann"}
    assert client.get("/export", headers=plain).text == "ann,0\nann,1\nann,2\n"


def test_guards_of_refresh_tokens_keep_the_session() -> None:
    module = snippet("guards")
    sent = refresh(module)
    made: Any = module.app.test_client().post("/refresh", headers=bearer(sent)).json
    with module.app.app_context():
        old = module.authx.decode_token(sent)
        new = module.authx.decode_token(made["access_token"])
    assert (new.sid, new.auth_time, new.fresh) == (old.sid, old.auth_time, False)


@pytest.mark.parametrize(
    ("sent", "feed", "teaser"),
    [
        (None, 200, 200),
        ("Basic eA==", 200, 200),
        ("Bearer x.y.z", 401, 200),
        ("Bearer", 400, 400),
        ("Bearer a, Bearer b", 400, 400),
    ],
)
def test_table_of_optional_tokens(sent: str | None, feed: int, teaser: int) -> None:
    client: FlaskClient = snippet("guards").app.test_client()
    headers = {} if sent is None else {"Authorization": sent}
    statuses = [client.get(path, headers=headers).status_code for path in ("/feed", "/teaser")]
    assert statuses == [feed, teaser], f"with Authorization: {sent}"


def test_guards_of_classes_and_blueprints() -> None:
    module = snippet("guards")
    client: FlaskClient = module.app.test_client()
    plain = bearer(access(module))
    assert outcome(client.get("/orders")) == MISSING
    assert outcome(client.get("/orders", headers=plain)) == OK
    assert outcome(client.delete("/orders", headers=plain)) == Outcome(
        401, "FreshTokenRequiredError"
    )
    assert outcome(client.get("/api/items")) == MISSING
    assert client.get("/api/items", headers=plain).json == {"owner": "ann"}
    assert client.get("/api/health").json == {"healthy": True}


def test_locations_of_one_view() -> None:
    module = snippet("locations")
    client: FlaskClient = module.app.test_client()
    raw = access(module)
    response = client.get(f"/download?token={raw}")
    assert response.json == {"for": "ann"}
    assert response.headers["Referrer-Policy"] == "no-referrer"
    assert response.headers["Cache-Control"] == "private, no-store"
    assert outcome(client.get("/download", headers=bearer(raw))) == MISSING
    assert client.get("/token").json == {"found": None}
    assert client.get("/token", headers=bearer("garbage")).json == {"found": "headers"}


def response_to(token: str, setup: tuple[Flask, AuthX]) -> Outcome:
    """What a guarded view of the app makes of a token."""
    app, authx = setup

    @app.get("/")
    @authx.token_required
    def index() -> dict[str, str]:
        return {"user": current_token.sub}

    return outcome(app.test_client().get("/", headers=bearer(token)))


def with_secret(secret: str) -> tuple[Flask, AuthX]:
    app = Flask(__name__)
    app.config["JWT_SECRET_KEY"] = secret
    return app, AuthX(app)


def test_keys_in_pairs(tmp_path: Path) -> None:
    from flask_authx import cli

    keys, file = snippet("keys"), tmp_path / "key.pem"
    cli.authx.main(
        ["generate-key", "--algorithm", "ES256", "--out", str(file)], standalone_mode=False
    )
    token = access_token(*keys.issuer(file))
    assert response_to(token, keys.verifier(tmp_path / "key.pem.pub")) == OK
    with pytest.raises(BadConfigurationError, match="JWT_PRIVATE_KEY"):
        access_token(*keys.verifier(tmp_path / "key.pem.pub"))
    for accepted in (token, access_token(*with_secret(SECRET))):
        assert response_to(accepted, keys.moved_to_key_pair(file, SECRET)) == OK


def test_keys_rotate_and_sessions_go_on() -> None:
    keys = snippet("keys")
    old, new = (access_token(*with_secret(secret)) for secret in (SECRET, OTHER_SECRET))
    assert response_to(old, keys.rotated(OTHER_SECRET, SECRET)) == OK
    assert response_to(new, keys.rotated(OTHER_SECRET, SECRET)) == OK
    assert response_to(old, with_secret(OTHER_SECRET)) == INVALID
    # The order for several processes: first only verified with, then signed with.
    assert response_to(new, keys.rotated(SECRET, OTHER_SECRET)) == OK


def test_callbacks() -> None:
    module = snippet("callbacks")
    client: FlaskClient = module.app.test_client()
    raw = access(module)
    headers = bearer(raw)
    assert client.get("/me", headers=headers).json == {"name": "ann"}
    assert client.get("/role", headers=headers).json == {"role": "editor"}
    with module.app.app_context():
        token = module.authx.decode_token(raw)
    bob = bearer(access(module, uid="bob"))
    assert client.get("/me", headers=bob).json == {
        "msg": "The token is invalid",
        "error_type": "JWTDecodeError",
    }
    module.REVOKED.add(token.jti)
    assert outcome(client.get("/me", headers=headers)) == REVOKED
    module.use_async_callback(module.authx)
    assert outcome(client.get("/me", headers=headers)) == REVOKED
    module.REVOKED.clear()
    assert outcome(client.get("/me", headers=headers)) == OK


def test_outside_of_requests() -> None:
    module = snippet("outside")
    raw = access(module, scopes=["reports:write"])
    assert module.on_connect({"token": raw}).startswith("hello ann, until ")
    assert module.on_connect({"token": "x"}) == "closed: JWTDecodeError"
    assert module.on_connect({}) == "closed: JWTDecodeError"
    assert module.run_report(raw) == "report for ann"
    module.authx.set_callback_token_blocklist(Spy(True))
    with pytest.raises(RevokedTokenError):
        module.run_report(raw)
    assert module.who_is_it(raw).startswith("access token of ann, login ")


def test_testing() -> None:
    module = snippet("testing")
    module.test_profile_says_who_it_is()
    module.test_a_revoked_login_is_over()
    module.test_token_expires_after_a_quarter_of_an_hour()


def test_signals(caplog: pytest.LogCaptureFixture) -> None:
    module = snippet("signals")
    client: FlaskClient = module.app.test_client()
    headers = bearer(access(module))
    client.get("/profile")
    with module.app.test_request_context(headers=headers):
        module.authx.logout()
    client.get("/profile", headers=headers)
    said = [record.getMessage() for record in caplog.records if record.name == "audit"]
    assert said[0] == "refused MissingTokenError (A token is required) of None"
    assert re.fullmatch(r"ann has ended the login [\w-]{22}", said[1])
    assert said[2] == "refused RevokedTokenError (The token has been revoked) of ann"
    assert re.fullmatch(r"somebody still uses the ended login [\w-]{22}", said[3])


def test_a_response_of_the_apps_own() -> None:
    module = snippet("answers")
    response = module.app.test_client().get("/profile", headers=bearer(access(module, expiry=1)))
    assert outcome(response) == OK
    expired = module.on_expired(module.TokenExpiredError())
    with module.app.test_request_context():
        response = module.app.make_response(expired)
    assert response.get_json() == {"msg": "please refresh", "error_type": "TokenExpiredError"}
    assert response.headers["WWW-Authenticate"].startswith(
        'Bearer realm="api", error="invalid_token"'
    )
    assert response.headers.getlist("Content-Type") == ["application/json"]
