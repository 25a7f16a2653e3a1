"""Waiting for an ``async`` callback, from code that cannot await it."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable
from typing import Any

from flask import Flask

from flask_authx.http.callbacks import Wait


def wait_in(app: Flask) -> Wait:
    """What waits for an awaitable on behalf of an app, and returns its result.

    It raises what the awaitable raises, and what Flask raises without its extra ``async``.
    """

    def wait(awaitable: Awaitable[Any]) -> Any:
        try:
            return _waited_for(app, awaitable)
        finally:
            # One that was never awaited would warn of that. For a finished one this does nothing.
            if inspect.iscoroutine(awaitable):
                awaitable.close()

    return wait


def _waited_for(app: Flask, awaitable: Awaitable[Any]) -> Any:
    # Apps without async callbacks are spared the import.
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
    # In an async view the thread has its loop already: another thread waits for this one result.
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(contextvars.copy_context().run, run).result()
