"""The command line ``flask authx``, within this process and as a user types it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from flask import Flask
from flask.cli import ScriptInfo

from flask_authx.cli import authx as group

#: Exit codes: all done; not possible as asked or set up; wrong usage; the store failed.
DONE, NOT_SO, USAGE, LATER = 0, 1, 2, 3


class Result(NamedTuple):
    """What a command has come to."""

    code: int
    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        """All that it has written."""
        return self.stdout + self.stderr


def run(
    app: Flask, *arguments: str, stdin: str | bytes | None = None, debug: bool | None = None
) -> Result:
    """Run ``flask authx`` within this process; it may end in any way but with a traceback.

    :param debug: the app's debug flag; by default Flask sets it from the environment.
    """
    info = ScriptInfo(create_app=lambda: app, set_debug_flag=debug is None)
    if debug is not None:
        app.debug = debug
    done = app.test_cli_runner().invoke(group, [*arguments], input=stdin, obj=info)
    crashed = done.exception is not None and not isinstance(done.exception, SystemExit)
    assert not crashed, f"flask authx {' '.join(arguments)}: {done.exception!r}"
    return Result(done.exit_code, done.stdout, done.stderr)


def printed(app: Flask, *arguments: str, stdin: str | bytes | None = None) -> str:
    """The standard output of a command that succeeds."""
    result = run(app, *arguments, stdin=stdin)
    assert result.code == DONE, f"flask authx {' '.join(arguments)}: {result}"
    return result.stdout


def flask(folder: Path, *arguments: str, stdin: str | None = None) -> Result:
    """Run ``flask`` as a process in this folder, with no app but what is named or found there."""
    environment = {name: value for name, value in os.environ.items() if "FLASK" not in name}
    done = subprocess.run(
        [sys.executable, "-m", "flask", *arguments],
        cwd=folder,
        env=environment,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return Result(done.returncode, done.stdout, done.stderr)
