"""Runs the code of docs/callbacks.md."""

from __future__ import annotations

from flask.testing import FlaskClient

from tests.docs.support import page
from tests.support import access_token, bearer
from tests.support.answers import OK, REVOKED, Outcome, outcome


def test_callbacks() -> None:
    with page("callbacks") as names:
        app, authx = names.with_sync_callback.app, names.with_sync_callback.authx
        client: FlaskClient = app.test_client()
        raw = access_token(app, authx)
        headers = bearer(raw)
        assert client.get("/me", headers=headers).json == {"name": "ann"}
        assert client.get("/role", headers=headers).json == {"role": "editor"}
        with app.app_context():
            token = authx.decode_token(raw)
        bob = bearer(access_token(app, authx, uid="bob"))
        assert client.get("/me", headers=bob).json == {
            "msg": "The token is invalid",
            "error_type": "JWTDecodeError",
        }
        guest = bearer(access_token(app, authx, data={"role": "guest"}))
        assert outcome(client.get("/me", headers=guest)) == Outcome(403, "ClaimsRefusedError")
        names.USERS["mallory"] = names.USERS["ann"]
        mallory = bearer(access_token(app, authx, uid="mallory"))
        assert outcome(client.get("/me", headers=mallory)) == REVOKED
        with app.app_context():
            assert authx.decode_token(authx.create_access_token(names.USERS["bob"])).sub == "bob"
        names.REVOKED.add(token.jti)
        assert outcome(client.get("/me", headers=headers)) == REVOKED
        # The app with the async callback has the same secret.
        client = names.app.test_client()
        assert outcome(client.get("/me", headers=headers)) == REVOKED
        names.REVOKED.clear()
        assert outcome(client.get("/me", headers=headers)) == OK
