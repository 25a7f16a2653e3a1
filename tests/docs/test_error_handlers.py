"""Runs the code of docs/errors.md."""

from __future__ import annotations

from flask_authx import TokenExpiredError
from tests.docs.support import page
from tests.support import access_token, bearer
from tests.support.answers import OK, outcome


def test_a_response_of_the_apps_own() -> None:
    with page("errors") as names:
        token = access_token(names.app, names.authx, expiry=1)
        response = names.app.test_client().get("/profile", headers=bearer(token))
        assert outcome(response) == OK
        expired = names.on_expired(TokenExpiredError())
        with names.app.test_request_context():
            response = names.app.make_response(expired)
    assert response.get_json() == {"msg": "please refresh", "error_type": "TokenExpiredError"}
    assert response.headers["WWW-Authenticate"].startswith(
        'Bearer realm="api", error="invalid_token"'
    )
    assert response.headers.getlist("Content-Type") == ["application/json"]
