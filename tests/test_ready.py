"""``authx.ready()`` and ``GET /auth/ready``: what a readiness probe is told of the stores."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from flask_authx import (
    AuthX,
    BadConfigurationError,
    MemorySessions,
    StoreBusyError,
    store_recovered,
)
from flask_authx.sessions.readiness import ReadinessCheck
from flask_authx.stores.base import StoreError
from flask_authx.stores.circuit_breaker import CircuitBreaker
from flask_authx.stores.redis import connections as redis_connections
from flask_authx.stores.sql import pool as sql_pool
from tests.support import SECRET, Clock, access_token, bearer, make_app
from tests.support.answers import FAULT, OK, ask, outcome
from tests.support.databases import app_on, redis_url, settings_for
from tests.support.failing import KINDS, RECOVERY, app_url, failing, shared, site
from tests.support.spy_store import SpyStore, store_app
from tests.support.sql_apps import SQLApps
from tests.support.waiting import until

DOWN = OSError("down")
URL = "/auth/ready"


def ready_app(store: Any, **config: Any) -> tuple[Flask, AuthX]:
    """An app that has the endpoint."""
    app, authx = store_app(store, **config)
    app.register_blueprint(authx.blueprint(ready=True))
    return app, authx


def answers(authx: AuthX, app: Flask) -> dict[str, bool]:
    with app.app_context():
        return dict(authx.ready().stores)


# authx.ready()


def test_an_app_without_a_store_is_ready() -> None:
    app, authx = make_app()
    assert answers(authx, app) == {}
    with app.app_context():
        assert authx.ready()


@pytest.mark.parametrize("kind", ["sqlite", "postgresql", "mariadb"])
@pytest.mark.parametrize(
    ("missing", "table"),
    [
        ("revocations", "authx_blocklist"),
        ("sessions", "authx_sessions"),
        ("audit records", "authx_audit"),
    ],
)
def test_each_store_of_the_app_is_asked(
    sql_app: SQLApps, kind: str, missing: str, table: str
) -> None:
    stored: dict[str, Any] = {"JWT_AUDIT": "1d", "JWT_SESSIONS": True}
    here = sql_app(kind, **stored)
    everything = {"revocations": True, "sessions": True, "audit records": True}
    assert answers(here.authx, here.app) == everything
    with here.app.app_context(), here.db.engine.begin() as connection:
        connection.exec_driver_sql(f"DROP TABLE {table}")
    # Another process, which has no answer to share.
    other = sql_app(here.url, tables=False, **stored)
    assert answers(other.authx, other.app) == {**everything, missing: False}
    with other.app.app_context():
        assert not other.authx.ready()


def test_redis_is_asked() -> None:
    app, authx = make_app(BLOCKLIST=redis_url(), SESSIONS=True)
    assert answers(authx, app) == {"revocations": True, "sessions": True}
    app, authx = make_app(BLOCKLIST="redis://127.0.0.1:1/0", SESSIONS=True)
    assert answers(authx, app) == {"revocations": False, "sessions": False}


@pytest.mark.parametrize("error", [DOWN, KeyError("x"), MemoryError()], ids=repr)
def test_a_store_of_the_app_s_own_may_fail_in_any_way(error: Exception) -> None:
    app, authx = store_app(SpyStore(error=error))
    assert answers(authx, app) == {"revocations": False}


def test_a_busy_store_is_ready() -> None:
    app, authx = store_app(SpyStore(error=StoreBusyError("all connections stayed in use")))
    assert answers(authx, app) == {"revocations": True}


class Store:
    """Counts how often it is asked, which takes a while."""

    def __init__(self) -> None:
        self.asked = 0
        self.error: Exception | None = None
        self.go_on = threading.Event()

    def check(self) -> None:
        self.asked += 1
        self.go_on.wait()
        if self.error is not None:
            raise self.error


def checked(clock: Clock) -> tuple[Store, ReadinessCheck]:
    store = Store()
    return store, ReadinessCheck({"cups": store}, clock)


def test_an_answer_is_shared_for_a_second(clock: Clock) -> None:
    store, ready = checked(clock)
    store.go_on.set()
    for turn in range(1, 4):
        store.error = StoreError("down") if turn == 2 else None
        for _ in range(8):
            assert bool(ready()) is (turn != 2)
            assert store.asked == turn
            clock.advance(0.125)


def test_threads_wait_for_one_answer(clock: Clock) -> None:
    store, ready = checked(clock)
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(ready) for _ in range(8)]
        until(lambda: store.asked)
        store.go_on.set()
        assert all(one.result() for one in asked)
    assert store.asked == 1


def test_a_process_that_is_forked_while_a_store_is_asked_asks_itself(clock: Clock) -> None:
    store, ready = checked(clock)
    asking = threading.Thread(target=ready)
    asking.start()
    until(lambda: store.asked)
    child = os.fork()
    if not child:
        store.go_on.set()
        os._exit(0 if ready() else 1)
    waited: list[int] = []

    def ended() -> bool:
        pid, status = os.waitpid(child, os.WNOHANG)
        waited.append(status)
        return pid == child

    try:
        until(ended, what="an answer in the child")
    finally:
        store.go_on.set()
        asking.join()
    assert waited[-1] == 0


def test_a_store_that_works_again_is_used_again_without_a_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(CircuitBreaker, "PAUSE", 0.0)
    store = SpyStore()
    app, authx = store_app(store)
    token = access_token(app, authx)
    heard: list[str] = []

    def hear(sender: object, store: str, **more: object) -> None:
        heard.append(store)

    store.error = DOWN
    for _ in range(CircuitBreaker.IN_A_ROW):
        assert outcome(ask(app, headers=bearer(token))) == FAULT
    store.error = None
    with store_recovered.connected_to(hear, app):
        assert answers(authx, app) == {"revocations": True}
    assert heard == ["revocations"]


def test_a_store_that_requests_use_is_not_asked() -> None:
    def only_by_the_request() -> bool:
        store = SpyStore()
        app, authx = store_app(store)
        token = access_token(app, authx)
        assert outcome(ask(app, headers=bearer(token))) == OK
        calls = len(store.calls)
        assert answers(authx, app) == {"revocations": True}
        return len(store.calls) == calls

    # On a busy machine the request may have been more than a second ago.
    until(only_by_the_request, what="an answer within a second of the request")


@pytest.mark.parametrize("kind", ["postgresql", "redis"])
def test_no_connection_is_waited_for(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests have them all, so the store answers; a probe would wait behind them."""
    app, authx = app_on({**settings_for(kind, tmp_path), "JWT_STORE_CONNECTIONS": 1})

    @app.get("/guarded")
    @authx.token_required
    def guarded() -> dict[str, str]:
        return {}

    token = access_token(app, authx)
    assert ask(app, headers=bearer(token)).status_code == 200
    for module in (sql_pool, redis_connections):
        monkeypatch.setattr(module, "WAIT_LIMIT", 600)
    taken: list[object] = []

    # The request's look-up keeps its connection.
    def keep(_pool: object, connection: object) -> None:
        taken.append(connection)

    monkeypatch.setattr(sql_pool.Pool, "give", keep)
    monkeypatch.setattr(redis_connections.StoreConnections, "give_back", keep)
    assert ask(app, headers=bearer(token)).status_code == 200
    assert len(taken) == 1

    def never(_: object) -> bool:
        return False

    monkeypatch.setattr(CircuitBreaker, "succeeded_lately", never)
    told: list[dict[str, bool]] = []
    probe = threading.Thread(target=lambda: told.append(answers(authx, app)), daemon=True)
    probe.start()
    probe.join(60)
    assert told == [{"revocations": True}]
    assert len(taken) == 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", [pytest.param(kind, marks=failing(kind)) for kind in KINDS])
def test_a_server_that_is_killed_and_started_again(kind: str) -> None:
    server = shared(kind)
    with site(app_url(server)) as made:

        def ready() -> bool:
            return answers(made.authx, made.app)["revocations"]

        assert ready()
        server.kill()
        until(lambda: not ready(), timeout=RECOVERY, what="an answer that it is down")
        server.start()
        until(ready, timeout=RECOVERY, what="an answer that it works")


# GET /auth/ready


def test_it_is_there_only_if_it_is_asked_for() -> None:
    app, authx = store_app(SpyStore())
    app.register_blueprint(authx.blueprint())
    assert URL not in {rule.rule for rule in app.url_map.iter_rules()}


@pytest.mark.parametrize("protect", [False, True])
def test_it_needs_no_token(protect: bool) -> None:
    store = SpyStore()
    for error, status in ((None, 200), (DOWN, 503)):
        app, _ = ready_app(store, PROTECT_ALL=protect)
        store.error = error
        response = ask(app, path=URL)
        assert response.status_code == status
        assert response.json == {"ready": error is None, "stores": {"revocations": error is None}}
        assert response.headers["Cache-Control"] == "no-store"


def test_without_sessions_it_is_all_there_is() -> None:
    app, authx = ready_app(SpyStore())
    token = access_token(app, authx)
    for path, method in [
        ("/auth/refresh", "POST"),
        ("/auth/logout", "POST"),
        ("/auth/sessions", "GET"),
        ("/auth/sessions", "DELETE"),
        ("/auth/sessions/s", "DELETE"),
    ]:
        for headers in ({}, bearer(token)):
            assert ask(app, method, path, headers=headers).status_code == 404
    assert ask(app, path="/guarded", headers=bearer(token)).status_code == OK[0]


def test_with_sessions_the_other_views_are_there() -> None:
    app = Flask("tests")
    app.config.from_mapping(JWT_SECRET_KEY=SECRET)
    store = SpyStore()
    authx = AuthX(app, blocklist=store, sessions=MemorySessions(Clock()), clock=Clock())
    app.register_blueprint(authx.blueprint(ready=True))
    with app.app_context():
        token = authx.login("ann").access_token
    listed = ask(app, path="/auth/sessions", headers=bearer(token))
    assert len(listed.get_json()["sessions"]) == 1
    assert ask(app, path=URL).get_json()["stores"] == {"revocations": True, "sessions": True}


def test_a_blueprint_without_it_needs_sessions() -> None:
    app, authx = store_app(SpyStore())
    app.register_blueprint(authx.blueprint())
    app.config["PROPAGATE_EXCEPTIONS"] = True
    with pytest.raises(BadConfigurationError, match="needs stored sessions"):
        ask(app)
