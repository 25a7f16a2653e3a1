"""What an example asks its user to try, tried."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from tests.support import ROOT
from tests.support.example_process import Example, environment


def printed(example: Example) -> list[str]:
    """The lines that the example asks its user to try."""
    return [line for line in example.log.splitlines() if line.startswith("    ")]


def in_a_shell(lines: list[str]) -> str:
    """What the lines write in another terminal."""
    if shutil.which("curl") is None:
        pytest.skip("there is no curl")
    done = subprocess.run(
        ["sh", "-euc", "\n".join(lines)],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
