"""The file in which a client saves its tokens. Only its user can read it."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Tokens:
    """The tokens of a session.

    :param renew_at: when to renew the access token, by the client's own clock.
    """

    access: str
    refresh: str
    renew_at: float

    def __repr__(self) -> str:
        return "<Tokens>"  # No token in a log.


class TokenFile:
    """Tokens in a file, for all threads and processes of a user. A phone has a keychain instead."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = path.with_suffix(".lock")
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)

    def read(self) -> Tokens | None:
        """The tokens, or None without a session."""
        try:
            return Tokens(**json.loads(self._path.read_text()))
        except FileNotFoundError:
            return None

    def write(self, tokens: Tokens) -> None:
        """Replace the file atomically: after a crash it is the old one or the new one."""
        new = self._path.with_suffix(".new")
        new.unlink(missing_ok=True)
        # The mode is set at creation, so other users can't read it at any moment.
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(asdict(tokens), file)
            file.flush()
            os.fsync(descriptor)
        new.replace(self._path)

    def delete(self) -> None:
        """Delete the tokens."""
        self._path.unlink(missing_ok=True)

    @contextmanager
    def locked(self) -> Generator[None]:
        """Lock the file for all other threads and processes. The lock ends if the process dies."""
        with self._lock.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
