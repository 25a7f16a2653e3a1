"""All that the package says in logs, errors, signals and reprs, to be searched for secrets."""

from __future__ import annotations

import contextlib
import logging
import traceback
from collections.abc import Generator
from typing import Any

from flask import Flask

from flask_authx import (
    AuthXException,
    all_revoked,
    refresh_reuse_detected,
    revoked_token_used,
    session_revoked,
    store_failed,
    store_recovered,
    subject_revoked,
    token_accepted,
    token_refused,
    token_revoked,
    token_unchecked,
)

SIGNALS = (
    *(token_accepted, token_refused, token_unchecked),
    *(token_revoked, session_revoked, subject_revoked, all_revoked, revoked_token_used),
    *(refresh_reuse_detected, store_failed, store_recovered),
)


class Watch:
    """What was said so far."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def hear(self, *values: object) -> None:
        self.said += [f"{value!r} {value}" for value in values]

    def hear_repr(self, *values: object) -> None:
        self.said += [repr(value) for value in values]

    def hear_error(self, error: BaseException | None) -> None:
        """An error with all that hangs on it."""
        seen: set[int] = set()
        waiting = [error]
        while waiting:
            one = waiting.pop()
            if one is None or id(one) in seen:
                continue
            seen.add(id(one))
            self.hear(one, one.args, vars(one))
            if isinstance(one, AuthXException):
                self.hear(one.reason, one.get_headers(), one.get_body())
            waiting += [one.__cause__, one.__context__]

    def check(self, *secrets: str) -> None:
        """Fail if any of these, or a long segment of a token among them, was said."""
        needles = {part for secret in secrets for part in (secret, *secret.split("."))}
        said = "\n".join(self.said)
        found = [f"{needle[:8]}..." for needle in needles if len(needle) > 16 and needle in said]
        assert not found, f"said: {found}"


class _Listener(logging.Handler):
    def __init__(self, watch: Watch) -> None:
        super().__init__(logging.DEBUG)
        self.watch = watch

    def emit(self, record: logging.LogRecord) -> None:
        self.watch.hear(record.getMessage(), record.args, record.msg)
        if record.exc_info and record.exc_info[1]:
            self.watch.hear_error(record.exc_info[1])
            self.watch.hear("".join(traceback.format_exception(record.exc_info[1])))


@contextlib.contextmanager
def watching() -> Generator[Watch]:
    """Hears every log record from DEBUG on, and every signal."""
    heard = Watch()
    listener = _Listener(heard)
    root = logging.getLogger()
    level = root.level

    def receive(sender: Flask, **said: Any) -> None:
        heard.hear(said)
        heard.hear_error(said.get("error"))

    with contextlib.ExitStack() as stack:
        stack.callback(root.setLevel, level)
        stack.callback(root.removeHandler, listener)
        root.addHandler(listener)
        root.setLevel(logging.DEBUG)
        for signal in SIGNALS:
            stack.enter_context(signal.connected_to(receive))
        yield heard
