"""Waiting for an ``async`` callback, from code that can't await it."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar, cast

from flask import Flask

T = TypeVar("T")


async def result_of(awaitable: Any) -> Any:
    """The result of anything that can be awaited."""
    return await awaitable


def wait(app: Flask, function: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> T:
    """The result of an ``async`` function, from code that can't await it."""
    run = cast(Callable[..., T], app.async_to_sync(function))
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return run(*args)
    # In an async view the thread has its loop already: this one result comes from another thread.
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(contextvars.copy_context().run, run, *args).result()
