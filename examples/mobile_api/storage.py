"""Where a client keeps its tokens: a file that its user alone can read."""

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
    """What a client holds of a login.

    :param renew_at: when the access token is near its end, by the client's own clock.
    """

    access: str
    refresh: str
    renew_at: float

    def __repr__(self) -> str:
        return "<Tokens>"  # Neither of them belongs into a log.


class TokenFile:
    """Tokens in a file, for all threads and processes of one user. A phone has a key chain."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = path.with_suffix(".lock")
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)

    def read(self) -> Tokens | None:
        """The tokens, if there are any."""
        try:
            return Tokens(**json.loads(self._path.read_text()))
        except FileNotFoundError:
            return None

    def write(self, tokens: Tokens) -> None:
        """Replace the file as a whole: whatever happens, it is the old one or the new one."""
        new = self._path.with_suffix(".new")
        new.unlink(missing_ok=True)
        # Nobody else can read it at any moment, whatever the umask is.
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(asdict(tokens), file)
            file.flush()
            os.fsync(descriptor)
        new.replace(self._path)

    def forget(self) -> None:
        """Remove the tokens."""
        self._path.unlink(missing_ok=True)

    @contextmanager
    def alone(self) -> Generator[None]:
        """Keep all others waiting here: threads and processes. Released if the process dies."""
        with self._lock.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
