"""What is kept of the client of a session, and the name that its owner gives it."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection
from dataclasses import dataclass

from flask_authx.enums import Detail

#: Characters of a session's name, and of what is kept of its client.
MAX_TEXT = 255
#: Unicode categories: control characters, lone surrogates, line and paragraph separators.
_BREAKING_CATEGORIES = ("Cc", "Cs", "Zl", "Zp")
#: Characters that change the direction of text, so that a name reads as another one.
_BIDI_CONTROLS = "\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


@dataclass(frozen=True, slots=True)
class Client:
    """What is kept of the client that sends a request, as far as the settings allow."""

    user_agent: str | None = None
    address: str | None = None


def client_from(details: Collection[Detail], user_agent: str | None, address: str | None) -> Client:
    """The details that the settings name, cut to what can be stored and shown."""
    return Client(
        user_agent=_cleaned(user_agent) if Detail.USER_AGENT in details else None,
        address=_cleaned(address) if Detail.ADDRESS in details else None,
    )


def _cleaned(text: str | None) -> str | None:
    kept = "".join(character for character in text or "" if not _breaks(character))
    return kept[:MAX_TEXT] or None


def check_name(name: object) -> None:
    """Refuse a name that a store can't hold or a list can't show.

    :raises TypeError: if it is not text.
    :raises ValueError: if its characters or its length are out of bounds.
    """
    if name is None:
        return
    if not isinstance(name, str):
        raise TypeError(f"the name of a session is text, not {type(name).__name__}")
    if len(name) > MAX_TEXT or not _is_plain(name) or not _is_visible(name):
        raise ValueError(
            f"the name of a session has 1 to {MAX_TEXT} characters that can be seen, and none that "
            "break the line or change its direction"
        )


def _is_plain(text: str) -> bool:
    """Whether text has no character that breaks the line or changes its direction."""
    return not any(_breaks(character) for character in text)


def _breaks(character: str) -> bool:
    return unicodedata.category(character) in _BREAKING_CATEGORIES or character in _BIDI_CONTROLS


def _is_visible(text: str) -> bool:
    """Whether text has a character that is neither a space nor an invisible format mark."""
    return any(unicodedata.category(character) not in ("Zs", "Cf") for character in text)
