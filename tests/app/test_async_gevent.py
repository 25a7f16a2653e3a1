"""Async callbacks under gevent, whose greenlets share a thread that can run one loop.

Run as a program, this is such an app, and prints what its requests came to.
"""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
import time
from typing import Any

import pytest
from flask import Flask, current_app, request

from flask_authx import AuthX, current_user
from tests.support import ROOT, SECRET, bearer

#: Requests at once: fewer than gevent's own threads, so that all can be in their callbacks.
MANY = 8


def make() -> tuple[Flask, dict[str, str]]:
    app = Flask("tests")
    app.config["JWT_SECRET_KEY"] = SECRET
    authx = AuthX(app)
    inside: set[str] = set()

    @authx.token_blocklist
    async def is_revoked(token: str) -> bool:
        # All that a loop does: other threads, name look-ups, and several tasks at once.
        await asyncio.gather(asyncio.to_thread(time.sleep, 0.001), asyncio.sleep(0.001))
        inside.add(request.args["n"])
        due = time.monotonic() + 20
        while len(inside) < MANY:
            if time.monotonic() > due:
                raise AssertionError("the requests wait for each other")
            await asyncio.sleep(0.001)
        if "fail" in request.args:
            raise OSError(f"no answer for {token}")
        return "revoked" in request.args

    @authx.set_callback_get_model_instance
    async def load(sub: str) -> str:
        await asyncio.sleep(0.001)
        return f"{sub} of {current_app.name}"

    @app.get("/user")
    @authx.token_required
    def user() -> str:
        return str(current_user)

    with app.app_context():
        return app, bearer(authx.create_access_token("ann"))


def run() -> None:
    import gevent

    def answers(query: str) -> list[str]:
        app, headers = make()

        def get(number: int) -> str:
            path = f"/user?n={number}&{query}"
            response = app.test_client().get(path, headers=headers)
            body = response.text if response.status_code == 200 else ""
            return f"{response.status_code} {body}".strip()

        jobs: Any = [gevent.spawn(get, number) for number in range(MANY)]
        gevent.joinall(jobs)
        return [job.get() for job in jobs]

    logging.getLogger("flask_authx").setLevel(logging.ERROR)
    print(json.dumps([answers(query) for query in ("", "revoked", "fail")]))


@pytest.mark.slow
def test_requests_under_gevent_wait_for_async_callbacks_at_once() -> None:
    program = f"from gevent import monkey; monkey.patch_all(); from {__name__} import run; run()"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [["200 ann of tests"] * MANY, ["401"] * MANY, ["503"] * MANY]
    # gevent itself prints what leaves one of its threads; the package logs no words of it.
    assert done.stderr.count("the request is refused: OSError:") == MANY
    assert "no answer for" not in done.stderr
    assert "eyJ" not in done.stderr
