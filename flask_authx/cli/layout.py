"""How text output fits the terminal: tables, and lists where a table is too wide."""

from __future__ import annotations

import re
import shutil
import unicodedata
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

#: Columns between two cells.
_GAP = 2
#: The characters of a client's name.
_LONGEST_CLIENT = 40


def terminal_width() -> int:
    """The columns of the terminal, or what ``COLUMNS`` says; 80 if the output is a file."""
    return max(40, shutil.get_terminal_size((80, 24)).columns)


def printable(text: str) -> str:
    """Text from outside without control characters, which a terminal would obey."""
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)


def utc(seconds: int) -> str:
    """A time in minutes, UTC; the number itself where no calendar has it."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%MZ")
    except (ValueError, OverflowError, OSError):
        return str(seconds)


def columns(text: str) -> int:
    """The columns of a terminal that a text takes (Unicode Standard Annex 11)."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def _columns(one: str) -> int:
    if unicodedata.category(one) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(one) in "WF" else 1


def _padded(text: str, width: int) -> str:
    return text + " " * (width - columns(text))


def _lines(text: str, width: int) -> Iterator[str]:
    """Lines of at most so many columns, which end at a space where there is one."""
    rest = re.sub(r"\s", " ", text).strip()
    at = 0
    while at < len(rest):
        end, used = at, 0
        while end < len(rest) and (used := used + _columns(rest[end])) <= width:
            end += 1
        # One character at least, whatever the width.
        end = max(end, at + 1)
        if end < len(rest) and rest[end] != " ":
            space = rest.rfind(" ", at, end)
            end = space if space > at else end
        yield rest[at:end].rstrip()
        at = end
        while at < len(rest) and rest[at] == " ":
            at += 1


def table(head: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> Iterator[str]:
    """A table, or a list with a paragraph for each row where the table would be too wide.

    A column in which no row has anything but ``-`` is left out. The first column is kept whole.
    """
    used = [
        at for at in range(len(head)) if at == 0 or any(row[at] not in ("", "-") for row in rows)
    ]
    lines = [[line[at] for at in used] for line in (head, *rows)]
    widths = [max(columns(line[at]) for line in lines) for at in range(len(used))]
    if sum(widths) + _GAP * (len(widths) - 1) <= width:
        for line in lines:
            cells = (_padded(cell, size) for cell, size in zip(line, widths, strict=True))
            yield (" " * _GAP).join(cells).rstrip()
        return
    for line in lines[1:]:
        yield line[0]
        yield from pairs(
            [pair for pair in zip(lines[0][1:], line[1:], strict=True) if pair[1] != "-"],
            width,
            indent=_GAP,
        )


def pairs(rows: Sequence[tuple[str, str]], width: int, *, indent: int = 0) -> Iterator[str]:
    """Names with their texts beside them. A text that is too long goes on in its column.

    :param indent: the columns before the names.
    """
    # A longer name gets lines of its own, so that the texts keep their width.
    longest = max((columns(name) for name, _ in rows), default=0)
    first = min(longest, max(width // 2 - indent, 12))
    margin = " " * indent
    for name, text in rows:
        label = name
        if columns(name) > first:
            yield from (margin + line for line in _lines(name, width - indent))
            label = ""
        start = margin + _padded(label, first) + " " * _GAP
        used = indent + first + _GAP
        for line in _lines(text, width - used) if text.strip() else ("",):
            yield (start + line).rstrip()
            start = " " * used


#: The most specific first: Edge and Opera call themselves Chrome as well, and Chrome Safari.
_BROWSERS = {
    r"Edg(e|A|iOS)?/": "Edge",
    r"OPR/|Opera": "Opera",
    r"SamsungBrowser/": "Samsung Internet",
    r"Firefox/|FxiOS/": "Firefox",
    r"Chrome/|CriOS/": "Chrome",
    r"Safari/": "Safari",
}
_SYSTEMS = {
    r"iPhone|iPod": "iPhone",
    r"iPad": "iPad",
    r"Android": "Android",
    r"Windows": "Windows",
    r"CrOS": "ChromeOS",
    r"Macintosh|Mac OS X": "macOS",
    r"Linux|X11": "Linux",
}


def client_name(user_agent: str | None) -> str:
    """A ``User-Agent`` in short, such as "Firefox on Windows"; of other clients, the beginning."""
    if not user_agent:
        return "-"
    # All browsers begin so, and hardly anything else does.
    if user_agent.startswith("Mozilla/"):
        client = _named(_BROWSERS, user_agent) or "browser"
    else:
        client = printable(" ".join(user_agent.partition(" (")[0].split()))
        if len(client) > _LONGEST_CLIENT:
            client = client[: _LONGEST_CLIENT - 4].rstrip() + " ..."
    system = _named(_SYSTEMS, user_agent)
    return f"{client} on {system}" if system else client


def _named(patterns: dict[str, str], text: str) -> str | None:
    return next((name for pattern, name in patterns.items() if re.search(pattern, text)), None)
