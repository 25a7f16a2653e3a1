"""Whether the responses of several processes fit the order of events that their clients saw.

What a client knows of an event is a moment before it was asked for and one after it was done. Where
the spans of two events overlap, either may have come first, and both responses are right.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["token", "session", "subject"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened between two moments of a clock that all clients share.

    :param start: before it was asked for.
    :param end: after the response had come.
    :param worker: the process that did it.
    """

    start: float
    end: float
    worker: int = 0

    def before(self, other: Event) -> bool:
        """Whether it ended before the other began."""
        return self.end < other.start


@dataclass(frozen=True, slots=True, kw_only=True)
class Login(Event):
    """A log-in: a session begins, whose tokens share its ``sid``."""

    sid: str
    sub: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Revocation(Event):
    """A revocation that has returned.

    :param value: the jti, sid or sub.
    :param keep: the sid that it spared.
    """

    kind: Kind
    value: str
    keep: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Question(Event):
    """A request with an access or a refresh token of a session."""

    jti: str
    sid: str
    accepted: bool


@dataclass(slots=True)
class History:
    """What some clients saw."""

    logins: list[Login] = field(default_factory=list[Login])
    revocations: list[Revocation] = field(default_factory=list[Revocation])
    questions: list[Question] = field(default_factory=list[Question])

    def extend(self, other: History) -> None:
        """Add what another client saw."""
        self.logins += other.logins
        self.revocations += other.revocations
        self.questions += other.questions


class Due(StrEnum):
    """The result that a question must have."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    #: Refused, though the process that was asked has revoked nothing that the token is covered by.
    REFUSED_ELSEWHERE = "refused, as another process has revoked it"
    EITHER = "either"


@dataclass(frozen=True, slots=True)
class Violation:
    """A wrong result."""

    question: Question
    why: str


class Checker:
    """Judges a history.

    :raises ValueError: if a question is about a session that isn't in it.
    """

    def __init__(self, history: History) -> None:
        self._questions = history.questions
        self._logins = {login.sid: login for login in history.logins}
        self._revocations: defaultdict[tuple[Kind, str], list[Revocation]] = defaultdict(list)
        for revocation in history.revocations:
            self._revocations[revocation.kind, revocation.value].append(revocation)
        for question in self._questions:
            if question.sid not in self._logins:
                raise ValueError(f"the history has no session {question.sid}")

    def due(self, question: Question) -> Due:
        """Which result is right."""
        login = self._logins[question.sid]
        due, elsewhere = Due.ACCEPTED, True
        for revocation in self._about(question, login):
            if _surely_covers(revocation, login) and revocation.before(question):
                due, elsewhere = Due.REFUSED, elsewhere and revocation.worker != question.worker
            elif due is Due.ACCEPTED and not question.before(revocation):
                due = Due.EITHER
        return Due.REFUSED_ELSEWHERE if due is Due.REFUSED and elsewhere else due

    def violations(self) -> Iterator[Violation]:
        """The wrong results."""
        for question in self._questions:
            due = self.due(question)
            if question.accepted and due in (Due.REFUSED, Due.REFUSED_ELSEWHERE):
                yield Violation(question, "accepted after a revocation had returned")
            if not question.accepted and due is Due.ACCEPTED:
                yield Violation(question, "refused, though nothing had been revoked")
        yield from self._revivals()

    def _about(self, question: Question, login: Login) -> Iterator[Revocation]:
        """All revocations that may cover the token."""
        yield from self._revocations["token", question.jti]
        yield from self._revocations["session", login.sid]
        for revocation in self._revocations["subject", login.sub]:
            if revocation.keep != login.sid and not revocation.before(login):
                yield revocation

    def _revivals(self) -> Iterator[Violation]:
        """Tokens that were refused, rightly or not, and accepted later."""
        refused: dict[str, float] = {}
        for question in self._questions:
            if not question.accepted:
                end = refused.get(question.jti, question.end)
                refused[question.jti] = min(end, question.end)
        for question in self._questions:
            if question.accepted and question.start > refused.get(question.jti, question.end):
                yield Violation(question, "accepted after it had been refused")


def _surely_covers(revocation: Revocation, login: Login) -> bool:
    """Whether a revocation that may cover a session does."""
    return revocation.kind != "subject" or login.before(revocation)
