"""Draws the architecture page's picture: the check of a request, and the rooms in four bands."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from html import escape
from pathlib import Path

DOCS = Path(__file__).parent.parent
PACKAGE = DOCS.parent / "flask_authx"
#: Where the picture is kept.
FILE = DOCS / "_static" / "architecture.svg"
#: What is checked, in which module, and the statuses of a refusal.
LINE = (
    ("find", "http/locations", "400 401"),
    ("signature, claims", "tokens/codec", "401"),
    ("type", "http/verifier", "401"),
    ("CSRF", "http/csrf", "403"),
    ("revoked?", "stores", "401 503"),
    ("fresh?", "http/verifier", "401"),
    ("scopes", "tokens/scopes", "403"),
)
#: The bands from the top, each with rows of packages and flat modules, the upper ones first.
BANDS = (
    ("tools", "for people and scripts", (("cli", "doctor", "otel"),)),
    (
        "app",
        "knows Flask",
        (
            ("extension", "blueprint", "startup"),
            ("actions", "guards", "app"),
        ),
    ),
    ("http", "gets the request and the response as arguments", (("http",),)),
    (
        "core",
        "no Flask, testable without an app",
        (
            ("sessions", "signals", "tokens"),
            ("keys", "settings", "enums"),
            ("stores", "errors", "process_lock", "tracebacks"),
        ),
    ),
)
#: Where the boxes of a band begin, and how high a line of modules in them is.
_INDENT, _LEADING = 165, 16
_WIDTH = 960
#: Its colours are its own, on a light ground: it stands on light and dark pages.
_STYLE = """
.page {fill: #ffffff}
text {fill: #1f2328; font-family: system-ui, sans-serif; font-size: 14px;}
.head {font-size: 16px; font-weight: 600;}
.strong {font-weight: 600;}
.small {font-size: 12.5px;}
.faint {fill: #59636e;}
.middle {text-anchor: middle;}
.code {font-family: ui-monospace, monospace; font-size: 12px;}
.line {fill: none; stroke: #59636e; stroke-width: 1.3;}
marker path {fill: #59636e;}
.box {fill-opacity: 0.11; stroke-opacity: 0.75;}
.tools {fill: #7048e8; stroke: #7048e8;}
.app {fill: #e8590c; stroke: #e8590c;}
.http {fill: #1971c2; stroke: #1971c2;}
.core {fill: #2f9e44; stroke: #2f9e44;}
.end {fill: none; stroke: #59636e}
"""


def rooms() -> list[str]:
    """The names in the picture, the upper ones first."""
    return [name for _, _, rows in BANDS for row in rows for name in row]


def modules_of(room: str) -> list[str]:
    """The files of a package in a line, and those of each package inside it in another."""
    folder = PACKAGE / room
    files = " ".join(sorted(file.stem for file in folder.glob("*.py") if file.stem != "__init__"))
    inner = sorted(one.parent.name for one in folder.glob("*/__init__.py"))
    return [files, *(f"{name}/: {modules_of(f'{room}/{name}')[0]}" for name in inner)]


def svg() -> str:
    """The picture."""
    title = "The check of a request, and the packages in four bands"
    bands, bottom = _bands()
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {bottom:g}" role="img">',
        f"<title>{title}</title>",
        f"<style>{_STYLE}</style>",
        f'<rect class="page" width="{_WIDTH}" height="{bottom:g}" rx="10"/>',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7"',
        ' markerHeight="7" orient="auto"><path d="M0 0 8 4 0 8z"/></marker></defs>',
        *_line(),
        *bands,
        "</svg>\n",
    ]
    return "\n".join(parts)


def _band_of(module: str) -> str:
    room = module.partition("/")[0]
    return next(band for band, _, rows in BANDS if any(room in row for row in rows))


def _line() -> Iterator[str]:
    top, height, width, gap = 52, 62, 102, 9
    left = 90 + gap
    yield _text(16, 26, "The check of a request", "head")
    yield _box(16, top + 14, 74, height - 28, "end")
    yield _text(53, top + 36, "request", "middle")
    for what, module, refusals in LINE:
        middle = left + width / 2
        words = what.split(", ")
        yield _arrow(left - gap + 1, top + height / 2, left - 2, top + height / 2)
        yield _box(left, top, width, height, _band_of(module))
        for number, word in enumerate(words):
            y = top + (19 if len(words) > 1 else 28) + 16 * number
            yield _text(middle, y, word if word is words[-1] else f"{word},", "strong middle")
        yield _text(middle, top + 53, module, "code faint middle")
        yield _arrow(middle, top + height, middle, top + height + 26)
        yield _text(middle, top + height + 44, " or ".join(refusals.split()), "middle")
        left += width + gap
    yield _arrow(left - gap + 1, top + height / 2, left - 2, top + height / 2)
    yield _box(left, top + 14, 60, height - 28, "end")
    yield _text(left + 30, top + 36, "view", "middle")
    yield from _brace(90 + gap, 90 + 4 * (width + gap), "no I/O: a forged token costs no lookup")
    yield from _brace(90 + gap + 4 * (width + gap), left - gap, "genuine tokens only")


def _bands() -> tuple[list[str], float]:
    """The bands, and the height of the picture."""
    top = 268.0
    parts = [_text(16, top - 14, "A package imports only from those below it", "head")]
    for band, motto, rows in BANDS:
        boxes: list[str] = []
        below = top + 14
        for row in rows:
            drawn, height = _row(row, below, band)
            boxes += drawn
            below += height + 10
        height = max(below + 4 - top, 60 + _LEADING * len(textwrap.wrap(motto, 18)))
        parts += [_box(16, top, _WIDTH - 32, height, band), _text(32, top + 30, band, "head")]
        for number, line in enumerate(textwrap.wrap(motto, 18)):
            parts.append(_text(32, top + 51 + _LEADING * number, line, "small faint"))
        parts += boxes
        top += height + 12
    return parts, top


def _row(row: tuple[str, ...], top: float, band: str) -> tuple[list[str], float]:
    """A row of rooms, wider for those with more in them, and its height."""
    listed = [modules_of(name) for name in row]
    weights = [max(12, *map(len, lines)) for lines in listed]
    free = _WIDTH - _INDENT - 26 - 10 * (len(row) - 1)
    widths = [free * weight / sum(weights) for weight in weights]
    wrapped = [
        [part for line in lines for part in textwrap.wrap(line, max(10, int((width - 20) / 7.3)))]
        for lines, width in zip(listed, widths, strict=True)
    ]
    height = 34 + _LEADING * max(len(lines) for lines in wrapped)
    parts: list[str] = []
    left = float(_INDENT)
    for name, lines, width in zip(row, wrapped, widths, strict=True):
        parts.append(_box(left, top, width, height, band))
        parts.append(_text(left + 10, top + 22, name, "strong"))
        for number, line in enumerate(lines):
            parts.append(_text(left + 10, top + 40 + _LEADING * number, line, "code faint"))
        left += width + 10
    return parts, height


def _brace(left: float, right: float, text: str) -> Iterator[str]:
    yield f'<path class="line" d="M{left} 178 v8 H{right} v-8"/>'
    yield _text((left + right) / 2, 204, text, "small faint middle")


def _box(x: float, y: float, width: float, height: float, style: str) -> str:
    size = f'width="{width:g}" height="{height:g}"'
    return f'<rect class="box {style}" x="{x:g}" y="{y:g}" {size} rx="7"/>'


def _arrow(x1: float, y1: float, x2: float, y2: float) -> str:
    path = f"M{x1:g} {y1:g} L{x2:g} {y2:g}"
    return f'<path class="line" d="{path}" marker-end="url(#tip)"/>'


def _text(x: float, y: float, text: str, style: str = "") -> str:
    return f'<text class="{style}" x="{x:g}" y="{y:g}">{escape(text)}</text>'


if __name__ == "__main__":
    FILE.write_text(svg(), "utf-8")
