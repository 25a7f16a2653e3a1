"""The methods of ``AuthX``, grouped by verb. Each module is imported when it is first used."""

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


def __getattr__(name: str) -> ModuleType:
    # The import sets the attribute, so this is called once for each name.
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
