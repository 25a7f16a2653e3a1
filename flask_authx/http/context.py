"""What is known of one request, so that nothing is asked twice."""

from __future__ import annotations

from typing import Any

from flask_authx.tokens.token import CreatedToken, Token

_NOTHING: dict[str, tuple[Token, bool | None]] = {}
_NOTHING_MINTED: dict[str, CreatedToken] = {}


class RequestContext:
    """What has been found out during one request, so that nothing is asked twice."""

    __slots__ = (
        "cleared",
        "known",
        "minted",
        "raw",
        "suspect",
        "token",
        "unchecked",
        "user",
        "varied",
    )

    def __init__(self) -> None:
        #: The token that the last guard accepted, and its text.
        self.token: Token | None = None
        self.raw: str | None = None
        #: The verified token that is being looked at: whom a refusal is about.
        self.suspect: Token | None = None
        #: By the raw token: the verified one, and whether it is revoked; ``None`` if that can't be
        #: found out.
        self.known: dict[str, tuple[Token, bool | None]] = _NOTHING
        #: The raw token that the store has nothing against, while the callback is still asked.
        self.cleared: str | None = None
        #: A token that passed though the store could not be asked, until that has been announced.
        self.unchecked: Token | None = None
        #: The user of :attr:`token`, once loaded, in a tuple of one.
        self.user: tuple[Any] | None = None
        #: What has been minted for the answer, by its text.
        self.minted: dict[str, CreatedToken] = _NOTHING_MINTED
        #: The request headers that the response already says it varies by.
        self.varied: frozenset[str] = frozenset()

    def remember(self, raw: str, token: Token, verdict: bool | None) -> None:  # noqa: FBT001 - an answer, not a switch
        """Keep what has been found out about a token."""
        self.known = {**self.known, raw: (token, verdict)}
