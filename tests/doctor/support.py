"""What the tests of ``flask authx doctor`` share: apps, and what it finds."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from flask import Flask

from tests.support import make_app
from tests.support.cli import run

#: What is said of any app that looks at a header: nothing about it can be known from inside.
PROXY = ("hint", "JWT_HEADER_NAME")


def by_claims(token: str, *, claims: dict[str, Any]) -> bool:
    return False


def by_token(token: str) -> bool:
    return False


def app_with(callback: Callable[..., bool] | None = by_claims, **config: Any) -> Flask:
    app, authx = make_app(**config)
    if callback is not None:
        authx.set_callback_token_blocklist(callback)
    return app


def entries(app: Flask, debug: bool = False) -> list[dict[str, str | None]]:
    found: list[dict[str, str | None]] = json.loads(
        run(app, "doctor", "--json", debug=debug).stdout
    )
    return found


def found(app: Flask, debug: bool = False) -> set[tuple[str | None, str | None]]:
    """Level and setting of all that is found."""
    return {
        (entry["level"], entry["setting"])
        for entry in entries(app, debug=debug)
        if entry["level"] != "ok"
    }
