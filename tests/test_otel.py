"""The metrics for OpenTelemetry, as its SDK reads them."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from flask_authx import AuthX, MemorySessions, RevokedTokenError, StoreBusyError
from flask_authx.otel import instrument
from flask_authx.stores.base import reports_wait
from tests.support import SECRET, Clock, access_token, bearer, make_app
from tests.support.answers import ask
from tests.support.databases import redis_url
from tests.support.spy_store import SpyStore
from tests.support.sql_apps import SQLApps
from tests.support.waiting import until

Point = tuple[dict[str, Any], int]


class Metrics:
    """What an app has recorded."""

    def __init__(self) -> None:
        self._reader = InMemoryMetricReader()
        self.provider = MeterProvider([self._reader])

    def read(self) -> dict[str, Any]:
        """The metrics, by their names."""
        data = self._reader.get_metrics_data()
        scopes = [] if data is None else [s for r in data.resource_metrics for s in r.scope_metrics]
        assert {scope.scope.name for scope in scopes} <= {"flask_authx"}
        return {metric.name: metric for scope in scopes for metric in scope.metrics}

    def points(self, name: str) -> list[Point]:
        """The attributes of a metric, and how often it was recorded."""
        metric = self.read().get(f"flask_authx.{name}")
        points: list[Any] = [] if metric is None else [*metric.data.data_points]
        return [
            (dict(one.attributes), one.count if hasattr(one, "count") else one.value)
            for one in points
        ]


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


def app_with(
    metrics: Metrics, *, name: str = "authx", **config: Any
) -> tuple[Flask, AuthX, SpyStore]:
    """An app whose store can fail, and whose sessions are in memory."""
    store, clock = SpyStore(), Clock()
    app = Flask("tests")
    prefix = "JWT_" if name == "authx" else f"{name.upper()}_JWT_"
    app.config[f"{prefix}SECRET_KEY"] = SECRET
    authx = AuthX(app, name=name, blocklist=store, sessions=MemorySessions(clock), clock=clock)
    app.add_url_rule("/guarded", "guarded", authx.token_required(lambda: ""))
    app.register_blueprint(authx.blueprint())
    instrument(app, metrics.provider)
    return app, authx, store


def test_a_check_has_its_outcome(metrics: Metrics) -> None:
    app, authx, store = app_with(metrics)
    with app.app_context():
        token = authx.login("ann").access_token
        before = metrics.points("check.duration")
        assert before == []
        for _ in range(3):
            ask(app, path="/guarded", headers=bearer(token))
        store.error = StoreBusyError("busy")
        ask(app, path="/guarded", headers=bearer(token))
        ask(app, path="/guarded", headers=bearer("x.y.z"))
        ask(app, path="/guarded")
    same = {"name": "authx", "type": "access"}
    assert metrics.points("check.duration") == [
        ({**same, "outcome": "accepted"}, 3),
        ({**same, "outcome": "StoreUnavailableError"}, 1),
        ({**same, "outcome": "JWTDecodeError"}, 1),
    ]
    assert metrics.points("refusals") == [
        ({"name": "authx", "error_type": "StoreUnavailableError"}, 1),
        ({"name": "authx", "error_type": "JWTDecodeError"}, 1),
        ({"name": "authx", "error_type": "MissingTokenError"}, 1),
    ]


def test_a_store_call_has_its_outcome(metrics: Metrics) -> None:
    app, authx, store = app_with(metrics, name="admin")
    with app.app_context():
        token = authx.login("ann").access_token
        for store.error in (None, StoreBusyError("busy"), OSError("down")):
            ask(app, path="/guarded", headers=bearer(token))
    calls = {
        (one["name"], one["store"], one["operation"], one["outcome"]): number
        for one, number in metrics.points("store.call.duration")
    }
    reads = ("admin", "revocations", "read")
    assert calls[(*reads, "busy")] == calls[(*reads, "failed")] == 1
    assert calls[(*reads, "ok")] >= 2
    assert calls["admin", "sessions", "write", "ok"] == 1


def test_revocations_and_refreshes_are_counted(metrics: Metrics) -> None:
    app, authx, store = app_with(metrics)
    with app.app_context():
        pairs = [authx.login("ann") for _ in range(3)]
        refreshed = ask(app, "POST", "/auth/refresh", headers=bearer(pairs[0].refresh_token))
        assert refreshed.status_code == 200
        authx.revoke_session(authx.decode_token(pairs[1].access_token).sid)
        for pair in pairs[1:]:
            ask(app, "POST", "/auth/refresh", headers=bearer(pair.refresh_token))
        authx.revoke_token(pairs[2].access_token)
        authx.revoke_subject("ann")
        # An access token that is refused is no refresh.
        ask(app, path="/guarded", headers=bearer(pairs[0].access_token))
        authx.revoke_all()
        store.error = OSError("down")
        ask(app, "POST", "/auth/refresh", headers=bearer(pairs[2].refresh_token))
    assert metrics.points("revocations") == [
        ({"name": "authx", "kind": "session"}, 1),
        ({"name": "authx", "kind": "token"}, 1),
        ({"name": "authx", "kind": "subject"}, 1),
        ({"name": "authx", "kind": "scope"}, 1),
    ]
    assert metrics.points("refreshes") == [
        ({"name": "authx", "outcome": "refreshed"}, 2),
        ({"name": "authx", "outcome": "RevokedTokenError"}, 1),
        ({"name": "authx", "outcome": "StoreUnavailableError"}, 1),
    ]


def test_a_refresh_token_that_a_guard_refuses_is_no_refresh(metrics: Metrics) -> None:
    app, authx, _ = app_with(metrics)
    app.add_url_rule("/renewed", "renewed", authx.refresh_token_required(lambda: ""))
    with app.app_context():
        pair = authx.login("ann")
        authx.revoke_session(authx.decode_token(pair.access_token).sid)
        for path, error_type in (
            ("/guarded", "AccessTokenRequiredError"),
            ("/renewed", "RevokedTokenError"),
        ):
            refused: Any = ask(app, path=path, headers=bearer(pair.refresh_token))
            assert refused.get_json()["error_type"] == error_type
        with pytest.raises(RevokedTokenError):
            authx.verify_token(pair.refresh_token, type="refresh")
        assert metrics.points("refreshes") == []
        with pytest.raises(RevokedTokenError):
            authx.refresh(pair.refresh_token)
        # Nor is one that is refused after a refresh, which has failed.
        ask(app, path="/renewed", headers=bearer(pair.refresh_token))
    [failed] = metrics.points("refreshes")
    assert failed == ({"name": "authx", "outcome": "RevokedTokenError"}, 1)


def test_a_wait_for_a_connection_is_measured_once(metrics: Metrics) -> None:
    """However many apps of the process are instrumented."""
    for _ in range(2):
        app_with(metrics)

    @reports_wait("redis")
    def wait() -> None:
        raise StoreBusyError("no connection became free")

    with pytest.raises(StoreBusyError):
        wait()
    assert metrics.points("store.wait.duration") == [({"kind": "redis"}, 1)]


@pytest.mark.parametrize("kind", ["sql", "redis"])
def test_a_call_that_finds_all_connections_in_use_has_waited(
    metrics: Metrics, sql_app: SQLApps, kind: str
) -> None:
    if kind == "sql":
        site = sql_app("postgresql")
        app, authx = site.app, site.authx
    else:
        app, authx = make_app(BLOCKLIST=redis_url(), STORE_TIMEOUT=10)
    token = bearer(access_token(app, authx))
    instrument(app, metrics.provider)
    go_on = threading.Event()

    def crowd() -> None:
        until(lambda: ask(app, path="/guarded", headers=token) and go_on.is_set())

    with ThreadPoolExecutor(30) as pool:
        for _ in range(30):
            pool.submit(crowd)
        try:
            until(lambda: metrics.points("store.wait.duration"), what="a wait")
        finally:
            go_on.set()
    [(attributes, _)] = metrics.points("store.wait.duration")
    assert attributes == {"kind": kind}


def test_buckets_and_units_are_those_of_fractions_of_a_second(metrics: Metrics) -> None:
    app, authx, _ = app_with(metrics)
    with app.app_context():
        ask(app, path="/guarded", headers=bearer(authx.login("ann").access_token))
    read = metrics.read()
    for name in ("check.duration", "store.call.duration"):
        metric = read[f"flask_authx.{name}"]
        assert metric.unit == "s"
        assert metric.description
        for point in metric.data.data_points:
            assert point.explicit_bounds[0] == 0.0001
            assert 0 < point.sum < 30


def test_no_attribute_says_who_it_was(metrics: Metrics) -> None:
    app, authx, _ = app_with(metrics)
    with app.app_context():
        pair = authx.login("ann")
        token = authx.decode_token(pair.access_token)
        ask(app, path="/guarded", headers=bearer(pair.access_token))
        ask(app, "POST", "/auth/refresh", headers=bearer(pair.refresh_token))
        authx.revoke_subject("ann")
    text = repr([one.data for one in metrics.read().values()])
    for secret in (token.sub, token.sid, token.jti, *pair.access_token.split(".")):
        assert secret not in text


def test_what_is_set_up_wrongly_is_told() -> None:
    with pytest.raises(RuntimeError, match=r"call authx\.init_app"):
        instrument(Flask("tests"))
    app, _ = make_app()
    instrument(app)
    with pytest.raises(RuntimeError, match="call instrument once"):
        instrument(app)


@pytest.mark.slow
def test_an_app_that_does_not_use_it_imports_none_of_it() -> None:
    code = "import flask_authx, sys; sys.exit('opentelemetry' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
