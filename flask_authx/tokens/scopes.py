"""Scopes: their syntax (RFC 6749 section 3.3), and which scopes grant which."""

from __future__ import annotations

import re
from collections.abc import Iterable

#: A scope (RFC 6749 section 3.3). It has no ``"`` or ``\``, so it fits a challenge.
SCOPE = re.compile(r"[\x21\x23-\x5B\x5D-\x7E]+")


def scope_list(scopes: Iterable[str]) -> list[str]:
    """The scopes as a list, each with the syntax of RFC 6749 section 3.3.

    :raises TypeError: if ``scopes`` is a string and not a list.
    :raises ValueError: if a scope is empty or contains a space, a quote or a backslash.
    """
    if isinstance(scopes, str):
        raise TypeError("give the scopes as a list")
    listed = list(scopes)
    for scope in listed:
        if not SCOPE.fullmatch(scope):
            raise ValueError(
                f"{scope!r} can't be a scope: use printable ASCII without spaces and quotes"
            )
    return listed


def grants(held: frozenset[str], required: Iterable[str], *, all_required: bool) -> bool:
    """Whether the held scopes grant all, or any, of the required ones."""
    granted = (_grants_one(held, scope) for scope in required)
    return all(granted) if all_required else any(granted)


def _grants_one(held: frozenset[str], required: str) -> bool:
    if required in held:
        return True
    parts = required.split(":")
    return any(":".join([*parts[:end], "*"]) in held for end in range(1, len(parts)))
