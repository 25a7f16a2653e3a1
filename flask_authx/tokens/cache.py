"""The cache of verified tokens: an LRU cache with a limit in bytes."""

from __future__ import annotations

import os
from collections import OrderedDict

from flask_authx.keys.ring import KeyRing
from flask_authx.process_lock import ProcessLock

from .token import TokenClaims

#: The size of an entry without its texts, and of each scope and audience: the objects of the claims
#: and the links of the cache, measured with ``tracemalloc`` and rounded up.
_ENTRY_BYTES = 1600
_MEMBER_BYTES = 192


class TokenCache:
    """The claims of verified tokens, by the encoded token. Tokens that failed are never cached.

    The cache saves the check of the signature only: the caller checks times, revocation and all
    requirements of a guard on every request. An entry is valid for the key ring that verified it.

    :param size: the limit in bytes; 0 caches nothing.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._entries: OrderedDict[str, tuple[KeyRing, TokenClaims]] = OrderedDict()
        self._used = 0
        #: The process whose threads have counted what is used.
        self._pid = os.getpid()
        self._lock = ProcessLock()

    def get(self, token: str, keys: KeyRing) -> TokenClaims | None:
        """The claims of the token, if these keys have verified it."""
        entry = self._entries.get(token)
        if entry is None or entry[0] is not keys:
            return None
        # Each of the two look-ups is atomic. Between them another thread may remove the entry.
        try:  # noqa: SIM105 - contextlib.suppress would double the cost of a look-up
            self._entries.move_to_end(token)
        except KeyError:
            pass
        return entry[1]

    def put(self, token: str, keys: KeyRing, claims: TokenClaims) -> None:
        """Add the claims of a token, and remove the least recently used entries above the limit."""
        with self._lock:
            if self._pid != os.getpid():
                # A fork may have interrupted another thread of the parent between two steps.
                self._empty()
            replaced = self._entries.pop(token, None)
            if replaced is not None:
                self._used -= _size_of(token, replaced[1])
            self._entries[token] = (keys, claims)
            self._used += _size_of(token, claims)
            while self._used > self._size:
                oldest, (_, evicted) = self._entries.popitem(last=False)
                self._used -= _size_of(oldest, evicted)

    def clear(self) -> None:
        """Remove all entries."""
        with self._lock:
            self._empty()

    def _empty(self) -> None:
        self._entries.clear()
        self._used = 0
        self._pid = os.getpid()

    def __len__(self) -> int:
        return len(self._entries)


def _size_of(token: str, claims: TokenClaims) -> int:
    """The size of an entry in bytes, at most."""
    # The claims are stored twice: as text, and most of them as fields. A character beyond Latin-1
    # takes up to four bytes, and an escape in the text can stand for one.
    text = claims.text
    width = 1 if text.isascii() and "\\u" not in text else 4
    members = len(claims.scopes) + len(claims.aud)
    size = len(token) + len(claims.header) + 2 * width * len(text)
    return _ENTRY_BYTES + size + _MEMBER_BYTES * members
