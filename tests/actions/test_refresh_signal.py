"""The signal of a refresh: once for each that succeeds, and for no other."""

from __future__ import annotations

from typing import Any

from flask_authx import session_refreshed
from tests.support import bearer, make_app, parts
from tests.support.answers import ask


def test_a_refresh_is_announced_with_the_ids_of_the_token_that_was_sent() -> None:
    app, authx = make_app(BLOCKLIST="memory://", SESSIONS=True)
    app.register_blueprint(authx.blueprint())
    heard: list[dict[str, Any]] = []

    def hear(sender: Any, **keywords: Any) -> None:
        assert sender is app
        heard.append(keywords)

    with app.app_context():
        token = authx.login("ann").refresh_token
        other = authx.login("bob").refresh_token
        with session_refreshed.connected_to(hear, app):
            # Twice within the grace period, in which a response may have been lost.
            statuses = [refreshed(app, token), refreshed(app, token), refreshed(app, "x.y.z")]
            authx.revoke_subject("bob")
            statuses.append(refreshed(app, other))
    assert statuses == [200, 200, 401, 401]
    claims = parts(token)[1]
    ids = {name: claims[name] for name in ("sid", "sub", "jti")}
    assert heard == [{"name": "authx", **ids}] * 2


def refreshed(app: Any, token: str) -> int:
    return ask(app, "POST", "/auth/refresh", headers=bearer(token)).status_code
