"""Which cut-offs apply to a session: those found for it, and the scope's by the noted epoch."""

from __future__ import annotations

import pytest

from flask_authx import Cutoff
from flask_authx.sessions.cutoffs import Cutoffs

SESSION, OTHER = b"s" * 16, b"o" * 16
T = 1_800_000_000 * 10**6


@pytest.mark.parametrize(("began", "covered"), [(T - 1, True), (T, True), (T + 1, False)])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_any_cut_off_that_is_found_applies(place: int, began: int, covered: bool) -> None:
    found: list[Cutoff | None] = [None] * 3
    found[place] = Cutoff(T)
    assert Cutoffs(found, Cutoff(5)).cover(SESSION, began, 5) is covered


def test_a_kept_session_is_kept_from_the_cut_off_of_its_subject_alone() -> None:
    kept = Cutoffs([None, Cutoff(T, SESSION)], Cutoff(5))
    assert not kept.cover(SESSION, T, 5)
    assert kept.cover(OTHER, T, 5)
    assert kept.cover(SESSION, T, 4)


@pytest.mark.parametrize(
    ("scope", "began", "epoch", "covered"),
    [
        # It has noted the cut-off that counts, whenever it is dated.
        (T, T + 1, T, False),
        (T, T - 5, T, False),
        (0, 0, 0, False),
        # It has noted another one: an earlier one, or one that the store has lost since.
        (T, T + 1, T - 1, True),
        (T, T + 1, T + 1, True),
        (T, T + 1, 0, True),
        (T, T + 1, -T, True),
        # It has noted none: it was opened without the store.
        (T, T, None, True),
        (T, T + 1, None, False),
        # The sessions from before the store was added are trusted, and those that were opened
        # since have noted that.
        (-1, T, None, False),
        (-T, 0, None, False),
        (-T, T, -T, False),
        # One that was opened with a store that has lost its entries since.
        (-T, T, T, True),
        (-T, T, 0, True),
        (-T, T, -T - 1, True),
        (0, 0, None, True),
        # A store in the memory of one process has none.
        (None, T, None, False),
        (None, T, T, False),
    ],
)
def test_a_session_is_revoked_unless_it_has_noted_the_cut_off_of_the_scope(
    scope: int | None, began: int, epoch: int | None, covered: bool
) -> None:
    of_scope = None if scope is None else Cutoff(scope)
    assert Cutoffs([None, None], of_scope).cover(SESSION, began, epoch) is covered
