"""What is kept of the client of a session, and the name that its owner gives it."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Client:
    """What is kept about who asks, as far as the app allows."""

    user_agent: str | None = None
    address: str | None = None


#: Characters of a login's name, and of what a client says of itself.
MAX_TEXT = 255
#: Control characters, lone surrogates, and what ends a line or a paragraph.
_BREAKING = ("Cc", "Cs", "Zl", "Zp")
#: What changes the direction of text, so that a name reads as something else.
_TURNING = "\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def check_name(name: object) -> None:
    """Refuse what no store can hold, or no list can show."""
    if name is None:
        return
    if not isinstance(name, str):
        raise TypeError(f"the name of a login is text, not {type(name).__name__}")
    if len(name) > MAX_TEXT or not _is_plain(name) or not _is_visible(name):
        raise ValueError(
            f"the name of a login has 1 to {MAX_TEXT} characters that can be seen, and none that "
            "break the line or change its direction"
        )


def _is_plain(text: str) -> bool:
    """Whether a line of text holds nothing that breaks it, hides in it or turns it around."""
    return not any(unicodedata.category(one) in _BREAKING or one in _TURNING for one in text)


def _is_visible(text: str) -> bool:
    """Whether there is more than spaces and marks of format."""
    return any(unicodedata.category(one) not in ("Zs", "Cf") for one in text)
