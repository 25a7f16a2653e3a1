"""Draws the picture of the architecture page: a request's line, and the modules in three bands."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from html import escape

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

#: What is asked, which module answers, and what a refusal is.
LINE = (
    ("find", "locations", "400 401"),
    ("signature, claims", "codec", "401"),
    ("type", "verifier", "401"),
    ("CSRF", "csrf", "403"),
    ("revoked?", "store, app", "401 503"),
    ("fresh?", "verifier", "401"),
    ("scopes", "verifier", "403"),
)
#: The bands from the top, each with the modules it holds, upper ones first.
BANDS = (
    (
        "edge",
        "knows the app and the current request",
        (
            ("cli", "doctor", "checks", "browser_checks", "findings", "routes"),
            ("extension", "session_commands", "implicit", "endpoints", "store_commands"),
            ("rotation", "logins", "logout", "revoking", "backing", "audit"),
            ("guards", "jar", "minting"),
            ("marks", "context", "signals"),
        ),
    ),
    (
        "request",
        "is handed the request as an argument",
        (("verifier", "callbacks", "cookies", "csrf", "locations"),),
    ),
    (
        "core",
        "no Flask, testable without an app",
        (
            ("mint", "revocation", "sessions", "codec", "index", "cache"),
            ("claims", "keys", "asymmetric", "hmac_secrets", "settings", "parsers"),
            ("tokens", "stores", "errors"),
        ),
    ),
)
_WIDTH, _HEIGHT = 960, 842


def modules() -> set[str]:
    """The names of the modules in the picture."""
    return {name for _, _, rows in BANDS for row in rows for name in row}


def svg() -> str:
    """The picture. Its colours and fonts are in ``authx.css``."""
    title = "The line a request takes, and the modules in three bands"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">',
        f"<title>{title}</title>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7"',
        ' markerHeight="7" orient="auto"><path d="M0 0 8 4 0 8z"/></marker></defs>',
        *_line(),
        *_bands(),
        "</svg>",
    ]
    return "\n".join(parts)


def _band_of(module: str) -> str:
    found = (band for band, _, rows in BANDS if any(module in row for row in rows))
    return next(found, "outside")


def _line() -> Iterator[str]:
    top, height, width, gap = 52, 62, 96, 15
    left = 90 + gap
    yield _text(16, 26, "The line a request takes", "head")
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
        yield _text(middle, top + 53, module, "small faint middle")
        yield _arrow(middle, top + height, middle, top + height + 26)
        yield _text(middle, top + height + 44, " or ".join(refusals.split()), "middle")
        left += width + gap
    yield _arrow(left - gap + 1, top + height / 2, left - 2, top + height / 2)
    yield _box(left, top + 14, 60, height - 28, "end")
    yield _text(left + 30, top + 36, "view", "middle")
    yield from _brace(105, 105 + 4 * width + 3 * gap, "asks nobody: a forger costs no look-up")
    yield from _brace(105 + 4 * (width + gap), left - gap, "sees genuine tokens only")


def _bands() -> Iterator[str]:
    top = 268.0
    yield _text(16, top - 14, "Who may import whom: to the right and downwards", "head")
    for band, motto, rows in BANDS:
        height = max(24 + 50 * len(rows), 96)
        yield _box(16, top, _WIDTH - 32, height, band)
        yield _text(32, top + 30, band, "head")
        for number, line in enumerate(textwrap.wrap(motto, 20)):
            yield _text(32, top + 51 + 16 * number, line, "small faint")
        for number, row in enumerate(rows):
            width = (_WIDTH - 181 - 16 - 10 * 5) / 6
            for place, name in enumerate(row):
                left = 165 + place * (width + 10)
                yield _box(left, top + 18 + 50 * number, width, 38, band)
                yield _text(left + width / 2, top + 42 + 50 * number, name, "code middle")
        top += height + 12


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


class Picture(SphinxDirective):
    """``.. authx-picture::``"""

    def run(self) -> list[nodes.Node]:
        return [nodes.raw("", f'<div class="authx-picture">{svg()}</div>', format="html")]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("authx-picture", Picture)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
