"""Runs the snippets that the how-to pages of the documentation include."""

import importlib
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from flask_authx import AuthX, BadConfigurationError, RevokedTokenError, current_token

SECRET = "kQ2vX9mB4tR7yW1zN6cL8pD3fH5jS0gA"
OTHER_SECRET = "Zr8Tn2Yb6Kd0Wq4Xe9Vm1Lh7Gs3Pj5Uc"


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def everything_is_revoked(_token: str) -> bool:
    return True


def snippet(name: str) -> ModuleType:
    """A snippet, freshly run: each test has an app of its own."""
    sys.modules.pop(f"examples.snippets.{name}", None)
    return importlib.import_module(f"examples.snippets.{name}")


def mint(module: ModuleType, **extras: Any) -> dict[str, str]:
    with module.app.app_context():
        return bearer(module.authx.create_access_token(uid="ann", **extras))


def mint_refresh(module: ModuleType) -> dict[str, str]:
    with module.app.app_context():
        return bearer(module.authx.create_refresh_token(uid="ann"))


def test_guards_of_functions() -> None:
    module = snippet("guards")
    client: FlaskClient = module.app.test_client()
    plain, fresh = mint(module), mint(module, fresh=True)
    assert client.get("/profile", headers=plain).json == {"user": "ann"}
    assert client.get("/profile", headers=mint_refresh(module)).status_code == 401
    assert client.delete("/account", headers=plain).status_code == 401
    assert client.delete("/account", headers=fresh).status_code == 200
    assert client.get("/users", headers=plain).status_code == 403
    assert client.get("/users", headers=mint(module, scopes=["users:*"])).status_code == 200
    assert client.get("/reports", headers=mint(module, scopes=["audit:read"])).status_code == 200
    assert client.get("/slow", headers=plain).json == {"user": "ann"}
    assert client.get("/export", headers=plain).text == "ann,0\nann,1\nann,2\n"


def test_guards_of_refresh_tokens_keep_the_login() -> None:
    module = snippet("guards")
    refresh = mint_refresh(module)
    made: Any = module.app.test_client().post("/refresh", headers=refresh).json
    with module.app.app_context():
        old = module.authx.decode_token(refresh["Authorization"].removeprefix("Bearer "))
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
    assert client.get("/feed", headers=headers).status_code == feed
    assert client.get("/teaser", headers=headers).status_code == teaser


def test_guards_of_classes_and_blueprints() -> None:
    module = snippet("guards")
    client: FlaskClient = module.app.test_client()
    plain = mint(module)
    assert client.get("/orders").status_code == 401
    assert client.get("/orders", headers=plain).status_code == 200
    assert client.delete("/orders", headers=plain).status_code == 401
    assert client.get("/api/items").status_code == 401
    assert client.get("/api/items", headers=plain).json == {"owner": "ann"}
    assert client.get("/api/health").json == {"healthy": True}


def test_locations_of_one_view() -> None:
    module = snippet("locations")
    client: FlaskClient = module.app.test_client()
    raw = mint(module)["Authorization"].removeprefix("Bearer ")
    answer = client.get(f"/download?token={raw}")
    assert answer.json == {"for": "ann"}
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["Cache-Control"] == "private, no-store"
    assert client.get("/download", headers=bearer(raw)).status_code == 401
    assert client.get("/token").json == {"found": None}
    assert client.get("/token", headers=bearer("garbage")).json == {"found": "headers"}


def accepts(setup: tuple[Flask, AuthX], token: str) -> bool:
    app, authx = setup

    @app.get("/")
    @authx.token_required
    def index() -> dict[str, str]:
        return {"user": current_token.sub}

    return app.test_client().get("/", headers=bearer(token)).status_code == 200


def minted_by(setup: tuple[Flask, AuthX]) -> str:
    with setup[0].app_context():
        return setup[1].create_access_token(uid="ann")


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
    token = minted_by(keys.issuer(file))
    assert accepts(keys.verifier(tmp_path / "key.pem.pub"), token)
    with pytest.raises(BadConfigurationError, match="JWT_PRIVATE_KEY"):
        minted_by(keys.verifier(tmp_path / "key.pem.pub"))
    assert accepts(keys.moved_to_key_pair(file, SECRET), token)
    assert accepts(keys.moved_to_key_pair(file, SECRET), minted_by(with_secret(SECRET)))


def test_keys_rotate_without_logging_anybody_out() -> None:
    keys = snippet("keys")
    old = minted_by(with_secret(SECRET))
    assert accepts(keys.rotated(OTHER_SECRET, SECRET), old)
    assert accepts(keys.rotated(OTHER_SECRET, SECRET), minted_by(with_secret(OTHER_SECRET)))
    assert not accepts(with_secret(OTHER_SECRET), old)
    # The order for several processes: first only verified with, then signed with.
    assert accepts(keys.rotated(SECRET, OTHER_SECRET), minted_by(with_secret(OTHER_SECRET)))


def test_callbacks() -> None:
    module = snippet("callbacks")
    client: FlaskClient = module.app.test_client()
    headers = mint(module)
    assert client.get("/me", headers=headers).json == {"name": "ann"}
    assert client.get("/role", headers=headers).json == {"role": "editor"}
    with module.app.app_context():
        bob = bearer(module.authx.create_access_token(uid="bob"))
        token = module.authx.decode_token(headers["Authorization"].removeprefix("Bearer "))
    assert client.get("/me", headers=bob).json == {
        "msg": "The token is invalid",
        "error_type": "JWTDecodeError",
    }
    module.REVOKED.add(token.jti)
    assert client.get("/me", headers=headers).status_code == 401
    module.use_async_callback(module.authx)
    assert client.get("/me", headers=headers).status_code == 401
    module.REVOKED.clear()
    assert client.get("/me", headers=headers).status_code == 200


def test_outside_of_requests() -> None:
    module = snippet("outside")
    raw = mint(module, scopes=["reports:write"])["Authorization"].removeprefix("Bearer ")
    assert module.on_connect({"token": raw}).startswith("hello ann, until ")
    assert module.on_connect({"token": "x"}) == "closed: JWTDecodeError"
    assert module.on_connect({}) == "closed: JWTDecodeError"
    assert module.run_report(raw) == "report for ann"
    module.authx.set_callback_token_blocklist(everything_is_revoked)
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
    headers = mint(module)
    client.get("/profile")
    with module.app.test_request_context(headers=headers):
        module.authx.logout()
    client.get("/profile", headers=headers)
    said = [record.getMessage() for record in caplog.records if record.name == "audit"]
    assert said[0] == "refused MissingTokenError (A token is required) of None"
    assert re.fullmatch(r"ann has ended the login [\w-]{22}", said[1])
    assert said[2] == "refused RevokedTokenError (The token has been revoked) of ann"
    assert re.fullmatch(r"somebody still uses the ended login [\w-]{22}", said[3])


def test_an_answer_of_the_apps_own() -> None:
    module = snippet("answers")
    answer = module.app.test_client().get("/profile", headers=mint(module, expiry=1))
    assert answer.status_code == 200
    expired = module.on_expired(module.TokenExpiredError())
    with module.app.test_request_context():
        answer = module.app.make_response(expired)
    assert answer.get_json() == {"msg": "please refresh", "error_type": "TokenExpiredError"}
    assert answer.headers["WWW-Authenticate"].startswith(
        'Bearer realm="api", error="invalid_token"'
    )
    assert answer.headers.getlist("Content-Type") == ["application/json"]
