"""The judge of histories finds each kind of wrong answer, and no other."""

from __future__ import annotations

import pytest

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


@pytest.mark.parametrize("name", COVERING)
def test_a_covering_revocation_counts_from_its_return(name: str) -> None:
    events = (login(), COVERING[name])
    assert wrong(*events, question(41, 42, accepted=False)) == []
    assert wrong(*events, question(41, 42)) == ACCEPTED


@pytest.mark.parametrize("name", COVERING)
def test_a_covering_revocation_changes_nothing_before_it_is_asked_for(name: str) -> None:
    events = (login(), COVERING[name])
    assert wrong(*events, question(28, 29)) == []
    assert wrong(*events, question(28, 29, accepted=False)) == REFUSED


@pytest.mark.parametrize("span", [(29, 31), (31, 39), (29, 41), (39, 41), (29, 30), (40, 41)])
@pytest.mark.parametrize("accepted", [True, False])
@pytest.mark.parametrize("name", COVERING)
def test_a_question_beside_a_revocation_may_have_either_answer(
    name: str, accepted: bool, span: tuple[float, float]
) -> None:
    assert wrong(login(), COVERING[name], question(*span, accepted=accepted)) == []


@pytest.mark.parametrize("name", OTHERS)
def test_other_revocations_change_nothing(name: str) -> None:
    events = (login(), OTHERS[name])
    assert wrong(*events, question(41, 42)) == []
    assert wrong(*events, question(41, 42, accepted=False)) == REFUSED


def test_a_login_after_a_revocation_of_its_subject_lives() -> None:
    events = (revocation(1, 9, "subject", "ann"), login())
    assert wrong(*events, question(21, 22)) == []
    assert wrong(*events, question(21, 22, accepted=False)) == REFUSED


@pytest.mark.parametrize("span", [(1, 10), (1, 11), (11, 12), (19, 25), (20, 25), (1, 25)])
@pytest.mark.parametrize("accepted", [True, False])
def test_a_login_beside_a_revocation_of_its_subject_may_live_or_not(
    accepted: bool, span: tuple[float, float]
) -> None:
    history = (login(), revocation(*span, "subject", "ann"), question(30, 31, accepted=accepted))
    assert wrong(*history) == []


def test_a_revocation_that_leaves_it_open_does_not_excuse_one_that_does_not() -> None:
    events = (revocation(1, 11, "subject", "ann"), login(), revocation(30, 40))
    for order in (events, events[::-1]):
        assert wrong(*order, question(41, 42)) == ACCEPTED
    kept = revocation(50, 60, "subject", "ann", keep="login")
    assert wrong(login(), COVERING["subject"], kept, question(61, 62)) == ACCEPTED


def test_what_a_refresh_mints_belongs_to_the_login_and_not_to_the_moment() -> None:
    # The refresh overlaps the revocation; its token is first used afterwards.
    refresh, minted = question(29, 45), question(46, 47, jti="minted")
    assert wrong(login(), COVERING["subject"], refresh, minted) == ACCEPTED


@pytest.mark.parametrize("order", [1, -1])
def test_a_token_that_was_refused_stays_so(order: int) -> None:
    # Each answer alone is right: the revocation lasts all the while.
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


def test_a_question_about_an_unknown_login_is_no_question() -> None:
    with pytest.raises(ValueError, match="nobody has logged in"):
        Checker(History([], [], [question(1, 2)]))
