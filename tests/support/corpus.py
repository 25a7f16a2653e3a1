"""A corpus is one test: every case is checked, and all that failed are listed by their ids."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import pytest

T = TypeVar("T")


def check_all(
    cases: Mapping[str, T] | Iterable[tuple[str, T]], check: Callable[[T], object]
) -> None:
    """Check every case; fail if there is none, if two have one id, or if any failed.

    :param cases: by id. What the id does not say of a failure, ``check`` says in its assertion.
    """
    __tracebackhide__ = True
    given: Any = cases
    pairs: list[tuple[str, T]] = [*(given.items() if hasattr(given, "items") else given)]
    assert pairs, "the corpus is empty"
    assert len({name for name, _ in pairs}) == len(pairs), "two cases have one id"
    failures: list[str] = []
    for name, case in pairs:
        try:
            check(case)
        # Whatever a case fails with is listed; pytest.fail raises what is no Exception.
        except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001 - see above
            told = " ".join(str(error).split()) or "no message"
            failures.append(f"{name}: {type(error).__name__}: {told}")
    if failures:
        listed = "\n".join(failures)
        # The first line is the one that pytest repeats at its end.
        raise AssertionError(f"{len(failures)} of {len(pairs)} failed: {failures[0]}\n{listed}")


def by_repr(values: Iterable[T]) -> list[tuple[str, T]]:
    """Cases whose id is the value itself, cut short, after its number."""
    return [(f"{number} {repr(value)[:80]}", value) for number, value in enumerate(values)]
