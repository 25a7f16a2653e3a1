"""The fields of forms, and the JSON of scripts."""

from __future__ import annotations

import re
from typing import cast

from flask import abort, request, url_for

# One slash, and no second slash or backslash: browsers read // and /\\ as the start of a host name.
# Printable ASCII only: browsers remove tabs and line breaks.
LOCAL = re.compile(r"/(?![/\\])[!-~]*")


def field(name: str) -> str:
    """A field of the form; empty if it isn't there."""
    return request.form.get(name, "")


def sent(name: str) -> str:
    """A text in the JSON of a script; anything else is answered with 400."""
    body: object = request.get_json()
    value = cast(dict[str, object], body).get(name) if isinstance(body, dict) else None
    if not isinstance(value, str):
        abort(400)
    return value.strip()


def local(path: str | None) -> str:
    """The path to continue to: always of this app, never a link to another site."""
    return path if path and LOCAL.fullmatch(path) else url_for("notes.index")
