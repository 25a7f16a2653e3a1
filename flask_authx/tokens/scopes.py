"""Scopes: their form (RFC 6749 section 3.3), and which of them grant which."""

from __future__ import annotations

import re
from collections.abc import Iterable

#: RFC 6749 section 3.3. No ``"`` or ``\``, so a scope can stand in a challenge.
SCOPE = re.compile(r"[\x21\x23-\x5B\x5D-\x7E]+")


def scope_list(scopes: Iterable[str]) -> list[str]:
    """Scopes that a token or a challenge can hold (RFC 6749 section 3.3).

    :raises TypeError: if it is one text; several scopes are a list.
    :raises ValueError: if one of them is empty or has a space, a quote or a backslash in it.
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
    answers = (_grants_one(held, scope) for scope in required)
    return all(answers) if all_required else any(answers)


def _grants_one(held: frozenset[str], required: str) -> bool:
    if required in held:
        return True
    parts = required.split(":")
    return any(":".join([*parts[:end], "*"]) in held for end in range(1, len(parts)))
