"""The methods of ``AuthX``, grouped by verb. An app imports those that it may use."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from . import (
        automatic_renewal,
        create_tokens,
        list_sessions,
        login,
        logout,
        refresh,
        revoke,
        set_cookies,
    )

__all__ = [
    "automatic_renewal",
    "create_tokens",
    "list_sessions",
    "login",
    "logout",
    "refresh",
    "revoke",
    "set_cookies",
]


def load(*, sessions: bool, cookies: bool) -> None:
    """Import what an app may call, so that no request does: before workers are forked."""
    names = ["create_tokens", "logout", "revoke"]
    if sessions:
        names += ["list_sessions", "login", "refresh"]
    if cookies:
        names.append("set_cookies")
    for name in names:
        importlib.import_module(f"{__name__}.{name}")


def __getattr__(name: str) -> ModuleType:
    # The import sets the attribute, so this is called once for each name.
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
