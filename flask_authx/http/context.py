"""What is known of one request, so that nothing is found, verified or looked up twice."""

from __future__ import annotations

from typing import Any

from flask_authx.tokens.token import CreatedToken, RequestToken, Token

# Shared by all requests, and replaced rather than changed.
_NO_VERDICTS: dict[str, tuple[Token, bool | None]] = {}
_NOTHING_CREATED: dict[str, CreatedToken] = {}


class RequestContext:
    """What one ``AuthX`` object knows of one request."""

    __slots__ = (
        "can_await",
        "created",
        "found",
        "not_in_store",
        "raw",
        "suspect",
        "token",
        "unchecked",
        "user",
        "varied",
        "verdicts",
    )

    def __init__(self) -> None:
        #: The token that the last guard accepted, and its text.
        self.token: Token | None = None
        self.raw: str | None = None
        #: The verified token that is being checked: the one that a refusal is about.
        self.suspect: Token | None = None
        #: The token that was found, by the type that was looked for, or by type and locations.
        self.found: dict[object, RequestToken] = {}
        #: By the raw token: the verified one, and whether it is revoked; ``None`` if that is
        #: unknown.
        self.verdicts: dict[str, tuple[Token, bool | None]] = _NO_VERDICTS
        #: The raw token that the store has no revocation of, while the callback is still asked.
        self.not_in_store: str | None = None
        #: A token that passed though the store could not be queried, until that is announced.
        self.unchecked: Token | None = None
        #: The user of :attr:`token`, once loaded, in a tuple of one.
        self.user: tuple[Any] | None = None
        #: The tokens created for the response, by their text.
        self.created: dict[str, CreatedToken] = _NOTHING_CREATED
        #: The request headers that the response already says it varies by.
        self.varied: frozenset[str] = frozenset()
        #: Whether the caller awaits the revocation callback itself.
        self.can_await: bool = False

    def remember(self, raw: str, token: Token, *, revoked: bool | None) -> None:
        """Keep the verdict on a token; ``None`` if it is unknown."""
        self.verdicts = {**self.verdicts, raw: (token, revoked)}
