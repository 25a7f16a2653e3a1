"""The checker of histories finds each kind of wrong response, and no other."""

from __future__ import annotations

import pytest

from tests.support.corpus import check_all
from tests.support.linearizable import Checker, Due, History, Kind, Login, Question, Revocation

# Events are named by their span: a login from 10 to 20 unless a test says otherwise.


def login(start: float = 10, end: float = 20, sid: str = "login", sub: str = "ann") -> Login:
    return Login(start=start, end=end, sid=sid, sub=sub)


def revocation(
    start: float,
    end: float,
    kind: Kind = "session",
    value: str = "login",
    *,
    keep: str | None = None,
    worker: int = 0,
) -> Revocation:
    return Revocation(start=start, end=end, kind=kind, value=value, keep=keep, worker=worker)


def question(
    start: float, end: float, *, accepted: bool = True, jti: str = "token", worker: int = 0
) -> Question:
    return Question(start=start, end=end, jti=jti, sid="login", accepted=accepted, worker=worker)


def wrong(*events: Login | Revocation | Question) -> list[str]:
    """What is wrong with a history."""
    history = History()
    for event in events:
        match event:
            case Login():
                history.logins.append(event)
            case Revocation():
                history.revocations.append(event)
            case Question():
                history.questions.append(event)
    return [violation.why for violation in Checker(history).violations()]


ACCEPTED = ["accepted after a revocation had returned"]
REFUSED = ["refused, though nothing had been revoked"]
REVIVED = ["accepted after it had been refused"]

COVERING = {
    "token": revocation(30, 40, "token", "token"),
    "session": revocation(30, 40, "session", "login"),
    "subject": revocation(30, 40, "subject", "ann"),
    "all but another": revocation(30, 40, "subject", "ann", keep="other"),
}
OTHERS = {
    "another token": revocation(30, 40, "token", "other"),
    "another session": revocation(30, 40, "session", "other"),
    "another subject": revocation(30, 40, "subject", "bob"),
    "all but this": revocation(30, 40, "subject", "ann", keep="login"),
    "a token with this sid": revocation(30, 40, "token", "login"),
    "a subject with this sid": revocation(30, 40, "subject", "login"),
    "a session with this jti": revocation(30, 40, "session", "token"),
}


def test_a_token_is_accepted_until_something_is_revoked() -> None:
    assert wrong(login(), question(21, 22)) == []
    assert wrong(login(), question(21, 22, accepted=False)) == REFUSED


def test_a_covering_revocation_counts_from_its_return() -> None:
    def check(covering: Revocation) -> None:
        assert wrong(login(), covering, question(41, 42, accepted=False)) == []
        assert wrong(login(), covering, question(41, 42)) == ACCEPTED

    check_all(COVERING, check)


def test_a_covering_revocation_changes_nothing_before_its_request() -> None:
    def check(covering: Revocation) -> None:
        assert wrong(login(), covering, question(28, 29)) == []
        assert wrong(login(), covering, question(28, 29, accepted=False)) == REFUSED

    check_all(COVERING, check)


def test_a_question_beside_a_revocation_may_have_either_result() -> None:
    def check(covering: Revocation) -> None:
        for span in ((29, 31), (31, 39), (29, 41), (39, 41), (29, 30), (40, 41)):
            for accepted in (True, False):
                asked = question(*span, accepted=accepted)
                assert wrong(login(), covering, asked) == [], asked

    check_all(COVERING, check)


def test_other_revocations_change_nothing() -> None:
    def check(other: Revocation) -> None:
        assert wrong(login(), other, question(41, 42)) == []
        assert wrong(login(), other, question(41, 42, accepted=False)) == REFUSED

    check_all(OTHERS, check)


def test_a_session_that_begins_after_a_revocation_of_its_subject_is_not_covered() -> None:
    events = (revocation(1, 9, "subject", "ann"), login())
    assert wrong(*events, question(21, 22)) == []
    assert wrong(*events, question(21, 22, accepted=False)) == REFUSED


def test_a_session_that_begins_beside_a_revocation_of_its_subject_may_be_covered_or_not() -> None:
    for span in ((1, 10), (1, 11), (11, 12), (19, 25), (20, 25), (1, 25)):
        beside = revocation(*span, "subject", "ann")
        for accepted in (True, False):
            assert wrong(login(), beside, question(30, 31, accepted=accepted)) == [], span


def test_a_revocation_that_leaves_it_open_does_not_excuse_one_that_does_not() -> None:
    events = (revocation(1, 11, "subject", "ann"), login(), revocation(30, 40))
    for order in (events, events[::-1]):
        assert wrong(*order, question(41, 42)) == ACCEPTED
    kept = revocation(50, 60, "subject", "ann", keep="login")
    assert wrong(login(), COVERING["subject"], kept, question(61, 62)) == ACCEPTED


def test_a_token_created_by_a_refresh_is_covered_as_its_session_is() -> None:
    # The refresh overlaps the revocation; its token is first used afterwards.
    refresh, created = question(29, 45), question(46, 47, jti="created")
    assert wrong(login(), COVERING["subject"], refresh, created) == ACCEPTED


@pytest.mark.parametrize("order", [1, -1])
def test_a_token_that_was_refused_stays_so(order: int) -> None:
    # Each result alone is right: the revocation lasts all the while.
    questions = (question(31, 32, accepted=False), question(33, 34))
    events = (login(), revocation(30, 40))
    assert wrong(*events, *questions[::order]) == REVIVED
    assert wrong(*events, question(31, 33, accepted=False), question(32, 34)) == []
    assert wrong(*events, question(31, 32), question(33, 34, accepted=False)) == []
    assert wrong(*events, question(31, 32, accepted=False), question(33, 34, jti="other")) == []


def test_a_question_says_whether_only_other_processes_have_revoked_the_token() -> None:
    asked = question(41, 42, accepted=False, worker=1)
    here, there = (revocation(30, 40, worker=number) for number in (1, 2))
    for revocations, due in (
        ([there], Due.REFUSED_ELSEWHERE),
        ([here], Due.REFUSED),
        ([here, there], Due.REFUSED),
        ([there, here], Due.REFUSED),
        ([], Due.ACCEPTED),
        ([revocation(41, 50, worker=2)], Due.EITHER),
    ):
        assert Checker(History([login()], revocations, [asked])).due(asked) is due


def test_a_question_about_an_unknown_session_is_an_error() -> None:
    with pytest.raises(ValueError, match="the history has no session"):
        Checker(History([], [], [question(1, 2)]))
