"""Runs the code of docs/locations.md, and what it says of apps that override the method."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.docs.support import page
from tests.support import access_token, bearer, make_app
from tests.support.answers import ACCESS_COOKIE, MISSING, NO_CSRF, OK, ask, cookie, outcome


def test_locations_of_one_view() -> None:
    with page("locations") as names:
        client: FlaskClient = names.app.test_client()
        raw = access_token(names.app, names.authx)
        response = client.get(f"/download?token={raw}")
        assert response.json == {"for": "ann"}
        assert response.headers["Referrer-Policy"] == "no-referrer"
        assert response.headers["Cache-Control"] == "private, no-store"
        assert outcome(client.get("/download", headers=bearer(raw))) == MISSING
        assert client.get("/token").json == {"found": None}
        assert client.get("/token", headers=bearer("garbage")).json == {"found": "headers"}


@pytest.mark.parametrize("said", ["POST", "DELETE"])
def test_a_method_that_middleware_has_overridden_is_the_one_that_is_checked(said: str) -> None:
    """SECURITY A.10 166"""
    app, authx = make_app(TOKEN_LOCATION="cookies")
    headers = cookie((ACCESS_COOKIE, access_token(app, authx)))
    override = {**headers, "X-HTTP-Method-Override": said}
    # Without the middleware it is an ordinary GET.
    assert outcome(ask(app, headers=override)) == OK
    inner = app.wsgi_app

    def overriding(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        method = environ.get("HTTP_X_HTTP_METHOD_OVERRIDE", environ["REQUEST_METHOD"])
        return inner({**environ, "REQUEST_METHOD": method}, start_response)

    untyped: Any = app
    untyped.wsgi_app = overriding
    assert outcome(ask(app, headers=override)) == NO_CSRF
    assert outcome(ask(app, headers=headers)) == OK
