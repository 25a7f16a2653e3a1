"""What an operator is told of a server that dies and comes back."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from blinker import Signal
from flask import Flask

from flask_authx import StoreBusyError, store_failed, store_recovered
from tests.support import Clock, access_token, bearer
from tests.support.answers import FAULT, OK, ask, outcome
from tests.support.failing import (
    KINDS,
    PASSWORD,
    RECOVERY,
    app_url,
    failing,
    recovers,
    shared,
    site,
)
from tests.support.spy_store import SpyStore, store_app
from tests.support.waiting import until

SIGNALS = {"failed": store_failed, "recovered": store_recovered}
Heard = list[tuple[str, dict[str, Any]]]


@contextmanager
def listening(app: Flask) -> Generator[Heard]:
    """What the app sends of its stores meanwhile, and what it carries."""
    heard: Heard = []

    def listener(name: str, signal: Signal) -> Any:
        def hear(sender: Any, **keywords: Any) -> None:
            assert sender is app
            heard.append((name, keywords))

        return signal.connected_to(hear, app)

    with ExitStack() as stack:
        for name, signal in SIGNALS.items():
            stack.enter_context(listener(name, signal))
        yield heard


@pytest.mark.slow
@pytest.mark.parametrize("kind", [pytest.param(kind, marks=failing(kind)) for kind in KINDS])
def test_a_server_that_is_killed_and_started_again(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = shared(kind)
    with site(app_url(server)) as made, listening(made.app) as heard:
        token = made.token()
        assert made.outcome(token) == OK
        # That the scope was new is said before.
        caplog.clear()
        server.kill()

        def failed() -> bool:
            assert made.outcome(token) == FAULT
            return bool(heard)

        until(failed, timeout=RECOVERY, what="the signal of a failure")
        for _ in range(20):
            assert made.outcome(token) == FAULT
        server.start()
        recovers(made, token)
        assert made.outcome(token) == OK
        (_, first), (_, last) = heard
        what = {"name": "authx", "store": "revocations", "operation": "read"}
        assert heard == [
            ("failed", {**what, "error_class": first["error_class"]}),
            ("recovered", {**what, "seconds": last["seconds"]}),
        ]
        assert 0 < last["seconds"] < RECOVERY * 2
    lines = [one for one in caplog.records if one.name == "flask_authx"]
    assert {vars(one)["store"] for one in lines} == {"revocations"}
    assert first["error_class"] in {vars(one).get("error_class") for one in lines}
    assert PASSWORD not in repr([vars(one) for one in lines])


def test_a_store_that_is_busy_or_fails_once_sends_none() -> None:
    store = SpyStore()
    app, authx = store_app(store)
    token = access_token(app, authx)
    with listening(app) as heard:
        for error in [StoreBusyError("busy")] * 50 + [OSError("down"), None] * 9:
            store.error = error
            assert outcome(ask(app, headers=bearer(token))) == (FAULT if error else OK)
    assert heard == []


def test_each_app_and_each_store_has_its_own(caplog: pytest.LogCaptureFixture) -> None:
    store = SpyStore(error=OSError("down"), failing=frozenset({"add"}))
    app, authx = store_app(store, Clock(), name="admin")
    other, _ = store_app(SpyStore())
    with listening(other) as heard_by_other, listening(app) as heard, app.app_context():
        for _ in range(6):
            with pytest.raises(Exception, match="may not have been written"):
                authx.revoke_session("s")
        token = access_token(app, authx)
        assert outcome(ask(app, headers=bearer(token))) == OK
    what = {"store": "revocations", "operation": "write", "error_class": "OSError"}
    assert heard == [("failed", {"name": "admin", **what})]
    assert heard_by_other == []
    [failure, opening] = caplog.records
    assert [one.levelno for one in (failure, opening)] == [logging.ERROR] * 2
