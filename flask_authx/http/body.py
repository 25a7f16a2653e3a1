"""Reads the body of a request: as much as can hold a token, and no error but a client's.

Anybody can send a body, so what is read of it before authentication is limited. Whatever fails
while it is read (a connection that ends, a chunk that is none, a limit of the app) is the client's
error, and each server has exceptions of its own for it.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import IO, TypeVar

from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.wrappers import Request

from flask_authx.errors import MalformedRequestError

T = TypeVar("T")


class BodyTooLongError(MalformedRequestError, RequestEntityTooLarge):
    """The body is longer than the app's own limit, such as ``MAX_CONTENT_LENGTH``: 413."""

    code: int = 413


class _Checked(io.RawIOBase):
    """A body of which the first bytes may have been read: these, and then the rest.

    Reading it raises no error but a client's.
    """

    def __init__(self, rest: IO[bytes], first: bytes = b"") -> None:
        super().__init__()
        self._first = first
        self._rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override] # as Werkzeug's streams
        size = len(buffer)
        chunk = self._first[:size] or _attempt(lambda: self._rest.read(size))
        self._first = self._first[size:]
        buffer[: len(chunk)] = chunk
        return len(chunk)

    def readall(self) -> bytes:
        first, self._first = self._first, b""
        return first + _attempt(self._rest.read)


class _TooLong(_Checked):
    """A body that was found to be longer than a limit."""


class _Kept(io.BytesIO):
    """A body that has been read, for the view."""


def short_body(request: Request, limit: int) -> bytes | None:
    """The body, or ``None`` if it is longer than the limit. In both cases the view can read it.

    The view's ``request.stream`` begins at the start of the body, too.

    A body without a ``Content-Length`` is read up to the limit.

    :param limit: in bytes.
    :raises MalformedRequestError: if it can't be read. The status is 413 if a limit of the app was
        exceeded, and otherwise 400.
    """
    if is_too_long(request, limit):
        return None
    return _attempt(lambda: _short_body(request, limit))


def is_too_long(request: Request, limit: int) -> bool:
    """Whether the body is known to be longer than the limit. Nothing is read."""
    length = request.content_length
    if length is None:
        # Then an earlier call of short_body() may have noticed.
        return isinstance(vars(request).get("stream"), _TooLong)
    return length > limit


def form_field(request: Request, name: str) -> str | None:
    """The value of a form field, if there is one.

    :raises MalformedRequestError: as :func:`short_body` does.
    """
    return _attempt(lambda: request.form.get(name))


def check_reading(request: Request) -> None:
    """Make whatever fails while the app reads the body the client's error.

    Nothing is read yet. The app's ``request.form``, ``get_json()`` and ``stream`` raise it.

    :raises MalformedRequestError: with status 413 if the body is known to exceed the app's limit.
    """
    stream = _attempt(lambda: request.stream)
    if not isinstance(stream, (_Checked, _Kept)):
        # A cached property of Werkzeug's: what is put in its place is read in its place.
        vars(request)["stream"] = _Checked(stream)


def _short_body(request: Request, limit: int) -> bytes | None:
    stream = request.stream
    if isinstance(stream, _Kept):
        # Wherever the view has read to, for a guard inside it.
        body = stream.getvalue()
        return body if len(body) <= limit else None
    first = b""
    # A stream may return less than it was asked for.
    while len(first) <= limit and (chunk := stream.read(limit + 1 - len(first))):
        first += chunk
    if len(first) > limit:
        # As in check_reading().
        vars(request)["stream"] = _TooLong(stream, first)
        return None
    if first:
        vars(request)["stream"] = io.BytesIO(first)
    # Werkzeug keeps the bytes for the view, or has kept them for an earlier reader.
    body = request.get_data()
    if len(body) > limit:
        return None
    vars(request)["stream"] = _Kept(body)
    return body


def _attempt(read: Callable[[], T]) -> T:
    try:
        return read()
    except RequestEntityTooLarge:
        error: MalformedRequestError = BodyTooLongError("the body is longer than the app allows")
    except Exception:  # noqa: BLE001 - each server raises its own, for what the client has sent
        error = MalformedRequestError("the body can't be read")
    # Raised here, so that the error's context does not hold what the body holds.
    raise error
