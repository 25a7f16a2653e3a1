"""What is logged of an exception of the app's code: where it was raised, and none of its words.

The app's callbacks have a token or its claims, and drivers put the parameters of a statement into
the message of an exception. Whatever is replaced in such a text, what is left can be read.
"""

from __future__ import annotations

import traceback
from collections import deque
from collections.abc import Iterator

#: How many exceptions are shown, and how many frames of each: the innermost ones.
_EXCEPTIONS, _FRAMES = 8, 20


class OutlinedError(Exception):
    """Stands for an exception of a callback whose words no log may have: its text is the outline.

    No :class:`RuntimeError`, which Werkzeug's proxies take for "unbound".
    """


def outline(error: BaseException) -> str:
    """The type and the frames of an exception, and of those that led to it.

    A frame is a file, a line and a function. Neither messages nor notes, source lines or values are
    shown.
    """
    if isinstance(error, OutlinedError):
        return str(error)
    lines: list[str] = []
    shown: list[BaseException] = []
    waiting = [("", error)]
    while waiting and len(shown) < _EXCEPTIONS:
        how, one = waiting.pop(0)
        if any(one is other for other in shown):
            continue
        shown.append(one)
        lines += [f"{how}{_name(type(one))}:", *_frames(one)]
        earlier = one.__cause__ or (None if one.__suppress_context__ else one.__context__)
        if earlier is not None:
            waiting.append(("after ", earlier))
        if issubclass(type(one), BaseExceptionGroup):
            waiting += [("with ", inner) for inner in getattr(one, "exceptions", ())]
    return "\n".join(lines)


def _name(kind: type[BaseException]) -> str:
    own = kind.__module__ in {"builtins", "__main__"}
    return kind.__qualname__ if own else f"{kind.__module__}.{kind.__qualname__}"


def _frames(error: BaseException) -> Iterator[str]:
    for frame, line in deque(traceback.walk_tb(error.__traceback__), _FRAMES):
        code = frame.f_code
        yield f'  File "{code.co_filename}", line {line}, in {code.co_qualname}'
