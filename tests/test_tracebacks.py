"""What is said of an exception of the app's code: types and frames, and none of its words."""

from __future__ import annotations

from typing import TypeVar

import pytest

from flask_authx.tracebacks import outline
from tests.support.corpus import check_all

E = TypeVar("E", bound=BaseException)

SECRET = "Zm9vYmFyLXRva2Vu"


def caught(error: E) -> E:
    """The exception after it was raised here, with words in every place that can hold them."""
    error.add_note(f"a note about {SECRET}")
    try:
        # A word of the source: Zm9vYmFyLXRva2Vu
        raise error
    except type(error):
        pass
    return error


def failing_inside(error: BaseException, cause: BaseException | None) -> BaseException:
    try:
        try:
            raise LookupError(SECRET)
        except LookupError:
            if cause is None:
                raise error  # noqa: B904 - with a context and no cause
            raise error from cause
    except BaseException as raised:  # noqa: BLE001 - it is handed back
        return raised


class OwnError(Exception):
    def __str__(self) -> str:
        return SECRET

    __repr__ = __str__


ERRORS: dict[str, tuple[BaseException, list[str]]] = {
    "a message": (caught(ValueError(SECRET)), ["ValueError:"]),
    "arguments": (caught(KeyError(SECRET, {SECRET: SECRET})), ["KeyError:"]),
    "its own text": (caught(OwnError()), ["tests.test_tracebacks.OwnError:"]),
    "a cause": (
        failing_inside(ValueError(SECRET), caught(OSError(SECRET))),
        ["ValueError:", "after OSError:"],
    ),
    "a context": (
        failing_inside(ValueError(SECRET), None),
        ["ValueError:", "after LookupError:"],
    ),
    "a group": (
        caught(ExceptionGroup(SECRET, [caught(TypeError(SECRET)), caught(OSError(SECRET))])),
        ["ExceptionGroup:", "with TypeError:", "with OSError:"],
    ),
    "an attribute": (
        caught(UnicodeDecodeError("utf-8", SECRET.encode(), 0, 1, SECRET)),
        ["UnicodeDecodeError:"],
    ),
    "a syntax error": (
        caught(SyntaxError(SECRET, (SECRET, 1, 1, SECRET))),
        ["SyntaxError:"],
    ),
}


def test_no_word_of_an_exception_is_shown() -> None:
    def check(case: tuple[BaseException, list[str]]) -> None:
        error, heads = case
        shown = outline(error)
        assert not any(SECRET[n : n + 4] in shown for n in range(len(SECRET) - 3))
        assert [line for line in shown.splitlines() if line[:2] != "  "] == heads
        assert f'  File "{__file__}", line ' in shown

    check_all(ERRORS, check)


def test_a_frame_is_a_file_a_line_and_a_function() -> None:
    error = caught(OwnError())
    assert error.__traceback__ is not None
    line = error.__traceback__.tb_lineno
    assert outline(error).splitlines()[1:] == [f'  File "{__file__}", line {line}, in caught']


def test_a_hidden_context_is_left_out() -> None:
    error = failing_inside(ValueError(), None)
    error.__suppress_context__ = True
    assert "LookupError" not in outline(error)


def test_a_circle_or_a_long_chain_ends() -> None:
    first, second = ValueError(), OSError()
    first.__cause__, second.__cause__ = second, first
    assert outline(first) == "ValueError:\nafter OSError:"
    chain: BaseException = ValueError()
    for _ in range(5_000):
        following = ValueError()
        following.__context__ = chain
        chain = following
    assert outline(chain).count("ValueError") == 8


def test_of_a_deep_recursion_the_innermost_frames_are_shown() -> None:
    def dive(depth: int) -> None:
        if depth:
            dive(depth - 1)
        raise OwnError

    with pytest.raises(OwnError) as raised:
        dive(200)
    lines = outline(raised.value).splitlines()
    assert len(lines) == 21
    assert all(line.endswith(".dive") for line in lines[1:])
