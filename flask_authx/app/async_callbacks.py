"""Waiting for an ``async`` callback, from code that cannot await it."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable
from typing import Any

from flask import Flask

from flask_authx.http.callbacks import Wait


def make_wait(app: Flask) -> Wait:
    """A function that waits for an awaitable and returns its result.

    It raises what the awaitable raises, and what Flask raises without its extra ``async``.
    """

    def wait(awaitable: Awaitable[Any]) -> Any:
        try:
            return _run(app, awaitable)
        finally:
            # Python warns of a coroutine that was never awaited, unless it is closed.
            if inspect.iscoroutine(awaitable):
                awaitable.close()

    return wait


def _run(app: Flask, awaitable: Awaitable[Any]) -> Any:
    # Imported here, since most apps have no async callbacks.
    import asyncio
    import contextvars
    from concurrent.futures import ThreadPoolExecutor

    async def result() -> Any:
        return await awaitable

    run: Any = app.async_to_sync(result)
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return run()
    # The thread of an async view already runs a loop, so another thread waits.
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(contextvars.copy_context().run, run).result()
