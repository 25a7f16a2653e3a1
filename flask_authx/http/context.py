"""What is kept for one request, so that no token is searched, verified or looked up twice."""

from __future__ import annotations

from typing import Any, TypeAlias

from flask_authx.enums import TokenType
from flask_authx.errors import AuthXException
from flask_authx.tokens.token import CreatedToken, RequestToken, Token

from .requirement import Requirement

# Shared by all requests, and replaced rather than changed.
_NO_VERDICTS: dict[str, tuple[Token, bool | str]] = {}
_NO_ANSWERS: dict[str, bool | str | AuthXException] = {}
_NOTHING_CREATED: dict[str, CreatedToken] = {}
_NONE_BEGUN: frozenset[tuple[str, TokenType]] = frozenset()
_NOTHING_IDENTIFIED: dict[Requirement, tuple[Token, str] | None] = {}


#: A token, its text, and its user in a tuple of one if the user has been loaded.
Accepted: TypeAlias = tuple[Token, str, tuple[Any] | None]


class RequestContext:
    """What one ``AuthX`` object keeps for one request."""

    __slots__ = (
        "announced",
        "begun",
        "candidate",
        "claims_answers",
        "created",
        "found",
        "found_for",
        "identified",
        "met",
        "not_in_store",
        "raw",
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
        #: The verified token that is being checked, which the signals about a refusal name.
        self.candidate: Token | None = None
        #: The token that a guard has last found in the request, and what it required: a token in a
        #: cookie is none for a view that requires a header.
        self.found: RequestToken | None = None
        self.found_for: Requirement | None = None
        #: What ``identify(optional=True)`` has found, by what it required: a token that meets that
        #: and its text, or ``None``.
        self.identified: dict[Requirement, tuple[Token, str] | None] = _NOTHING_IDENTIFIED
        #: The token whose acceptance a signal has announced.
        self.announced: Token | None = None
        #: What the before_request hook has checked, and what it has accepted: guards that require
        #: the same do not check again.
        self.met: tuple[tuple[Requirement, Accepted | None], ...] = ()
        #: By the raw token: the verified one, and whether it is revoked, or why that could not be
        #: checked.
        self.verdicts: dict[str, tuple[Token, bool | str]] = _NO_VERDICTS
        #: By the raw token: whether the app's check accepts its claims, the error that it raised,
        #: or why there is no answer.
        self.claims_answers: dict[str, bool | str | AuthXException] = _NO_ANSWERS
        #: The raw token that the store has no revocation of, while the callback is awaited.
        self.not_in_store: str | None = None
        #: A token that was accepted although the store failed, until the signal is sent.
        self.unchecked: Token | None = None
        #: The user of :attr:`token` in a tuple of one, once it has been loaded.
        self.user: tuple[Any] | None = None
        #: The tokens created for the response, by their text.
        self.created: dict[str, CreatedToken] = _NOTHING_CREATED
        #: The sessions that began with one token each: the token's subject and type.
        self.begun: frozenset[tuple[str, TokenType]] = _NONE_BEGUN
        #: The request headers that the ``Vary`` header of the response will name.
        self.varied: frozenset[str] = frozenset()

    def remember(self, raw: str, token: Token, *, revoked: bool | str) -> None:
        """Keep whether a token is revoked, or why that could not be checked."""
        self.verdicts = {**self.verdicts, raw: (token, revoked)}
