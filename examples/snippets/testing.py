"""docs/testing.rst: an app factory and its tests, with a clock that the test sets."""

import time
from collections.abc import Callable
from typing import Any

from flask import Flask

from flask_authx import AuthX, current_token

SECRET = "XuYv0Zc6d1nq4mJt8Kf2sGhR7wPbLeA3"  # for tests only


# [factory]
def create_app(
    config: dict[str, Any], clock: Callable[[], float] = time.time
) -> tuple[Flask, AuthX]:
    app = Flask(__name__)
    app.config.from_mapping(config)
    authx = AuthX(app, clock=clock)

    @app.get("/profile")
    @authx.token_required
    def profile() -> dict[str, Any]:
        return {"user": current_token.sub}

    return app, authx


# [mint]
def test_profile_says_who_it_is() -> None:
    app, authx = create_app({"JWT_SECRET_KEY": SECRET})
    with app.app_context():
        token = authx.create_access_token(uid="ann")
    answer = app.test_client().get("/profile", headers={"Authorization": f"Bearer {token}"})
    assert answer.json == {"user": "ann"}


# [revoked]
def test_a_revoked_login_is_over() -> None:
    app, authx = create_app({"JWT_SECRET_KEY": SECRET, "JWT_BLOCKLIST": "memory://"})
    with app.app_context():
        token = authx.create_access_token(uid="ann")
        authx.revoke_subject("ann")
    answer = app.test_client().get("/profile", headers={"Authorization": f"Bearer {token}"})
    assert answer.json is not None
    assert answer.json["error_type"] == "RevokedTokenError"


# [clock]
def test_token_expires_after_a_quarter_of_an_hour() -> None:
    now = [1_800_000_000.0]
    app, authx = create_app(
        {"JWT_SECRET_KEY": SECRET, "JWT_DECODE_LEEWAY": 0}, clock=lambda: now[0]
    )
    with app.app_context():
        headers = {"Authorization": f"Bearer {authx.create_access_token(uid='ann')}"}
    client = app.test_client()
    now[0] += 899
    assert client.get("/profile", headers=headers).status_code == 200
    now[0] += 1
    assert client.get("/profile", headers=headers).status_code == 401
