"""Runs the code of docs/production.md, on a store that fails and works again."""

from __future__ import annotations

import pytest
from prometheus_client import REGISTRY

from tests.docs.support import page
from tests.support import access_token, bearer
from tests.support.answers import FAULT, OK, REVOKED, ask, outcome
from tests.support.servers.private import redis_server
from tests.support.waiting import until


@pytest.mark.slow
def test_what_probe_and_metrics_say_of_a_store(monkeypatch: pytest.MonkeyPatch) -> None:
    with redis_server() as server:
        monkeypatch.setenv("FLASK_JWT_BLOCKLIST", server.url)
        with page("production") as names:
            app, authx = names.app, names.authx
            app.add_url_rule("/guarded", view_func=authx.token_required(lambda: ""))
            revoked, valid = access_token(app, authx), access_token(app, authx)

            def value(name: str, **labels: str) -> float | None:
                return REGISTRY.get_sample_value(name, labels)

            def failing() -> float | None:
                return value("authx_store_failing", store="revocations", operation="read")

            def status() -> int:
                return ask(app, path="/ready").status_code

            with app.app_context():
                authx.revoke_session(authx.decode_token(revoked).sid)
            assert outcome(ask(app, path="/guarded", headers=bearer(revoked))) == REVOKED
            assert value("authx_revoked_sessions_total") == 1
            assert value("authx_refused_total", error_type="RevokedTokenError") == 1
            assert status() == 204
            server.kill()

            def failed() -> bool:
                assert outcome(ask(app, path="/guarded", headers=bearer(valid))) == FAULT
                return failing() == 1

            until(failed, what="a gauge of 1")
            until(lambda: status() == 503, what="a probe that says 503")
            server.start()
            until(lambda: status() == 204, what="a probe that says 204")
            assert failing() == 0
            assert outcome(ask(app, path="/guarded", headers=bearer(valid))) == OK
