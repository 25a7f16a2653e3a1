"""Waiting for an ``async`` callback, from code that cannot await it."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Awaitable, Callable
from contextvars import Context
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

    if _is_gevent():
        return _run_under_gevent(contextvars.copy_context(), lambda: asyncio.run(result()))
    run: Any = app.async_to_sync(result)
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return run()
    # The thread of an async view already runs a loop, so another thread waits.
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(contextvars.copy_context().run, run).result()


def _is_gevent() -> bool:
    """Whether gevent has made greenlets of Python's threads."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and monkey.is_module_patched("threading")


def _run_under_gevent(context: Context, run: Callable[[], Any]) -> Any:
    """Run a loop in a thread of the system, while other greenlets go on.

    All greenlets share one such thread, which runs one loop at a time. asgiref, which Flask uses,
    hangs in the others.
    """
    import gevent

    def caught() -> tuple[Any, BaseException | None]:
        # gevent prints an exception that leaves the thread, and its text may contain the token.
        try:
            return context.run(run), None
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            return None, error

    result, error = gevent.get_hub().threadpool.apply(caught)
    if error is not None:
        raise error
    return result
