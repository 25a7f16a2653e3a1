"""The cache of verified tokens: least recently used goes first, bounded by bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict

from flask_authx.keys.ring import KeyRing

from .token import TokenClaims

#: What an entry weighs beside its texts, and what each scope and audience does: the objects of a
#: parsed and the cache's own links, rounded up from what ``tracemalloc`` shows.
_ENTRY_BYTES = 1600
_MEMBER_BYTES = 192


class TokenCache:
    """What verified tokens say, by the whole token. Failures are never kept.

    A signature needs no second look; times, revocation and all that a guard asks do, and are judged
    by the caller each time. An entry answers only for the very key set that verified it.

    :param size: the most bytes to take; 0 keeps nothing.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._entries: OrderedDict[str, tuple[KeyRing, TokenClaims]] = OrderedDict()
        self._weight = 0
        self._lock = threading.Lock()

    def get(self, token: str, keys: KeyRing) -> TokenClaims | None:
        """What the token says, if these keys have verified it."""
        entry = self._entries.get(token)
        if entry is None or entry[0] is not keys:
            return None
        # Each of the two look-ups is atomic. Between them another thread may let the entry go.
        try:  # noqa: SIM105 - contextlib.suppress would double the cost of a look-up
            self._entries.move_to_end(token)
        except KeyError:
            pass
        return entry[1]

    def put(self, token: str, keys: KeyRing, parsed: TokenClaims) -> None:
        """Keep what a token says, and let go of the least recently used beyond the size."""
        with self._lock:
            former = self._entries.pop(token, None)
            if former is not None:
                self._weight -= _weigh(token, former[1])
            self._entries[token] = (keys, parsed)
            self._weight += _weigh(token, parsed)
            while self._weight > self._size:
                oldest, (_, said) = self._entries.popitem(last=False)
                self._weight -= _weigh(oldest, said)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._entries.clear()
            self._weight = 0

    def __len__(self) -> int:
        return len(self._entries)


def _weigh(token: str, parsed: TokenClaims) -> int:
    # The claims are there twice: as text and, for the most part, in the parsed's fields. Text
    # beyond Latin-1 takes up to four bytes a character, and an escape can stand for such.
    text = parsed.text
    width = 1 if text.isascii() and "\\u" not in text else 4
    members = len(parsed.scopes) + len(parsed.aud)
    return _ENTRY_BYTES + len(token) + 2 * width * len(text) + _MEMBER_BYTES * members
