"""What the tests rely on: corpora, waiting, telling assertions, and the mutants."""

from __future__ import annotations

import threading

import pytest
from flask import Flask

from tests.conftest import pytest_assertrepr_compare
from tests.mutants import Mutant, draw, mutants_of, mutated
from tests.support.answers import INVALID, OK, ask, outcome
from tests.support.corpus import check_all
from tests.support.waiting import until

SOURCE = b'''"""A module."""

LIMIT = 3


def over(size: int) -> bool:
    """Whether it is too large."""
    # \xc3\xa9
    if size > 5 and not known("name", strict=True):
        raise ValueError("it is too large")
    return size == 7
'''


def test_every_case_that_fails_is_listed() -> None:
    def check(number: int) -> None:
        assert number < 2, f"sent {number}"
        if number == 1:
            raise KeyError("one")

    with pytest.raises(AssertionError) as failed:
        check_all({"a": 0, "b": 1, "c": 2, "d": 3}, check)
    head, *listed = str(failed.value).splitlines()
    assert head.startswith("3 of 4 failed: b: KeyError")
    assert [line.split(": ")[:2] for line in listed] == [
        ["b", "KeyError"],
        ["c", "AssertionError"],
        ["d", "AssertionError"],
    ]
    assert "sent 3" in listed[2]


def test_a_corpus_without_cases_or_with_an_id_twice_fails() -> None:
    with pytest.raises(AssertionError, match="empty"):
        check_all({}, print)
    with pytest.raises(AssertionError, match="one id"):
        check_all([("a", 1), ("a", 2)], str)


def test_a_wrong_response_is_told_in_one_line() -> None:
    app = Flask("tests")
    app.add_url_rule("/view", "view", lambda: "seen")
    found = outcome(ask(app, path="/view?token=abc", headers={"Authorization": "Bearer abc"}))
    assert found == OK
    sent = "sent GET /view?token=abc with Authorization: Bearer abc"
    assert pytest_assertrepr_compare("==", found, INVALID) == [
        f"{sent}, came <200>, expected <401 JWTDecodeError>"
    ]
    assert pytest_assertrepr_compare("==", OK, INVALID) is None


def test_waiting_ends_with_the_condition_or_names_it() -> None:
    done = threading.Event()
    threading.Timer(0.02, done.set).start()
    until(done.is_set)
    with pytest.raises(AssertionError, match="the store is back did not come about"):
        until(lambda: False, timeout=0.01, what="the store is back")


def test_each_mutant_changes_one_expression_inside_a_function() -> None:
    found = [(mutant.old, mutant.new) for mutant in mutants_of("module.py", SOURCE)]
    assert sorted(found) == sorted(
        [
            (
                'size > 5 and not known("name", strict=True)',
                "(size > 5 or not known('name', strict=True))",
            ),
            ("size > 5", "(size >= 5)"),
            ("5", "6"),
            ('not known("name", strict=True)', "(known('name', strict=True))"),
            ('known("name", strict=True)', "(known('name'))"),
            ('"name"', "'namex'"),
            ("True", "False"),
            ('raise ValueError("it is too large")', "pass"),
            ("return size == 7", "return None"),
            ("size == 7", "(size != 7)"),
            ("7", "8"),
        ]
    )


def test_a_mutant_is_the_module_with_that_one_change() -> None:
    mutant = Mutant("module.py", 9, 9, SOURCE.index(b"size > 5"), SOURCE.index(b" and"), "", "no")
    assert mutated(mutant, SOURCE) == SOURCE.replace(b"size > 5", b"no")


def test_a_seed_draws_the_same_mutants_each_time() -> None:
    drawn = draw(3, 20)
    assert len({mutant.name for mutant in drawn}) == 20
    assert draw(3, 20) == drawn
    assert draw(4, 20) != drawn
