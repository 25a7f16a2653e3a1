"""What the tests of the examples are given."""

from __future__ import annotations

import os

import pytest

from tests.support.example_process import environment


@pytest.fixture
def own_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Apps made in this process have the settings of an example that is started."""
    for name in [name for name in os.environ if name.startswith("FLASK_")]:
        monkeypatch.delenv(name)
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
