"""Metrics for OpenTelemetry: ``pip install flask-authx[otel]``.

An app that does not call :func:`instrument` pays nothing for them.
"""

from __future__ import annotations

import functools
import importlib.metadata
import time
from collections.abc import Callable
from typing import Any

from flask import Flask
from opentelemetry.metrics import MeterProvider, get_meter
from werkzeug.wrappers import Request

from . import signals
from .actions.refresh import in_refresh
from .app.state import AppState, states
from .enums import TokenType
from .errors import AuthXException
from .http.context import RequestContext
from .http.requirement import Requirement
from .http.verifier import Verifier
from .stores.base import wait_listeners
from .tokens.token import RequestToken, Token

#: The key in ``app.extensions``.
_EXTENSION = "authx_otel"
#: Seconds. A look-up takes fractions of a millisecond.
_BOUNDARIES = [
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01),
    *(0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5),
]


def instrument(app: Flask, meter_provider: MeterProvider | None = None) -> None:
    """Record metrics of all ``AuthX`` objects of an app: call it once, after ``init_app``.

    :param meter_provider: by default the global one.
    :raises RuntimeError: if the app has no ``AuthX`` object, or its metrics are recorded already.
    """
    if not states(app):
        raise RuntimeError("the app has no AuthX object yet: call authx.init_app(app) before")
    if _EXTENSION in app.extensions:
        raise RuntimeError("the metrics of this app are recorded already: call instrument once")
    metrics = app.extensions[_EXTENSION] = _Metrics(meter_provider)
    for state in states(app).values():
        metrics.measure(state)
    metrics.listen(app)
    wait_listeners[meter_provider] = metrics.waited


class _Metrics:
    """The instruments, and what records into them."""

    def __init__(self, meter_provider: MeterProvider | None) -> None:
        version = importlib.metadata.version("flask-authx")
        meter = get_meter("flask_authx", version, meter_provider)
        histogram = functools.partial(
            meter.create_histogram, unit="s", explicit_bucket_boundaries_advisory=_BOUNDARIES
        )
        self._checks = histogram(
            "flask_authx.check.duration",
            description="Duration of the check of a token, its revocation included.",
        )
        self._calls = histogram(
            "flask_authx.store.call.duration",
            description="Duration of a call to a store, waiting for a connection included.",
        )
        self._waits = histogram(
            "flask_authx.store.wait.duration",
            description="How long a call waited for a connection, if none was idle.",
        )
        counter = meter.create_counter
        self._refusals = counter(
            "flask_authx.refusals", unit="{request}", description="Refused requests."
        )
        self._revocations = counter(
            "flask_authx.revocations", unit="{revocation}", description="Confirmed revocations."
        )
        self._refreshes = counter(
            "flask_authx.refreshes",
            unit="{refresh}",
            description="Refreshes with a valid refresh token, by their outcome.",
        )

    def measure(self, state: AppState) -> None:
        """Measure the checks and the store calls of one ``AuthX`` object."""
        name = state.name

        def called(store: str, operation: str, outcome: str, seconds: float) -> None:
            attributes = {"store": store, "operation": operation, "outcome": outcome}
            self._calls.record(seconds, {"name": name, **attributes})

        def checked(type: TokenType, outcome: str, seconds: float) -> None:
            attributes = {"type": type.value, "outcome": outcome}
            self._checks.record(seconds, {"name": name, **attributes})

        for store in (state.revocations, state.sessions, state.trail):
            if store is not None:
                store.measure(called)
        state.verifier = _MeasuredVerifier(state.verifier, checked)

    def listen(self, app: Flask) -> None:
        """Count what the app announces."""
        for signal, receiver in (
            (signals.token_refused, self._refused),
            (signals.token_revoked, functools.partial(self._revoked, "token")),
            (signals.session_revoked, functools.partial(self._revoked, "session")),
            (signals.subject_revoked, functools.partial(self._revoked, "subject")),
            (signals.all_revoked, functools.partial(self._revoked, "scope")),
            (signals.session_refreshed, self._refreshed),
        ):
            signal.connect(receiver, app, weak=False)

    def waited(self, kind: str, seconds: float) -> None:
        """Record a wait for a connection."""
        self._waits.record(seconds, {"kind": kind})

    def _refused(
        self, _: Flask, *, name: str, error: AuthXException, type: str | None, **__: Any
    ) -> None:
        outcome = error.error_type.value
        self._refusals.add(1, {"name": name, "error_type": outcome})
        # A guard refuses a refresh token as well, such as one that needs an access token.
        if type == TokenType.REFRESH and in_refresh.get():
            self._refreshes.add(1, {"name": name, "outcome": outcome})

    def _revoked(self, kind: str, _: Flask, *, name: str, **__: Any) -> None:
        self._revocations.add(1, {"name": name, "kind": kind})

    def _refreshed(self, _: Flask, *, name: str, **__: Any) -> None:
        self._refreshes.add(1, {"name": name, "outcome": "refreshed"})


class _MeasuredVerifier(Verifier):
    """A verifier whose checks are measured.

    What an async revocation callback takes is not included: its caller awaits it in between.
    """

    def __init__(self, verifier: Verifier, record: Callable[[TokenType, str, float], None]) -> None:
        vars(self).update(vars(verifier))
        self._record = record

    def verify(
        self,
        found: RequestToken,
        requirement: Requirement,
        request: Request | None,
        context: RequestContext,
        *,
        can_await: bool = False,
    ) -> Token:
        """The verified token, after the whole check."""
        began = time.perf_counter()
        try:
            token = super().verify(found, requirement, request, context, can_await=can_await)
        except AuthXException as error:
            outcome = error.error_type.value
            self._record(requirement.type, outcome, time.perf_counter() - began)
            raise
        self._record(requirement.type, "accepted", time.perf_counter() - began)
        return token
