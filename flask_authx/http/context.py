"""What is kept for one request, so that no token is searched, verified or looked up twice."""

from __future__ import annotations

from typing import Any

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
_NO_USERS: dict[str, Any] = {}


class RequestContext:
    """What one ``AuthX`` object keeps for one request."""

    # Defaults of the class, since creating an object that sets each of them takes longer than
    # checking a token that is known.

    #: The token that the last guard accepted, and its text.
    token: Token | None = None
    raw: str | None = None
    #: The verified token that is being checked, which the signals about a refusal name.
    candidate: Token | None = None
    #: The token that a guard has last found in the request, and what it required: a token in a
    #: cookie is none for a view that requires a header.
    found: RequestToken | None = None
    found_for: Requirement | None = None
    #: What ``identify(optional=True)`` has found, by what it required: a token that meets that
    #: and its text, or ``None``.
    identified: dict[Requirement, tuple[Token, str] | None] = _NOTHING_IDENTIFIED
    #: The token whose acceptance a signal has announced.
    announced: Token | None = None
    #: What the before_request hook has checked, and the token that it has accepted with its text:
    #: guards that require the same do not check again.
    met: tuple[tuple[Requirement, tuple[Token, str] | None], ...] = ()
    #: By the raw token: the verified one, and whether it is revoked, or why that could not be
    #: checked.
    verdicts: dict[str, tuple[Token, bool | str]] = _NO_VERDICTS
    #: By the raw token: whether the app's check accepts its claims, the error that it raised,
    #: or why there is no answer.
    claims_answers: dict[str, bool | str | AuthXException] = _NO_ANSWERS
    #: The raw token that the store has no revocation of, while the callback is awaited.
    not_in_store: str | None = None
    #: A token that was accepted although the store failed, until the signal is sent.
    unchecked: Token | None = None
    #: By the raw token: its user, once that has been loaded; ``None`` if the app has no such user.
    users: dict[str, Any] = _NO_USERS
    #: The tokens created for the response, by their text.
    created: dict[str, CreatedToken] = _NOTHING_CREATED
    #: The sessions that began with one token each: the token's subject and type.
    begun: frozenset[tuple[str, TokenType]] = _NONE_BEGUN
    #: The request headers that the ``Vary`` header of the response will name.
    varied: frozenset[str] = frozenset()

    def remember(self, raw: str, token: Token, *, revoked: bool | str) -> None:
        """Keep whether a token is revoked, or why that could not be checked."""
        self.verdicts = {**self.verdicts, raw: (token, revoked)}

    def forget_verdicts(self) -> None:
        """Forget which tokens were accepted, since one of them may be revoked now."""
        self.verdicts, self.identified, self.met = _NO_VERDICTS, _NOTHING_IDENTIFIED, ()
        self.not_in_store = None
